use std::os::fd::OwnedFd;

use corral_spec::Digest;

use crate::{Error, Store};

/// While held, no sweep removes layers, blobs or cache entries, referenced or not. Dropped, or its
/// process killed, it ends.
pub struct Lease {
    _lock: OwnedFd,
}

/// What a sweep removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Images without name that no container uses.
    pub images: Vec<Digest>,
    /// Layers that no image has.
    pub layers: Vec<Digest>,
    /// Blobs that no image has.
    pub blobs: u64,
    /// Bytes of file contents freed.
    pub bytes: u64,
    /// Half-made things of dead processes.
    pub staging: u64,
    /// True if somebody held a lease, so that only dead staging was collected.
    pub held: bool,
}

impl Store {
    /// Keeps gc away while something is put together of several layers, or between resolving an image and
    /// recording its use. Waits for a sweep that is going on (milliseconds).
    ///
    /// # Errors
    /// What opening the lock file gives.
    pub fn lease(&self) -> Result<Lease, Error> {
        todo!()
    }

    /// Removes images that have no name and no user, then layers, blobs and cache entries that no image
    /// has, and what dead processes left in staging.
    ///
    /// # Errors
    /// What writing gives.
    pub fn gc(&self, in_use: &dyn Fn(&Digest) -> bool) -> Result<Collected, Error> {
        let _ = in_use;
        todo!()
    }
}
