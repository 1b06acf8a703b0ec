//! Memory of the monitors of idle detached containers.
//!
//! Private memory is what one more container costs. Pages of the binary that only one monitor has touched
//! count as private to it, so that three figures are given: one monitor alone, one of ten, one of a hundred. A linker leaves
//! the binary in the page cache in large pieces, of which a process that touches one page maps all: the cache is
//! emptied of it first, so that the figures are those of a binary that was installed, or of a machine that was booted.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::figure::{Figure, median};
use crate::fixture::{self, Fixture, IMAGE};

/// Kilobytes of one process, from /proc/PID/smaps_rollup.
#[derive(Debug, PartialEq)]
struct Memory {
    private: f64,
    /// The part of `private` that no file backs: the rest is pages of the binary, which the kernel may drop.
    dirty: f64,
    proportional: f64,
}

/// Starts one container, then nine more, then ninety, and reads their monitors' memory when all is quiet.
pub fn run(fixture: &Fixture, _runs: usize) -> Result<Vec<Figure>> {
    evict(&fixture.corral)?;
    let mut containers = Vec::new();
    let figures = measure(fixture, &mut containers);
    for container in &containers {
        fixture.corral(&["kill", container])?;
    }
    figures
}

/// Empties the page cache of a file: posix_fadvise(2), by the one program that everybody has for it.
fn evict(file: &Path) -> Result<()> {
    fixture::run(Command::new("sync").arg(file))?;
    let input = format!("if={}", file.display());
    fixture::run(Command::new("dd").args([&input, "iflag=nocache", "count=0", "status=none"]))
}

fn measure(fixture: &Fixture, containers: &mut Vec<String>) -> Result<Vec<Figure>> {
    let mut memory = Vec::new();
    for count in [1, 10, 100] {
        while containers.len() < count {
            containers.push(fixture.corral(&["run", "-d", "--rm", "--network", "none", IMAGE, "/pause"])?);
        }
        sleep(Duration::from_secs(1));
        let all =
            containers.iter().map(|container| of_monitor(fixture, container)).collect::<Result<Vec<_>>>()?;
        let middle = |of: fn(&Memory) -> f64| median(all.iter().map(of));
        memory.push(Memory {
            private: middle(|m| m.private),
            dirty: middle(|m| m.dirty),
            proportional: middle(|m| m.proportional),
        });
    }
    Ok(vec![
        Figure::new("idle monitor, private memory", memory[0].private, "kB")
            .at_most(1024.0)
            .note(format!("one alone; {:.0} kB of it are not pages of the binary", memory[0].dirty)),
        Figure::new("idle monitor, private memory of ten", memory[1].private, "kB").at_most(1024.0),
        Figure::new("idle monitor, PSS of ten", memory[1].proportional, "kB"),
        Figure::new("idle monitor, PSS of a hundred", memory[2].proportional, "kB").at_most(300.0),
    ])
}

/// The monitor is the parent of the container's first process.
fn of_monitor(fixture: &Fixture, container: &str) -> Result<Memory> {
    let pid = fixture.pid(container)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).context("no parent")?.trim();
    parse(&fs::read_to_string(format!("/proc/{parent}/smaps_rollup"))?)
        .context("smaps_rollup has another form")
}

fn parse(rollup: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let (clean, dirty) = (field("Private_Clean:")?, field("Private_Dirty:")?);
    Some(Memory { private: clean + dirty, dirty, proportional: field("Pss:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollups() {
        let text = "400000-7fff r--p 00000000 00:00 0 [rollup]\nPss:  300 kB\nPss_Dirty: 1 kB\nPrivate_Clean:  100 kB\nPrivate_Dirty:  50 kB\n";
        assert_eq!(parse(text), Some(Memory { private: 150.0, dirty: 50.0, proportional: 300.0 }));
        assert_eq!(parse("Pss: 1 kB\n"), None);
    }
}
