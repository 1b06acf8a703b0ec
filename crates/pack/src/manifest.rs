//! The list of what is in a layer and where it came from, kept in that layer for the SBOM.
//!
//! ```text
//! /usr/share/corral/files/LAYER.json
//! {"generation":1,"layer":"base","packages":[{"type":"deb","name":…,"version":…,"sha256":…,
//!   "source":"bookworm-security","files":["/usr/bin/…",…]},…],"skipped_scripts":[…],"unapplied":[…]}
//! ```
//!
//! A file that no package lists was made by packing itself.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::debian::Base;
use crate::lock::{LockedSdist, LockedWheel};
use crate::tree::{Node, NodeKind, Tree};

/// The directory of the lists.
pub(crate) const DIR: &str = "usr/share/corral/files";

/// One layer's list.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Manifest {
    generation: u32,
    layer: String,
    packages: Vec<Package>,
    /// Maintainer scripts that did not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_scripts: Vec<String>,
    /// Lines of sysusers.d and tmpfiles.d without effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unapplied: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Package {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    architecture: Option<String>,
    /// Hash of the package's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// npm's own hash of the package's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    integrity: Option<String>,
    /// The suite whose signature covers it, or the file it was pinned as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    files: Vec<PathBuf>,
}

impl Manifest {
    pub(crate) fn new(layer: &str) -> Self {
        Self { generation: 1, layer: layer.to_owned(), ..Self::default() }
    }

    /// The list of a Debian base.
    pub(crate) fn of_base(base: &Base) -> Self {
        let packages = base.origins.iter().map(|origin| Package {
            kind: "deb".into(),
            name: origin.package.name.clone(),
            version: origin.package.version.clone(),
            architecture: Some(origin.package.architecture.clone()),
            sha256: Some(origin.package.sha256.hex()),
            integrity: None,
            source: Some(origin.package.source.clone()),
            files: origin.files.iter().map(|path| Path::new("/").join(path)).collect(),
        });
        let script = |script: &crate::debian::SkippedScript| match script.summary.as_str() {
            "" => format!("{}: {}", script.package, script.script),
            summary => format!("{}: {} ({summary})", script.package, script.script),
        };
        Self {
            packages: packages.collect(),
            skipped_scripts: base.skipped_scripts.iter().map(script).collect(),
            unapplied: base.unapplied.clone(),
            ..Self::new("base")
        }
    }

    /// Adds a wheel with its installed files.
    pub(crate) fn add_wheel(&mut self, wheel: &LockedWheel, tree: &Tree) {
        self.packages.push(Package {
            kind: "wheel".into(),
            name: wheel.name.clone(),
            version: wheel.version.clone(),
            architecture: None,
            sha256: Some(wheel.sha256.hex()),
            integrity: None,
            source: Some(wheel.file.clone()),
            files: files(tree),
        });
    }

    /// Adds the installed files of a wheel that was built of a source distribution.
    pub(crate) fn add_sdist(&mut self, sdist: &LockedSdist, tree: &Tree) {
        self.packages.push(Package {
            kind: "sdist".into(),
            name: sdist.name.clone(),
            version: sdist.version.clone(),
            architecture: None,
            sha256: Some(sdist.sha256.hex()),
            integrity: None,
            source: Some(sdist.file.clone()),
            files: files(tree),
        });
    }

    /// Adds an npm package with its files.
    pub(crate) fn add_npm(&mut self, (name, version): (&str, &str), integrity: &str, tree: &Tree) {
        self.packages.push(Package {
            kind: "npm".into(),
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: None,
            sha256: None,
            integrity: Some(integrity.to_owned()),
            source: None,
            files: files(tree),
        });
    }

    /// Adds the project itself, or data of it.
    pub(crate) fn add_project(&mut self, name: &str, version: Option<&str>, tree: &Tree) {
        self.packages.push(Package {
            kind: "project".into(),
            name: name.to_owned(),
            version: version.unwrap_or_default().to_owned(),
            architecture: None,
            sha256: None,
            integrity: None,
            source: None,
            files: files(tree),
        });
    }

    /// Puts the list into its layer.
    pub(crate) fn put(&self, tree: &mut Tree) {
        // Strings, numbers and lists of UTF-8 paths: nothing that JSON cannot express but a path that is
        // not UTF-8, which no parser of this room lets through.
        let json = serde_json::to_vec(self).unwrap_or_default();
        tree.insert(Path::new(DIR).join(format!("{}.json", self.layer)), Node::file(0o644, json));
    }
}

fn files(tree: &Tree) -> Vec<PathBuf> {
    let file = |(path, node): (&Path, &Node)| {
        (!matches!(node.kind, NodeKind::Directory)).then(|| Path::new("/").join(path))
    };
    tree.iter().filter_map(file).collect()
}
