//! How many system calls `run --rm` of a static `true` makes, by process, as strace counts them.
//!
//! The container's path is what the monitor, its helpers and the container's first process do: the command
//! line before it looks up an image and prints, the reaper after it removes what is left.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::figure::Figure;
use crate::fixture::Fixture;
use crate::peers;

/// One traced process.
struct Traced {
    /// What it executed last before it did its work: `corral __monitor`, `/true`.
    role: &'static str,
    calls: usize,
}

/// Traces one run.
pub fn run(fixture: &Fixture, _runs: usize) -> Result<Vec<Figure>> {
    let directory = fixture.scratch.join("strace");
    let _ = fs::remove_dir_all(&directory); // may not be there
    fs::create_dir_all(&directory)?;
    let mut command = Command::new("strace");
    command.args(["-ff", "-qq", "-o"]).arg(directory.join("trace")).args(peers::corral(fixture).words);
    let output = fixture
        .environment(&mut command)
        .stdin(Stdio::null())
        .output()
        .context("strace: is it installed?")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let traced = read(&directory)?;
    for process in &traced {
        eprintln!("  {:5} {}", process.calls, process.role);
    }
    let sum = |roles: &[&str]| {
        traced
            .iter()
            .filter(|process| roles.contains(&process.role))
            .map(|process| process.calls)
            .sum::<usize>() as f64
    };
    let everything = traced.iter().map(|process| process.calls).sum::<usize>() as f64;
    Ok(vec![
        Figure::new("system calls, container's path", sum(&["monitor", "container", "other"]), "")
            .at_most(300.0),
        Figure::new("system calls, command line", sum(&["command line"]), ""),
        Figure::new("system calls, all processes", everything, ""),
    ])
}

fn read(directory: &Path) -> Result<Vec<Traced>> {
    let mut files = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    // strace names each file by its process id; the first is the command line.
    files.sort_by_key(|path| path.extension().and_then(|pid| pid.to_str()?.parse::<u32>().ok()));
    let mut traced = Vec::new();
    for (position, path) in files.iter().enumerate() {
        // Strings in system calls may be any bytes.
        let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
        traced.push(Traced { role: role(&text, position == 0), calls: count(&text) });
    }
    Ok(traced)
}

fn role(trace: &str, first: bool) -> &'static str {
    let executed = |word: &str| trace.lines().any(|line| line.starts_with("execve(") && line.contains(word));
    match () {
        () if executed("\"__monitor\"") => "monitor",
        () if executed("\"__reap\"") => "reap",
        () if executed("execve(\"/true\"") => "container",
        () if first => "command line",
        () => "other",
    }
}

/// Lines of a trace that are calls: not signals, not exits.
fn count(trace: &str) -> usize {
    trace.lines().filter(|line| !line.starts_with("---") && !line.starts_with("+++")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces() {
        let monitor = "execve(\"/proc/self/exe\", [\"corral\", \"__monitor\", \"/a\"], 0x1) = 0\nread(3, \"\") = 0\n--- SIGCHLD {} ---\n+++ exited with 0 +++\n";
        assert_eq!((role(monitor, false), count(monitor)), ("monitor", 2));
        assert_eq!(
            role("execve(\"/usr/bin/corral\", [\"corral\", \"run\", \"/true\"]) = 0", true),
            "command line"
        );
        assert_eq!(role("mount() = 0\nexecve(\"/true\", [\"/true\"]) = 0", false), "container");
        assert_eq!(role("getpid() = 1", false), "other");
    }
}
