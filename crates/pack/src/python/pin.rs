//! A package that a lock or requirements file pins: what the parsers give and the download takes.

use std::fmt;

use super::name::{is_name, normalize};
use crate::Error;

/// One package at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Normalised name.
    pub name: String,
    /// Version as written.
    pub version: String,
    /// The files that may stand for it; never empty. Files without a name come from a requirements
    /// file, where only the client knows which hash belongs to which file.
    pub files: Vec<PinFile>,
}

/// A file of a [`Pin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinFile {
    /// File name, if the source tells it.
    pub name: Option<String>,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Where it is, only for packages that are pinned to an address rather than to an index.
    pub url: Option<String>,
    /// Where the lock's maker saw it: a place to look when the user's own indexes do not have it.
    pub seen: Option<String>,
}

impl Pin {
    /// Refuses what a lock may say and a package cannot be called: name, version and address become a line of a
    /// file for pip, and parts of addresses.
    ///
    /// # Errors
    /// [`Error::Lock`].
    pub fn check(&self) -> Result<(), Error> {
        let bad = |what: &str| {
            Err(Error::lock(format!("{:?}", self.to_string()), format!("its {what} is not one: lock again")))
        };
        if !is_name(&self.name) || normalize(&self.name) != self.name {
            return bad("name");
        }
        if self.version.trim() != self.version || self.version.parse::<pep440_rs::Version>().is_err() {
            return bad("version");
        }
        let plain =
            |url: &str| !url.contains("${") && !url.contains(|c: char| c.is_whitespace() || c.is_control());
        match self.files.iter().filter_map(|file| file.url.as_deref()).all(plain) {
            true => Ok(()),
            false => bad("address"),
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// The digits of `sha256:HEX`, if that is what it is.
pub fn sha256_hex(text: &str) -> Option<String> {
    let hex = text.strip_prefix("sha256:")?;
    corral_spec::Digest::from_hex(hex).ok().map(|digest| digest.hex())
}

/// The last part of an address, without query and fragment, percent-decoded as far as wheels need.
pub fn file_name(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?;
    let name = path.rsplit('/').next()?.replace("%2B", "+").replace("%2b", "+").replace("%21", "!");
    let plain =
        name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+' | b'!'));
    (plain && !name.is_empty() && !name.starts_with('.')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pip_would_misread_is_refused() {
        let check = |name: &str, version: &str, url: Option<&str>, expect: &str| {
            let url = url.map(str::to_owned);
            let file = PinFile { name: None, sha256: "0".repeat(64), url, seen: None };
            let pin = Pin { name: name.into(), version: version.into(), files: vec![file] };
            let shown = pin.check().map_or_else(|error| error.to_string(), |()| "fine".into());
            assert!(shown.contains(expect) && !shown.contains('\n'), "{shown:?} does not say {expect:?}");
        };
        check("a-b", "1.0+x", Some("https://h/a%20b.whl"), "fine");
        check("-index-url=https://h", "1", None, "name is not one");
        check("a\n-r x", "1", None, "name is not one");
        check("../a", "1", None, "name is not one");
        check("a", "1 --pre", None, "version is not one");
        check("a", "1\n", None, "version is not one");
        check("a", "1", Some("https://h/a.whl\n-i https://h"), "address is not one");
        check("a", "1", Some("https://h/${PIP_X}.whl"), "address is not one");
    }

    #[test]
    fn names_of_addresses() {
        assert_eq!(
            file_name("https://x/a/b-1%2Bcpu-py3-none-any.whl#sha256=0").as_deref(),
            Some("b-1+cpu-py3-none-any.whl")
        );
        for bad in ["https://x/", "https://x/..", "https://x/a%2fb", "https://x/a b"] {
            assert_eq!(file_name(bad), None, "{bad}");
        }
    }
}
