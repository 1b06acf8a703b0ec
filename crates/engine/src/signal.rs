use std::time::{Duration, Instant};

use corral_journal::Action;
use corral_runtime::ControlGroup;
use corral_spec::record::{Launch, Status};
use corral_spec::{ContainerId, Signal};
use corral_state::read_record;
use rustix::process::{Signal as Raw, pidfd_send_signal};

use crate::journal::of_container;
use crate::wait::{open_process, wait_for_monitor, wait_readable};
use crate::{Engine, Error, State, View};

/// How long the end of all processes may take after SIGKILL: a process in an uninterruptible call can
/// delay it, and then the user is told rather than kept.
const KILL_PATIENCE: Duration = Duration::from_secs(30);
/// How soon it is looked whether a monitor that does not end has started its container again.
const LIFE_PATIENCE: Duration = Duration::from_millis(200);
/// The mark of a container that somebody has stopped, among its records.
pub(crate) const STOPPED: &str = "stopped";

impl Stopped {
    /// What the mark says.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::ByUser => "user",
            Self::ByHost => "host",
        }
    }
}

/// Who stopped a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// A person.
    ByUser,
    /// The host, which goes down.
    ByHost,
}

impl Engine {
    /// Sends a signal to the first process of a running container.
    ///
    /// # Errors
    /// [`Error::WrongState`] when it does not run.
    pub fn kill(&self, id: &ContainerId, signal: Signal) -> Result<(), Error> {
        let status = self.running(id)?;
        let launch = self.launch(id)?;
        if !launch.restart.is_no() && (signal == Signal::KILL || signal == launch.stop_signal) {
            self.mark_stopped(id, Stopped::ByUser)?;
        }
        if let Some(record) = self.layout.container_record(id)? {
            self.record_signal(&record, signal)?;
        }
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
            Ok(()) | Err(rustix::io::Errno::SRCH) => {
                corral_fault::step!(SignalSent);
                Ok(())
            }
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
        self.stop_for(id, Stopped::ByUser, (signal, patience))
    }

    pub(crate) fn stop_for(
        &self,
        id: &ContainerId,
        stopped: Stopped,
        how: (Option<Signal>, Option<Duration>),
    ) -> Result<(), Error> {
        let Some(view) = self.view(id)? else { return Err(Error::NoContainer(id.to_string())) };
        let launch = match self.launch(id) {
            // Removed at its end, since the look above.
            Err(Error::NoContainer(_)) => return Ok(()),
            launch => launch?,
        };
        if !launch.restart.is_no() && !matches!(view.state, State::Created) {
            self.mark_stopped(id, stopped)?;
        }
        let ran = view.state.lives();
        self.end(&view, &launch, how)?;
        if ran { self.record_end(of_container(Action::Stop, &view.record)) } else { Ok(()) }
    }

    /// Kills what runs of a container that is to be removed; nobody starts it again.
    pub(crate) fn kill_for_removal(&self, view: &View) -> Result<(), Error> {
        let id = &view.record.id;
        let launch = match self.launch(id) {
            Err(Error::NoContainer(_)) => return Ok(()),
            launch => launch?,
        };
        if !launch.restart.is_no() {
            self.mark_stopped(id, Stopped::ByUser)?;
        }
        self.end(view, &launch, (Some(Signal::KILL), None))
    }

    /// Ends what runs, in whatever life of it.
    fn end(
        &self,
        view: &View,
        launch: &Launch,
        (signal, patience): (Option<Signal>, Option<Duration>),
    ) -> Result<(), Error> {
        let id = &view.record.id;
        let status = match &view.state {
            State::Running(status) | State::Paused(status) => status,
            State::Restarting(status, _) => return self.end_rest(id, status),
            _ => return Ok(()),
        };
        let signal = signal.unwrap_or(launch.stop_signal);
        let at_once = status.paused || signal == Signal::KILL;
        self.record_signal(&view.record, if at_once { Signal::KILL } else { signal })?;
        if at_once {
            return self.kill_now(id, status);
        }
        Self::send(status, signal)?;
        let patience = patience.unwrap_or(Duration::from_millis(launch.stop_timeout_ms));
        if let Some(init) = open_process(&status.init)?
            && !wait_readable(&init, Some(patience))?
        {
            self.record_signal(&view.record, Signal::KILL)?;
            self.kill_now(id, status)?;
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
                Ok(()) | Err(rustix::io::Errno::SRCH) => corral_fault::step!(SignalSent),
                Err(error) => return Err(Error::io("kill")(error.into())),
            }
            let group = ControlGroup::of(status);
            if status.paused {
                group.kill()?;
            }
        }
        self.settle(id, status)
    }

    fn settle(&self, id: &ContainerId, status: &Status) -> Result<(), Error> {
        let deadline = Instant::now() + KILL_PATIENCE;
        // A monitor that had not seen the mark in time is in another life of its container by now.
        while !wait_for_monitor(status, Some(LIFE_PATIENCE))? {
            match self.view(id)?.map(|view| view.state) {
                Some(State::Restarting(now, _)) if self.is_stopped(id) => return self.end_rest(id, &now),
                Some(State::Running(now) | State::Paused(now)) if now.init != status.init => {
                    return self.kill_now(id, &now);
                }
                _ if Instant::now() < deadline => continue,
                _ => {}
            }
            return Err(Error::Invalid(format!(
                "container {} did not end {} s after SIGKILL: a process hangs in the kernel (see dmesg)",
                id.short(),
                KILL_PATIENCE.as_secs()
            )));
        }
        Ok(())
    }

    /// Ends the wait for a container's next life: its monitor has recorded all, and holds nothing but the lock.
    fn end_rest(&self, id: &ContainerId, status: &Status) -> Result<(), Error> {
        if let Some(monitor) = open_process(&status.monitor)? {
            match pidfd_send_signal(&monitor, Raw::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(Error::io("end the container's monitor")(error.into())),
            }
            wait_readable(&monitor, Some(KILL_PATIENCE))?;
        }
        self.collect_one(id).map(drop)
    }

    /// Tells the monitor not to start the container again, and the next boot whether to.
    fn mark_stopped(&self, id: &ContainerId, stopped: Stopped) -> Result<(), Error> {
        std::fs::write(self.layout.container(id).join(STOPPED), stopped.word())
            .map_err(Error::io("mark the container as stopped"))?;
        corral_fault::step!(StopMarked);
        Ok(())
    }

    pub(crate) fn is_stopped(&self, id: &ContainerId) -> bool {
        self.layout.container(id).join(STOPPED).exists()
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
