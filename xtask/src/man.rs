//! `cargo xtask man`: the manual pages, as the binary itself describes its verbs.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// One page for each verb and each command of a group, and one that names them.
pub fn run() -> Result<()> {
    let corral = cargo::build_corral(false)?;
    let ask = |words: &[&str]| -> Result<String> {
        let output = Command::new(&corral).args(words).output().context("corral does not start")?;
        if !output.status.success() {
            bail!("corral {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    };
    let names = |words: &[&str]| -> Result<Vec<String>> {
        let listed = ask(words)?;
        Ok(listed.lines().filter_map(|line| Some(line.split_once('\t')?.0.to_owned())).collect())
    };
    let dir = cargo::target_dir().join("man");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let write = |name: &str, page: String| {
        let path = dir.join(format!("{name}.1"));
        std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
    };
    write("corral", ask(&["__man"])?)?;
    for verb in names(&["__complete", ""])? {
        // The command line of another program.
        if verb == "oci" {
            continue;
        }
        let commands = names(&["__complete", &verb, ""]).unwrap_or_default();
        if commands.is_empty() || ask(&[&verb, "__man"]).is_ok() {
            write(&format!("corral-{verb}"), ask(&[&verb, "__man"])?)?;
            continue;
        }
        for command in commands {
            write(&format!("corral-{verb}-{command}"), ask(&[&verb, &command, "__man"])?)?;
        }
    }
    eprintln!("xtask: manual pages are in {}", dir.display());
    Ok(())
}
