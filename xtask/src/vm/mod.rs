//! `cargo xtask vm [MACHINE…]`: the tests that need a kernel, on another kernel than this machine's.
//!
//! ```text
//! kernel.rs   Debian's linux-image package ──▶ vmlinuz, and the modules in the order in which they load
//! disk.rs     corral, test programs, busybox ─▶ disk.img (ext4); modules and first.sh ─▶ first.cpio
//! boot.rs     QEMU, emulating the processor: first.sh ─▶ init.sh ─▶ every test ─▶ power off
//!             second serial port ─▶ here, counted; the kernel's own words ─▶ MACHINE.console
//! ```
//!
//! All of it lies in target/vm. It is no part of `cargo xtask test`: an emulated processor needs minutes for
//! each machine, and the kernel is a download of 70 MB.

mod boot;
mod disk;
mod kernel;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::setup::{self, Need, runs};
use crate::{cargo, tally::Tally};

/// How init.sh mounts the control groups, and what that stands for.
const MACHINES: &[(&str, &str)] = &[
    ("v2", "cgroup2 alone, and a session below a slice, as systemd arranges it"),
    ("v1", "cgroup v1 controllers alone"),
    ("hybrid", "cgroup v1 controllers, and a cgroup2 without any"),
];

const NEEDS: &[Need] = &[
    Need {
        package: "qemu-system-x86",
        purpose: "emulates the machine",
        present: || runs("qemu-system-x86_64", "--version"),
    },
    Need { package: "e2fsprogs", purpose: "makes its disk", present: || runs(disk::MKE2FS, "-V") },
    Need {
        package: "bsdutils",
        purpose: "script, which gives tests a terminal",
        present: || runs("script", "--version"),
    },
    Need {
        package: "util-linux",
        purpose: "flock, by which tests hold a lock",
        present: || runs("flock", "--version"),
    },
];

/// Boots the machines that are named, or all, and says how many tests held on each.
pub fn run(words: &[String]) -> Result<ExitCode> {
    if let Some(unknown) = words.iter().find(|word| !MACHINES.iter().any(|machine| machine.0 == *word)) {
        let known: Vec<_> = MACHINES.iter().map(|(name, what)| format!("  {name:8}{what}")).collect();
        bail!("no machine is called {unknown}; there are:\n{}", known.join("\n"));
    }
    if std::env::consts::ARCH != "x86_64" {
        bail!("there is no machine for {} yet", std::env::consts::ARCH);
    }
    setup::run()?;
    setup::ensure(NEEDS)?;
    let dir = cargo::target_dir().join("vm");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let kernel = kernel::fetch(&dir)?;
    let media = disk::make(&dir, &kernel)?;

    let mut counts = Vec::new();
    for (name, _) in
        MACHINES.iter().filter(|machine| words.is_empty() || words.iter().any(|w| w == machine.0))
    {
        let begun = Instant::now();
        let mut tally = Tally::default();
        boot::run(name, &kernel, &media, &mut tally)?;
        counts.push((name, tally, begun.elapsed().as_secs()));
    }
    for (name, tally, seconds) in &counts {
        for (test, reason) in tally.skips() {
            println!("skipped: {name}: {test}: {reason}");
        }
        println!("{} {name}: {tally} ({seconds} s)", kernel.name);
    }
    let held = counts.iter().all(|(_, tally, _)| tally.failed() == 0);
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
