use std::fs::ReadDir;
use std::path::{Path, PathBuf};

use corral_spec::{Digest, ImageRef};

use crate::store::{Durable, boot_id, read_small};
use crate::{Error, Store};

/// What a name stands for, and the record of an image. On disk, one a line:
/// `sha256:ID`, `manifest sha256:HEX` if there is one, `boot UUID` while the image is not known to be on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub id: Digest,
    pub manifest: Option<Digest>,
    /// The boot in which the image was added without waiting for the disk.
    pub boot: Option<String>,
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut target = Self { id: lines.next()?.parse().ok()?, manifest: None, boot: None };
        for line in lines {
            match line.split_once(' ')? {
                ("manifest", digest) => target.manifest = Some(digest.parse().ok()?),
                ("boot", boot) => target.boot = Some(boot.to_owned()),
                _ => return None,
            }
        }
        Some(target)
    }

    fn text(&self) -> String {
        let manifest = self.manifest.iter().map(|digest| format!("manifest {digest}\n"));
        let boot = self.boot.iter().map(|boot| format!("boot {boot}\n"));
        [format!("{}\n", self.id)].into_iter().chain(manifest).chain(boot).collect()
    }
}

impl Store {
    /// Gives an image a name, taking it from another image if need be.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]; [`Error::Name`] for a name without tag or too long; else what writing gives.
    pub fn tag(&self, id: &Digest, name: &ImageRef) -> Result<(), Error> {
        let path = self.ref_path(name)?;
        let _lock = self.lock()?;
        let target = self.target(*id)?.ok_or_else(|| Error::NoSuchImage(id.to_string()))?;
        if self.read_ref(name).is_ok_and(|known| known.as_ref() == Some(&target)) {
            return Ok(());
        }
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(|e| Error::io("create", dir, e))?;
        }
        self.write_atomic(&path, target.text().as_bytes(), Durable::Yes)
    }

    /// The record of an image.
    pub(crate) fn target(&self, id: Digest) -> Result<Option<Target>, Error> {
        let record = read_small(&self.image_path(&id))?;
        let parse = |bytes: Vec<u8>| std::str::from_utf8(&bytes).ok().and_then(Target::parse);
        // A record that a power cut emptied says no less than that its image has to be looked at.
        let lost = || Target { id, manifest: None, boot: Some(String::new()) };
        Ok(record.map(|bytes| parse(bytes).unwrap_or_else(lost)))
    }

    pub(crate) fn write_record(&self, target: &Target) -> Result<(), Error> {
        self.write_atomic(&self.image_path(&target.id), target.text().as_bytes(), Durable::No)
    }

    /// Makes sure of an image that may have been cut off by a power failure: one of an earlier boot is
    /// verified once, and then known to be on disk.
    pub(crate) fn confirm(&self, target: &Target, layers: &[Digest]) -> Result<(), Error> {
        if target.boot.as_ref().is_none_or(|boot| *boot == boot_id()) {
            return Ok(());
        }
        if let Some(lost) = layers.iter().find(|layer| !self.has_layer(layer)) {
            let reason = format!("layer {lost} did not reach the disk before a power failure");
            return Err(Error::Damaged { path: self.image_path(&target.id), reason });
        }
        // A layer that was made anew since is not known to be on disk any more than before.
        let boot = layers.iter().any(|layer| !self.is_synced(layer)).then(boot_id);
        // Only saves the next look; a read-only store has it each time.
        let _ = self.rewrite(&Target { boot, ..target.clone() });
        Ok(())
    }

    fn rewrite(&self, target: &Target) -> Result<(), Error> {
        let _lock = self.lock()?;
        for name in self.references(&target.id)? {
            self.write_atomic(&self.ref_path(&name)?, target.text().as_bytes(), Durable::Yes)?;
        }
        self.write_record(target)
    }

    /// Takes a name away, and says whether it was there; the image stays until gc.
    ///
    /// # Errors
    /// What writing gives.
    pub fn untag(&self, name: &ImageRef) -> Result<bool, Error> {
        let _lock = self.lock()?;
        self.untag_locked(name)
    }

    /// [`Store::untag`] for a caller that holds the lock.
    pub(crate) fn untag_locked(&self, name: &ImageRef) -> Result<bool, Error> {
        let path = self.ref_path(name)?;
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Error::io("remove", path, e)),
        }
        corral_fault::step!(NameRemoved);
        // Empty directories mean nothing; one that another name lives in refuses to go.
        for dir in path.ancestors().skip(1).take(2) {
            if std::fs::remove_dir(dir).is_err() {
                break;
            }
        }
        Ok(true)
    }

    /// All names of an image, sorted.
    ///
    /// # Errors
    /// What reading the store gives.
    pub fn references(&self, id: &Digest) -> Result<Vec<ImageRef>, Error> {
        let refs = self.all_refs()?;
        Ok(refs.into_iter().filter(|(_, target)| target.id == *id).map(|(name, _)| name).collect())
    }

    /// All names, sorted, and what they stand for.
    pub(crate) fn all_refs(&self) -> Result<Vec<(ImageRef, Target)>, Error> {
        let mut found = Vec::new();
        let mut each = |registry: &str, repository: &str, tag: &str| {
            // The registry is spelled out, so that `_/my.site/x` does not come back as host my.site.
            let host = if registry == "_" { "docker.io" } else { registry };
            let text = format!("{host}/{}:{tag}", repository.replace('+', "/"));
            let Ok(name) = text.parse::<ImageRef>() else { return Ok(()) };
            // A name may go while we read.
            if let Some(target) = self.read_ref(&name)? {
                found.push((name, target));
            }
            Ok(())
        };
        let refs = self.sub("refs");
        for registry in names(&refs)? {
            for repository in names(&refs.join(&registry))? {
                for tag in names(&refs.join(&registry).join(&repository))? {
                    each(&registry, &repository, &tag)?;
                }
            }
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }

    pub(crate) fn read_ref(&self, name: &ImageRef) -> Result<Option<Target>, Error> {
        let Ok(path) = self.ref_path(name) else { return Ok(None) };
        let Some(bytes) = read_small(&path)? else { return Ok(None) };
        let target = std::str::from_utf8(&bytes).ok().and_then(Target::parse);
        target.map(Some).ok_or_else(|| Error::Damaged { path, reason: "not a digest".into() })
    }

    /// `refs/REGISTRY/REPOSITORY/TAG`: `_` for no registry, `+` for `/`; the grammar of names has neither,
    /// and no component that is `.` or `..`, so a name cannot lead elsewhere.
    fn ref_path(&self, name: &ImageRef) -> Result<PathBuf, Error> {
        let fail = |reason| Error::Name { name: name.to_string(), reason };
        let tag = name.tag().ok_or_else(|| fail("a tag is needed here"))?;
        let repository = name.repository().replace('/', "+");
        let registry = name.registry().unwrap_or("_");
        if repository.len() > 255 || registry.len() > 255 {
            return Err(fail("longer than 255 bytes"));
        }
        Ok(self.sub("refs").join(registry).join(repository).join(tag))
    }
}

/// The entries of a directory that may be gone by now.
fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let fail = |e| Error::io("read", dir, e);
    let entries: ReadDir = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        // Names that are not UTF-8 are not ours.
        found.extend(entry.map_err(fail)?.file_name().into_string().ok());
    }
    Ok(found)
}
