//! Install scripts of the packages that the project names, confined and without network.
//!
//! ```text
//! all packages, unpacked ──▶ layer ┐
//! build base, with a shell ────────┴─ step: /bin/sh -c preinstall, install, postinstall ─▶ /out/package
//! /out/package ──read without following links──▶ the package's own files, in place of those it came with
//! ```
//!
//! One step for each package. What its scripts change elsewhere (in other packages, in the base) is dropped: a
//! project that trusts one package with its own files has not trusted it with the others'.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use corral_engine::{Step, StepMount};
use corral_spec::Digest;
use serde_json::Value;

use super::lockfile::Package;
use crate::Error;
use crate::Progress;
use crate::build_base::BuildBase;
use crate::code::APP;
use crate::layers::{self, LayerId, Layers, PACKAGE_TIME};
use crate::output;
use crate::python::Stage;
use crate::step::last_lines_of_build;
use crate::tools::Tools;
use crate::tree::{NodeKind, Tree};
use crate::work::WorkDir;

/// Part of the layer's key: raise it when the same scripts give another tree.
pub(super) const VERSION: u32 = 2;
const SCRIPT: &str = include_str!("run_scripts.js");
const DEBIAN_NODE: &str = "/usr/bin/node";
/// A package.json larger than this is refused.
const MAX_MANIFEST: u64 = 4 << 20;
/// The longest command: the kernel takes no longer word.
const MAX_COMMAND: usize = 100_000;
/// In the order in which npm runs them.
const EVENTS: [&str; 3] = ["preinstall", "install", "postinstall"];

/// Runs install scripts.
pub(super) struct Runner<'r, 'a> {
    /// What runs steps.
    pub tools: &'r Tools<'a>,
    /// What they run in.
    pub base: &'r BuildBase<'a>,
    /// The layer with npm's runtime, where that of the base is too old.
    pub runtime: Option<Digest>,
    /// Where what they leave is kept on its way.
    pub stage: &'r Stage,
}

/// A package's name in messages, and where it is in the image.
pub(super) fn home(package: &Package) -> PathBuf {
    Path::new(APP).join(&package.place)
}

/// The packages whose scripts run, in npm's order: those less deep first, then by place.
pub(super) fn order(packages: &[Package]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..packages.len()).filter(|at| packages[*at].run_scripts).collect();
    let depth = |place: &str| place.matches("node_modules/").count();
    order.sort_by_key(|at| (depth(&packages[*at].place), &packages[*at].place));
    order
}

impl Runner<'_, '_> {
    /// The package's files after its scripts; `all` is every package's files, its own `own`.
    ///
    /// # Errors
    /// [`Error::Package`] if a script fails; [`Error::Archive`] for what it left and an image cannot hold.
    pub(super) fn run(&self, package: &Package, own: &Tree, all: Tree) -> Result<Tree, Error> {
        let home = home(package);
        let commands = commands(own, &home)
            .map_err(|reason| Error::archive(format!("{}@{}", package.name, package.version), reason))?;
        if commands.is_empty() {
            return Ok(own.clone());
        }
        let told = format!("running the install scripts of {} {}, confined", package.name, package.version);
        (self.tools.progress)(Progress::Phase(told));
        let work = WorkDir::new(&self.tools.options.cache)?;
        let out = work.path().join("out");
        std::fs::create_dir(&out).map_err(Error::io("create", &out))?;
        let mut layers = vec![self.base.layer(self.tools.store)?];
        layers.extend(self.runtime);
        layers.push(self.layer(all)?);
        let node = if self.runtime.is_some() { "/usr/local/bin/node" } else { DEBIAN_NODE };
        let mut argv: Vec<String> = [node, "-e", SCRIPT, "--"].map(str::to_owned).into();
        argv.push(format!("/{}", home.display()));
        argv.extend(commands.into_iter().flat_map(|(event, command)| [event.to_owned(), command]));
        let step = Step {
            layers,
            argv,
            env: environment(package, node),
            mounts: vec![StepMount { source: out.clone(), target: "/out".into(), read_only: false }],
            workdir: "/".into(),
            host_network: false,
        };
        let outcome = self.tools.engine.run_step(&step)?;
        if outcome.code != 0 {
            return Err(Error::Package {
                package: format!("{} {}", package.name, package.version),
                act: "its install script".into(),
                said: last_lines_of_build(&outcome.stderr),
                way_out: "it has no network: if it would download a binary or node's headers, use a version that ships them; if it lacks a program, name its Debian package in build-packages of the corral key; if the package works without, move it to skip-scripts".into(),
            });
        }
        let file = File::open(&out).map_err(Error::io("read", &out))?;
        let left = output::directory(&file, "package", &home, self.stage)?;
        for link in left.astray {
            (self.tools.progress)(Progress::Warning(format!(
                "{}: its install script left {link:?}, a link out of the package: not packed",
                package.name
            )));
        }
        Ok(replaced(package, own, left.tree))
    }

    /// A layer that is of no image, and so in nobody's report.
    fn layer(&self, all: Tree) -> Result<Digest, Error> {
        let mut parts: Vec<String> = vec!["npm-unpacked".into(), VERSION.to_string()];
        for (path, node) in all.iter() {
            let content = match &node.kind {
                NodeKind::File(content) => Digest::from_bytes(crate::python::hash_of(content)?).hex(),
                NodeKind::Symlink(aim) => aim.display().to_string(),
                NodeKind::Directory | NodeKind::Hardlink(_) => String::new(),
            };
            parts.push(format!("{} {:o} {content}", path.display(), node.mode));
        }
        let key = layers::key(&parts.iter().map(String::as_str).collect::<Vec<_>>());
        let id = LayerId { kind: "pack-npm-unpacked", key, name: "packages", time: PACKAGE_TIME };
        Layers::new(self.tools.store, &|_| ()).push(&id, || Ok(all))
    }
}

/// What the package left in place of what it came with; other packages below it and links to its commands stay.
fn replaced(package: &Package, own: &Tree, left: Tree) -> Tree {
    let home = home(package);
    let below = home.join("node_modules");
    // None for node_modules itself: a file or link in its place would take the other packages' away.
    let first =
        |path: &Path| Some(path.strip_prefix(&below).ok()?.components().next()?.as_os_str().to_owned());
    // What it bundles came in its own archive; anything else there is another package's.
    let bundles: BTreeSet<OsString> = own.iter().filter_map(|(path, _)| first(path)).collect();
    let bundled = |path: &Path| first(path).is_some_and(|first| bundles.contains(&first));
    let mut tree = Tree::default();
    for (path, node) in own.iter().filter(|(path, _)| !path.starts_with(&home)) {
        tree.insert(path, node.clone());
    }
    for (path, mut node) in left.into_nodes().filter(|(path, _)| !path.starts_with(&below) || bundled(path)) {
        if package.commands.iter().any(|(_, file)| path == home.join(file)) {
            node.mode = 0o755;
        }
        tree.insert(path, node);
    }
    tree
}

/// The scripts of a package's own manifest, with npm's own for a package that only has a binding.gyp.
fn commands(own: &Tree, home: &Path) -> Result<Vec<(&'static str, String)>, String> {
    let file = own.get(&home.join("package.json")).ok_or("has no package.json")?;
    let NodeKind::File(content) = &file.kind else { return Err("has a package.json that is no file".into()) };
    if file.size() > MAX_MANIFEST {
        return Err(format!("has a package.json of more than {MAX_MANIFEST} bytes"));
    }
    let bytes = crate::files::content_bytes(content).map_err(|error| error.to_string())?;
    let manifest: Value =
        serde_json::from_slice(&bytes).map_err(|error| format!("has a malformed package.json: {error}"))?;
    let script = |event: &str| manifest.get("scripts").and_then(|scripts| scripts.get(event)?.as_str());
    let mut commands = Vec::new();
    for event in EVENTS {
        let Some(command) = script(event).filter(|command| !command.trim().is_empty()) else { continue };
        if command.len() > MAX_COMMAND || command.contains('\0') {
            return Err(format!("has a script {event} that no shell takes"));
        }
        commands.push((event, command.to_owned()));
    }
    let gyp =
        own.get(&home.join("binding.gyp")).is_some() && manifest.get("gypfile") != Some(&Value::Bool(false));
    if gyp && script("install").is_none() && script("preinstall").is_none() {
        commands.insert(0, ("install", "node-gyp rebuild".into()));
    }
    Ok(commands)
}

/// The whole environment of the scripts, in npm's names.
fn environment(package: &Package, node: &str) -> Vec<(String, String)> {
    let bin = format!("/{APP}/node_modules/.bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    let fixed = [
        ("PATH", bin.as_str()),
        ("HOME", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("CI", "true"),
        ("INIT_CWD", "/app"),
        ("NODE", node),
        ("npm_node_execpath", node),
        ("npm_command", "ci"),
        ("npm_config_offline", "true"),
        ("npm_config_node_gyp", "/usr/bin/node-gyp"),
        ("npm_config_loglevel", "notice"),
        ("npm_package_name", &package.name),
        ("npm_package_version", &package.version),
        // gyp is written in Python and writes sets into its makefiles.
        ("PYTHONHASHSEED", "0"),
        ("SOURCE_DATE_EPOCH", &PACKAGE_TIME.to_string()),
    ];
    // The headers of Debian's libnode-dev, for Debian's Node only. Told of none, node-gyp asks the network.
    let headers = (node == DEBIAN_NODE).then_some(("npm_config_nodedir", "/usr/include/nodejs"));
    fixed.into_iter().chain(headers).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Node;

    fn package(place: &str, run_scripts: bool) -> Package {
        Package {
            place: place.into(),
            name: "p".into(),
            version: "1.0.0".into(),
            integrity: String::new(),
            commands: vec![("p".into(), "bin/p".into())],
            run_scripts,
        }
    }

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, text) in files {
            tree.insert(*path, Node::file(0o644, text.as_bytes().to_vec()));
        }
        tree
    }

    fn check(files: &[(&str, &str)], expect: &str) {
        let shown = match commands(&tree(files), Path::new("")) {
            Ok(commands) => format!("{commands:?}"),
            Err(reason) => reason,
        };
        assert!(shown.contains(expect), "{shown:?} does not say {expect:?}");
    }

    #[test]
    fn scripts_in_the_order_of_npm() {
        let all = r#"{"scripts": {"postinstall": "c", "install": "b", "preinstall": "a", "test": "x", "prepare": "y"}}"#;
        check(&[("package.json", all)], r#"[("preinstall", "a"), ("install", "b"), ("postinstall", "c")]"#);
        check(&[("package.json", "{}")], "[]");
        check(&[("package.json", "{\"scripts\": {\"install\": \" \"}}")], "[]");
        check(&[("package.json", "{}"), ("binding.gyp", "")], "[(\"install\", \"node-gyp rebuild\")]");
        check(&[("package.json", "{\"gypfile\": false}"), ("binding.gyp", "")], "[]");
        check(
            &[("package.json", "{\"scripts\": {\"install\": \"x\"}}"), ("binding.gyp", "")],
            "[(\"install\", \"x\")]",
        );
        check(&[("package.json", "{\"scripts\": {\"install\": \"a\\u0000\"}}")], "no shell takes");
        check(&[("package.json", "[")], "malformed");
        check(&[], "no package.json");
    }

    #[test]
    fn the_less_deep_first() {
        let packages = [
            package("node_modules/a/node_modules/b", true),
            package("node_modules/z", true),
            package("node_modules/c", false),
            package("node_modules/a", true),
        ];
        assert_eq!(order(&packages), [3, 1, 0]);
    }

    #[test]
    fn only_its_own_files_are_taken() {
        let own = tree(&[
            ("app/node_modules/.bin/p", ""),
            ("app/node_modules/p/old", ""),
            ("app/node_modules/p/node_modules/bundled/x", ""),
        ]);
        let left = tree(&[
            ("app/node_modules/p/bin/p", ""),
            ("app/node_modules/p/node_modules/bundled/y", ""),
            ("app/node_modules/p/node_modules/other/evil", ""),
        ]);
        let p = package("node_modules/p", true);
        let tree = replaced(&p, &own, left);
        let shown: Vec<_> =
            tree.iter().map(|(path, node)| format!("{} {:o}", path.display(), node.mode)).collect();
        assert_eq!(
            shown,
            [
                "app/node_modules/.bin/p 644",
                "app/node_modules/p/bin/p 755",
                "app/node_modules/p/node_modules/bundled/y 644",
            ]
        );
        let mut left = Tree::default();
        left.insert("app/node_modules/p/node_modules", Node::symlink("lib"));
        left.insert("app/node_modules/p/lib/x", Node::file(0o644, Vec::new()));
        let tree = replaced(&p, &own, left);
        assert_eq!(
            tree.iter().map(|(path, _)| path.display().to_string()).collect::<Vec<_>>(),
            ["app/node_modules/.bin/p", "app/node_modules/p/lib/x"]
        );
    }
}
