use std::io::Read;

use corral_spec::{Digest, ImageRef};

use crate::{Error, Store};

impl Store {
    /// Makes a one-layer image of a root file system tar (`docker import`). `changes` are instructions:
    /// CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR. `message` becomes the
    /// comment of its history.
    ///
    /// # Errors
    /// [`Error::Change`], or as [`Store::unpack_layer`].
    pub fn import(
        &self,
        reader: impl Read,
        reference: Option<&ImageRef>,
        changes: &[&str],
        message: Option<&str>,
    ) -> Result<Digest, Error> {
        let _ = (reader, reference);
        todo!("{changes:?} {message:?}")
    }
}
