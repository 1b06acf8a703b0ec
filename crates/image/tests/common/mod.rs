//! Stores in temporary directories, and small images to put into them.
#![allow(dead_code)] // Each test program uses its part.

pub mod tar;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use corral_image::{EntryHead, EntryKind, ImageConfig, Store};
use corral_spec::Digest;

/// A directory that disappears with the test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("corral-image-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("scratch directory");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn store(&self) -> Store {
        Store::open(&self.0).expect("store")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("clean up");
    }
}

pub fn file(path: &str, size: u64) -> EntryHead {
    EntryHead::new(path, EntryKind::File { size }, 0o644)
}

pub fn layer(store: &Store, files: &[(&str, &[u8])]) -> Digest {
    let mut writer = store.layer_writer().expect("writer");
    for (path, data) in files {
        writer.append(&file(path, data.len() as u64), *data).expect("append");
    }
    writer.finish().expect("finish").diff_id
}

pub fn config_for(layers: &[Digest]) -> Vec<u8> {
    let mut config =
        ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..ImageConfig::default() };
    config.rootfs.kind = "layers".into();
    config.rootfs.diff_ids = layers.to_vec();
    config.to_bytes()
}

pub fn image_of(store: &Store, files: &[(&str, &[u8])], name: Option<&str>) -> Digest {
    let layers = [layer(store, files)];
    let id = store.add_image(&config_for(&layers), &layers).expect("image");
    if let Some(name) = name {
        store.tag(&id, &name.parse().expect("name")).expect("tag");
    }
    id
}

pub fn sha256(bytes: &[u8]) -> Digest {
    use sha2::Digest as _;
    Digest::from_bytes(sha2::Sha256::digest(bytes).into())
}
