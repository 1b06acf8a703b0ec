//! Locked wheels into layers, with their bytecode.

use std::path::{Path, PathBuf};

use corral_image::Store;
use corral_spec::Digest;

use super::build::Builder;
use super::fetch::{self, Fetcher};
use super::pyc::{self, COMPILER_VERSION, Compiler, Source};
use super::stage::Stage;
use super::wheel::{self, Expected, INSTALLER_VERSION, Layout};
use crate::Error;
use crate::build_base::BuildBase;
use crate::layers::{self, LayerId, Layers, PACKAGE_TIME};
use crate::lock::{LockedSdist, LockedWheel, PythonLock};
use crate::manifest::Manifest;
use crate::scan::{EntryKind, Scan};
use crate::tree::{Content, Node, NodeKind, Tree};

/// Wheels with more bytes than this get a layer each.
const LARGE: u64 = 1 << 20;

/// Parts of the standard library that agents do not import.
const UNUSED: [&str; 8] =
    ["test/", "idlelib/", "lib2to3/", "pydoc_data/", "turtledemo/", "ensurepip/", "distutils/", "config-"];

/// What wheels are installed with and for.
pub(crate) struct Installation<'a, 'c> {
    /// What fetches, and for which interpreter.
    pub fetcher: Fetcher<'a>,
    /// What compiles.
    pub compiler: Compiler<'c>,
}

impl Installation<'_, '_> {
    /// Puts the standard library's bytecode on top of the base, and starts the interpreter with it from then
    /// on. `source` identifies the library's packages.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) fn push_stdlib(
        &mut self,
        layers: &mut Layers<'_>,
        store: &Store,
        base: &Digest,
        source: &str,
    ) -> Result<(), Error> {
        let version = &self.fetcher.environment.version;
        let id = LayerId {
            kind: "pack-bytecode",
            key: layers::key(&["bytecode", &COMPILER_VERSION.to_string(), source]),
            name: "bytecode of the standard library",
            time: PACKAGE_TIME,
        };
        let bytecode = layers.push(&id, || {
            let place = format!("usr/lib/python{version}");
            let dir = store.layer_dir(base).join(&place);
            let dir = dir.canonicalize().map_err(Error::io("read", dir))?;
            let scan = Scan::of(&dir)?;
            let wanted =
                |path: &str| path.ends_with(".py") && !UNUSED.iter().any(|part| path.starts_with(part));
            let sources: Vec<Source> = scan
                .entries
                .iter()
                .filter(|entry| entry.kind == EntryKind::File && wanted(&entry.path))
                .map(|entry| Source {
                    path: Path::new(&place).join(&entry.path),
                    content: Content::Host { path: dir.join(&entry.path), offset: 0, size: entry.size },
                })
                .collect();
            let mut tree = Tree::default();
            for (path, bytes) in self.compiler.compile(&sources)? {
                tree.insert(path, Node::file(0o644, bytes));
            }
            Ok(tree)
        })?;
        self.compiler.layers.push(bytecode);
        Ok(())
    }

    /// Puts the wheels on top: the large ones each, by name, then the small ones together.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) fn push_wheels(&self, layers: &mut Layers<'_>, lock: &PythonLock) -> Result<(), Error> {
        let (large, small): (Vec<_>, Vec<_>) = lock.wheels.iter().partition(|wheel| wheel.size > LARGE);
        for wheel in large {
            let name = format!("wheel {} {}", wheel.name, wheel.version);
            self.push(layers, &name, &format!("wheel-{}", wheel.name), &[wheel])?;
        }
        match small.is_empty() {
            true => Ok(()),
            false => self.push(layers, &format!("{} small wheels", small.len()), "wheels", &small),
        }
    }

    fn push(
        &self,
        layers: &mut Layers<'_>,
        name: &str,
        list: &str,
        wheels: &[&LockedWheel],
    ) -> Result<(), Error> {
        let versions = format!("{INSTALLER_VERSION}.{COMPILER_VERSION} {}", self.fetcher.environment.version);
        let hashes: Vec<String> = wheels.iter().map(|wheel| wheel.sha256.hex()).collect();
        let parts = ["wheels", &versions].into_iter().chain(hashes.iter().map(String::as_str));
        let id = LayerId {
            kind: "pack-wheels",
            key: layers::key(&parts.collect::<Vec<_>>()),
            name,
            time: PACKAGE_TIME,
        };
        let stage = Stage::new(self.fetcher.cache)?;
        layers
            .push(&id, || {
                let owned: Vec<LockedWheel> = wheels.iter().map(|wheel| (*wheel).clone()).collect();
                self.fetcher.fetch_locked(&owned)?;
                let mut parts = Vec::new();
                for wheel in wheels {
                    let path = self.fetcher.path(wheel);
                    fetch::check(wheel, &path)?;
                    parts.push(Part { path, origin: Origin::Wheel(wheel) });
                }
                self.tree(list, &parts, &stage)
            })
            .map(drop)
    }

    /// Puts the wheels on top that are built of source distributions, one layer each: how large one gets is not
    /// known before it is built, and a layer that is stored is not built again.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) fn push_sdists(
        &self,
        layers: &mut Layers<'_>,
        sdists: &[LockedSdist],
        base: &BuildBase<'_>,
    ) -> Result<(), Error> {
        let builder = Builder { fetcher: &self.fetcher, base };
        for sdist in sdists {
            let versions = format!("{INSTALLER_VERSION}.{COMPILER_VERSION}");
            let name = format!("wheel {} {}, built from source", sdist.name, sdist.version);
            let key = layers::key(&["sdist", &versions, &builder.key(sdist)?.hex()]);
            let id = LayerId { kind: "pack-sdist", key, name: &name, time: PACKAGE_TIME };
            let stage = Stage::new(self.fetcher.cache)?;
            layers.push(&id, || {
                let part = Part { path: builder.build(sdist)?, origin: Origin::Sdist(sdist) };
                self.tree(&format!("wheel-{}", sdist.name), &[part], &stage)
            })?;
        }
        Ok(())
    }

    fn tree(&self, list: &str, parts: &[Part<'_>], stage: &Stage) -> Result<Tree, Error> {
        let layout = Layout::new(&self.fetcher.environment.version);
        let mut installed = Vec::new();
        for part in parts {
            installed.push(wheel::install(&part.path, part.origin.expected(), &layout, stage)?);
        }
        // One step for all of them: most of a step's cost is its start.
        let sources: Vec<Source> = installed
            .iter()
            .flat_map(|wheel| pyc::sources(&wheel.tree))
            .filter(|source| source.path.starts_with(&layout.site))
            .collect();
        let mut compiled = self.compiler.compile(&sources)?;
        let (mut all, mut manifest) = (Tree::default(), Manifest::new(list));
        for (part, installed) in parts.iter().zip(installed) {
            let own = self.compiler.bytecode_of(&installed.tree);
            let bytecode;
            (bytecode, compiled) = compiled.into_iter().partition(|(path, _)| own.contains(path));
            let tree = installed.finish(&layout, bytecode);
            match part.origin {
                Origin::Wheel(wheel) => manifest.add_wheel(wheel, &tree),
                Origin::Sdist(sdist) => manifest.add_sdist(sdist, &tree),
            }
            merge(&mut all, tree, part.origin.file())?;
        }
        manifest.put(&mut all);
        Ok(all)
    }
}

/// A wheel file to install.
struct Part<'a> {
    path: PathBuf,
    origin: Origin<'a>,
}

/// What a wheel file is in the lock.
#[derive(Clone, Copy)]
enum Origin<'a> {
    Wheel(&'a LockedWheel),
    Sdist(&'a LockedSdist),
}

impl<'a> Origin<'a> {
    fn expected(self) -> Expected<'a> {
        match self {
            Self::Wheel(wheel) => Expected { name: &wheel.name, version: &wheel.version },
            Self::Sdist(sdist) => Expected { name: &sdist.name, version: &sdist.version },
        }
    }

    fn file(self) -> &'a str {
        match self {
            Self::Wheel(wheel) => &wheel.file,
            Self::Sdist(sdist) => &sdist.file,
        }
    }
}

/// Two packages may bring the same file only if it is the same.
pub(super) fn merge(all: &mut Tree, tree: Tree, file: &str) -> Result<(), Error> {
    for (path, node) in tree.into_nodes() {
        if let (Some(there), NodeKind::File(new)) = (all.get(&path), &node.kind) {
            let NodeKind::File(old) = &there.kind else { continue };
            if super::hash_of(old)? != super::hash_of(new)? {
                let reason = format!("it brings another /{} than a package before it", path.display());
                return Err(Error::archive(file, reason));
            }
        }
        all.insert(path, node);
    }
    Ok(())
}
