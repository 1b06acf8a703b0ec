use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Error;

/// A Debian release. Suites are never mixed: all packages of a base come from one of them and its
/// `-updates` and `-security`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
}

/// One of a release's three archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Archive {
    Main,
    Updates,
    Security,
}

impl Suite {
    /// The release's name.
    pub fn codename(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// The version of its `python3`, without patch level.
    pub fn python_version(self) -> &'static str {
        match self {
            Self::Bookworm => "3.11",
            Self::Trixie => "3.13",
        }
    }

    /// The release named in an `os-release` file, if it is one of ours.
    pub fn from_os_release(text: &str) -> Option<Self> {
        let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
        name.trim().trim_matches('"').parse().ok()
    }
}

impl Archive {
    pub(super) const ALL: [Self; 3] = [Self::Main, Self::Updates, Self::Security];

    /// The archive's name in `dists/`, which is also its release's `Codename`.
    pub(super) fn codename(self, suite: Suite) -> String {
        let name = suite.codename();
        match self {
            Self::Main => name.to_owned(),
            Self::Updates => format!("{name}-updates"),
            Self::Security => format!("{name}-security"),
        }
    }
}

impl FromStr for Suite {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "bookworm" => Ok(Self::Bookworm),
            "trixie" => Ok(Self::Trixie),
            _ => Err(Error::Suite { name: text.chars().take(80).collect() }),
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.codename())
    }
}

/// A processor architecture, by Debian's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Architecture {
    /// The architecture this program was built for.
    pub fn host() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 }
    }

    /// Debian's name, which is OCI's too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The directory below `/usr/lib` where its libraries are.
    pub fn multiarch(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu",
            Self::Arm64 => "aarch64-linux-gnu",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
