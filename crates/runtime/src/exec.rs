//! A further process in a running container.

use corral_spec::record::{Launch, Process, Status};

use crate::{Error, Exec, Io};

/// Starts `process` in the running container that `launch` and `status` describe: in all its
/// namespaces, in its control groups, under the same confinement. The caller is the parent: when it
/// dies, the process is killed.
///
/// # Errors
/// [`Error::Gone`] if the container's first process has ended, [`Error::Paused`] if it is frozen,
/// [`Error::Exec`] if the program cannot be executed.
pub fn exec(_launch: &Launch, _status: &Status, _process: &Process, _io: Io) -> Result<Exec, Error> {
    todo!()
}
