use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use corral_spec::{Digest, ImageRef};

use crate::import::rfc3339;
use crate::{ContainerConfig, Error, History, ImageConfig, LayerInfo, Store, Upper, Walk, change};

/// What a new image is made of: an image, a layer on top, and how it runs.
#[derive(Clone, Debug)]
pub struct Commit<'c> {
    /// The image below.
    pub base: &'c ImageConfig,
    /// The layer on top, from [`Store::upper_layer`].
    pub layer: Digest,
    /// How the new image runs, before the changes.
    pub config: ContainerConfig,
    /// Instructions: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR.
    pub changes: &'c [String],
    /// Who made it.
    pub author: &'c str,
    /// The remark in its history.
    pub message: &'c str,
    /// The command in its history.
    pub created_by: String,
    /// Its name.
    pub reference: Option<&'c ImageRef>,
}

impl Store {
    /// Makes a layer of a container's writable one. What is in there was written by an attacker: nothing is
    /// followed, ids outside of the container's are nobody's, and the limits of unpacking hold.
    ///
    /// # Errors
    /// [`Error::Entry`] for a file that a layer cannot have, [`Error::Limit`], or what reading or writing gives.
    pub fn upper_layer(&self, upper: &Path, reading: Upper) -> Result<LayerInfo, Error> {
        let mut writer = self.layer_writer()?;
        match File::open(upper) {
            Ok(root) => Walk::of_upper(&mut writer, reading).inside(root.as_fd())?,
            // That of a read-only root is there only while it runs.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", upper, error)),
        }
        writer.finish()
    }

    /// Makes an image of another one and a layer. The caller holds a [`crate::Lease`] since before that layer.
    ///
    /// # Errors
    /// [`Error::Change`], [`Error::NoSuchLayer`], or what writing gives.
    pub fn commit(&self, commit: Commit<'_>) -> Result<Digest, Error> {
        let mut image = commit.base.clone();
        image.config = commit.config;
        for text in commit.changes {
            change::apply(text, &mut image.config)?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let created = Some(rfc3339(now));
        image.created.clone_from(&created);
        commit.author.clone_into(&mut image.author);
        image.history.push(History {
            created,
            created_by: commit.created_by,
            author: commit.author.to_owned(),
            comment: commit.message.to_owned(),
            empty_layer: false,
        });
        image.rootfs.diff_ids.push(commit.layer);
        let layers = image.rootfs.diff_ids.clone();
        let id = self.add_image_durably(&image.to_bytes(), &layers, None)?;
        if let Some(name) = commit.reference {
            self.tag(&id, name)?;
        }
        Ok(id)
    }
}
