//! A process tree that runs: waiting, signals, the end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use corral_spec::Signal;
use corral_spec::record::ProcessName;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::sys::pidfd_kill;
use crate::{ControlGroup, Error};

/// A started container. Dropped without [`cleanup`](Self::cleanup) it is killed all the same.
#[derive(Debug)]
pub struct Running {
    pub(crate) process: Child,
    group: ControlGroup,
    cleaned: bool,
}

/// A process that joined a running container. Dropped, it is killed if it still runs.
#[derive(Debug)]
pub struct Exec {
    /// The terminal's master side, if [`Io::Terminal`](crate::Io::Terminal) was asked for.
    pub console: Option<OwnedFd>,
    pub(crate) process: Child,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitState {
    /// By itself, with this code.
    Code(u8),
    /// By a signal.
    Signal(Signal),
}

impl ExitState {
    /// The code as Docker reports it: 128 + n for signal n.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal.number() as u8,
        }
    }
}

/// A child of this process, named race-free by its pidfd.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pidfd: OwnedFd,
    pub(crate) name: ProcessName,
    pub(crate) ended: Option<ExitState>,
}

impl Running {
    /// Readable when the first process has ended (poll(2)).
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.pidfd.as_fd()
    }

    /// The first process.
    pub fn name(&self) -> ProcessName {
        self.process.name
    }

    /// The container's control group.
    pub fn cgroup(&self) -> &ControlGroup {
        &self.group
    }

    /// The container's control group, to change its bounds.
    pub fn cgroup_mut(&mut self) -> &mut ControlGroup {
        &mut self.group
    }

    /// Reaps the first process; blocks until it has ended. A second call gives the same answer.
    ///
    /// # Errors
    /// [`Error::Process`] if another part of this program reaped it.
    pub fn wait(&mut self) -> Result<ExitState, Error> {
        self.process.wait()
    }

    /// Sends a signal to the first process. A signal to one that has ended already is no error.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.process.signal(signal)
    }

    /// Kills whatever is left, reaps the first process and removes the control groups. Runs to the end
    /// and returns what failed on the way.
    pub fn cleanup(mut self) -> Vec<Error> {
        self.clean()
    }

    pub(crate) fn new(process: Child, group: ControlGroup) -> Self {
        Self { process, group, cleaned: false }
    }

    fn clean(&mut self) -> Vec<Error> {
        self.cleaned = true;
        // With the first process its pid namespace is gone: mostly there is nothing left to kill.
        if self.process.ended.is_some() && self.group.remove_within(Duration::ZERO).is_empty() {
            return Vec::new();
        }
        let mut left = Vec::new();
        left.extend(self.group.kill().err());
        // Without a group that kills, its first process takes the pid namespace along.
        if self.process.ended.is_none() {
            left.extend(self.process.signal(Signal::KILL).err());
            left.extend(self.process.wait().err());
        }
        left.extend(self.group.remove());
        left
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.cleaned {
            // Whoever wanted to hear of failures calls cleanup; the next command collects the rest.
            drop(self.clean());
        }
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        if self.process.ended.is_none() {
            drop(self.process.signal(Signal::KILL).and_then(|()| self.process.wait()));
        }
    }
}

impl Exec {
    /// Readable when the process has ended (poll(2)).
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.pidfd.as_fd()
    }

    /// The process.
    pub fn name(&self) -> ProcessName {
        self.process.name
    }

    /// Reaps the process; blocks until it has ended. A second call gives the same answer.
    ///
    /// # Errors
    /// [`Error::Process`] if another part of this program reaped it.
    pub fn wait(&mut self) -> Result<ExitState, Error> {
        self.process.wait()
    }

    /// Sends a signal to the process. A signal to one that has ended already is no error.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.process.signal(signal)
    }
}

impl Child {
    /// A child just made; its start time is not known yet.
    pub(crate) fn new(pid: i32, pidfd: OwnedFd) -> Self {
        Self { pidfd, name: ProcessName { pid, start_ticks: 0 }, ended: None }
    }

    pub(crate) fn wait(&mut self) -> Result<ExitState, Error> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        let fail = |source: io::Error| Error::Process { pid: self.name.pid, act: "wait for it", source };
        let status = loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(Some(status)) => break status,
                Ok(None) => return Err(fail(io::ErrorKind::WouldBlock.into())),
                Err(errno) => return Err(fail(errno.into())),
            }
        };
        let ended = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ExitState::Code(code as u8),
            (None, Some(signal)) => ExitState::Signal(
                Signal::try_from(signal).map_err(|_| fail(io::ErrorKind::InvalidData.into()))?,
            ),
            (None, None) => return Err(fail(io::ErrorKind::InvalidData.into())),
        };
        self.ended = Some(ended);
        Ok(ended)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Error> {
        match pidfd_kill(self.pidfd.as_fd(), signal.number()) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => {
                result.map_err(|source| Error::Process { pid: self.name.pid, act: "signal it", source })
            }
        }
    }
}
