//! The project's directory as a list of entries, without reading a file: what the fingerprint and the
//! choice of files work on.
//!
//! Directories are walked by descriptor, links are never followed; what is never packed (`.git`, virtual
//! environments, caches) is not even entered.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corral_spec::Digest;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use sha2::{Digest as _, Sha256};

use crate::Error;

/// More entries than this are not a project.
const MAX_ENTRIES: usize = 1_000_000;
/// Directories deeper than this are not entered.
const MAX_DEPTH: usize = 100;

/// Directories that are never entered.
pub(crate) const PRUNED: [&str; 17] = [
    ".git",
    ".hg",
    ".svn",
    ".jj",
    ".venv",
    "__pycache__",
    "node_modules",
    ".tox",
    ".nox",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".ipynb_checkpoints",
    ".aws",
    ".ssh",
    ".gnupg",
    ".kube",
];

/// One entry below the project's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Relative path.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of a file.
    pub size: u64,
    /// Whether the owner may execute it.
    pub executable: bool,
    /// Inode, device, modification and change times: changes whenever the contents do.
    stamp: [u64; 4],
}

/// What an [`Entry`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    /// With its target as written.
    Symlink(String),
    /// Nothing that an image can hold, with the reason.
    Strange(&'static str),
}

/// All entries, sorted by path.
#[derive(Debug)]
pub(crate) struct Scan {
    pub entries: Vec<Entry>,
    /// The latest change time, in nanoseconds since 1970.
    pub newest: u64,
}

impl Scan {
    /// Walks the directory, whose path must be canonical.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Project`] for a tree without bound.
    pub(crate) fn of(dir: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat2(CWD, dir, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
            .map_err(|errno| Error::io("read", dir)(errno.into()))?;
        let mut scan = Self { entries: Vec::new(), newest: 0 };
        scan.walk(root, "", 0, dir)?;
        scan.entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(scan)
    }

    fn walk(&mut self, fd: OwnedFd, prefix: &str, depth: usize, dir: &Path) -> Result<(), Error> {
        let fail = |name: &str| Error::io("read", dir.join(prefix).join(name));
        let mut subdirectories = Vec::new();
        let listing = Dir::read_from(&fd).map_err(|errno| fail("")(errno.into()))?;
        for item in listing {
            let item = item.map_err(|errno| fail("")(errno.into()))?;
            let name = item.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            // An entry that went away while it was looked at never was.
            let stat = match rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(rustix::io::Errno::NOENT) => continue,
                other => other.map_err(|errno| fail(&name.to_string_lossy())(errno.into()))?,
            };
            let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if directory && name.to_str().is_ok_and(|name| PRUNED.contains(&name)) {
                continue;
            }
            let entry = entry(fd.as_fd(), prefix, name, &stat);
            self.newest = self.newest.max(entry.stamp[3]);
            if self.entries.len() >= MAX_ENTRIES || depth >= MAX_DEPTH {
                let reason = format!(
                    "holds more than {MAX_ENTRIES} entries or {MAX_DEPTH} levels: is this the project?"
                );
                return Err(Error::Project { path: dir.to_owned(), reason });
            }
            if directory && entry.kind == EntryKind::Directory {
                subdirectories.push((name.to_owned(), entry.path.clone()));
            }
            self.entries.push(entry);
        }
        for (name, path) in subdirectories {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let child = rustix::fs::openat2(&fd, &name, flags, Mode::empty(), resolve)
                .map_err(|errno| fail(&name.to_string_lossy())(errno.into()))?;
            self.walk(child, &format!("{path}/"), depth + 1, dir)?;
        }
        Ok(())
    }

    /// The entry at a path.
    pub(crate) fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok().map(|at| &self.entries[at])
    }

    /// Whether there is a file at this path.
    pub(crate) fn has_file(&self, path: &str) -> bool {
        self.get(path).is_some_and(|entry| entry.kind == EntryKind::File)
    }

    /// A hash over all entries for which `counts` holds: the same as long as nothing was changed.
    pub(crate) fn fingerprint(&self, counts: impl Fn(&Entry) -> bool) -> Digest {
        let mut hash = Sha256::new();
        for entry in self.entries.iter().filter(|entry| counts(entry)) {
            let kind = match &entry.kind {
                EntryKind::File => "f",
                EntryKind::Directory => "d",
                EntryKind::Symlink(target) => target,
                EntryKind::Strange(_) => "s",
            };
            hash.update(format!("{}\0{kind}\0{}\0{}\0", entry.path, entry.size, entry.executable));
            // A directory's times change with what is in it, which is listed anyway.
            if entry.kind != EntryKind::Directory {
                entry.stamp.iter().for_each(|part| hash.update(part.to_le_bytes()));
            }
        }
        Digest::from_bytes(hash.finalize().into())
    }
}

fn entry(parent: BorrowedFd<'_>, prefix: &str, name: &CStr, stat: &Stat) -> Entry {
    let text = name.to_string_lossy();
    let plain = name.to_str().is_ok_and(|name| !name.chars().any(char::is_control));
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        _ if !plain => EntryKind::Strange("its name is not plain UTF-8"),
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => {
            match rustix::fs::readlinkat(parent, name, Vec::new()).map(|target| target.into_string()) {
                Ok(Ok(target)) => EntryKind::Symlink(target),
                _ => EntryKind::Strange("its target is not plain UTF-8"),
            }
        }
        FileType::Fifo => EntryKind::Strange("it is a named pipe"),
        FileType::Socket => EntryKind::Strange("it is a socket"),
        _ => EntryKind::Strange("it is a device"),
    };
    Entry {
        path: format!("{prefix}{text}"),
        size: if kind == EntryKind::File { stat.st_size as u64 } else { 0 },
        kind,
        executable: stat.st_mode & 0o100 != 0,
        stamp: [
            stat.st_ino,
            stat.st_dev,
            nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        ],
    }
}

fn nanoseconds(seconds: i64, nanoseconds: u64) -> u64 {
    (seconds as u64).wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_changes_and_prunes() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path().canonicalize().expect("canonical");
        std::fs::create_dir_all(root.join("a/b")).expect("made");
        std::fs::create_dir_all(root.join(".git")).expect("made");
        std::fs::write(root.join("a/b/x.py"), "1").expect("written");
        std::fs::write(root.join(".git/config"), "1").expect("written");
        std::os::unix::fs::symlink("a/b", root.join("link")).expect("linked");
        let scan = Scan::of(&root).expect("scanned");
        let paths: Vec<_> = scan.entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["a", "a/b", "a/b/x.py", "link"]);
        assert!(scan.has_file("a/b/x.py") && !scan.has_file("link/x.py"));
        let before = scan.fingerprint(|_| true);
        assert_eq!(Scan::of(&root).expect("scanned").fingerprint(|_| true), before);
        std::fs::write(root.join(".git/config"), "2").expect("written");
        assert_eq!(Scan::of(&root).expect("scanned").fingerprint(|_| true), before);
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(root.join("a/b/x.py"), "2").expect("written");
        assert_ne!(Scan::of(&root).expect("scanned").fingerprint(|_| true), before);
    }
}
