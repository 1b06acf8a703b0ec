use corral_spec::{Digest, ImageRef};
use sha2::{Digest as _, Sha256};

use crate::refs::Target;
use crate::store::{Durable, boot_id, read_small};
use crate::{Error, ImageConfig, Store};

/// An image that was found.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of the config: the image's identity.
    pub id: Digest,
    /// The parsed config.
    pub config: ImageConfig,
    /// diffIDs, bottom first.
    pub layers: Vec<Digest>,
    /// The manifest it came with, if it was loaded or pulled.
    pub manifest: Option<Digest>,
}

impl Image {
    /// All names of the image, sorted; reads the whole of `refs/`.
    ///
    /// # Errors
    /// What reading the store gives.
    pub fn references(&self, store: &Store) -> Result<Vec<ImageRef>, Error> {
        store.references(&self.id)
    }
}

/// sha256 of bytes in memory.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

impl Store {
    /// Finds an image by tag, by digest (of config or manifest), or by the unique beginning of its id (two
    /// hexadecimal digits or more). A tag that looks like the beginning of an id comes first, as in Docker.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::AmbiguousId`], or what reading the store gives.
    pub fn resolve(&self, name: &str) -> Result<Image, Error> {
        let target = self.find(name)?.0;
        let id = target.id;
        let config = self.config(&id).map_err(|error| match error {
            Error::NoSuchImage(_) => Error::NoSuchImage(name.to_owned()),
            error => error,
        })?;
        let layers = config.rootfs.diff_ids.clone();
        self.confirm(&target, &layers)?;
        Ok(Image { id, config, layers, manifest: target.manifest })
    }

    /// The image a name stands for, and the reference if that is what the name was.
    pub(crate) fn find(&self, name: &str) -> Result<(Target, Option<ImageRef>), Error> {
        let missing = || Error::NoSuchImage(name.chars().take(300).collect());
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        if let Ok(digest) = Digest::from_hex(hex) {
            return Ok((self.find_digest(&digest)?.ok_or_else(missing)?, None));
        }
        if let Ok(reference) = name.parse::<ImageRef>() {
            if let Some(digest) = reference.digest() {
                let target = self.find_digest(digest)?.ok_or_else(missing)?;
                let name = reference.familiar_name();
                let known = self.references(&target.id)?.iter().any(|known| known.familiar_name() == name);
                return known.then_some((target, None)).ok_or_else(missing);
            }
            if let Some(target) = self.read_ref(&reference)? {
                return Ok((target, Some(reference)));
            }
        }
        let is_hex = hex.len() >= 2 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hex {
            return Err(missing());
        }
        let mut found = self.images()?;
        found.retain(|id| id.hex().starts_with(hex));
        match found[..] {
            [] => Err(missing()),
            [id] => Ok((self.target(id)?.ok_or_else(missing)?, None)),
            _ => Err(Error::AmbiguousId(hex.to_owned(), found.len())),
        }
    }

    fn find_digest(&self, digest: &Digest) -> Result<Option<Target>, Error> {
        if let Some(target) = self.target(*digest)? {
            return Ok(Some(target));
        }
        for id in self.images()? {
            match self.target(id)? {
                Some(target) if target.manifest == Some(*digest) => return Ok(Some(target)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// All image ids, in no order.
    pub(crate) fn images(&self) -> Result<Vec<Digest>, Error> {
        self.digests_in("images")
    }

    /// The names in a directory whose files are named by digest.
    pub(crate) fn digests_in(&self, sub: &str) -> Result<Vec<Digest>, Error> {
        let dir = self.sub(sub);
        let fail = |e| Error::io("read", &dir, e);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            found.extend(name.to_str().and_then(|name| Digest::from_hex(name).ok()));
        }
        Ok(found)
    }

    /// The config's bytes, verbatim and verified.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::DigestMismatch`], or what reading the store gives.
    pub fn config_bytes(&self, id: &Digest) -> Result<Vec<u8>, Error> {
        self.read_blob(id)?.ok_or_else(|| Error::NoSuchImage(id.to_string()))
    }

    pub(crate) fn config(&self, id: &Digest) -> Result<ImageConfig, Error> {
        parse_config(id, &self.config_bytes(id)?)
    }

    pub(crate) fn read_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let path = self.blob_path(digest);
        let Some(bytes) = read_small(&path)? else { return Ok(None) };
        let got = digest_of(&bytes);
        if got != *digest {
            let what = format!("blob {} was changed on disk", path.display());
            return Err(Error::DigestMismatch { what, expect: *digest, got });
        }
        Ok(Some(bytes))
    }

    /// Adds an image made of stored layers (bottom first, the same as in the config), without waiting for
    /// the disk: after a power failure the image is verified when it is first used. Without a name it lives
    /// until the next gc: [`Store::tag`] it under the same [`crate::Lease`].
    ///
    /// # Errors
    /// [`Error::Config`] if the config does not parse or names other layers; [`Error::NoSuchLayer`].
    pub fn add_image(&self, config: &[u8], layers: &[Digest]) -> Result<Digest, Error> {
        let id = self.check_image(config, layers)?;
        let manifest = match self.target(id)? {
            Some(_) if self.read_blob(&id).is_ok_and(|blob| blob.is_some()) => return Ok(id),
            known => known.and_then(|known| known.manifest),
        };
        self.write_atomic(&self.blob_path(&id), config, Durable::No)?;
        self.write_record(&Target { id, manifest, boot: Some(boot_id()) })?;
        Ok(id)
    }

    /// Adds an image that came from elsewhere, with the bytes of its manifest, and waits until it is on disk:
    /// it may not be there to be fetched again.
    pub(crate) fn add_image_durably(
        &self,
        config: &[u8],
        layers: &[Digest],
        manifest: Option<&[u8]>,
    ) -> Result<Digest, Error> {
        let id = self.check_image(config, layers)?;
        self.write_atomic(&self.blob_path(&id), config, Durable::No)?;
        let known = self.target(id)?.and_then(|known| known.manifest);
        if let Some(bytes) = manifest {
            self.write_atomic(&self.blob_path(&digest_of(bytes)), bytes, Durable::No)?;
        }
        self.sync_layers(layers)?;
        self.write_record(&Target { id, manifest: manifest.map(digest_of).or(known), boot: None })?;
        Ok(id)
    }

    fn check_image(&self, config: &[u8], layers: &[Digest]) -> Result<Digest, Error> {
        let id = digest_of(config);
        if parse_config(&id, config)?.rootfs.diff_ids != layers {
            return Err(Error::Config { id, reason: "its rootfs.diff_ids are not the layers given".into() });
        }
        match layers.iter().find(|layer| !self.has_layer(layer)) {
            Some(missing) => Err(Error::NoSuchLayer(*missing)),
            None => Ok(id),
        }
    }
}

pub(crate) fn parse_config(id: &Digest, bytes: &[u8]) -> Result<ImageConfig, Error> {
    serde_json::from_slice(bytes).map_err(|e| Error::Config { id: *id, reason: e.to_string() })
}
