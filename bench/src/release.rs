//! A clean release build, as a user's first command does it. Takes minutes, so it runs only when named.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::figure::Figure;
use crate::fixture::Fixture;

/// Builds into a directory of its own, which is removed.
pub fn run(fixture: &Fixture, _runs: usize) -> Result<Vec<Figure>> {
    let target = fixture.scratch.join("release");
    let _ = fs::remove_dir_all(&target); // may not be there
    let triple = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args([
        "build",
        "--release",
        "--quiet",
        "--package",
        "corral-cli",
        "--target",
        &triple,
        "--target-dir",
    ]);
    let begun = Instant::now();
    let status = build.arg(&target).current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).status()?;
    let took = begun.elapsed().as_secs_f64();
    fs::remove_dir_all(&target)?;
    if !status.success() {
        bail!("the build failed: {status}");
    }
    let cores = std::thread::available_parallelism()?;
    Ok(vec![Figure::new("clean release build", took, "s").at_most(360.0).note(format!("{cores} cores"))])
}
