use std::path::PathBuf;

use corral_spec::Digest;

use crate::store::{Durable, read_small};
use crate::{Error, Store};

impl Store {
    /// The layer that a step with this key gave, if it is still stored. `kind` is a plain name (`[a-z0-9-]`).
    /// An entry that cannot be read is a miss: the cache only saves time.
    pub fn cache_get(&self, kind: &str, key: &Digest) -> Option<Digest> {
        let text = read_small(&self.cache_path(kind, key).ok()?).ok()??;
        parse(&text).filter(|layer| self.has_layer(layer))
    }

    /// Remembers that a step with this key gave this layer.
    ///
    /// # Errors
    /// What writing gives; [`Error::Name`] if `kind` is not a plain name.
    pub fn cache_put(&self, kind: &str, key: &Digest, layer: &Digest) -> Result<(), Error> {
        let path = self.cache_path(kind, key)?;
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(|e| Error::io("create", dir, e))?;
        }
        self.write_atomic(&path, layer.to_string().as_bytes(), Durable::No)
    }

    fn cache_path(&self, kind: &str, key: &Digest) -> Result<PathBuf, Error> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if kind.is_empty() || kind.len() > 64 || !kind.bytes().all(plain) {
            return Err(Error::Name { name: kind.to_owned(), reason: "a cache is named [a-z0-9-]" });
        }
        Ok(self.sub("cache").join(kind).join(key.hex()))
    }
}

pub(crate) fn parse(text: &[u8]) -> Option<Digest> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
