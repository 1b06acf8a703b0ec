//! A container's control groups, on cgroup v1, v2 and hybrid hosts.

use std::path::{Path, PathBuf};

use crate::Error;

/// The control groups of one container: its cgroup2 directory where the host has one (kill, freeze,
/// placement, limits), and a cgroup v1 directory for each v1 controller in use.
#[derive(Debug)]
pub struct ControlGroup {
    v2: Option<PathBuf>,
    v1: Vec<PathBuf>,
}

impl ControlGroup {
    /// The groups that a [`Status`](corral_spec::record::Status) names. Nothing is opened yet, so that
    /// groups already gone can be collected too.
    pub fn open(cgroup2: Option<&Path>, cgroup1: &[PathBuf]) -> Self {
        Self { v2: cgroup2.map(Path::to_owned), v1: cgroup1.to_vec() }
    }

    /// The cgroup2 directory.
    pub fn v2(&self) -> Option<&Path> {
        self.v2.as_deref()
    }

    /// The cgroup v1 directories.
    pub fn v1(&self) -> &[PathBuf] {
        &self.v1
    }

    /// Sends SIGKILL to every process in the group.
    ///
    /// # Errors
    /// [`Error::Group`].
    pub fn kill(&self) -> Result<(), Error> {
        todo!()
    }

    /// Freezes every process in the group and returns once all are frozen.
    ///
    /// # Errors
    /// [`Error::Group`].
    pub fn freeze(&self) -> Result<(), Error> {
        todo!()
    }

    /// Lets the processes go on.
    ///
    /// # Errors
    /// [`Error::Group`].
    pub fn thaw(&self) -> Result<(), Error> {
        todo!()
    }

    /// Whether the group is frozen or on the way there.
    ///
    /// # Errors
    /// [`Error::Group`].
    pub fn frozen(&self) -> Result<bool, Error> {
        todo!()
    }

    /// Whether the kernel killed a process of the group for its memory limit.
    ///
    /// # Errors
    /// [`Error::Group`].
    pub fn oom_killed(&self) -> Result<bool, Error> {
        todo!()
    }

    /// Removes the directories; those already gone are no error. Waits a moment for processes that are
    /// just dying. Runs to the end and returns what failed.
    pub fn remove(&self) -> Vec<Error> {
        todo!()
    }
}
