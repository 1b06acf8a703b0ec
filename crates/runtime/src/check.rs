//! A process in a running container whose end somebody waits for, and who must not be kept by anything the container
//! does: a health check.
//!
//! ```text
//! caller ── fork ─▶ keeper ── exec (exec.rs) ─▶ the process      nobody reads the pipe ⇒ the keeper kills the process
//!    ▲                │ output of the process, or why it was not started
//!    └── pidfd, pipe ─┘ ends with its code
//! ```
//!
//! To join a container and to start a program there can take as long as the container likes: the keeper waits for that,
//! and the caller waits for the keeper, with a time limit.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corral_spec::record::{Launch, Process, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal, set_parent_process_death_signal};

use crate::running::Child;
use crate::sys::{Forked, exit, fork, keep_only};
use crate::{Error, ExitState, Io, exec};

/// A check at work. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Check {
    /// What it writes, both streams; does not block. Closed when the check is not wanted any more.
    output: Option<OwnedFd>,
    keeper: Child,
}

impl Check {
    /// Starts `process` in the container. `launch` is read by the keeper, so that the caller need not have it.
    ///
    /// # Errors
    /// When no keeper can be made; what fails after that is the check's output and code (126, 127, 125).
    pub fn start(
        launch: impl FnOnce() -> Option<Launch>,
        status: &Status,
        process: impl FnOnce(&Launch) -> Process,
    ) -> Result<Self, Error> {
        let fail = |errno| Error::inside("make a pipe for a check", errno);
        let (output, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(fail)?;
        rustix::fs::fcntl_setfl(&output, OFlags::NONBLOCK).map_err(fail)?;
        match fork(0, None).map_err(Error::Namespaces)? {
            Forked::Parent { pid, pidfd } => {
                Ok(Self { output: Some(output), keeper: Child::new(pid, pidfd) })
            }
            Forked::Child => {
                // Everything of the caller's that has to be read is read; then its descriptors are closed, for a lock
                // among them would outlive it.
                let launch = launch();
                let code = match keep_only(theirs) {
                    Ok(theirs) => keep(launch, status, process, &theirs),
                    Err(_) => 125,
                };
                exit(code.into())
            }
        }
    }

    /// Readable when there is output, or all of it was read.
    pub fn output(&self) -> BorrowedFd<'_> {
        self.output.as_ref().map_or_else(|| self.pidfd(), AsFd::as_fd)
    }

    /// Readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.keeper.pidfd.as_fd()
    }

    /// Its code; blocks until it has ended.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn wait(&mut self) -> Result<u8, Error> {
        self.keeper.wait().map(ExitState::code)
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        if self.keeper.ended.is_some() {
            return;
        }
        // The keeper kills the process and ends. The process itself would not have to die with it: it can say so
        // (PR_SET_PDEATHSIG), and each check out of time would leave one more.
        drop(self.output.take());
        let ends = PollFd::new(&self.keeper.pidfd, PollFlags::IN);
        let _ = poll(&mut [ends], Some(&GRACE)); // or it is killed
        // It may have ended meanwhile; a killed child is always reaped.
        let _ = pidfd_send_signal(&self.keeper.pidfd, Signal::KILL);
        let _ = self.keeper.wait();
    }
}

/// For a keeper to kill its process; one that still joins the container has none, and may take as long as it likes.
const GRACE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Waits for the process, or for the caller to close the pipe.
fn watch(begun: &mut crate::Exec, output: &OwnedFd) -> Result<ExitState, Error> {
    loop {
        let process = PollFd::from_borrowed_fd(begun.process.pidfd.as_fd(), PollFlags::IN);
        // Nothing is waited for there but the readers' end (POLLERR), which poll(2) always tells.
        let mut fds = [process, PollFd::new(output, PollFlags::empty())];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            polled => polled.map_err(|errno| Error::inside("wait for a check", errno))?,
        };
        if fds[0].revents().is_empty() && fds[1].revents().contains(PollFlags::ERR) {
            begun.signal(corral_spec::Signal::KILL)?;
        }
        return begun.wait();
    }
}

fn keep(
    launch: Option<Launch>,
    status: &Status,
    process: impl FnOnce(&Launch) -> Process,
    output: &OwnedFd,
) -> u8 {
    // The process dies with this one, and this one with the monitor.
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
        return 125;
    }
    let say = |text: String| {
        // A caller that is gone misses nothing.
        let _ = rustix::io::write(output, text.as_bytes());
    };
    let Some(launch) = launch else {
        say("the container's launch cannot be read".to_owned());
        return 125;
    };
    let io = || {
        let stdin = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok::<_, rustix::io::Errno>(Io::Pipes { stdin, stdout: dup(output)?, stderr: dup(output)? })
    };
    let begun = io()
        .map_err(|errno| Error::inside("open the streams of a check", errno))
        .and_then(|io| exec(&launch, status, &process(&launch), io));
    match begun.and_then(|mut begun| watch(&mut begun, output)) {
        Ok(state) => state.code(),
        Err(error) => {
            say(error.to_string());
            error.exit_code()
        }
    }
}

fn dup(fd: &OwnedFd) -> Result<OwnedFd, rustix::io::Errno> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3)
}
