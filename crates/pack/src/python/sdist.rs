//! A source distribution (PEP 517, PEP 625) into a tree, and what builds it (PEP 518). Nothing of it runs here.

use std::path::Path;

use serde::Deserialize;

use super::stage::Stage;
use super::zip::Zip;
use crate::Error;
use crate::tarball::{self, Links};
use crate::tree::{Node, NodeKind, Tree};

/// A pyproject.toml larger than this is refused.
const MAX_PYPROJECT: u64 = 1 << 20;

/// What a file name says: distribution and version as written; none if it is no source distribution that
/// can be unpacked.
pub(super) fn parse_name(file: &str) -> Option<(&str, &str)> {
    let stem = [".tar.gz", ".tgz", ".zip"].iter().find_map(|ending| file.strip_suffix(ending))?;
    // Old names have dashes in them; the version begins after the last one.
    let (name, version) = stem.rsplit_once('-')?;
    (!name.is_empty() && version.starts_with(|c: char| c.is_ascii_digit())).then_some((name, version))
}

/// Unpacks the archive at `path`, whose hash the caller has checked, below `target`, without its top
/// directory.
///
/// # Errors
/// [`Error::Archive`] naming what is malformed or hostile; [`Error::Io`].
pub(super) fn unpack(path: &Path, target: &Path, stage: &Stage) -> Result<Tree, Error> {
    if path.extension().is_none_or(|extension| extension != "zip") {
        return tarball::unpack(path, target, stage, Links::Inside);
    }
    let (zip, mut tree) = (Zip::open(path)?, Tree::default());
    for member in zip.members() {
        let Some((_, inside)) = member.name.split_once('/') else { continue };
        let content = stage.keep(member.size, &mut |sink| zip.read(member, sink))?;
        let mode = if member.executable { 0o755 } else { 0o644 };
        tree.insert(target.join(inside), Node { mode, uid: 0, gid: 0, kind: NodeKind::File(content) });
    }
    Ok(tree)
}

/// `[build-system]` of a source distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BuildSystem {
    /// Requirements of the build, as written.
    pub requires: Vec<String>,
    /// `MODULE[:OBJECT]`, dotted identifiers.
    pub backend: String,
    /// Directories of the source that the backend is imported from.
    pub path: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Pyproject {
    #[serde(rename = "build-system")]
    build_system: Option<Table>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Table {
    requires: Option<Vec<String>>,
    build_backend: Option<String>,
    #[serde(default)]
    backend_path: Vec<String>,
}

impl BuildSystem {
    /// Reads it from an unpacked tree below `source`.
    ///
    /// # Errors
    /// A reason, which does not name the package.
    pub(super) fn of(tree: &Tree, source: &Path) -> Result<Self, String> {
        let text = match tree.get(&source.join("pyproject.toml")) {
            None if tree.get(&source.join("setup.py")).is_some() => return Self::parse(""),
            None => return Err("holds neither pyproject.toml nor setup.py".into()),
            Some(Node { kind: NodeKind::File(content), .. }) => {
                let node = Node { mode: 0, uid: 0, gid: 0, kind: NodeKind::File(content.clone()) };
                if node.size() > MAX_PYPROJECT {
                    return Err(format!("its pyproject.toml is larger than {MAX_PYPROJECT} bytes"));
                }
                let bytes = crate::files::content_bytes(content).map_err(|error| error.to_string())?;
                String::from_utf8(bytes.into_owned()).map_err(|_| "its pyproject.toml is not UTF-8")?
            }
            Some(_) => return Err("its pyproject.toml is not a plain file".into()),
        };
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let document: Pyproject =
            toml::from_str(text).map_err(|error| format!("its pyproject.toml: {}", error.message()))?;
        // What front ends assume where nothing is said (PEP 517, "Source trees").
        let usual = || vec!["setuptools".to_owned(), "wheel".to_owned()];
        let Some(table) = document.build_system else {
            return Ok(Self { requires: usual(), backend: LEGACY.into(), path: Vec::new() });
        };
        let requires = table.requires.ok_or("its [build-system] has no requires, which PEP 518 asks for")?;
        let backend = table.build_backend.unwrap_or_else(|| LEGACY.to_owned());
        let (module, object) = backend.split_once(':').unwrap_or((&backend, "x"));
        let dotted = |text: &str| text.split('.').all(is_identifier);
        if !dotted(module) || !dotted(object) {
            return Err(format!("its build-backend {backend:?} is not MODULE or MODULE:OBJECT"));
        }
        let inside = |text: &String| match text.as_str() {
            "." | "./" => Ok(".".to_owned()),
            text => crate::settings::inside(text)
                .map(|path| path.to_string_lossy().into_owned())
                .ok_or_else(|| format!("its backend-path {text:?} leaves the source")),
        };
        let path = table.backend_path.iter().map(inside).collect::<Result<_, _>>()?;
        Ok(Self { requires, backend, path })
    }
}

const LEGACY: &str = "setuptools.build_meta:__legacy__";

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && text.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::zip_writer::{ZipFile, write};

    #[test]
    fn names() {
        for (file, expect) in [
            ("a_b-1.0.tar.gz", Some(("a_b", "1.0"))),
            ("python-dateutil-2.9.0.zip", Some(("python-dateutil", "2.9.0"))),
            ("a-1.tgz", Some(("a", "1"))),
            ("a-1-py3-none-any.whl", None),
            ("a-1.tar.bz2", None),
            ("a.tar.gz", None),
            ("a-b.tar.gz", None),
            ("-1.tar.gz", None),
        ] {
            assert_eq!(parse_name(file), expect, "{file}");
        }
    }

    fn check(text: &str, expect: &str) {
        let shown = match BuildSystem::parse(text) {
            Ok(system) => format!("{system:?}"),
            Err(reason) => reason,
        };
        assert!(shown.contains(expect), "{text:?}: {shown:?} does not say {expect:?}");
    }

    #[test]
    fn build_systems() {
        check("", "[\"setuptools\", \"wheel\"], backend: \"setuptools.build_meta:__legacy__\"");
        check("[tool.x]\ny = 1\n", "__legacy__");
        check(
            "[build-system]\nrequires = [\"flit\"]\n",
            "[\"flit\"], backend: \"setuptools.build_meta:__legacy__\"",
        );
        check(
            "[build-system]\nrequires = []\nbuild-backend = \"b.c:d.e\"\nbackend-path = [\".\", \"x//y\"]",
            "backend: \"b.c:d.e\", path: [\".\", \"x/y\"]",
        );
        check("[build-system]\n", "has no requires");
        check("[build-system]\nrequires = []\nbuild-backend = \"a; import os\"", "is not MODULE");
        check(
            "[build-system]\nrequires = []\nbuild-backend = \"a\"\nbackend-path = [\"../x\"]",
            "leaves the source",
        );
        check("[build-system]\nrequires = 1", "pyproject.toml: ");
    }

    #[test]
    fn zips_are_unpacked_below_their_top() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path().canonicalize().expect("canonical");
        let path = root.join("a-1.zip");
        let files = [
            ZipFile::stored("a-1/setup.py", b""),
            ZipFile::deflated("a-1/b/c.py", b"x"),
            ZipFile::stored("top", b""),
        ];
        std::fs::write(&path, write(&files)).expect("written");
        let tree = unpack(&path, Path::new("build"), &Stage::new(&root).expect("stage")).expect("unpacks");
        let names: Vec<_> = tree.iter().map(|(path, _)| path.display().to_string()).collect();
        assert_eq!(names, ["build/b/c.py", "build/setup.py"]);
        assert_eq!(BuildSystem::of(&tree, Path::new("build")), BuildSystem::parse(""));
        assert!(BuildSystem::of(&tree, Path::new("other")).is_err_and(|reason| reason.contains("neither")));
    }
}
