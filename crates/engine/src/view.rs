use corral_spec::ContainerId;
use corral_spec::record::{Exit, Status};
use corral_state::{ContainerRecord, Life, read_record};

use crate::{Engine, Error};

/// A container as it is now.
#[derive(Clone, Debug)]
pub struct View {
    /// What it is.
    pub record: ContainerRecord,
    /// Where it stands.
    pub state: State,
}

/// Where a container stands; follows from its lock and its files.
#[derive(Clone, Debug)]
pub enum State {
    /// Made, never started.
    Created,
    /// Someone is starting or removing it at this moment.
    Busy,
    /// Its monitor lives.
    Running(Status),
    /// Its monitor lives, its processes are frozen.
    Paused(Status),
    /// It ended so, and its monitor waits to start it again.
    Restarting(Status, Exit),
    /// It ended.
    Exited(Exit),
    /// Its monitor was killed; the next collection ends it.
    Dead,
}

impl State {
    /// Docker's word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Busy => "busy",
            Self::Running(_) => "running",
            Self::Paused(_) => "paused",
            Self::Restarting(..) => "restarting",
            Self::Exited(_) => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether its monitor lives: it runs, is paused, or waits for its next life.
    pub const fn lives(&self) -> bool {
        matches!(self, Self::Running(_) | Self::Paused(_) | Self::Restarting(..))
    }

    /// The monitor's word on a running or paused container.
    pub const fn status(&self) -> Option<&Status> {
        match self {
            Self::Running(status) | Self::Paused(status) => Some(status),
            _ => None,
        }
    }
}

impl Engine {
    /// The container as it is now; none if it does not exist.
    ///
    /// # Errors
    /// When its records cannot be read.
    pub fn view(&self, id: &ContainerId) -> Result<Option<View>, Error> {
        let Some(record) = self.layout.container_record(id)? else { return Ok(None) };
        Ok(Some(View { state: self.state(id)?, record }))
    }

    /// All containers, newest first. Half-made ones are not containers.
    ///
    /// # Errors
    /// When a directory cannot be read. A single damaged record is reported with its path.
    pub fn list(&self) -> Result<Vec<View>, Error> {
        let mut views = Vec::new();
        for id in self.layout.container_ids()? {
            views.extend(self.view(&id)?);
        }
        views.sort_by_key(|view| std::cmp::Reverse(view.record.created_ns));
        Ok(views)
    }

    /// How it ended last.
    pub(crate) fn exit(&self, id: &ContainerId) -> Result<Option<Exit>, Error> {
        Ok(read_record(&self.layout.records(id, self.layout.life(id)).join("exit.json"))?)
    }

    fn state(&self, id: &ContainerId) -> Result<State, Error> {
        let life = self.layout.life(id);
        let dir = self.layout.records(id, life);
        // The lock is looked at before and the exit record after: a container that ends in between is
        // seen as exited, never as dead. The record alone decides: a start removes it first, and whoever
        // holds the lock beside it collects what the container used.
        let locked = self.layout.is_locked(id);
        let exit = self.exit(id)?;
        let status = || read_record::<Status>(&self.layout.run(id).join("status.json"));
        if let Some(exit) = exit {
            return Ok(match locked.then(status).transpose()?.flatten() {
                Some(status) if status.restarting => State::Restarting(status, exit),
                _ => State::Exited(exit),
            });
        }
        if locked {
            return Ok(match status()? {
                // On the way to its next life.
                Some(status) if status.restarting => State::Busy,
                Some(status) if status.paused => State::Paused(status),
                Some(status) => State::Running(status),
                None => State::Busy,
            });
        }
        let dead = life == Life::Passing || dir.join("started").exists();
        Ok(if dead { State::Dead } else { State::Created })
    }
}
