use corral_spec::Digest;
use corral_state::{ContainerRecord, tree_size};

use crate::{Engine, Error};

/// What a container takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes of its writable layer.
    pub writable: u64,
    /// That and the layers of its image.
    pub root: u64,
}

impl Engine {
    /// How large a container is.
    ///
    /// # Errors
    /// When its directory or its image cannot be read.
    pub fn size(&self, record: &ContainerRecord) -> Result<Size, Error> {
        let on_disk = tree_size(&self.layout.container(&record.id).join("upper"))?.bytes;
        // A read-only root's writable layer is in memory.
        let writable = on_disk + tree_size(&self.layout.run(&record.id).join("upper"))?.bytes;
        Ok(Size { writable, root: writable + self.image_size(&record.image)? })
    }

    /// Bytes of the layers of an image.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn image_size(&self, image: &Digest) -> Result<u64, Error> {
        let mut size = 0;
        for layer in &self.store.resolve(&image.to_string())?.layers {
            size += self.store.layer_size(layer)?;
        }
        Ok(size)
    }

    /// Bytes in a named volume.
    ///
    /// # Errors
    /// When its directory cannot be read.
    pub fn volume_size(&self, name: &str) -> Result<u64, Error> {
        Ok(tree_size(&self.layout.volume(name))?.bytes)
    }
}
