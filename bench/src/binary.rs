//! The binary itself: how big, and how fast it says its version.

use std::fs;

use anyhow::Result;

use crate::figure::Figure;
use crate::fixture::Fixture;
use crate::measure;

/// Size on disk, and the start of a command that does nothing.
pub fn run(fixture: &Fixture, runs: usize) -> Result<Vec<Figure>> {
    let size = fs::metadata(&fixture.corral)?.len() as f64 / 1e6;
    let version = fixture.words(&["--version"]);
    let bare = [fixture.root.join("true").display().to_string()];
    measure::sample(fixture, &version)?;
    let started = measure::median(fixture, &version, runs.max(20))?;
    let bare = measure::median(fixture, &bare, runs.max(20))?;
    Ok(vec![
        Figure::new("binary", size, "MB").at_most(25.0),
        Figure::new("--version, wall", started.wall, "ms")
            .at_most(3.0)
            .note(format!("bare exec {:.2} ms", bare.wall)),
        Figure::new("--version, CPU", started.cpu, "ms").note(format!("bare exec {:.2} ms", bare.cpu)),
    ])
}
