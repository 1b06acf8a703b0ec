use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use corral_spec::{ContainerId, MountSource};
use corral_state::{Database, Volume, remove_tree};

use crate::{Engine, Error, View, host};

impl Engine {
    /// The data directory of a named volume, made with the volume if it does not exist.
    ///
    /// # Errors
    /// When the database or the directory fails.
    pub fn volume(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.layout.volume(name);
        if !path.is_dir() {
            Database::open(&self.layout)?.add_volume(name, host::now_ns() as i64)?;
            let make = |mode, path: &PathBuf| {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(mode)
                    .create(path)
                    .map_err(Error::io(format!("make volume {name}")))
            };
            make(0o700, &self.layout.root().join("volumes"))?;
            make(0o755, &path)?;
        }
        Ok(path)
    }

    /// All named volumes.
    ///
    /// # Errors
    /// When the database fails.
    pub fn volumes(&self) -> Result<Vec<Volume>, Error> {
        Ok(Database::open(&self.layout)?.volumes()?)
    }

    /// Removes a named volume and its data.
    ///
    /// # Errors
    /// When a container uses it, or it does not exist.
    pub fn remove_volume(&self, name: &str) -> Result<(), Error> {
        if let Some(user) = self.volume_user(name)? {
            return Err(Error::Invalid(format!(
                "volume {name} is used by container {}: remove that container first",
                user.short()
            )));
        }
        let db = Database::open(&self.layout)?;
        if !db.volumes()?.iter().any(|volume| volume.name == name) {
            return Err(Error::Invalid(format!("no such volume: {name}")));
        }
        remove_tree(&self.layout.volume(name))?;
        db.remove_volume(name)?;
        Ok(())
    }

    /// A container that uses a volume, running or not.
    pub(crate) fn volume_user(&self, name: &str) -> Result<Option<ContainerId>, Error> {
        let source = MountSource::Volume(name.to_owned());
        let uses = |view: &View| view.record.spec.mounts.iter().any(|mount| mount.source == source);
        Ok(self.list()?.into_iter().find(uses).map(|view| view.record.id))
    }
}
