//! What a directory is: read from its own manifest files, never by running anything of it.
//!
//! | found | kind |
//! |---|---|
//! | pyproject.toml with `[project]`, uv.lock, pylock.toml, requirements.txt, or `*.py` at the top | Python |
//! | package.json with more than a `corral` key | Node |
//! | pyproject.toml or package.json with Corral's settings alone | Debian packages and files |
//! | one executable ELF file at the top | a static binary |
//! | anything else | files |

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::Error;
use crate::files::{open_plain, read_project_file};
use crate::node::NodeProject;
use crate::python::{Inputs, PythonProject, Script};
use crate::scan::{EntryKind, Scan};
use crate::settings::Settings;

/// Manifest files larger than this are refused.
const MAX_MANIFEST: u64 = 4 << 20;
/// Lock files larger than this are refused.
const MAX_LOCK: u64 = 64 << 20;

/// A directory that can be packed.
#[derive(Debug)]
pub(crate) struct Project {
    /// Its canonical path.
    pub dir: PathBuf,
    /// A valid repository name.
    pub name: String,
    /// As written, if it is.
    pub version: Option<String>,
    /// One line for people.
    pub description: Option<String>,
    /// What it says about its image.
    pub settings: Settings,
    /// What it is.
    pub kind: Kind,
}

/// What a [`Project`] is.
#[derive(Debug)]
pub(crate) enum Kind {
    Python(PythonProject),
    Node(NodeProject),
    /// Debian packages, perhaps with files.
    Packages,
    /// The path of the one executable.
    Binary(String),
    Files,
}

#[derive(Default, Deserialize)]
struct Pyproject {
    project: Option<PyprojectProject>,
    #[serde(default)]
    tool: BTreeMap<String, toml::Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PyprojectProject {
    name: Option<String>,
    version: Option<String>,
    description: Option<String>,
    requires_python: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default)]
    dynamic: Vec<String>,
    #[serde(default)]
    scripts: BTreeMap<String, String>,
}

impl Project {
    /// Finds out what the scanned directory is.
    ///
    /// # Errors
    /// [`Error::Project`] naming the file and what is wrong with it.
    pub(crate) fn detect(dir: &Path, scan: &Scan) -> Result<Self, Error> {
        let read = |name: &str, limit| match scan.get(name) {
            Some(_) => read_project_file(dir, name, limit),
            None => Ok(None),
        };
        if let Some(text) = read("pyproject.toml", MAX_MANIFEST)? {
            return Self::from_pyproject(dir, scan, &text);
        }
        let settings = Settings::default();
        let locked = ["uv.lock", "pylock.toml", "requirements.txt"].iter().any(|name| scan.has_file(name));
        if !locked && let Some(text) = read("package.json", MAX_MANIFEST)? {
            return Self::from_package_json(dir, scan, &text);
        }
        let python = |path: &str| path.ends_with(".py") && !path.contains('/');
        if locked || scan.entries.iter().any(|entry| entry.kind == EntryKind::File && python(&entry.path)) {
            let project = python_project(dir, scan, PyprojectProject::default())?;
            return Ok(Self::new(dir, None, settings, Kind::Python(project)));
        }
        let mut programs = scan.entries.iter().filter(|entry| {
            entry.kind == EntryKind::File
                && entry.executable
                && !entry.path.contains('/')
                && is_elf(&dir.join(&entry.path))
        });
        let kind = match (programs.next(), programs.next()) {
            (Some(program), None) => {
                crate::elf::require_static(&dir.join(&program.path))?;
                Kind::Binary(program.path.clone())
            }
            _ if scan.entries.iter().any(|entry| entry.kind == EntryKind::File) => Kind::Files,
            _ => {
                let reason = "is empty: expected pyproject.toml, package.json, a program or files".to_owned();
                return Err(Error::Project { path: dir.to_owned(), reason });
            }
        };
        Ok(Self::new(dir, None, settings, kind))
    }

    fn new(dir: &Path, name: Option<&str>, settings: Settings, kind: Kind) -> Self {
        let directory = dir.file_name().unwrap_or_default().to_string_lossy();
        let name = repository_name(name.unwrap_or(&directory));
        Self { dir: dir.to_owned(), name, version: None, description: None, settings, kind }
    }

    fn from_pyproject(dir: &Path, scan: &Scan, text: &str) -> Result<Self, Error> {
        let path = dir.join("pyproject.toml");
        let fail = |reason: String| Error::Project { path: path.clone(), reason };
        let mut document: Pyproject =
            toml::from_str(text).map_err(|error| fail(error.message().to_owned()))?;
        let settings = match document.tool.remove("corral") {
            Some(table) => {
                let table = serde_json::to_value(table).map_err(|error| fail(error.to_string()))?;
                Settings::parse(&table).map_err(|reason| fail(format!("[tool.corral] {reason}")))?
            }
            None => Settings::default(),
        };
        if document.project.is_none()
            && document.tool.contains_key("poetry")
            && !scan.has_file("requirements.txt")
        {
            return Err(fail(
                "is Poetry's own format: add a [project] table, or `poetry export` a requirements.txt".into(),
            ));
        }
        let code = scan.entries.iter().any(|entry| entry.path.ends_with(".py"));
        let locked = ["uv.lock", "pylock.toml", "requirements.txt"].iter().any(|name| scan.has_file(name));
        let Some(project) = document.project.or_else(|| (code || locked).then(PyprojectProject::default))
        else {
            return Ok(Self::new(dir, None, settings, Kind::Packages));
        };
        let (name, version) = (project.name.clone(), project.version.clone());
        let description = project.description.clone();
        let python = python_project(dir, scan, project)?;
        let project = Self::new(dir, name.as_deref(), settings, Kind::Python(python));
        Ok(Self { version, description, ..project })
    }

    fn from_package_json(dir: &Path, scan: &Scan, text: &str) -> Result<Self, Error> {
        let path = dir.join("package.json");
        let fail = |reason: String| Error::Project { path: path.clone(), reason };
        let document: Value = serde_json::from_str(text).map_err(|error| fail(error.to_string()))?;
        let Value::Object(fields) = &document else { return Err(fail("is not an object".into())) };
        let settings = match fields.get("corral") {
            Some(table) => Settings::parse(table).map_err(|reason| fail(format!("corral: {reason}")))?,
            None => Settings::default(),
        };
        let text_of = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
        let bare = fields
            .keys()
            .all(|key| matches!(key.as_str(), "corral" | "name" | "version" | "description" | "private"));
        let script = |path: &str| matches!(path.rsplit('.').next(), Some("js" | "mjs" | "cjs"));
        let kind = match bare && !scan.entries.iter().any(|entry| script(&entry.path)) {
            true => Kind::Packages,
            false => Kind::Node(NodeProject::read(dir, scan, &document, &settings)?),
        };
        let project = Self::new(dir, text_of("name").as_deref(), settings, kind);
        Ok(Self { version: text_of("version"), description: text_of("description"), ..project })
    }

    /// Whether the image needs Debian packages at all.
    pub(crate) fn needs_base(&self) -> bool {
        let settings = &self.settings;
        matches!(self.kind, Kind::Python(_) | Kind::Node(_) | Kind::Packages)
            || !settings.packages.is_empty()
            || settings.shell
    }
}

fn python_project(dir: &Path, scan: &Scan, project: PyprojectProject) -> Result<PythonProject, Error> {
    let path = dir.join("pyproject.toml");
    let fail = |reason: String| Error::Project { path: path.clone(), reason };
    let scripts = project.scripts.iter().map(|(name, target)| Script::parse(name, target));
    let scripts = scripts
        .collect::<Result<Vec<_>, _>>()
        .map_err(|reason| fail(format!("[project.scripts] {reason}")))?;
    let read = |name: &str| match scan.get(name) {
        Some(_) => read_project_file(dir, name, MAX_LOCK),
        None => Ok(None),
    };
    let mut inputs = read("uv.lock")?.map(Inputs::UvLock);
    if inputs.is_none() {
        inputs = read("pylock.toml")?.map(Inputs::Pylock);
    }
    if inputs.is_none() {
        inputs = read("requirements.txt")?.map(Inputs::Requirements);
    }
    if inputs.is_none() && project.dynamic.iter().any(|field| field == "dependencies") {
        return Err(fail(
            "its dependencies are dynamic, which only running its build can tell: lock them (`uv lock`, or pip-compile --generate-hashes)".into(),
        ));
    }
    Ok(PythonProject {
        name: project.name,
        version: project.version,
        requires_python: project.requires_python,
        dependencies: project.dependencies,
        scripts,
        inputs: inputs.unwrap_or(Inputs::Dependencies),
    })
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    open_plain(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok() && magic == *b"\x7fELF")
}

/// Any name as a repository: lower case, digits, single separators.
fn repository_name(name: &str) -> String {
    let mut out = String::new();
    for c in name.rsplit('/').next().unwrap_or_default().chars().take(100) {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() => out.push(c),
            c if !out.is_empty() && !out.ends_with(['-', '.', '_']) => {
                out.push(if matches!(c, '.' | '_') { c } else { '-' });
            }
            _ => {}
        }
    }
    let name = out.trim_end_matches(['-', '.', '_']);
    if name.is_empty() { "agent".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expect: &str) {
        let (_dir, root) = crate::files::written(files);
        let shown = match Scan::of(&root).and_then(|scan| Project::detect(&root, &scan)) {
            Ok(project) => format!("{:?} {:?}", project.kind, project.settings),
            Err(error) => error.to_string(),
        };
        assert!(shown.contains(expect), "{shown:?} does not say {expect:?}");
    }

    #[test]
    fn kinds() {
        check(&[("pyproject.toml", "[project]\nname = \"x\"\ndependencies = [\"a\"]\n")], "Python(");
        check(&[("pyproject.toml", "[tool.corral]\npackages = [\"redis\"]\n")], "Packages");
        check(&[("pyproject.toml", "[tool.corral]\nshell = true\n"), ("main.py", "")], "Python(");
        check(&[("requirements.txt", "x\n")], "Requirements(\"x\\n\")");
        check(&[("main.py", "")], "inputs: Dependencies");
        check(&[("package.json", "{\"corral\": {\"packages\": [\"x\"]}}")], "Packages");
        check(&[("readme.txt", "x")], "Files");
        check(&[], "is empty");
    }

    #[test]
    fn manifests_are_judged() {
        check(
            &[("pyproject.toml", "[tool.corral]\nsuit = \"x\"\n")],
            "[tool.corral] suit: not a setting; did you mean suite?",
        );
        check(&[("pyproject.toml", "x = [")], "pyproject.toml: ");
        check(
            &[("pyproject.toml", "[project]\nname = \"x\"\ndynamic = [\"dependencies\"]\n")],
            "are dynamic",
        );
        check(&[("pyproject.toml", "[tool.poetry]\nname = \"x\"\n")], "Poetry");
        check(&[("pyproject.toml", "[project]\nscripts = {x = \"a;b\"}\n")], "[project.scripts]");
        check(&[("package.json", "[]")], "is not an object");
        check(&[("package.json", "{")], "package.json: ");
    }

    #[test]
    fn names_are_repositories() {
        for (name, expect) in
            [("My Agent", "my-agent"), ("@a/b__c", "b_c"), ("...", "agent"), ("x--y-", "x-y")]
        {
            assert_eq!(repository_name(name), expect);
            assert!(expect.parse::<corral_spec::ImageRef>().is_ok());
        }
    }
}
