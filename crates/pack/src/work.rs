//! Directories for things on their way, in the pack cache.
//!
//! ```text
//! CACHE/stage-XXXXXX/     its maker holds a flock on it; one that nobody holds is collected by the next pack
//! ```

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::Error;

const PREFIX: &str = "stage-";
/// A directory younger than this may be between its making and its lock.
const GRACE: Duration = Duration::from_secs(60);

/// A directory that goes when the value is dropped, or after its process has died.
pub(crate) struct WorkDir {
    dir: tempfile::TempDir,
    _lock: File,
}

impl WorkDir {
    /// Makes one below `cache`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn new(cache: &Path) -> Result<Self, Error> {
        let fail = || Error::io("create a directory in", cache);
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(cache).map_err(fail())?;
        let lock = File::open(dir.path()).map_err(fail())?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| fail()(errno.into()))?;
        Ok(Self { dir, _lock: lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes what dead processes left. What cannot be removed now is left to the next pack: it is in
/// nobody's way.
pub(crate) fn collect(cache: &Path) {
    let Ok(listing) = std::fs::read_dir(cache) else { return };
    for entry in listing.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(dir) = File::open(entry.path()) else { continue };
        let modified = dir.metadata().and_then(|metadata| metadata.modified());
        let old = modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > GRACE));
        if old && rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Timespec, Timestamps};

    #[test]
    fn only_the_dead_are_collected() {
        let cache = tempfile::tempdir().expect("temporary directory");
        let living = WorkDir::new(cache.path()).expect("made");
        let (dead, young) = (cache.path().join("stage-dead"), cache.path().join("stage-young"));
        for dir in [&dead, &young] {
            std::fs::create_dir(dir).expect("made");
        }
        let past = Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 };
        for dir in [&dead, living.path()] {
            let times = Timestamps { last_access: past, last_modification: past };
            rustix::fs::utimensat(CWD, dir, &times, rustix::fs::AtFlags::empty()).expect("dated");
        }
        collect(cache.path());
        assert!(living.path().exists() && young.exists() && !dead.exists());
    }
}
