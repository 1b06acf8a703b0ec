//! What foreign code is built in: the image's base with `build-packages` beside it. Nothing of it gets into the
//! image.
//!
//! ```text
//! build-packages = []      the image's own base, which costs nothing
//! build-packages = [gcc]   section `build` of agent.lock: the image's packages, these, and the usual tools
//! install scripts of npm   the same
//! ```

use std::cell::OnceCell;

use corral_image::Store;
use corral_spec::Digest;

use crate::Error;
use crate::base::Base;
use crate::debian::BaseLock;
use crate::layers::Layers;

/// What makefiles, configure scripts and `#!/usr/bin/env` take for granted.
const USUAL: [&str; 5] = ["dash", "coreutils", "sed", "grep", "findutils"];

/// A base to build in. It is locked and put together when it is first needed: most packs need none.
pub(crate) struct BuildBase<'a> {
    base: Base<'a>,
    /// The image's lock, where that base will do.
    image: Option<BaseLock>,
    old: Option<BaseLock>,
    locked: OnceCell<BaseLock>,
    layer: OnceCell<Digest>,
}

impl<'a> BuildBase<'a> {
    /// The base of an image, and more packages, if there are any. `old` is what agent.lock says of it.
    pub(crate) fn new(
        image: &Base<'a>,
        locked: &BaseLock,
        packages: &[String],
        old: Option<BaseLock>,
    ) -> Self {
        let mut base = Base { section: "build", ..image.clone() };
        if !packages.is_empty() {
            base.request.packages.extend(packages.iter().cloned().chain(USUAL.map(str::to_owned)));
            base.request.packages.sort();
            base.request.packages.dedup();
        }
        let same = base.request.roots() == image.request.roots();
        let image = same.then(|| locked.clone());
        Self { base, image, old, locked: OnceCell::new(), layer: OnceCell::new() }
    }

    /// The same with the lock that this pack has made of it, which is not made again.
    pub(crate) fn locked(self, lock: Option<&BaseLock>) -> Self {
        Self { locked: lock.cloned().map_or_else(OnceCell::new, OnceCell::from), ..self }
    }

    /// Whether there is anything in it that is not in the image.
    pub(crate) fn has_packages(&self) -> bool {
        self.image.is_none()
    }

    fn lock(&self) -> Result<&BaseLock, Error> {
        if let Some(locked) = self.image.as_ref().or_else(|| self.locked.get()) {
            return Ok(locked);
        }
        let locked = self.base.lock(self.old.as_ref())?;
        Ok(self.locked.get_or_init(|| locked))
    }

    /// What agent.lock has to say of it, beside the image's base.
    ///
    /// # Errors
    /// As [`Base::lock`].
    pub(crate) fn section(&self) -> Result<Option<BaseLock>, Error> {
        match &self.image {
            Some(_) => Ok(None),
            None => self.lock().cloned().map(Some),
        }
    }

    /// What it is known by.
    ///
    /// # Errors
    /// As [`Base::lock`].
    pub(crate) fn key(&self) -> Result<Digest, Error> {
        self.base.key(self.lock()?)
    }

    /// Its layer.
    ///
    /// # Errors
    /// As [`Base::push`].
    pub(crate) fn layer(&self, store: &Store) -> Result<Digest, Error> {
        if let Some(layer) = self.layer.get() {
            return Ok(*layer);
        }
        // Not a layer of the image: its reports are nobody's.
        let layer = self.base.push(&mut Layers::new(store, &|_| ()), self.lock()?)?;
        Ok(*self.layer.get_or_init(|| layer))
    }
}
