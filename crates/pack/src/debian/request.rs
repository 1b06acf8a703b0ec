//! What a base shall contain.

use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use super::{Architecture, Error, Suite};

/// In every base: the release's name and licences, root certificates, the locale C.UTF-8, and the names of
/// services and protocols.
const COMMON: [&str; 4] = ["base-files", "ca-certificates", "libc-bin", "netbase"];

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
    /// Keep everything that packages ship: manuals, translations, character sets.
    pub complete: bool,
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
            complete: false,
            allow_expired: false,
        }
    }

    /// The packages to start from, sorted: what every base has, what Python needs, what was asked for.
    pub fn roots(&self) -> Vec<String> {
        let mut roots: Vec<String> = COMMON.iter().map(|name| (*name).to_owned()).collect();
        if self.python {
            let version = self.suite.python_version();
            roots.extend([
                format!("python{version}-minimal"),
                format!("libpython{version}-stdlib"),
                "tzdata".to_owned(),
            ]);
        }
        roots.extend(self.packages.iter().cloned());
        roots.sort();
        roots.dedup();
        roots
    }
}

impl FromStr for User {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |reason| Error::Setting { what: "user", text: shown(text), reason };
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        if !is_account_name(name) {
            return Err(bad("a name has 1 to 32 of a-z 0-9 _ - and begins with a letter or _"));
        }
        let mut id = || {
            parts.next().map(|part| part.parse().map_err(|_| bad("expected NAME[:UID[:GID]]"))).transpose()
        };
        let (uid, gid) = (id()?, id()?);
        if parts.next().is_some() || uid == Some(0) || gid == Some(0) || uid.max(gid) == Some(u32::MAX) {
            return Err(bad("expected NAME[:UID[:GID]] with ids from 1 to 4294967294"));
        }
        Ok(Self { name: name.to_owned(), uid, gid })
    }
}

impl FromStr for Directory {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |reason| Error::Setting { what: "directory", text: shown(text), reason };
        let mut parts = text.split(':');
        let path = parts.next().and_then(|path| path.strip_prefix('/'));
        let path = path.ok_or_else(|| bad("expected an absolute path: /PATH[:MODE[:USER[:GROUP]]]"))?;
        let path = super::path::parse(path.trim_end_matches('/').as_bytes()).map_err(bad)?;
        let mode = match parts.next() {
            Some(mode) => u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777),
            None => Some(0o755),
        };
        let mode = mode.ok_or_else(|| bad("the mode is not octal, 0 to 7777"))?;
        let user = parts.next().unwrap_or("root").to_owned();
        let group = parts.next().unwrap_or(&user).to_owned();
        let is_owner =
            |word: &str| is_account_name(word) || word.parse::<u32>().is_ok_and(|id| id != u32::MAX);
        if parts.next().is_some() || !is_owner(&user) || !is_owner(&group) {
            return Err(bad("expected /PATH[:MODE[:USER[:GROUP]]]"));
        }
        Ok(Self { path, mode, user, group })
    }
}

/// Whether a text can be a user's or group's name: useradd(8)'s rule.
pub(super) fn is_account_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

fn shown(text: &str) -> String {
    text.chars().take(120).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_users() {
        for (text, expect) in [
            ("redis", Some(("redis", None, None))),
            ("redis:100", Some(("redis", Some(100), None))),
            ("_apt:100:65534", Some(("_apt", Some(100), Some(65534)))),
            ("", None),
            ("root:0", None),
            ("Redis", None),
            ("a:b", None),
            ("a:1:2:3", None),
            ("a:4294967295", None),
            ("a\n", None),
        ] {
            let user = text.parse::<User>().ok();
            assert_eq!(
                user.as_ref().map(|user| (user.name.as_str(), user.uid, user.gid)),
                expect,
                "{text:?}"
            );
        }
    }

    #[test]
    fn parses_directories() {
        for (text, expect) in [
            ("/var/lib/redis:750:redis", Some(("var/lib/redis", 0o750, "redis", "redis"))),
            ("/srv/", Some(("srv", 0o755, "root", "root"))),
            ("/a:1777:1:staff", Some(("a", 0o1777, "1", "staff"))),
            ("srv", None),
            ("/", None),
            ("/a/../b", None),
            ("/a:999", None),
            ("/a:17777", None),
            ("/a:755:x y", None),
        ] {
            let got = text.parse::<Directory>().ok();
            let got = got
                .as_ref()
                .map(|d| (d.path.to_str().expect("UTF-8"), d.mode, d.user.as_str(), d.group.as_str()));
            assert_eq!(got, expect, "{text:?}");
        }
    }

    #[test]
    fn starts_from_what_is_needed() {
        let mut request = Request::new(Suite::Trixie);
        request.python = true;
        request.packages = vec!["redis-server".to_owned(), "netbase".to_owned()];
        assert_eq!(
            request.roots(),
            [
                "base-files",
                "ca-certificates",
                "libc-bin",
                "libpython3.13-stdlib",
                "netbase",
                "python3.13-minimal",
                "redis-server",
                "tzdata"
            ]
        );
    }
}
