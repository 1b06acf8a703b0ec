use std::path::{Path, PathBuf};

use corral_spec::Digest;

use crate::Error;

/// A store on disk; cheap to open, safe to share between threads and processes.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens `ROOT/store`, creating it if there is none. Scans nothing.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] or what creating gives.
    pub fn open(root: &Path) -> Result<Self, Error> {
        Ok(Self { dir: root.join("store") })
    }

    /// The unpacked tree of a layer: a lower directory for overlayfs.
    pub fn layer_dir(&self, layer: &Digest) -> PathBuf {
        self.dir.join("layers").join(layer.hex()).join("fs")
    }

    /// Whether the layer is stored whole.
    pub fn has_layer(&self, layer: &Digest) -> bool {
        todo!("{layer}")
    }

    /// Bytes of the layer's file contents.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`], or what reading gives.
    pub fn layer_size(&self, layer: &Digest) -> Result<u64, Error> {
        todo!("{layer}")
    }
}
