//! `cargo xtask bench`: builds the release binary and hands over to bench/.

use anyhow::Result;

use crate::{cargo, setup};

/// Runs the benchmarks; the arguments are those of bench/.
pub fn run(arguments: &[String]) -> Result<()> {
    setup::run()?;
    let corral = cargo::build_corral(true)?;
    let target = cargo::target();
    let words = ["run", "--quiet", "--release", "--package", "corral-bench", "--target", &target, "--"];
    cargo::run(cargo::cargo(&words).args(arguments).env("CORRAL_BIN", corral))
}
