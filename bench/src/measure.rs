//! Runs one command under programs/measure.c and reads its numbers.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::fixture::Fixture;

/// What one run of a command took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Milliseconds from the start of the command to its exit.
    pub wall: f64,
    /// Milliseconds of CPU time of its whole process tree, survivors too.
    pub cpu: f64,
}

/// Runs a command once; an error if it fails, with what it said.
pub fn sample(fixture: &Fixture, words: &[String]) -> Result<Sample> {
    sample_within(fixture, &[], words)
}

/// The same below a wrapper that is not measured: the command line that the meter is appended to.
pub fn sample_within(fixture: &Fixture, wrapper: &[String], words: &[String]) -> Result<Sample> {
    let meter = fixture.scratch.join("measure");
    let mut command = match wrapper {
        [] => Command::new(meter),
        [program, rest @ ..] => {
            let mut command = Command::new(program);
            command.args(rest).arg(meter);
            command
        }
    };
    fixture.environment(command.args(words)).stdin(Stdio::null());
    let output = command.output().context("programs/measure")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let (sample, code) =
        parse(&String::from_utf8_lossy(&output.stdout)).context("programs/measure said nothing")?;
    if code != 0 {
        bail!("exit code {code}: {}: {}", words.join(" "), said.trim());
    }
    Ok(sample)
}

/// The median of several runs, each column by itself.
pub fn median(fixture: &Fixture, words: &[String], runs: usize) -> Result<Sample> {
    let samples = (0..runs).map(|_| sample(fixture, words)).collect::<Result<Vec<_>>>()?;
    Ok(middle(&samples))
}

/// The median of samples, each column by itself.
pub fn middle(samples: &[Sample]) -> Sample {
    let column = |of: fn(&Sample) -> f64| crate::figure::median(samples.iter().map(of));
    Sample { wall: column(|sample| sample.wall), cpu: column(|sample| sample.cpu) }
}

/// `WALL CPU ALL CODE`, in microseconds.
fn parse(line: &str) -> Option<(Sample, i32)> {
    let mut numbers = line.split_whitespace();
    let mut next = || numbers.next()?.parse::<f64>().ok();
    let (wall, cpu, _all, code) = (next()?, next()?, next()?, next()?);
    Some((Sample { wall: wall / 1e3, cpu: cpu / 1e3 }, code as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(parse("1500 700 1600 3\n"), Some((Sample { wall: 1.5, cpu: 0.7 }, 3)));
        assert_eq!(parse("1500 700"), None);
        assert_eq!(parse(""), None);
    }
}
