//! Stored indexes and packages. The layout is drawn in the module's header.
//!
//! A file is written in `staging/` and renamed when it is whole and verified, so nothing below the other
//! directories is ever half-made. Every process holds `lock` shared while it works; one that gets it
//! exclusively knows that nobody does, and what is in `staging/` then belongs to the dead.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use corral_spec::Digest;
use rustix::fs::FlockOperation;
use tempfile::NamedTempFile;

use super::Error;

/// Stored indexes and packages.
pub struct Cache {
    root: PathBuf,
    _lock: File,
}

impl Cache {
    /// Opens a cache, making it if need be, and collects what a killed process left.
    ///
    /// # Errors
    /// [`Error::Cache`] if it cannot be made or locked.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let staging = root.join("staging");
        for part in ["staging", "index", "debs", "data"] {
            let path = root.join(part);
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|source| Error::Cache { act: "make", path, source })?;
        }
        let path = root.join("lock");
        let failed = |source: io::Error| Error::Cache { act: "lock", path: path.clone(), source };
        let mut options = OpenOptions::new();
        let lock =
            options.write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            empty(&staging).map_err(|source| Error::Cache { act: "empty", path: staging, source })?;
        }
        rustix::fs::flock(&lock, FlockOperation::LockShared).map_err(|errno| failed(errno.into()))?;
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// Where a package of this hash is, or will be.
    pub(super) fn deb(&self, sha256: &Digest) -> PathBuf {
        self.root.join("debs").join(sha256.hex())
    }

    /// Where the decompressed data.tar of a package of this hash is, or will be.
    pub(super) fn data(&self, sha256: &Digest) -> PathBuf {
        self.root.join("data").join(sha256.hex())
    }

    /// Where the index is that a release of this hash vouches for, or will be. `archive` names suite and
    /// architecture.
    pub(super) fn index(&self, archive: &str, inrelease: &Digest) -> PathBuf {
        self.root.join("index").join(format!("{archive}-{}", inrelease.hex()))
    }

    /// Removes the indexes of an archive's former releases. One that another process has open stays readable.
    pub(super) fn drop_other_indexes(&self, archive: &str, kept: &Path) -> Result<(), Error> {
        let directory = self.root.join("index");
        let failed = |source| Error::Cache { act: "clean", path: directory.clone(), source };
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // The hash has no dash, so `bookworm-` does not match `bookworm-security-…`.
            if path != kept && name.rsplit_once('-').is_some_and(|(former, _)| former == archive) {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// A new file to write.
    pub(super) fn stage(&self) -> Result<NamedTempFile, Error> {
        let path = self.root.join("staging");
        NamedTempFile::new_in(&path).map_err(|source| Error::Cache { act: "write to", path, source })
    }

    /// Puts bytes in place of whatever is at a path of this cache.
    pub(super) fn put(&self, parts: &[&[u8]], path: &Path) -> Result<(), Error> {
        let mut file = self.stage()?;
        for part in parts {
            let written = file.write_all(part);
            written.map_err(|source| Error::Cache { act: "write", path: path.to_owned(), source })?;
        }
        persist(file, path)
    }
}

/// Gives a whole file its name. Not synced: its reader checks the content, so that a crash costs a new
/// download and not a sync of every file.
pub(super) fn persist(file: NamedTempFile, path: &Path) -> Result<(), Error> {
    let kept = file.persist(path);
    kept.map_err(|error| Error::Cache {
        act: "rename a file to",
        path: path.to_owned(),
        source: error.error,
    })?;
    Ok(())
}

fn empty(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collects_only_what_the_dead_left() {
        let home = tempfile::tempdir().expect("temp dir");
        let root = home.path().join("cache");
        let staged = |root: &Path| fs::read_dir(root.join("staging")).expect("staging").count();
        let first = Cache::open(&root).expect("open");
        let file = first.stage().expect("stage");
        let second = Cache::open(&root).expect("open beside");
        assert_eq!(staged(&root), 1, "a living process's file stays");
        let (_, _path) = file.keep().expect("leave it behind");
        drop((first, second));
        let _third = Cache::open(&root).expect("open again");
        assert_eq!(staged(&root), 0);
    }

    #[test]
    fn puts_whole_files() {
        let home = tempfile::tempdir().expect("temp dir");
        let cache = Cache::open(home.path()).expect("open");
        let path = cache.deb(&Digest::from_bytes([7; 32]));
        cache.put(&[b"a", b"b"], &path).expect("put");
        cache.put(&[b"new"], &path).expect("replace");
        assert_eq!(fs::read(path).expect("read"), b"new");
    }
}
