use std::io;
use std::os::fd::OwnedFd;

use corral_spec::record::ProcessName;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::caller::start_ticks;

/// A pidfd for exactly this process; none if it is gone, though its number may be in use again.
///
/// # Errors
/// When the kernel refuses a pidfd (descriptors exhausted).
pub fn find_process(name: &ProcessName) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(name.pid) else { return Ok(None) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Read after the pidfd was opened: if the start time matches, the pidfd is the right process.
    Ok(start_ticks(name.pid).is_ok_and(|ticks| ticks == name.start_ticks).then_some(pidfd))
}
