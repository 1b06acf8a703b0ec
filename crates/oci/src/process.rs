//! process of config.json, and of a file that `exec --process` names.

use std::collections::BTreeSet;

use corral_policy::Capability;
use corral_runtime::bundle::{Capabilities, Process, Scheduler};
use corral_spec::Ulimit;

use crate::Error;
use crate::config::{self, IoPriority};
use crate::labels;
use crate::plan::path;

/// Checks a process of a container, which has a user namespace or not.
pub(crate) fn of(process: &config::Process, userns: bool) -> Result<Process, Error> {
    refuse(process)?;
    if process.args.is_empty() {
        return Err(Error::Invalid("process.args must not be empty".to_owned()));
    }
    if !process.cwd.starts_with('/') {
        return Err(Error::Invalid(format!("process.cwd {:?} must be absolute", process.cwd)));
    }
    let size = process.console_size.map(|size| (size.width, size.height));
    Ok(Process {
        argv: process.args.clone(),
        env: process.env.clone(),
        cwd: path(&process.cwd)?,
        uid: process.user.uid,
        gid: process.user.gid,
        groups: process.user.additional_gids.clone(),
        umask: process.user.umask.map(|mask| mask & 0o777),
        terminal: process.terminal.then_some(size),
        capabilities: process
            .capabilities
            .as_ref()
            .map_or(Capabilities::default(), |asked| capabilities(asked, userns)),
        rlimits: rlimits(&process.rlimits)?,
        no_new_privileges: process.no_new_privileges,
        oom_score_adj: process.oom_score_adj.map(oom_score).transpose()?,
        io_priority: process.io_priority.as_ref().map(io_priority).transpose()?,
        scheduler: process.scheduler.as_ref().map(scheduler).transpose()?,
        memory_policy: None,
        labels: labels::of(process)?,
        preserve_fds: 0,
        no_new_keyring: false,
    })
}

/// Of a container that can be created, and not started.
pub(crate) fn none() -> Result<Process, Error> {
    let nothing = config::Process { args: vec![String::new()], cwd: "/".to_owned(), ..Default::default() };
    Ok(Process { argv: Vec::new(), ..of(&nothing, false)? })
}

fn refuse(process: &config::Process) -> Result<(), Error> {
    if process.exec_cpu_affinity.is_some() {
        return Err(Error::unsupported("process.execCPUAffinity", "use linux.resources.cpu.cpus"));
    }
    Ok(())
}

/// One bit a capability. What the kernel does not have or this process cannot give is left out with a warning, and no
/// error (config.md, "Linux Process", `capabilities`).
fn capabilities(asked: &config::Capabilities, userns: bool) -> Capabilities {
    let grantable = grantable(userns);
    let mut left_out = BTreeSet::new();
    let mut set = |names: &[String]| {
        names.iter().fold(0, |bits, name| {
            let found: Option<Capability> = name.strip_prefix("CAP_").unwrap_or(name).parse().ok();
            let bit = found.map_or(0, |found| 1 << found.number()) & grantable;
            if bit == 0 {
                left_out.insert(name.clone());
            }
            bits | bit
        })
    };
    let capabilities = Capabilities {
        bounding: set(&asked.bounding),
        effective: set(&asked.effective),
        inheritable: set(&asked.inheritable),
        permitted: set(&asked.permitted),
        ambient: set(&asked.ambient),
    };
    if !left_out.is_empty() {
        let names: Vec<String> = left_out.into_iter().collect();
        eprintln!("corral oci: warning: process.capabilities: {} cannot be granted", names.join(", "));
    }
    capabilities
}

/// Whoever enters a user namespace has every capability in it; elsewhere nobody gives what they do not have.
fn grantable(userns: bool) -> u64 {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let last: u32 = read("/proc/sys/kernel/cap_last_cap").trim().parse().unwrap_or(40);
    let known = u64::MAX >> (63 - last.min(63));
    if userns {
        return known;
    }
    let status = read("/proc/self/status");
    let own = |field: &str| {
        let hex = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        u64::from_str_radix(hex.trim(), 16).unwrap_or(0)
    };
    known & own("CapPrm:") & own("CapBnd:")
}

fn rlimits(limits: &[config::Rlimit]) -> Result<Vec<Ulimit>, Error> {
    let mut found: Vec<Ulimit> = Vec::new();
    for limit in limits {
        let fail = |reason: &str| Error::Invalid(format!("rlimit {}: {reason}", limit.kind));
        let name = limit.kind.strip_prefix("RLIMIT_").ok_or_else(|| fail("there is no such limit"))?;
        let name = name.to_ascii_lowercase();
        if found.iter().any(|known| known.name == name) {
            return Err(fail("it is given twice"));
        }
        if limit.soft > limit.hard {
            return Err(fail("soft is above hard"));
        }
        found.push(Ulimit { name, soft: limit.soft, hard: limit.hard });
    }
    Ok(found)
}

fn oom_score(score: i32) -> Result<i32, Error> {
    match score {
        -1000..=1000 => Ok(score),
        _ => Err(Error::Invalid(format!("process.oomScoreAdj {score} is outside -1000..=1000"))),
    }
}

fn io_priority(asked: &IoPriority) -> Result<(u32, u32), Error> {
    let class = match asked.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => return Err(Error::Invalid(format!("process.ioPriority.class {other:?} does not exist"))),
    };
    match asked.priority {
        0..=7 => Ok((class, asked.priority)),
        other => Err(Error::Invalid(format!("process.ioPriority.priority {other} is outside 0..=7"))),
    }
}

fn scheduler(asked: &config::Scheduler) -> Result<Scheduler, Error> {
    let policies =
        ["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"];
    let policy = policies.iter().position(|name| *name == asked.policy);
    let policy = policy.ok_or_else(|| {
        Error::Invalid(format!("process.scheduler.policy {:?} does not exist", asked.policy))
    })?;
    let mut flags = 0;
    for flag in &asked.flags {
        flags |= match flag.as_str() {
            "SCHED_FLAG_RESET_ON_FORK" => 1,
            "SCHED_FLAG_RECLAIM" => 2,
            "SCHED_FLAG_DL_OVERRUN" => 4,
            "SCHED_FLAG_KEEP_POLICY" => 8,
            "SCHED_FLAG_KEEP_PARAMS" => 0x10,
            "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
            "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
            other => {
                return Err(Error::Invalid(format!("process.scheduler.flags: {other:?} does not exist")));
            }
        };
    }
    Ok(Scheduler {
        policy: policy as u32,
        flags,
        nice: asked.nice,
        priority: asked.priority,
        runtime: asked.runtime,
        deadline: asked.deadline,
        period: asked.period,
    })
}
