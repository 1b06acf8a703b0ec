//! Compiles Python ahead, with the image's own interpreter in a confined step.
//!
//! ```text
//! WORK/in/list, WORK/in/N  ──▶ step: pythonX.Y compile.py ──▶ WORK/out/N ──normalised──▶ __pycache__/…pyc
//! ```
//!
//! The bytecode carries the source's hash but is never checked against it ("unchecked-hash", PEP 552): no
//! time stamp, no stat at import, and a read-only root needs neither. The step sees sources by number, not
//! by name; what it wrote is read without following links.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use corral_engine::{Engine, Step, StepMount};
use corral_spec::Digest;
use sha2::{Digest as _, Sha256};

use super::marshal;
use crate::Error;
use crate::step::{open_output, succeed};
use crate::tree::{Content, Tree};
use crate::work::WorkDir;

/// Part of the cache keys of whatever holds bytecode: raise it when the same source gives other bytecode.
pub const COMPILER_VERSION: u32 = 1;

const SCRIPT: &str = include_str!("compile.py");
/// The largest source that is compiled.
const MAX_SOURCE: u64 = 32 << 20;
/// The largest bytecode that is taken back.
const MAX_BYTECODE: u64 = 256 << 20;

/// A compiler for one image.
pub struct Compiler<'a> {
    /// What runs the step.
    pub engine: &'a Engine,
    /// The layers that hold the interpreter, bottom first.
    pub layers: Vec<Digest>,
    /// `3.11`.
    pub version: &'a str,
    /// Processes at once; the result does not depend on it.
    pub jobs: usize,
    /// Where the step's directories are made.
    pub work: &'a Path,
}

/// A source to compile.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path in the image, relative to the root.
    pub path: PathBuf,
    /// Its text.
    pub content: Content,
}

/// The Python sources of a tree for which bytecode has a use.
pub fn sources(tree: &Tree) -> Vec<Source> {
    tree.iter()
        .filter_map(|(path, node)| {
            let crate::tree::NodeKind::File(content) = &node.kind else { return None };
            let name = path.to_str()?;
            let wanted =
                name.ends_with(".py") && !name.chars().any(char::is_control) && node.size() <= MAX_SOURCE;
            wanted.then(|| Source { path: path.to_owned(), content: content.clone() })
        })
        .collect()
}

impl Compiler<'_> {
    /// Compiles the sources. Gives path and bytes of each .pyc; a source that is not valid for this
    /// interpreter (a template, a test of the parser) has none.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Step`], or [`Error::Archive`] if what the step wrote is not bytecode.
    pub fn compile(&self, sources: &[Source]) -> Result<Vec<(PathBuf, Vec<u8>)>, Error> {
        if sources.is_empty() {
            return Ok(Vec::new());
        }
        let work = WorkDir::new(self.work)?;
        let (input, output) = (work.path().join("in"), work.path().join("out"));
        for dir in [&input, &output] {
            std::fs::create_dir(dir).map_err(Error::io("create", dir))?;
        }
        write_input(&input, sources)?;
        self.run(&input, &output)?;
        let out = File::open(&output).map_err(Error::io("read", &output))?;
        let mut compiled = Vec::new();
        for (number, source) in sources.iter().enumerate() {
            if let Some(bytes) = read_output(&out, number)? {
                let pyc = marshal::normalize_pyc(&bytes).ok_or_else(|| {
                    Error::archive(
                        source.path.display().to_string(),
                        "the interpreter gave malformed bytecode for it",
                    )
                })?;
                compiled.push((self.bytecode_path(&source.path), pyc));
            }
        }
        Ok(compiled)
    }

    /// As [`Compiler::compile`], one kept result a source in `cache`, for code that changes file by file.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub fn compile_kept(&self, sources: &[Source], cache: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Error> {
        std::fs::create_dir_all(cache).map_err(Error::io("create", cache))?;
        let (mut done, mut missing) = (Vec::new(), Vec::new());
        for source in sources {
            let kept = cache.join(self.key(source)?);
            match std::fs::read(&kept) {
                // An empty file stands for a source that does not compile.
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => done.push((self.bytecode_path(&source.path), bytes)),
                Err(_) => missing.push((source.clone(), kept)),
            }
        }
        let (wanted, places): (Vec<Source>, Vec<PathBuf>) = missing.into_iter().unzip();
        let fresh = self.compile(&wanted)?;
        for (source, place) in wanted.iter().zip(places) {
            let path = self.bytecode_path(&source.path);
            let bytes = fresh.iter().find(|(made, _)| *made == path).map_or(&[][..], |(_, bytes)| bytes);
            crate::files::write_atomic(&place, bytes)?;
        }
        done.extend(fresh);
        Ok(done)
    }

    fn key(&self, source: &Source) -> Result<String, Error> {
        let mut hash = Sha256::new();
        hash.update(format!("{COMPILER_VERSION}\n{}\n{}\n", self.version, source.path.display()));
        hash.update(crate::files::content_bytes(&source.content)?);
        Ok(Digest::from_bytes(hash.finalize().into()).hex())
    }

    /// Where the bytecode of a tree's sources goes.
    pub fn bytecode_of(&self, tree: &Tree) -> std::collections::BTreeSet<PathBuf> {
        sources(tree).iter().map(|source| self.bytecode_path(&source.path)).collect()
    }

    /// `dir/__pycache__/name.cpython-311.pyc`.
    fn bytecode_path(&self, source: &Path) -> PathBuf {
        let stem = source.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{stem}.cpython-{}.pyc", self.version.replace('.', ""));
        source.with_file_name("__pycache__").join(name)
    }

    fn run(&self, input: &Path, output: &Path) -> Result<(), Error> {
        let mount = |source: &Path, target: &str, read_only| StepMount {
            source: source.to_owned(),
            target: target.to_owned(),
            read_only,
        };
        let step = Step {
            layers: self.layers.clone(),
            argv: vec![
                format!("/usr/bin/python{}", self.version),
                "-SsB".into(),
                "-c".into(),
                SCRIPT.into(),
                self.jobs.max(1).to_string(),
            ],
            env: vec![("PYTHONHASHSEED".into(), "0".into()), ("PYTHONSAFEPATH".into(), "1".into())],
            mounts: vec![mount(input, "/in", true), mount(output, "/out", false)],
            workdir: "/".into(),
            host_network: false,
        };
        succeed("compile Python ahead", self.engine.run_step(&step)?).map(drop)
    }
}

fn write_input(input: &Path, sources: &[Source]) -> Result<(), Error> {
    let mut list = String::new();
    for (number, source) in sources.iter().enumerate() {
        let place = input.join(number.to_string());
        std::fs::write(&place, crate::files::content_bytes(&source.content)?)
            .map_err(Error::io("write", &place))?;
        list.push_str(&format!("{number} /{}\n", source.path.display()));
    }
    let place = input.join("list");
    std::fs::write(&place, list).map_err(Error::io("write", &place))
}

fn read_output(out: &File, number: usize) -> Result<Option<Vec<u8>>, Error> {
    let name = number.to_string();
    let Some(file) = open_output(out, &name, MAX_BYTECODE)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(MAX_BYTECODE).read_to_end(&mut bytes).map_err(Error::io("read", name))?;
    Ok(Some(bytes))
}
