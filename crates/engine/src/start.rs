use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use corral_policy::judge_launch;
use corral_spec::{ContainerId, UserNamespace};
use corral_state::{Life, write_record};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::create::make_layer;
use crate::sealed::Sealed;
use crate::signal::STOPPED;
use crate::{Engine, Error, Prepared, State};

/// The descriptor at which a monitor finds its client's socket: standard input, because a safe program can
/// pass the three standard descriptors and no others.
pub const MONITOR_CLIENT_FD: i32 = 0;
/// The descriptor at which a monitor finds the container's lock, held already.
pub const MONITOR_LOCK_FD: i32 = 1;

/// A container whose monitor has been started.
#[derive(Debug)]
pub struct Started {
    /// Which.
    pub id: ContainerId,
    /// Our end of the monitor's client socket: it says when the program runs, what it writes, how it ends.
    pub client: OwnedFd,
}

impl Engine {
    /// Starts a container that exists and does not run.
    ///
    /// # Errors
    /// [`Error::WrongState`] when it is paused or running.
    pub fn start(&self, id: &ContainerId) -> Result<Started, Error> {
        let Some(view) = self.view(id)? else { return Err(Error::NoContainer(id.to_string())) };
        match view.state {
            State::Created | State::Exited(_) => {}
            State::Dead => {
                self.collect_one(id)?;
            }
            State::Busy | State::Running(_) | State::Paused(_) | State::Restarting(..) => {
                return Err(Error::WrongState {
                    name: view.record.name.to_string(),
                    state: view.state.as_str(),
                    way_out: "it has been started already",
                });
            }
        }
        let lock = self.layout.lock(id)?;
        let life = self.layout.life(id);
        let mut launch = self.launch(id)?;
        // It lay on disk, and this build's rules may be stricter than those that it was made under.
        if let Err(denial) = judge_launch(view.record.profile, &launch) {
            self.record_denial("container start", view.record.name.as_str(), &denial)?;
            return Err(denial.into());
        }
        // Its template may be gone, and only `run` chooses one.
        if launch.warm.take().is_some() {
            write_record(&self.layout.records(id, life).join("launch.json"), &launch, life == Life::Lasting)?;
        }
        make_layer(&launch)?;
        crate::disk::check_keepers(&launch)?;
        for mark in ["exit.json", STOPPED] {
            match std::fs::remove_file(self.layout.records(id, life).join(mark)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io(format!("remove the last {mark}"))(error));
                }
                _ => {}
            }
        }
        corral_fault::step!(MarksRemoved);
        self.start_prepared(Prepared { record: view.record, launch, lock, life })
    }

    /// Starts what [`Engine::create`] has just made, under the lock that it still holds.
    ///
    /// # Errors
    /// When the monitor cannot be executed.
    pub fn start_prepared(&self, prepared: Prepared) -> Result<Started, Error> {
        // A passing container needs no mark: without its lock it is garbage, started or not.
        if prepared.life == Life::Lasting {
            let mark = self.layout.container(&prepared.record.id).join("started");
            std::fs::write(mark, "").map_err(Error::io("mark the container as started"))?;
            corral_fault::step!(StartMarked);
        }
        let client = self.spawn_monitor(&prepared)?;
        Ok(Started { id: prepared.record.id, client })
    }

    fn spawn_monitor(&self, prepared: &Prepared) -> Result<OwnedFd, Error> {
        let Prepared { record, lock, life, .. } = prepared;
        let id = &record.id;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|errno| Error::io("make a socket pair")(errno.into()))?;
        let lock = lock.as_fd().try_clone_to_owned().map_err(Error::io("pass the container's lock"))?;
        let sealed = match record.spec.userns {
            UserNamespace::Private | UserNamespace::KeepId => None,
            UserNamespace::Host => Some(Sealed::copy()?),
        };
        let program = sealed.as_ref().map_or_else(|| PathBuf::from("/proc/self/exe"), Sealed::path);
        // The child is not waited for: it outlives this command, or is reaped with it.
        let mut command = Command::new(program);
        if self.ground.shared.is_some() {
            command.env_clear().env(crate::INSIDE, "1");
        } else {
            command.env_clear();
        }
        command
            .arg("__monitor")
            .arg(self.layout.records(id, *life))
            .arg(self.layout.container(id))
            .arg(self.layout.run(id))
            .env("CORRAL_ROOT", self.layout.root())
            .env("CORRAL_RUN", self.layout.run_root())
            .envs(corral_fault::environment())
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(lock))
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::io("execute the container's monitor"))?;
        corral_fault::step!(MonitorSpawned);
        Ok(ours)
    }
}
