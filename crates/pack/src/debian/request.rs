//! What a base shall contain.

use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use super::{Architecture, Error, Suite};

/// What to build a base of.
#[derive(Clone, Debug)]
pub struct Request {
    /// The release.
    pub suite: Suite,
    /// The architecture.
    pub architecture: Architecture,
    /// With the suite's Python: interpreter, standard library, `/usr/bin/python3`.
    pub python: bool,
    /// Packages by name, as in `[tool.corral] packages`.
    pub packages: Vec<String>,
    /// Packages that must not come in as a dependency, beside the built-in list of packages that only
    /// maintainer scripts need.
    pub omit: Vec<String>,
    /// Users to add.
    pub users: Vec<User>,
    /// Directories to make.
    pub directories: Vec<Directory>,
    /// Keep manual pages, documentation and translations.
    pub documentation: bool,
    /// Accept a release whose `Valid-Until` has passed, as snapshots need.
    pub allow_expired: bool,
}

/// A user of the image, written `NAME[:UID[:GID]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct User {
    /// Its name, which is its group's too.
    pub name: String,
    /// Its id; without it the highest free system id.
    pub uid: Option<u32>,
    /// Its group's id; without it the user's.
    pub gid: Option<u32>,
}

/// A directory of the image, written `PATH[:MODE[:USER[:GROUP]]]`, the mode octal.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Directory {
    /// Below the root, without leading slash.
    pub path: PathBuf,
    /// Permission bits; 0755 by default.
    pub mode: u32,
    /// Owner by name or number; root by default.
    pub user: String,
    /// Group by name or number; the user's name by default.
    pub group: String,
}

impl Request {
    /// A request for nothing but the common files.
    pub fn new(suite: Suite) -> Self {
        Self {
            suite,
            architecture: Architecture::host(),
            python: false,
            packages: Vec::new(),
            omit: Vec::new(),
            users: Vec::new(),
            directories: Vec::new(),
            documentation: false,
            allow_expired: false,
        }
    }

    /// The packages to start from, sorted.
    pub fn roots(&self) -> Vec<String> {
        todo!()
    }
}

impl FromStr for User {
    type Err = Error;

    fn from_str(_text: &str) -> Result<Self, Error> {
        todo!()
    }
}

impl FromStr for Directory {
    type Err = Error;

    fn from_str(_text: &str) -> Result<Self, Error> {
        todo!()
    }
}

impl TryFrom<String> for User {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl TryFrom<String> for Directory {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}
