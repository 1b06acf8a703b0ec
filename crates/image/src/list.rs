use corral_spec::{Digest, ImageRef};

use crate::{Error, Store};

/// One row of `images`: a name, or an image without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSummary {
    /// The name; none for an image without one.
    pub reference: Option<ImageRef>,
    /// The image.
    pub id: Digest,
    /// RFC 3339 time from the config.
    pub created: Option<String>,
    /// Bytes of all files of all layers.
    pub size: u64,
}

impl Store {
    /// All images, newest first; an image with two names is two rows.
    ///
    /// # Errors
    /// What reading the store gives.
    pub fn list(&self) -> Result<Vec<ImageSummary>, Error> {
        todo!()
    }
}
