use std::collections::HashSet;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, openat, statat};
use rustix::io::Errno;

use crate::Error;

/// Directories below this depth are not entered: their descriptors would pile up.
const MAX_DEPTH: usize = 200;

/// What a tree holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeSize {
    /// Files that are not empty.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Counts all files below a directory, a file with several names once; symbolic links are files and are not followed,
/// and what vanishes meanwhile counts nothing. No directory there is nothing.
///
/// # Errors
/// [`Error::Io`] naming the tree.
pub fn tree_size(path: &Path) -> Result<TreeSize, Error> {
    let fail = |error: Errno| Error::io("measure", path)(error.into());
    let Some(dir) = open(CWD, path).map_err(fail)? else { return Ok(TreeSize::default()) };
    let (mut seen, mut size) = (HashSet::new(), TreeSize::default());
    level(&dir, MAX_DEPTH, &mut seen, &mut size).map_err(fail)?;
    Ok(size)
}

/// None if it is not there, or no directory (any more).
fn open(at: impl std::os::fd::AsFd, path: impl rustix::path::Arg) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(at, path, flags, Mode::empty()) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

fn level(
    dir: &OwnedFd,
    depth: usize,
    seen: &mut HashSet<(u64, u64)>,
    size: &mut TreeSize,
) -> Result<(), Errno> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let mut reader = RawDir::new(dir, &mut buffer);
    while let Some(entry) = reader.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth > 0 => {
                if let Some(below) = open(dir, name)? {
                    level(&below, depth - 1, seen, size)?;
                }
            }
            FileType::RegularFile | FileType::Symlink
                if stat.st_size > 0 && (stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino))) =>
            {
                size.files += 1;
                size.bytes += u64::try_from(stat.st_size).unwrap_or(0);
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_file_once_and_follows_no_link() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (outside, tree) = (dir.path().join("outside"), dir.path().join("tree"));
        std::fs::create_dir_all(tree.join("a/b")).expect("tree");
        std::fs::create_dir(&outside).expect("outside");
        std::fs::write(outside.join("big"), vec![0; 10_000]).expect("file");
        std::fs::write(tree.join("a/file"), vec![0; 1000]).expect("file");
        std::fs::hard_link(tree.join("a/file"), tree.join("a/b/again")).expect("hard link");
        std::os::unix::fs::symlink(&outside, tree.join("a/link")).expect("link");
        let link = outside.as_os_str().len() as u64;
        std::fs::write(tree.join("empty"), "").expect("file");
        assert_eq!(tree_size(&tree).expect("size"), TreeSize { files: 2, bytes: 1000 + link });
        assert_eq!(tree_size(&dir.path().join("nothing")).expect("size"), TreeSize::default());
    }
}
