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
//! index/HEX             parsed Packages of one component, named by the SHA-256 of its InRelease
//! debs/HEX              a verified .deb, named by its SHA-256
//! data/HEX              its data.tar, decompressed, and the SHA-256 of that
//! ```
//!
//! Nothing here runs a program, reads the host's dpkg database, or trusts a key that the mirror sent.

mod cache;
mod error;
mod lock;
mod request;
mod sources;
mod suite;

pub use cache::Cache;
pub use error::Error;
pub use lock::{BaseLock, LockedPackage, LockedSource};
pub use request::{Directory, Request, User};
pub use sources::Mirror;
pub use suite::{Architecture, Suite};

use std::path::{Path, PathBuf};

use crate::tree::Tree;

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

/// The keys that a release may be signed with.
pub struct Keyring {
    _private: (),
}

impl Keyring {
    /// The host's Debian archive keyring.
    ///
    /// # Errors
    /// [`Error::NoKeyring`] if the host has none.
    pub fn host() -> Result<Self, Error> {
        todo!()
    }

    /// A keyring file, binary or armoured.
    ///
    /// # Errors
    /// [`Error::Keyring`] if it cannot be read or holds no certificate.
    pub fn from_file(_path: &Path) -> Result<Self, Error> {
        todo!()
    }
}

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
    _request: &Request,
    _mirror: &Mirror,
    _keyring: &Keyring,
    _cache: &Cache,
    _progress: OnProgress,
) -> Result<BaseLock, Error> {
    todo!()
}

/// Makes every locked package present in the cache, in the lock's order. Without network when all are
/// stored already.
///
/// # Errors
/// See [`Error`]: a package neither stored nor offered, a wrong hash or size.
pub fn fetch(
    _lock: &BaseLock,
    _mirror: &Mirror,
    _cache: &Cache,
    _progress: OnProgress,
) -> Result<Vec<DebFile>, Error> {
    todo!()
}

/// Unpacks packages into a tree and does what their scripts would have done, as far as declared.
///
/// # Errors
/// See [`Error`]: a malformed package, two packages with the same file.
pub fn assemble(_debs: &[DebFile], _request: &Request, _cache: &Cache) -> Result<Base, Error> {
    todo!()
}
