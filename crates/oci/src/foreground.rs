//! A container or a process in the foreground: signals go on to it, a terminal is carried, its exit code is ours.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corral_runtime::signal::SignalFd;
use corral_spec::Signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::Error;

/// Signals are held back from here on, so that none is lost between a start and the first look.
pub(crate) struct Watch {
    signals: SignalFd,
    child: Signal,
    window: Signal,
}

impl Watch {
    pub(crate) fn new() -> Result<Self, Error> {
        let named = |name: &str| -> Result<Signal, Error> {
            name.parse().map_err(|_| Error::Invalid(format!("there is no signal {name}")))
        };
        const FORWARDED: [&str; 8] = ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "CONT", "ALRM"];
        let (child, window) = (named("CHLD")?, named("WINCH")?);
        let all = FORWARDED.into_iter().map(named).chain([Ok(child), Ok(window)]);
        let signals = SignalFd::new(all.collect::<Result<Vec<_>, _>>()?);
        Ok(Self { signals: signals.map_err(Error::file("watch signals of", "this process"))?, child, window })
    }

    /// Until the child has ended; its exit code.
    pub(crate) fn run(&self, pid: i32, console: Option<OwnedFd>) -> Result<u8, Error> {
        let fail = |source: io::Error| Error::file("carry the terminal of", format!("process {pid}"))(source);
        let raw = console.as_ref().map(|_| Raw::enter()).transpose().map_err(fail)?;
        if let Some(master) = &console {
            resize(master.as_fd());
        }
        let mut input_open = true;
        loop {
            if let Some(code) = ended(pid).map_err(fail)? {
                if let Some(master) = &console {
                    while carry(master.as_fd(), rustix::stdio::stdout()).unwrap_or(false) {}
                }
                drop(raw);
                return Ok(code);
            }
            let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
            let stdin = rustix::stdio::stdin();
            if let Some(master) = &console {
                fds.push(PollFd::new(master, PollFlags::IN));
                if input_open {
                    fds.push(PollFd::new(&stdin, PollFlags::IN));
                }
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(fail(errno.into())),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            if let Some(master) = &console {
                if ready.get(1) == Some(&true) {
                    // EIO: nobody has the other side open; the end is told by a signal.
                    let _ = carry(master.as_fd(), rustix::stdio::stdout());
                }
                if ready.get(2) == Some(&true) {
                    input_open = carry(stdin, master.as_fd()).unwrap_or(false);
                }
            }
            self.pass(pid, console.as_ref()).map_err(fail)?;
        }
    }

    fn pass(&self, pid: i32, console: Option<&OwnedFd>) -> io::Result<()> {
        while let Some(signal) = self.signals.take()? {
            if signal == self.window {
                if let Some(master) = console {
                    resize(master.as_fd());
                }
            } else if signal != self.child {
                let to = corral_runtime::process_name(pid).map_err(io::Error::other)?;
                // It may have ended just now; the next SIGCHLD tells.
                let _ = corral_runtime::bundle::signal(&to, signal);
            }
        }
        Ok(())
    }
}

fn ended(pid: i32) -> io::Result<Option<u8>> {
    let found = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG)?;
    Ok(found.map(|(_, status)| match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code as u8,
        (None, signal) => 128 + signal.unwrap_or(0) as u8,
    }))
}

/// One block; false at the end of the input.
fn carry(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut block = [0; 8192];
    // The rest after the end: without this a terminal that somebody else still holds would block.
    let mut fds = [PollFd::from_borrowed_fd(from, PollFlags::IN)];
    let none = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut fds, Some(&none))? == 0 {
        return Ok(false);
    }
    let length = rustix::io::read(from, &mut block)?;
    let mut rest = &block[..length];
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(to, rest)?..];
    }
    Ok(length > 0)
}

/// The caller's terminal has the size; without one there is none to give.
fn resize(master: BorrowedFd<'_>) {
    if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
        let _ = tcsetwinsize(master, size);
    }
}

/// The caller's terminal in raw mode; dropped, it is as before.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return Ok(Self(None));
        }
        let before = tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin, OptionalActions::Now, &raw)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // The terminal may be gone.
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}
