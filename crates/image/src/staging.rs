//! Half-made things. The maker holds a flock on its directory in `staging/` as long as it lives; what can
//! be locked by somebody else has no maker any more and is litter.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, mkdir, open};

use crate::{Error, Store};

/// A directory of one writer, removed with all that is still in it when dropped.
pub(crate) struct Staging {
    path: PathBuf,
    _lock: OwnedFd,
}

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK);

impl Store {
    /// A new staging directory; first collects what dead writers left.
    pub(crate) fn staging(&self) -> Result<Staging, Error> {
        // Litter that cannot be removed now must not stop this writer; gc reports it.
        let _ = self.collect_staging();
        loop {
            let path = self.staging_path();
            let fail = |e| Error::io("create", &path, e);
            mkdir(&path, Mode::from_raw_mode(0o700)).map_err(fail)?;
            let Ok(lock) = open(&path, OPEN | OFlags::DIRECTORY, Mode::empty()) else { continue };
            // A collector may take the directory between the two calls; then it is gone or going.
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
                && fstat(&lock).map_err(fail)?.st_nlink > 0
            {
                corral_fault::step!(StagingMade);
                return Ok(Staging { path, _lock: lock });
            }
        }
    }

    /// Removes what has no living owner; says how many things.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn collect_staging(&self) -> Result<u64, Error> {
        let dir = self.sub("staging");
        let mut removed = 0;
        for entry in std::fs::read_dir(&dir).map_err(|e| Error::io("read", &dir, e))? {
            let path = entry.map_err(|e| Error::io("read", &dir, e))?.path();
            let Ok(file) = open(&path, OPEN, Mode::empty()) else { continue };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            let is_dir = fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir());
            let gone = if is_dir { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            match gone {
                Ok(()) => removed += 1,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("remove", &path, e)),
            }
        }
        Ok(removed)
    }
}

impl Staging {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed is litter from now on, which the next writer or gc tries again.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
