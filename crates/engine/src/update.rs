use corral_journal::Action;
use corral_spec::record::Cgroup;
use corral_spec::{ContainerId, RestartPolicy};
use corral_state::{ContainerLock, Life, write_record};
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

use crate::journal::of_container;
use crate::limits::LimitChange;
use crate::{Engine, Error, State};

/// Other bounds for one container, judged and not yet in force.
pub struct Updating<'e> {
    engine: &'e Engine,
    id: ContainerId,
    /// What shall hold.
    pub to: Cgroup,
    /// Whether any bound was asked for.
    bounds: bool,
    restart: Option<RestartPolicy>,
    /// Held where it does not run: nobody starts it with the old bounds meanwhile. None says that someone must put the
    /// new ones in force before they are recorded.
    lock: Option<ContainerLock>,
    _turn: OwnedFd,
}

impl Engine {
    /// Merges a change into a container's bounds and has its profile judge the result. For a container that runs, the
    /// caller has its monitor put `to` in force, then calls [`Updating::record`].
    ///
    /// In force before recorded, because the kernel may say no, and a record of what does not hold would be a lie. A
    /// command that is killed in between has promised nothing: what holds is the new, what the next start uses is the
    /// old, and the same command once more makes them one (it writes all bounds, whatever the record says).
    ///
    /// # Errors
    /// Docker's complaints about contradicting bounds; a denial of the profile.
    pub fn update(&self, id: &ContainerId, change: &LimitChange) -> Result<Updating<'_>, Error> {
        let turn = self.turn(id)?;
        self.collect_one(id)?;
        let Some(view) = self.view(id)? else { return Err(Error::NoContainer(id.to_string())) };
        let lock = match view.state {
            State::Running(_) | State::Paused(_) => None,
            State::Created | State::Exited(_) => Some(self.layout.lock(id)?),
            State::Busy | State::Dead | State::Restarting(..) => {
                return Err(Error::WrongState {
                    name: view.record.name.to_string(),
                    state: view.state.as_str(),
                    way_out: "another command works on it; try again",
                });
            }
        };
        let mut launch = self.launch(id)?;
        if launch.remove && change.restart.is_some() {
            return Err(Error::Invalid(
                "restart policy cannot be updated because AutoRemove is enabled for the container".into(),
            ));
        }
        launch.cgroup = change.merge(&launch.cgroup)?;
        corral_policy::judge_launch(view.record.profile, &launch)?;
        Ok(Updating {
            engine: self,
            id: id.clone(),
            to: launch.cgroup,
            bounds: change.has_bounds(),
            restart: change.restart,
            lock,
            _turn: turn,
        })
    }

    /// One change of a container's launch at a time: the records' directory, locked.
    pub(crate) fn turn(&self, id: &ContainerId) -> Result<OwnedFd, Error> {
        let dir = self.layout.records(id, self.layout.life(id));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let take = || {
            let dir = open(&dir, flags, Mode::empty())?;
            flock(&dir, FlockOperation::LockExclusive).map(|()| dir)
        };
        match take() {
            Ok(dir) => Ok(dir),
            Err(rustix::io::Errno::NOENT) => Err(Error::NoContainer(id.to_string())),
            Err(errno) => Err(Error::io("lock the container's records")(errno.into())),
        }
    }
}

impl Updating<'_> {
    /// Whether someone must put `to` in force before it is recorded.
    pub fn is_for_the_monitor(&self) -> bool {
        self.bounds && self.lock.is_none()
    }

    /// Writes down what holds from now on, by one rename: the next start uses it, `inspect` shows it.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn record(self) -> Result<(), Error> {
        let layout = self.engine.layout();
        let mut launch = self.engine.launch(&self.id)?;
        launch.cgroup = self.to;
        // The monitor reads it when the container ends.
        launch.restart = self.restart.unwrap_or(launch.restart);
        let life = layout.life(&self.id);
        let path = layout.records(&self.id, life).join("launch.json");
        write_record(&path, &launch, life == Life::Lasting)?;
        if let Some(record) = layout.container_record(&self.id)? {
            self.engine.record_end(of_container(Action::Update, &record))?;
        }
        match self.lock {
            Some(lock) => Ok(layout.unlock(lock, &self.id)?),
            None => Ok(()),
        }
    }
}
