use corral_spec::{Digest, ImageRef};

/// A finished image and what went into it.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The config digest: the image's identity, the same on every machine for the same input.
    pub image: Digest,
    /// The name it got.
    pub reference: ImageRef,
    /// Whether nothing had changed since the last pack, so that nothing was read.
    pub unchanged: bool,
    /// The layers, bottom first.
    pub layers: Vec<LayerReport>,
    /// Maintainer scripts of Debian packages that were not run, as `package: script`.
    pub skipped_scripts: Vec<String>,
    /// What the project asks for beyond its profile, one line each; nothing of it is granted.
    pub requests: Vec<String>,
    /// Files left out of the code layer because they look like secrets, relative to the project.
    pub withheld: Vec<String>,
    /// Whether `agent.lock` was written.
    pub lock_written: bool,
}

/// One layer of a [`Packed`] image.
#[derive(Clone, Debug)]
pub struct LayerReport {
    /// What is in it: `base`, `wheel numpy 2.2.6`, `code`.
    pub name: String,
    /// Digest of its uncompressed tar.
    pub diff_id: Digest,
    /// Bytes of its files.
    pub bytes: u64,
    /// Whether it was in the store already.
    pub cached: bool,
}
