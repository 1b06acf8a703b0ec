//! From a launch to a child that waits one step before execve.

use std::os::fd::OwnedFd;

use corral_spec::record::Launch;

use crate::{Error, Running};

/// The container's ends of its standard streams.
#[derive(Debug)]
pub enum Io {
    /// Any descriptors: pipes, files, /dev/null.
    Pipes {
        /// Descriptor 0.
        stdin: OwnedFd,
        /// Descriptor 1.
        stdout: OwnedFd,
        /// Descriptor 2.
        stderr: OwnedFd,
    },
    /// A pseudo-terminal of the container's own devpts, made there; its master side comes back.
    Terminal,
}

/// A container that waits one step before execve. Dropped without [`start`](Self::start) it is killed
/// and its control groups are removed.
#[derive(Debug)]
pub struct Created {
    /// The terminal's master side, for [`Io::Terminal`]; take it before [`start`](Self::start).
    pub console: Option<OwnedFd>,
    running: Running,
}

impl Created {
    /// The first process, which waits.
    pub fn name(&self) -> corral_spec::record::ProcessName {
        self.running.name()
    }

    /// The container's control group.
    pub fn cgroup(&self) -> &crate::ControlGroup {
        self.running.cgroup()
    }

    /// Lets the child execute its program.
    ///
    /// # Errors
    /// [`Error::Exec`] with the kernel's reason; the container is gone then.
    pub fn start(self) -> Result<Running, Error> {
        todo!()
    }
}

/// Makes everything that `launch` says, up to the step before execve. The caller is the container's
/// parent: when it dies, the container dies.
///
/// # Errors
/// Any [`Error`]; nothing is left behind then, or [`Error::HalfMade`] says what.
pub fn create(_launch: &Launch, _io: Io) -> Result<Created, Error> {
    todo!()
}
