//! process of config.json, and of a file that `exec --process` names.

use corral_policy::Capability;
use corral_runtime::bundle::{Capabilities, Process, Scheduler};
use corral_spec::Ulimit;

use crate::Error;
use crate::config::{self, IoPriority};
use crate::plan::path;

/// Checks a process.
pub(crate) fn of(process: &config::Process) -> Result<Process, Error> {
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
        capabilities: process.capabilities.as_ref().map_or(Ok(Capabilities::default()), capabilities)?,
        rlimits: rlimits(&process.rlimits)?,
        no_new_privileges: process.no_new_privileges,
        oom_score_adj: process.oom_score_adj.map(oom_score).transpose()?,
        io_priority: process.io_priority.as_ref().map(io_priority).transpose()?,
        scheduler: process.scheduler.as_ref().map(scheduler).transpose()?,
        preserve_fds: 0,
        no_new_keyring: false,
    })
}

fn refuse(process: &config::Process) -> Result<(), Error> {
    let profile = process.apparmor_profile.as_str();
    if !profile.is_empty() && profile != "unconfined" {
        return Err(Error::unsupported(
            format!("process.apparmorProfile {profile:?}"),
            "AppArmor profiles cannot be applied; leave it out",
        ));
    }
    if !process.selinux_label.is_empty() {
        return Err(Error::unsupported("process.selinuxLabel", "SELinux is not supported; leave it out"));
    }
    if process.exec_cpu_affinity.is_some() {
        return Err(Error::unsupported("process.execCPUAffinity", "use linux.resources.cpu.cpus"));
    }
    Ok(())
}

fn capabilities(asked: &config::Capabilities) -> Result<Capabilities, Error> {
    Ok(Capabilities {
        bounding: set(&asked.bounding)?,
        effective: set(&asked.effective)?,
        inheritable: set(&asked.inheritable)?,
        permitted: set(&asked.permitted)?,
        ambient: set(&asked.ambient)?,
    })
}

/// One bit a capability. One that this kernel does not have cannot be given: it is left out, as the specification
/// says.
pub(crate) fn set(names: &[String]) -> Result<u64, Error> {
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap");
    let last: u32 = last.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(40);
    let mut bits = 0;
    for name in names {
        let short = name.strip_prefix("CAP_").unwrap_or(name);
        let found: Capability =
            short.parse().map_err(|_| Error::Invalid(format!("unknown capability {name:?}")))?;
        if u32::from(found.number()) <= last {
            bits |= 1 << found.number();
        }
    }
    Ok(bits)
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
