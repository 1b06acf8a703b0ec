//! A process tree that runs: waiting, signals, the end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corral_spec::Signal;
use corral_spec::record::ProcessName;

use crate::{ControlGroup, Error};

/// A started container. Dropped without [`cleanup`](Self::cleanup) it is killed all the same.
#[derive(Debug)]
pub struct Running {
    pub(crate) process: Child,
    pub(crate) group: ControlGroup,
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
        todo!("{:?}", self.process.ended.take())
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
    fn wait(&mut self) -> Result<ExitState, Error> {
        todo!()
    }

    fn signal(&self, _signal: Signal) -> Result<(), Error> {
        todo!()
    }
}
