use std::collections::BTreeMap;

use corral_image::ImageSummary;
use corral_spec::{ContainerId, Digest};

use crate::{Engine, Error, State, View};

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
            match self.remove(id, false) {
                Ok(()) => {
                    pruned.bytes += bytes;
                    pruned.lines.push(id.to_string());
                }
                Err(Error::WrongState { .. } | Error::State(corral_state::Error::Busy(_))) => {}
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
            let name = image.reference.as_ref().map_or_else(|| image.id.to_string(), ToString::to_string);
            match self.store.remove(&name, false, &|id: &Digest| used.contains(id)) {
                Ok(removed) => {
                    pruned.lines.extend(removed.untagged.iter().map(|name| format!("untagged: {name}")));
                    pruned.lines.extend(removed.deleted.iter().map(|id| format!("deleted: {id}")));
                    pruned.bytes += removed.deleted.iter().filter_map(|id| sizes.get(id)).sum::<u64>();
                }
                // Used or gone by now.
                Err(corral_image::Error::Busy { .. } | corral_image::Error::NoSuchImage(_)) => {}
                Err(error) => return Err(error.into()),
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

    /// Removes the named volumes that no container uses and that are wanted gone.
    ///
    /// # Errors
    /// When the database or the disk fails.
    pub fn prune_volumes(&self, wanted: &dyn Fn(&corral_state::Volume) -> bool) -> Result<Pruned, Error> {
        let mut pruned = Pruned::default();
        for volume in self.volumes()? {
            if !wanted(&volume) || self.volume_user(&volume.name)?.is_some() {
                continue;
            }
            let bytes = self.volume_size(&volume.name)?;
            self.remove_volume(&volume.name)?;
            pruned.bytes += bytes;
            pruned.lines.push(volume.name);
        }
        Ok(pruned)
    }

    fn layer_sizes(&self) -> Result<BTreeMap<Digest, u64>, Error> {
        Ok(self.store.usage()?.into_iter().map(|layer| (layer.layer, layer.size)).collect())
    }
}
