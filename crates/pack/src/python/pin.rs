//! A package that a lock or requirements file pins: what the parsers give and the download takes.

use std::fmt;

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
