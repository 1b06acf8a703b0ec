use std::io::Read;
use std::os::fd::BorrowedFd;

use crate::{EntryHead, Error, LayerInfo, Store};

/// Writes one layer: files to staging and, at the same time, the canonical tar into the digest.
///
/// Entries come parents first, each path once. Dropped without [`LayerWriter::finish`], nothing remains.
pub struct LayerWriter<'s> {
    store: &'s Store,
}

impl Store {
    /// Starts a layer.
    ///
    /// # Errors
    /// What creating the staging directory gives.
    pub fn layer_writer(&self) -> Result<LayerWriter<'_>, Error> {
        Ok(LayerWriter { store: self })
    }
}

impl LayerWriter<'_> {
    /// Adds an entry. `data` is read for files only, exactly as many bytes as the head says.
    ///
    /// # Errors
    /// [`Error::Entry`] for a path that is unsafe, repeated, or whose parent is missing, or when `data`
    /// ends early; else what writing gives.
    pub fn append(&mut self, head: &EntryHead, data: impl Read) -> Result<(), Error> {
        let _ = (self.store, data);
        todo!("{head:?}")
    }

    /// Adds a regular file whose contents are `size` bytes of a host file from `offset` on; shares the
    /// blocks where the file system can. The size in the head is `size`.
    ///
    /// # Errors
    /// As [`LayerWriter::append`].
    pub fn append_file(&mut self, head: &EntryHead, file: BorrowedFd<'_>, offset: u64) -> Result<(), Error> {
        let _ = (file, offset);
        todo!("{head:?}")
    }

    /// Ends the tar and makes the layer visible; if it is stored already, this copy is dropped.
    ///
    /// # Errors
    /// What writing gives.
    pub fn finish(self) -> Result<LayerInfo, Error> {
        todo!()
    }
}
