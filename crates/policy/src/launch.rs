use std::path::Path;

use corral_spec::record::{BindIds, DiskKeeper, IdMap, Launch, Mount, MountKind};
use corral_spec::{AbsPath, NetworkMode, ProfileName, Swap, UserNamespace, Weaker};

use crate::{CapabilitySet, Denial, Profile, confinement};

/// Judges the finished launch, whoever filled it: last gate before a monitor is started. Flags, labels and
/// plan are not looked at, only what would really be run.
///
/// # Errors
/// The first rule that is broken. `agent.*` rules name the flag that would allow it; `launch.*` rules hold
/// in every profile.
pub fn judge_launch(profile: ProfileName, launch: &Launch) -> Result<(), Denial> {
    let profile = confinement(profile);
    judge_ids(launch)?;
    judge_shared_user(launch)?;
    judge_privilege(&profile, launch)?;
    judge_paths(&profile, launch)?;
    let unmapped =
        |mount: &Mount| launch.ids.is_none() || launch.shared.is_some() || is_host_shm(mount, launch);
    launch.mounts.iter().try_for_each(|mount| judge_mount(mount, unmapped(mount)))?;
    judge_dev(launch)?;
    judge_host_devices(launch)?;
    judge_sysctls(launch)?;
    if launch.cgroup.pids.is_none() && !launch.cgroup.more.pids_unlimited {
        return Err(Denial::new("launch.pids", "the number of tasks is unbounded", "--pids-limit N"));
    }
    judge_disk(launch)?;
    if launch.warm.is_some() && profile.name != ProfileName::Agent {
        return Err(Denial::never("launch.warm", "only what runs as an agent is forked from a template"));
    }
    match profile.name {
        ProfileName::Agent => judge_agent(&profile, launch),
        ProfileName::Standard | ProfileName::Build => Ok(()),
    }
}

/// Root of an ordinary user's container is that user outside: what it shares with the host there would obey it.
fn judge_shared_user(launch: &Launch) -> Result<(), Denial> {
    const OPEN: [Weaker; 4] = [Weaker::PidHost, Weaker::IpcHost, Weaker::Privileged, Weaker::HostRoot];
    let named = |mode: &Weaker| mode.is_in(&launch.confinement.weaker);
    match OPEN.into_iter().find(named).filter(|_| launch.shared.is_some()) {
        Some(mode) => Err(Denial::never(
            "launch.user",
            format!(
                "{}: an ordinary user's container has that user's power over what it shares with the host, your own \
                 processes among it; leave it out, or run corral as root",
                mode.as_str()
            ),
        )),
        None => Ok(()),
    }
}

/// A switch belongs to a namespace of the container's own.
fn judge_sysctls(launch: &Launch) -> Result<(), Denial> {
    let ipc = launch.confinement.is_without(Weaker::IpcHost);
    for sysctl in &launch.kernel.sysctls {
        let (shared, what, way) = match sysctl.is_network() {
            true => (launch.network == NetworkMode::Host, "network", "--network none"),
            false => (ipc, "IPC", "--ipc private"),
        };
        if shared {
            return Err(Denial::new(
                "launch.sysctl",
                format!("{} would change the host's {what}, which the container shares", sysctl.name()),
                way,
            ));
        }
    }
    Ok(())
}

fn judge_ids(launch: &Launch) -> Result<(), Denial> {
    let marked = launch.confinement.userns == UserNamespace::Host;
    match launch.ids {
        None if !marked => Err(Denial::new(
            "launch.userns",
            "the container would share the host's user ids without being marked so",
            "--userns host",
        )),
        Some(_) if marked => Err(Denial::never(
            "launch.userns",
            "the launch is marked as sharing the host's user ids, and has a map of its own",
        )),
        // The runtime maps id 0 only where it is an ordinary user.
        Some(IdMap { host: 0, count: 1.. }) if launch.shared.is_some() => Ok(()),
        _ if launch.shared.is_some() => Err(Denial::never(
            "launch.userns",
            "a container of an ordinary user has the ids of the user's namespace, and this launch has others",
        )),
        Some(map) if map.host == 0 || map.count == 0 || map.host.checked_add(map.count).is_none() => {
            Err(Denial::never(
                "launch.host-root",
                format!("the id map {}+{} is empty, overflows or holds the host's root", map.host, map.count),
            ))
        }
        _ => judge_process_ids(launch),
    }
}

/// Every id of the first process is one that its user namespace has. The highest number is none at all: setresuid(2)
/// takes it for "as it is", and that is root.
fn judge_process_ids(launch: &Launch) -> Result<(), Denial> {
    let end = launch.ids.map_or(u32::MAX, |map| map.count);
    let process = &launch.process;
    let ids = [("user", process.uid), ("group", process.gid)];
    let groups = process.groups.iter().map(|gid| ("group", *gid));
    match ids.into_iter().chain(groups).find(|(_, id)| *id >= end) {
        Some((what, id)) => Err(Denial::new(
            "launch.ids",
            format!("the {what} {id} is not one of the container's ids, which end before {end}"),
            "-u with a smaller number",
        )),
        None => Ok(()),
    }
}

/// A process with the host's user ids may take its files out of a project.
fn judge_disk(launch: &Launch) -> Result<(), Denial> {
    let escapes = |keeper| launch.ids.is_none() && matches!(keeper, DiskKeeper::Project(_));
    match launch.disk.iter().find(|bound| escapes(bound.keeper)) {
        Some(bound) => Err(Denial::never(
            "launch.disk",
            format!("the {} would be bound by a quota that the container can leave", bound.what),
        )),
        None => Ok(()),
    }
}

fn judge_privilege(profile: &Profile, launch: &Launch) -> Result<(), Denial> {
    if profile.no_new_privileges
        && !launch.confinement.no_new_privileges
        && !launch.confinement.is_without(Weaker::NewPrivileges)
    {
        return Err(Denial::new(
            "launch.no-new-privileges",
            "setuid programs could gain privilege",
            "--security-opt no-new-privileges=false",
        ));
    }
    let without = |wall| launch.confinement.is_without(wall);
    let unfiltered = launch.confinement.seccomp.as_ref().is_none_or(Vec::is_empty);
    if unfiltered && !without(Weaker::Unfiltered) {
        return Err(Denial::new(
            "launch.seccomp",
            "the container would run without a system call filter",
            "--security-opt seccomp=unconfined",
        ));
    }
    let all = unfiltered || without(Weaker::Privileged);
    if launch.ids.is_none() && all && !launch.confinement.weaker.contains(&Weaker::HostRoot) {
        return Err(Denial::new(
            "launch.host-root",
            "without a user namespace and without a filter, the container's root is the host's, and nothing holds it",
            "--confirm-privileged=host-root",
        ));
    }
    CapabilitySet::from_numbers(&launch.confinement.capabilities)
        .map(drop)
        .map_err(|error| Denial::never("launch.capabilities", error.to_string()))
}

fn judge_paths(profile: &Profile, launch: &Launch) -> Result<(), Denial> {
    let has = |list: &[AbsPath], path: &str| list.iter().any(|known| known.as_path() == Path::new(path));
    let masks = !launch.confinement.is_without(Weaker::SystemPaths);
    for path in profile.masked_paths.iter().filter(|_| masks) {
        if !has(&launch.masked_paths, path) {
            return Err(Denial::never("launch.masked-paths", format!("{path} would not be masked")));
        }
    }
    for path in profile.readonly_paths.iter().filter(|_| masks) {
        if !has(&launch.readonly_paths, path) {
            return Err(Denial::never("launch.readonly-paths", format!("{path} would be writable")));
        }
    }
    match launch
        .devices
        .iter()
        .find(|device| !profile.devices.iter().any(|known| device.as_path() == Path::new(known)))
    {
        Some(device) => {
            Err(Denial::never("launch.devices", format!("the device {device} is not in the profile")))
        }
        None => Ok(()),
    }
}

/// A granted device has a node of its own below /dev, in nobody else's place, and the kernel refuses all other use.
fn judge_host_devices(launch: &Launch) -> Result<(), Denial> {
    const TAKEN: [&str; 5] = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/console"];
    for device in &launch.host_devices {
        let target = device.target.as_path();
        let is_own = launch.devices.contains(&device.target)
            || launch.links.iter().any(|(link, _)| *link == device.target)
            || TAKEN.iter().any(|taken| target.starts_with(taken));
        if is_own || !target.starts_with("/dev") || target == Path::new("/dev") {
            return Err(Denial::new(
                "launch.devices",
                format!(
                    "the device {target:?} would not lie below /dev, or in the place of one that every container has"
                ),
                format!("--device {}:/dev/NAME with a free name", device.source.display()),
            ));
        }
    }
    if !launch.host_devices.is_empty() && !launch.cgroup.more.devices_enforced {
        return Err(Denial::never(
            "launch.devices",
            "devices were granted, and nothing would hold to what is granted",
        ));
    }
    Ok(())
}

/// What the container's devices lie in, and they themselves, are not hidden by a mount of the user's.
fn judge_dev(launch: &Launch) -> Result<(), Denial> {
    let at_dev = |mount: &&Mount| mount.target.as_path() == Path::new("/dev");
    let second = launch.mounts.iter().filter(at_dev).nth(1);
    let granted = |mount: &&Mount| launch.host_devices.iter().any(|device| device.target == mount.target);
    let over = || launch.mounts.iter().find(|mount| launch.devices.contains(&mount.target) || granted(mount));
    match second.or_else(over) {
        Some(mount) => Err(Denial::never(
            "launch.mount-target",
            format!("mounting at {} would hide the container's devices", mount.target),
        )),
        None => Ok(()),
    }
}

/// With the host's IPC goes its shared memory, as what everybody may write to.
fn is_host_shm(mount: &Mount, launch: &Launch) -> bool {
    let shm = Path::new("/dev/shm");
    let bound = matches!(&mount.kind, MountKind::Bind { source, .. } if source == shm);
    bound && mount.target.as_path() == shm && launch.confinement.is_without(Weaker::IpcHost)
}

fn judge_mount(mount: &Mount, host_ids: bool) -> Result<(), Denial> {
    let target = mount.target.as_path();
    let own = matches!(mount.kind, MountKind::Proc | MountKind::Sysfs | MountKind::Cgroup2);
    if target == Path::new("/") || (!own && ["/proc", "/sys"].iter().any(|top| target.starts_with(top))) {
        // A mount there would lie over, or beside, what the masks protect.
        return Err(Denial::never(
            "launch.mount-target",
            format!("mounting at {} would undo the protection of the root, /proc or /sys", mount.target),
        ));
    }
    match &mount.kind {
        MountKind::Sysfs | MountKind::Cgroup2 if !mount.read_only => {
            Err(Denial::never("launch.kernel-fs", format!("{} would be writable", mount.target)))
        }
        MountKind::Bind { source, ids: BindIds::Owner { uid: 0, .. }, .. } => Err(Denial::new(
            "launch.host-root",
            format!("{} belongs to the host's root, which is never mapped", source.display()),
            "mount it read-only, or give it to a user other than root",
        )),
        MountKind::Bind { source, ids: BindIds::Unmapped, .. } if !host_ids && !mount.read_only => {
            Err(Denial::new(
                "launch.unmapped-bind",
                format!("{} would be writable without an id map", source.display()),
                "mount it read-only (:ro)",
            ))
        }
        _ => Ok(()),
    }
}

/// Host directories that hold control over the host: kernel interfaces, and the sockets of its daemons.
const CONTROL: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/var/run"];

fn judge_agent(profile: &Profile, launch: &Launch) -> Result<(), Denial> {
    let standard = "corral run --profile standard";
    if launch.ids.is_none() {
        return Err(Denial::new(
            "agent.userns",
            "an agent has user ids of its own, never the host's",
            format!("{standard} --userns host"),
        ));
    }
    if launch.process.uid == 0 {
        return Err(Denial::new(
            "agent.user",
            "an agent does not run as root, and the image names no other user",
            "-u 65532:65532 (any user but 0), or --profile standard",
        ));
    }
    let granted = CapabilitySet::from_numbers(&launch.confinement.capabilities)
        .unwrap_or(CapabilitySet::ALL)
        .without(profile.capabilities);
    if !granted.is_empty() {
        return Err(Denial::new(
            "agent.capabilities",
            format!("an agent has no capability, and would get {granted}"),
            format!("{standard} --cap-add {granted}"),
        ));
    }
    if launch.confinement.own_seccomp {
        return Err(Denial::new(
            "agent.seccomp",
            "an agent has the system call filter of its profile, and this launch brings another",
            format!("{standard} --security-opt seccomp=FILE"),
        ));
    }
    if let Some(wall) = launch.confinement.weaker.first() {
        return Err(Denial::new(
            "agent.weaker",
            format!("an agent keeps all its walls, and this launch takes one down: {}", wall.as_str()),
            format!("{standard} with the same flag"),
        ));
    }
    if launch.network == NetworkMode::Host {
        return Err(Denial::new(
            "agent.network",
            "an agent has a network of its own, never the host's",
            format!("{standard} --network host"),
        ));
    }
    if !launch.root.read_only {
        return Err(Denial::new("agent.root", "an agent's root file system is read-only", standard));
    }
    judge_agent_bounds(launch)?;
    launch.mounts.iter().try_for_each(judge_agent_mount)
}

fn judge_agent_bounds(launch: &Launch) -> Result<(), Denial> {
    let cgroup = &launch.cgroup;
    let more = &cgroup.more;
    if let Some(device) = launch.host_devices.first() {
        return Err(Denial::new(
            "agent.devices",
            format!("an agent has no device of the host, and would get {}", device.source.display()),
            format!("corral run --profile standard --device {}", device.source.display()),
        ));
    }
    if more.devices_enforced {
        return Err(Denial::new(
            "agent.devices",
            "an agent has no device of the host, and a rule would allow some",
            "corral run --profile standard --device-cgroup-rule …",
        ));
    }
    if launch.process.oom_score_adj.is_some_and(|score| score < 0) || more.oom_kill_disable {
        return Err(Denial::new(
            "agent.limits",
            "an agent would be spared when memory ends, at the cost of what is not confined",
            "corral run --profile standard with the same flag, or leave it out",
        ));
    }
    // Named by the user, and marked in listings.
    if more.no_groups {
        return Ok(());
    }
    let time = cgroup.cpu_millis.is_some() || more.cpu_quota.is_some_and(|quota| quota > 0);
    for (bound, what, flag) in [
        (cgroup.memory.is_some(), "memory", "-m 8g"),
        (more.memory_swap != Some(Swap::Unlimited), "swap", "--memory-swap 8g"),
        (time, "processor time", "--cpus 8"),
        (cgroup.pids.is_some(), "number of tasks", "--pids-limit 2048"),
    ] {
        if !bound {
            return Err(Denial::new(
                "agent.limits",
                format!("an agent's {what} is bounded, and this launch leaves it open"),
                format!("a bound of your choice: {flag}"),
            ));
        }
    }
    Ok(())
}

fn judge_agent_mount(mount: &Mount) -> Result<(), Denial> {
    // Binds with the container's own ids are the engine's own files (/etc/hosts and the like).
    let MountKind::Bind { source, ids: BindIds::Owner { .. } | BindIds::Unmapped, .. } = &mount.kind else {
        return Ok(());
    };
    if source == Path::new("/") || CONTROL.iter().any(|control| source.starts_with(control)) {
        return Err(Denial::new(
            "agent.mount",
            format!(
                "{} gives control over the host (devices, kernel switches, daemons' sockets)",
                source.display()
            ),
            format!("corral run --profile standard -v {}:{}", source.display(), mount.target),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
