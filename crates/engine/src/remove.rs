use std::path::PathBuf;

use corral_journal::{Action, Event, Grade};
use corral_spec::ContainerId;
use corral_state::{ContainerLock, ContainerRecord, Life, TreeSize, tree_size};

use crate::journal::of_container;
use crate::{Engine, Error, Prepared};

/// How a container is removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Removal {
    /// A running one is killed first.
    pub force: bool,
    /// Volumes that nobody named, and that no other container uses, go with it.
    pub volumes: bool,
}

impl Engine {
    /// Removes a container, and says what was lost with it.
    ///
    /// # Errors
    /// [`Error::WrongState`] for a running container without `force`.
    pub fn remove(&self, id: &ContainerId, removal: Removal) -> Result<TreeSize, Error> {
        let Some(view) = self.view(id)? else { return Err(Error::NoContainer(id.to_string())) };
        if view.state.lives() {
            if !removal.force {
                return Err(Error::WrongState {
                    name: view.record.name.to_string(),
                    state: view.state.as_str(),
                    way_out: "stop the container before removing it, or use --force",
                });
            }
            self.kill_for_removal(&view)?;
            corral_fault::step!(KilledForRemoval);
        }
        // What cannot be measured is removed all the same.
        let discarded = tree_size(&self.layout.container(id).join("upper")).unwrap_or_default();
        if !self.exists(id) {
            return Ok(discarded);
        }
        let was_at_work = self.layout.run(id).exists();
        let lock = self.layout.lock(id)?;
        let record = self.layout.container_record(id).unwrap_or_default();
        let mut taking = Taking::of(record.as_ref(), removal.volumes);
        if was_at_work {
            // A monitor that was killed at the end of its container has left the groups, and has not told.
            self.end_processes(id)?;
            taking.events.splice(0..0, self.unsaid_end(id, record.as_ref()));
        }
        self.take_away((lock, self.layout.life(id)), id, record.as_ref(), taking)?;
        Ok(discarded)
    }

    /// Takes a container that does not run, and goes with its end, off the disk. Not being there is no error: a
    /// monitor and a client may both come to remove a `--rm` container.
    ///
    /// # Errors
    /// When someone else works on it, or the disk fails.
    pub fn discard(&self, id: &ContainerId) -> Result<(), Error> {
        if !self.exists(id) {
            return Ok(());
        }
        let lock = self.layout.lock(id)?;
        // Whoever held the lock before us may have removed it; then this takes away our own run directory only.
        let record = self.layout.container_record(id).unwrap_or_default();
        let taking = Taking::of(record.as_ref(), true);
        self.take_away((lock, self.layout.life(id)), id, record.as_ref(), taking)
    }

    /// Where a command finds the files of a container that it has just made and runs itself: its data and its run
    /// directory.
    pub fn places(&self, prepared: &Prepared) -> [PathBuf; 2] {
        let id = &prepared.record.id;
        [self.layout.container(id), self.layout.run(id)]
    }

    /// Takes away a container that this command has made and run itself, and that has ended; `ended` is what there is
    /// to record of that.
    ///
    /// # Errors
    /// When the disk fails; the next command goes on from there.
    pub fn discard_own(&self, prepared: Prepared, mut ended: Vec<Event>) -> Result<(), Error> {
        let Prepared { record, lock, life, .. } = prepared;
        ended.push(of_container(Action::Destroy, &record));
        self.take_away((lock, life), &record.id, Some(&record), Taking { volumes: true, events: ended })
    }

    fn exists(&self, id: &ContainerId) -> bool {
        self.layout.container(id).exists() || self.layout.run(id).exists()
    }

    /// Removes a container, and records it if there was one.
    ///
    /// Volumes first: killed in between, the container is still there and is removed again. Recorded before it is
    /// forgotten: a kill in between records it twice, and never not. Who hears of the end of a container that lasts finds
    /// its name free.
    pub(crate) fn take_away(
        &self,
        (lock, life): (ContainerLock, Life),
        id: &ContainerId,
        record: Option<&ContainerRecord>,
        taking: Taking,
    ) -> Result<(), Error> {
        let Taking { volumes, events } = taking;
        if volumes {
            self.remove_unused_volumes(&self.volumes_to_go(id, record)?, id.as_str())?;
        }
        if let Some(record) = record {
            self.release_disk(record);
        }
        let record_end = || self.journal().append(Grade::End, &events);
        let recorded = match life {
            Life::Passing => {
                let recorded = record_end();
                self.layout.unmake_container(id, life, record)?;
                recorded
            }
            Life::Lasting => {
                self.layout.unmake_container(id, life, record)?;
                record_end()
            }
        };
        self.layout.remove_container(lock, id)?;
        Ok(recorded?)
    }
}

/// What goes with a container.
#[derive(Debug)]
pub(crate) struct Taking {
    /// The volumes that nobody named, and that no other container uses.
    pub(crate) volumes: bool,
    /// What there is to record.
    pub(crate) events: Vec<Event>,
}

impl Taking {
    /// A container that ended and whose end is recorded.
    pub(crate) fn of(record: Option<&ContainerRecord>, volumes: bool) -> Self {
        Self {
            volumes,
            events: record.map(|record| of_container(Action::Destroy, record)).into_iter().collect(),
        }
    }
}
