//! `cargo xtask demo`: from a fresh checkout to an answer out of a confined agent.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{cargo, setup};

const QUESTION: &str = "How is the store laid out on disk?";

/// The document of this repository that answers it.
const ANSWER: &str = "store.md";

/// Builds, packs, runs, and checks that the answer is the right one.
pub fn run() -> Result<()> {
    setup::run()?;
    let corral = cargo::build_corral(true)?;
    let begun = Instant::now();
    cargo::run(as_root(&corral)?.args(["pack", "examples/librarian", "--tag", "librarian"]))?;
    eprintln!("xtask: packed in {:.1} s", begun.elapsed().as_secs_f64());

    let begun = Instant::now();
    let mut ask = as_root(&corral)?;
    ask.args(["run", "--rm", "--workspace", "./docs", "librarian", "ask", QUESTION]);
    let typed = cargo::typed(&ask);
    eprintln!("xtask: {typed}");
    let output = ask.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start: {typed}"))?;
    let answer = String::from_utf8_lossy(&output.stdout);
    print!("{answer}");
    if !output.status.success() {
        bail!("{}: {typed}", output.status);
    }
    eprintln!("xtask: answered in {:.1} s", begun.elapsed().as_secs_f64());
    match answer.lines().next() {
        Some(first) if first.starts_with(ANSWER) => Ok(()),
        _ => bail!("the answer should have come from docs/{ANSWER}"),
    }
}

/// The binary, through sudo where this user is not root.
fn as_root(corral: &Path) -> Result<Command> {
    let mut command = if setup::is_root() {
        Command::new(corral)
    } else if setup::runs("sudo", "--version") {
        let mut command = Command::new("sudo");
        command.arg(corral);
        command
    } else {
        bail!("containers need root for now, and there is no sudo: run `cargo xtask demo` as root");
    };
    command.current_dir(cargo::root());
    Ok(command)
}
