//! Pins into stored files: wheels through the user's client, source distributions by ourselves.
//!
//! ```text
//! CACHE/wheels/HEX/NAME.whl        HEX = sha256 of the file, checked when it was put there and when it is used
//! CACHE/sdists/HEX/NAME.tar.gz     the same
//! ```

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use corral_spec::Digest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::client::Client;
use super::environment::Environment;
use super::index::{Index, Place};
use super::name::normalize;
use super::pin::{Pin, PinFile, sha256_hex};
use super::sdist;
use super::tags::WheelName;
use crate::Error;
use crate::files::open_plain;
use crate::lock::{LockedSdist, LockedWheel};
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
    index: OnceCell<Index>,
}

/// No source distribution is larger.
const MAX_SDIST: u64 = 2 << 30;

/// What pins came to.
#[derive(Default)]
pub(super) struct Fetched {
    /// In the cache.
    pub wheels: Vec<LockedWheel>,
    /// Those of which there is no wheel, without what their builds require.
    pub sdists: Vec<LockedSdist>,
}

/// The file that a pin means.
enum Choice {
    Wheel(Wanted),
    Sdist(LockedSdist),
}

/// One hash of a pin that is wanted, or several of which the client takes the fitting one.
struct Wanted {
    name: String,
    version: String,
    files: Vec<PinFile>,
}

impl<'a> Fetcher<'a> {
    /// What fetches for an environment into `cache`.
    pub(crate) fn new(
        cache: &'a Path,
        project: &'a Path,
        environment: &'a Environment,
        tools: &'a Tools<'a>,
    ) -> Self {
        Self { cache, project, environment, tools, index: OnceCell::new() }
    }

    /// The file that each pin means: wheels in the cache, source distributions by name.
    ///
    /// # Errors
    /// [`Error::Lock`] for a pin without a fitting file; [`Error::Client`]; [`Error::Hash`].
    pub(super) fn fetch_pins(&self, pins: &[Pin]) -> Result<Fetched, Error> {
        let (mut wanted, mut fetched) = (Vec::new(), Fetched::default());
        for pin in pins {
            match self.choose(pin)? {
                Choice::Wheel(wheel) => wanted.push(wheel),
                Choice::Sdist(sdist) => fetched.sdists.push(sdist),
            }
        }
        let mut missing = Vec::new();
        for wanted in &wanted {
            match self.stored(wanted) {
                Some(wheel) => fetched.wheels.push(wheel),
                None => missing.push(wanted),
            }
        }
        match self.download(&missing) {
            Ok(got) => fetched.wheels.extend(got),
            Err(Error::Client { client, reason }) => {
                // The client does not tell which of them have no wheel; their indexes do.
                let sdists = match self.without_wheel(&missing) {
                    Ok(sdists) if sdists.is_empty() => return Err(Error::Client { client, reason }),
                    Ok(sdists) => sdists,
                    Err(error) => {
                        let reason = format!("{reason}; and no source distribution was found: {error}");
                        return Err(Error::Client { client, reason });
                    }
                };
                missing.retain(|wanted| !sdists.iter().any(|sdist| sdist.name == wanted.name));
                fetched.wheels.extend(self.download(&missing)?);
                fetched.sdists.extend(sdists);
            }
            Err(error) => return Err(error),
        }
        let given = |name: &String| {
            fetched.wheels.iter().any(|wheel| wheel.name == *name)
                || fetched.sdists.iter().any(|sdist| sdist.name == *name)
        };
        if let Some(wanted) = wanted.iter().find(|wanted| !given(&wanted.name)) {
            return Err(Error::Client {
                client: "pip".into(),
                reason: format!("it gave no file for {} {}", wanted.name, wanted.version),
            });
        }
        fetched.wheels.sort_by(|a, b| a.name.cmp(&b.name));
        fetched.sdists.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(fetched)
    }

    /// Those of which the indexes have a source distribution with a wanted hash and no fitting wheel.
    fn without_wheel(&self, missing: &[&Wanted]) -> Result<Vec<LockedSdist>, Error> {
        let mut sdists = Vec::new();
        for wanted in missing.iter().filter(|wanted| wanted.files.iter().all(|file| file.name.is_none())) {
            let hashes: Vec<String> = wanted.files.iter().map(|file| file.sha256.clone()).collect();
            let offers = self.index()?.offers(&wanted.name, &hashes)?;
            if offers.iter().any(|offer| self.environment.tags.rank(&offer.file).is_some()) {
                continue;
            }
            let sdist = offers.into_iter().find_map(|offer| {
                sdist::parse_name(&offer.file)?;
                Some(LockedSdist {
                    name: wanted.name.clone(),
                    version: wanted.version.clone(),
                    sha256: Digest::from_hex(&offer.sha256).ok()?,
                    file: offer.file,
                    url: None,
                    requires: Vec::new(),
                })
            });
            sdists.extend(sdist);
        }
        Ok(sdists)
    }

    fn index(&self) -> Result<&Index, Error> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let index = Index::of_client(&Client::find(self.project, self.tools), self.project)?;
        Ok(self.index.get_or_init(|| index))
    }

    /// A source distribution, in the cache and checked: of the user's indexes, else from where the lock saw it.
    ///
    /// # Errors
    /// [`Error::Client`] if nobody has it; [`Error::Hash`] if what came is another.
    pub(super) fn fetch_sdist(&self, sdist: &LockedSdist) -> Result<PathBuf, Error> {
        // All stand in a lock, which comes with a project: names become parts of paths and addresses.
        Pin { name: sdist.name.clone(), version: sdist.version.clone(), files: Vec::new() }.check()?;
        let plain = super::pin::file_name(&sdist.file).filter(|name| sdist::parse_name(name).is_some());
        let file = plain.ok_or_else(|| {
            Error::lock(crate::lock::FILE, format!("{:?} is no source distribution's name", sdist.file))
        })?;
        let dir = self.cache.join("sdists").join(sdist.sha256.hex());
        let path = dir.join(&file);
        if path.is_file() && sha256_file(&path)? == sdist.sha256 {
            return Ok(path);
        }
        std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let mut failed = None;
        let offers = self.index().and_then(|index| index.offers(&sdist.name, &[sdist.sha256.hex()]));
        let offered = offers.unwrap_or_else(|error| {
            failed = Some(error);
            Vec::new()
        });
        let seen = sdist.url.as_deref().and_then(Place::parse);
        let work = WorkDir::new(self.cache)?;
        let part = work.path().join(&file);
        for place in offered.into_iter().map(|offer| offer.place).chain(seen) {
            match self.index().and_then(|index| index.fetch(&place, MAX_SDIST, &part)) {
                Ok(found) if found == sdist.sha256 => {
                    std::fs::rename(&part, &path).map_err(Error::io("create", &path))?;
                    return Ok(path);
                }
                Ok(found) => {
                    let (found, expected) = (found.hex(), sdist.sha256.hex());
                    failed = Some(Error::Hash { file: file.clone(), found, expected });
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| Error::Client {
            client: "pip".into(),
            reason: format!(
                "none of its indexes has {file} with the pinned hash: name one that has it in your pip configuration"
            ),
        }))
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
                seen: None,
            }],
        };
        let missing: Vec<Pin> = wheels.iter().filter(|wheel| !self.path(wheel).is_file()).map(pin).collect();
        match self.fetch_pins(&missing)?.sdists.first() {
            Some(sdist) => Err(Error::lock(crate::lock::FILE, format!("{:?} is not a wheel", sdist.file))),
            None => Ok(()),
        }
    }

    /// Where a wheel is stored.
    pub(super) fn path(&self, wheel: &LockedWheel) -> PathBuf {
        self.dir(&wheel.sha256.hex()).join(&wheel.file)
    }

    fn dir(&self, hex: &str) -> PathBuf {
        self.cache.join("wheels").join(hex)
    }

    /// Narrows a pin to the wheel that fits best, or to its source distribution, where the file names are known.
    fn choose(&self, pin: &Pin) -> Result<Choice, Error> {
        pin.check()?;
        let wheel =
            |files| Choice::Wheel(Wanted { name: pin.name.clone(), version: pin.version.clone(), files });
        let named = pin.files.iter().filter_map(|file| Some((file, file.name.as_deref()?)));
        if named.clone().next().is_none() {
            return Ok(wheel(pin.files.clone()));
        }
        let ranked = named.clone().filter_map(|(file, name)| Some((self.environment.tags.rank(name)?, file)));
        if let Some((_, best)) = ranked.min_by_key(|(rank, _)| *rank) {
            return Ok(wheel(vec![best.clone()]));
        }
        let no_wheel = |reason: &str| {
            let version = &self.environment.version;
            Err(Error::lock(pin.to_string(), format!("none of its files fits Python {version}: {reason}")))
        };
        let Some((file, name)) = named.clone().find(|(_, name)| sdist::parse_name(name).is_some()) else {
            return match named.clone().find(|(_, name)| !name.ends_with(".whl")) {
                Some((_, name)) => no_wheel(&format!(
                    "{name} is packed in a way that is not read; pin a version with a wheel"
                )),
                None => no_wheel("choose another version or suite"),
            };
        };
        let sha256 = Digest::from_hex(&file.sha256)
            .map_err(|error| Error::lock(pin.to_string(), error.to_string()))?;
        Ok(Choice::Sdist(LockedSdist {
            name: pin.name.clone(),
            version: pin.version.clone(),
            file: name.to_owned(),
            sha256,
            url: file.url.clone().or_else(|| file.seen.clone()).filter(|url| Place::parse(url).is_some()),
            requires: Vec::new(),
        }))
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
        if missing.is_empty() {
            return Ok(Vec::new());
        }
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
        let report = Client::find_resolver(self.project, self.tools).resolve(
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

pub(super) fn sha256_file(path: &Path) -> Result<Digest, Error> {
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
        let name_of_file = super::pin::file_name(&url);
        let file = PinFile { name: name_of_file, sha256, url: item.is_direct.then_some(url), seen: None };
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
