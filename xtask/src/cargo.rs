//! Runs cargo for the one target that Corral is built for, and knows where things are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The target of every build: static, so that one file runs on any Linux of this architecture.
pub fn target() -> String {
    format!("{}-unknown-linux-musl", env::consts::ARCH)
}

/// The root of the checkout.
pub fn root() -> PathBuf {
    // This crate stands one level below the root; it is never installed.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// `cargo WORDS…` in the root of the checkout, by the cargo that runs this program.
pub fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root());
    command
}

/// Runs a command to its end; an error names what was typed.
pub fn run(command: &mut Command) -> Result<()> {
    let typed = typed(command);
    eprintln!("xtask: {typed}");
    let status = command.status().with_context(|| format!("cannot start: {typed}"))?;
    if !status.success() {
        bail!("{status}: {typed}");
    }
    Ok(())
}

/// A command as a person would type it, without its environment.
pub fn typed(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = command.get_args().map(|word| match word.to_string_lossy() {
        word if word.contains(' ') => format!("'{word}'"),
        word => word.into_owned(),
    });
    std::iter::once(program.to_string_lossy().into_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// Builds the binary and returns its path. A release build takes minutes the first time.
pub fn build_corral(release: bool) -> Result<PathBuf> {
    let target = target();
    let mut command = cargo(&["build", "--package", "corral-cli", "--target", &target]);
    if release {
        command.arg("--release");
    }
    run(&mut command)?;
    let directory = if release { "release" } else { "debug" };
    Ok(target_dir().join(target).join(directory).join("corral"))
}
