//! Sleeps until a segment grows or a new one appears.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::Error;

/// What a following reader waits on.
#[derive(Debug)]
pub(crate) struct Watch(OwnedFd);

impl Watch {
    /// Of a directory, which is made if it is not there.
    pub fn new(directory: &Path) -> Result<Self, Error> {
        crate::lane::make_directory(directory)?;
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(Error::os("watch", directory))?;
        inotify::add_watch(&events, directory, WatchFlags::MODIFY | WatchFlags::MOVED_TO)
            .map_err(Error::os("watch", directory))?;
        Ok(Self(events))
    }

    /// Blocks until something was written, or until a moment: false then.
    pub fn wait(&self, until_ns: Option<u64>) -> Result<bool, Error> {
        let left = until_ns.map(|until| until.saturating_sub(crate::append::now_ns()));
        if left == Some(0) {
            return Ok(false);
        }
        let timeout = left
            .map(|ns| Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as _ });
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::os("wait for", Path::new("the journal"))(errno)),
        }
        // What happened does not matter, only that something did.
        let mut space = [MaybeUninit::<u8>::uninit(); 4096];
        while rustix::io::read(&self.0, &mut space).is_ok_and(|(read, _)| !read.is_empty()) {}
        Ok(true)
    }
}
