//! Where packages are fetched from: `--mirror`, `CORRAL_MIRROR`, or the host's apt configuration, in this
//! order. No address is built in.
//!
//! The mirror need not be trusted, so the host's configuration only says where to look; what counts is
//! the keyring. Of apt's entries only Debian's own archives are taken: a known suite name, component
//! `main`, and no `Signed-By` but Debian's keyring.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::suite::Archive;
use super::{Error, Suite, aptconf, deb822};
use crate::http::{Client, Route, redacted};

/// Names that Debian gives its releases' archives; others are not Debian's, or not a release.
const RELEASES: [&str; 7] = ["stable", "oldstable", "bullseye", "bookworm", "trixie", "forky", "testing"];

/// Base addresses of a suite's archives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// For the suite and its `-updates`; the preferred one first.
    main: Vec<Address>,
    /// For its `-security`.
    security: Vec<Address>,
    /// The host's apt proxy, if the environment names none.
    apt_proxy: Option<String>,
}

/// An http or https address without trailing slash.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address(String);

impl Mirror {
    /// The mirror for a suite: `option` (`--mirror`), else `CORRAL_MIRROR`, else what the host's apt is
    /// configured with. Option and variable are `URL[,SECURITY-URL]`; without the second, `-security` is put
    /// behind the first.
    ///
    /// # Errors
    /// [`Error::Mirror`] if an address is malformed, [`Error::NoMirror`] if nothing names one.
    pub fn configured(option: Option<&str>, suite: Suite) -> Result<Self, Error> {
        let variable = std::env::var("CORRAL_MIRROR").ok().filter(|text| !text.is_empty());
        let apt = Path::new("/etc/apt");
        let mirror = match option.or(variable.as_deref()) {
            Some(text) => Self::parse(text)?,
            None => Self::from_apt(apt, suite)?,
        };
        Ok(Self { apt_proxy: aptconf::proxy(apt), ..mirror })
    }

    /// Parses `URL[,SECURITY-URL]`.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let (main, security) = match text.split_once(',') {
            Some((main, security)) => (Address::parse(main)?, Address::parse(security)?),
            None => {
                let main = Address::parse(text)?;
                let security = main.security();
                (main, security)
            }
        };
        Ok(Self { main: vec![main], security: vec![security], apt_proxy: None })
    }

    /// Reads apt's source lists. What cannot be read or parsed is left out: apt itself is the one to
    /// complain about it.
    fn from_apt(apt: &Path, suite: Suite) -> Result<Self, Error> {
        let mut mirror = Self { main: Vec::new(), security: Vec::new(), apt_proxy: None };
        let mut entries = Vec::new();
        let mut paths: Vec<PathBuf> = fs::read_dir(apt.join("sources.list.d"))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        paths.sort();
        paths.insert(0, apt.join("sources.list"));
        for path in paths {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("list") => entries.extend(text.lines().filter_map(one_line)),
                Some("sources") => entries.extend(deb822::stanzas(&text).filter_map(stanza)),
                _ => {}
            }
        }
        // An entry for this very release comes before one for another: a snapshot has only its own.
        entries.sort_by_key(|entry| !entry.suites.iter().any(|name| name.starts_with(suite.codename())));
        for entry in entries.iter().filter(|entry| entry.is_debian()) {
            mirror.add(entry);
        }
        if mirror.security.is_empty() {
            mirror.security = mirror.main.iter().map(Address::security).collect();
        }
        if mirror.main.is_empty() { Err(Error::NoMirror) } else { Ok(mirror) }
    }

    fn add(&mut self, entry: &Entry) {
        for name in &entry.suites {
            let list = match archive_of(name) {
                Some(Archive::Main | Archive::Updates) => &mut self.main,
                Some(Archive::Security) => &mut self.security,
                None => continue,
            };
            for address in entry.addresses() {
                if !list.contains(&address) {
                    list.push(address);
                }
            }
        }
    }

    /// What fetches from it.
    pub(super) fn client(&self) -> Client {
        Client::new(Route { fallback_proxy: self.apt_proxy.clone(), ..Route::default() })
    }

    /// The base addresses of an archive.
    pub(super) fn bases(&self, archive: Archive) -> &[Address] {
        match archive {
            Archive::Main | Archive::Updates => &self.main,
            Archive::Security => &self.security,
        }
    }
}

/// One source of apt's.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    urls: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

impl Entry {
    fn is_debian(&self) -> bool {
        let signer = self.signed_by.as_deref().is_none_or(|path| {
            Path::new(path)
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("debian-archive-"))
        });
        signer && self.components.iter().any(|name| name == "main")
    }

    /// The http and https addresses; `mirror+file:` names a list of them (apt-transport-mirror(1)).
    fn addresses(&self) -> Vec<Address> {
        let list = |url: &String| match url.strip_prefix("mirror+file:") {
            Some(path) => {
                let text =
                    fs::read_to_string(format!("/{}", path.trim_start_matches('/'))).unwrap_or_default();
                text.lines()
                    .filter_map(|line| line.split_ascii_whitespace().next().map(str::to_owned))
                    .collect()
            }
            None => vec![url.clone()],
        };
        self.urls.iter().flat_map(list).filter_map(|url| Address::parse(&url).ok()).collect()
    }
}

/// Which archive a suite name of apt's means, for any of Debian's releases.
fn archive_of(name: &str) -> Option<Archive> {
    let (release, archive) = match name.split_once(['-', '/']) {
        None => (name, Archive::Main),
        Some((release, "updates")) => (release, Archive::Updates),
        Some((release, "security")) => (release, Archive::Security),
        Some(_) => return None,
    };
    RELEASES.contains(&release).then_some(archive)
}

/// `deb [options] URL SUITE COMPONENT…`
fn one_line(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let signed_by = options.split_ascii_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    let mut words = rest.split_ascii_whitespace().map(str::to_owned);
    Some(Entry {
        urls: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: signed_by.map(str::to_owned),
    })
}

/// A stanza of a `.sources` file (sources.list(5), "deb822-style").
fn stanza(stanza: deb822::Stanza) -> Option<Entry> {
    let words = |field: &str| -> Vec<String> {
        stanza.get(field).unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect()
    };
    let enabled = stanza.get("Enabled").is_none_or(|text| !matches!(text, "no" | "false" | "0"));
    (enabled && words("Types").iter().any(|kind| kind == "deb")).then(|| Entry {
        urls: words("URIs"),
        suites: words("Suites"),
        components: words("Components"),
        signed_by: stanza.get("Signed-By").map(str::to_owned),
    })
}

impl Address {
    fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let bad = |reason| Error::Mirror { url: redacted(text), reason };
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let rest = rest.ok_or_else(|| bad("is neither http nor https"))?;
        if rest.split(['/', '?']).next().is_none_or(str::is_empty) {
            return Err(bad("names no host"));
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#')) {
            return Err(bad("has a blank, a query or a fragment in it"));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    /// The address of a file below this one.
    pub(super) fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.0)
    }
}

impl Address {
    /// Where a mirror's security archive is by custom.
    fn security(&self) -> Self {
        Self(format!("{}-security", self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], main: &[&str], security: &[&str]) {
        let home = tempfile::tempdir().expect("temp dir");
        fs::create_dir(home.path().join("sources.list.d")).expect("sources.list.d");
        for (name, text) in files {
            fs::write(home.path().join(name), text).expect("write");
        }
        let mirror = Mirror::from_apt(home.path(), Suite::Bookworm).expect("a mirror");
        let shown = |list: &[Address]| list.iter().map(|address| address.0.clone()).collect::<Vec<_>>();
        assert_eq!(shown(&mirror.main), main, "{files:?}");
        assert_eq!(shown(&mirror.security), security, "{files:?}");
    }

    #[test]
    fn reads_apt_sources() {
        let empty = tempfile::tempdir().expect("temp dir");
        assert!(matches!(Mirror::from_apt(empty.path(), Suite::Bookworm), Err(Error::NoMirror)));
        check(
            &[(
                "sources.list",
                "# deb http://no/debian bookworm main\n\
                 deb http://one/debian/ bookworm main contrib # mine\n\
                 deb-src http://src/debian bookworm main\n\
                 deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] https://two/sec bookworm-security main\n\
                 deb http://packages.example/apt bookworm-pgdg main\n\
                 deb cdrom:[x]/ bookworm main\n\
                 deb http://other/apt cloud-sdk-bookworm main\n\
                 deb [signed-by=/usr/share/keyrings/vendor.gpg] http://vendor/debian bookworm main\n",
            )],
            &["http://one/debian"],
            &["https://two/sec"],
        );
        check(
            &[(
                "sources.list.d/debian.sources",
                "Types: deb deb-src\nURIs: http://a/debian http://b/debian\nSuites: trixie trixie-updates\n\
                 Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.pgp\n\n\
                 Types: deb\nURIs: http://c/debian\nSuites: bookworm\nComponents: main\n\n\
                 Types: deb\nURIs: http://off/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n\n\
                 Types: deb\nURIs: http://node/x\nSuites: nodistro\nComponents: main\n",
            )],
            &["http://c/debian", "http://a/debian", "http://b/debian"],
            &["http://c/debian-security", "http://a/debian-security", "http://b/debian-security"],
        );
    }

    #[test]
    fn parses_the_option() {
        let shown = |text: &str| {
            Mirror::parse(text).map(|mirror| (mirror.main[0].0.clone(), mirror.security[0].0.clone()))
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(shown("http://h/debian/").ok(), Some(pair("http://h/debian", "http://h/debian-security")));
        assert_eq!(shown("http://h:1/a,https://s/b").ok(), Some(pair("http://h:1/a", "https://s/b")));
        for bad in
            ["", "h/debian", "file:///x", "http://", "http:///x", "http://h/a b", "http://h/?q", "http://h,"]
        {
            assert!(shown(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn never_shows_a_password() {
        let error = Mirror::parse("ftp://user:hunter2@h/debian").expect_err("ftp");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
