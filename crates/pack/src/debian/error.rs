use std::io;
use std::path::PathBuf;

use corral_spec::{Digest, ErrorKind};

use crate::http::Unfetched;

/// Why a base could not be built. Each message names the thing, the cause and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a release this version knows.
    #[error("suite {name:?}: not known; use bookworm or trixie")]
    Suite {
        /// As given.
        name: String,
    },
    /// A user or directory of the project's settings is malformed.
    #[error("{what} {text:?}: {reason}")]
    Setting {
        /// `user` or `directory`.
        what: &'static str,
        /// As given.
        text: String,
        /// What is wrong, and the form expected.
        reason: &'static str,
    },
    /// A mirror's address is malformed.
    #[error("mirror {url:?}: {reason}; give an http or https address with --mirror")]
    Mirror {
        /// As given.
        url: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// Nothing names a mirror.
    #[error("no Debian mirror: this host's apt names none; name one with --mirror URL or CORRAL_MIRROR")]
    NoMirror,
    /// The host has no Debian keyring.
    #[error(
        "no Debian archive keyring on this host: `apt-get install debian-archive-keyring`, or name one with --keyring FILE"
    )]
    NoKeyring,
    /// A keyring cannot be used.
    #[error("keyring {}: {reason}; name another with --keyring FILE", path.display())]
    Keyring {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The mirror could not be reached, or broke off.
    #[error("{url}: {reason}; check the network, or name another mirror with --mirror")]
    Fetch {
        /// The address, without credentials.
        url: String,
        /// The last attempt's failure.
        reason: String,
    },
    /// The mirror has no such file.
    #[error("{url}: the mirror has no such file (HTTP {status}); name another mirror with --mirror")]
    Missing {
        /// The address, without credentials.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// No good signature on a release.
    #[error(
        "InRelease of {suite}: {reason}; nothing of it is used (is the mirror Debian's, the keyring current?)"
    )]
    Signature {
        /// The archive asked for.
        suite: String,
        /// What was found instead.
        reason: String,
    },
    /// A release whose time has passed.
    #[error(
        "InRelease of {suite} expired on {until}: the mirror is stale; name another with --mirror, or --allow-expired for a snapshot"
    )]
    Expired {
        /// The archive.
        suite: String,
        /// Its `Valid-Until`.
        until: String,
    },
    /// A release made after now.
    #[error("InRelease of {suite} is dated {date}, which is in the future: check this machine's clock")]
    Future {
        /// The archive.
        suite: String,
        /// Its `Date`.
        date: String,
    },
    /// A good release of something else.
    #[error("InRelease of {asked}: the mirror offers {found:?} in its place; suites are never mixed")]
    WrongSuite {
        /// The archive asked for.
        asked: String,
        /// Its `Codename`.
        found: String,
    },
    /// A signed release or index that does not have the form Debian documents.
    #[error("{what} of {suite}: {reason}")]
    Malformed {
        /// `InRelease` or `Packages`.
        what: &'static str,
        /// The archive.
        suite: String,
        /// What is wrong.
        reason: String,
    },
    /// Fetched bytes are not the ones that were signed or locked.
    #[error(
        "{what}: got {found} in place of {expected}: the mirror is broken or being changed; try again, or name another with --mirror"
    )]
    Mismatch {
        /// The file.
        what: String,
        /// Hash or size that was signed or locked.
        expected: String,
        /// What came.
        found: String,
    },
    /// No package of that name.
    #[error("package {name}: not in Debian {suite} (main){}", wanted_by(by))]
    NoPackage {
        /// The name.
        name: String,
        /// The release.
        suite: &'static str,
        /// The package that depends on it; none if it was asked for.
        by: Option<String>,
    },
    /// A dependency that no package satisfies.
    #[error("package {package}: its dependency `{dependency}` cannot be satisfied: {reason}")]
    Unsatisfied {
        /// Who depends.
        package: String,
        /// The dependency as written.
        dependency: String,
        /// What was tried.
        reason: String,
    },
    /// Two chosen packages exclude each other.
    #[error("package {package} excludes {other} (`{relation}`): leave one of them out of `packages`")]
    Excluded {
        /// Who declares it.
        package: String,
        /// The other.
        other: String,
        /// Its `Conflicts` or `Breaks`.
        relation: String,
    },
    /// A locked package is gone.
    #[error(
        "{package} {version} ({sha256}): locked, but neither stored here nor offered by the mirror; `corral pack --upgrade` moves the lock"
    )]
    NotOffered {
        /// Its name.
        package: String,
        /// The locked version.
        version: String,
        /// The locked hash.
        sha256: Digest,
    },
    /// The cache cannot be used.
    #[error("cannot {act} {}", path.display())]
    Cache {
        /// What was tried.
        act: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A package file that is not one, or a hostile one.
    #[error("{package}: bad package: {reason}")]
    Deb {
        /// Its name and version.
        package: String,
        /// What is wrong.
        reason: String,
    },
    /// Two packages with the same file.
    #[error("/{}: in {first} and in {second}, and neither replaces the other: leave one out of `packages`", path.display())]
    FileConflict {
        /// The file.
        path: PathBuf,
        /// The package that has it already.
        first: String,
        /// The package that brings it again.
        second: String,
    },
    /// A declared user, group or directory that cannot be made.
    #[error("{what}: {reason}")]
    Account {
        /// The declared thing.
        what: String,
        /// Why not.
        reason: String,
    },
}

fn wanted_by(by: &Option<String>) -> String {
    by.as_ref().map(|name| format!(", but {name} depends on it")).unwrap_or_default()
}

impl Error {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Suite { .. }
            | Self::Setting { .. }
            | Self::Mirror { .. }
            | Self::NoMirror
            | Self::Account { .. } => ErrorKind::Invalid,
            Self::Deb { .. } | Self::Malformed { .. } => ErrorKind::Invalid,
            Self::NoPackage { .. } | Self::Missing { .. } => ErrorKind::NotFound,
            Self::Unsatisfied { .. } | Self::Excluded { .. } | Self::FileConflict { .. } => {
                ErrorKind::Conflict
            }
            Self::Signature { .. }
            | Self::Expired { .. }
            | Self::Future { .. }
            | Self::WrongSuite { .. }
            | Self::Mismatch { .. } => ErrorKind::Denied,
            Self::NoKeyring
            | Self::Keyring { .. }
            | Self::Fetch { .. }
            | Self::NotOffered { .. }
            | Self::Cache { .. } => ErrorKind::Unavailable,
        }
    }
}

impl From<Unfetched> for Error {
    fn from(unfetched: Unfetched) -> Self {
        match unfetched {
            Unfetched::Broken { url, reason } => Self::Fetch { url, reason },
            Unfetched::Status { url, status } => Self::Missing { url, status },
            Unfetched::NoAddress => Self::Fetch { url: "mirror".into(), reason: "none is configured".into() },
        }
    }
}
