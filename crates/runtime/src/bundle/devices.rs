//! Device nodes: made where that is possible, bound from the host's in a user namespace, where nobody can make one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corral_spec::AbsPath;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Uid, chmodat, chownat, makedev, mknodat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::mounts::{attach, copy};
use super::{Bundle, Device, Kind, Source};
use crate::Error;
use crate::tree::{Point, Tree};

/// Runtime specification, config-linux.md, "Default Devices": what a container has without saying so.
const LINKS: [(&str, &str); 5] = [
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
    ("dev/ptmx", "pts/ptmx"),
];

/// The devices that are bound from the host, in order.
pub(super) fn from_host(bundle: &Bundle) -> impl Iterator<Item = &Device> {
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
    let bound = from_host(bundle).count();
    let mut sources = sources[sources.len() - bound..].iter();
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
    let kind = match device.kind {
        'b' => FileType::BlockDevice,
        'p' => FileType::Fifo,
        _ => FileType::CharacterDevice,
    };
    let number = makedev(device.major, device.minor);
    let made = mknodat(dir, name, kind, Mode::from_raw_mode(device.mode & 0o7777), number);
    if made == Err(Errno::EXIST) {
        let found = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let same =
            FileType::from_raw_mode(found.st_mode) == kind && (device.kind == 'p' || found.st_rdev == number);
        if !same {
            // What the image has there is not the device.
            unlinkat(dir, name, AtFlags::empty())?;
            mknodat(dir, name, kind, Mode::from_raw_mode(device.mode & 0o7777), number)?;
        }
    } else {
        made?;
    }
    // The mode above went through the umask. A node in a directory of ours is no link that somebody else planted.
    chmodat(dir, name, Mode::from_raw_mode(device.mode & 0o7777), AtFlags::empty())?;
    chownat(
        dir,
        name,
        Some(Uid::from_raw(device.uid)),
        Some(Gid::from_raw(device.gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )
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
