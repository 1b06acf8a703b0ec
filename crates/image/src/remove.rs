use corral_spec::{Digest, ImageRef};

use crate::gc::Sweep;
use crate::refs::Target;
use crate::{Error, ImageSummary, Store};

/// What `rmi` did, in the order of docker's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// `Untagged:` lines.
    pub untagged: Vec<ImageRef>,
    /// `Deleted:` lines: the image, then its layers that no other image has, topmost first.
    pub deleted: Vec<Digest>,
}

impl Store {
    /// Takes the name away and, if it was the image's last and no container uses it, deletes the image.
    /// By id: all names, with `force` if there is more than one. With `force`, the names of an image that a
    /// container uses go too; the image itself stays until the container is gone (gc collects it then). It
    /// stays for gc as well while somebody holds a lease: he may be about to use it.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Busy`], or what writing gives.
    pub fn remove(
        &self,
        name: &str,
        force: bool,
        in_use: &dyn Fn(&Digest) -> bool,
    ) -> Result<Removed, Error> {
        self.remove_if(name, force, in_use, &|_, _| true)
    }

    /// Removes a row of [`Store::list`], unless it is another by now: a name that moved on is no longer this image's, and
    /// an image that got a name is wanted.
    ///
    /// # Errors
    /// As [`Store::remove`] without force; [`Error::NoSuchImage`] if it is another.
    pub fn remove_listed(
        &self,
        listed: &ImageSummary,
        in_use: &dyn Fn(&Digest) -> bool,
    ) -> Result<Removed, Error> {
        let name = listed.reference.as_ref().map_or_else(|| listed.id.to_string(), ToString::to_string);
        self.remove_if(&name, false, in_use, &|id, names| {
            *id == listed.id && (listed.reference.is_some() || names.is_empty())
        })
    }

    fn remove_if(
        &self,
        name: &str,
        force: bool,
        in_use: &dyn Fn(&Digest) -> bool,
        is_meant: &dyn Fn(&Digest, &[ImageRef]) -> bool,
    ) -> Result<Removed, Error> {
        let busy = |reason: &str| Err(Error::Busy { name: name.to_owned(), reason: reason.to_owned() });
        // Dropped after the lock: what was removed is deleted while nobody waits.
        let mut sweep = self.sweep_soon()?;
        let _lock = self.lock()?;
        let (target, reference) = self.find(name)?;
        let names = self.references(&target.id)?;
        if !is_meant(&target.id, &names) {
            return Err(Error::NoSuchImage(name.to_owned()));
        }
        let mut removed = Removed::default();
        if let Some(reference) = reference
            && names.len() > 1
        {
            self.untag_locked(&reference)?;
            removed.untagged.push(reference);
            return Ok(removed);
        }
        if names.len() > 1 && !force {
            return busy("it has more than one name: remove them one by one, or use --force");
        }
        let used = in_use(&target.id);
        if used && !force {
            return busy("a container uses it: remove the container first, or use --force to drop the name");
        }
        if names.is_empty() && sweep.is_none() {
            return busy("another command is putting an image or a container together: try again after it");
        }
        for name in names {
            self.untag_locked(&name)?;
            removed.untagged.push(name);
        }
        if let (Some(sweep), false) = (&mut sweep, used) {
            removed.deleted = self.delete(&target, sweep)?;
        }
        Ok(removed)
    }

    /// The image and what only it has.
    fn delete(&self, target: &Target, sweep: &mut Sweep<'_>) -> Result<Vec<Digest>, Error> {
        // Unreadable or not, the image goes; layers that only it knows of are then gc's.
        let layers = self.config(&target.id).map(|config| config.rootfs.diff_ids).unwrap_or_default();
        self.remove_record(&target.id)?;
        let mut deleted = vec![target.id];
        let (live_layers, live_blobs) = self.live()?;
        for blob in [Some(target.id), target.manifest].into_iter().flatten() {
            if !live_blobs.contains(&blob) {
                sweep.remove_blob(&blob)?;
            }
        }
        for layer in layers.iter().rev() {
            if !live_layers.contains(layer) && !deleted.contains(layer) {
                sweep.remove_layer(layer)?;
                deleted.push(*layer);
            }
        }
        Ok(deleted)
    }
}
