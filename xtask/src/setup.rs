//! What a fresh machine lacks: installed when this runs as root on a Debian-like system, named otherwise.
//!
//! Only what is missing is touched, and each thing is found by trying it, never by a package's name.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::cargo;

/// Something that builds or tests need.
pub struct Need {
    /// Debian's package with it; of several, apart by a bar, the first that the release has.
    pub package: &'static str,
    /// What for.
    pub purpose: &'static str,
    /// How it is found.
    pub present: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need {
        package: "gcc",
        purpose: "links, and compiles SQLite and the decompressors",
        present: || runs("cc", "--version"),
    },
    Need {
        package: "musl-tools",
        purpose: "the C compiler's wrapper for static binaries",
        present: || runs("musl-gcc", "--version"),
    },
    Need {
        package: "debian-archive-keyring",
        purpose: "the keys against which `corral pack` checks Debian's signatures",
        present: || Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists(),
    },
    Need {
        package: "ca-certificates",
        purpose: "the certificates with which `corral pack` checks a mirror",
        present: || Path::new("/etc/ssl/certs/ca-certificates.crt").exists(),
    },
    Need {
        package: "busybox-static",
        purpose: "what the tests run in their containers",
        present: || Path::new("/bin/busybox").exists(),
    },
    Need {
        package: "python3-pip",
        purpose: "the client by which `corral pack` fetches wheels",
        present: || runs("uv", "--version") || runs("pip", "--version") || runs("pip3", "--version"),
    },
];

/// What the tests need beside that.
const TESTS_NEED: &[Need] = &[
    Need {
        package: "skopeo",
        purpose: "the client that reads and writes images in the tests",
        present: || runs("skopeo", "--version"),
    },
    Need {
        // Before Debian 13 the client comes with the engine, of which the tests use nothing.
        package: "docker-cli|docker.io",
        purpose: "Docker's client, whose help and formats the command line is held against",
        present: || runs("docker", "--version"),
    },
    Need {
        package: "npm",
        purpose: "the client by which `corral pack` fetches what a Node project needs",
        present: || runs("npm", "--version"),
    },
    Need {
        package: "gdb",
        purpose: "a debugger, which must work on its own child in a container",
        present: || runs("gdb", "--version"),
    },
    Need {
        package: "containerd",
        purpose: "a client of `corral oci`",
        present: || runs("containerd", "--version"),
    },
    Need { package: "podman", purpose: "as above", present: || runs("podman", "--version") },
    Need {
        package: "conmon",
        purpose: "what podman starts containers with",
        present: || runs("conmon", "--version"),
    },
    Need {
        package: "docker.io",
        purpose: "a client of `corral oci`",
        present: || runs("dockerd", "--version"),
    },
    Need {
        package: "uidmap",
        purpose: "the helpers that map the ids of ordinary users' containers",
        present: || Path::new("/usr/bin/newuidmap").exists(),
    },
    Need {
        package: "passwd",
        purpose: "the tests make users",
        present: || Path::new("/usr/sbin/useradd").exists(),
    },
    Need { package: "strace", purpose: "as above", present: || runs("strace", "--version") },
];

/// Makes the machine ready, or fails with the line to type.
pub fn run() -> Result<()> {
    rust_target()?;
    ensure(NEEDS)
}

/// As [`run`], for the tests too.
pub fn for_tests() -> Result<()> {
    run()?;
    ensure(TESTS_NEED)
}

/// Installs what is missing, or fails with the line to type.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        eprintln!("xtask: missing: {} ({})", need.package, need.purpose);
    }
    let packages = || missing.iter().map(|need| package(need.package)).collect::<Vec<&str>>();
    if !runs("apt-get", "--version") {
        bail!(
            "install what these packages of Debian hold, by your distribution's means: {}",
            packages().join(" ")
        );
    }
    if !is_root() {
        bail!(
            "type this, then try again: sudo apt-get install --no-install-recommends {}",
            packages().join(" ")
        );
    }
    // What apt-get says of each package is no news; what goes wrong it says on stderr.
    cargo::run(Command::new("apt-get").arg("update").stdout(Stdio::null()))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--no-install-recommends"]).args(packages()).stdout(Stdio::null());
    cargo::run(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
    match missing.iter().find(|need| !(need.present)()) {
        Some(need) => bail!("{} is installed and still does not work: {}", need.package, need.purpose),
        None => Ok(()),
    }
}

/// The package that this release has.
fn package(names: &'static str) -> &'static str {
    let known = |name: &&str| {
        let mut asked = Command::new("apt-cache");
        asked.args(["show", name]).stdout(Stdio::null()).stderr(Stdio::null());
        asked.status().is_ok_and(|status| status.success())
    };
    let names: Vec<&str> = names.split('|').collect();
    let last = names.last().copied().unwrap_or_default();
    if names.len() == 1 { last } else { names.into_iter().find(known).unwrap_or(last) }
}

/// The standard library for the static target.
fn rust_target() -> Result<()> {
    let target = cargo::target();
    let present = || {
        let asked = Command::new("rustc").args(["--print", "target-libdir", "--target", &target]).output();
        asked.is_ok_and(|found| Path::new(String::from_utf8_lossy(&found.stdout).trim()).is_dir())
    };
    if present() {
        return Ok(());
    }
    if !runs("rustup", "--version") {
        bail!("rustc lacks the target {target}, and there is no rustup to add it: see https://rustup.rs");
    }
    cargo::run(Command::new("rustup").args(["target", "add", &target]))?;
    if !present() {
        bail!(
            "rustup added {target} and rustc does not find it: rustup target remove {target}, then try again"
        );
    }
    Ok(())
}

/// True if this process may do everything that the machine's owner may.
pub fn is_root() -> bool {
    // The owner of /proc/self is this process's effective user.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|status| status.uid() == 0)
}

/// True if the program can be started and succeeds with this one argument.
pub fn runs(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
