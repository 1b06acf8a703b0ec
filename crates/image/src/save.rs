use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use corral_spec::{Digest, ImageRef};

use crate::header::{self, BLOCK};
use crate::image::digest_of;
use crate::manifest::{
    CONFIG, Descriptor, DockerImage, INDEX, Index, LAYER, MANIFEST, Manifest, NAME, Platform, REF_NAME,
    full_name,
};
use crate::{EntryHead, EntryKind, Error, ImageConfig, Store};

/// The form of a saved archive. Both hold an OCI layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveFormat {
    /// OCI image layout (`oci-layout`, `index.json`, `blobs/`).
    OciLayout,
    /// The same with Docker's `manifest.json` beside it, as docker 25 and newer write it.
    DockerArchive,
}

/// An image on its way out.
struct Saved {
    id: Digest,
    names: Vec<ImageRef>,
    config_bytes: Vec<u8>,
    config: ImageConfig,
    manifest: Vec<u8>,
}

impl Store {
    /// Writes images as one tar. Layers are uncompressed and byte for byte those that were stored; the same
    /// images give the same archive.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]; [`Error::DigestMismatch`] if a stored layer was changed; else what reading
    /// or writing gives.
    pub fn save(&self, images: &[&str], format: SaveFormat, mut out: impl Write) -> Result<(), Error> {
        let _lease = self.lease()?;
        let mut saved: Vec<Saved> = Vec::new();
        for name in images {
            let (target, reference) = self.find(name)?;
            match saved.iter_mut().find(|known| known.id == target.id) {
                Some(known) => known.names.extend(reference),
                None => saved.push(self.saved(target.id, target.manifest, reference)?),
            }
        }
        let mut put = |name: String, bytes: &[u8]| small(&mut out, name, bytes);
        put("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        put("index.json".into(), &index(&saved)?)?;
        if format == SaveFormat::DockerArchive {
            put("manifest.json".into(), &docker_manifest(&saved)?)?;
        }
        let mut layers = BTreeSet::new();
        for image in &saved {
            put(blob_name(&image.id), &image.config_bytes)?;
            put(blob_name(&digest_of(&image.manifest)), &image.manifest)?;
            layers.extend(&image.config.rootfs.diff_ids);
        }
        for layer in layers {
            let size = self.layer_meta(layer)?.info().size;
            write(&mut out, &entry(blob_name(layer), size)?)?;
            self.layer_tar(layer, &mut out)?;
            write(&mut out, &[0; BLOCK][..header::padding(size)])?;
        }
        write(&mut out, &[0; 2 * BLOCK])?;
        out.flush().map_err(|source| Error::Stream { act: "cannot write the archive", source })
    }

    fn saved(
        &self,
        id: Digest,
        manifest: Option<Digest>,
        reference: Option<ImageRef>,
    ) -> Result<Saved, Error> {
        let config_bytes = self.config_bytes(&id)?;
        let config = crate::image::parse_config(&id, &config_bytes)?;
        let kept = manifest.map(|digest| self.read_blob(&digest)).transpose()?.flatten();
        // The manifest that the image came with fits only if its layers were not compressed.
        let fits = |bytes: &Vec<u8>| {
            serde_json::from_slice::<Manifest>(bytes).is_ok_and(|manifest| {
                manifest.layers.iter().map(|layer| &layer.digest).eq(&config.rootfs.diff_ids)
            })
        };
        let manifest = match kept.filter(fits) {
            Some(bytes) => bytes,
            None => self.plain_manifest(&id, &config, config_bytes.len() as u64)?,
        };
        Ok(Saved { id, names: reference.into_iter().collect(), config_bytes, config, manifest })
    }

    fn plain_manifest(&self, id: &Digest, config: &ImageConfig, size: u64) -> Result<Vec<u8>, Error> {
        let mut layers = Vec::new();
        for layer in &config.rootfs.diff_ids {
            layers.push(Descriptor::new(LAYER, *layer, self.layer_meta(layer)?.info().size));
        }
        json(&Manifest {
            schema_version: 2,
            media_type: MANIFEST.into(),
            config: Descriptor::new(CONFIG, *id, size),
            layers,
        })
    }
}

/// One descriptor a name, so that each can be chosen; one without name for an image that was saved by id.
fn index(images: &[Saved]) -> Result<Vec<u8>, Error> {
    let mut manifests = Vec::new();
    for image in images {
        let mut plain = Descriptor::new(MANIFEST, digest_of(&image.manifest), image.manifest.len() as u64);
        plain.platform =
            Some(Platform { architecture: image.config.architecture.clone(), os: image.config.os.clone() });
        for name in &image.names {
            let tag = name.tag().unwrap_or_default().to_owned();
            let annotations = BTreeMap::from([(NAME.into(), full_name(name)), (REF_NAME.into(), tag)]);
            manifests.push(Descriptor { annotations: Some(annotations), ..plain.clone() });
        }
        if image.names.is_empty() {
            manifests.push(plain);
        }
    }
    json(&Index { schema_version: 2, media_type: INDEX.into(), manifests })
}

fn docker_manifest(images: &[Saved]) -> Result<Vec<u8>, Error> {
    let image = |image: &Saved| DockerImage {
        config: blob_name(&image.id),
        repo_tags: (!image.names.is_empty()).then(|| image.names.iter().map(ToString::to_string).collect()),
        layers: image.config.rootfs.diff_ids.iter().map(blob_name).collect(),
    };
    json(&images.iter().map(image).collect::<Vec<_>>())
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|e| Error::Stream { act: "cannot write the archive", source: e.into() })
}

fn entry(name: String, size: u64) -> Result<Vec<u8>, Error> {
    let mut block = Vec::with_capacity(BLOCK);
    header::encode(&EntryHead::new(name, EntryKind::File { size }, 0o644), &mut block)?;
    Ok(block)
}

fn small(out: &mut impl Write, name: String, bytes: &[u8]) -> Result<(), Error> {
    let size = bytes.len() as u64;
    write(out, &entry(name, size)?)?;
    write(out, bytes)?;
    write(out, &[0; BLOCK][..header::padding(size)])
}

fn write(out: &mut impl Write, bytes: &[u8]) -> Result<(), Error> {
    out.write_all(bytes).map_err(|source| Error::Stream { act: "cannot write the archive", source })
}
