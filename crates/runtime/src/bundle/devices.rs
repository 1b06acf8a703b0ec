//! Device nodes. In a user namespace nobody can make one: the parent makes them on a tmpfs that is mounted nowhere, and
//! each is bound to its place.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corral_spec::AbsPath;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Stat, Uid, chmodat, chownat, fstat, makedev, mknodat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsmount, fsopen, open_tree,
};

use super::mounts::{attach, copy};
use super::{Bundle, Device, Kind, Source};
use crate::idmap::Extent;
use crate::tree::{Point, Tree};
use crate::{Error, kernel_file};

/// Runtime specification, config-linux.md, "Default Devices": what a container has without saying so.
const LINKS: [(&str, &str); 5] = [
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
    ("dev/ptmx", "pts/ptmx"),
];

/// Makes the nodes that a container with a user namespace gets, in order, with owners as its process `pid` maps them. A
/// caller that may make none, itself in a user namespace, binds the host's if they are the same devices; so does one whose
/// kernel clones nothing of a mount that is attached nowhere (before Linux 6.15).
pub(super) fn detached(bundle: &Bundle, pid: i32) -> Result<Vec<OwnedFd>, Error> {
    if bound(bundle).next().is_none() {
        return Ok(Vec::new());
    }
    let map = |file: &str| {
        let text = kernel_file::read(format!("/proc/{pid}/{file}"));
        text.map(|text| lines_of(&text)).map_err(|error| Error::inside(format!("read the {file}"), error))
    };
    let (uids, gids) = (map("uid_map")?, map("gid_map")?);
    let fail = |errno: Errno| Error::inside("make a tmpfs for device nodes", errno);
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(fail)?;
    fsconfig_create(context.as_fd()).map_err(fail)?;
    let tmpfs =
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(fail)?;
    let one = |(at, device): (usize, &Device)| {
        let fail = |errno: Errno| Error::inside(format!("make the device {}", device.path), errno);
        let owner = |lines: &[Extent], id: u32, kind: &str| {
            // Root that is not mapped is the host's: nobody inside.
            let found = lines.iter().find_map(|line| line.outside(id)).or((id == 0).then_some(0));
            found.ok_or_else(|| Error::Launch(format!("device {}: {kind} {id} is not mapped", device.path)))
        };
        let (uid, gid) = (owner(&uids, device.uid, "uid")?, owner(&gids, device.gid, "gid")?);
        let (name, device) = (at.to_string(), Device { uid, gid, ..device.clone() });
        match node_at(tmpfs.as_fd(), OsStr::new(&name), &device) {
            Ok(()) => {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                let cloned = open_tree(&tmpfs, name.as_str(), flags);
                cloned
                    .or_else(|errno| if errno == Errno::INVAL { hosts(&device) } else { Err(errno) })
                    .map_err(fail)
            }
            Err(Errno::PERM) => hosts(&device).map_err(fail),
            Err(errno) => Err(fail(errno)),
        }
    };
    bound(bundle).enumerate().map(one).collect()
}

/// The host's node, if it is this device.
fn hosts(device: &Device) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let found = open_tree(CWD, device.path.as_path(), flags)?;
    if is_device(&fstat(&found)?, device) { Ok(found) } else { Err(Errno::PERM) }
}

fn kind_of(device: &Device) -> FileType {
    match device.kind {
        'b' => FileType::BlockDevice,
        'p' => FileType::Fifo,
        _ => FileType::CharacterDevice,
    }
}

fn is_device(found: &Stat, device: &Device) -> bool {
    FileType::from_raw_mode(found.st_mode) == kind_of(device)
        && (device.kind == 'p' || found.st_rdev == makedev(device.major, device.minor))
}

/// /proc/PID/uid_map: inside, outside as this process sees it, count.
fn lines_of(text: &str) -> Vec<Extent> {
    let line = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse().ok());
        Some(Extent(numbers.next()??, numbers.next()??, numbers.next()??))
    };
    text.lines().filter_map(line).collect()
}

/// How many [`detached`] makes.
pub(super) fn count(bundle: &Bundle) -> usize {
    bound(bundle).count()
}

/// The devices that are bound to their places, in order.
fn bound(bundle: &Bundle) -> impl Iterator<Item = &Device> {
    let bound = bundle.namespace(Kind::User).is_some();
    bundle.devices.iter().filter(move |_| bound && !has_hosts_dev(bundle))
}

/// A /dev that is the host's is left alone.
fn has_hosts_dev(bundle: &Bundle) -> bool {
    bundle.mounts.iter().any(|mount| {
        mount.target.as_path() == Path::new("/dev") && matches!(mount.source, Source::Bind { .. })
    })
}

/// Makes the nodes and the links.
pub(super) fn make(bundle: &Bundle, root: BorrowedFd<'_>, sources: &[OwnedFd]) -> Result<(), Error> {
    if has_hosts_dev(bundle) {
        return Ok(());
    }
    let tree = Tree(root);
    let mut sources = sources[sources.len() - count(bundle)..].iter();
    for device in &bundle.devices {
        let fail = |errno: Errno| Error::inside(format!("make the device {}", device.path), errno);
        match sources.next() {
            Some(node) => {
                let target = tree.find_or_make(&device.path, Point::File)?.fd;
                attach(node.as_fd(), target).map_err(fail)?;
            }
            None => node(tree, device).map_err(fail)?,
        }
    }
    for (path, target) in LINKS {
        link(tree, Path::new(path), target)
            .map_err(|errno| Error::inside(format!("make the link /{path} in the container"), errno))?;
    }
    Ok(())
}

fn node(tree: Tree<'_>, device: &Device) -> Result<(), Errno> {
    let path = device.path.relative();
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let dir = match tree.find(parent) {
        Ok(dir) => dir,
        Err(_) => {
            let parent = AbsPath::new(format!("/{}", parent.display())).map_err(|_| Errno::INVAL)?;
            tree.find_or_make(&parent, Point::Directory).map_err(|_| Errno::NOENT)?.fd
        }
    };
    node_at(dir, name, device)
}

fn node_at(dir: BorrowedFd<'_>, name: &OsStr, device: &Device) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(device.mode & 0o7777);
    let number = makedev(device.major, device.minor);
    let made = mknodat(dir, name, kind_of(device), mode, number);
    if made == Err(Errno::EXIST) {
        if !is_device(&statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?, device) {
            // What the image has there is not the device.
            unlinkat(dir, name, AtFlags::empty())?;
            mknodat(dir, name, kind_of(device), mode, number)?;
        }
    } else {
        made?;
    }
    // The mode above went through the umask. A node in a directory of ours is no link that somebody else planted.
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    chmodat(dir, name, mode, AtFlags::empty())
}

/// A link that is there already stays; a /dev/ptmx node is not the container's.
fn link(tree: Tree<'_>, path: &Path, target: &str) -> Result<(), Errno> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    let dir = match tree.find(parent) {
        // Without /dev there is nothing to put there.
        Err(Errno::NOENT) => return Ok(()),
        dir => dir?,
    };
    match symlinkat(target, dir, name) {
        Err(Errno::EXIST) if name == "ptmx" => {
            unlinkat(dir, name, AtFlags::empty())?;
            symlinkat(target, dir, name)
        }
        Err(Errno::EXIST) => Ok(()),
        done => done,
    }
}

/// Binds the terminal to /dev/console.
pub(super) fn bind_console(root: BorrowedFd<'_>, slave: BorrowedFd<'_>) -> Result<(), Error> {
    let path = AbsPath::new("/dev/console").map_err(|error| Error::Launch(error.to_string()))?;
    let target = Tree(root).find_or_make(&path, Point::File)?.fd;
    copy(slave, false)
        .and_then(|tree| attach(tree, target))
        .map_err(|errno| Error::inside("bind the terminal to /dev/console", errno))
}
