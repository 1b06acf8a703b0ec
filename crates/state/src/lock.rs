use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};

use std::time::{Duration, Instant};

use corral_spec::ContainerId;
use rustix::fs::{FlockOperation, OFlags};

use crate::write_file::open;
use crate::{Error, Layout};

/// How long a command waits for another that works on the same container.
const PATIENCE: Duration = Duration::from_secs(2);

/// The right to change a container, held as an flock(2) on `RUN/containers/ID/lock`. The lock follows
/// the open file: a monitor that inherits the descriptor holds it until its own end, however it ends.
#[derive(Debug)]
pub struct ContainerLock {
    file: File,
}

impl Layout {
    /// Takes the lock, making the run directory. `None` if someone else holds it: the container runs or
    /// is being worked on.
    ///
    /// # Errors
    /// [`Error::Io`] when the run directory cannot be made.
    pub fn try_lock(&self, id: &ContainerId) -> Result<Option<ContainerLock>, Error> {
        let dir = self.run(id);
        let path = dir.join("lock");
        // A collector may remove the directory between our steps; then the file we locked is no longer
        // the one at the path, and we begin again.
        for _ in 0..100 {
            match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("make directory", &dir)(error)),
            }
            let file = match open(&path, OFlags::WRONLY | OFlags::CREATE) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("open", &path)(error)),
            };
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(Error::io("lock", &path)(error.into())),
            }
            let ours = file.metadata().map_err(Error::io("inspect", &path))?;
            if std::fs::metadata(&path)
                .is_ok_and(|there| there.ino() == ours.ino() && there.dev() == ours.dev())
            {
                corral_fault::step!(ContainerLocked);
                return Ok(Some(ContainerLock { file }));
            }
        }
        Err(Error::Busy(id.short().to_owned()))
    }

    /// Takes the lock. Whoever collects or only looks holds it for moments, so this waits a while for it.
    ///
    /// # Errors
    /// [`Error::Busy`] if someone else holds it all that time: the container runs, or another command works on it.
    pub fn lock(&self, id: &ContainerId) -> Result<ContainerLock, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(lock) = self.try_lock(id)? {
                return Ok(lock);
            }
            if Instant::now() > deadline {
                return Err(Error::Busy(id.short().to_owned()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether someone holds the lock; makes nothing.
    pub fn is_locked(&self, id: &ContainerId) -> bool {
        let Ok(file) = open(&self.run(id).join("lock"), OFlags::WRONLY) else { return false };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => false,
            Err(error) => error == rustix::io::Errno::WOULDBLOCK,
        }
    }

    /// Ends the work on a container: removes the run directory, then lets the lock go.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be removed.
    pub fn unlock(&self, lock: ContainerLock, id: &ContainerId) -> Result<(), Error> {
        let dir = self.run(id);
        for name in crate::layout::names_in(&dir)? {
            if name != "lock" {
                crate::remove_tree(&dir.join(name))?;
            }
        }
        corral_fault::step!(RunEmptied);
        // The lock's file goes last: from then on another command may make its own, and the directory is that
        // command's to remove.
        crate::remove_tree(&dir.join("lock"))?;
        corral_fault::step!(RunUnlocked);
        match std::fs::remove_dir(&dir) {
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
                return Err(Error::io("remove", &dir)(error));
            }
            _ => {}
        }
        drop(lock);
        Ok(())
    }
}

impl AsFd for ContainerLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn one_holder_and_nothing_left() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        layout.prepare().expect("prepare");
        let id = ContainerId::from_random([3; 32]);
        assert!(!layout.is_locked(&id));
        let lock = layout.lock(&id).expect("free");
        assert!(layout.is_locked(&id));
        assert!(layout.try_lock(&id).expect("no error").is_none());
        layout.unlock(lock, &id).expect("unlock");
        assert!(!layout.run(&id).exists());
        let lock = layout.lock(&id).expect("free again");
        drop(lock);
        assert!(!layout.is_locked(&id), "a dead holder holds nothing");
    }

    /// As commands do that meet at a container's end: each takes the lock and removes the directory.
    #[test]
    fn many_end_the_same_work_one_at_a_time() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        layout.prepare().expect("prepare");
        let id = ContainerId::from_random([4; 32]);
        let held = std::sync::atomic::AtomicBool::new(false);
        let work = || {
            for _ in 0..500 {
                let Some(lock) = layout.try_lock(&id).expect("no error") else { continue };
                assert!(!held.swap(true, Ordering::SeqCst), "two holders");
                std::fs::write(layout.run(&id).join("status.json"), "").expect("the directory is there");
                held.store(false, Ordering::SeqCst);
                layout.unlock(lock, &id).expect("unlock");
            }
        };
        std::thread::scope(|scope| drop([(); 4].map(|()| scope.spawn(work))));
        assert!(!layout.run(&id).exists());
    }
}
