//! Section `base` of `agent.lock`.

use corral_spec::Digest;
use serde::{Deserialize, Serialize};

use super::index::{Package, is_pool_path};
use super::relation::is_name;
use super::suite::Archive;
use super::version::Version;
use super::{Architecture, Error, Request, Suite};

/// No package of Debian's is larger than 2 GB.
const DEB_LIMIT: u64 = 4 << 30;

/// Everything a base is made of. The same request against the same archive gives the same lock, byte
/// for byte: all lists are sorted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseLock {
    /// The release.
    pub suite: Suite,
    /// The architecture of all packages but those that fit any.
    pub architecture: Architecture,
    /// The packages that were asked for, dependencies not counted.
    pub requested: Vec<String>,
    /// Dependencies left out because only maintainer scripts need them, as `dependent -> dependency`.
    pub omitted: Vec<String>,
    /// The signed releases that vouch for the packages.
    pub sources: Vec<LockedSource>,
    /// The packages, by name.
    pub packages: Vec<LockedPackage>,
}

/// A release that was verified when the lock was made. It carries no address: any mirror will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedSource {
    /// For example `bookworm-security`.
    pub suite: String,
    /// SHA-256 of the InRelease file.
    pub inrelease: Digest,
    /// The release's own `Date`, RFC 3339 in UTC.
    pub date: String,
    /// Fingerprint of the first key with a good signature, upper-case hexadecimal.
    pub signed_by: String,
}

/// One package file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its full version, epoch and revision included.
    pub version: String,
    /// `all` or the lock's architecture.
    pub architecture: String,
    /// SHA-256 of the .deb.
    pub sha256: Digest,
    /// Size of the .deb in bytes.
    pub size: u64,
    /// Path below the mirror's base address.
    pub path: String,
    /// The suite whose signature covers it: one of [`BaseLock::sources`].
    pub source: String,
}

impl BaseLock {
    /// Whether this lock is what the request would be locked to, newer versions aside.
    pub fn answers(&self, request: &Request) -> bool {
        self.suite == request.suite
            && self.architecture == request.architecture
            && self.requested == request.roots()
    }

    /// A lock comes with a project, and is read as if it were hostile: names reach messages, paths mirrors.
    pub(super) fn check(&self) -> Result<(), Error> {
        let good = |package: &LockedPackage| {
            is_name(&package.name)
                && Version::parse(&package.version).is_some()
                && is_pool_path(&package.path)
                && package.size <= DEB_LIMIT
                && Archive::ALL.iter().any(|archive| archive.codename(self.suite) == package.source)
        };
        match self.packages.iter().find(|package| !good(package)) {
            None => Ok(()),
            Some(package) => Err(Error::Malformed {
                what: "agent.lock",
                suite: self.suite.to_string(),
                reason: format!(
                    "package {:?} has a name, version, path, size or source that cannot be",
                    package.name
                ),
            }),
        }
    }
}

impl From<&Package> for LockedPackage {
    fn from(package: &Package) -> Self {
        Self {
            name: package.name.clone(),
            version: package.version.to_string(),
            architecture: package.architecture.clone(),
            sha256: package.sha256,
            size: package.size,
            path: package.path.clone(),
            source: package.archive.clone(),
        }
    }
}
