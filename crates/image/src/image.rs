use corral_spec::{Digest, ImageRef};

use crate::{Error, ImageConfig, Store};

/// An image that was found.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of the config: the image's identity.
    pub id: Digest,
    /// The parsed config.
    pub config: ImageConfig,
    /// diffIDs, bottom first.
    pub layers: Vec<Digest>,
    /// The manifest it came with, if it was loaded or pulled.
    pub manifest: Option<Digest>,
}

impl Image {
    /// All names of the image, sorted; reads the whole of `refs/`.
    ///
    /// # Errors
    /// What reading the store gives.
    pub fn references(&self, store: &Store) -> Result<Vec<ImageRef>, Error> {
        store.references(&self.id)
    }
}

impl Store {
    /// Finds an image by tag, by digest (of config or manifest), or by the unique beginning of its id.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::AmbiguousId`], or what reading the store gives.
    pub fn resolve(&self, name: &str) -> Result<Image, Error> {
        todo!("{name}")
    }

    /// The config's bytes, verbatim.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], or what reading the store gives.
    pub fn config_bytes(&self, id: &Digest) -> Result<Vec<u8>, Error> {
        todo!("{id}")
    }

    /// Adds an image made of stored layers (bottom first, the same as in the config) and makes it durable.
    ///
    /// # Errors
    /// [`Error::Config`] if the config does not parse or names other layers; [`Error::NoSuchLayer`].
    pub fn add_image(&self, config: &[u8], layers: &[Digest]) -> Result<Digest, Error> {
        todo!("{config:?} {layers:?}")
    }
}
