//! Who else runs containers here, and how each is asked to run /true without a network.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::fixture::{self, Fixture, IMAGE};

/// What the confined floor is called.
pub const CONFINED: &str = "confined floor";

/// A program that is measured.
pub struct Contestant {
    /// Its name in the table.
    pub name: &'static str,
    /// What it is started through, outside of the measurement.
    pub wrapper: Vec<String>,
    /// What it is asked to do.
    pub words: Vec<String>,
    /// What the figure does not hold.
    pub note: &'static str,
}

/// The floor on disk and on tmpfs, corral, and the peers that are installed.
pub fn contestants(fixture: &Fixture) -> Result<Vec<Contestant>> {
    let memory = "/dev/shm/corral-bench";
    fs::create_dir_all(memory)?;
    let mut all = vec![
        floor_on_disk(fixture),
        contestant("floor (tmpfs)", floor(fixture, "floor", memory), "upper directory in memory"),
        confined_on_disk(fixture),
        corral(fixture),
    ];
    let bundle = bundle(fixture)?;
    for (name, words, note) in peers(fixture, &bundle) {
        if installed(&words[0]) {
            let wrapper = if name == "crun" { without_cgroup2() } else { Vec::new() };
            all.push(Contestant { wrapper, ..contestant(name, words, note) });
        } else {
            eprintln!("  {name}: not installed");
        }
    }
    Ok(all)
}

/// Corral with all its defaults.
pub fn corral(fixture: &Fixture) -> Contestant {
    let words = fixture.words(&["run", "--rm", "--network", "none", IMAGE, "/true"]);
    contestant("corral", words, "user namespace, limits, seccomp, monitor")
}

fn contestant(name: &'static str, words: Vec<String>, note: &'static str) -> Contestant {
    Contestant { name, wrapper: Vec::new(), words, note }
}

/// crun refuses a cgroup2 mount beside v1 controllers, so it gets a mount namespace that lacks it.
fn without_cgroup2() -> Vec<String> {
    let hybrid = "/sys/fs/cgroup/unified";
    if !fs::exists(hybrid).unwrap_or(false) {
        return Vec::new();
    }
    let script = format!("umount {hybrid} && exec \"$@\"");
    ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

/// The floor with its upper directory on disk.
pub fn floor_on_disk(fixture: &Fixture) -> Contestant {
    let disk = fixture.scratch.join("scratch").display().to_string();
    contestant("floor", floor(fixture, "floor", &disk), "upper directory on disk")
}

/// The kernel's part of a container that is confined as Corral's are.
fn confined_on_disk(fixture: &Fixture) -> Contestant {
    let disk = fixture.scratch.join("scratch").display().to_string();
    contestant(CONFINED, floor(fixture, "confined", &disk), "and user namespace, masks, limits, filter")
}

fn floor(fixture: &Fixture, program: &str, scratch: &str) -> Vec<String> {
    let path = |path: &std::path::Path| path.display().to_string();
    vec![
        path(&fixture.scratch.join(program)),
        path(&fixture.root),
        scratch.into(),
        path(&fixture.cgroup),
        "/true".into(),
    ]
}

fn peers(fixture: &Fixture, bundle: &str) -> Vec<(&'static str, Vec<String>, &'static str)> {
    let root = fixture.root.display().to_string();
    let split = |line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    vec![
        (
            "bwrap",
            split(format!("bwrap --unshare-all --ro-bind {root} / --proc /proc --dev /dev /true")),
            "no cgroup, no limits",
        ),
        (
            "crun",
            split(format!("crun run --bundle {bundle} corral-bench-crun")),
            "bundle: no image, no store",
        ),
        (
            "runc",
            split(format!("runc run --bundle {bundle} corral-bench-runc")),
            "bundle: no image, no store",
        ),
        (
            "podman",
            split(format!("podman run --rm --network none --rootfs {root}:O /true")),
            "directory: no image",
        ),
        ("docker", split(format!("docker run --rm --network none {IMAGE} /true")), "CPU of the client only"),
    ]
}

fn installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if !command.status().is_ok_and(|status| status.success()) {
        return false;
    }
    // A client without its daemon runs nothing.
    program != "docker" || fixture::run(Command::new("docker").arg("info")).is_ok()
}

/// A bundle of the same root for runc and crun, from runc's own template where it is there.
fn bundle(fixture: &Fixture) -> Result<String> {
    let directory = fixture.scratch.join("bundle");
    fs::create_dir_all(&directory)?;
    let path = directory.join("config.json");
    let namespaces = ["pid", "mount", "ipc", "uts", "network", "cgroup"].map(|kind| json!({ "type": kind }));
    let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let config: Value = json!({
        "ociVersion": "1.0.2",
        "root": { "path": fixture.root, "readonly": true },
        "process": { "args": ["/true"], "cwd": "/", "user": { "uid": 0, "gid": 0 }, "noNewPrivileges": true },
        "mounts": [
            mount("/proc", "proc", &[]),
            mount("/dev", "tmpfs", &["nosuid", "mode=755", "size=64k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        "linux": { "namespaces": namespaces },
    });
    fs::write(&path, config.to_string()).with_context(|| path.display().to_string())?;
    Ok(directory.display().to_string())
}
