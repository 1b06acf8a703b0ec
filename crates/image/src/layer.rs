use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use corral_spec::Digest;
use rustix::fs::{Access, Mode, OFlags, openat2};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::split::{Part, SplitReader};
use crate::staging::Staging;
use crate::store::{Durable, boot_id, is_taken, read_small};
use crate::tree::CONFINED;
use crate::{Error, Store};

/// What is known of a stored layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// sha256 over the uncompressed tar.
    pub diff_id: Digest,
    /// Bytes of the uncompressed tar.
    pub size: u64,
    /// Bytes of all regular files' contents.
    pub content: u64,
    /// Number of entries.
    pub files: u64,
}

/// meta.json.
#[derive(Serialize, Deserialize)]
pub(crate) struct Meta {
    generation: u32,
    diff_id: Digest,
    size: u64,
    content: u64,
    files: u64,
    /// The boot in which the layer was written: without `synced`, it is trusted within that boot only.
    boot: String,
    /// Path → numbers in `shadow/` of its replaced contents, oldest first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    shadowed: BTreeMap<PathBuf, Vec<u64>>,
}

impl Meta {
    pub(crate) fn new(info: &LayerInfo, shadowed: BTreeMap<PathBuf, Vec<u64>>) -> Self {
        let LayerInfo { diff_id, size, content, files } = *info;
        Self { generation: 1, diff_id, size, content, files, boot: boot_id(), shadowed }
    }

    pub(crate) fn info(&self) -> LayerInfo {
        LayerInfo { diff_id: self.diff_id, size: self.size, content: self.content, files: self.files }
    }
}

impl Store {
    /// Whether the layer is stored whole: known to be on disk, or written since this boot. One of an earlier
    /// boot, which a power failure may have cut off, is verified once.
    pub fn has_layer(&self, layer: &Digest) -> bool {
        if self.is_synced(layer) {
            return true;
        }
        let Ok(meta) = self.layer_meta(layer) else { return false };
        if !meta.boot.is_empty() && meta.boot == boot_id() {
            return true;
        }
        // What is read now came from the disk, so no sync is needed.
        let whole = self.layer_tar(layer, &mut io::sink()).is_ok();
        if whole {
            // Only saves the next look; a read-only store has it each time.
            let _ = self.write_atomic(&self.layer_path(layer).join("synced"), b"", Durable::No);
        }
        whole
    }

    pub(crate) fn is_synced(&self, layer: &Digest) -> bool {
        rustix::fs::access(self.layer_path(layer).join("synced"), Access::EXISTS).is_ok()
    }

    /// Bytes of the layer's file contents.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`], or what reading gives.
    pub fn layer_size(&self, layer: &Digest) -> Result<u64, Error> {
        self.layer_meta(layer).map(|meta| meta.content)
    }

    pub(crate) fn layer_meta(&self, layer: &Digest) -> Result<Meta, Error> {
        let path = self.layer_path(layer).join("meta.json");
        let bytes = read_small(&path)?.ok_or(Error::NoSuchLayer(*layer))?;
        serde_json::from_slice(&bytes).map_err(|e| Error::Damaged { path, reason: e.to_string() })
    }

    /// Moves a finished layer out of staging. One that is there already stays, unless a power cut may
    /// have damaged it.
    pub(crate) fn publish_layer(&self, staging: &Staging, meta: &Meta) -> Result<(), Error> {
        let draft = staging.path().join("layer");
        let path = draft.join("meta.json");
        // Only a path that comes twice is in it, and JSON has no way to say one that is not UTF-8.
        let json = serde_json::to_vec(meta)
            .map_err(|e| Error::Archive(format!("a path comes twice and is not UTF-8: {e}")))?;
        std::fs::write(&path, json).map_err(|e| Error::io("write", &path, e))?;
        let target = self.layer_path(&meta.diff_id);
        corral_fault::step!(LayerStaged);
        loop {
            let errno = match rustix::fs::rename(&draft, &target) {
                Ok(()) => {
                    corral_fault::step!(LayerPlaced);
                    return Ok(());
                }
                Err(errno) => errno,
            };
            if !is_taken(errno) {
                return Err(Error::io("create", target, errno));
            }
            if self.has_layer(&meta.diff_id) {
                return Ok(());
            }
            match rustix::fs::rename(&target, staging.path().join("distrusted")) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::io("replace", target, errno)),
            }
        }
    }

    /// Brings all that was written so far to the disk, then marks these layers as being there for good.
    pub(crate) fn sync_layers(&self, layers: &[Digest]) -> Result<(), Error> {
        let fail = |e: Errno| Error::io("sync", self.dir(), e);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(self.dir(), flags, Mode::empty()).map_err(fail)?;
        rustix::fs::syncfs(dir).map_err(fail)?;
        corral_fault::step!(LayersSynced);
        for layer in layers {
            if !self.is_synced(layer) {
                self.write_atomic(&self.layer_path(layer).join("synced"), b"", Durable::No)?;
            }
        }
        Ok(())
    }

    /// Writes a stored layer's uncompressed tar and verifies it on the way.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`]; [`Error::DigestMismatch`] if the layer was changed; else as reading and
    /// writing give.
    pub fn layer_tar(&self, layer: &Digest, out: &mut dyn Write) -> Result<(), Error> {
        let meta = self.layer_meta(layer)?;
        let dir = self.layer_path(layer);
        let path = dir.join("headers");
        let damaged = |e: io::Error| Error::Damaged { path: path.clone(), reason: e.to_string() };
        let headers = File::open(&path).map_err(|e| Error::io("open", &path, e))?;
        let mut parts = SplitReader::new(headers).map_err(damaged)?;
        let mut tar = Verifier { out, hasher: Sha256::new() };
        let mut contents = Contents::open(dir.clone(), &meta)?;
        while let Some(part) = parts.next().map_err(damaged)? {
            match part {
                Part::Raw(bytes) => tar.write(&bytes)?,
                Part::File { path, size } => contents.copy(&path, size, &mut tar)?,
            }
        }
        let got = Digest::from_bytes(tar.hasher.finalize().into());
        if got == *layer {
            return Ok(());
        }
        let what =
            format!("layer {} was changed on disk, remove its images and load them again", dir.display());
        Err(Error::DigestMismatch { what, expect: *layer, got })
    }
}

struct Verifier<'w> {
    out: &'w mut dyn Write,
    hasher: Sha256,
}

impl Verifier<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hasher.update(bytes);
        self.out.write_all(bytes).map_err(|source| Error::Stream { act: "write the archive", source })
    }
}

/// Finds the file contents that `headers` refers to.
struct Contents<'m> {
    layer: PathBuf,
    root: File,
    shadowed: HashMap<&'m Path, &'m [u64]>,
    buffer: Vec<u8>,
}

impl<'m> Contents<'m> {
    fn open(layer: PathBuf, meta: &'m Meta) -> Result<Self, Error> {
        let fs = layer.join("fs");
        let root = File::open(&fs).map_err(|e| Error::io("open", fs, e))?;
        let shadowed = meta.shadowed.iter().map(|(path, n)| (path.as_path(), n.as_slice())).collect();
        Ok(Self { layer, root, shadowed, buffer: vec![0; 256 << 10] })
    }

    fn copy(&mut self, path: &Path, size: u64, tar: &mut Verifier<'_>) -> Result<(), Error> {
        let shown = self.layer.join("fs").join(path);
        let fail = |e: io::Error| Error::io("read", &shown, e);
        let mut file = match self.shadowed.get_mut(path) {
            Some(numbers) if !numbers.is_empty() => {
                let number = numbers[0];
                *numbers = &numbers[1..];
                File::open(self.layer.join("shadow").join(number.to_string())).map_err(fail)?
            }
            _ => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                openat2(&self.root, path, flags, Mode::empty(), CONFINED).map_err(|e| fail(e.into()))?.into()
            }
        };
        let mut left = size;
        while left > 0 {
            let want = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let got = file.read(&mut self.buffer[..want]).map_err(fail)?;
            if got == 0 {
                return Err(Error::Damaged { path: shown, reason: format!("{left} bytes are missing") });
            }
            tar.write(&self.buffer[..got])?;
            left -= got as u64;
        }
        Ok(())
    }
}
