//! Package files: fetched by a few threads, verified before they are visible in the cache.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use corral_spec::Digest;
use sha2::{Digest as _, Sha256};

use super::cache::persist;
use super::suite::Archive;
use super::{BaseLock, Cache, DebFile, Error, LockedPackage, Mirror, OnProgress, Progress};
use crate::http::{Client, Failure, broken_off};

/// Mirrors answer small files slowly; more at once hides that.
const THREADS: usize = 6;

/// Makes every locked package present in the cache, and answers in the lock's order. Without network when
/// all are stored already.
///
/// # Errors
/// [`Error::NotOffered`] for a package neither stored nor offered, [`Error::Mismatch`] for one that is not
/// what was locked, [`Error::Fetch`] without network.
pub fn fetch(
    lock: &BaseLock,
    mirror: &Mirror,
    cache: &Cache,
    progress: OnProgress,
) -> Result<Vec<DebFile>, Error> {
    lock.check()?;
    let left = lock.packages.iter().map(|package| package.size).sum();
    let job = Job { lock, mirror, cache, progress, client: OnceLock::new(), left: AtomicU64::new(left) };
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let work = || {
        while let Some(package) = lock.packages.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = job.obtain(package) {
                // The others stop at their next package; the first failure is the one to tell.
                next.store(lock.packages.len(), Ordering::Relaxed);
                failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..THREADS.min(lock.packages.len()) {
            scope.spawn(work);
        }
        work();
    });
    match failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        Some(error) => Err(error),
        None => Ok(lock.packages.iter().map(|package| deb_file(package, cache)).collect()),
    }
}

fn deb_file(package: &LockedPackage, cache: &Cache) -> DebFile {
    DebFile { package: package.clone(), path: cache.deb(&package.sha256), data: cache.data(&package.sha256) }
}

struct Job<'a> {
    lock: &'a BaseLock,
    mirror: &'a Mirror,
    cache: &'a Cache,
    progress: OnProgress<'a>,
    client: OnceLock<Client>,
    left: AtomicU64,
}

impl Job<'_> {
    fn obtain(&self, package: &LockedPackage) -> Result<(), Error> {
        let path = self.cache.deb(&package.sha256);
        let stored = is_stored(package, &path).map_err(|source| Error::Cache {
            act: "read",
            path: path.clone(),
            source,
        })?;
        if !stored {
            self.download(package, &path)?;
        }
        let left = self.left.fetch_sub(package.size, Ordering::Relaxed) - package.size;
        if !stored {
            (self.progress)(Progress::Fetched { package: package.name.clone(), bytes: package.size, left });
        }
        Ok(())
    }

    fn download(&self, package: &LockedPackage, path: &Path) -> Result<(), Error> {
        // The lock was checked: one of them it is.
        let archive =
            Archive::ALL.into_iter().find(|archive| archive.codename(self.lock.suite) == package.source);
        let archive = archive.unwrap_or(Archive::Main);
        let urls: Vec<_> = self.mirror.bases(archive).iter().map(|base| base.join(&package.path)).collect();
        let client = self.client.get_or_init(|| self.mirror.client());
        let fetched = client.fetch(&urls, package.size, |url, body| self.receive(package, path, url, body));
        fetched.map_err(|error| match error {
            Error::Missing { status: 404 | 410, .. } => Error::NotOffered {
                package: package.name.clone(),
                version: package.version.clone(),
                sha256: package.sha256,
            },
            error => error,
        })
    }

    fn receive(
        &self,
        package: &LockedPackage,
        path: &Path,
        url: &str,
        body: &mut dyn Read,
    ) -> Result<(), Failure<Error>> {
        let mut staged = self.cache.stage().map_err(Failure::Final)?;
        let mut hash = Sha256::new();
        let (mut size, mut buffer) = (0, vec![0; 128 << 10]);
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(broken_off(url, &error)),
            };
            size += count as u64;
            if size > package.size {
                break;
            }
            hash.update(&buffer[..count]);
            staged.write_all(&buffer[..count]).map_err(|source| {
                Failure::Final(Error::Cache { act: "write", path: path.to_owned(), source })
            })?;
        }
        let found = Digest::from_bytes(hash.finalize().into());
        if found == package.sha256 && size == package.size {
            return persist(staged, path).map_err(Failure::Final);
        }
        let (expected, found) = match size == package.size {
            true => (package.sha256.to_string(), found.to_string()),
            false if size > package.size => (format!("{} bytes", package.size), "more".to_owned()),
            false => (format!("{} bytes", package.size), format!("{size} bytes")),
        };
        let what = format!("{} {}", package.name, package.version);
        Err(Failure::Passing(Error::Mismatch { what, expected, found }))
    }
}

/// Whether a file is the package. One that a crash or a disk spoiled is not, and is fetched again.
fn is_stored(package: &LockedPackage, path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() != package.size {
        return Ok(false);
    }
    Ok(hash(file)? == package.sha256)
}

/// SHA-256 of what a reader gives.
pub(super) fn hash(mut reader: impl Read) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hash.finalize().into())),
            count => hash.update(&buffer[..count]),
        }
    }
}
