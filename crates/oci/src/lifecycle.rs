//! `kill`, `delete`, `pause` and `resume`.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use corral_runtime::bundle;
use corral_spec::Signal;
use corral_spec::record::ProcessName;
use rustix::mount::{UnmountFlags, unmount};

use crate::state::{self, Container, Status};
use crate::{Error, Runtime, plan};

/// How long a killed process may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

impl Runtime {
    /// Sends a signal to the first process, or to every process of the container.
    ///
    /// # Errors
    /// [`Error::State`] if it does not run.
    pub fn kill(&self, id: &str, signal: Signal, all: bool) -> Result<(), Error> {
        let container = Container::find(&self.root, id)?;
        let status = container.status()?;
        let group = container.record.group();
        if all {
            return match signal == Signal::KILL {
                true => Ok(group.kill()?),
                false => signal_all(&container, signal),
            };
        }
        let running = matches!(status, Status::Created | Status::Running | Status::Paused);
        let (true, Some(process)) = (running, container.record.process) else {
            return Err(Error::State("container not running".to_owned()));
        };
        match bundle::signal(&process, signal) {
            Err(corral_runtime::Error::Gone(_)) => {
                return Err(Error::State("container not running".to_owned()));
            }
            sent => sent?,
        }
        // Nobody dies in a frozen v1 group.
        if signal == Signal::KILL && status == Status::Paused {
            group.thaw()?;
        }
        Ok(())
    }

    /// Removes a container that has stopped; with `force`, one in any state, and one that is not there.
    ///
    /// # Errors
    /// [`Error::State`] if it runs; what could not be removed.
    pub fn delete(&self, id: &str, force: bool) -> Result<(), Error> {
        let (container, lock) = match Container::find_locked(&self.root, id) {
            Err(Error::Missing(_)) if force => return self.collect(id),
            found => found?,
        };
        let status = container.status()?;
        match status {
            Status::Creating | Status::Created | Status::Running | Status::Paused if !force => {
                return Err(Error::State(format!(
                    "cannot delete container {id} that is not stopped: {}",
                    status.name()
                )));
            }
            Status::Stopped => {}
            _ => end(&container)?,
        }
        let hooks = container.config().and_then(|config| plan::hooks("poststop", &config.hooks.poststop));
        let state = container.record.state(0, "stopped").to_string();
        self.collect(id)?;
        drop(lock);
        // runtime.md: what goes wrong here is told and stops nothing.
        match hooks {
            Ok(hooks) => {
                for error in hooks.iter().filter_map(|hook| hook.run(&state).err()) {
                    eprintln!("corral oci: warning: {error}");
                }
            }
            Err(error) => eprintln!("corral oci: warning: poststop hooks: {error}"),
        }
        Ok(())
    }

    /// Freezes every process of a running container.
    ///
    /// # Errors
    /// [`Error::State`] if it does not run.
    pub fn pause(&self, id: &str) -> Result<(), Error> {
        let container = Container::find(&self.root, id)?;
        match container.status()? {
            Status::Running | Status::Created => Ok(container.record.group().freeze()?),
            status => Err(Error::State(format!("container not running or created: {}", status.name()))),
        }
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// [`Error::State`] if it is not paused.
    pub fn resume(&self, id: &str) -> Result<(), Error> {
        let container = Container::find(&self.root, id)?;
        match container.record.group().frozen() {
            Ok(true) if container.status()? != Status::Stopped => Ok(container.record.group().thaw()?),
            _ => Err(Error::State("container not paused".to_owned())),
        }
    }

    /// Removes the groups and the directory; what is gone already is no error.
    pub(crate) fn collect(&self, id: &str) -> Result<(), Error> {
        if state::check_id(id).is_err() {
            return Ok(());
        }
        if let Ok(container) = Container::find(&self.root, id) {
            let group = container.record.group();
            // Also processes that left the first one's pid namespace, or never had one.
            group.kill()?;
            if let Some(error) = group.remove().into_iter().next() {
                return Err(error.into());
            }
        }
        let dir = self.root.join(id);
        take_down(&state::stage(&dir))?;
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", &dir)(error)),
            _ => Ok(()),
        }
    }
}

/// Takes the container's mounts out of this mount namespace; the removal of the directory does it in others. Nothing
/// below is touched before: it is the root itself.
fn take_down(stage: &Path) -> Result<(), Error> {
    while unmount(stage, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
    match fs::remove_dir(stage) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("take down", stage)(error)),
        _ => Ok(()),
    }
}

/// Kills the first process and all others and waits until the first is gone.
fn end(container: &Container) -> Result<(), Error> {
    if let Some(process) = container.record.process {
        match bundle::signal(&process, Signal::KILL) {
            Ok(()) | Err(corral_runtime::Error::Gone(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    container.record.group().kill()?;
    let deadline = Instant::now() + PATIENCE;
    while container.status()? != Status::Stopped {
        if Instant::now() > deadline {
            return Err(Error::State(format!("container {} does not end", container.record.id)));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn signal_all(container: &Container, signal: Signal) -> Result<(), Error> {
    for pid in container.record.group().processes()? {
        // One that has ended meanwhile needs no signal.
        let Ok(name): Result<ProcessName, _> = corral_runtime::process_name(pid) else { continue };
        match bundle::signal(&name, signal) {
            Ok(()) | Err(corral_runtime::Error::Gone(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
