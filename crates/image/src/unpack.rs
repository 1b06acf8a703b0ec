use std::io::Read;

use corral_spec::Digest;

use crate::{Error, LayerInfo, Store};

/// What an archive may cost before it is refused as a bomb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Entries in one layer.
    pub entries: u64,
    /// Uncompressed bytes of one layer.
    pub bytes: u64,
    /// How many times larger than its compressed form a layer may be, checked beyond 1 GiB.
    pub ratio: u64,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self { entries: 4_000_000, bytes: 64 << 30, ratio: 200 }
    }
}

impl Store {
    /// Unpacks a layer tar, plain, gzip or zstd (told by its first bytes), into the store.
    ///
    /// # Errors
    /// [`Error::Entry`] naming an entry that is unsafe or cannot be stored; [`Error::Limit`];
    /// [`Error::DigestMismatch`] if the uncompressed tar is not `expect`; else what reading or writing gives.
    pub fn unpack_layer(
        &self,
        reader: impl Read,
        expect: Option<&Digest>,
        limits: &UnpackLimits,
    ) -> Result<LayerInfo, Error> {
        let _ = reader;
        todo!("{expect:?} {limits:?}")
    }
}
