//! Between `create` and `start`: the first process listens on a socket in the state directory.
//!
//! ```text
//! start ── connect, GO ──────────▶ startContainer hooks, seccomp, execve
//!       ◀─ end of file (close-on-exec), or FAILED with the reason
//!       ◀─ PID n ── GO ─▶          only with a listener for seccomp: n is its descriptor
//! ```
//!
//! A `start` that dies before it said GO leaves the process waiting for the next one. Signals that would end an
//! ordinary process end this one, though as process 1 it could ignore them.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, socket_with,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::Hook;
use super::inside::{Step, run_hooks};
use crate::Error;
use crate::channel::{Channel, Message, Word};
use crate::sys::signal::SignalFd;
use crate::sys::{close_all_but, exit, reset_signals};

/// What `start` hears before the program runs.
#[derive(Debug)]
pub struct Released {
    /// The listener of the container's seccomp filter, if it has one.
    pub seccomp: Option<OwnedFd>,
    channel: Channel,
}

/// The process that waits.
pub(super) struct Waiting<'b> {
    pub(super) step: &'b Step,
    pub(super) hooks: &'b [Hook],
    pub(super) state: String,
    pub(super) ignored_signals: u64,
}

/// A unix socket's address has room for 108 bytes: a short one leads through the directory's descriptor.
fn address(dir: BorrowedFd<'_>, name: &OsStr) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), name.to_string_lossy()))
}

fn socket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Makes the socket at which a container will wait.
///
/// # Errors
/// [`Error::Inside`].
pub fn listen(path: &std::path::Path) -> Result<OwnedFd, Error> {
    let make = || {
        let dir = open(path.parent().ok_or(Errno::INVAL)?, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let listener = socket()?;
        bind(&listener, &address(dir.as_fd(), path.file_name().ok_or(Errno::INVAL)?)?)?;
        rustix::net::listen(&listener, 8)?;
        Ok(listener)
    };
    make().map_err(|errno: Errno| Error::inside("make the socket that the container waits at", errno))
}

/// Lets the container that waits at `path` start. With a seccomp listener its descriptor comes back, and the program
/// runs after [`Released::finish`].
///
/// # Errors
/// What failed inside; [`Error::Inside`] if nobody waits there.
pub fn release(path: &std::path::Path, pid: i32) -> Result<Released, Error> {
    let reach = || {
        let dir = open(path.parent().ok_or(Errno::INVAL)?, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let to = socket()?;
        connect(&to, &address(dir.as_fd(), path.file_name().ok_or(Errno::INVAL)?)?)?;
        Ok(to)
    };
    let to = reach().map_err(|errno: Errno| Error::inside("reach the container's first process", errno))?;
    Released::hear(Channel::from_fd(to), pid)
}

/// A copy of the listener: sending it takes a system call that the filter may ask its listener about.
fn take_listener(pid: i32, body: &[u8]) -> std::io::Result<OwnedFd> {
    let number = <[u8; 4]>::try_from(body).map(i32::from_ne_bytes).map_err(std::io::Error::other)?;
    let pidfd = pidfd_open(Pid::from_raw(pid).ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
    Ok(pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty())?)
}

impl Released {
    /// Tells process `pid` at the other end to go, and hears whether it has a listener to hand over first.
    pub(super) fn hear(channel: Channel, pid: i32) -> Result<Self, Error> {
        let talk = |error: std::io::Error| Error::inside("talk to the container's process", error);
        channel.send(Word::Go, &[], &[]).map_err(talk)?;
        let seccomp = match channel.receive().map_err(talk)? {
            None => None,
            Some(Message { word: Word::Pid, body, .. }) => Some(take_listener(pid, &body).map_err(talk)?),
            Some(message) => return Err(message.failure().unwrap_or(Error::Died { act: "starting" })),
        };
        Ok(Self { seccomp, channel })
    }

    /// Waits until the program runs.
    ///
    /// # Errors
    /// Why it does not.
    pub fn finish(self) -> Result<(), Error> {
        let talk = |error: std::io::Error| Error::inside("talk to the container's first process", error);
        if self.seccomp.is_none() {
            return Ok(());
        }
        self.channel.send(Word::Go, &[], &[]).map_err(talk)?;
        match self.channel.receive().map_err(talk)? {
            None => Ok(()),
            Some(message) => Err(message.failure().unwrap_or(Error::Died { act: "starting" })),
        }
    }
}

impl Waiting<'_> {
    /// Waits and becomes the program. Nothing owned here is dropped.
    pub(super) fn run(&self, listener: OwnedFd, preserved: u32) -> ! {
        let first = 3 + preserved as i32;
        let alone = fcntl_dupfd_cloexec(&listener, first).map_err(Into::into).and_then(|kept| {
            std::mem::forget(listener);
            close_all_but(first, kept.as_raw_fd()).map(|()| kept)
        });
        let Ok(listener) = alone else { exit(1) };
        keep_inherited(preserved);
        let channel = self.released(&listener);
        drop(listener);
        let error = self.start(&channel);
        channel.send_failure(&error);
        exit(1)
    }

    /// Waits for somebody who says that it is time.
    fn released(&self, listener: &OwnedFd) -> Channel {
        const DEADLY: [&str; 9] = ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "PIPE", "ABRT"];
        let deadly = DEADLY.iter().filter_map(|name| name.parse().ok());
        let Ok(signals) = SignalFd::new(deadly) else { exit(1) };
        loop {
            let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
            if poll(&mut fds, None).is_err() {
                continue;
            }
            if let Ok(Some(signal)) = signals.take() {
                exit(128 + signal.number());
            }
            let Ok(connection) = accept_with(listener, SocketFlags::CLOEXEC) else { continue };
            let channel = Channel::from_fd(connection);
            if let Ok(Some(Message { word: Word::Go, .. })) = channel.receive() {
                return channel;
            }
        }
    }

    fn start(&self, channel: &Channel) -> Error {
        if let Err(error) = run_hooks(self.hooks, &self.state) {
            return error;
        }
        execute(self.step, channel, self.ignored_signals)
    }
}

/// The last steps of any process; comes back only with the reason why not.
pub(super) fn execute(step: &Step, channel: &Channel, ignored_signals: u64) -> Error {
    if let Err(error) = reset_signals(ignored_signals) {
        return Error::inside("reset signals", error);
    }
    match step.last.take() {
        Err(error) => error,
        Ok(None) => step.execute(),
        Ok(Some(seccomp)) => {
            let number = seccomp.as_raw_fd().to_ne_bytes();
            let body = [Word::Pid as u8, number[0], number[1], number[2], number[3]];
            // write and read, which a filter with a listener may not ask it about.
            match channel.exchange(&body) {
                Ok(()) => step.execute(),
                Err(error) => Error::inside("hand over the seccomp listener", error),
            }
        }
    }
}

/// Descriptors that the caller left to the program stay open across execve.
pub(super) fn keep_inherited(preserved: u32) {
    for number in 3..3 + preserved as i32 {
        // Numbers without a descriptor were refused before.
        let _ = crate::sys::with_number(number, |fd| fcntl_setfd(fd, FdFlags::empty()));
    }
}
