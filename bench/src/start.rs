//! `run --rm` of a static `true`, in turns with the floor and the peers.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result};

use crate::figure::{Figure, align};
use crate::fixture::{Fixture, IMAGE};
use crate::measure::{self, Sample};
use crate::peers::{self, Contestant};

/// Prints the table of all contestants and returns corral's ratios.
pub fn run(fixture: &Fixture, runs: usize) -> Result<Vec<Figure>> {
    let mut failed = HashMap::new();
    let mut contestants = peers::contestants(fixture)?;
    // One run of each warms caches, and shows who cannot run here at all.
    contestants.retain(|contestant| {
        match measure::sample_within(fixture, &contestant.wrapper, &contestant.words) {
            Ok(_) => true,
            Err(error) => {
                eprintln!("  {}: cannot run here: {error:#}", contestant.name);
                failed.insert(contestant.name, format!("{error:#}"));
                false
            }
        }
    });
    let mut samples: HashMap<&str, Vec<Sample>> = HashMap::new();
    for _ in 0..runs {
        for contestant in &contestants {
            samples.entry(contestant.name).or_default().push(measure::sample_within(
                fixture,
                &contestant.wrapper,
                &contestant.words,
            )?);
        }
    }
    let medians: HashMap<&str, Sample> =
        samples.iter().map(|(name, all)| (*name, measure::middle(all))).collect();
    let against = if upper_in_memory(fixture).unwrap_or(false) { "floor (tmpfs)" } else { "floor" };
    let floor = *medians.get(against).with_context(|| format!("the {against} did not run"))?;
    println!("{}", table(&contestants, &medians, floor));
    if let Some(reason) = failed.get("corral") {
        return Ok(vec![Figure::failed("run --rm true", reason)]);
    }
    let corral = medians["corral"];
    let confined = *medians.get(peers::CONFINED).context("the confined floor did not run")?;
    let note = format!("against the {against}, {runs} runs in turns");
    Ok(vec![
        Figure::new("run --rm true, wall / floor", corral.wall / floor.wall, "×")
            .at_most(1.5)
            .note(note.clone()),
        Figure::new("run --rm true, CPU / floor", corral.cpu / floor.cpu, "×").at_most(1.5).note(note),
        Figure::new("confined floor, CPU / floor", confined.cpu / floor.cpu, "×")
            .note("what the kernel takes for the confinement alone"),
        Figure::new("run --rm true, CPU / confined floor", corral.cpu / confined.cpu, "×"),
        Figure::new("run --rm true, wall", corral.wall, "ms"),
        Figure::new("run --rm true, CPU", corral.cpu, "ms"),
    ])
}

fn table(contestants: &[Contestant], medians: &HashMap<&str, Sample>, floor: Sample) -> String {
    let mut rows = vec![["", "wall ms", "CPU ms", "× wall", "× CPU", ""].map(String::from)];
    for contestant in contestants {
        let Sample { wall, cpu } = medians[contestant.name];
        rows.push([
            contestant.name.into(),
            format!("{wall:7.2}"),
            format!("{cpu:6.2}"),
            format!("{:6.2}", wall / floor.wall),
            format!("{:5.2}", cpu / floor.cpu),
            contestant.note.into(),
        ]);
    }
    align(rows)
}

/// Whether a container's upper directory is on tmpfs: the floor's must be where ours is.
fn upper_in_memory(fixture: &Fixture) -> Result<bool> {
    let container = fixture.corral(&["run", "-d", "--rm", "--network", "none", IMAGE, "/pause"])?;
    let mounts =
        fixture.pid(&container).and_then(|pid| Ok(fs::read_to_string(format!("/proc/{pid}/mountinfo"))?));
    fixture.corral(&["kill", &container])?;
    let mounts = mounts?;
    let upper = mounts.split("upperdir=").nth(1).and_then(|rest| rest.split([',', '\n']).next());
    Ok(upper.context("the root is no overlay with an upper directory")?.starts_with("/run/"))
}
