//! Packing examples/librarian again: after a change of its code, and after none.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::figure::{Figure, median};
use crate::fixture::{self, Fixture};
use crate::measure;

/// How often: each takes longer than a container.
const RUNS: usize = 7;

/// Packs a copy once to fill the caches, then measures.
pub fn run(fixture: &Fixture, _runs: usize) -> Result<Vec<Figure>> {
    let project = fixture.scratch.join("librarian");
    copy(&project)?;
    let directory = project.display().to_string();
    let pack = fixture.words(&["pack", "--quiet", &directory, "--tag", "corral-bench-librarian"]);
    let first = measure::sample(fixture, &pack).context("the first pack, which downloads")?;

    let unchanged =
        (0..RUNS).map(|_| Ok(measure::sample(fixture, &pack)?.wall)).collect::<Result<Vec<_>>>()?;
    let mut changed = Vec::new();
    for number in 0..RUNS {
        let code = project.join("src/librarian/cli.py");
        let mut file = fs::OpenOptions::new().append(true).open(&code)?;
        writeln!(file, "# change {number} of process {}", std::process::id())?;
        drop(file);
        changed.push(measure::sample(fixture, &pack)?.wall);
    }
    Ok(vec![
        Figure::new("pack again, code changed", median(changed), "ms").at_most(300.0),
        Figure::new("pack again, nothing changed", median(unchanged), "ms").at_most(50.0),
        Figure::new("first pack here", first.wall / 1e3, "s").note("what was cached before counts as cached"),
    ])
}

/// The example, without what its tests may have left. Its lock goes along, so that nothing is resolved.
fn copy(to: &Path) -> Result<()> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/librarian");
    let _ = fs::remove_dir_all(to); // may not be there
    fixture::run(Command::new("cp").arg("-a").arg(from).arg(to))
}
