use corral_spec::{Digest, ImageRef};

use crate::{Error, Store};

/// What `rmi` did, in the order of docker's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// `Untagged:` lines.
    pub untagged: Vec<ImageRef>,
    /// `Deleted:` lines: the image, then its layers that no other image has.
    pub deleted: Vec<Digest>,
}

impl Store {
    /// Takes the name away and, if it was the image's last and no container uses it, deletes the image.
    /// By id: all names, with `force` if there is more than one.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Busy`], or what writing gives.
    pub fn remove(
        &self,
        name: &str,
        force: bool,
        in_use: &dyn Fn(&Digest) -> bool,
    ) -> Result<Removed, Error> {
        let _ = in_use;
        todo!("{name} {force}")
    }
}
