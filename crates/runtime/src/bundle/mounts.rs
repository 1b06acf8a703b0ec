//! The mounts of a configuration. What comes from the host is made detached by the parent; what belongs to the
//! container's namespaces is mounted by its first process. Where something goes is looked up with openat2 below the
//! new root.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use corral_spec::AbsPath;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, move_mount, open_tree, unmount,
};
use rustix::process::{fchdir, pivot_root};

use super::create::extents;
use super::{Bundle, Kind, Mount, MountIds, Source, devices};
use crate::cgroup::hierarchy::{Hierarchies, unescape};
use crate::idmap::namespace_with;
use crate::sys::{change_mount, keep_open};
use crate::tree::{Point, Tree};
use crate::{ControlGroup, Error, kernel_file};

const SHARED: u64 = libc::MS_SHARED;

/// The root, then each bind mount, then each device that is bound: in this order they travel.
pub(super) fn detached(
    bundle: &Bundle,
    userns: Option<BorrowedFd<'_>>,
    pid: i32,
) -> Result<Vec<OwnedFd>, Error> {
    let mut made = vec![clone_of(&bundle.rootfs, true)?];
    let at_root = |error| Error::Host { act: "cut off", path: bundle.rootfs.clone(), source: error };
    change_mount(made[0].as_fd(), (0, 0, slave(bundle)), None, true).map_err(at_root)?;
    // Its parent must not be shared, or pivot_root refuses.
    change_mount(made[0].as_fd(), (0, 0, libc::MS_PRIVATE), None, false).map_err(at_root)?;
    for mount in &bundle.mounts {
        if let Source::Bind { path, recursive, attr, ids } = &mount.source {
            let tree = clone_of(path, *recursive)?;
            let fail = |error: io::Error| Error::Host { act: "bind", path: path.clone(), source: error };
            change_mount(tree.as_fd(), (0, 0, slave(bundle)), None, true).map_err(fail)?;
            change_mount(tree.as_fd(), (attr.0, attr.1, 0), None, false).map_err(fail)?;
            translate(tree.as_fd(), ids, userns, path)?;
            made.push(tree);
        }
    }
    made.extend(devices::detached(bundle, pid)?);
    Ok(made)
}

/// How many descriptors [`detached`] makes.
pub(super) fn count(bundle: &Bundle) -> usize {
    let binds = bundle.mounts.iter().filter(|mount| matches!(mount.source, Source::Bind { .. }));
    1 + binds.count() + devices::count(bundle)
}

/// What happens on the host reaches the container unless the configuration says otherwise, and never the reverse
/// unless it says so.
fn slave(bundle: &Bundle) -> u64 {
    match bundle.root_propagation {
        Some(libc::MS_SHARED) => 0,
        Some(libc::MS_PRIVATE) => libc::MS_PRIVATE,
        _ => libc::MS_SLAVE,
    }
}

fn clone_of(path: &Path, recursive: bool) -> Result<OwnedFd, Error> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags).map_err(|errno| Error::Host {
        act: "bind",
        path: path.to_owned(),
        source: errno.into(),
    })
}

fn translate(
    tree: BorrowedFd<'_>,
    ids: &MountIds,
    userns: Option<BorrowedFd<'_>>,
    path: &Path,
) -> Result<(), Error> {
    let fail = |source: io::Error| match source.raw_os_error() {
        Some(libc::EINVAL | libc::EPERM) => Error::IdmapRefused { path: path.to_owned(), source },
        _ => Error::Host { act: "translate owners of", path: path.to_owned(), source },
    };
    match ids {
        MountIds::Plain => Ok(()),
        MountIds::Container { recursive } => {
            let none =
                || Error::Launch("a mount with idmap and without a map needs a user namespace".to_owned());
            change_mount(tree, (0, 0, 0), Some(userns.ok_or_else(none)?), *recursive).map_err(fail)
        }
        MountIds::Own { recursive, uids, gids } => {
            let carrier = namespace_with(&extents(uids), &extents(gids))?;
            change_mount(tree, (0, 0, 0), Some(carrier.as_fd()), *recursive).map_err(fail)
        }
    }
}

/// Attaches the root and every mount on top of it. Gives the new root.
pub(super) fn attach_all<'s>(
    bundle: &Bundle,
    views: &Views,
    sources: &'s [OwnedFd],
) -> Result<BorrowedFd<'s>, Error> {
    let Some((root, rest)) = sources.split_first() else {
        return Err(Error::Launch("the root is missing".to_owned()));
    };
    let place = if bundle.is_staged() { bundle.stage.as_path() } else { Path::new("/") };
    let attached = move_mount(root, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    attached.map_err(|errno| Error::inside("attach the root file system", errno))?;
    if bundle.is_staged() {
        // Below a shared mount it has become shared: what is mounted in it is nobody else's.
        change_mount(root.as_fd(), (0, 0, libc::MS_PRIVATE), None, false)
            .map_err(|error| Error::inside("cut off the root file system", error))?;
    }
    let tree = Tree(root.as_fd());
    let mut rest = rest.iter();
    for mount in &bundle.mounts {
        let fail =
            |error: io::Error| Error::inside(format!("mount {} in the container", mount.target), error);
        let made = match &mount.source {
            Source::Bind { .. } => {
                let source = rest.next().ok_or_else(|| Error::Launch("a mount is missing".to_owned()))?;
                bind(tree, &mount.target, source.as_fd())?;
                source.as_fd()
            }
            Source::Fs { fstype, source, flags, data } => {
                let target = mount_point(tree, &mount.target, fstype)?;
                let later = if is_dev(mount) { libc::MS_RDONLY } else { 0 };
                let data = labelled(fstype, data, &bundle.mount_label);
                mount_fs(target, (fstype, source), flags & !later, &data).map_err(fail)?;
                tree.find(mount.target.relative()).map_err(|errno| fail(errno.into()))?
            }
            Source::Cgroup { flags } => {
                let target = mount_point(tree, &mount.target, "cgroup")?;
                mount_cgroup((views, bundle.is_new(Kind::Cgroup)), target, *flags, || {
                    tree.find(mount.target.relative())
                })
                .map_err(fail)?;
                tree.find(mount.target.relative()).map_err(|errno| fail(errno.into()))?
            }
        };
        finish_mount(mount, made).map_err(fail)?;
    }
    Ok(root.as_fd())
}

/// linux.mountLabel for the file systems that are the container's alone; proc and sysfs are labelled by SELinux's policy.
fn labelled(fstype: &str, data: &str, label: &str) -> String {
    if label.is_empty() || !matches!(fstype, "tmpfs" | "devpts" | "ramfs") {
        return data.to_owned();
    }
    let comma = if data.is_empty() { "" } else { "," };
    format!("{data}{comma}context=\"{label}\"")
}

/// What goes below /dev is made by this runtime: it becomes read-only after that.
fn is_dev(mount: &Mount) -> bool {
    mount.target.as_path() == Path::new("/dev")
}

fn finish_mount(mount: &Mount, made: BorrowedFd<'_>) -> io::Result<()> {
    let (set, clear) = mount.recursive;
    if set | clear != 0 {
        change_mount(made, (set, clear, 0), None, true)?;
    }
    mount
        .propagation
        .iter()
        .try_for_each(|&(kind, recursive)| change_mount(made, (0, 0, kind), None, recursive))
}

fn bind(tree: Tree<'_>, target: &AbsPath, source: BorrowedFd<'_>) -> Result<(), Error> {
    let fail = |errno: Errno| Error::inside(format!("bind {target} in the container"), errno);
    let point = match FileType::from_raw_mode(fstat(source).map_err(fail)?.st_mode) {
        FileType::Directory => Point::Directory,
        _ => Point::File,
    };
    attach(source, tree.find_or_make(target, point)?.fd).map_err(fail)
}

/// Where proc and sysfs go must not be decided by a link in the image (CVE-2019-19921).
fn mount_point(tree: Tree<'_>, target: &AbsPath, fstype: &str) -> Result<BorrowedFd<'static>, Error> {
    let made = tree.find_or_make(target, Point::Directory)?.fd;
    if !matches!(fstype, "proc" | "sysfs") {
        return Ok(made);
    }
    tree.find_unlinked(target.relative()).map_err(|errno| match errno {
        Errno::LOOP => Error::Launch(format!(
            "the root has a symbolic link at or above {target}; {fstype} needs a directory"
        )),
        errno => Error::inside(format!("find {target} in the container"), errno),
    })
}

fn mount_fs(
    target: BorrowedFd<'_>,
    (fstype, source): (&str, &str),
    flags: u64,
    data: &str,
) -> io::Result<()> {
    let data = CString::new(data)?;
    let flags = MountFlags::from_bits_retain(flags as u32);
    if FileType::from_raw_mode(fstat(target)?.st_mode) == FileType::Directory {
        fchdir(target)?;
        return Ok(mount(source, ".", fstype, flags, data.as_c_str())?);
    }
    Err(io::ErrorKind::NotADirectory.into())
}

/// The container's groups, found before it has namespaces of its own: in a cgroup namespace the host's mounts
/// cannot be told.
pub(super) struct Views {
    v2: Option<PathBuf>,
    v1: Vec<View>,
}

/// One hierarchy of v1: its controllers, the directory that they have on the host, the container's group.
struct View {
    names: Vec<String>,
    name: String,
    dir: PathBuf,
}

impl Views {
    pub(super) fn of(group: &ControlGroup) -> Result<Self, Error> {
        let found = Hierarchies::detect()?;
        let mut v1 = Vec::new();
        for (names, place) in found.v1 {
            if let Some(dir) = group.v1().iter().find(|dir| dir.starts_with(&place.mount)) {
                v1.push(View { name: hierarchy_name(&names, &place.mount), dir: dir.clone(), names });
            }
        }
        Ok(Self { v2: group.v2().map(Path::to_owned), v1 })
    }
}

/// cgroup2 as it is; the hierarchies of v1 below a tmpfs, each under the names of its controllers.
fn mount_cgroup(
    (views, new): (&Views, bool),
    target: BorrowedFd<'_>,
    flags: u64,
    find: impl Fn() -> Result<BorrowedFd<'static>, Errno>,
) -> io::Result<()> {
    if let (true, Some(v2)) = (views.v1.is_empty(), &views.v2) {
        if new {
            return mount_fs(target, ("cgroup2", "cgroup"), flags, "");
        }
        let tree = open_tree(CWD, v2, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
        let tree = keep_open(tree);
        attach(tree, target)?;
        return change_mount(tree, (attr_of(flags), 0, libc::MS_PRIVATE), None, false);
    }
    let rest = flags & !libc::MS_RDONLY;
    mount_fs(target, ("tmpfs", "tmpfs"), rest, "mode=755")?;
    let dir = find()?;
    for View { names, name, dir: own } in &views.v1 {
        mkdirat(dir, name.as_str(), Mode::from_raw_mode(0o755))?;
        let below =
            openat(dir, name.as_str(), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let below = keep_open(below);
        if new {
            mount_fs(below, ("cgroup", "cgroup"), flags, &names.join(","))?;
        } else {
            let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let tree = keep_open(open_tree(CWD, own, clone)?);
            change_mount(tree, (attr_of(flags), 0, libc::MS_PRIVATE), None, false)?;
            attach(tree, below)?;
        }
        for single in names.iter().filter(|single| names.len() > 1 && *single != name) {
            symlinkat(name.as_str(), dir, single.as_str())?;
        }
    }
    if flags & libc::MS_RDONLY != 0 {
        change_mount(dir, (libc::MOUNT_ATTR_RDONLY, 0, 0), None, false)?;
    }
    Ok(())
}

/// A v1 hierarchy is named as the host names it.
fn hierarchy_name(names: &[String], mount: &Path) -> String {
    let host = mount.file_name().map(|name| name.to_string_lossy().into_owned());
    host.unwrap_or_else(|| names.join(",").trim_start_matches("name=").to_owned())
}

/// MS_* as MOUNT_ATTR_*: the five lowest have the same bits.
fn attr_of(flags: u64) -> u64 {
    flags & (libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC)
}

/// The container's own devpts.
pub(super) fn devpts(root: BorrowedFd<'_>) -> Result<BorrowedFd<'static>, Error> {
    Tree(root)
        .find_unlinked(Path::new("dev/pts"))
        .map_err(|errno| Error::inside("find the devpts mount /dev/pts for the terminal", errno))
}

/// Write-protects and covers what the configuration says; what is not there needs neither.
pub(super) fn restrict(bundle: &Bundle, root: BorrowedFd<'_>) -> Result<(), Error> {
    let tree = Tree(root);
    let found = |path: &AbsPath| match tree.find(path.relative()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(Error::inside(format!("find {path} in the container"), errno)),
    };
    for mount in bundle.mounts.iter().filter(|mount| is_dev(mount)) {
        let Source::Fs { flags, .. } = &mount.source else { continue };
        if let (true, Some(dev)) = (flags & libc::MS_RDONLY != 0, found(&mount.target)?) {
            change_mount(dev, (libc::MOUNT_ATTR_RDONLY, 0, 0), None, false)
                .map_err(|error| Error::inside("make /dev read-only", error))?;
        }
    }
    for path in &bundle.readonly {
        let Some(target) = found(path)? else { continue };
        let protect = || -> io::Result<()> {
            let tree = copy(target, true)?;
            change_mount(tree, (libc::MOUNT_ATTR_RDONLY, 0, 0), None, false)?;
            Ok(attach(tree, target)?)
        };
        protect().map_err(|error| Error::inside(format!("write-protect {path}"), error))?;
    }
    for path in &bundle.masked {
        let Some(target) = found(path)? else { continue };
        mask(tree, target).map_err(|error| Error::inside(format!("mask {path}"), error))?;
    }
    Ok(())
}

fn mask(tree: Tree<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    if FileType::from_raw_mode(fstat(target)?.st_mode) == FileType::Directory {
        return mount_fs(target, ("tmpfs", "tmpfs"), libc::MS_RDONLY, "size=0k,nr_inodes=2");
    }
    // Found by its numbers, whatever the image calls so.
    let null = tree.find(Path::new("dev/null"))?;
    let stat = fstat(null)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice
        || stat.st_rdev != rustix::fs::makedev(1, 3)
    {
        return Err(io::Error::other("/dev/null in the container is not the null device"));
    }
    Ok(attach(copy(null, false)?, target)?)
}

/// Makes the new root this process's root and drops the host's tree.
pub(super) fn pivot(root: BorrowedFd<'_>) -> Result<(), Error> {
    fchdir(root)
        .and_then(|()| pivot_root(".", "."))
        .and_then(|()| unmount(".", UnmountFlags::DETACH))
        .map_err(|errno| Error::inside("pivot into the container's root", errno))
}

/// Takes down the host's proc and sysfs, which stay below a root that is only changed: as long as one of them is seen
/// whole, a user namespace in the container may mount another without its masks (mount_namespaces(7)).
pub(super) fn drop_bare_kernel_files() -> Result<(), Error> {
    let fail = |error: io::Error| Error::inside("take down the host's /proc and /sys", error);
    let table = kernel_file::read("/proc/self/mountinfo").map_err(fail)?;
    let bare = |line: &&str| {
        line.split_once(" - ")
            .is_some_and(|(_, right)| matches!(right.split(' ').next(), Some("proc" | "sysfs")))
    };
    // The last first: some lie below others. Paths are looked up from the old root, so what is the container's is
    // not found by them.
    for line in table.lines().rev().filter(bare) {
        let path = unescape(line.split(' ').nth(4).unwrap_or_default());
        match unmount(path.as_str(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => return Err(fail(errno.into())),
        }
    }
    Ok(())
}

/// linux.rootfsPropagation and root.readonly, which hold from now on.
pub(super) fn finish_root(bundle: &Bundle, root: BorrowedFd<'_>) -> Result<(), Error> {
    if let Some(kind) = bundle.root_propagation {
        // A slave of nobody is private: it says so by receiving nothing.
        let kinds: &[u64] = if kind == libc::MS_SLAVE { &[SHARED, libc::MS_SLAVE] } else { &[kind] };
        for kind in kinds {
            change_mount(root, (0, 0, *kind), None, false)
                .map_err(|error| Error::inside("set linux.rootfsPropagation", error))?;
        }
    }
    if bundle.read_only {
        change_mount(root, (libc::MOUNT_ATTR_RDONLY, 0, 0), None, false)
            .map_err(|error| Error::inside("make the root read-only", error))?;
    }
    rustix::process::chdir("/").map_err(|errno| Error::inside("enter the root directory", errno))
}

/// move_mount(2) from descriptor to descriptor.
pub(super) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}

/// A detached copy of what is at the descriptor.
pub(super) fn copy(fd: BorrowedFd<'_>, recursive: bool) -> Result<BorrowedFd<'static>, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(fd, "", flags).map(keep_open)
}
