//! A million lines through the log, in turns with a pipe to a file; and how fast they are read back.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::figure::{Figure, median};
use crate::fixture::{Fixture, IMAGE};
use crate::measure;

/// How many lines of 100 bytes.
const LINES: &str = "1000000";
/// All of them together.
const BYTES: u64 = 100_000_000;
/// Each run writes all of them twice, and reads them once.
const MOST_RUNS: usize = 7;
/// Nobody watches: what is measured is the log. Words: corral, name, driver, image, lines.
const LOGGED: &str = "\"$0\" run -d --name \"$1\" --network none --log-driver \"$2\" --log-opt max-size=1g \
                      \"$3\" /lines \"$4\" && \"$0\" wait \"$1\"";

/// Measures each driver that keeps files.
pub fn run(fixture: &Fixture, runs: usize) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    // The default is held to the target. Docker's format costs what its JSON costs, and is shown.
    for (driver, target) in [("local", Some(1.2)), ("json-file", None)] {
        let name = format!("bench-logs-{driver}");
        // A run that failed may have left it.
        drop(fixture.corral(&["rm", "-f", &name]));
        let corral = fixture.corral.display().to_string();
        let logged = ["sh", "-c", LOGGED, &corral, &name, driver, IMAGE, LINES].map(str::to_owned);
        let file = fixture.scratch.join("lines.txt").display().to_string();
        let lines = fixture.root.join("lines").display().to_string();
        let piped = ["sh", "-c", "\"$0\" \"$1\" | cat > \"$2\"", &lines, LINES, &file].map(str::to_owned);
        let (mut ours, mut floor, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..runs.min(MOST_RUNS) {
            floor.push(measure::sample(fixture, &piped)?);
            ours.push(measure::sample(fixture, &logged)?);
            rates.push(read_back(fixture, &name)?);
            fixture.corral(&["rm", &name])?;
        }
        let (ours, floor) = (measure::middle(&ours), measure::middle(&floor));
        let note = format!("{:.0} ms against {:.0} ms, container included", ours.wall, floor.wall);
        let figure = Figure::new(
            &format!("1 M lines to {driver}, wall / pipe to a file"),
            ours.wall / floor.wall,
            "×",
        );
        let figure = figure.note(note);
        figures.push(match target {
            Some(most) => figure.at_most(most),
            None => figure,
        });
        // Targets are upper bounds: 100 MB/s are 10 ns a byte.
        let rate = median(rates);
        let figure = Figure::new(&format!("reading {driver} back"), 1000.0 / rate, "ns/byte").at_most(10.0);
        figures.push(figure.note(format!("{rate:.0} MB/s")));
    }
    Ok(figures)
}

/// MB/s of `logs` into a pipe that is emptied.
fn read_back(fixture: &Fixture, name: &str) -> Result<f64> {
    let mut command = std::process::Command::new(&fixture.corral);
    fixture.environment(command.args(["logs", name])).stdin(Stdio::null()).stdout(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn().context("corral logs")?;
    let mut out = child.stdout.take().context("corral logs has no output")?;
    let bytes = std::io::copy(&mut out, &mut std::io::sink())?;
    let took = begun.elapsed().as_secs_f64();
    if !child.wait()?.success() || bytes != BYTES {
        bail!("logs gave {bytes} bytes of {BYTES}");
    }
    Ok(bytes as f64 / 1e6 / took)
}
