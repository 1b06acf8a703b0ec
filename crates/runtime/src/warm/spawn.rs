//! The first process of a container that a template's child will join.
//!
//! ```text
//! monitor ── clone3(INTO_CGROUP) ─▶ go-between     setns: the template's user and pid namespace
//!                                    └ clone3(PARENT) ─▶ maker     there by number; becomes the template's user,
//!                                                         │         so that it may enter what is made now (user_namespaces(7))
//!                                                         ├ clone3(PARENT, NEWUSER …) ─▶ the first process (inside.rs)
//!                                                         └ uid_map, gid_map; says the number
//! ```
//!
//! A process can be moved to a pid namespace only from one above it, so the container's is below the template's: it ends
//! with it. The container's user namespace is below the template's, which maps the ids of all containers to themselves;
//! its own map is that of a container, its 65,536 ids and no others.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use corral_spec::record::Launch;
use rustix::fs::{Gid, Uid};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, pidfd_open, set_dumpable_behavior};
use rustix::thread::{
    ThreadNameSpaceType, move_into_thread_name_spaces, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::Nursery;
use crate::caller::Caller;
use crate::channel::{Channel, Word};
use crate::idmap::{self, Extent};
use crate::inside::Inside;
use crate::running::Child;
use crate::sys::{Forked, exit, fork};
use crate::{ControlGroup, Error, Io, kernel_file};

/// Makes it; it runs [`Inside::run`], and its ids are mapped already.
pub(crate) fn spawn(
    launch: &Launch,
    io: Io,
    caller: Caller,
    (group, nursery): (&ControlGroup, &Nursery),
) -> Result<(Child, Channel), Error> {
    let entrance = group.entrance()?;
    let (parent, child) = Channel::pair()?;
    // One for each child: who speaks first on a shared one depends on the scheduler.
    let (told, tell) = Channel::pair()?;
    let (told_first, tell_first) = Channel::pair()?;
    let mut between = match fork(0, entrance.v2.as_ref().map(AsFd::as_fd)).map_err(Error::Namespaces)? {
        Forked::Child => {
            drop((parent, told, told_first));
            match enter(nursery) {
                Ok(Forked::Child) => {
                    let inside = Inside { launch, io, channel: child, entrance, caller };
                    drop(tell);
                    make(inside, nursery, tell_first)
                }
                Ok(Forked::Parent { pid, .. }) => say(&tell, pid),
                Err(error) => give_up(&tell, &error),
            }
        }
        Forked::Parent { pid, pidfd } => Child::new(pid, pidfd),
    };
    drop((child, tell, tell_first, io, entrance));
    let maker = number(&told);
    between.wait()?;
    let mut maker = open(maker?)?;
    let first = number(&told_first);
    maker.wait()?;
    open(first?).map(|first| (first, parent))
}

fn number(told: &Channel) -> Result<i32, Error> {
    let message = told.answer("joining the template")?;
    match (message.word, <[u8; 4]>::try_from(message.body.as_slice())) {
        (Word::Pid, Ok(bytes)) => Ok(i32::from_ne_bytes(bytes)),
        _ => Err(message.failure().unwrap_or(Error::Died { act: "joining the template" })),
    }
}

/// A child of this process that is not reaped yet: its number cannot be another's.
fn open(pid: i32) -> Result<Child, Error> {
    let opened = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH);
    let pidfd = opened
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
        .map_err(|errno| Error::Process { pid, act: "open it", source: errno.into() })?;
    Ok(Child::new(pid, pidfd))
}

fn say(tell: &Channel, pid: i32) -> ! {
    exit(i32::from(tell.send(Word::Pid, &pid.to_ne_bytes(), &[]).is_err()))
}

fn give_up(tell: &Channel, error: &Error) -> ! {
    tell.send_failure(error);
    exit(error.exit_code().into())
}

fn enter(nursery: &Nursery) -> Result<Forked, Error> {
    move_into_thread_name_spaces(
        nursery.process.as_fd(),
        ThreadNameSpaceType::USER | ThreadNameSpaceType::PROCESS_ID,
    )
    .map_err(|errno| Error::inside("join the template's namespaces", errno))?;
    fork(libc::CLONE_PARENT, None)
        .map_err(|error| Error::inside("start a process beside the template", error))
}

fn make(inside: Inside<'_>, nursery: &Nursery, tell: Channel) -> ! {
    let flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWNET
        | libc::CLONE_PARENT;
    let ids = inside.launch.ids;
    let made = become_template(nursery).and_then(|()| fork(flags, None).map_err(Error::Namespaces));
    match made {
        Ok(Forked::Child) => {
            drop(tell);
            inside.run()
        }
        Ok(Forked::Parent { pidfd, .. }) => {
            let mapped = host_number(&pidfd).and_then(|pid| {
                let ids = ids.ok_or(Error::Launch("a warm start needs a user namespace".into()))?;
                let extents = [Extent(0, ids.host, ids.count)];
                idmap::map(pid, &extents, &extents).map(|()| pid)
            });
            match mapped {
                Ok(pid) => say(&tell, pid),
                Err(error) => give_up(&tell, &error),
            }
        }
        Err(error) => give_up(&tell, &error),
    }
}

/// Who makes a user namespace owns it. With the ids goes the right to look at ourselves in /proc, which is wanted for
/// the maps: nobody else is there to use it but the template, and that never runs.
fn become_template(nursery: &Nursery) -> Result<(), Error> {
    let (uid, gid) = (Uid::from_raw(nursery.uid), Gid::from_raw(nursery.gid));
    set_thread_groups(&[])
        .and_then(|()| set_thread_res_gid(gid, gid, gid))
        .and_then(|()| set_thread_res_uid(uid, uid, uid))
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::Dumpable))
        .map_err(|errno| Error::inside("become the template's user", errno))
}

/// The number that a process has on the host: what this one sees is the template's pid namespace, but its /proc is the
/// host's.
fn host_number(pidfd: &OwnedFd) -> Result<i32, Error> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = kernel_file::read(&path);
    let found = text.and_then(|text| {
        let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"));
        pid.and_then(|pid| pid.trim().parse().ok()).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    });
    found.map_err(|source| Error::Host { act: "read", path: path.into(), source })
}
