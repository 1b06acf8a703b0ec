//! Turns the set-up child into what the launch allows it to be. The order is the point:
//!
//! ```text
//! bounding set ↓ (needs CAP_SETPCAP) → groups, gid, uid → capabilities → no_new_privs → Landlock
//!   → parent-death signal (credentials reset it) → working directory, as the user
//!   … ready, go …
//! descriptors closed → seccomp → execve
//! ```
//!
//! Without no_new_privs a filter needs CAP_SYS_ADMIN (of the container's user namespace): that one is
//! kept until the filter is loaded.

use std::fmt::Display;
use std::path::Path;

use corral_spec::record::{Confinement, Launch, Process};
use corral_spec::{NetworkMode, Ulimit};
use rustix::fs::{CWD, Gid, Mode, OFlags, ResolveFlags, Uid, openat2};
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, chdir, fchdir, getrlimit, prlimit, set_parent_process_death_signal,
    setrlimit, umask,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::sys::{Landlock, filter, install_seccomp, keep_open, landlock_abi};
use crate::{Error, kernel_file};

/// The last step before execve, prepared so that it allocates nothing.
pub(crate) struct LastStep {
    program: Option<Vec<libc::sock_filter>>,
    capabilities: CapabilitySets,
    /// Whether capabilities are still to be dropped once the filter is loaded.
    late: bool,
}

/// Becomes root of the container's user namespace, so that what is made next belongs to it. Where only the user's own
/// id is mapped, the kernel lets nobody change groups (user_namespaces(7)).
pub(crate) fn become_container_root(launch: &Launch) -> Result<(), Error> {
    let single = launch.ids.is_some_and(|ids| ids.count == 1);
    if single { Ok(()) } else { set_thread_groups(&[]) }
        .and_then(|()| become_root_user())
        .map_err(|errno| Error::inside("become root of the container's user namespace", errno))
}

/// The same of a bundle, whose groups are its configuration's matter.
pub(crate) fn become_bundle_root() -> Result<(), Error> {
    set_thread_groups(&[])
        .and_then(|()| become_root_user())
        .map_err(|errno| Error::inside("become root of the container's user namespace", errno))
}

fn become_root_user() -> Result<(), Errno> {
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
        .and_then(|()| set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT))
}

/// Sets the limits of a child (`Some`) or of this process. Raising a hard limit needs the host's
/// CAP_SYS_RESOURCE, which the child does not have: the parent does it.
pub(crate) fn limit(pid: Option<Pid>, ulimits: &[Ulimit]) -> Result<(), Error> {
    for ulimit in ulimits {
        let resource = resource(&ulimit.name)
            .ok_or_else(|| Error::Launch(format!("there is no resource limit named {:?}", ulimit.name)))?;
        let finite = |value: u64| (value != u64::MAX).then_some(value);
        let limits = Rlimit { current: finite(ulimit.soft), maximum: finite(ulimit.hard) };
        let set = match pid {
            Some(_) => prlimit(pid, resource, limits).map(drop),
            None => setrlimit(resource, limits),
        };
        set.map_err(|errno| {
            let (name, soft, hard) = (&ulimit.name, ulimit.soft, ulimit.hard);
            Error::inside(
                format!("set the limit {name} to {soft}:{hard} (is it above the host's own?)"),
                errno,
            )
        })?;
    }
    Ok(())
}

/// Gives another process the limits of this one, as a child has them; what it has lowered stays so where this process
/// may not raise it.
pub(crate) fn inherit_limits(pid: i32) -> Result<(), Error> {
    let pid = Pid::from_raw(pid);
    RESOURCES.iter().try_for_each(|(name, resource)| match prlimit(pid, *resource, getrlimit(*resource)) {
        Ok(_) | Err(Errno::PERM) => Ok(()),
        Err(errno) => Err(Error::inside(format!("set the limit {name}"), errno)),
    })
}

/// What the kernel adds to a process's readiness to be killed when the host's memory ends. Less than before needs the
/// host's CAP_SYS_RESOURCE.
pub(crate) fn adjust_oom_score(pid: impl Display, process: &Process) -> Result<(), Error> {
    let Some(score) = process.oom_score_adj else { return Ok(()) };
    kernel_file::write(format!("/proc/{pid}/oom_score_adj"), &score.to_string())
        .map_err(|error| Error::inside(format!("set the OOM score to {score}"), error))
}

/// PR_SET_PDEATHSIG. A change of credentials resets it. A parent that died before is noticed by the end of
/// file on the channel.
pub(crate) fn die_with_parent() -> Result<(), Error> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| Error::inside("tie the process to its monitor", errno))
}

/// Drops everything but what the launch leaves, except for what [`LastStep::take`] drops. `is_root` says that
/// [`become_container_root`] was called before.
pub(crate) fn drop_privileges(
    process: &Process,
    confinement: &Confinement,
    network: NetworkMode,
    is_root: bool,
) -> Result<LastStep, Error> {
    let step = |act: &'static str| move |errno: Errno| Error::inside(act, errno);
    let allowed = confinement.capabilities.iter().fold(CapabilitySet::empty(), |set, &number| {
        set | CapabilitySet::from_bits_retain(1_u64.checked_shl(u32::from(number)).unwrap_or(0))
    });
    drop_bounding(allowed).map_err(step("drop capabilities from the bounding set"))?;
    let late = confinement.seccomp.is_some() && !confinement.no_new_privileges;
    if late {
        set_keep_capabilities(true).map_err(step("keep capabilities for the filter"))?;
    }
    let groups: Vec<_> = process.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
    let stays_root = is_root && uid.is_root() && gid.is_root();
    if !(stays_root && groups.is_empty()) {
        set_thread_groups(&groups).map_err(step("set the groups"))?;
    }
    if !stays_root {
        set_thread_res_gid(gid, gid, gid).map_err(step("set the group id"))?;
        set_thread_res_uid(uid, uid, uid).map_err(step("set the user id"))?;
    }
    let held = if process.uid == 0 { allowed } else { CapabilitySet::empty() };
    let capabilities =
        CapabilitySets { effective: held, permitted: held, inheritable: CapabilitySet::empty() };
    let for_now = if late { held | CapabilitySet::SYS_ADMIN } else { held };
    set_capabilities(None, CapabilitySets { effective: for_now, permitted: for_now, ..capabilities })
        .map_err(step("set the capabilities"))?;
    if confinement.no_new_privileges {
        set_no_new_privs(true).map_err(step("set no_new_privs"))?;
    }
    if network == NetworkMode::Host {
        leave_abstract_sockets().map_err(|error| Error::inside("enter a Landlock domain", error))?;
    }
    die_with_parent()?;
    umask(Mode::from_raw_mode(0o022));
    let program = confinement.seccomp.as_deref().map(filter);
    Ok(LastStep { program, capabilities, late })
}

impl LastStep {
    /// Loads the filter; nothing but execve, or writing why it failed, comes after.
    pub(crate) fn take(&self) -> Result<(), Error> {
        if let Some(program) = &self.program {
            install_seccomp(program).map_err(|error| Error::inside("load the seccomp filter", error))?;
        }
        if self.late {
            set_capabilities(None, self.capabilities)
                .map_err(|errno| Error::inside("set the capabilities", errno))?;
        }
        Ok(())
    }
}

/// With the host's network a process sees the host's abstract unix sockets, which no file's mode protects
/// (CVE-2020-15257: a container's root took over containerd's shim). A Landlock domain closes them. Processes
/// that join have a domain of their own: they reach neither the abstract sockets nor, by ptrace or /proc, the
/// memory of those that were there. A second layer; before Linux 6.12 it is missing.
fn leave_abstract_sockets() -> std::io::Result<()> {
    if landlock_abi().is_none_or(|abi| abi < LANDLOCK_SCOPES) {
        return Ok(());
    }
    Landlock::scoped(Landlock::ABSTRACT_UNIX_SOCKETS)?.restrict_self()
}

/// The first Landlock ABI with scopes (landlock(7)).
const LANDLOCK_SCOPES: i64 = 6;

/// Enters the working directory with the process's own rights. It is walked to from the root, and no link
/// leads out of there through /proc/*/fd (CVE-2024-21626).
pub(crate) fn enter_workdir(process: &Process) -> Result<(), Error> {
    let workdir = &process.workdir;
    if workdir.as_path() == Path::new("/") {
        return chdir("/").map_err(|errno| Error::inside("enter the root directory", errno));
    }
    let fail = |errno: Errno| Error::inside(format!("enter the working directory {workdir}"), errno);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir =
        openat2(CWD, workdir.as_path(), flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS).map_err(fail)?;
    fchdir(keep_open(dir)).map_err(fail)
}

/// PR_CAPBSET_DROP of all but `keep`, up to the kernel's last capability.
fn drop_bounding(keep: CapabilitySet) -> Result<(), Errno> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if keep.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel does not know this number; CAP_CHOWN and its fellows it always knows.
            Err(Errno::INVAL) if number > 31 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn resource(name: &str) -> Option<Resource> {
    RESOURCES.iter().find(|(known, _)| *known == name).map(|(_, resource)| *resource)
}

/// getrlimit(2), by Docker's names.
const RESOURCES: [(&str, Resource); 16] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];
