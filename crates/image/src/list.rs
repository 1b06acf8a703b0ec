use std::collections::{BTreeMap, HashMap, HashSet};

use corral_spec::{Digest, ImageRef};

use crate::{Error, Store};

/// One row of `images`: a name, or an image without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSummary {
    /// The name; none for an image without one.
    pub reference: Option<ImageRef>,
    /// The image.
    pub id: Digest,
    /// The manifest it came with, if it was loaded or pulled.
    pub manifest: Option<Digest>,
    /// RFC 3339 time from the config.
    pub created: Option<String>,
    /// The labels of its config.
    pub labels: BTreeMap<String, String>,
    /// Bytes of all files of all layers.
    pub size: u64,
}

impl Store {
    /// All images, newest first; an image with two names is two rows.
    ///
    /// # Errors
    /// What reading the store gives.
    pub fn list(&self) -> Result<Vec<ImageSummary>, Error> {
        let refs = self.all_refs()?;
        let named: HashSet<Digest> = refs.iter().map(|(_, target)| target.id).collect();
        let nameless = self.images()?.into_iter().filter(|id| !named.contains(id)).map(|id| (None, id, None));
        let rows =
            refs.into_iter().map(|(name, target)| (Some(name), target.id, target.manifest)).chain(nameless);
        let mut facts: HashMap<Digest, Facts> = HashMap::new();
        let mut list = Vec::new();
        for (reference, id, manifest) in rows {
            let known = match facts.get(&id) {
                Some(known) => known,
                None => match self.facts(&id) {
                    // Removed while we read.
                    Err(_) if self.target(id)?.is_none() => continue,
                    found => facts.entry(id).or_insert(found?),
                },
            };
            let (created, labels) = (known.created.clone(), known.labels.clone());
            list.push(ImageSummary { reference, id, manifest, created, labels, size: known.size });
        }
        list.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.reference.cmp(&b.reference)));
        Ok(list)
    }

    fn facts(&self, id: &Digest) -> Result<Facts, Error> {
        let config = self.config(id)?;
        let mut size = 0;
        for layer in &config.rootfs.diff_ids {
            size += self.layer_size(layer)?;
        }
        Ok(Facts { created: config.created, labels: config.config.labels, size })
    }
}

/// What the names of an image share.
struct Facts {
    created: Option<String>,
    labels: BTreeMap<String, String>,
    size: u64,
}
