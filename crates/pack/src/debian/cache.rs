use std::path::Path;

use super::Error;

/// Stored indexes and packages.
pub struct Cache {
    _private: (),
}

impl Cache {
    /// Opens a cache, making it if need be, and collects what a killed process left.
    ///
    /// # Errors
    /// [`Error::Cache`] if it cannot be made or locked.
    pub fn open(_root: &Path) -> Result<Self, Error> {
        todo!()
    }
}
