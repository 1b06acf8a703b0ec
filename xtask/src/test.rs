//! `cargo xtask test`: every test there is, and one line that says how many held.
//!
//! The workspace's tests run for the static target; the black-box tests find the binary under test in
//! CORRAL_BIN. Then come the example's own tests. The last line stands alone for whoever counts.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::tally::Tally;
use crate::{cargo, librarian, setup};

/// Runs all tests; the exit code says whether all held, and nothing is said after the count.
pub fn run() -> Result<ExitCode> {
    setup::for_tests()?;
    let corral = cargo::build_corral(false)?;
    let mut tally = Tally::default();
    let target = cargo::target();
    let words = ["test", "--workspace", "--target", &target, "--no-fail-fast", "--", "--show-output"];
    collect(cargo::cargo(&words).env("CORRAL_BIN", &corral), &mut tally)?;
    librarian::test(&mut tally)?;

    for (name, reason) in tally.skips() {
        println!("skipped: {name}: {reason}");
    }
    println!("{tally}");
    Ok(if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a test command, shows its output as it comes, and counts.
pub fn collect(command: &mut Command, tally: &mut Tally) -> Result<()> {
    let typed = cargo::typed(command);
    eprintln!("xtask: {typed}");
    let failed_before = tally.failed();
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start: {typed}"))?;
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output);
        let mut line = Vec::new();
        // Tests print what they like, also bytes that are no UTF-8.
        while lines.read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line);
            print!("{text}");
            tally.read(&text);
            line.clear();
        }
    }
    let status = child.wait()?;
    if !status.success() && tally.failed() == failed_before {
        eprintln!("xtask: {status} without a failed test: {typed}");
        tally.broken();
    }
    Ok(())
}
