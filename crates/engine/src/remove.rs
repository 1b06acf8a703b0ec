use std::path::PathBuf;

use corral_journal::{Action, Event, Grade};
use corral_spec::ContainerId;
use corral_state::{ContainerLock, ContainerRecord, Life, TreeSize, tree_size};

use crate::journal::of_container;
use crate::mounts::anonymous_volumes;
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
        let lock = self.layout.lock(id)?;
        let record = self.layout.container_record(id).unwrap_or_default();
        self.take_away((lock, self.layout.life(id)), id, record.as_ref(), removal.volumes)?;
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
        self.take_away((lock, self.layout.life(id)), id, record.as_ref(), true)
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
        let removed = self.erase((lock, life), &record.id, Some(&record), true);
        if removed.is_ok() {
            ended.push(of_container(Action::Destroy, &record));
        }
        let recorded = self.journal().append(Grade::End, &ended);
        removed?;
        Ok(recorded?)
    }

    fn exists(&self, id: &ContainerId) -> bool {
        self.layout.container(id).exists() || self.layout.run(id).exists()
    }

    /// Removes a container, and records it if there was one.
    pub(crate) fn take_away(
        &self,
        held: (ContainerLock, Life),
        id: &ContainerId,
        record: Option<&ContainerRecord>,
        volumes: bool,
    ) -> Result<(), Error> {
        self.erase(held, id, record, volumes)?;
        match record {
            Some(record) => self.record_end(of_container(Action::Destroy, record)),
            None => Ok(()),
        }
    }

    /// Volumes first: killed in between, the container is still there and is removed again.
    fn erase(
        &self,
        (lock, life): (ContainerLock, Life),
        id: &ContainerId,
        record: Option<&ContainerRecord>,
        volumes: bool,
    ) -> Result<(), Error> {
        if let Some(record) = record.filter(|_| volumes) {
            self.remove_unused_volumes(&anonymous_volumes(&record.spec), id.as_str())?;
        }
        Ok(self.layout.remove_container(lock, id, life, record)?)
    }
}
