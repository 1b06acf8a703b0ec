//! The base file system of an image, built from signed Debian packages without dpkg, apt, chroot or
//! maintainer scripts.
//!
//! ```text
//! InRelease ──signature, dates, codename──▶ Packages.xz ──sha256, size──▶ index ──▶ resolve
//!                                                                                      │
//!          Tree ◀──fix-ups── assemble ◀──unpack── .deb ◀──sha256, size── fetch ◀── BaseLock
//! ```
//!
//! [`resolve`] turns a [`Request`] into a [`BaseLock`], which names every package by version and hash
//! and is all that [`fetch`] and [`assemble`] look at: with a lock no index is read. What a maintainer
//! script would have done comes from sysusers.d, tmpfiles.d and a declared table, or is named in
//! [`Base::skipped_scripts`].
//!
//! On disk, below the [`Cache`]'s root (everything may be deleted at any time):
//! ```text
//! lock                  shared lock of working processes; who gets it exclusively collects staging/
//! staging/              half-written files
//! index/SUITE-ARCH-HEX  parsed Packages of one archive, named by the SHA-256 of its InRelease
//! debs/HEX              a verified .deb, named by its SHA-256
//! data/HEX              its data.tar, decompressed, and the SHA-256 of that
//! ```
//!
//! Nothing here runs a program, reads the host's dpkg database, or trusts a key that the mirror sent.

mod accounts;
mod aptconf;
mod archive;
mod assemble;
mod cache;
mod clearsign;
mod content;
mod date;
mod deb;
mod deb822;
mod elf;
mod error;
mod fetch;
mod fixup;
mod index;
mod keyring;
mod ldcache;
mod lock;
mod omit;
mod path;
mod relation;
mod release;
mod request;
mod resolve;
mod scripts;
mod sources;
mod suite;
#[cfg(test)]
mod tests;
mod trim;
mod version;

pub use assemble::assemble;
pub use cache::Cache;
pub use error::Error;
pub use fetch::fetch;
pub use keyring::Keyring;
pub use lock::{BaseLock, LockedPackage, LockedSource};
pub use request::{Directory, Request, User};
pub use sources::Mirror;
pub use suite::{Architecture, Suite};

use std::path::PathBuf;

use crate::tree::Tree;
use archive::Opener;
use index::Index;
use suite::Archive;

/// What [`resolve`], [`fetch`] and [`assemble`] are doing; told from any thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A suite's index is being fetched and read.
    Index {
        /// For example `bookworm-security`.
        suite: String,
    },
    /// A package was stored.
    Fetched {
        /// Its name.
        package: String,
        /// Its size in bytes.
        bytes: u64,
        /// Bytes still to fetch for all packages.
        left: u64,
    },
}

/// A callback for [`Progress`].
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);

/// A stored, verified package file.
#[derive(Clone, Debug)]
pub struct DebFile {
    /// What the lock says of it.
    pub package: LockedPackage,
    /// The .deb.
    pub path: PathBuf,
    /// Where its decompressed data.tar is kept, or will be.
    pub data: PathBuf,
}

/// An assembled base.
#[derive(Debug)]
pub struct Base {
    /// The file system, fix-ups included.
    pub tree: Tree,
    /// Maintainer scripts that a dpkg installation would have run.
    pub skipped_scripts: Vec<SkippedScript>,
    /// Lines of sysusers.d and tmpfiles.d that could not be applied, each with file and reason.
    pub unapplied: Vec<String>,
    /// Which package each file came from; files that no package owns come from the fix-ups.
    pub origins: Vec<Origin>,
}

/// A maintainer script that did not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedScript {
    /// The package.
    pub package: String,
    /// `preinst`, `postinst` or `config`.
    pub script: &'static str,
    /// What it would have done, as far as that can be told without running it.
    pub summary: String,
}

/// One package's share of a [`Base`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The package as locked: name, version, hash, and the suite whose signature covers it.
    pub package: LockedPackage,
    /// Its files in the tree, in canonical order; directories are nobody's.
    pub files: Vec<PathBuf>,
}

/// Finds the newest packages that satisfy a request.
///
/// # Errors
/// See [`Error`]: no mirror, a bad signature, an expired release, an unsatisfiable dependency.
pub fn resolve(
    request: &Request,
    mirror: &Mirror,
    keyring: &Keyring,
    cache: &Cache,
    progress: OnProgress,
) -> Result<BaseLock, Error> {
    let client = mirror.client();
    let opener = Opener { request, mirror, keyring, cache, client: &client };
    let opened = std::thread::scope(|scope| {
        let open = |archive: Archive| {
            let opener = &opener;
            scope.spawn(move || {
                progress(Progress::Index { suite: archive.codename(request.suite) });
                opener.open(archive)
            })
        };
        let threads = Archive::ALL.map(open);
        threads.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut sources = Vec::new();
    let mut indexes = Vec::new();
    for opened in opened {
        let opened = opened?;
        let failed = |source| Error::Cache { act: "read", path: opened.index.clone(), source };
        indexes.push(Index::open(&opened.index, &opened.source.suite).map_err(failed)?);
        sources.push(opened.source);
    }
    let chosen = resolve::choose(&indexes, request)?;
    Ok(BaseLock {
        suite: request.suite,
        architecture: request.architecture,
        requested: request.roots(),
        omitted: chosen.omitted.into_iter().collect(),
        sources,
        packages: chosen.packages.values().map(|package| LockedPackage::from(&**package)).collect(),
    })
}
