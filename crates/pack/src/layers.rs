//! Trees into stored layers.

use corral_image::{EntryHead, EntryKind, LayerInfo, Store};
use corral_spec::Digest;
use sha2::{Digest as _, Sha256};

use crate::files::open_plain;
use crate::report::LayerReport;
use crate::tree::{Content, NodeKind, Tree};
use crate::{Error, Progress};

/// A layer's name, and the key under which it is found again.
pub(crate) struct LayerId<'a> {
    /// Kind of key: `pack-base`, `pack-wheels`; plain, for the store's cache.
    pub kind: &'a str,
    /// What went in.
    pub key: Digest,
    /// For people.
    pub name: &'a str,
    /// Seconds since 1970: the time stamp of its files.
    pub time: u64,
}

/// The time stamp of what comes from packages, 1980-01-01, the earliest that a wheel can hold: it must not
/// depend on the project, so that all images share the layer of a package.
pub(crate) const PACKAGE_TIME: u64 = 315_532_800;

impl LayerId<'_> {
    fn full_key(&self) -> Digest {
        key(&[&self.key.hex(), &self.time.to_string()])
    }
}

/// The key of a layer: a hash over what went in.
pub(crate) fn key(parts: &[&str]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Digest::from_bytes(hash.finalize().into())
}

/// Where layers go, in order.
pub(crate) struct Layers<'a> {
    store: &'a Store,
    progress: &'a dyn Fn(Progress),
    done: Vec<LayerReport>,
}

impl<'a> Layers<'a> {
    pub(crate) fn new(store: &'a Store, progress: &'a dyn Fn(Progress)) -> Self {
        Self { store, progress, done: Vec::new() }
    }

    /// Puts the layer on top: the stored one with this key, else the one that `make` gives.
    pub(crate) fn push(
        &mut self,
        id: &LayerId<'_>,
        make: impl FnOnce() -> Result<Tree, Error>,
    ) -> Result<Digest, Error> {
        if let Some(diff_id) = self.find(id) {
            let bytes = self.store.layer_size(&diff_id)?;
            return Ok(self.add(id, diff_id, bytes, true));
        }
        (self.progress)(Progress::Phase(format!("writing {}", id.name)));
        let mut tree = make()?;
        let info = write(self.store, &mut tree, id.time)?;
        self.store.cache_put(id.kind, &id.full_key(), &info.diff_id)?;
        Ok(self.add(id, info.diff_id, info.content, false))
    }

    /// The stored layer with this key.
    pub(crate) fn find(&self, id: &LayerId<'_>) -> Option<Digest> {
        self.store.cache_get(id.kind, &id.full_key()).filter(|diff_id| self.store.has_layer(diff_id))
    }

    fn add(&mut self, id: &LayerId<'_>, diff_id: Digest, bytes: u64, cached: bool) -> Digest {
        (self.progress)(Progress::Layer { name: id.name.to_owned(), bytes, cached });
        self.done.push(LayerReport { name: id.name.to_owned(), diff_id, bytes, cached });
        diff_id
    }

    pub(crate) fn digests(&self) -> Vec<Digest> {
        self.done.iter().map(|layer| layer.diff_id).collect()
    }

    pub(crate) fn into_reports(self) -> Vec<LayerReport> {
        self.done
    }

    pub(crate) fn reports(&self) -> &[LayerReport] {
        &self.done
    }
}

/// Writes a tree as a layer; missing parents are made.
fn write(store: &Store, tree: &mut Tree, time: u64) -> Result<LayerInfo, Error> {
    tree.make_parents();
    let mut writer = store.layer_writer()?;
    for (path, node) in tree.iter() {
        let (kind, content) = match &node.kind {
            NodeKind::Directory => (EntryKind::Directory, None),
            NodeKind::File(content) => (EntryKind::File { size: node.size() }, Some(content)),
            NodeKind::Symlink(target) => (EntryKind::Symlink { target: target.clone() }, None),
            NodeKind::Hardlink(target) => (EntryKind::Hardlink { target: target.clone() }, None),
        };
        let mut head = EntryHead::new(path, kind, node.mode);
        (head.uid, head.gid) = (node.uid, node.gid);
        head.mtime = i64::try_from(time).unwrap_or(i64::MAX);
        match content {
            None => writer.append(&head, std::io::empty())?,
            Some(Content::Bytes(bytes)) => writer.append(&head, &bytes[..])?,
            Some(Content::Host { path, offset, .. }) => {
                let file = open_plain(path)?;
                writer.append_file(&head, std::os::fd::AsFd::as_fd(&file), *offset)?;
            }
        }
    }
    Ok(writer.finish()?)
}
