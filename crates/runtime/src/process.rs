use std::io;
use std::os::fd::OwnedFd;

use corral_spec::record::ProcessName;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::caller::start_ticks;

/// A pidfd for exactly this process; none if it is gone, though its number may be in use again.
///
/// # Errors
/// When the kernel refuses a pidfd (descriptors exhausted), or does not say when the process started.
pub fn find_process(name: &ProcessName) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(name.pid) else { return Ok(None) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Read after the pidfd was opened: if the start time matches, the pidfd is the right process.
    match start_ticks(name.pid) {
        Ok(ticks) => Ok((ticks == name.start_ticks).then_some(pidfd)),
        // Only the kernel says that a process is gone: what is not understood is not taken for its end.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT)) => Ok(None),
        Err(error) => Err(error),
    }
}
