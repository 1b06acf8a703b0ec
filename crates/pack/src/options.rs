use std::path::PathBuf;

use corral_spec::ImageRef;

/// What `corral pack` was asked for.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// The project's directory.
    pub directory: PathBuf,
    /// The name to give the image; without it the project's name with the tag `latest`.
    pub tag: Option<ImageRef>,
    /// The Debian suite (`bookworm`, `trixie`); wins over the project's setting.
    pub suite: Option<String>,
    /// Debian packages in addition to the project's.
    pub packages: Vec<String>,
    /// Base URL of the Debian mirror; without it the environment's, else the host's apt configuration.
    pub mirror: Option<String>,
    /// The keyring that the mirror's signatures are checked against; without it the host's.
    pub keyring: Option<PathBuf>,
    /// Move the lock to the newest versions that the project allows.
    pub upgrade: bool,
    /// Take a release whose validity has ended, as archives of a past day need.
    pub allow_expired: bool,
    /// Seconds since 1970 that every file and the image carry (`SOURCE_DATE_EPOCH`); wins over the lock's.
    pub epoch: Option<u64>,
    /// How many downloads and compilations at once; the result does not depend on it. At least 1.
    pub jobs: usize,
    /// Where downloads are kept between runs: Debian packages, wheels, npm packages, compiled bytecode.
    pub cache: PathBuf,
}

impl PackOptions {
    /// Options for a directory with everything else left to the project and the lock.
    pub fn new(directory: impl Into<PathBuf>, cache: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            tag: None,
            suite: None,
            packages: Vec::new(),
            mirror: None,
            keyring: None,
            upgrade: false,
            allow_expired: false,
            epoch: None,
            jobs: 2,
            cache: cache.into(),
        }
    }
}

/// What a pack is doing: shown to a person, never parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A phase began: "resolving Debian packages", "compiling bytecode".
    Phase(String),
    /// So many of so many items of the current phase are done.
    Count {
        /// Items done.
        done: usize,
        /// Items in all.
        total: usize,
    },
    /// A layer is in the store.
    Layer {
        /// What is in it.
        name: String,
        /// Bytes of its files.
        bytes: u64,
        /// Whether it was there already.
        cached: bool,
    },
    /// Something the person should know although the pack goes on.
    Warning(String),
}
