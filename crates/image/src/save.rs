use std::io::Write;

use crate::{Error, Store};

/// The form of a saved archive. Both hold an OCI layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveFormat {
    /// OCI image layout (`oci-layout`, `index.json`, `blobs/`).
    OciLayout,
    /// The same with Docker's `manifest.json` beside it, as docker 25 and newer write it.
    DockerArchive,
}

impl Store {
    /// Writes images as one tar. Layers are uncompressed and byte for byte those that were stored.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]; [`Error::DigestMismatch`] if a stored layer was changed; else what reading
    /// or writing gives.
    pub fn save(&self, images: &[&str], format: SaveFormat, out: impl Write) -> Result<(), Error> {
        let _ = out;
        todo!("{images:?} {format:?}")
    }
}
