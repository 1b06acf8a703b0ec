//! Turns a set-up process into what its configuration allows it to be. The order is that of [`crate::confine`],
//! with the five sets of capabilities apart, as the runtime specification has them.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, fchown, fstat, openat2};
use rustix::io::Errno;
use rustix::process::{fchdir, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::{Filter, Label, MemoryPolicy, Process, Scheduler};
use crate::Error;
use crate::sys::{
    SchedAttr, filter, install_filter, keep_open, set_io_priority, set_memory_policy, set_scheduler,
};

/// The last step before execve, prepared so that it allocates nothing.
pub(super) struct LastStep {
    program: Option<(Vec<libc::sock_filter>, u64)>,
    capabilities: CapabilitySets,
    /// Whether CAP_SYS_ADMIN is still held for the filter's sake.
    late: bool,
}

/// Drops everything but what the configuration leaves, except for what [`LastStep::take`] drops.
fn drop_all(process: &Process, seccomp: Option<&Filter>) -> Result<LastStep, Error> {
    let step = |act: &'static str| move |errno: Errno| Error::inside(act, errno);
    schedule(process)?;
    let wanted = process.capabilities;
    drop_bounding(wanted.bounding).map_err(step("drop capabilities from the bounding set"))?;
    set_keep_capabilities(true).map_err(step("keep capabilities across the change of ids"))?;
    let groups: Vec<_> = process.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
    match set_thread_groups(&groups) {
        // A user namespace of one id forbids it; then there are none to set either.
        Err(Errno::PERM) if groups.is_empty() => {}
        done => done.map_err(step("set the groups"))?,
    }
    set_thread_res_gid(gid, gid, gid).map_err(step("set the group id"))?;
    set_thread_res_uid(uid, uid, uid).map_err(step("set the user id"))?;
    let set = |bits: u64| CapabilitySet::from_bits_retain(bits);
    let capabilities = CapabilitySets {
        effective: set(wanted.effective),
        permitted: set(wanted.permitted),
        inheritable: set(wanted.inheritable),
    };
    let late = seccomp.is_some() && !process.no_new_privileges;
    let extra = if late { CapabilitySet::SYS_ADMIN } else { CapabilitySet::empty() };
    set_capabilities(
        None,
        CapabilitySets {
            effective: capabilities.effective | extra,
            permitted: capabilities.permitted | extra,
            ..capabilities
        },
    )
    .map_err(step("set the capabilities"))?;
    raise_ambient(wanted.ambient).map_err(step("set the ambient capabilities"))?;
    set_keep_capabilities(false).map_err(step("forget capabilities at a change of ids"))?;
    if process.no_new_privileges {
        set_no_new_privs(true).map_err(step("set no_new_privs"))?;
    }
    if let Some(mask) = process.umask {
        umask(Mode::from_raw_mode(mask));
    }
    let program = seccomp.map(|found| (filter(&found.program), found.flags));
    Ok(LastStep { program, capabilities, late })
}

impl LastStep {
    /// Loads the filter; nothing but execve, or writing why it failed, comes after. Gives the listener, if the filter
    /// has one.
    pub(super) fn take(&self) -> Result<Option<OwnedFd>, Error> {
        let listener = match &self.program {
            Some((program, flags)) => install_filter(program, *flags)
                .map_err(|error| Error::inside("load the seccomp filter", error))?,
            None => None,
        };
        if self.late {
            set_capabilities(None, self.capabilities)
                .map_err(|errno| Error::inside("set the capabilities", errno))?;
        }
        Ok(listener)
    }
}

fn raise_ambient(wanted: u64) -> Result<(), Errno> {
    clear_ambient_capability_set()?;
    for number in (0..u64::BITS).filter(|number| wanted >> number & 1 == 1) {
        configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(1 << number), true)?;
    }
    Ok(())
}

/// PR_CAPBSET_DROP of all but `keep`, up to the kernel's last capability.
fn drop_bounding(keep: u64) -> Result<(), Errno> {
    for number in (0..u64::BITS).filter(|number| keep >> number & 1 == 0) {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            Err(Errno::INVAL) if number > 31 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Only the kernel's own file will do: an image can have anything at /proc.
fn label(process: &Process) -> Result<(), Error> {
    for Label { file, text } in &process.labels {
        let path = format!("/proc/self/attr/{file}");
        let fail = |error: io::Error| Error::inside(format!("write {text:?} to {path}"), error);
        let opened = rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        let opened = keep_open(opened.map_err(|errno| fail(errno.into()))?);
        let kind = rustix::fs::fstatfs(opened).map_err(|errno| fail(errno.into()))?.f_type;
        if kind != rustix::fs::PROC_SUPER_MAGIC {
            return Err(fail(io::Error::other("it is not on a proc file system")));
        }
        rustix::io::write(opened, text.as_bytes()).map_err(|errno| fail(errno.into()))?;
    }
    Ok(())
}

fn schedule(process: &Process) -> Result<(), Error> {
    if let Some(MemoryPolicy { mode, nodes }) = &process.memory_policy {
        set_memory_policy(*mode, nodes).map_err(|error| Error::inside("set linux.memoryPolicy", error))?;
    }
    if let Some((class, level)) = process.io_priority {
        set_io_priority(class, level).map_err(|error| Error::inside("set process.ioPriority", error))?;
    }
    if let Some(Scheduler { policy, flags, nice, priority, runtime, deadline, period }) = process.scheduler {
        let size = size_of::<SchedAttr>() as u32;
        let attr = SchedAttr { size, policy, flags, nice, priority, runtime, deadline, period };
        set_scheduler(&attr).map_err(|error| Error::inside("set process.scheduler", error))?;
    }
    Ok(())
}

/// As [`drop_all`], in the working directory: entered before, with the container's rights, as other runtimes do, or
/// after, with the process's own. No link leads out through /proc/*/fd (CVE-2024-21626).
pub(super) fn drop_all_in_cwd(process: &Process, seccomp: Option<&Filter>) -> Result<LastStep, Error> {
    label(process)?;
    let early = enter_cwd(process);
    let last = drop_all(process, seccomp)?;
    early.or_else(|_| enter_cwd(process)).map(|()| last)
}

fn enter_cwd(process: &Process) -> Result<(), Error> {
    let fail = |errno: Errno| {
        Error::inside(format!("chdir to cwd ({:?}) set in config.json", process.cwd.to_string()), errno)
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat2(CWD, process.cwd.as_path(), flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
        .map_err(fail)?;
    fchdir(keep_open(dir)).map_err(fail)
}

/// Lets a process that is not root reopen its streams through /dev/stdout. What cannot be given away stays whose
/// it is: a terminal of another namespace, a read-only file.
pub(super) fn give_streams(uid: u32) -> Result<(), Error> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for stream in streams {
        let fail = |errno: Errno| Error::inside("give a stream to the container's user", errno);
        let stat = match fstat(stream) {
            Err(Errno::BADF) => continue,
            stat => stat.map_err(fail)?,
        };
        let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == rustix::fs::makedev(1, 3);
        if is_null || stat.st_uid == uid {
            continue;
        }
        match fchown(stream, Some(Uid::from_raw(uid)), None::<Gid>).map_err(io::Error::from) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM | libc::EROFS)) => {
                return Err(Error::inside("give a stream to the container's user", error));
            }
            _ => {}
        }
    }
    Ok(())
}
