use std::fs::ReadDir;
use std::path::{Path, PathBuf};

use corral_spec::{Digest, ImageRef};

use crate::store::{Durable, read_small};
use crate::{Error, Store};

/// What a name or record stands for. On disk: the two digests, one a line, the second optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub id: Digest,
    pub manifest: Option<Digest>,
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let id = lines.next()?.parse().ok()?;
        let manifest = lines.next().map(str::parse).transpose().ok()?;
        Some(Self { id, manifest })
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
        if self.read_ref(name).is_ok_and(|known| known == Some(target)) {
            return Ok(());
        }
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(|e| Error::io("create", dir, e))?;
        }
        let mut text = format!("{id}\n");
        if let Some(manifest) = target.manifest {
            text.push_str(&format!("{manifest}\n"));
        }
        self.write_atomic(&path, text.as_bytes(), Durable::Yes)
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
