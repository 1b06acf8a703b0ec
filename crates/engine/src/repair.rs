use crate::{Collected, Engine, Error};

impl Engine {
    /// [`Engine::collect`], and what no other command needs to look for, because it is in nobody's way: half-made things
    /// of the store and of the journal, which the next one of their kind would replace.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn repair(&self) -> Result<Collected, Error> {
        let collected = self.collect()?;
        self.store.collect_staging()?;
        self.journal().collect_staged()?;
        Ok(collected)
    }
}
