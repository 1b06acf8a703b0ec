use std::collections::HashSet;
use std::os::fd::OwnedFd;

use corral_spec::Digest;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::staging::Staging;
use crate::store::read_small;
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

/// The right to remove what others may be about to use: nobody holds a lease, and nobody gets one before
/// this is dropped.
pub(crate) struct Sweep<'s> {
    store: &'s Store,
    // Dropped in this order: leases are given again before the trash, which may be large, is emptied.
    _alone: OwnedFd,
    /// Removed things go here by rename.
    trash: Staging,
    moved: u32,
}

impl Store {
    /// Keeps gc away while something is put together of several layers, or between resolving an image and
    /// recording its use. Waits for a sweep that is going on (milliseconds: a sweep only renames).
    ///
    /// # Errors
    /// What opening the lock file gives.
    pub fn lease(&self) -> Result<Lease, Error> {
        Ok(Lease { _lock: self.flock("lease", FlockOperation::LockShared)? })
    }

    /// Removes images that have no name and no user, then layers, blobs and cache entries that no image
    /// has, and what dead processes left in staging. Beside somebody who holds a lease, the last only.
    /// `in_use` is asked while nobody holds a lease: what it answers must not be older than the call.
    ///
    /// # Errors
    /// What writing gives; an image that cannot be read, since its layers are unknown then.
    pub fn gc(&self, in_use: &dyn Fn(&Digest) -> bool) -> Result<Collected, Error> {
        let mut done = Collected { staging: self.collect_staging()?, ..Collected::default() };
        let Some(mut sweep) = self.sweep()? else {
            return Ok(Collected { held: true, ..done });
        };
        let lock = self.lock()?;
        let named: HashSet<Digest> = self.all_refs()?.into_iter().map(|(_, target)| target.id).collect();
        for id in self.images()? {
            if !named.contains(&id) && !in_use(&id) {
                self.remove_record(&id)?;
                done.images.push(id);
            }
        }
        let (layers, blobs) = self.live()?;
        for layer in self.digests_in("layers")? {
            if !layers.contains(&layer) {
                done.bytes += sweep.remove_layer(&layer)?;
                done.layers.push(layer);
            }
        }
        for blob in self.digests_in("blobs/sha256")? {
            if !blobs.contains(&blob) {
                sweep.remove_blob(&blob)?;
                done.blobs += 1;
            }
        }
        self.sweep_cache()?;
        drop(lock);
        Ok(done)
    }

    /// None if somebody holds a lease.
    pub(crate) fn sweep(&self) -> Result<Option<Sweep<'_>>, Error> {
        // Made first: it may have litter to collect, for which nobody should wait.
        let trash = self.staging()?;
        let alone = match self.flock("lease", FlockOperation::NonBlockingLockExclusive) {
            Ok(alone) => alone,
            Err(Error::Io { source, .. }) if Errno::from_io_error(&source) == Some(Errno::WOULDBLOCK) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        Ok(Some(Sweep { store: self, _alone: alone, trash, moved: 0 }))
    }

    /// The same, for somebody who can wait out the lease of a starting container.
    pub(crate) fn sweep_soon(&self) -> Result<Option<Sweep<'_>>, Error> {
        for _ in 0..10 {
            if let Some(sweep) = self.sweep()? {
                return Ok(Some(sweep));
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(None)
    }

    /// Layers and blobs that images have.
    pub(crate) fn live(&self) -> Result<(HashSet<Digest>, HashSet<Digest>), Error> {
        let (mut layers, mut blobs) = (HashSet::new(), HashSet::new());
        for id in self.images()? {
            layers.extend(self.config(&id)?.rootfs.diff_ids);
            blobs.insert(id);
            blobs.extend(self.target(id)?.and_then(|target| target.manifest));
        }
        Ok((layers, blobs))
    }

    pub(crate) fn remove_record(&self, id: &Digest) -> Result<(), Error> {
        let path = self.image_path(id);
        std::fs::remove_file(&path).map_err(|e| Error::io("remove", path, e))?;
        corral_fault::step!(ImageForgotten);
        Ok(())
    }

    fn sweep_cache(&self) -> Result<(), Error> {
        let cache = self.sub("cache");
        let fail = |e| Error::io("read", &cache, e);
        for kind in std::fs::read_dir(&cache).map_err(fail)? {
            for entry in std::fs::read_dir(kind.map_err(fail)?.path()).map_err(fail)? {
                let path = entry.map_err(fail)?.path();
                let layer = read_small(&path)?.and_then(|text| crate::cache::parse(&text));
                if !layer.is_some_and(|layer| self.has_layer(&layer)) {
                    std::fs::remove_file(&path).map_err(|e| Error::io("remove", path, e))?;
                }
            }
        }
        Ok(())
    }
}

impl Sweep<'_> {
    /// Bytes of file contents that this frees.
    pub(crate) fn remove_layer(&mut self, layer: &Digest) -> Result<u64, Error> {
        let bytes = self.store.layer_size(layer).unwrap_or_default();
        let path = self.store.layer_path(layer);
        self.moved += 1;
        match rustix::fs::rename(&path, self.trash.path().join(self.moved.to_string())) {
            Ok(()) | Err(Errno::NOENT) => {
                corral_fault::step!(LayerTrashed);
                Ok(bytes)
            }
            Err(errno) => Err(Error::io("remove", path, errno)),
        }
    }

    pub(crate) fn remove_blob(&mut self, blob: &Digest) -> Result<(), Error> {
        match std::fs::remove_file(self.store.blob_path(blob)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", self.store.blob_path(blob), e))
            }
            _ => {
                corral_fault::step!(BlobRemoved);
                Ok(())
            }
        }
    }
}
