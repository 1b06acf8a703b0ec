use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use corral_spec::Digest;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

use crate::Error;

/// Configs, manifests and the store's own records are read into memory, so they are bounded.
pub(crate) const SMALL: u64 = 8 << 20;

/// A store on disk; cheap to open, safe to share between threads and processes.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
}

/// Whether a small file must survive a power cut before its rename is seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    /// fdatasync first.
    Yes,
    /// Content-addressed, derivable, or followed by a syncfs.
    No,
}

impl Store {
    /// Opens `ROOT/store`, creating it if there is none. Scans nothing: one `access` on a store that exists.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] or what creating gives.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let root = std::path::absolute(root).map_err(|e| Error::io("find", root, e))?;
        let store = Self { dir: root.join("store") };
        match rustix::fs::access(&store.dir, rustix::fs::Access::EXISTS) {
            Ok(()) => Ok(store),
            Err(Errno::NOENT) => store.create(&root).map(|()| store),
            Err(errno) => Err(Error::io("open the image store", &store.dir, errno)),
        }
    }

    /// Makes the directories under a name of its own and renames, so that no process sees half a store.
    fn create(&self, root: &Path) -> Result<(), Error> {
        std::fs::create_dir_all(root).map_err(|e| Error::io("create", root, e))?;
        let draft = root.join(format!(".store-{}", unique()));
        let fail = |e: io::Error| Error::io("create the image store", &self.dir, e);
        let mut lock = None;
        let made = (|| {
            make_private(&draft)?;
            // Who collects drafts leaves alone what is locked.
            let dir = File::open(&draft)?;
            flock(&dir, FlockOperation::NonBlockingLockExclusive)?;
            lock = Some(dir);
            for sub in ["blobs", "blobs/sha256", "images", "refs", "layers", "cache", "staging"] {
                make_private(&draft.join(sub))?;
            }
            File::create(draft.join("lock"))?;
            File::create(draft.join("lease"))?;
            corral_fault::step!(StoreDrafted);
            match std::fs::rename(&draft, &self.dir) {
                Err(e) if Errno::from_io_error(&e).is_some_and(is_taken) => Ok(()),
                done => done,
            }
        })();
        if draft.exists() {
            // Another process was first, or it failed: either way the draft is ours alone.
            std::fs::remove_dir_all(&draft).map_err(fail)?;
        }
        drop(lock);
        match made {
            // Whoever was first may have taken our draft for a dead one's before it was locked.
            Err(_) if self.dir.exists() => {}
            made => made.map_err(fail)?,
        }
        self.collect_drafts(root).map_err(fail)
    }

    /// Removes what processes left that died while they made the store.
    fn collect_drafts(&self, root: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(root)? {
            let path = entry?.path();
            let is_draft =
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".store-"));
            let Some(dir) = is_draft.then(|| File::open(&path).ok()).flatten() else { continue };
            if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
                match std::fs::remove_dir_all(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The unpacked tree of a layer: a lower directory for overlayfs.
    pub fn layer_dir(&self, layer: &Digest) -> PathBuf {
        self.layer_path(layer).join("fs")
    }

    pub(crate) fn layer_path(&self, layer: &Digest) -> PathBuf {
        self.sub("layers").join(layer.hex())
    }

    pub(crate) fn blob_path(&self, blob: &Digest) -> PathBuf {
        self.sub("blobs/sha256").join(blob.hex())
    }

    pub(crate) fn image_path(&self, id: &Digest) -> PathBuf {
        self.sub("images").join(id.hex())
    }

    pub(crate) fn sub(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in `staging/` that no other process or thread uses.
    pub(crate) fn staging_path(&self) -> PathBuf {
        self.sub("staging").join(unique())
    }

    /// Waits for the lock on changes of `images/` and `refs/`; held for a few file operations only.
    pub(crate) fn lock(&self) -> Result<OwnedFd, Error> {
        self.flock("lock", FlockOperation::LockExclusive)
    }

    pub(crate) fn flock(&self, name: &str, how: FlockOperation) -> Result<OwnedFd, Error> {
        let path = self.sub(name);
        // Read-only suffices for flock, and works on a read-only file system too.
        let file = open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::io("open", &path, e))?;
        loop {
            match flock(&file, how) {
                Ok(()) => return Ok(file),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io("lock", &path, errno)),
            }
        }
    }

    /// Writes a whole file that becomes visible at `target` at once, replacing what is there.
    pub(crate) fn write_atomic(&self, target: &Path, bytes: &[u8], durable: Durable) -> Result<(), Error> {
        let fail = |e: Errno| Error::io("write", target, e);
        loop {
            let draft = self.staging_path();
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = open(&draft, flags, Mode::from_raw_mode(0o600)).map_err(fail)?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue; // A collector took the new file for a dead one: it removes it, we make another.
            }
            let mut file = File::from(file);
            let written = file.write_all(bytes).and_then(|()| match durable {
                Durable::Yes => file.sync_data(),
                Durable::No => Ok(()),
            });
            corral_fault::step!(FileStaged);
            let placed = written.and_then(|()| std::fs::rename(&draft, target));
            corral_fault::step!(FilePlaced);
            match placed {
                Ok(()) => return Ok(()),
                Err(e)
                    if e.kind() == io::ErrorKind::NotFound && target.parent().is_some_and(Path::exists) => {}
                Err(e) => {
                    // The draft is dead with this process at the latest; the collector takes it then.
                    let _ = std::fs::remove_file(&draft);
                    return Err(Error::io("write", target, e));
                }
            }
        }
    }
}

/// Reads a whole small file: open, one read, close. None if it does not exist.
pub(crate) fn read_small(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let fail = |e: Errno| Error::io("read", path, e);
    let file = match open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(fail(errno)),
    };
    // Most configs fit, and memory of this size comes without a system call.
    let mut first = [0; 8 << 10];
    let got = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut first)).map_err(fail)?;
    let mut bytes = first[..got].to_vec();
    if got == first.len() {
        // A short read of a regular file is its end; only a full one needs another.
        let rest = File::from(file).take(SMALL).read_to_end(&mut bytes);
        rest.map_err(|e| Error::io("read", path, e))?;
        if bytes.len() as u64 >= SMALL {
            return Err(Error::Damaged { path: path.into(), reason: "larger than 8 MiB".into() });
        }
    }
    Ok(Some(bytes))
}

/// What the kernel answers to a rename onto a directory that has something in it.
pub(crate) fn is_taken(errno: Errno) -> bool {
    matches!(errno, Errno::EXIST | Errno::NOTEMPTY)
}

/// The kernel's name of this boot; empty where /proc is hidden, which trusts nothing unsynced.
pub(crate) fn boot_id() -> String {
    let text = read_small(Path::new("/proc/sys/kernel/random/boot_id")).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let pid = rustix::process::getpid().as_raw_nonzero();
    // Two pid namespaces may share a store, so the pid alone is not unique; the clock is common to both.
    format!("{pid}-{}{:09}-{}", now.tv_sec, now.tv_nsec, COUNT.fetch_add(1, Ordering::Relaxed))
}

fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().mode(0o700).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}
