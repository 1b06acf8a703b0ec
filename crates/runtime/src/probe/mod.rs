//! What this host can do, found out by doing it.
//!
//! ```text
//! TRIALS ──▶ each one: a child in new namespaces, a detached mount, a control group, a filter …
//!        ◀── it worked, and what was seen        ──▶ Works { detail }
//!        ◀── the step that failed and its errno  ──▶ Missing { cause, cost, remedy }
//! scratch: STORE/doctor-PID/ on the store's own file system, gone at the end
//! groups:  OWN/corral-doctor-PID-*, likewise
//! ```
//!
//! A listed feature can be refused, a version number can lie (back-ports, an outer container's filter), so
//! no trial reads a feature list. A trial proves the effect (the owner that an id map shows, the write that
//! a read-only mount refuses), not that a call returned zero. Nothing is ever mounted in the host's mount
//! namespace, and nothing outlives the trial.

mod cgroups;
mod child;
mod confine;
mod disk;
mod failure;
mod mounts;
mod namespaces;
mod trials;
mod user;

use std::path::{Path, PathBuf};
use std::time::Instant;

use failure::Failure;
use trials::{TRIALS, Trial};

use crate::rootless::Shared;

/// The answer to one question about this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What was tried.
    pub name: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// Whether no container starts without it. What is not needed has a cost all the same.
    pub needed: bool,
    /// How long the trial took, in microseconds.
    pub micros: u64,
}

/// How a trial went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It had its effect.
    Works {
        /// What was seen.
        detail: String,
    },
    /// It had not.
    Missing {
        /// The step that failed and the kernel's answer.
        cause: String,
        /// What does not work without it.
        cost: String,
        /// How to get it.
        remedy: String,
    },
}

impl Probe {
    /// Whether containers can start as far as this trial goes.
    pub fn is_good_enough(&self) -> bool {
        !self.needed || matches!(self.outcome, Outcome::Works { .. })
    }
}

/// What the trials act on.
struct Ground {
    /// An empty directory on the store's file system.
    scratch: PathBuf,
    /// The ordinary user's namespace that the caller is in.
    shared: Option<Shared>,
}

/// Tries everything in turn. `store_dir` is where images are kept; if it does not exist yet, the nearest
/// directory above it stands in. The caller has one thread, as for [`create`](crate::create).
pub fn run(store_dir: &Path, shared: Option<Shared>) -> Vec<Probe> {
    let above = store_dir.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let scratch = above.join(format!("doctor-{}", std::process::id()));
    let ground = Ground { scratch, shared };
    let concerned = TRIALS.iter().filter(|trial| trial.concerns(shared.is_some()));
    concerned.map(|trial| attempt(trial, &ground)).collect()
}

fn attempt(trial: &Trial, ground: &Ground) -> Probe {
    let start = Instant::now();
    let result = ground.with_scratch(|| (trial.run)(ground));
    let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (needed, cost) = trial.weight(ground.shared.is_some());
    let outcome = match result {
        Ok(detail) => Outcome::Works { detail },
        Err(failure) => Outcome::Missing {
            remedy: trial.remedy(&failure, ground.shared.is_some()),
            cause: failure.to_string(),
            cost: cost.to_owned(),
        },
    };
    Probe { name: trial.name, outcome, needed, micros }
}

impl Ground {
    /// Makes the scratch directory, and removes it whatever happened.
    fn with_scratch(&self, act: impl FnOnce() -> Result<String, Failure>) -> Result<String, Failure> {
        std::fs::create_dir(&self.scratch).map_err(|error| self.scratch_failure("create", error))?;
        let result = act();
        let removed = std::fs::remove_dir_all(&self.scratch);
        let result = result?;
        removed.map_err(|error| self.scratch_failure("remove", error))?;
        Ok(result)
    }

    fn scratch_failure(&self, act: &str, source: std::io::Error) -> Failure {
        Failure::new(format!("{act} {}", self.scratch.display()), source)
    }
}

#[cfg(test)]
mod tests {
    use corral_policy::confinement;
    use corral_spec::ProfileName;

    use super::*;
    use crate::seccomp::{Arch, compile};
    use crate::sys::{filter, install_seccomp};

    /// A host that refuses namespaces and mounts: the filter that `standard` containers have, on a
    /// thread of its own. Every trial that needs a child ends at clone3, so none is forked here.
    #[test]
    fn inside_a_container_the_missing_is_named_with_its_remedy() {
        let base = std::env::temp_dir().join(format!("corral-probe-{}", std::process::id()));
        std::fs::create_dir(&base).expect("a store");
        let store = base.clone();
        let probes = std::thread::spawn(move || {
            let standard = confinement(ProfileName::Standard);
            let arch = Arch::NATIVE.expect("tests run where filters are supported");
            let program = compile(&standard.syscalls(standard.capabilities), arch).expect("compiles");
            rustix::thread::set_no_new_privs(true).expect("no_new_privs");
            install_seccomp(&filter(&program)).expect("load");
            run(&store.join("not/there/yet"), None)
        })
        .join()
        .expect("the confined thread");
        assert_eq!(probes.len(), TRIALS.iter().filter(|trial| trial.concerns(false)).count());
        let result = |name: &str| &probes.iter().find(|probe| probe.name == name).expect(name).outcome;
        for (name, step, way_out) in [
            ("user namespace", "clone3", "outer container's seccomp profile"),
            ("detached mounts", "open_tree", "outer container's seccomp profile"),
            ("overlay of layers", "clone a mount", "run corral as root"),
        ] {
            let Outcome::Missing { cause, cost, remedy } = result(name) else { panic!("{name} works") };
            assert!(cause.contains(step), "{name}: {cause}");
            assert!(remedy.contains(way_out), "{name}: {remedy}");
            assert!(!cost.is_empty());
        }
        for name in ["confined look-up (openat2)", "sealed memory files"] {
            assert!(matches!(result(name), Outcome::Works { .. }), "{name}: {:?}", result(name));
        }
        assert!(!probes[0].is_good_enough());
        assert_eq!(std::fs::read_dir(&base).expect("the store").count(), 0, "the scratch directory is gone");
        std::fs::remove_dir(&base).expect("remove");
    }
}
