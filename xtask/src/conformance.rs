//! `cargo xtask conformance --runtime-tools DIR [--runtime PATH]…`: the validation of the OCI runtime-tools, counted.
//!
//! DIR is a checkout of that suite; nothing of it is part of this repository. What is not built there yet is built with
//! `go`, whose environment is the caller's. Each program is run once for each runtime, all on this machine and in this
//! run: `corral oci` as built here first, then every `--runtime`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo;

/// How long one program of the suite may take, in seconds: some wait 10 seconds for what never comes.
const PATIENCE: &str = "120";

/// Assertions of a TAP stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u32,
    failed: u32,
    /// Of those that passed: what the suite did not look at.
    skipped: u32,
}

impl Count {
    /// Lines that begin with `ok` and `not ok`. Some programs say nothing in TAP when all is well.
    fn of(tap: &str) -> Self {
        let mut count = Self::default();
        for line in tap.lines() {
            if line.starts_with("not ok ") {
                count.failed += 1;
            } else if line.starts_with("ok ") {
                count.passed += 1;
                count.skipped += u32::from(line.contains("# SKIP"));
            }
        }
        count
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Runs the suite and prints a line a program and one for the sum.
pub fn run(words: &[String]) -> Result<ExitCode> {
    let (suite, others) = parse(words)?;
    let suite = fs::canonicalize(&suite).with_context(|| format!("{}", suite.display()))?;
    let programs = programs(&suite)?;
    let work = cargo::target_dir().join("conformance");
    fs::create_dir_all(&work)?;
    let own = work.join("corral-oci");
    drop(fs::remove_file(&own));
    // The suite asks for labels of a module that this kernel may not run, and looks only at whether it is refused.
    let script =
        format!("#!/bin/sh\nexec {} oci --ignore-labels \"$@\"\n", cargo::build_corral(false)?.display());
    fs::write(&own, script)?;
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755))?;
    let runtimes: Vec<PathBuf> = std::iter::once(own).chain(others).collect();
    let names: Vec<String> = runtimes.iter().map(|path| name(path)).collect();
    println!("{:36}{}", "passed/failed", names.iter().map(|name| format!("{name:>16}")).collect::<String>());
    let mut sums = vec![Count::default(); runtimes.len()];
    for program in &programs {
        let mut line = format!("{:36}", name(program));
        for (runtime, sum) in runtimes.iter().zip(&mut sums) {
            let count = Count::of(&said(&suite, program, runtime, &work)?);
            line.push_str(&format!("{:>16}", format!("{}/{}", count.passed, count.failed)));
            sum.add(count);
        }
        println!("{line}");
    }
    for (name, Count { passed, failed, skipped }) in names.iter().zip(&sums) {
        println!("{name}: {passed} passed, {skipped} of them not looked at by the suite; {failed} failed");
    }
    Ok(ExitCode::SUCCESS)
}

fn parse(words: &[String]) -> Result<(PathBuf, Vec<PathBuf>)> {
    let (mut suite, mut runtimes) = (None, Vec::new());
    let mut words = words.iter();
    while let Some(flag) = words.next() {
        let value = words.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--runtime-tools" => suite = Some(PathBuf::from(value)),
            "--runtime" => runtimes.push(PathBuf::from(value)),
            other => bail!("{other}: usage: cargo xtask conformance --runtime-tools DIR [--runtime PATH]…"),
        }
    }
    Ok((suite.context("--runtime-tools names a checkout of the OCI runtime-tools")?, runtimes))
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The suite's programs in order, built: `validation/NAME/NAME.t`, and the helper that they put into containers.
fn programs(suite: &Path) -> Result<Vec<PathBuf>> {
    let go = |output: &Path, source: &str| {
        let words = ["build", "-tags", "netgo osusergo", "-o"];
        let mut command = Command::new("go");
        command.args(words).arg(output).arg(source).current_dir(suite).env("CGO_ENABLED", "0");
        if output.exists() { Ok(()) } else { cargo::run(&mut command) }
    };
    go(&suite.join("runtimetest"), "./cmd/runtimetest")?;
    let home = suite.join("validation");
    let listed = fs::read_dir(&home).with_context(|| format!("{}: not a checkout", home.display()))?;
    let names: BTreeSet<String> =
        listed.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let mut built = Vec::new();
    for name in names {
        let (source, program) = (home.join(&name), home.join(&name).join(format!("{name}.t")));
        if name == "util" || !source.is_dir() {
            continue;
        }
        go(&program, &format!("./validation/{name}"))?;
        built.push(program);
    }
    Ok(built)
}

/// What a program prints about a runtime; its exit code says less than its lines.
fn said(suite: &Path, program: &Path, runtime: &Path, work: &Path) -> Result<String> {
    let bundles = work.join("bundles");
    fs::create_dir_all(&bundles)?;
    let mut command = Command::new("timeout");
    command.arg(PATIENCE).arg(program).current_dir(suite).env("RUNTIME", runtime).env("TMPDIR", &bundles);
    let output = command.stdin(Stdio::null()).output().context("timeout(1) of coreutils")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assertions_are_counted_by_their_lines() {
        let tap =
            "TAP version 13\nok 1 - a\n  ---\n  x: ok 9\n  ...\nnot ok 2 - b\nok 3 # SKIP c\nokay\n1..3\n";
        assert_eq!(Count::of(tap), Count { passed: 2, failed: 1, skipped: 1 });
        assert_eq!(Count::of(""), Count::default());
    }

    #[test]
    fn the_suite_is_named_and_flags_are_known() {
        let words = |text: &str| parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let (suite, runtimes) = words("--runtime-tools d --runtime /a --runtime /b").unwrap();
        assert_eq!((suite, runtimes.len()), (PathBuf::from("d"), 2));
        for bad in ["--runtime /a", "--runtime-tools", "--else x"] {
            assert!(words(bad).is_err(), "{bad}");
        }
    }
}
