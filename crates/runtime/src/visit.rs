//! A look at a container's files from where its own root user stands.
//!
//! ```text
//! caller ── fork ─▶ visitor    a running container: setns(pidfd of process 1, user and mount namespace), then a
//!   │                          copy of the latter, without /proc, /sys and /dev: kernel's files are no files
//!   │                          any other: new user and mount namespace, the overlay and what is bound into it
//!   │                          attached there as a start would, nothing else
//!   │                          then: root of the user namespace, work(root, stream)
//!   ◀════ stream (socket) ════▶
//!   ◀──── a failure, in words ─
//! ```
//!
//! The visitor has the container's ids, its root directory, and no more rights than the container's root would
//! have: a path that leads astray leads nowhere that a container could not go. It is in no pid namespace and no
//! control group of the container's, which neither sees nor stops it. It dies with the caller.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corral_spec::record::{Launch, Mount, MountKind, Status};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};
use rustix::process::{DumpableBehavior, set_dumpable_behavior, umask};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::caller::Caller;
use crate::channel::Channel;
use crate::detached::bound;
use crate::overlay::overlay;
use crate::running::{Child, ExitState};
use crate::sys::{Forked, exit, fork, unshare_mounts};
use crate::tree::Tree;
use crate::{Error, attach, confine, find_process, idmap};

/// How much of a container's tree is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Volumes and bound paths too, and in a running container all that is mounted.
    Everything,
    /// The root file system, with whatever it has below its mount points.
    RootOnly,
}

/// A visitor at work. Dropped, it is killed.
#[derive(Debug)]
pub struct Visit {
    /// Our end of the stream; taken by [`Visit::finish`].
    pub stream: File,
    channel: Channel,
    child: Child,
    ended: bool,
}

/// Has `work` done in a container, which runs if there is a `status`, and else must be locked by the caller.
/// It gets the root directory (O_PATH) and its end of a stream; what it answers in words is the visit's failure.
///
/// # Errors
/// [`Error::Gone`] if the container has ended, or what the kernel refuses.
pub fn visit(
    launch: &Launch,
    status: Option<&Status>,
    scope: Scope,
    work: impl FnOnce(OwnedFd, File) -> Result<(), String>,
) -> Result<Visit, Error> {
    Caller::inspect()?;
    idmap::check_launch(launch)?;
    let (channel, theirs) = Channel::pair()?;
    let (stream, inner) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| Error::inside("make a socket pair", errno))?;
    let init = status.map(init_of).transpose()?;
    let mut flags = 0;
    if init.is_none() {
        flags |= libc::CLONE_NEWNS;
        if launch.ids.is_some() {
            flags |= libc::CLONE_NEWUSER;
        }
    }
    match fork(flags, None).map_err(Error::Namespaces)? {
        Forked::Child => {
            drop((channel, stream));
            let entered = match &init {
                Some(init) => join(launch, init.as_fd(), scope),
                None => assemble(launch, &theirs, scope),
            };
            finish(entered, &theirs, |root| work(root, inner.into()))
        }
        Forked::Parent { pid, pidfd } => {
            drop((theirs, inner));
            let visit = Visit { stream: stream.into(), channel, child: Child::new(pid, pidfd), ended: false };
            if init.is_none() {
                visit.hand_over(launch, pid, scope)?;
            }
            Ok(visit)
        }
    }
}

fn init_of(status: &Status) -> Result<OwnedFd, Error> {
    find_process(&status.init)
        .map_err(|source| Error::Process { pid: status.init.pid, act: "open it", source })?
        .ok_or(Error::Gone(status.init))
}

/// What is mounted for a visit to a container that does not run: what outlives a run, and the container's own files,
/// which each run has anew.
fn shown(launch: &Launch, scope: Scope) -> impl Iterator<Item = &Mount> {
    let everything = scope == Scope::Everything;
    let seen = |mount: &Mount| from_parent(mount) || matches!(mount.kind, MountKind::File { .. });
    launch.mounts.iter().filter(move |mount| everything && seen(mount))
}

/// Whether the caller makes it.
fn from_parent(mount: &Mount) -> bool {
    matches!(mount.kind, MountKind::Bind { .. } | MountKind::Layers { .. })
}

impl Visit {
    /// Says that nothing more will be written to the stream.
    ///
    /// # Errors
    /// When the visitor has gone away.
    pub fn close_write(&self) -> Result<(), Error> {
        shutdown(&self.stream, Shutdown::Write).map_err(|errno| Error::inside("end the stream", errno))
    }

    /// Waits for the visitor's end.
    ///
    /// # Errors
    /// [`Error::Visit`] with the visitor's words.
    pub fn finish(mut self) -> Result<(), Error> {
        // Whoever writes to a stream that nobody reads is told so, and ends.
        shutdown(&self.stream, Shutdown::Both).map_err(|errno| Error::inside("end the stream", errno))?;
        let said = self.channel.receive().map_err(|error| Error::inside("talk to the visitor", error))?;
        let ended = self.child.wait()?;
        self.ended = true;
        match (said.and_then(|message| message.failure()), ended) {
            (Some(Error::Launch(words)), _) => Err(Error::Visit(words)),
            (Some(error), _) => Err(error),
            (None, ExitState::Code(0)) => Ok(()),
            (None, _) => Err(Error::Visit("the process that copies was killed".into())),
        }
    }

    /// The parent's share of the mounts, as in a start.
    fn hand_over(&self, launch: &Launch, pid: i32, scope: Scope) -> Result<(), Error> {
        let userns = idmap::give_map(launch, pid)?;
        let userns = userns.as_ref().map(AsFd::as_fd);
        let mut launch = launch.clone();
        // A volatile layer can be mounted once, and that is for its start.
        launch.root.volatile = false;
        let root = overlay(&launch, userns)?;
        let bind = |mount| bound(mount, &launch, userns);
        let mounts = shown(&launch, scope)
            .filter(|mount| from_parent(mount))
            .map(bind)
            .collect::<Result<Vec<_>, _>>()?;
        let fds: Vec<_> = std::iter::once(&root).chain(&mounts).map(AsFd::as_fd).collect();
        self.channel.send_mounts(&fds).map_err(|error| Error::inside("send the mounts", error))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if !self.ended {
            // It may have ended by itself; then there is nothing to kill, and it is reaped all the same.
            let _ = crate::sys::pidfd_kill(self.child.pidfd.as_fd(), libc::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Enters a running container.
fn join(launch: &Launch, init: BorrowedFd<'_>, scope: Scope) -> Result<OwnedFd, Error> {
    hide()?;
    let mut namespaces = ThreadNameSpaceType::MOUNT;
    if launch.ids.is_some() {
        namespaces |= ThreadNameSpaceType::USER;
    }
    move_into_thread_name_spaces(init, namespaces)
        .map_err(|errno| Error::inside("join the container's namespaces", errno))?;
    become_root(launch)?;
    match scope {
        Scope::Everything => {
            leave_kernel_mounts(launch)?;
            open_root()
        }
        // A copy of that one mount, without those on top of it.
        Scope::RootOnly => {
            open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
                .map_err(|errno| Error::inside("copy the container's root mount", errno))
        }
    }
}

/// Takes what the kernel shows out of the visitor's own view. What lies below goes with it.
fn leave_kernel_mounts(launch: &Launch) -> Result<(), Error> {
    unshare_mounts().map_err(|error| Error::inside("copy the container's mounts", error))?;
    attach::cut_propagation()?;
    let devices = launch.mounts.iter().find(|mount| mount.target.as_path() == Path::new("/dev"));
    let kernels = launch.mounts.iter().filter(|mount| {
        matches!(
            mount.kind,
            MountKind::Proc | MountKind::Sysfs | MountKind::Devpts | MountKind::Mqueue | MountKind::Cgroup2
        )
    });
    for mount in kernels.chain(devices) {
        match unmount(mount.target.as_path(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // It went with what it was mounted on, or the container has unmounted it.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(Error::inside(format!("leave {} out", mount.target), errno)),
        }
    }
    Ok(())
}

/// Puts the tree of a container that does not run together.
fn assemble(launch: &Launch, channel: &Channel, scope: Scope) -> Result<OwnedFd, Error> {
    let shown: Vec<&Mount> = shown(launch, scope).collect();
    let mut fds = channel
        .receive_mounts(1 + shown.iter().filter(|mount| from_parent(mount)).count())
        .map_err(|error| Error::inside("receive the mounts", error))?
        .into_iter();
    hide()?;
    become_root(launch)?;
    attach::cut_propagation()?;
    let missing = || Error::Launch("a mount is missing".to_owned());
    let root = fds.next().ok_or_else(missing)?;
    // Files are made for the container, whatever the caller's mask is.
    umask(Mode::WGRP | Mode::WOTH);
    // Gone with the host's tree.
    let files = attach::memory_for_files()?;
    move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|errno| Error::inside("attach the root file system", errno))?;
    let tree = Tree(root.as_fd());
    for mount in shown {
        match &mount.kind {
            // Read-only: what is written there would not be in the next run.
            MountKind::File { text } => {
                let mount = Mount { read_only: true, ..mount.clone() };
                attach::attach_file(tree, files.as_fd(), &mount, text)?;
            }
            _ => attach::attach_from_host(tree, mount, fds.next().ok_or_else(missing)?.as_fd())?,
        }
    }
    attach::pivot(launch, root.as_fd())?;
    open_root()
}

/// Nobody of the container's may look into this process, which has a copy of the caller's memory.
fn hide() -> Result<(), Error> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| Error::inside("hide the memory from the container", errno))
}

fn become_root(launch: &Launch) -> Result<(), Error> {
    if launch.ids.is_some() {
        confine::become_container_root(launch)?;
    }
    confine::die_with_parent()
}

fn open_root() -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, "/", flags, Mode::empty()).map_err(|errno| Error::inside("open the container's root", errno))
}

/// The visitor's last act. Nothing owned here is dropped.
fn finish(
    entered: Result<OwnedFd, Error>,
    channel: &Channel,
    work: impl FnOnce(OwnedFd) -> Result<(), String>,
) -> ! {
    match entered.and_then(|root| work(root).map_err(Error::Launch)) {
        Ok(()) => exit(0),
        Err(error) => {
            channel.send_failure(&error);
            exit(1)
        }
    }
}
