use std::time::Duration;

use corral_spec::ContainerId;
use corral_spec::record::{Exit, ProcessName, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;

use crate::{Engine, Error, State};

impl Engine {
    /// Waits until the container has ended and gives its exit record; at once if it has.
    ///
    /// # Errors
    /// [`Error::NoContainer`] when it disappears without a record (a `--rm` container that was removed).
    pub fn wait(&self, id: &ContainerId) -> Result<Exit, Error> {
        loop {
            let Some(view) = self.view(id)? else { return Err(Error::NoContainer(id.to_string())) };
            match view.state {
                State::Exited(exit) => return Ok(exit),
                State::Restarting(status, _) => {
                    wait_for_monitor(&status, None)?;
                }
                State::Running(status) | State::Paused(status) => {
                    wait_for_monitor(&status, None)?;
                    // A --rm container's files go away with it: the record is read before that if it can be.
                    if let Some(exit) = self.exit(id)? {
                        return Ok(exit);
                    }
                }
                State::Dead => {
                    self.collect_one(id)?;
                }
                State::Created | State::Busy => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

/// Waits for the end of a container's monitor, which outlives the container by its last record.
/// False if the time ran out.
pub(crate) fn wait_for_monitor(status: &Status, timeout: Option<Duration>) -> Result<bool, Error> {
    match open_process(&status.monitor)? {
        Some(pidfd) => wait_readable(&pidfd, timeout),
        None => Ok(true),
    }
}

/// A pidfd for exactly this process; none if it is gone.
pub(crate) fn open_process(name: &ProcessName) -> Result<Option<OwnedFd>, Error> {
    corral_runtime::find_process(name).map_err(Error::io(format!("open process {}", name.pid)))
}

/// Waits for a descriptor to become readable; false if the time ran out.
pub(crate) fn wait_readable(fd: &OwnedFd, timeout: Option<Duration>) -> Result<bool, Error> {
    let deadline = timeout.map(|timeout| std::time::Instant::now() + timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(std::time::Instant::now()));
        let spec = left
            .map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) });
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], spec.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::io("wait for a process")(error.into())),
        }
    }
}
