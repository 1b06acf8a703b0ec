//! `cargo xtask check`: what a change must pass before it is proposed.

use std::process::ExitCode;

use anyhow::Result;

use crate::{cargo, setup, test};

/// Stops at the first thing that is wrong, cheapest first.
pub fn run() -> Result<ExitCode> {
    setup::run()?;
    let target = cargo::target();
    cargo::run(&mut cargo::cargo(&["fmt", "--all", "--check"]))?;
    cargo::run(&mut cargo::cargo(&["test", "--quiet", "--package", "xtask"]))?;
    let words = ["clippy", "--workspace", "--all-targets", "--target", &target, "--", "--deny", "warnings"];
    cargo::run(&mut cargo::cargo(&words))?;
    test::run()
}
