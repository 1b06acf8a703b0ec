//! `run -d` of a static `true`, in turns with the floor: the processor time of the command and of the monitor, which is
//! another process here and lives until the container has ended. And `stop` of a container that ends when it is asked to.

use anyhow::Result;

use crate::figure::{Figure, median};
use crate::fixture::{Fixture, IMAGE};
use crate::measure::{self, Sample};
use crate::peers;

/// Measures both.
pub fn run(fixture: &Fixture, runs: usize) -> Result<Vec<Figure>> {
    let floor = peers::floor_on_disk(fixture).words;
    let words = fixture.words(&["run", "-d", "--network", "none", IMAGE, "/true"]);
    let (mut floors, mut detached) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        floors.push(measure::sample(fixture, &floor)?);
        detached.push(measure::sample(fixture, &words)?);
    }
    fixture.corral(&["container", "prune", "--force"])?;
    let (floor, detached): (Sample, Sample) = (measure::middle(&floors), measure::middle(&detached));
    let mut stops = Vec::new();
    for _ in 0..runs {
        let container =
            fixture.corral(&["run", "-d", "--rm", "--init", "--network", "none", IMAGE, "/pause"])?;
        stops.push(measure::sample(fixture, &fixture.words(&["stop", &container]))?.wall);
    }
    Ok(vec![
        Figure::new("run -d true, CPU / floor", detached.cpu / floor.cpu, "×")
            .at_most(3.0)
            .note("command and monitor; the record is on the disk"),
        Figure::new("run -d true, wall / floor", detached.wall / floor.wall, "×")
            .note("until the command ends"),
        Figure::new("stop of who ends when asked to", median(stops), "ms").at_most(5.0),
    ])
}
