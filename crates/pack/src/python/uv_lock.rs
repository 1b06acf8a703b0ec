//! `uv.lock` (version 1): the packages reachable from the project, for the image's interpreter.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::environment::Environment;
use super::name::normalize;
use super::pin::{Pin, PinFile, file_name, sha256_hex};
use crate::Error;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    version: u32,
    #[serde(default)]
    requires_python: String,
    #[serde(default, rename = "package")]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: String,
    #[serde(default)]
    version: String,
    source: Source,
    #[serde(default)]
    resolution_markers: Vec<String>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<Dependency>>,
    #[serde(default)]
    wheels: Vec<File>,
    sdist: Option<File>,
}

#[derive(Deserialize, PartialEq, Eq)]
struct Source {
    registry: Option<String>,
    url: Option<String>,
    editable: Option<String>,
    directory: Option<String>,
    #[serde(rename = "virtual")]
    bare: Option<String>,
    git: Option<String>,
    path: Option<String>,
}

#[derive(Deserialize)]
struct File {
    url: Option<String>,
    path: Option<String>,
    filename: Option<String>,
    hash: Option<String>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    version: Option<String>,
    source: Option<Source>,
    #[serde(default)]
    extra: Vec<String>,
    #[serde(default)]
    marker: String,
}

/// Parses the text and walks it from the project.
///
/// # Errors
/// [`Error::Lock`]: malformed, of another version, not for this Python, or with a package that is not
/// pinned by a hash.
pub fn parse(text: &str, environment: &Environment) -> Result<Vec<Pin>, Error> {
    let fail = |reason: String| Error::lock("uv.lock", reason);
    let document: Document = toml::from_str(text).map_err(|error| fail(error.message().to_owned()))?;
    if document.version != 1 {
        return Err(fail(format!("format version {} is not known; 1 is", document.version)));
    }
    if !document.requires_python.is_empty() && !environment.admits(&document.requires_python).map_err(fail)? {
        return Err(fail(format!(
            "it is for Python {}, the suite has {}: choose another suite with --suite",
            document.requires_python, environment.version
        )));
    }
    let walk = Walk { packages: &document.packages, environment };
    walk.run().map_err(fail)
}

struct Walk<'a> {
    packages: &'a [Package],
    environment: &'a Environment,
}

impl<'a> Walk<'a> {
    fn run(&self) -> Result<Vec<Pin>, String> {
        let root = self
            .packages
            .iter()
            .position(|package| package.source.is_project())
            .ok_or("it names no project at \".\": run `uv lock` in this directory")?;
        let mut queue: Vec<&Dependency> = self.packages[root].dependencies.iter().collect();
        let (mut seen, mut reached) = (BTreeSet::new(), BTreeSet::new());
        while let Some(dependency) = queue.pop() {
            if !self.environment.holds(&dependency.marker)? {
                continue;
            }
            let at = self.find(dependency)?;
            let package = &self.packages[at];
            let first = (reached.insert(at)).then_some(&package.dependencies);
            queue.extend(first.into_iter().flatten());
            for extra in dependency.extra.iter().filter(|extra| seen.insert((at, extra.as_str()))) {
                queue.extend(package.optional_dependencies.get(extra).into_iter().flatten());
            }
        }
        reached.remove(&root);
        let mut pins =
            reached.into_iter().map(|at| self.packages[at].pin()).collect::<Result<Vec<_>, _>>()?;
        pins.sort_by(|a, b| a.name.cmp(&b.name));
        match pins.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(format!("{} and {} both apply to the image", pair[0], pair[1])),
            None => Ok(pins),
        }
    }

    /// The entry that a dependency means: by name, version and source, then by the fork's markers.
    fn find(&self, dependency: &Dependency) -> Result<usize, String> {
        let mut candidates = Vec::new();
        for (at, package) in self.packages.iter().enumerate() {
            let meant = package.name == dependency.name
                && dependency.version.as_ref().is_none_or(|version| *version == package.version)
                && dependency.source.as_ref().is_none_or(|source| *source == package.source);
            if meant && self.applies(package)? {
                candidates.push(at);
            }
        }
        match candidates[..] {
            [at] => Ok(at),
            [] => Err(format!("it does not cover {}: run `uv lock`", dependency.name)),
            _ => Err(format!("it has several entries for {} that apply to the image", dependency.name)),
        }
    }

    fn applies(&self, package: &Package) -> Result<bool, String> {
        let mut any = package.resolution_markers.is_empty();
        for marker in &package.resolution_markers {
            any |= self.environment.holds(marker)?;
        }
        Ok(any)
    }
}

impl Source {
    fn is_project(&self) -> bool {
        [&self.editable, &self.bare, &self.directory].into_iter().any(|path| path.as_deref() == Some("."))
    }
}

impl Package {
    fn pin(&self) -> Result<Pin, String> {
        let name = normalize(&self.name);
        let other = [
            &self.source.git,
            &self.source.path,
            &self.source.editable,
            &self.source.directory,
            &self.source.bare,
        ];
        if let Some(place) = other.into_iter().flatten().next() {
            return Err(format!(
                "{name} comes from {place:?}, not from an index or an address with a hash: build a wheel of it and pin that"
            ));
        }
        let mut files = Vec::new();
        for file in self.wheels.iter().chain(&self.sdist) {
            let address = file.url.as_deref().or(file.path.as_deref()).unwrap_or_default();
            let hash = file.hash.as_deref().and_then(sha256_hex);
            let sha256 =
                hash.ok_or_else(|| format!("{name} {}: a file without sha256 hash", self.version))?;
            let file_name = file.filename.clone().or_else(|| file_name(address));
            let file_name =
                file_name.ok_or_else(|| format!("{name}: {address:?} is not a file's address"))?;
            files.push(PinFile {
                name: Some(file_name),
                sha256,
                url: self.source.url.clone(),
                seen: file.url.clone(),
            });
        }
        if files.is_empty() {
            return Err(format!("{name} {} has no files: run `uv lock`", self.version));
        }
        Ok(Pin { name, version: self.version.clone(), files })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::environment::bookworm;

    const ROOT: &str = "version = 1\nrequires-python = \">=3.11\"\n";

    fn check(body: &str, expect: &str) {
        let hash = format!("sha256:{}", "a".repeat(64));
        let text = format!("{ROOT}{}", body.replace("HASH", &hash));
        let shown = match parse(&text, &bookworm()) {
            Ok(pins) => pins.iter().map(|pin| format!("{pin} {}; ", pin.files.len())).collect(),
            Err(error) => error.to_string(),
        };
        assert!(shown.contains(expect), "{shown:?} does not say {expect:?}");
    }

    fn package(name: &str, version: &str, more: &str) -> String {
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = {{ registry = \"https://i/simple\" }}\n\
             wheels = [{{ url = \"https://f/{name}-{version}-py3-none-any.whl\", hash = \"HASH\", size = 3 }}]\n{more}\n"
        )
    }

    fn project(dependencies: &str) -> String {
        format!(
            "[[package]]\nname = \"me\"\nversion = \"0\"\nsource = {{ editable = \".\" }}\ndependencies = [{dependencies}]\n"
        )
    }

    #[test]
    fn walks_from_the_project() {
        let extras = "[package.optional-dependencies]\nx = [{ name = \"c\" }]\n";
        let body =
            project("{ name = \"a\", extra = [\"x\"] }, { name = \"d\", marker = \"os_name == 'nt'\" }")
                + &package(
                    "a",
                    "1",
                    &format!("dependencies = [{{ name = \"b\" }}, {{ name = \"a\" }}]\n{extras}"),
                )
                + &package("b", "2", "")
                + &package("c", "3", "")
                + &package("d", "4", "")
                + &package("unused", "5", "");
        check(&body, "a 1 1; b 2 1; c 3 1; ");
    }

    #[test]
    fn forks_are_told_apart_by_markers() {
        let body = project("{ name = \"a\" }")
            + &package("a", "1", "resolution-markers = [\"python_version < '3.11'\"]")
            + &package("a", "2", "resolution-markers = [\"python_version >= '3.11'\"]");
        check(&body, "a 2 1; ");
        check(
            &(project("{ name = \"a\" }") + &package("a", "1", "") + &package("a", "2", "")),
            "several entries for a",
        );
    }

    #[test]
    fn refuses_what_is_not_pinned() {
        check(&project("{ name = \"gone\" }"), "does not cover gone");
        check("", "names no project");
        check("x = [", "uv.lock: ");
        let git = "[[package]]\nname = \"g\"\nversion = \"1\"\nsource = { git = \"https://g\" }\n";
        check(&(project("{ name = \"g\" }") + git), "g comes from");
        let weak = package("a", "1", "").replace("hash = \"HASH\", ", "");
        check(&(project("{ name = \"a\" }") + &weak), "without sha256");
        let other = "version = 2\n";
        assert!(parse(other, &bookworm()).is_err_and(|e| e.to_string().contains("format version 2")));
        let newer = "version = 1\nrequires-python = \">=3.12\"\n";
        assert!(parse(newer, &bookworm()).is_err_and(|e| e.to_string().contains("--suite")));
    }
}
