use std::path::PathBuf;

use corral_spec::{ContainerId, Signal};

use crate::{Engine, Error, Prepared};

impl Engine {
    /// Removes a container. A running one is refused, or killed first if `force`.
    ///
    /// # Errors
    /// [`Error::WrongState`] for a running container without `force`.
    pub fn remove(&self, id: &ContainerId, force: bool) -> Result<(), Error> {
        let Some(view) = self.view(id)? else { return Err(Error::NoContainer(id.to_string())) };
        if view.state.lives() {
            if !force {
                return Err(Error::WrongState {
                    name: view.record.name.to_string(),
                    state: view.state.as_str(),
                    way_out: "stop the container before removing it, or use --force",
                });
            }
            self.stop(id, Some(Signal::KILL), None)?;
        }
        self.discard(id)
    }

    /// Takes a container that does not run off the disk. Not being there is no error: a monitor and a client
    /// may both come to remove a `--rm` container.
    ///
    /// # Errors
    /// When someone else works on it, or the disk fails.
    pub fn discard(&self, id: &ContainerId) -> Result<(), Error> {
        if !self.layout.container(id).exists() && !self.layout.run(id).exists() {
            return Ok(());
        }
        let lock = self.layout.lock(id)?;
        // Whoever held the lock before us may have removed it; then this takes away our own run directory only.
        let record = self.layout.container_record(id).unwrap_or_default();
        Ok(self.layout.remove_container(lock, id, self.layout.life(id), record.as_ref())?)
    }

    /// Where a command finds the files of a container that it has just made and runs itself: its data and its run
    /// directory.
    pub fn places(&self, prepared: &Prepared) -> [PathBuf; 2] {
        let id = &prepared.record.id;
        [self.layout.container(id), self.layout.run(id)]
    }

    /// Takes away a container that this command has made and run itself, and that has ended.
    ///
    /// # Errors
    /// When the disk fails; the next command goes on from there.
    pub fn discard_own(&self, prepared: Prepared) -> Result<(), Error> {
        let Prepared { record, lock, life, .. } = prepared;
        Ok(self.layout.remove_container(lock, &record.id, life, Some(&record))?)
    }
}
