//! Who lives in the user's namespace: one file for each process, locked by it.
//!
//! ```text
//! RUN/namespace/lock      held while somebody looks, joins or makes the namespace
//! RUN/namespace/PID       the namespace's number; locked (flock) by process PID, and by those that it started and that
//!                         have no file of their own yet
//! ```
//!
//! The kernel drops a dead process's locks: a file that nobody holds is garbage, and removed by who finds it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use crate::Error;

/// How long a process may take between its start and its own file.
const PATIENCE: Duration = Duration::from_secs(10);

/// The directory, under its lock.
pub(super) struct Members {
    dir: PathBuf,
    _lock: File,
}

fn fail<E: Into<io::Error>>(act: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    move |source| Error::Host { act, path: path.to_owned(), source: source.into() }
}

fn file(path: &Path) -> io::Result<File> {
    let no_follow = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(path)
}

impl Members {
    /// Waits until nobody else looks.
    pub(super) fn lock(run: &Path) -> Result<Self, Error> {
        let dir = run.join("namespace");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(fail("make", &dir))?;
        let path = dir.join("lock");
        let lock = file(&path).map_err(fail("open", &path))?;
        loop {
            match flock(&lock, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self { dir, _lock: lock }),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(fail("lock", &path)(errno)),
            }
        }
    }

    /// The namespace of somebody who is there; none if nobody is. Who has just been started by a process that is gone
    /// is waited for.
    pub(super) fn namespace(&self) -> Result<Option<OwnedFd>, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut held = false;
            for entry in std::fs::read_dir(&self.dir).map_err(fail("read", &self.dir))? {
                let path = entry.map_err(fail("read", &self.dir))?.path();
                let name = path.file_name().and_then(|name| name.to_str());
                let Some(pid) = name.and_then(|name| name.parse::<i32>().ok()) else { continue };
                match look(&path, pid).map_err(fail("look at", &path))? {
                    Member::Gone => {}
                    Member::Unknown => held = true,
                    Member::There(namespace) => return Ok(Some(namespace)),
                }
            }
            if !held {
                return Ok(None);
            }
            if Instant::now() > deadline {
                return Err(Error::Launch(format!(
                    "{} has files that a process holds which cannot be joined: end the user's corral processes \
                     (corral ps, ps -u) and try again",
                    self.dir.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Says that this process is here, for as long as it and those that it starts live.
    pub(super) fn register(&self) -> Result<BorrowedFd<'static>, Error> {
        let path = self.dir.join(std::process::id().to_string());
        // A dead process of this number may have left one.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(fail("remove", &path)(error));
            }
            _ => {}
        }
        let write = || -> io::Result<File> {
            let mut file = file(&path)?;
            file.write_all(own_number()?.to_string().as_bytes())?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            // A process that is started is covered until it has a file of its own.
            fcntl_setfd(&file, FdFlags::empty())?;
            Ok(file)
        };
        Ok(crate::sys::keep_open(write().map_err(fail("write", &path))?.into()))
    }
}

fn own_number() -> io::Result<u64> {
    let namespace = open("/proc/self/ns/user", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(fstat(&namespace)?.st_ino)
}

enum Member {
    /// Nobody holds the file.
    Gone,
    /// Somebody does who is not its process.
    Unknown,
    /// Its process lives in the namespace that it names, which lives as long as the lock is held.
    There(OwnedFd),
}

fn look(path: &Path, pid: i32) -> io::Result<Member> {
    let no_follow = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32;
    let file = match OpenOptions::new().read(true).custom_flags(no_follow).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Member::Gone),
        file => file?,
    };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        std::fs::remove_file(path)?;
        return Ok(Member::Gone);
    }
    let mut number = String::new();
    (&file).take(32).read_to_string(&mut number)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(namespace) = open(format!("/proc/{pid}/ns/user"), flags, Mode::empty()) else {
        return Ok(Member::Unknown);
    };
    let same = fstat(namespace.as_fd())?.st_ino.to_string() == number;
    Ok(if same { Member::There(namespace) } else { Member::Unknown })
}
