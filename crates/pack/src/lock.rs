//! `agent.lock`: what an image is made of, beside the project's own files.
//!
//! ```text
//! version = 1
//! epoch = 1763683200            seconds since 1970: the time stamp of everything in the image
//! [base]                        debian::BaseLock: suite, InRelease hashes, every .deb with version and sha256
//! [python]                      version, inputs (hash of what was pinned or asked for)
//! [[python.wheels]]             name, version, file, sha256
//! [[python.sdists]]             the same, and the wheels that its build requires
//! [build]                       debian::BaseLock: what foreign code is built in, where that is not the base
//! [node]                        runtime and integrity, where Debian's nodejs is too old
//! ```
//!
//! Sections that this room does not know belong to others and are kept as they are. Written whole, by
//! rename; a symbolic link in its place is refused.

use std::path::Path;

use corral_spec::Digest;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::debian::BaseLock;

/// The file's name in the project.
pub(crate) const FILE: &str = "agent.lock";
const VERSION: i64 = 1;
/// A lock of a thousand packages is about 300 kB.
const MAX_LOCK: u64 = 16 << 20;

/// A read or new lock.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lock {
    pub epoch: Option<u64>,
    pub base: Option<BaseLock>,
    pub build: Option<BaseLock>,
    pub python: Option<PythonLock>,
    pub node: Option<NodeLock>,
    others: toml::Table,
}

/// Section `python`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PythonLock {
    /// Version of the interpreter that the wheels fit.
    pub version: String,
    /// Hash of the requirements that these wheels answer.
    pub inputs: Digest,
    /// The wheels, by name.
    pub wheels: Vec<LockedWheel>,
    /// The source distributions to build, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sdists: Vec<LockedSdist>,
}

/// A source distribution of a [`PythonLock`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockedSdist {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// File name.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// Address that the project's own lock names, for where the user's indexes do not have the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The wheels that its build requires, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<LockedWheel>,
}

/// A wheel of a [`PythonLock`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockedWheel {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// File name.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// Size of the file in bytes.
    pub size: u64,
    /// Address, only for packages pinned to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Section `node`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeLock {
    /// Version of npm's package with the runtime, where Debian's is too old.
    pub runtime: String,
    /// Its integrity, as npm writes it: `sha512-…`.
    pub integrity: String,
}

impl Lock {
    /// Reads the project's lock; without one, an empty lock.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Lock`].
    pub(crate) fn read(dir: &Path) -> Result<Self, Error> {
        match crate::files::read_project_file(dir, FILE, MAX_LOCK)? {
            Some(text) => Self::parse(&text),
            None => Ok(Self::default()),
        }
    }

    /// Whether nothing is locked by anybody.
    pub(crate) fn is_empty(&self) -> bool {
        self.base.is_none()
            && self.build.is_none()
            && self.python.is_none()
            && self.node.is_none()
            && self.others.is_empty()
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let fail = |reason: String| Error::lock(FILE, reason);
        let mut others: toml::Table = toml::from_str(text).map_err(|error: toml::de::Error| {
            fail(format!("{}: restore it, or delete it to lock anew", error.message()))
        })?;
        match others.remove("version").and_then(|version| version.as_integer()) {
            Some(VERSION) => {}
            _ => return Err(fail(format!("its version is not {VERSION}: it was written by another Corral"))),
        }
        Ok(Self {
            epoch: section(&mut others, "epoch")?,
            base: section(&mut others, "base")?,
            build: section(&mut others, "build")?,
            python: section(&mut others, "python")?,
            node: section(&mut others, "node")?,
            others,
        })
    }

    fn to_text(&self) -> Result<String, Error> {
        let mut table = self.others.clone();
        table.insert("version".into(), VERSION.into());
        let mut put = |name: &str, value: Option<toml::Value>| match value {
            Some(value) => drop(table.insert(name.into(), value)),
            None => drop(table.remove(name)),
        };
        put("epoch", value(self.epoch.as_ref())?);
        put("base", value(self.base.as_ref())?);
        put("build", value(self.build.as_ref())?);
        put("python", value(self.python.as_ref())?);
        put("node", value(self.node.as_ref())?);
        let body = toml::to_string(&table).map_err(|error| Error::lock(FILE, error.to_string()))?;
        Ok(format!(
            "# Written by `corral pack`; only `corral pack --upgrade` moves it. Keep it under version control.\n{body}"
        ))
    }

    /// Writes the lock into the project.
    ///
    /// # Errors
    /// [`Error::Io`], also for a symbolic link in its place.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), Error> {
        let (path, text) = (dir.join(FILE), self.to_text()?);
        if path.is_symlink() {
            return Err(Error::lock(FILE, "it is a symbolic link: put the file itself in its place"));
        }
        crate::files::write_atomic(&path, text.as_bytes())
    }
}

fn section<T: for<'de> Deserialize<'de>>(table: &mut toml::Table, name: &str) -> Result<Option<T>, Error> {
    let Some(value) = table.remove(name) else { return Ok(None) };
    value
        .try_into()
        .map(Some)
        .map_err(|error: toml::de::Error| Error::lock(FILE, format!("section {name}: {}", error.message())))
}

fn value<T: Serialize>(value: Option<&T>) -> Result<Option<toml::Value>, Error> {
    let converted = value.map(toml::Value::try_from).transpose();
    converted.map_err(|error| Error::lock(FILE, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let shown = match Lock::parse(text) {
            Ok(lock) => lock.to_text().expect("a lock that was read can be written"),
            Err(error) => error.to_string(),
        };
        assert!(shown.contains(expect), "{shown:?} does not say {expect:?}");
    }

    #[test]
    fn keeps_what_others_wrote() {
        let hex = format!("sha256:{}", "0".repeat(64));
        let text = format!(
            "version = 1\nepoch = 7\n[tools.x]\npin = \"y\"\n[python]\nversion = \"3.11\"\ninputs = \"{hex}\"\n\
             [[python.wheels]]\nname = \"a\"\nversion = \"1\"\nfile = \"a-1-py3-none-any.whl\"\nsha256 = \"{hex}\"\nsize = 3\n"
        );
        check(&text, "[tools.x]\npin = \"y\"\n");
        check(&text, "epoch = 7\n");
        check(&text, "[[python.wheels]]\n");
        let lock = Lock::parse(&text).expect("valid");
        assert_eq!(Lock::parse(&lock.to_text().expect("text")).expect("again"), lock);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        check("", "its version is not 1");
        check("version = 2", "its version is not 1");
        check("version = 1\nversion = 1", "agent.lock: duplicate key");
        check("version = 1\nepoch = -1", "section epoch");
        check("version = 1\n[python]\nevil = 1", "section python");
        check("version = 1\n[base]\nsuite = \"sid\"", "section base");
    }
}
