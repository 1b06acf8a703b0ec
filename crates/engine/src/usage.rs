use std::collections::{BTreeMap, BTreeSet};

use corral_spec::Digest;

use crate::{Engine, Error};

/// What one kind of thing takes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many there are.
    pub total: usize,
    /// How many are in use.
    pub active: usize,
    /// Bytes.
    pub size: u64,
    /// Bytes of those that are not in use.
    pub reclaimable: u64,
}

/// What takes how much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Images, whose layers count once.
    pub images: Share,
    /// Writable layers.
    pub containers: Share,
    /// Volumes.
    pub volumes: Share,
    /// Layers that no image has.
    pub cache: Share,
    /// Of each image the bytes that it shares with another.
    pub shared: BTreeMap<Digest, u64>,
}

impl Engine {
    /// Counts and measures everything.
    ///
    /// # Errors
    /// When a record, the store or a directory cannot be read.
    pub fn usage(&self) -> Result<Usage, Error> {
        let mut usage = Usage::default();
        let views = self.list()?;
        let used: BTreeSet<Digest> = self.images_in_use()?;
        let images: BTreeSet<Digest> = self.store.list()?.into_iter().map(|image| image.id).collect();
        usage.images.total = images.len();
        usage.images.active = images.intersection(&used).count();
        for layer in self.store.usage()? {
            let share = if layer.images.is_empty() { &mut usage.cache } else { &mut usage.images };
            share.size += layer.size;
            if !layer.images.iter().any(|image| used.contains(image)) {
                share.reclaimable += layer.size;
            }
            if layer.images.is_empty() {
                share.total += 1;
            } else if layer.images.len() > 1 {
                for image in layer.images {
                    *usage.shared.entry(image).or_insert(0) += layer.size;
                }
            }
        }
        for view in &views {
            let size = self.size(&view.record)?.writable;
            let running = view.state.status().is_some();
            usage.containers.add(size, running);
        }
        let mounted = self.volume_users()?;
        for volume in self.volumes()? {
            let used = mounted.contains_key(&volume.name);
            usage.volumes.add(self.volume_size(&volume.name)?, used);
        }
        Ok(usage)
    }
}

impl Share {
    fn add(&mut self, size: u64, active: bool) {
        self.total += 1;
        self.active += usize::from(active);
        self.size += size;
        self.reclaimable += if active { 0 } else { size };
    }
}
