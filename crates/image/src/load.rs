use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use corral_spec::{Digest, ImageRef};
use serde::de::DeserializeOwned;

use crate::bundle::Bundle;
use crate::image::{digest_of, parse_config};
use crate::manifest::{
    Descriptor, DockerImage, Index, Manifest, NAME, Platform, REF_NAME, host_architecture,
};
use crate::{Error, Store, UnpackLimits};

/// An index may hold indexes, but not for ever.
const DEPTH: u32 = 3;

/// An image that came out of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub id: Digest,
    /// The names it was given.
    pub references: Vec<ImageRef>,
}

/// An image as the archive's documents describe it.
struct Described {
    config: Vec<u8>,
    /// Paths of the layers in the archive, bottom first.
    layers: Vec<String>,
    names: Vec<ImageRef>,
    manifest: Option<Vec<u8>>,
}

impl Store {
    /// Loads an OCI layout or docker archive (a tar, compressed or not). An image for another architecture
    /// is loaded too; of an index with several, the one for this machine.
    ///
    /// # Errors
    /// [`Error::Archive`], [`Error::Entry`], [`Error::DigestMismatch`], or what reading or writing gives.
    pub fn load(&self, reader: impl Read) -> Result<Vec<Loaded>, Error> {
        let _lease = self.lease()?;
        let bundle = Bundle::stream(self, reader, &UnpackLimits::default())?;
        self.load_bundle(bundle)
    }

    /// Loads an OCI layout that is a directory.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_dir(&self, dir: &Path) -> Result<Vec<Loaded>, Error> {
        let _lease = self.lease()?;
        self.load_bundle(Bundle::directory(dir, &UnpackLimits::default())?)
    }

    fn load_bundle(&self, mut bundle: Bundle) -> Result<Vec<Loaded>, Error> {
        let described = match document::<Vec<DockerImage>>(&mut bundle, "manifest.json")? {
            Some(images) => docker_images(&mut bundle, images)?,
            None => match document::<Index>(&mut bundle, "index.json")? {
                Some(index) => oci_images(&mut bundle, &index, 0)?,
                None => {
                    return Err(Error::Archive(
                        "it has neither index.json nor manifest.json: not an image (`corral import` takes a root file system)"
                            .into(),
                    ));
                }
            },
        };
        let mut loaded: Vec<Loaded> = Vec::new();
        for image in described {
            let (id, references) = self.load_image(&mut bundle, image)?;
            match loaded.iter_mut().find(|known| known.id == id) {
                Some(known) => known.references.extend(references),
                None => loaded.push(Loaded { id, references }),
            }
        }
        Ok(loaded)
    }

    fn load_image(&self, bundle: &mut Bundle, image: Described) -> Result<(Digest, Vec<ImageRef>), Error> {
        let id = digest_of(&image.config);
        let diff_ids = parse_config(&id, &image.config)?.rootfs.diff_ids;
        if diff_ids.len() != image.layers.len() {
            let reason = format!("it names {} layers, its manifest {}", diff_ids.len(), image.layers.len());
            return Err(Error::Config { id, reason });
        }
        for (path, diff_id) in image.layers.iter().zip(&diff_ids) {
            bundle.layer(self, path, diff_id)?;
        }
        self.add_image_durably(&image.config, &diff_ids, image.manifest.as_deref())?;
        for name in &image.names {
            self.tag(&id, name)?;
        }
        Ok((id, image.names))
    }
}

fn docker_images(bundle: &mut Bundle, images: Vec<DockerImage>) -> Result<Vec<Described>, Error> {
    let mut manifests = HashMap::new();
    if let Some(index) = document::<Index>(bundle, "index.json")? {
        for image in oci_images(bundle, &index, 0)? {
            manifests.insert(digest_of(&image.config), image.manifest);
        }
    }
    let mut described = Vec::new();
    for image in images {
        let missing = || {
            Error::Archive(format!(
                "manifest.json names {} and does not have it: save or fetch it again",
                image.config
            ))
        };
        let config = bundle.document(&image.config)?.ok_or_else(missing)?;
        let manifest = manifests.remove(&digest_of(&config)).flatten();
        let mut names = Vec::new();
        for name in image.repo_tags.unwrap_or_default() {
            names.push(name.parse().map_err(|e| Error::Archive(format!("manifest.json: {e}")))?);
        }
        described.push(Described { config, layers: image.layers, names, manifest });
    }
    Ok(described)
}

fn oci_images(bundle: &mut Bundle, index: &Index, depth: u32) -> Result<Vec<Described>, Error> {
    let mut described = Vec::new();
    for descriptor in &index.manifests {
        if is_attestation(descriptor) {
            continue;
        }
        let bytes = blob(bundle, descriptor)?;
        let mut images = if descriptor.media_type.contains("index") || descriptor.media_type.contains("list")
        {
            if depth == DEPTH {
                return Err(Error::Archive("its indexes are nested too deeply".into()));
            }
            let inner: Index = parse(&descriptor.digest.to_string(), &bytes)?;
            let chosen = Index { manifests: for_this_machine(inner.manifests), ..inner };
            oci_images(bundle, &chosen, depth + 1)?
        } else {
            vec![described_by(bundle, bytes)?]
        };
        let name = name_of(descriptor);
        for image in &mut images {
            image.names.extend(name.clone());
        }
        described.extend(images);
    }
    Ok(described)
}

fn described_by(bundle: &mut Bundle, bytes: Vec<u8>) -> Result<Described, Error> {
    let manifest: Manifest = parse("manifest", &bytes)?;
    let config = blob(bundle, &manifest.config)?;
    let layers = manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
    Ok(Described { config, layers, names: Vec::new(), manifest: Some(bytes) })
}

/// Of several platforms ours, else all: an image for another one is told by `run`.
fn for_this_machine(manifests: Vec<Descriptor>) -> Vec<Descriptor> {
    let ours = |descriptor: &&Descriptor| {
        let here = |p: &Platform| p.os == "linux" && p.architecture == host_architecture();
        descriptor.platform.as_ref().is_some_and(here)
    };
    match manifests.iter().find(ours) {
        Some(ours) => vec![ours.clone()],
        None => manifests,
    }
}

/// BuildKit's provenance, which sits in indexes as a manifest for the platform unknown/unknown.
fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor.annotation("vnd.docker.reference.type").is_some()
        || descriptor.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
}

/// The whole name if an annotation has it. A tag alone names nothing.
fn name_of(descriptor: &Descriptor) -> Option<ImageRef> {
    let whole = |name: &&str| name.contains([':', '/']);
    let name = descriptor.annotation(NAME).or_else(|| descriptor.annotation(REF_NAME).filter(whole))?;
    name.parse().ok()
}

fn blob(bundle: &mut Bundle, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
    let path = blob_path(&descriptor.digest);
    let bytes = bundle.document(&path)?.ok_or_else(|| {
        Error::Archive(format!("it names {path} and does not have it: save or fetch it again"))
    })?;
    let got = digest_of(&bytes);
    if got == descriptor.digest {
        return Ok(bytes);
    }
    Err(Error::DigestMismatch { what: format!("archive entry {path}"), expect: descriptor.digest, got })
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn document<T: DeserializeOwned>(bundle: &mut Bundle, path: &str) -> Result<Option<T>, Error> {
    bundle.document(path)?.map(|bytes| parse(path, &bytes)).transpose()
}

fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|e| Error::Archive(format!("{what}: {e}")))
}
