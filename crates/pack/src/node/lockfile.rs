//! `package-lock.json` (version 2 and 3): what is installed where.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::base64::{Alphabet, decode};
use crate::debian::Architecture;

/// A package at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    /// Where it goes: `node_modules/a/node_modules/@b/c`.
    pub place: String,
    /// Its name in the registry.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `sha512-BASE64`.
    pub integrity: String,
    /// Commands: name and file inside the package.
    pub commands: Vec<(String, String)>,
    /// Whether it has install scripts that are to run.
    pub run_scripts: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    lockfile_version: u32,
    #[serde(default)]
    packages: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    name: Option<String>,
    version: Option<String>,
    resolved: Option<String>,
    integrity: Option<String>,
    dev: bool,
    optional: bool,
    link: bool,
    in_bundle: bool,
    has_install_script: bool,
    os: Vec<String>,
    cpu: Vec<String>,
    libc: Vec<String>,
    bin: Option<Value>,
    dependencies: BTreeMap<String, String>,
    optional_dependencies: BTreeMap<String, String>,
}

/// What the project says about packages with install scripts, by name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scripts<'a> {
    /// They run.
    pub run: &'a [String],
    /// They need not.
    pub skip: &'a [String],
}

/// What is installed for production on Linux with glibc.
///
/// # Errors
/// A reason naming the package and the way out.
pub(super) fn parse(
    text: &str,
    manifest: &Value,
    architecture: Architecture,
    scripts: Scripts<'_>,
) -> Result<Vec<Package>, String> {
    let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if !matches!(document.lockfile_version, 2 | 3) {
        return Err(format!(
            "lockfileVersion {} is not known: `npm install --package-lock-only` with npm 7 or later",
            document.lockfile_version
        ));
    }
    let root = document.packages.get("").ok_or("it has no entry for the project")?;
    for (field, locked) in
        [("dependencies", &root.dependencies), ("optionalDependencies", &root.optional_dependencies)]
    {
        let wanted: BTreeMap<String, String> = match manifest.get(field) {
            Some(value) => serde_json::from_value(value.clone())
                .map_err(|_| format!("package.json: {field} is malformed"))?,
            None => BTreeMap::new(),
        };
        if let Some((name, range)) = wanted.iter().find(|(name, range)| locked.get(*name) != Some(range)) {
            return Err(format!(
                "it does not cover {name} {range} of package.json: run `npm install --package-lock-only`"
            ));
        }
    }
    let mut packages = Vec::new();
    for (place, entry) in document.packages.iter().filter(|(place, _)| !place.is_empty()) {
        // What a package bundles comes in its own archive.
        if entry.dev || entry.in_bundle || (entry.optional && !entry.fits(architecture)) {
            continue;
        }
        packages.push(entry.package(place, architecture, scripts)?);
    }
    Ok(packages)
}

impl Entry {
    fn fits(&self, architecture: Architecture) -> bool {
        let cpu = match architecture {
            Architecture::Amd64 => "x64",
            Architecture::Arm64 => "arm64",
        };
        admits(&self.os, "linux") && admits(&self.cpu, cpu) && admits(&self.libc, "glibc")
    }

    fn package(
        &self,
        place: &str,
        architecture: Architecture,
        scripts: Scripts<'_>,
    ) -> Result<Package, String> {
        let fail = |reason: &str| Err(format!("{place}: {reason}"));
        let Some((_, folder)) = place.rsplit_once("node_modules/") else {
            return fail("is a workspace, which is not supported: pack its directory by itself");
        };
        let safe = place.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && place.starts_with("node_modules/");
        if !safe || !is_name(folder) || place.len() > 1000 {
            return fail("is not a place of a package");
        }
        if self.link {
            return fail("is a link to a workspace, which is not supported: pack its directory by itself");
        }
        if !self.fits(architecture) {
            return fail("is not for this operating system and processor");
        }
        let name = self.name.clone().unwrap_or_else(|| folder.to_owned());
        let version = self.version.clone().unwrap_or_default();
        if !is_name(&name) || super::range::version(&version).is_none() {
            return fail("has no plain name and version");
        }
        let registry = self
            .resolved
            .as_deref()
            .is_none_or(|from| from.starts_with("https://") || from.starts_with("http://"));
        let Some(integrity) = self.integrity.clone().filter(|hash| registry && sha512(hash).is_some()) else {
            return fail(
                "does not come from a registry with a sha512 integrity: publish it, or vendor it into the project",
            );
        };
        let (run, skip) = (scripts.run.contains(&name), scripts.skip.contains(&name));
        if run && skip {
            return fail("is in run-scripts and in skip-scripts: take it out of one");
        }
        if self.has_install_script && !run && !skip {
            return fail(&format!(
                "has an install script: add \"run-scripts\": [\"{name}\"] to the corral key of package.json to run it confined and without network, or \"skip-scripts\": [\"{name}\"] if it works without"
            ));
        }
        let commands =
            commands(&name, self.bin.as_ref()).ok_or_else(|| format!("{place}: its bin is malformed"))?;
        let run_scripts = self.has_install_script && run;
        Ok(Package { place: place.to_owned(), name, version, integrity, commands, run_scripts })
    }
}

/// npm's rule for `os`, `cpu` and `libc`: a list of what fits, or of what does not.
fn admits(list: &[String], own: &str) -> bool {
    let denied = list.iter().any(|item| item.strip_prefix('!') == Some(own));
    let only_denials = list.iter().all(|item| item.starts_with('!'));
    !denied && (only_denials || list.iter().any(|item| item == own || item == "any"))
}

/// `name` or `@scope/name`, as the registry allows them.
fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-', '_'])
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'))
    };
    name.len() <= 214
        && match name.strip_prefix('@').map(|scoped| scoped.split_once('/')) {
            Some(Some((scope, name))) => part(scope) && part(name),
            Some(None) => false,
            None => part(name),
        }
}

/// The commands of a package; none if they would leave it.
pub(super) fn commands(name: &str, bin: Option<&Value>) -> Option<Vec<(String, String)>> {
    let short = name.rsplit('/').next().unwrap_or(name);
    let pairs: Vec<(String, &Value)> = match bin {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(table)) => table.iter().map(|(name, file)| (name.clone(), file)).collect(),
        Some(file) => vec![(short.to_owned(), file)],
    };
    pairs
        .into_iter()
        .map(|(name, file)| {
            let file = crate::settings::inside(file.as_str()?)?;
            is_name(&name).then(|| (name, file.to_string_lossy().into_owned()))
        })
        .collect()
}

/// The 64 bytes of `sha512-BASE64`, the first of several hashes.
pub(super) fn sha512(integrity: &str) -> Option<[u8; 64]> {
    let text = integrity.split_whitespace().find_map(|hash| hash.strip_prefix("sha512-"))?;
    decode(text, Alphabet::Standard)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPTS: Scripts<'_> = Scripts { run: &[], skip: &[] };

    fn check(packages: &str, expect: &str) {
        let (run, skip) = (["r".to_owned(), "b".to_owned()], ["s".to_owned(), "b".to_owned()]);
        let scripts = Scripts { run: &run, skip: &skip };
        let hash = format!("sha512-{}==", "A".repeat(86));
        let text = format!(
            "{{\"lockfileVersion\": 3, \"packages\": {{\"\": {{\"dependencies\": {{\"a\": \"^1\"}}}}, {packages}}}}}"
        );
        let manifest = serde_json::json!({"dependencies": {"a": "^1"}});
        let shown = match parse(&text.replace("HASH", &hash), &manifest, Architecture::Amd64, scripts) {
            Ok(packages) => packages
                .iter()
                .map(|p| {
                    let ran = if p.run_scripts { "runs " } else { "" };
                    format!("{ran}{} {} {:?}; ", p.place, p.version, p.commands)
                })
                .collect(),
            Err(reason) => reason,
        };
        assert!(shown.contains(expect), "{shown:?} does not say {expect:?}");
    }

    fn entry(place: &str, more: &str) -> String {
        format!(
            "\"{place}\": {{\"version\": \"1.0.0\", \"resolved\": \"https://r/x.tgz\", \"integrity\": \"HASH\"{more}}}"
        )
    }

    #[test]
    fn takes_what_production_needs() {
        check(
            &entry("node_modules/a", ", \"bin\": {\"x\": \"./b/x.js\"}"),
            "node_modules/a 1.0.0 [(\"x\", \"b/x.js\")]; ",
        );
        check(&entry("node_modules/@s/b/node_modules/c", ""), "@s/b/node_modules/c 1.0.0 []; ");
        check(&entry("node_modules/d", ", \"dev\": true"), "");
        check(&entry("node_modules/o", ", \"optional\": true, \"os\": [\"win32\"]"), "");
        check(&entry("node_modules/o", ", \"optional\": true, \"libc\": [\"musl\"]"), "");
        check(&entry("node_modules/o", ", \"cpu\": [\"x64\"], \"os\": [\"!win32\"]"), "node_modules/o 1.0.0");
        check(&entry("node_modules/s", ", \"hasInstallScript\": true"), "node_modules/s 1.0.0");
        check(&entry("node_modules/r", ", \"hasInstallScript\": true"), "runs node_modules/r 1.0.0");
    }

    #[test]
    fn refuses_what_is_not_pinned_or_hostile() {
        check(&entry("node_modules/../../x", ""), "not a place");
        check(&entry("packages/x", ""), "workspace");
        check(&entry("node_modules/w", ", \"link\": true"), "workspace");
        check(&entry("node_modules/i", ", \"hasInstallScript\": true"), "\"run-scripts\": [\"i\"]");
        check(&entry("node_modules/b", ", \"hasInstallScript\": true"), "take it out of one");
        check(&entry("node_modules/a", ", \"os\": [\"darwin\"]"), "not for this");
        check(&entry("node_modules/a", ", \"bin\": \"../../x\""), "bin is malformed");
        check(&entry("node_modules/a", ", \"name\": \"--registry=x\""), "plain name");
        check(&entry("node_modules/a", "").replace("HASH", "sha1-x"), "sha512 integrity");
        check(&entry("node_modules/a", "").replace("https:", "git+ssh:"), "sha512 integrity");
        let manifest = serde_json::json!({"dependencies": {"b": "1"}});
        let text = "{\"lockfileVersion\": 3, \"packages\": {\"\": {}}}";
        assert!(
            parse(text, &manifest, Architecture::Amd64, SCRIPTS)
                .is_err_and(|reason| reason.contains("does not cover b 1"))
        );
        assert!(parse("{\"lockfileVersion\": 1}", &manifest, Architecture::Amd64, SCRIPTS).is_err());
    }

    #[test]
    fn integrity() {
        assert_eq!(sha512(&format!("sha512-{}==", "/".repeat(86))).map(|hash| hash[0]), Some(0xff));
        for bad in ["", "sha512-", "sha1-x", "sha512-AAAA=="] {
            assert_eq!(sha512(bad), None, "{bad}");
        }
    }
}
