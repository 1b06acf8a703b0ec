//! Pins into stored wheel files.
//!
//! ```text
//! CACHE/wheels/HEX/NAME.whl     HEX = sha256 of the file, checked when it was put there and when it is used
//! ```

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use corral_spec::Digest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::client::Client;
use super::environment::Environment;
use super::name::normalize;
use super::pin::{Pin, PinFile, sha256_hex};
use super::tags::WheelName;
use crate::Error;
use crate::files::open_plain;
use crate::lock::LockedWheel;
use crate::tools::Tools;
use crate::work::WorkDir;

/// Where wheels come from and go to.
pub(crate) struct Fetcher<'a> {
    /// The pack cache.
    pub cache: &'a Path,
    /// The project, which the client must not see.
    pub project: &'a Path,
    /// What the wheels must fit.
    pub environment: &'a Environment,
    /// Where the host has no client.
    pub tools: &'a Tools<'a>,
}

/// One hash of a pin that is wanted, or several of which the client takes the fitting one.
struct Wanted {
    name: String,
    version: String,
    files: Vec<PinFile>,
}

impl Fetcher<'_> {
    /// The wheel that each pin means, in the cache.
    ///
    /// # Errors
    /// [`Error::Lock`] for a pin without a fitting wheel; [`Error::Client`]; [`Error::Hash`].
    pub(super) fn fetch_pins(&self, pins: &[Pin]) -> Result<Vec<LockedWheel>, Error> {
        let wanted = pins.iter().map(|pin| self.choose(pin)).collect::<Result<Vec<_>, _>>()?;
        let mut found = BTreeMap::new();
        let missing: Vec<&Wanted> = wanted
            .iter()
            .filter(|wanted| match self.stored(wanted) {
                Some(wheel) => found.insert(wanted.name.clone(), wheel).is_some(),
                None => true,
            })
            .collect();
        if !missing.is_empty() {
            found.extend(self.download(&missing)?.into_iter().map(|wheel| (wheel.name.clone(), wheel)));
        }
        let take = |wanted: &Wanted| {
            found.remove(&wanted.name).ok_or_else(|| Error::Client {
                client: "pip".into(),
                reason: format!("it gave no file for {} {}", wanted.name, wanted.version),
            })
        };
        wanted.iter().map(take).collect()
    }

    /// Makes locked wheels present.
    ///
    /// # Errors
    /// As [`Fetcher::fetch_pins`].
    pub(super) fn fetch_locked(&self, wheels: &[LockedWheel]) -> Result<(), Error> {
        let pin = |wheel: &LockedWheel| Pin {
            name: wheel.name.clone(),
            version: wheel.version.clone(),
            files: vec![PinFile {
                name: Some(wheel.file.clone()),
                sha256: wheel.sha256.hex(),
                url: wheel.url.clone(),
            }],
        };
        let missing: Vec<Pin> = wheels.iter().filter(|wheel| !self.path(wheel).is_file()).map(pin).collect();
        self.fetch_pins(&missing).map(drop)
    }

    /// Where a wheel is stored.
    pub(super) fn path(&self, wheel: &LockedWheel) -> PathBuf {
        self.dir(&wheel.sha256.hex()).join(&wheel.file)
    }

    fn dir(&self, hex: &str) -> PathBuf {
        self.cache.join("wheels").join(hex)
    }

    /// Narrows a pin to the wheel that fits best, where the file names are known.
    fn choose(&self, pin: &Pin) -> Result<Wanted, Error> {
        let named = pin.files.iter().filter_map(|file| Some((file, file.name.as_deref()?)));
        let ranked = named.clone().filter_map(|(file, name)| Some((self.environment.tags.rank(name)?, file)));
        let files = match ranked.min_by_key(|(rank, _)| *rank) {
            Some((_, best)) => vec![best.clone()],
            None if named.clone().next().is_none() => pin.files.clone(),
            None if named.clone().any(|(_, name)| !name.ends_with(".whl")) => {
                return Err(Error::Unsupported {
                    what: format!(
                        "{pin}: a package without wheel for Python {} on this machine",
                        self.environment.version
                    ),
                    way_out: "pin a version that has one, or build the wheel yourself and pin that".into(),
                });
            }
            None => {
                let reason = format!(
                    "none of its wheels fits Python {}: choose another version or suite",
                    self.environment.version
                );
                return Err(Error::lock(pin.to_string(), reason));
            }
        };
        Ok(Wanted { name: pin.name.clone(), version: pin.version.clone(), files })
    }

    /// A stored wheel that answers.
    fn stored(&self, wanted: &Wanted) -> Option<LockedWheel> {
        let mut best = None;
        for file in &wanted.files {
            let Ok(listing) = std::fs::read_dir(self.dir(&file.sha256)) else { continue };
            for name in listing.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
                let size = std::fs::metadata(self.dir(&file.sha256).join(&name))
                    .map_or(0, |metadata| metadata.len());
                if let Some(rank) = self.environment.tags.rank(&name) {
                    let wheel = LockedWheel {
                        name: wanted.name.clone(),
                        version: wanted.version.clone(),
                        file: name,
                        sha256: Digest::from_hex(&file.sha256).ok()?,
                        size,
                        url: file.url.clone(),
                    };
                    best = std::cmp::min_by_key(best, Some((rank, wheel)), |b| {
                        b.as_ref().map_or((u32::MAX, 0), |b| b.0)
                    });
                }
            }
        }
        // With several hashes another file may fit better than the one that happens to be stored.
        best.filter(|_| wanted.files.len() == 1).map(|(_, wheel)| wheel)
    }

    fn download(&self, missing: &[&Wanted]) -> Result<Vec<LockedWheel>, Error> {
        let wheels = self.cache.join("wheels");
        std::fs::create_dir_all(&wheels).map_err(Error::io("create", &wheels))?;
        let work = WorkDir::new(self.cache)?;
        let (list, dest) = (work.path().join("requirements.txt"), work.path().join("dest"));
        std::fs::write(&list, requirements(missing)).map_err(Error::io("write", &list))?;
        std::fs::create_dir(&dest).map_err(Error::io("create", &dest))?;
        Client::find(self.project, self.tools).download(&list, &dest, self.environment, self.project)?;
        let mut got = Vec::new();
        for entry in std::fs::read_dir(&dest).map_err(Error::io("read", &dest))? {
            let path = entry.map_err(Error::io("read", &dest))?.path();
            got.push(self.keep(&path, missing)?);
        }
        Ok(got)
    }

    /// Moves a downloaded file to its place, if it is one that was asked for.
    fn keep(&self, path: &Path, missing: &[&Wanted]) -> Result<LockedWheel, Error> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let found = sha256_file(path)?;
        let size = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
        let parsed = WheelName::parse(&file);
        let wanted = missing
            .iter()
            .find(|wanted| parsed.as_ref().is_some_and(|name| normalize(name.name) == wanted.name));
        let wanted = wanted.ok_or_else(|| Error::archive(&file, "is not a wheel that was asked for"))?;
        let pinned =
            wanted.files.iter().find(|pinned| pinned.sha256 == found.hex()).ok_or_else(|| Error::Hash {
                file: file.clone(),
                found: found.hex(),
                expected: wanted
                    .files
                    .iter()
                    .map(|pinned| pinned.sha256.as_str())
                    .collect::<Vec<_>>()
                    .join(" or "),
            })?;
        let dir = self.dir(&found.hex());
        std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        std::fs::rename(path, dir.join(&file)).map_err(Error::io("create", dir.join(&file)))?;
        Ok(LockedWheel {
            name: wanted.name.clone(),
            version: wanted.version.clone(),
            file,
            sha256: found,
            size,
            url: pinned.url.clone(),
        })
    }

    /// Resolves requirement lines and pins what came out.
    ///
    /// # Errors
    /// [`Error::Client`] with what the client said; [`Error::Lock`] if its report has no hashes.
    pub(super) fn resolve(&self, lines: &[String]) -> Result<Vec<Pin>, Error> {
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        let work = WorkDir::new(self.cache)?;
        let list = work.path().join("requirements.txt");
        std::fs::write(&list, lines.join("\n")).map_err(Error::io("write", &list))?;
        let report = Client::find(self.project, self.tools).resolve(
            &list,
            work.path(),
            self.environment,
            self.project,
        )?;
        pins_of_report(&report)
    }
}

/// Refuses a wheel that is not the locked one any more.
///
/// # Errors
/// [`Error::Hash`] or [`Error::Io`].
pub(super) fn check(wheel: &LockedWheel, path: &Path) -> Result<(), Error> {
    let found = sha256_file(path)?;
    match found == wheel.sha256 {
        true => Ok(()),
        false => {
            Err(Error::Hash { file: wheel.file.clone(), found: found.hex(), expected: wheel.sha256.hex() })
        }
    }
}

fn sha256_file(path: &Path) -> Result<Digest, Error> {
    let (mut file, mut hash, mut buffer) = (open_plain(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => return Ok(Digest::from_bytes(hash.finalize().into())),
            got => hash.update(&buffer[..got]),
        }
    }
}

/// The client's input: names and versions have been parsed, so nothing in them is an option.
fn requirements(missing: &[&Wanted]) -> String {
    let mut text = String::new();
    for wanted in missing {
        let url = wanted.files.iter().find_map(|file| file.url.as_deref());
        text.push_str(&match url {
            Some(url) => format!("{} @ {url}", wanted.name),
            None => format!("{}=={}", wanted.name, wanted.version),
        });
        for file in &wanted.files {
            text.push_str(&format!(" --hash=sha256:{}", file.sha256));
        }
        text.push('\n');
    }
    text
}

#[derive(Deserialize)]
struct Report {
    install: Vec<ReportItem>,
}

#[derive(Deserialize)]
struct ReportItem {
    metadata: ReportMetadata,
    download_info: DownloadInfo,
    #[serde(default)]
    is_direct: bool,
}

#[derive(Deserialize)]
struct ReportMetadata {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct DownloadInfo {
    url: String,
    archive_info: Option<ArchiveInfo>,
}

#[derive(Deserialize)]
struct ArchiveInfo {
    hash: Option<String>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

fn pins_of_report(json: &[u8]) -> Result<Vec<Pin>, Error> {
    let fail = |reason: String| Error::Client { client: "pip".into(), reason };
    let report: Report =
        serde_json::from_slice(json).map_err(|error| fail(format!("its report is malformed: {error}")))?;
    let mut pins = Vec::new();
    for item in report.install {
        let name = normalize(&item.metadata.name);
        let archive = item.download_info.archive_info;
        let hex = archive.and_then(|archive| {
            archive
                .hashes
                .get("sha256")
                .cloned()
                .or_else(|| archive.hash?.strip_prefix("sha256=").map(str::to_owned))
        });
        let sha256 = hex.and_then(|hex| sha256_hex(&format!("sha256:{hex}")));
        let sha256 = sha256.ok_or_else(|| fail(format!("its report has no sha256 for {name}")))?;
        let url = item.download_info.url;
        let version = item.metadata.version;
        if !super::name::is_name(&name) || version.parse::<pep440_rs::Version>().is_err() {
            return Err(fail(format!("its report names {name:?} {version:?}")));
        }
        let file = PinFile { name: super::pin::file_name(&url), sha256, url: item.is_direct.then_some(url) };
        pins.push(Pin { name, version, files: vec![file] });
    }
    pins.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_report() {
        let hex = "a".repeat(64);
        let item = |name: &str, hash: &str| {
            format!(
                "{{\"metadata\": {{\"name\": \"{name}\", \"version\": \"1.0\"}}, \"download_info\": {{\"url\": \
                 \"https://h/A-1.0-py3-none-any.whl\", \"archive_info\": {{\"hash\": \"{hash}\"}}}}}}"
            )
        };
        let report = |items: &str| pins_of_report(format!("{{\"install\": [{items}]}}").as_bytes());
        let pins = report(&item("A_b", &format!("sha256={hex}"))).expect("valid");
        assert_eq!(pins[0].name, "a-b");
        assert_eq!(pins[0].files[0].sha256, hex);
        assert!(report(&item("a", "md5=0")).is_err());
        assert!(report(&item("-r evil", &format!("sha256={hex}"))).is_err());
        assert!(pins_of_report(b"{").is_err());
    }
}
