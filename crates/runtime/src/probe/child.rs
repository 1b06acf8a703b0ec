//! A trial that needs namespaces of its own acts in a child; what it says comes back over a pipe.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use corral_spec::record::IdMap;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Gid, Signal, Uid, WaitId, WaitIdOptions, pidfd_send_signal, set_parent_process_death_signal, waitid,
};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use super::failure::{Failure, at};
use crate::caller::in_first_user_namespace;
use crate::idmap::{map_container, namespace_of};
use crate::sys::{Forked, exit, fork};

/// The range that root's trials map. Nothing is stored under these ids beyond a trial.
pub(super) const IDS: IdMap = IdMap { host: 0x1000_0000, count: 65_536 };

/// What a trial maps: an ordinary user has what is in the caller's namespace, of which one id is enough.
pub(super) fn ids() -> IdMap {
    if in_first_user_namespace() { IDS } else { IdMap { host: 0, count: 1 } }
}

/// Longest time for one child.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The child of a trial: killed and reaped when dropped.
struct Child(OwnedFd);

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself; then the signal finds nobody and the wait collects it.
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.0.as_fd()), WaitIdOptions::EXITED);
    }
}

/// Runs `act` in a child with these new namespaces, after `prepare` was called here with its number.
pub(super) fn in_child(
    namespaces: libc::c_int,
    prepare: impl FnOnce(i32) -> Result<(), Failure>,
    act: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (go, start) = pipe_with(PipeFlags::CLOEXEC).map_err(at("make a pipe"))?;
    let (hear, say) = pipe_with(PipeFlags::CLOEXEC).map_err(at("make a pipe"))?;
    match fork(namespaces, None).map_err(at("create a process in new namespaces (clone3)"))? {
        Forked::Child => {
            drop((start, hear));
            live(&go, &say, act)
        }
        Forked::Parent { pid, pidfd } => {
            let _child = Child(pidfd);
            drop((go, say));
            prepare(pid)?;
            write(&start, b"!").map_err(at("wake the trial's process"))?;
            listen(&hear)
        }
    }
}

/// As [`in_child`], in a user namespace too, with [`ids`] mapped and as its root.
pub(super) fn as_root_inside(
    namespaces: libc::c_int,
    act: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let map = |pid| Ok(map_container(pid, ids(), None)?);
    in_child(libc::CLONE_NEWUSER | namespaces, map, || {
        set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).map_err(at("become group 0 inside"))?;
        set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).map_err(at("become user 0 inside"))?;
        act()
    })
}

/// A user namespace with [`IDS`] mapped, kept by its descriptor alone.
pub(super) fn mapped_namespace() -> Result<OwnedFd, Failure> {
    let mut namespace = None;
    let keep = |pid| {
        map_container(pid, IDS, None)?;
        namespace = Some(namespace_of(pid)?);
        Ok(())
    };
    in_child(libc::CLONE_NEWUSER, keep, || Ok(()))?;
    namespace.ok_or_else(|| Failure::no_effect("keep a user namespace"))
}

fn live(go: &OwnedFd, say: &OwnedFd, act: impl FnOnce() -> Result<(), Failure>) -> ! {
    let mut word = [0; 1];
    // Without the parent there is nobody to say anything to: its end of `go` is closed by its death.
    let result = match set_parent_process_death_signal(Some(Signal::KILL)).and_then(|()| read(go, &mut word))
    {
        Ok(1) => act(),
        _ => exit(1),
    };
    let said = match result {
        Ok(()) => b"ok".to_vec(),
        Err(failure) => failure.to_bytes(),
    };
    exit(if write(say, &said).is_ok() { 0 } else { 1 })
}

fn listen(hear: &OwnedFd) -> Result<(), Failure> {
    let mut fds = [PollFd::new(hear, PollFlags::IN)];
    if poll(&mut fds, Some(&PATIENCE)).map_err(at("wait for the trial's process"))? == 0 {
        return Err(Failure::new("finish in five seconds", Errno::TIMEDOUT));
    }
    let mut said = [0; 1024];
    match read(hear, &mut said) {
        Ok(length) if &said[..length] == b"ok" => Ok(()),
        Ok(length) => Err(Failure::from_bytes(&said[..length])),
        Err(errno) => Err(Failure::new("hear from the trial's process", io::Error::from(errno))),
    }
}
