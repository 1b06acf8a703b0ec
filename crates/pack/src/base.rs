//! The lowest layer: Debian packages, or for a project that needs none, just an account and a /tmp.

use std::path::Path;
use std::sync::mpsc;

use corral_image::Store;
use corral_spec::Digest;

use crate::debian::{self, Architecture, BaseLock, Keyring, Mirror, Request};
use crate::layers::{self, LayerId, Layers, PACKAGE_TIME};
use crate::manifest::{DIR, Manifest};
use crate::tree::{Node, Tree};
use crate::{Error, PackOptions, Progress};

/// The user that packed images run as, as the Debian base has it.
pub(crate) const USER: &str = "agent";
/// Its user and group id.
pub(crate) const USER_ID: u32 = 1000;
/// Part of the base layer's key: raise it when the same lock gives another tree.
const BASE_VERSION: u32 = 1;
/// The largest list of a base: ten thousand files are about 1 MB.
const MAX_MANIFEST: u64 = 64 << 20;

/// A base, before it is built.
#[derive(Clone)]
pub(crate) struct Base<'a> {
    pub options: &'a PackOptions,
    pub request: Request,
    pub progress: &'a dyn Fn(Progress),
    /// The section of agent.lock that is about it.
    pub section: &'static str,
}

impl Base<'_> {
    /// The old lock if it answers the request, else a new one.
    ///
    /// # Errors
    /// [`Error::Debian`]; [`Error::Lock`] if the request has changed and moving the lock was not asked for.
    pub(crate) fn lock(&self, old: Option<&BaseLock>) -> Result<BaseLock, Error> {
        match old {
            Some(old) if !self.options.upgrade && old.answers(&self.request) => Ok(old.clone()),
            Some(_) if !self.options.upgrade => Err(Error::lock(
                crate::lock::FILE,
                format!(
                    "section {} does not cover the suite, architecture and packages asked for now: run `corral pack --upgrade`",
                    self.section
                ),
            )),
            _ => {
                let mirror = self.mirror()?;
                let keyring = match &self.options.keyring {
                    Some(file) => Keyring::from_file(file)?,
                    None => Keyring::host()?,
                };
                let cache = debian::Cache::open(&self.options.cache.join("debian"))?;
                let request = &self.request;
                relayed(self.progress, |tell| debian::resolve(request, &mirror, &keyring, &cache, tell))
            }
        }
    }

    /// Puts the layer in place: the stored one, or one built of the lock.
    ///
    /// # Errors
    /// [`Error::Debian`] or [`Error::Image`].
    pub(crate) fn push(&self, layers: &mut Layers<'_>, lock: &BaseLock) -> Result<Digest, Error> {
        let key = self.key(lock)?;
        layers.push(&LayerId { kind: "pack-base", key, name: "base", time: PACKAGE_TIME }, || {
            let cache = debian::Cache::open(&self.options.cache.join("debian"))?;
            let mirror = self.mirror()?;
            let debs = relayed(self.progress, |tell| debian::fetch(lock, &mirror, &cache, tell))?;
            let base = debian::assemble(&debs, &self.request, &cache)?;
            let manifest = Manifest::of_base(&base);
            let mut tree = base.tree;
            manifest.put(&mut tree);
            Ok(tree)
        })
    }

    /// What the layer is known by: everything that goes into it.
    ///
    /// # Errors
    /// [`Error::Lock`].
    pub(crate) fn key(&self, lock: &BaseLock) -> Result<Digest, Error> {
        let locked =
            serde_json::to_string(lock).map_err(|error| Error::lock(crate::lock::FILE, error.to_string()))?;
        let extra =
            format!("{:?} {:?} {:?}", self.request.omit, self.request.users, self.request.directories);
        Ok(layers::key(&["base", &BASE_VERSION.to_string(), &locked, &extra]))
    }

    fn mirror(&self) -> Result<Mirror, Error> {
        Ok(Mirror::configured(self.options.mirror.as_deref(), self.request.suite)?)
    }
}

/// What is below a project that needs no packages.
pub(crate) fn push_bare(layers: &mut Layers<'_>) -> Result<Digest, Error> {
    let key = layers::key(&["bare", &BASE_VERSION.to_string()]);
    layers.push(&LayerId { kind: "pack-base", key, name: "base", time: PACKAGE_TIME }, || {
        let mut tree = Tree::default();
        let passwd = format!(
            "root:x:0:0:root:/root:/sbin/nologin\n{USER}:x:{USER_ID}:{USER_ID}::/home/{USER}:/sbin/nologin\n"
        );
        tree.insert("etc/passwd", Node::file(0o644, passwd.into_bytes()));
        tree.insert("etc/group", Node::file(0o644, format!("root:x:0:\n{USER}:x:{USER_ID}:\n").into_bytes()));
        tree.insert("tmp", Node::directory(0o1777));
        tree.insert(format!("home/{USER}"), Node { uid: USER_ID, gid: USER_ID, ..Node::directory(0o755) });
        Manifest::new("base").put(&mut tree);
        Ok(tree)
    })
}

/// The architecture of an image without packages.
pub(crate) fn host() -> Architecture {
    Architecture::host()
}

/// The scripts that the base's packages would have run, from the list in the layer.
pub(crate) fn skipped_scripts(store: &Store, base: &Digest) -> Vec<String> {
    let list = Path::new(DIR).join("base.json");
    let bytes = corral_image::read_file(&[store.layer_dir(base)], &list, MAX_MANIFEST);
    let manifest: Option<Manifest> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    manifest.map_or_else(Vec::new, |manifest| [manifest.skipped_scripts, manifest.unapplied].concat())
}

/// Runs work that reports from any thread, and tells its reports on this one.
fn relayed<T: Send>(
    progress: &dyn Fn(Progress),
    work: impl FnOnce(debian::OnProgress<'_>) -> Result<T, debian::Error> + Send,
) -> Result<T, Error> {
    let (sender, receiver) = mpsc::channel();
    let done = std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            // A receiver that is gone means that this thread is, too.
            let tell = move |event| drop(sender.send(event));
            work(&tell)
        });
        for event in receiver {
            progress(match event {
                debian::Progress::Index { suite } => Progress::Phase(format!("reading the index of {suite}")),
                debian::Progress::Fetched { package, bytes, left } => Progress::Phase(format!(
                    "fetched {package} ({} kB, {} kB to go)",
                    bytes / 1024,
                    left / 1024
                )),
            });
        }
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    Ok(done?)
}
