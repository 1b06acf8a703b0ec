//! The repository's rules, each a pure function from what is there to the list of what is wrong.
//!
//! `the_repository` runs them all over this checkout; beside each rule stands a test that it fails on a
//! bad sample. ARCHITECTURE.md and CONTRIBUTING.md say why the rules are what they are.

mod arrows;
mod budgets;
mod cycles;
mod dependencies;
mod links;
mod manifest;
mod scripts;
mod skips;
mod steps;
mod unsafe_code;
mod words;

use std::fs;

use crate::{cargo, source};

fn holds(rule: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}

#[test]
fn the_repository_keeps_its_budgets() {
    let sources = source::all(&cargo::root());
    assert!(sources.len() > 20, "the sources were not found");
    holds("files and functions", &budgets::check(&sources));
    holds("rooms", &budgets::rooms(&sources));
}

#[test]
fn the_repository_has_no_forbidden_words() {
    let sources = source::all(&cargo::root());
    holds("words", &words::check(&sources));
    holds("unsafe code", &unsafe_code::check(&sources));
    holds("module cycles", &cycles::check(&sources));
}

#[test]
fn the_repository_keeps_its_arrows() {
    let table = arrows::table(&read("ARCHITECTURE.md"));
    holds("arrows", &arrows::check(&table, &manifest::packages()));
}

#[test]
fn the_repository_argues_for_its_dependencies() {
    let declared = dependencies::declared(&read("Cargo.toml"));
    let argued = dependencies::argued(&read("docs/dependencies.md"));
    holds("dependencies", &dependencies::check(&declared, &argued, &manifest::packages()));
}

#[test]
fn the_repository_has_only_short_scripts_and_counted_skips() {
    holds("scripts", &scripts::check(texts()));
    holds("skips", &skips::check(texts()));
}

#[test]
fn the_repository_has_pages_where_its_links_lead() {
    holds("links", &links::check(texts(), |path| cargo::root().join(path).exists()));
}

/// Every text file of the checkout, by its path from the root.
fn texts() -> impl Iterator<Item = (String, String)> {
    let mut files = Vec::new();
    source::walk(&cargo::root(), &mut files);
    files.into_iter().filter_map(|path| {
        let name = path.strip_prefix(cargo::root()).ok()?.display().to_string();
        Some((name, fs::read_to_string(&path).ok()?))
    })
}

fn read(path: &str) -> String {
    fs::read_to_string(cargo::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
