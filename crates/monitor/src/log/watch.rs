//! Sleeps until a log grows or its writer is gone.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::Error;

/// What a following reader waits on. The monitor's end is seen by the closing of its lock, so nothing
/// is polled.
#[derive(Debug)]
pub(super) struct Watch {
    events: OwnedFd,
    /// None: there is no monitor.
    lock: Option<File>,
    /// The log's directory exists and is watched.
    on_log: bool,
    over: bool,
}

impl Watch {
    pub fn new(container_dir: &Path, run_dir: &Path) -> Result<Self, Error> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |errno: Errno| Error::file("watch", path)(errno.into())
        };
        let events =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(fail(container_dir))?;
        inotify::add_watch(&events, container_dir, WatchFlags::CREATE).map_err(fail(container_dir))?;
        let path = run_dir.join(crate::LOCK);
        let lock = match File::open(&path) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::file("open", path)(error)),
        };
        if lock.is_some() {
            match inotify::add_watch(&events, &path, WatchFlags::CLOSE_WRITE) {
                Ok(_) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(fail(&path)(errno)),
            }
        }
        Ok(Self { events, lock, on_log: false, over: false })
    }

    /// Blocks until there may be more to read; false when nothing will follow.
    pub fn wait(&mut self, log: &Path, until_ns: Option<u64>) -> Result<bool, Error> {
        if self.over {
            return Ok(false);
        }
        if !self.on_log {
            match inotify::add_watch(&self.events, log, WatchFlags::MODIFY | WatchFlags::CREATE) {
                Ok(_) => {
                    self.on_log = true;
                    return Ok(true);
                }
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::file("watch", log)(errno.into())),
            }
        }
        if self.writer_is_gone() {
            // One more look, for what it wrote since the last.
            self.over = true;
            return Ok(true);
        }
        self.sleep(until_ns).map_err(Error::file("watch", log))?;
        Ok(true)
    }

    fn writer_is_gone(&self) -> bool {
        let Some(lock) = &self.lock else { return true };
        // A shared lock is to be had as soon as nobody holds the exclusive one. It is given back at once: a
        // monitor that starts now must not be kept out by us.
        let free = flock(lock, FlockOperation::NonBlockingLockShared).is_ok();
        free && flock(lock, FlockOperation::Unlock).is_ok()
    }

    fn sleep(&mut self, until_ns: Option<u64>) -> io::Result<()> {
        let left = until_ns.map(|until| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
            until.saturating_sub(now)
        });
        self.over = left == Some(0);
        let timeout = left
            .map(|ns| Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as _ });
        match rustix::event::poll(&mut [PollFd::new(&self.events, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        // What happened does not matter, only that something did.
        let mut space = [MaybeUninit::<u8>::uninit(); 4096];
        while rustix::io::read(&self.events, &mut space).is_ok_and(|(read, _)| !read.is_empty()) {}
        Ok(())
    }
}
