use std::collections::HashMap;

use corral_spec::Digest;

use crate::{Error, Store};

/// A layer, and the images that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerUse {
    /// The layer.
    pub layer: Digest,
    /// Bytes of its files.
    pub size: u64,
    /// Images that have it; none for one that only the build cache knows, or that a collection will take.
    pub images: Vec<Digest>,
}

impl Store {
    /// What every layer takes, and for which images.
    ///
    /// # Errors
    /// What reading the store gives.
    pub fn usage(&self) -> Result<Vec<LayerUse>, Error> {
        let mut images: HashMap<Digest, Vec<Digest>> = HashMap::new();
        for id in self.images()? {
            let layers = match self.config(&id) {
                Ok(config) => config.rootfs.diff_ids,
                // Removed while we read.
                Err(_) if self.target(id)?.is_none() => continue,
                Err(error) => return Err(error),
            };
            for layer in layers {
                let users = images.entry(layer).or_default();
                if !users.contains(&id) {
                    users.push(id);
                }
            }
        }
        let mut used = Vec::new();
        for layer in self.digests_in("layers")? {
            match self.layer_size(&layer) {
                Ok(size) => {
                    used.push(LayerUse { layer, size, images: images.remove(&layer).unwrap_or_default() })
                }
                Err(Error::NoSuchLayer(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(used)
    }
}
