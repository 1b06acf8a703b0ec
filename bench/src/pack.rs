//! Packing examples/librarian again: after a change of its code, and after none. And its base alone, into an
//! empty store, from packages that are there already.

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
    let base =
        base(fixture, &directory).unwrap_or_else(|error| Figure::failed("base", &format!("{error:#}")));
    Ok(vec![
        base,
        Figure::new("pack again, code changed", median(changed), "ms").at_most(300.0),
        Figure::new("pack again, nothing changed", median(unchanged), "ms").at_most(50.0),
        Figure::new("first pack here", first.wall / 1e3, "s").note("what was cached before counts as cached"),
    ])
}

/// Packs only the base that the example's lock names, each time into a new store.
fn base(fixture: &Fixture, project: &str) -> Result<Figure> {
    let directory = fixture.scratch.join("base");
    let root = fixture.scratch.join("corral-base");
    for path in [&directory, &root] {
        let _ = fs::remove_dir_all(path); // may not be there
        fs::create_dir_all(path)?;
    }
    let lock = fs::read_to_string(Path::new(project).join("agent.lock"))?;
    let requested = requested(&lock).context("the lock names no packages of the base")?;
    fs::write(directory.join("pyproject.toml"), format!("[tool.corral]\npackages = {requested}\n"))?;
    fixture::run(Command::new("cp").arg("-a").arg(fixture.scratch.join("corral/cache")).arg(&root))?;
    let (root, directory) = (root.display().to_string(), directory.display().to_string());
    let pack = fixture.words(&["--root", &root, "pack", "--quiet", &directory, "--tag", "corral-bench-base"]);
    measure::sample(fixture, &pack)?; // writes the lock
    let mut walls = Vec::new();
    for _ in 0..RUNS {
        fs::remove_dir_all(Path::new(&root).join("store"))?;
        walls.push(measure::sample(fixture, &pack)?.wall);
    }
    Ok(Figure::new("base from warm packages", median(walls), "ms")
        .at_most(1000.0)
        .note("into an empty store"))
}

/// The value of the lock's `requested`, a list of strings as TOML writes it.
fn requested(lock: &str) -> Option<&str> {
    lock.lines().find_map(|line| line.strip_prefix("requested = ")).filter(|list| list.starts_with('['))
}

/// The example, without what its tests may have left. Its lock goes along, so that nothing is resolved.
fn copy(to: &Path) -> Result<()> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/librarian");
    let _ = fs::remove_dir_all(to); // may not be there
    fixture::run(Command::new("cp").arg("-a").arg(from).arg(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks() {
        assert_eq!(requested("epoch = 1\n[base]\nrequested = [\"a\", \"b\"]\n"), Some("[\"a\", \"b\"]"));
        assert_eq!(requested("epoch = 1\n"), None);
    }
}
