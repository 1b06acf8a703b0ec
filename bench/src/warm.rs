//! `run --rm` of examples/librarian forked from a template, in turns with a cold one.
//!
//! The template's process and its monitor are not below the command that is measured: here, everything that happens on
//! both sides is counted, by the control group that all of it is in.
//!
//! ```text
//! OWN/corral-bench-warm/          cpu.stat: usage_usec, of all below
//!     self/                       the measured commands, the template's monitor
//!     (self/)corral-ID            the template, the containers
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::figure::{Figure, median};
use crate::fixture::Fixture;
use crate::measure::Sample;

const IMAGE: &str = "corral-bench-warm";
/// A cold start takes a second.
const MOST_RUNS: usize = 10;

/// Packs, makes a template, measures.
pub fn run(fixture: &Fixture, runs: usize) -> Result<Vec<Figure>> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/librarian");
    let copy = fixture.scratch.join("librarian-warm");
    let _ = fs::remove_dir_all(&copy); // may not be there
    crate::fixture::run(Command::new("cp").arg("-a").arg(project).arg(&copy))?;
    fixture.corral(&["pack", "--quiet", &copy.display().to_string(), "--tag", IMAGE])?;
    let documents = fixture.scratch.join("documents");
    fs::create_dir_all(&documents)?;
    fs::write(documents.join("a.md"), "# Layers\nA layer is a tar archive.\n")?;
    let meter = Meter::new(&fixture.cgroup)?;
    meter.take(fixture, &["warm", IMAGE, "--import", "librarian.preload"]).context("the template")?;
    let workspace = documents.display().to_string();
    let ask = ["--rm", "--workspace", &workspace, IMAGE, "ask", "What is a layer?", "--top", "1"];
    let measured = measure(fixture, &meter, (&ask, runs.min(MOST_RUNS)));
    fixture.corral(&["warm", "rm", "--force", IMAGE])?;
    let [cold, warm] = measured?;
    let cpu = |samples: &[Sample]| median(samples.iter().map(|sample| sample.cpu));
    let wall = |samples: &[Sample]| median(samples.iter().map(|sample| sample.wall));
    Ok(vec![
        Figure::new("warm Python start, CPU / cold", cpu(&warm) / cpu(&cold), "×")
            .at_most(1.0 / 20.0)
            .note("template, its monitor and the answer included"),
        Figure::new("warm Python start, CPU", cpu(&warm), "ms"),
        Figure::new("cold Python start, CPU", cpu(&cold), "ms"),
        Figure::new("warm Python start, wall", wall(&warm), "ms"),
        Figure::new("cold Python start, wall", wall(&cold), "ms"),
    ])
}

fn measure(fixture: &Fixture, meter: &Meter, (ask, runs): (&[&str], usize)) -> Result<[Vec<Sample>; 2]> {
    let mut found = [Vec::new(), Vec::new()];
    for _ in 0..runs {
        for (samples, flag) in found.iter_mut().zip(["--warm=never", "--warm=always"]) {
            samples.push(meter.take(fixture, &[&["run", flag], ask].concat())?);
        }
    }
    Ok(found)
}

/// A control group that counts.
struct Meter(PathBuf);

impl Meter {
    fn new(own: &Path) -> Result<Self> {
        let dir = own.join("corral-bench-warm");
        for dir in [&dir, &dir.join("self")] {
            match fs::create_dir(dir) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("make {}", dir.display()));
                }
                _ => {}
            }
        }
        Ok(Self(dir))
    }

    /// Milliseconds of processor time.
    fn used(&self) -> Result<f64> {
        let text = fs::read_to_string(self.0.join("cpu.stat"))?;
        let used = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).context("usage_usec")?;
        Ok(used.parse::<f64>()? / 1e3)
    }

    /// Runs a command in the group, and waits until what it left behind is at rest.
    fn take(&self, fixture: &Fixture, words: &[&str]) -> Result<Sample> {
        let before = self.used()?;
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(self.0.join("self"));
        fixture.environment(command.args(fixture.words(words))).stdin(Stdio::null());
        let begun = Instant::now();
        let output = command.output()?;
        let wall = begun.elapsed().as_secs_f64() * 1e3;
        if !output.status.success() {
            bail!("corral {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        std::thread::sleep(Duration::from_millis(300));
        Ok(Sample { wall, cpu: self.used()? - before })
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // A template that could not be ended keeps them; they count nothing that anybody asks for.
        for dir in [self.0.join("self"), self.0.clone()] {
            let _ = fs::remove_dir(dir);
        }
    }
}
