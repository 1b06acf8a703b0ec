//! What the manifests say, as cargo reads them.

use std::collections::BTreeSet;

use crate::cargo;

/// A crate of the workspace.
pub struct Package {
    /// `corral-engine`, `xtask`.
    pub name: String,
    /// True for a room: it stands in `crates/`.
    pub room: bool,
    /// Dependencies and build dependencies.
    pub needs: BTreeSet<String>,
    /// Dependencies of its tests only.
    pub tests: BTreeSet<String>,
}

/// The members of this workspace, from `cargo metadata`, which reads only the manifests.
pub fn packages() -> Vec<Package> {
    let output = cargo::cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"]).output();
    let output = output.expect("cargo ran this test, so it can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    metadata["packages"].as_array().into_iter().flatten().map(package).collect()
}

fn package(value: &serde_json::Value) -> Package {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let dependencies = value["dependencies"].as_array().into_iter().flatten();
    let (tests, needs): (Vec<_>, Vec<_>) = dependencies.partition(|dependency| dependency["kind"] == "dev");
    Package {
        name: text(&value["name"]),
        room: text(&value["manifest_path"]).contains("/crates/"),
        needs: needs.iter().map(|dependency| text(&dependency["name"])).collect(),
        tests: tests.iter().map(|dependency| text(&dependency["name"])).collect(),
    }
}
