//! What is done to images and is recorded: the store's own acts, and an event for each.

use std::io::{Read, Write};
use std::path::Path;

use corral_image::{ImageSummary, Loaded, Removed, SaveFormat};
use corral_journal::{Action, Event};
use corral_spec::{Digest, ImageRef};

use crate::{Engine, Error};

/// An event of an image. Without a name of its own its id stands for it, as in Docker.
fn of_image(action: Action, id: &Digest, name: Option<&ImageRef>) -> Event {
    let id = id.to_string();
    let name = name.map_or_else(|| id.clone(), ToString::to_string);
    Event::new(action, id).with("name", name)
}

impl Engine {
    /// Makes an image of an archive of files.
    ///
    /// # Errors
    /// When the archive is bad, the store fails, or it cannot be recorded.
    pub fn import(
        &self,
        archive: impl Read,
        name: Option<&ImageRef>,
        changes: &[&str],
        message: Option<&str>,
    ) -> Result<Digest, Error> {
        let id = self.store().import(archive, name, changes, message)?;
        corral_fault::step!(ImageTaken);
        self.record_work(&[of_image(Action::ImageImport, &id, name)])?;
        Ok(id)
    }

    /// Takes the images of an archive.
    ///
    /// # Errors
    /// When the archive is bad, the store fails, or it cannot be recorded.
    pub fn load(&self, archive: impl Read) -> Result<Vec<Loaded>, Error> {
        self.record_loaded(self.store().load(archive)?)
    }

    /// Takes the images of an OCI layout.
    ///
    /// # Errors
    /// When it is bad, the store fails, or it cannot be recorded.
    pub fn load_dir(&self, directory: &Path) -> Result<Vec<Loaded>, Error> {
        self.record_loaded(self.store().load_dir(directory)?)
    }

    fn record_loaded(&self, loaded: Vec<Loaded>) -> Result<Vec<Loaded>, Error> {
        corral_fault::step!(ImageTaken);
        let mut events = Vec::new();
        for image in &loaded {
            match image.references.as_slice() {
                [] => events.push(of_image(Action::ImageLoad, &image.id, None)),
                names => {
                    events
                        .extend(names.iter().map(|name| of_image(Action::ImageLoad, &image.id, Some(name))));
                }
            }
        }
        self.record_work(&events)?;
        Ok(loaded)
    }

    /// Writes images to an archive.
    ///
    /// # Errors
    /// When one is not there, writing fails, or it cannot be recorded.
    pub fn save(&self, names: &[&str], format: SaveFormat, out: &mut dyn Write) -> Result<(), Error> {
        let mut events = Vec::new();
        for name in names {
            let image = self.store().resolve(name)?;
            events.push(Event::new(Action::ImageSave, image.id.to_string()).with("name", *name));
        }
        self.record_work(&events)?;
        Ok(self.store().save(names, format, out)?)
    }

    /// Gives an image a name.
    ///
    /// # Errors
    /// When the image is not there, the store fails, or it cannot be recorded.
    pub fn tag(&self, source: &str, target: &ImageRef) -> Result<(), Error> {
        let image = self.store().resolve(source)?;
        self.record_work(&[of_image(Action::ImageTag, &image.id, Some(target))])?;
        Ok(self.store().tag(&image.id, target)?)
    }

    /// Takes a name from an image, and the image itself with its last one.
    ///
    /// # Errors
    /// When it is used, is not there, or the store fails.
    pub fn remove_image(&self, name: &str, force: bool) -> Result<Removed, Error> {
        let used = self.images_in_use()?;
        let image = self.store().resolve(name)?;
        let removed = self.store().remove(name, force, &|id: &Digest| used.contains(id))?;
        self.record_removed(&image.id, removed)
    }

    /// Removes a row of the list of images, if it still is what it was.
    pub(crate) fn remove_listed_image(&self, image: &ImageSummary) -> Result<Removed, Error> {
        let used = self.images_in_use()?;
        let removed = self.store().remove_listed(image, &|id: &Digest| used.contains(id))?;
        self.record_removed(&image.id, removed)
    }

    fn record_removed(&self, id: &Digest, removed: Removed) -> Result<Removed, Error> {
        for _ in &removed.untagged {
            self.record_end(of_image(Action::ImageUntag, id, None))?;
        }
        // Behind the image come its layers, which are none.
        if removed.deleted.contains(id) {
            self.record_end(of_image(Action::ImageDelete, id, None))?;
        }
        Ok(removed)
    }
}
