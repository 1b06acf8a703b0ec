use std::time::Duration;

use corral_runtime::ControlGroup;
use corral_spec::record::{Launch, Status};
use corral_spec::{ContainerId, Signal};
use corral_state::read_record;
use rustix::process::{Signal as Raw, pidfd_send_signal};

use crate::wait::{open_process, wait_for_monitor, wait_readable};
use crate::{Engine, Error, State};

/// How long the end of all processes may take after SIGKILL: a process in an uninterruptible call can
/// delay it, and then the user is told rather than kept.
const KILL_PATIENCE: Duration = Duration::from_secs(30);

impl Engine {
    /// Sends a signal to the first process of a running container.
    ///
    /// # Errors
    /// [`Error::WrongState`] when it does not run.
    pub fn kill(&self, id: &ContainerId, signal: Signal) -> Result<(), Error> {
        let status = self.running(id)?;
        if signal == Signal::KILL {
            return self.kill_now(id, &status);
        }
        Self::send(&status, signal)
    }

    /// Sends a signal to the first process; one that has ended meanwhile is no error.
    fn send(status: &Status, signal: Signal) -> Result<(), Error> {
        let Some(init) = open_process(&status.init)? else { return Ok(()) };
        let raw = Raw::from_named_raw(signal.number())
            .ok_or_else(|| Error::Invalid(format!("signal {signal} cannot be sent")))?;
        match pidfd_send_signal(&init, raw) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(Error::io(format!("send {signal}"))(error.into())),
        }
    }

    /// Stops a container: its stop signal, patience, then SIGKILL to all of it. A container that does not
    /// run is stopped already.
    ///
    /// # Errors
    /// When the processes do not end even then.
    pub fn stop(
        &self,
        id: &ContainerId,
        signal: Option<Signal>,
        patience: Option<Duration>,
    ) -> Result<(), Error> {
        let Some(view) = self.view(id)? else { return Err(Error::NoContainer(id.to_string())) };
        let Some(status) = view.state.status() else { return Ok(()) };
        let launch = match self.launch(id) {
            // Removed at its end, since the look above.
            Err(Error::NoContainer(_)) => return Ok(()),
            launch => launch?,
        };
        let signal = signal.unwrap_or(launch.stop_signal);
        if status.paused || signal == Signal::KILL {
            return self.kill_now(id, status);
        }
        Self::send(status, signal)?;
        let patience = patience.unwrap_or(Duration::from_millis(launch.stop_timeout_ms));
        if let Some(init) = open_process(&status.init)?
            && !wait_readable(&init, Some(patience))?
        {
            return self.kill_now(id, status);
        }
        self.settle(id, status)
    }

    /// Kills all processes of a container at once and waits for its exit record.
    /// One that has ended since `status` was read is no error.
    pub(crate) fn kill_now(&self, id: &ContainerId, status: &Status) -> Result<(), Error> {
        if let Some(init) = open_process(&status.init)? {
            // The first process takes its pid namespace with it. Frozen processes die by their group: it lets
            // SIGKILL through on cgroup2, and thaws them on v1. It may be gone a moment later.
            match pidfd_send_signal(&init, Raw::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(Error::io("kill")(error.into())),
            }
            let group = ControlGroup::open(status.cgroup2.as_deref(), &status.cgroup1);
            if status.paused {
                group.kill()?;
            }
        }
        self.settle(id, status)
    }

    fn settle(&self, id: &ContainerId, status: &Status) -> Result<(), Error> {
        if !wait_for_monitor(status, Some(KILL_PATIENCE))? {
            return Err(Error::Invalid(format!(
                "container {} did not end {} s after SIGKILL: a process hangs in the kernel (see dmesg)",
                id.short(),
                KILL_PATIENCE.as_secs()
            )));
        }
        Ok(())
    }

    pub(crate) fn running(&self, id: &ContainerId) -> Result<Status, Error> {
        let Some(view) = self.view(id)? else { return Err(Error::NoContainer(id.to_string())) };
        match view.state {
            State::Running(status) | State::Paused(status) => Ok(status),
            state => Err(Error::WrongState {
                name: view.record.name.to_string(),
                state: state.as_str(),
                way_out: "it is not running; start it with `corral start`",
            }),
        }
    }

    /// What the monitor runs.
    ///
    /// # Errors
    /// [`Error::NoContainer`].
    pub fn launch(&self, id: &ContainerId) -> Result<Launch, Error> {
        read_record(&self.layout.records(id, self.layout.life(id)).join("launch.json"))?
            .ok_or_else(|| Error::NoContainer(id.to_string()))
    }

    /// The command line of a container's first process.
    ///
    /// # Errors
    /// [`Error::NoContainer`].
    pub fn command(&self, id: &ContainerId) -> Result<Vec<String>, Error> {
        Ok(self.launch(id)?.process.argv)
    }
}
