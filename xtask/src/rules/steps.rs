//! A release has no step at which it can be made to die: what `step!` calls is compiled as a release is, and looked at.

use std::path::Path;
use std::process::Command;

use crate::cargo;

/// The instructions of a function that passes a step, in a build without debug assertions.
fn instructions(directory: &Path) -> Vec<String> {
    let room = cargo::root().join("crates/fault/src/lib.rs");
    let program = format!(
        "#![allow(dead_code, unused)]\n#[path = {room:?}]\nmod fault;\n#[inline(never)]\n\
         pub fn probe() {{ fault::pass(fault::Step::ALL[0]); drop(fault::environment().count()); }}\n"
    );
    let (source, assembly) = (directory.join("probe.rs"), directory.join("probe.s"));
    std::fs::write(&source, program).expect("a file of ours");
    let status = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition", "2024", "--crate-type", "lib", "-C", "opt-level=2", "--emit", "asm", "-o"])
        .args([&assembly, &source])
        .current_dir(cargo::root())
        .status()
        .expect("rustc runs");
    assert!(status.success(), "{status}");
    let text = std::fs::read_to_string(&assembly).expect("assembly");
    let body = text.lines().skip_while(|line| !(line.contains("probe") && line.ends_with(':'))).skip(1);
    let body = body.map(str::trim).take_while(|line| !line.starts_with(".Lfunc_end"));
    body.filter(|line| !line.starts_with('.')).map(str::to_owned).collect()
}

/// Whether the profile of releases turns debug assertions on.
fn asserts(manifest: &str) -> bool {
    let release = manifest.split("[profile.release]").nth(1).unwrap_or_default();
    release.split("\n[").next().unwrap_or_default().contains("debug-assertions")
}

#[test]
fn a_release_has_no_step_to_die_at() {
    let directory = std::env::temp_dir().join(format!("corral-steps-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a directory of ours");
    let found = instructions(&directory);
    std::fs::remove_dir_all(&directory).expect("our directory");
    assert_eq!(found.len(), 1, "more than a return: {found:?}");
    assert!(found[0].starts_with("ret"), "{found:?}");
    let manifest = std::fs::read_to_string(cargo::root().join("Cargo.toml")).expect("the manifest");
    assert!(manifest.contains("[profile.release]") && !asserts(&manifest), "a release has debug assertions");
}

#[test]
fn a_profile_with_debug_assertions_is_seen() {
    assert!(asserts("[profile.release]\ndebug-assertions = true\n[profile.dev]\n"));
    assert!(!asserts("[profile.release]\nlto = true\n\n[profile.dev]\ndebug-assertions = true\n"));
}
