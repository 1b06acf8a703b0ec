//! `exec` into a running container, in turns with nsenter into the same one.

use anyhow::Result;

use crate::figure::Figure;
use crate::fixture::{Fixture, IMAGE};
use crate::measure;

/// Measures both on one container that waits.
pub fn run(fixture: &Fixture, runs: usize) -> Result<Vec<Figure>> {
    let container = fixture.corral(&["run", "-d", "--rm", "--network", "none", IMAGE, "/pause"])?;
    let figures = compare(fixture, runs, &container);
    fixture.corral(&["kill", &container])?;
    figures
}

fn compare(fixture: &Fixture, runs: usize, container: &str) -> Result<Vec<Figure>> {
    let pid = fixture.pid(container)?.to_string();
    let exec = fixture.words(&["exec", container, "/true"]);
    let nsenter = ["nsenter", "--all", "--target", &pid, "/true"].map(str::to_owned);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        ours.push(measure::sample(fixture, &exec)?);
        theirs.push(measure::sample(fixture, &nsenter)?);
    }
    let (ours, theirs) = (measure::middle(&ours), measure::middle(&theirs));
    Ok(vec![
        Figure::new("exec, wall", ours.wall, "ms").note(format!("{:.1} × nsenter", ours.wall / theirs.wall)),
        Figure::new("exec, CPU", ours.cpu, "ms").note(format!("{:.1} × nsenter", ours.cpu / theirs.cpu)),
    ])
}
