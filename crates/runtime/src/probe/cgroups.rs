use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use corral_spec::record::Cgroup;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::Ground;
use super::failure::{Failure, at};
use crate::ControlGroup;
use crate::sys::{Forked, exit, fork};

/// A group with these limits for the length of `act`.
fn with_group(
    limits: &Cgroup,
    act: impl FnOnce(&ControlGroup) -> Result<String, Failure>,
) -> Result<String, Failure> {
    let group = ControlGroup::create(limits, &format!("corral-doctor-{}", std::process::id()))?;
    let result = act(&group);
    let left = group.remove();
    match left.into_iter().next() {
        Some(error) if result.is_ok() => Err(error.into()),
        _ => result,
    }
}

/// Where the groups are made.
pub(super) fn hierarchy(_: &Ground) -> Result<String, Failure> {
    with_group(&Cgroup::default(), |group| {
        let (version, dir) = match (group.v2(), group.v1().first()) {
            (Some(dir), _) => ("cgroup2", dir),
            (None, Some(dir)) => ("cgroup v1 freezer", dir.as_path()),
            (None, None) => return Err(Failure::no_effect("make a control group")),
        };
        Ok(format!("{version}, below {}", dir.parent().unwrap_or(dir).display()))
    })
}

/// Which hierarchy took the limit.
fn limited(limits: Cgroup) -> Result<String, Failure> {
    with_group(&limits, |group| {
        // With cgroup2 the limit is there unless a v1 group had to be made for it.
        let v1 = group.v1().iter().any(|dir| !dir.join("freezer.state").exists());
        Ok(if v1 { "enforced by cgroup v1" } else { "enforced by cgroup v2" }.to_owned())
    })
}

pub(super) fn memory(_: &Ground) -> Result<String, Failure> {
    limited(Cgroup { memory: Some(64 << 20), ..Cgroup::default() })
}

pub(super) fn cpu(_: &Ground) -> Result<String, Failure> {
    limited(Cgroup { cpu_millis: Some(500), ..Cgroup::default() })
}

pub(super) fn pids(_: &Ground) -> Result<String, Failure> {
    limited(Cgroup { pids: Some(16), ..Cgroup::default() })
}

/// A child born in a group, frozen, thawed, and killed by the group.
fn with_member(act: impl FnOnce(&ControlGroup) -> Result<String, Failure>) -> Result<String, Failure> {
    with_group(&Cgroup::default(), |group| {
        let entrance = group.entrance()?;
        let v2 = entrance.v2.as_ref().ok_or_else(|| {
            Failure::new("find a cgroup2 hierarchy", io::Error::from_raw_os_error(libc::EOPNOTSUPP))
        })?;
        match fork(0, Some(v2.as_fd()))
            .map_err(at("create a process in a control group (CLONE_INTO_CGROUP)"))?
        {
            Forked::Child => {
                // Ends with the group; by itself if nobody kills it.
                std::thread::sleep(Duration::from_secs(5));
                exit(0)
            }
            Forked::Parent { pidfd, .. } => {
                let result = act(group);
                let killed = group.kill();
                let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
                    .map_err(at("wait for the group's process"))?;
                let result = result?;
                killed?;
                match status.and_then(|status| status.terminating_signal()) {
                    Some(9) => Ok(result),
                    _ => Err(Failure::no_effect("kill a whole control group")),
                }
            }
        }
    })
}

/// Born in the group.
pub(super) fn placement(_: &Ground) -> Result<String, Failure> {
    with_member(|group| {
        let procs = group.v2().map(|dir| std::fs::read_to_string(dir.join("cgroup.procs")));
        match procs.transpose().map_err(at("read cgroup.procs"))? {
            Some(text) if !text.trim().is_empty() => Ok("born in its group, killed with it".to_owned()),
            _ => Err(Failure::no_effect("create a process in a control group")),
        }
    })
}

/// Frozen and thawed.
pub(super) fn freeze(_: &Ground) -> Result<String, Failure> {
    with_member(|group| {
        group.freeze()?;
        let frozen = group.frozen()?;
        group.thaw()?;
        match frozen && !group.frozen()? {
            true => Ok("frozen and thawed".to_owned()),
            false => Err(Failure::no_effect("freeze a control group")),
        }
    })
}
