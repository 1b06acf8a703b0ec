//! `pylock.toml` (PEP 751): every package whose marker holds for the image.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::environment::Environment;
use super::name::normalize;
use super::pin::{Pin, PinFile, file_name, sha256_hex};
use crate::Error;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    lock_version: String,
    #[serde(default)]
    requires_python: String,
    #[serde(default)]
    environments: Vec<String>,
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: String,
    version: Option<String>,
    #[serde(default)]
    marker: String,
    #[serde(default)]
    wheels: Vec<File>,
    sdist: Option<File>,
    archive: Option<toml::Value>,
    vcs: Option<toml::Value>,
    directory: Option<Directory>,
}

#[derive(Deserialize)]
struct Directory {
    #[serde(default)]
    path: String,
}

#[derive(Deserialize)]
struct File {
    name: Option<String>,
    url: Option<String>,
    path: Option<String>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

/// Parses the text.
///
/// # Errors
/// [`Error::Lock`]: malformed, of another version, not for this Python, or with a package that is not
/// pinned by a hash.
pub fn parse(text: &str, environment: &Environment) -> Result<Vec<Pin>, Error> {
    read(text, environment).map_err(|reason| Error::lock("pylock.toml", reason))
}

fn read(text: &str, environment: &Environment) -> Result<Vec<Pin>, String> {
    let document: Document = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    if document.lock_version.split('.').next() != Some("1") {
        return Err(format!("lock-version {:?} is not known; 1.x is", document.lock_version));
    }
    let python = &document.requires_python;
    if !python.is_empty() && !environment.admits(python)? {
        return Err(format!(
            "it is for Python {python}, the suite has {}: choose another suite with --suite",
            environment.version
        ));
    }
    let mut fits = document.environments.is_empty();
    for marker in &document.environments {
        fits |= environment.holds(marker)?;
    }
    if !fits {
        return Err("none of its environments is the image's: lock for Linux and this Python".into());
    }
    let mut pins: BTreeMap<String, Pin> = BTreeMap::new();
    for package in &document.packages {
        let own = package.directory.as_ref().is_some_and(|d| matches!(d.path.as_str(), "." | "./"));
        if own || !environment.holds(&package.marker)? {
            continue;
        }
        let pin = package.pin()?;
        if let Some(other) = pins.insert(pin.name.clone(), pin) {
            return Err(format!("{} has several entries that apply to the image", other.name));
        }
    }
    Ok(pins.into_values().collect())
}

impl Package {
    fn pin(&self) -> Result<Pin, String> {
        let name = normalize(&self.name);
        if self.vcs.is_some() || self.directory.is_some() || self.archive.is_some() {
            return Err(format!(
                "{name} does not come as a wheel or sdist with a hash: build a wheel of it and pin that"
            ));
        }
        let version = self.version.clone().ok_or_else(|| format!("{name} has no version"))?;
        let mut files = Vec::new();
        for file in self.wheels.iter().chain(&self.sdist) {
            let address = file.url.as_deref().or(file.path.as_deref()).unwrap_or_default();
            let hash = file.hashes.get("sha256").and_then(|hex| sha256_hex(&format!("sha256:{hex}")));
            let sha256 = hash.ok_or_else(|| format!("{name} {version}: a file without sha256 hash"))?;
            let file_name = file.name.clone().or_else(|| file_name(address));
            let file_name =
                file_name.ok_or_else(|| format!("{name}: {address:?} is not a file's address"))?;
            files.push(PinFile { name: Some(file_name), sha256, url: None, seen: file.url.clone() });
        }
        match files.is_empty() {
            true => Err(format!("{name} {version} has no files")),
            false => Ok(Pin { name, version, files }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::environment::bookworm;

    fn check(body: &str, expect: &str) {
        let text = format!("lock-version = \"1.0\"\n{}", body.replace("HEX", &"a".repeat(64)));
        let shown = match parse(&text, &bookworm()) {
            Ok(pins) => pins.iter().map(|pin| format!("{pin} {:?}; ", pin.files[0].name)).collect(),
            Err(error) => error.to_string(),
        };
        assert!(shown.contains(expect), "{shown:?} does not say {expect:?}");
    }

    #[test]
    fn reads_packages() {
        let wheel =
            "[[packages.wheels]]\nurl = \"https://f/A-1-py3-none-any.whl\"\nhashes = {sha256 = \"HEX\"}\n";
        check(
            &format!("[[packages]]\nname = \"A\"\nversion = \"1\"\n{wheel}"),
            "a 1 Some(\"A-1-py3-none-any.whl\"); ",
        );
        check(
            &format!("[[packages]]\nname = \"A\"\nversion = \"1\"\nmarker = \"os_name == 'nt'\"\n{wheel}"),
            "",
        );
        let twice = format!("[[packages]]\nname = \"A\"\nversion = \"1\"\n{wheel}");
        check(&format!("{twice}{twice}"), "several entries");
        check("[[packages]]\nname = \"a\"\nversion = \"1\"\n", "no files");
        check("[[packages]]\nname = \"a\"\nvcs = {type = \"git\"}\n", "does not come as a wheel");
        check("[[packages]]\nname = \"a\"\nversion = \"1\"\nmarker = \"'x' in extras\"\n", "marker");
        check(
            "[[packages]]\nname = \"a\"\nversion = \"1\"\n[[packages.wheels]]\nname = \"a-1-py3-none-any.whl\"\nhashes = {md5 = \"0\"}\n",
            "without sha256",
        );
        check("environments = [\"sys_platform == 'win32'\"]\n", "none of its environments");
        check("requires-python = \">=3.12\"\n", "--suite");
    }
}
