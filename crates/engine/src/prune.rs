use std::collections::BTreeMap;

use corral_image::ImageSummary;
use corral_spec::{ContainerId, Digest};
use corral_state::{Database, Volume};

use crate::{Engine, Error, Removal, State, View};

/// What a pruning took away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Containers, volumes, or lines about images, as Docker lists them.
    pub lines: Vec<String>,
    /// Bytes that are free now.
    pub bytes: u64,
}

impl Engine {
    /// Removes the containers that do not run and that are wanted gone. One that somebody starts meanwhile stays.
    ///
    /// # Errors
    /// When a record or the disk fails.
    pub fn prune_containers(&self, wanted: &dyn Fn(&View) -> bool) -> Result<Pruned, Error> {
        self.collect()?;
        let mut pruned = Pruned::default();
        for view in self.list()? {
            let rests = matches!(view.state, State::Created | State::Exited(_) | State::Dead);
            if !rests || !wanted(&view) {
                continue;
            }
            let id: &ContainerId = &view.record.id;
            let bytes = self.size(&view.record).map(|size| size.writable).unwrap_or_default();
            match self.remove(id, Removal::default()) {
                Ok(_) => {
                    pruned.bytes += bytes;
                    pruned.lines.push(id.to_string());
                }
                // Used, at work, or gone by now.
                Err(
                    Error::WrongState { .. }
                    | Error::NoContainer(_)
                    | Error::State(corral_state::Error::Busy(_)),
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pruned)
    }

    /// Removes the images that no container uses and that are wanted gone, then what no image has. With `named`
    /// those that have a name too.
    ///
    /// # Errors
    /// When a record or the store fails.
    pub fn prune_images(&self, named: bool, wanted: &dyn Fn(&ImageSummary) -> bool) -> Result<Pruned, Error> {
        let sizes = self.layer_sizes()?;
        let mut pruned = Pruned::default();
        for image in self.store.list()? {
            if !(named || image.reference.is_none()) || !wanted(&image) {
                continue;
            }
            let used = self.images_in_use()?;
            if used.contains(&image.id) {
                continue;
            }
            match self.remove_listed_image(&image) {
                Ok(removed) => {
                    pruned.lines.extend(removed.untagged.iter().map(|name| format!("untagged: {name}")));
                    pruned.lines.extend(removed.deleted.iter().map(|id| format!("deleted: {id}")));
                    pruned.bytes += removed.deleted.iter().filter_map(|id| sizes.get(id)).sum::<u64>();
                }
                // Used or gone by now.
                Err(Error::Image(corral_image::Error::Busy { .. } | corral_image::Error::NoSuchImage(_))) => {
                }
                Err(error) => return Err(error),
            }
        }
        Ok(pruned)
    }

    /// Removes layers and blobs that no image has: what is left of killed commands, and of builds.
    ///
    /// # Errors
    /// When a record or the store fails.
    pub fn prune_layers(&self) -> Result<Pruned, Error> {
        // Images without a name are for `prune_images`, which knows what is wanted.
        let collected = self.store.gc(&|_| true)?;
        Ok(Pruned {
            lines: collected.layers.iter().map(ToString::to_string).collect(),
            bytes: collected.bytes,
        })
    }

    /// Removes the volumes that no container uses and that are wanted gone: those that nobody named, and with `named`
    /// the others too.
    ///
    /// # Errors
    /// When a record, the database or the disk fails.
    pub fn prune_volumes(&self, named: bool, wanted: &dyn Fn(&Volume) -> bool) -> Result<Pruned, Error> {
        let _lock = self.layout.lock_volumes()?;
        let used = self.volume_users()?;
        let db = Database::open(&self.layout)?;
        let mut pruned = Pruned::default();
        for volume in db.volumes()? {
            let due = (named || volume.labels.contains_key(Volume::ANONYMOUS)) && wanted(&volume);
            if due && !used.contains_key(&volume.name) {
                let bytes = self.volume_size(&volume.name)?;
                self.erase_volume(&db, &volume.name)?;
                pruned.bytes += bytes;
                pruned.lines.push(volume.name);
            }
        }
        Ok(pruned)
    }

    fn layer_sizes(&self) -> Result<BTreeMap<Digest, u64>, Error> {
        Ok(self.store.usage()?.into_iter().map(|layer| (layer.layer, layer.size)).collect())
    }
}
