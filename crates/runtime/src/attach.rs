//! The child's share of the mounts: what belongs to its namespaces, and the assembly.
//!
//! ```text
//! /  (copy of the host's tree, private)
//! └─ overlay root, attached on top of it
//!    ├─ mounts of the launch, in order      proc, sysfs, devpts, mqueue, cgroup2, tmpfs, binds
//!    ├─ devices, links, /dev/console
//!    ├─ read-only paths, then masks         a mask always lies on top
//!    └─ pivot_root(".", "."), old tree detached, root read-only if asked
//! ```
//!
//! The descriptor of a mount is kept from its making to its last use; no path is resolved twice.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corral_spec::AbsPath;
use corral_spec::record::{Launch, Mount, MountKind};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change,
    move_mount, open_tree, unmount,
};
use rustix::process::{fchdir, pivot_root};

use crate::Error;
use crate::detached::{Detached, from_host};
use crate::sys::{AttrChange, mount_setattr};
use crate::tree::{Point, Tree};

/// Makes nothing that happens in this namespace reach another one, and the reverse.
pub(crate) fn cut_propagation() -> Result<(), Error> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| Error::inside("make the mount namespace private", errno))
}

/// Attaches the root and every mount, device and link of the launch. Gives back the devpts mount.
pub(crate) fn attach_all(launch: &Launch, detached: &Detached) -> Result<Option<OwnedFd>, Error> {
    move_mount(&detached.root, "", rustix::fs::CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|errno| Error::inside("attach the root file system", errno))?;
    let tree = Tree(detached.root.as_fd());
    let mut made_by_parent = detached.mounts.iter();
    let mut devpts = None;
    for mount in &launch.mounts {
        if from_host(mount, launch) {
            let source =
                made_by_parent.next().ok_or_else(|| Error::Launch("a mount is missing".to_owned()))?;
            attach_from_host(tree, mount, source)?;
            continue;
        }
        let made = kernel_mount(mount).map_err(|error| fail_at("mount", &mount.target)(error))?;
        let target = match mount.kind {
            MountKind::Tmpfs { .. } => tree.find_or_make(&mount.target, Point::Directory)?.fd,
            _ => kernel_mount_point(tree, &mount.target)?,
        };
        attach(made.as_fd(), target.as_fd())
            .map_err(|errno| fail_at("mount", &mount.target)(errno.into()))?;
        if matches!(mount.kind, MountKind::Devpts) {
            devpts = Some(made);
        }
    }
    for (device, node) in launch.devices.iter().zip(&detached.devices) {
        let target = tree.find_or_make(device, Point::File)?.fd;
        attach(node.as_fd(), target.as_fd())
            .map_err(|errno| fail_at("bind the device", device)(errno.into()))?;
    }
    launch.links.iter().try_for_each(|(path, target)| tree.link(path, target))?;
    Ok(devpts)
}

/// Covers and write-protects what the launch says.
pub(crate) fn restrict(launch: &Launch, detached: &Detached) -> Result<(), Error> {
    let tree = Tree(detached.root.as_fd());
    for path in &launch.readonly_paths {
        if let Some(target) = find_existing(tree, path)? {
            make_read_only(target.as_fd()).map_err(|error| fail_at("write-protect", path)(error))?;
        }
    }
    let mut masks = Masks { null: &detached.null, null_used: false, empty: None };
    for path in &launch.masked_paths {
        if let Some(target) = find_existing(tree, path)? {
            masks.cover(target.as_fd()).map_err(|error| fail_at("mask", path)(error))?;
        }
    }
    Ok(())
}

/// Makes the overlay the root of this process and drops the host's tree.
pub(crate) fn pivot(launch: &Launch, root: BorrowedFd<'_>) -> Result<(), Error> {
    if launch.root.read_only {
        mount_setattr(root, AttrChange::flags(MountAttrFlags::MOUNT_ATTR_RDONLY))
            .map_err(|error| Error::inside("make the root read-only", error))?;
    }
    fchdir(root)
        .and_then(|()| pivot_root(".", "."))
        .and_then(|()| unmount(".", UnmountFlags::DETACH))
        .and_then(|()| rustix::process::chdir("/"))
        .map_err(|errno| Error::inside("pivot into the container's root", errno))
}

/// Attaches a device node that was made here (/dev/console).
pub(crate) fn bind_node(root: BorrowedFd<'_>, node: BorrowedFd<'_>, path: &AbsPath) -> Result<(), Error> {
    let target = Tree(root).find_or_make(path, Point::File)?.fd;
    clone(node)
        .and_then(|tree| attach(tree.as_fd(), target.as_fd()))
        .map_err(|errno| fail_at("bind the terminal to", path)(errno.into()))
}

fn fail_at(act: &'static str, path: &AbsPath) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::inside(format!("{act} {path} in the container"), error)
}

/// move_mount(2) from descriptor to descriptor.
fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}

/// A detached copy of what is at the descriptor, with what is mounted below.
fn clone(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(fd, "", flags)
}

fn attach_from_host(tree: Tree<'_>, mount: &Mount, source: &OwnedFd) -> Result<(), Error> {
    let fail = |errno: Errno| fail_at("bind", &mount.target)(errno.into());
    let stat = fstat(source).map_err(fail)?;
    let point = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Point::Directory,
        _ => Point::File,
    };
    if mount.target.as_path() == std::path::Path::new("/") {
        return Err(Error::Launch("a mount cannot replace the container's root".to_owned()));
    }
    let target = tree.find_or_make(&mount.target, point)?.fd;
    attach(source.as_fd(), target.as_fd()).map_err(fail)
}

/// Where proc, sysfs and the like go: a link in the image must not decide that (CVE-2019-19921).
fn kernel_mount_point(tree: Tree<'_>, target: &AbsPath) -> Result<OwnedFd, Error> {
    match tree.find_unlinked(target.relative()) {
        Ok(fd) => Ok(fd),
        Err(Errno::NOENT) => {
            tree.find_or_make(target, Point::Directory)?;
            tree.find_unlinked(target.relative()).map_err(|errno| fail_at("prepare", target)(errno.into()))
        }
        Err(Errno::LOOP) => Err(Error::Launch(format!(
            "the image has a symbolic link at or above {target}; it must be a directory"
        ))),
        Err(errno) => Err(fail_at("prepare", target)(errno.into())),
    }
}

/// A file system of this process's own namespaces, detached.
fn kernel_mount(mount: &Mount) -> io::Result<OwnedFd> {
    let (fs, options): (&str, Vec<(&str, String)>) = match &mount.kind {
        MountKind::Proc => ("proc", vec![]),
        MountKind::Sysfs => ("sysfs", vec![]),
        MountKind::Mqueue => ("mqueue", vec![]),
        MountKind::Cgroup2 => ("cgroup2", vec![]),
        MountKind::Devpts => {
            ("devpts", vec![("ptmxmode", "0666".into()), ("mode", "0620".into()), ("gid", "5".into())])
        }
        MountKind::Tmpfs { size, mode } => {
            let mut options = vec![("mode", format!("{mode:o}"))];
            options.extend(size.map(|bytes| ("size", bytes.to_string())));
            ("tmpfs", options)
        }
        MountKind::Bind { .. } => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let context = fsopen(fs, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if matches!(mount.kind, MountKind::Devpts) {
        fsconfig_set_flag(&context, "newinstance")?;
    } else {
        fsconfig_set_string(&context, "source", fs)?;
    }
    options.iter().try_for_each(|(key, value)| fsconfig_set_string(&context, *key, value.as_str()))?;
    fsconfig_create(&context)?;
    let mut attr = MountAttrFlags::MOUNT_ATTR_NOSUID;
    // Terminals are devices.
    if !matches!(mount.kind, MountKind::Devpts) {
        attr |= MountAttrFlags::MOUNT_ATTR_NODEV;
    }
    if mount.read_only {
        attr |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    if mount.no_exec {
        attr |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
    }
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attr)?)
}

/// A path to restrict, none where there is nothing of that name.
fn find_existing(tree: Tree<'_>, path: &AbsPath) -> Result<Option<OwnedFd>, Error> {
    match tree.find(path.relative()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(fail_at("find", path)(errno.into())),
    }
}

fn make_read_only(target: BorrowedFd<'_>) -> io::Result<()> {
    let tree = clone(target)?;
    let change = AttrChange { recursive: true, ..AttrChange::flags(MountAttrFlags::MOUNT_ATTR_RDONLY) };
    mount_setattr(tree.as_fd(), change)?;
    Ok(attach(tree.as_fd(), target)?)
}

/// The two things that cover: the host's /dev/null, verified by the parent, and one empty directory. A
/// detached mount can be cloned only once it is attached, on most kernels.
struct Masks<'fd> {
    null: &'fd OwnedFd,
    null_used: bool,
    empty: Option<OwnedFd>,
}

impl Masks<'_> {
    fn cover(&mut self, target: BorrowedFd<'_>) -> io::Result<()> {
        if FileType::from_raw_mode(fstat(target)?.st_mode) == FileType::Directory {
            return match &self.empty {
                Some(empty) => Ok(attach(clone(empty.as_fd())?.as_fd(), target)?),
                None => {
                    let empty = empty_directory()?;
                    attach(empty.as_fd(), target)?;
                    self.empty = Some(empty);
                    Ok(())
                }
            };
        }
        if std::mem::replace(&mut self.null_used, true) {
            Ok(attach(clone(self.null.as_fd())?.as_fd(), target)?)
        } else {
            Ok(attach(self.null.as_fd(), target)?)
        }
    }
}

fn empty_directory() -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "mode", "0555")?;
    fsconfig_create(&context)?;
    let attr = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attr)?)
}
