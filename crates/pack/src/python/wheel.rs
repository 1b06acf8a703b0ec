//! Installs a wheel into a tree (PEP 427, "Installing a wheel"), for the image's interpreter.
//!
//! ```text
//! NAME-VERSION.dist-info/{WHEEL,METADATA,RECORD,entry_points.txt}   read and checked first
//! everything else        ──▶ usr/local/lib/pythonX.Y/dist-packages/
//! NAME-VERSION.data/purelib, platlib ──▶ the same    scripts ──▶ usr/local/bin, first line rewritten
//!                   data ──▶ usr/local               headers ──▶ usr/local/include/pythonX.Y/NAME
//! console_scripts        ──▶ usr/local/bin/SCRIPT    made here
//! ```
//!
//! Nothing is executed. A file that RECORD does not list, or lists with another hash, is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::entry_points::{self, Script};
use super::name::normalize;
use super::record::{self, Row};
use super::stage::Stage;
use super::zip::{Member, Zip};
use crate::Error;
use crate::tree::{Content, Node, NodeKind, Tree};

/// Part of every cache key of a wheel layer: raise it when the same wheel gives another tree.
pub const INSTALLER_VERSION: u32 = 1;

/// Metadata files larger than this are refused.
const MAX_METADATA: u64 = 16 << 20;

/// Where things go in the image.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Interpreter version without patch level: `3.11`.
    pub version: String,
    /// Packages, relative to the root.
    pub site: PathBuf,
}

impl Layout {
    /// Debian's layout for locally installed packages of this Python.
    pub fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            site: format!("usr/local/lib/python{version}/dist-packages").into(),
        }
    }

    /// The interpreter's absolute path.
    pub fn interpreter(&self) -> String {
        format!("/usr/bin/python{}", self.version)
    }
}

/// A wheel as files.
#[derive(Debug)]
pub struct Installed {
    /// Its files; no parent directories.
    pub tree: Tree,
    /// Where its own RECORD goes.
    record: PathBuf,
    rows: Vec<Row>,
}

/// What a wheel is expected to be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Normalised distribution name.
    pub name: &'a str,
    /// Version.
    pub version: &'a str,
}

/// Unpacks the wheel at `path`, whose hash the caller has checked.
///
/// # Errors
/// [`Error::Archive`] naming the wheel and what is wrong with it.
pub fn install(
    path: &Path,
    expected: Expected<'_>,
    layout: &Layout,
    stage: &Stage,
) -> Result<Installed, Error> {
    let zip = Zip::open(path)?;
    let wheel = Wheel::open(&zip, expected)?;
    let mut installed = Installed {
        tree: Tree::default(),
        record: layout.site.join(&wheel.info).join("RECORD"),
        rows: Vec::new(),
    };
    for member in zip.members() {
        if let Some(target) = wheel.target(member, layout)? {
            installed.add(&wheel, member, target, (layout, stage))?;
        }
    }
    for script in wheel.scripts()? {
        let target = Path::new("usr/local/bin").join(&script.name);
        installed.put(layout, target, Node::file(0o755, script.wrapper(layout).into_bytes()))?;
    }
    let installer = layout.site.join(&wheel.info).join("INSTALLER");
    installed.put(layout, installer, Node::file(0o644, b"corral\n".to_vec()))?;
    Ok(installed)
}

/// Refuses what is not a wheel of this name and version, before it is kept.
///
/// # Errors
/// [`Error::Archive`] naming what is wrong with it.
pub fn check(path: &Path, expected: Expected<'_>) -> Result<(), Error> {
    let zip = Zip::open(path)?;
    let wheel = Wheel::open(&zip, expected)?;
    let listed = |member: &&Member| {
        !wheel.record.contains_key(&member.name) && !member.name.ends_with(".dist-info/RECORD")
    };
    match zip.members().iter().find(listed) {
        Some(member) => Err(zip.bad(&format!("{} is not in RECORD", member.name))),
        None => Ok(()),
    }
}

impl Installed {
    fn add(
        &mut self,
        wheel: &Wheel<'_>,
        member: &Member,
        target: PathBuf,
        (layout, stage): (&Layout, &Stage),
    ) -> Result<(), Error> {
        let mut hash = Sha256::new();
        let content = stage.keep(member.size, &mut |sink| {
            wheel.zip.read(member, &mut |piece| {
                hash.update(piece);
                sink(piece)
            })
        })?;
        wheel.check_record(member, &hash.finalize().into())?;
        let mut mode = if member.executable { 0o755 } else { 0o644 };
        let mut kind = NodeKind::File(content);
        if member.name.starts_with(&format!("{}/scripts/", wheel.data)) {
            mode = 0o755;
            if let NodeKind::File(Content::Bytes(bytes)) = &kind {
                kind = NodeKind::File(Content::Bytes(rewrite_first_line(bytes, layout).into()));
            }
        }
        self.insert(layout, target, Node { mode, uid: 0, gid: 0, kind }, || {
            wheel.zip.bad("two of its files go to the same place")
        })
    }

    fn put(&mut self, layout: &Layout, target: PathBuf, node: Node) -> Result<(), Error> {
        let clash = format!("{} is made by an entry point and shipped as a file", target.display());
        self.insert(layout, target, node, || Error::archive("wheel", clash))
    }

    fn insert(
        &mut self,
        layout: &Layout,
        target: PathBuf,
        node: Node,
        clash: impl FnOnce() -> Error,
    ) -> Result<(), Error> {
        self.rows.push(Row::of(&target, &node, &layout.site)?);
        match self.tree.insert(target, node) {
            None => Ok(()),
            Some(_) => Err(clash()),
        }
    }

    /// Adds compiled bytecode (absolute path without slash, bytes) and writes the wheel's RECORD.
    pub fn finish(mut self, layout: &Layout, compiled: Vec<(PathBuf, Vec<u8>)>) -> Tree {
        for (path, bytes) in compiled {
            self.rows.push(Row::unhashed(&path, &layout.site));
            self.tree.insert(path, Node::file(0o644, bytes));
        }
        self.rows.push(Row::unhashed(&self.record, &layout.site));
        let text = record::write(&mut self.rows);
        self.tree.insert(self.record, Node::file(0o644, text.into_bytes()));
        self.tree
    }
}

/// A wheel whose metadata has been read.
struct Wheel<'a> {
    zip: &'a Zip,
    /// `NAME-VERSION.dist-info`.
    info: String,
    /// `NAME-VERSION.data`.
    data: String,
    record: BTreeMap<String, record::Hash>,
}

impl<'a> Wheel<'a> {
    fn open(zip: &'a Zip, expected: Expected<'_>) -> Result<Self, Error> {
        let mut infos: Vec<&str> = zip
            .members()
            .iter()
            .filter_map(|member| member.name.split_once('/').map(|(top, _)| top))
            .filter(|top| top.to_ascii_lowercase().ends_with(".dist-info"))
            .collect();
        infos.sort_unstable();
        infos.dedup();
        let [info] = infos[..] else {
            return Err(zip.bad(&format!("a wheel has one .dist-info directory, this has {}", infos.len())));
        };
        let stem = info.strip_suffix(".dist-info").ok_or_else(|| zip.bad("its .dist-info is misspelt"))?;
        let wheel =
            Self { zip, info: info.to_owned(), data: format!("{stem}.data"), record: BTreeMap::new() };
        wheel.check_format()?;
        wheel.check_identity(expected)?;
        let text = wheel.metadata("RECORD")?.ok_or_else(|| zip.bad("it has no RECORD"))?;
        let record = record::parse(&text).map_err(|reason| zip.bad(&format!("RECORD: {reason}")))?;
        Ok(Self { record, ..wheel })
    }

    fn metadata(&self, name: &str) -> Result<Option<String>, Error> {
        let path = format!("{}/{name}", self.info);
        let Some(member) = self.zip.members().iter().find(|member| member.name == path) else {
            return Ok(None);
        };
        let bytes = self.zip.bytes(member, MAX_METADATA)?;
        String::from_utf8(bytes).map(Some).map_err(|_| self.zip.bad(&format!("{name} is not UTF-8")))
    }

    fn check_format(&self) -> Result<(), Error> {
        let text = self.metadata("WHEEL")?.ok_or_else(|| self.zip.bad("it has no WHEEL file"))?;
        let version = header(&text, "Wheel-Version").unwrap_or_default();
        match version.split('.').next() {
            Some("1") => Ok(()),
            _ => Err(self.zip.bad(&format!("wheel format {version:?} is not known; 1.x is"))),
        }
    }

    fn check_identity(&self, expected: Expected<'_>) -> Result<(), Error> {
        let text = self.metadata("METADATA")?.ok_or_else(|| self.zip.bad("it has no METADATA"))?;
        let (name, version) =
            (header(&text, "Name").unwrap_or_default(), header(&text, "Version").unwrap_or_default());
        let same_version = version == expected.version
            || matches!(
                (version.parse::<pep440_rs::Version>(), expected.version.parse::<pep440_rs::Version>()),
                (Ok(found), Ok(wanted)) if found == wanted
            );
        if normalize(name) != expected.name || !same_version {
            return Err(self.zip.bad(&format!(
                "it says it is {name} {version}, the lock says {} {}",
                expected.name, expected.version
            )));
        }
        Ok(())
    }

    /// Where a member goes; none for what is not installed.
    fn target(&self, member: &Member, layout: &Layout) -> Result<Option<PathBuf>, Error> {
        let name = member.name.as_str();
        if let Some(file) = name.strip_prefix(&format!("{}/", self.info)) {
            // Written anew, or a signature over what is written anew.
            let own = matches!(file, "RECORD" | "RECORD.jws" | "RECORD.p7s" | "INSTALLER");
            return Ok((!own).then(|| layout.site.join(name)));
        }
        let Some(rest) = name.strip_prefix(&format!("{}/", self.data)) else {
            return Ok(Some(layout.site.join(name)));
        };
        let (scheme, path) =
            rest.split_once('/').ok_or_else(|| self.zip.bad(&format!("{name} belongs to no scheme")))?;
        let base = match scheme {
            "purelib" | "platlib" => layout.site.clone(),
            "scripts" if !path.contains('/') => "usr/local/bin".into(),
            "scripts" => return Err(self.zip.bad(&format!("{name}: scripts lie flat"))),
            "data" => "usr/local".into(),
            "headers" => {
                let package = self.info.split('-').next().unwrap_or_default();
                PathBuf::from(format!("usr/local/include/python{}/{package}", layout.version))
            }
            _ => return Err(self.zip.bad(&format!("{name}: scheme {scheme:?} is not known"))),
        };
        Ok(Some(base.join(path)))
    }

    fn check_record(&self, member: &Member, hash: &[u8; 32]) -> Result<(), Error> {
        match self.record.get(&member.name) {
            None => Err(self.zip.bad(&format!("{} is not in RECORD", member.name))),
            Some(record::Hash::Sha256(listed)) if listed == hash => Ok(()),
            Some(_) => Err(self.zip.bad(&format!("{} is not what RECORD says", member.name))),
        }
    }

    fn scripts(&self) -> Result<Vec<Script>, Error> {
        let Some(text) = self.metadata("entry_points.txt")? else { return Ok(Vec::new()) };
        entry_points::scripts(&text).map_err(|reason| self.zip.bad(&format!("entry_points.txt: {reason}")))
    }
}

/// A field of an RFC 822 like header block; the body below the empty line is not looked at.
fn header<'t>(text: &'t str, field: &str) -> Option<&'t str> {
    text.lines().take_while(|line| !line.trim().is_empty()).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(field).then(|| value.trim())
    })
}

/// `#!python` and `#!pythonw` become the image's interpreter.
fn rewrite_first_line(bytes: &[u8], layout: &Layout) -> Vec<u8> {
    let end = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let Some(rest) = bytes[..end].strip_prefix(b"#!python") else { return bytes.to_vec() };
    let arguments = rest.strip_prefix(b"w").unwrap_or(rest).trim_ascii();
    let mut line = format!("#!{}", layout.interpreter()).into_bytes();
    if !arguments.is_empty() {
        line.push(b' ');
        line.extend_from_slice(arguments);
    }
    line.extend_from_slice(&bytes[end..]);
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::test_wheel::TestWheel;

    fn install_bytes(bytes: &[u8]) -> Result<Tree, Error> {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("demo-1.0-py3-none-any.whl");
        std::fs::write(&path, bytes).expect("written");
        let stage = Stage::new(dir.path())?;
        let layout = Layout::new("3.11");
        let expected = Expected { name: "demo", version: "1.0" };
        Ok(install(&path, expected, &layout, &stage)?.finish(&layout, Vec::new()))
    }

    fn check(wheel: &TestWheel, expect: &str) {
        let text = match install_bytes(&wheel.bytes()) {
            Ok(tree) => {
                tree.iter().map(|(path, node)| format!("{} {:o}\n", path.display(), node.mode)).collect()
            }
            Err(error) => error.to_string(),
        };
        assert!(text.contains(expect), "{text:?} does not say {expect:?}");
    }

    #[test]
    fn spreads_the_data_directory() {
        let wheel = TestWheel::new("demo", "1.0")
            .file("demo/__init__.py", b"x = 1\n")
            .file("demo-1.0.data/purelib/other.py", b"")
            .file("demo-1.0.data/scripts/tool", b"#!python -u\nprint()\n")
            .file("demo-1.0.data/data/share/demo/x.txt", b"x")
            .file("demo-1.0.data/headers/demo.h", b"")
            .file("demo-1.0.dist-info/entry_points.txt", b"[console_scripts]\nrun = demo.cli:main\n");
        check(&wheel, "usr/local/lib/python3.11/dist-packages/demo/__init__.py 644");
        check(&wheel, "usr/local/lib/python3.11/dist-packages/other.py 644");
        check(&wheel, "usr/local/bin/tool 755");
        check(&wheel, "usr/local/bin/run 755");
        check(&wheel, "usr/local/share/demo/x.txt 644");
        check(&wheel, "usr/local/include/python3.11/demo/demo.h 644");
        let tree = install_bytes(&wheel.bytes()).expect("installs");
        let bytes = |path: &str| match tree.get(Path::new(path)).map(|node| &node.kind) {
            Some(NodeKind::File(Content::Bytes(bytes))) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(bytes("usr/local/bin/tool"), "#!/usr/bin/python3.11 -u\nprint()\n");
        assert!(bytes("usr/local/bin/run").contains("from demo.cli import main\n"));
        let record = bytes("usr/local/lib/python3.11/dist-packages/demo-1.0.dist-info/RECORD");
        assert!(record.contains("../../../bin/run,sha256="), "{record}");
        assert!(record.contains("demo-1.0.dist-info/RECORD,,\n"), "{record}");
    }

    #[test]
    fn refuses_what_is_not_the_wheel_it_says() {
        check(&TestWheel::new("other", "1.0"), "the lock says demo 1.0");
        check(&TestWheel::new("demo", "1.1"), "the lock says demo 1.0");
        check(&TestWheel::new("demo", "1.0").unlisted("demo/x.py", b""), "not in RECORD");
        check(&TestWheel::new("demo", "1.0").falsified("demo/x.py", b"evil"), "not what RECORD says");
        check(&TestWheel::new("demo", "1.0").file("x-1.0.dist-info/METADATA", b""), "has 2");
        check(&TestWheel::new("demo", "1.0").file("../evil.py", b""), "unsafe path");
        check(&TestWheel::new("demo", "1.0").file("demo-1.0.data/scripts/a/b", b""), "lie flat");
        check(&TestWheel::new("demo", "1.0").file("demo-1.0.data/etc/passwd", b""), "scheme \"etc\"");
        check(&TestWheel::new("demo", "1.0").file("demo-1.0.data/data/../../../x", b""), "unsafe path");
        let clash = TestWheel::new("demo", "1.0").file("a.py", b"1").file("demo-1.0.data/purelib/a.py", b"2");
        check(&clash, "same place");
        let injected = b"[console_scripts]\nx = os;import evil:main\n";
        check(
            &TestWheel::new("demo", "1.0").file("demo-1.0.dist-info/entry_points.txt", injected),
            "entry_points",
        );
        let escaping = b"[console_scripts]\n../x = demo:main\n";
        check(
            &TestWheel::new("demo", "1.0").file("demo-1.0.dist-info/entry_points.txt", escaping),
            "entry_points",
        );
    }
}
