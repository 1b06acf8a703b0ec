use std::io::Read;
use std::path::Path;

use corral_spec::{Digest, ImageRef};

use crate::{Error, Store};

/// An image that came out of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub id: Digest,
    /// The names it was given.
    pub references: Vec<ImageRef>,
}

impl Store {
    /// Loads an OCI layout or docker archive (a tar, compressed or not).
    ///
    /// # Errors
    /// [`Error::Archive`], [`Error::Entry`], [`Error::DigestMismatch`], or what reading or writing gives.
    pub fn load(&self, reader: impl Read) -> Result<Vec<Loaded>, Error> {
        let _ = reader;
        todo!()
    }

    /// Loads an OCI layout that is a directory.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_dir(&self, dir: &Path) -> Result<Vec<Loaded>, Error> {
        todo!("{dir:?}")
    }
}
