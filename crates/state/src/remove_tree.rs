use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, SeekFrom, openat, renameat, seek, unlinkat};
use rustix::io::Errno;

use crate::Error;

/// Directories are entered this deep; what lies deeper is first moved up beside the root of the tree, so
/// that a tree of any depth costs a bounded number of descriptors and no deep recursion.
const MAX_DEPTH: usize = 64;

/// Removes a file or directory and all below it, whatever a container left there: symbolic links are
/// removed and never followed, any depth. Nothing there is no error.
///
/// # Errors
/// [`Error::Io`] naming the tree.
pub fn remove_tree(path: &Path) -> Result<(), Error> {
    match unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(Error::io("remove", path)(error.into())),
    }
    empty(path).map_err(|error| Error::io("remove", path)(error.into()))?;
    match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io("remove", path)(error.into())),
    }
}

fn empty(path: &Path) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = openat(CWD, path, flags, Mode::empty())?;
    let mut moved = 0u64;
    // Each pass removes all but what it moved up; the passes end when nothing was too deep.
    loop {
        let before = moved;
        seek(&top, SeekFrom::Start(0))?;
        empty_level(&top, &top, MAX_DEPTH, &mut moved)?;
        if moved == before {
            return Ok(());
        }
    }
}

fn empty_level(top: &OwnedFd, dir: &OwnedFd, depth: usize, moved: &mut u64) -> Result<(), Errno> {
    // Read to the end before the first removal: what readdir gives after one is not defined. The buffer holds
    // some hundred names, which is all there is in most directories, without a second descriptor or the heap.
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let mut entries: Vec<(CString, FileType)> = Vec::new();
    let mut reader = RawDir::new(dir, &mut buffer);
    while let Some(entry) = reader.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            entries.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    for (name, kind) in entries {
        if kind != FileType::Directory {
            match unlinkat(dir, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR) => {}
                Err(error) => return Err(error),
            }
        }
        if depth == 0 {
            *moved += 1;
            renameat(dir, &name, top, format!(".deep-{moved}"))?;
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = openat(dir, &name, flags, Mode::empty())?;
        empty_level(top, &below, depth - 1, moved)?;
        unlinkat(dir, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_links_without_following_them() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (canary, tree) = (dir.path().join("canary"), dir.path().join("tree"));
        std::fs::create_dir(&canary).expect("canary");
        std::fs::write(canary.join("file"), "alive").expect("canary file");
        std::fs::create_dir_all(tree.join("a/b")).expect("tree");
        std::os::unix::fs::symlink(&canary, tree.join("a/link")).expect("link");
        remove_tree(&tree).expect("removed");
        assert!(!tree.exists());
        assert_eq!(std::fs::read_to_string(canary.join("file")).expect("canary"), "alive");
        remove_tree(&tree).expect("nothing there is no error");
    }

    #[test]
    fn removes_a_tree_deeper_than_the_descriptor_limit() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).expect("tree");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = openat(CWD, &tree, flags, Mode::empty()).expect("open");
        for _ in 0..5_000 {
            rustix::fs::mkdirat(&at, "d", Mode::from_raw_mode(0o700)).expect("mkdir");
            at = openat(&at, "d", flags, Mode::empty()).expect("open");
        }
        remove_tree(&tree).expect("removed");
        assert!(!tree.exists());
    }
}
