use corral_spec::{Digest, ImageRef};

use crate::{Error, Store};

impl Store {
    /// Gives an image a name, taking it from another image if need be.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]; [`Error::Name`] for a name without tag or too long; else what writing gives.
    pub fn tag(&self, id: &Digest, name: &ImageRef) -> Result<(), Error> {
        todo!("{id} {name}")
    }

    /// Takes a name away, and says whether it was there; the image stays.
    ///
    /// # Errors
    /// What writing gives.
    pub fn untag(&self, name: &ImageRef) -> Result<bool, Error> {
        todo!("{name}")
    }

    /// All names of an image, sorted.
    ///
    /// # Errors
    /// What reading the store gives.
    pub fn references(&self, id: &Digest) -> Result<Vec<ImageRef>, Error> {
        todo!("{id}")
    }
}
