//! How many system calls `run --rm` of a static `true` makes, by process, as strace counts them.
//!
//! The container's path is what the monitor and the container's first process do, from the first look at what this
//! process may do to the removal of the container's control groups. In the foreground the command line is the monitor:
//! what it does before, which is to read flags and look up an image, and after, to remove the container, is counted
//! apart.

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
    /// Those of them that make, watch and end the container.
    path: usize,
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
        eprintln!("  {:5} {}, {} in the container's path", process.calls, process.role, process.path);
    }
    let path = traced.iter().map(|process| process.path).sum::<usize>() as f64;
    let everything = traced.iter().map(|process| process.calls).sum::<usize>() as f64;
    Ok(vec![
        Figure::new("system calls, container's path", path, "").at_most(299.0),
        Figure::new("system calls, before and after it", everything - path, ""),
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
        let role = role(&text, position == 0);
        let path = match role {
            "container" | "other" => count(&text),
            _ => count(&monitoring(&text)),
        };
        traced.push(Traced { role, calls: count(&text), path });
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

/// From the look at /proc/self/status, with which the runtime begins, to the last removal of a control group; nothing
/// if the process made no container.
fn monitoring(trace: &str) -> String {
    let lines: Vec<&str> = trace.lines().collect();
    let begin = lines.iter().position(|line| line.contains("\"/proc/self/status\""));
    // The benchmarks' own directories have such names too.
    let group = |line: &&str| line.contains("cgroup") && line.contains("/corral-");
    let end = lines.iter().rposition(|line| line.starts_with("rmdir(") && group(line));
    match (begin, end) {
        (Some(begin), Some(end)) if begin < end => lines[begin..=end].join("\n"),
        _ => String::new(),
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
        let whole = "read(3) = 0\nopen(\"/proc/self/status\", O_RDONLY) = 3\nmkdir(\"/sys/fs/cgroup/corral-1\") = 0\n\
                     rmdir(\"/sys/fs/cgroup/corral-1\") = 0\nunlink(\"a\") = 0\n";
        assert_eq!(count(&monitoring(whole)), 3);
        assert_eq!(count(&monitoring("read(3) = 0\n")), 0);
    }
}
