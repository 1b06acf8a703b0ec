use corral_spec::Digest;

use crate::{Error, Store};

impl Store {
    /// The layer that a step with this key gave, if it is still stored. `kind` is a plain name (`[a-z0-9-]`).
    pub fn cache_get(&self, kind: &str, key: &Digest) -> Option<Digest> {
        todo!("{kind} {key}")
    }

    /// Remembers that a step with this key gave this layer.
    ///
    /// # Errors
    /// What writing gives.
    pub fn cache_put(&self, kind: &str, key: &Digest, layer: &Digest) -> Result<(), Error> {
        todo!("{kind} {key} {layer}")
    }
}
