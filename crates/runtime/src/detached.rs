//! The parent's share of the mounts: everything that needs the host's privileges, made detached.
//!
//! ```text
//! layers, writable     the root, see overlay.rs
//! bound path           open_tree(CLONE, RECURSIVE) + idmap + ro, nosuid, nodev
//! device node          open_tree(CLONE), after a look at what it is
//! ```
//!
//! Nothing here is visible in any mount namespace; a descriptor that is not handed on takes its mount
//! along. Paths are the host's and trusted up to their last component, which is never a symbolic link.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corral_spec::NetworkMode;
use corral_spec::record::{BindIds, IdMap, Launch, Mount, MountKind};
use rustix::fs::{CWD, FileType, Stat, fstat};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use crate::Error;
use crate::idmap::owner_namespace;
use crate::sys::{AttrChange, mount_setattr};

/// All that the child attaches and cannot make itself.
pub(crate) struct Detached {
    /// The overlay root.
    pub(crate) root: OwnedFd,
    /// One for each mount of the launch that [`from_host`] says so of, in order.
    pub(crate) mounts: Vec<OwnedFd>,
    /// The device nodes of the launch, in order.
    pub(crate) devices: Vec<OwnedFd>,
    null: Null,
}

/// The host's /dev/null, which covers masked files.
enum Null {
    /// Among the devices.
    Device(usize),
    /// Made for this.
    Own(OwnedFd),
}

/// The node behind [`Null`].
const NULL: &str = "/dev/null";

/// How many descriptors [`Detached`] has for this launch.
pub(crate) fn count(launch: &Launch) -> usize {
    let mounts = launch.mounts.iter().filter(|mount| from_host(mount, launch)).count();
    1 + mounts + launch.devices.len() + usize::from(null_device(launch).is_none())
}

/// Where /dev/null is among the devices.
fn null_device(launch: &Launch) -> Option<usize> {
    launch.devices.iter().position(|device| device.as_path() == Path::new(NULL))
}

/// Whether the parent makes this mount. sysfs shows the caller's network namespace and can be mounted only
/// by that namespace's owner: with the host's network it is a clone of the host's.
pub(crate) fn from_host(mount: &Mount, launch: &Launch) -> bool {
    match mount.kind {
        MountKind::Bind { .. } => true,
        MountKind::Sysfs => launch.network == NetworkMode::Host && launch.ids.is_some(),
        _ => false,
    }
}

impl Detached {
    /// Makes all but the root; `userns` is the container's user namespace.
    pub(crate) fn make(
        launch: &Launch,
        root: OwnedFd,
        userns: Option<BorrowedFd<'_>>,
    ) -> Result<Self, Error> {
        let mounts = launch
            .mounts
            .iter()
            .filter(|mount| from_host(mount, launch))
            .map(|mount| bound(mount, launch.ids, userns))
            .collect::<Result<_, _>>()?;
        let devices =
            launch.devices.iter().map(|device| device_node(device.as_path())).collect::<Result<_, _>>()?;
        let null = match null_device(launch) {
            Some(index) => Null::Device(index),
            None => Null::Own(private_null()?),
        };
        Ok(Self { root, mounts, devices, null })
    }

    /// In the order in which the child takes them.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let null = match &self.null {
            Null::Own(null) => Some(null),
            Null::Device(_) => None,
        };
        let rest = self.mounts.iter().chain(&self.devices).chain(null);
        std::iter::once(&self.root).chain(rest).map(AsFd::as_fd).collect()
    }

    /// The child's side of [`Self::fds`].
    pub(crate) fn from_fds(fds: Vec<OwnedFd>, launch: &Launch) -> Option<Self> {
        let mut fds = fds.into_iter();
        let root = fds.next()?;
        let mut mounts: Vec<_> = fds.collect();
        let null = match null_device(launch) {
            Some(index) => Null::Device(index),
            None => Null::Own(mounts.pop()?),
        };
        let devices = mounts.split_off(mounts.len().checked_sub(launch.devices.len())?);
        Some(Self { root, mounts, devices, null })
    }

    /// What covers masked files, and whether it is attached somewhere already.
    pub(crate) fn null(&self) -> (BorrowedFd<'_>, bool) {
        match &self.null {
            Null::Device(index) => (self.devices[*index].as_fd(), true),
            Null::Own(null) => (null.as_fd(), false),
        }
    }
}

/// Wraps an error number in the act and the path.
pub(crate) fn host(act: &'static str, path: &Path) -> impl Fn(rustix::io::Errno) -> Error {
    move |errno| Error::Host { act, path: path.to_owned(), source: errno.into() }
}

/// A detached copy of the mount at `path`, from there downwards, and what it shows. The look-up is done once;
/// the last component is never followed, and a link there is refused.
pub(crate) fn clone_tree(path: &Path, recursive: bool) -> Result<(OwnedFd, Stat), Error> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    let tree = open_tree(CWD, path, flags).map_err(host("open", path))?;
    let stat = fstat(&tree).map_err(host("look at", path))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Err(host("use a symbolic link:", path)(rustix::io::Errno::LOOP));
    }
    Ok((tree, stat))
}

/// Sets flags and the id map of a detached mount; a refused id map has its own error.
pub(crate) fn set(mount: &OwnedFd, change: AttrChange<'_>, path: &Path) -> Result<(), Error> {
    mount_setattr(mount.as_fd(), change).map_err(|source| {
        let path = path.to_owned();
        match source.raw_os_error() {
            Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPERM) if change.idmap.is_some() => {
                Error::IdmapRefused { path, source }
            }
            _ => Error::Host { act: "set its mount's flags", path, source },
        }
    })
}

/// A bound path, or the host's sysfs.
fn bound(mount: &Mount, ids: Option<IdMap>, userns: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Error> {
    let mut flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    if mount.no_exec {
        flags |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
    }
    let MountKind::Bind { source, ids: owners } = &mount.kind else {
        let path = Path::new("/sys");
        let (tree, _) = clone_tree(path, false)?;
        set(&tree, AttrChange::flags(flags | MountAttrFlags::MOUNT_ATTR_RDONLY), path)?;
        return Ok(tree);
    };
    if mount.read_only {
        flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    let (tree, _) = clone_tree(source, true)?;
    let helper;
    let idmap = match (owners, ids) {
        (BindIds::Unmapped, _) | (BindIds::Container, None) => None,
        (BindIds::Container, Some(_)) => userns,
        (BindIds::Owner { .. }, Some(ids)) => {
            helper = owner_namespace(ids, owners)?;
            Some(helper.as_fd())
        }
        (BindIds::Owner { .. }, None) => {
            let text = format!("{}: owners are translated only with a user namespace", source.display());
            return Err(Error::Launch(text));
        }
    };
    set(&tree, AttrChange { set: flags, idmap, private: true, recursive: true }, source)?;
    Ok(tree)
}

/// A device node of the host, after a look at what was cloned: a symbolic link, a file or another device in
/// its place is refused (CVE-2025-31133).
fn device_node(path: &Path) -> Result<OwnedFd, Error> {
    let (tree, stat) = clone_tree(path, false)?;
    let is = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let expected =
        KNOWN_DEVICES.iter().find(|(known, _)| Path::new(known) == path).map(|(_, number)| *number);
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice
        || expected.is_some_and(|number| number != is)
    {
        return Err(Error::Launch(format!(
            "{} is not the character device it should be; repair the host's /dev",
            path.display()
        )));
    }
    Ok(tree)
}

/// /dev/null, such that what is mounted on top of it stays here.
fn private_null() -> Result<OwnedFd, Error> {
    let path = Path::new(NULL);
    let null = device_node(path)?;
    set(&null, AttrChange { private: true, ..AttrChange::flags(MountAttrFlags::empty()) }, path)?;
    Ok(null)
}

/// Documentation/admin-guide/devices.txt.
const KNOWN_DEVICES: [(&str, (u32, u32)); 6] = [
    ("/dev/null", (1, 3)),
    ("/dev/zero", (1, 5)),
    ("/dev/full", (1, 7)),
    ("/dev/random", (1, 8)),
    ("/dev/urandom", (1, 9)),
    ("/dev/tty", (5, 0)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_device_nodes() {
        let refuse = |path: &str| {
            let path = Path::new(path);
            assert!(device_node(path).is_err(), "{}", path.display());
        };
        refuse("/etc/passwd");
        refuse("/dev/fd");
        refuse("/proc/self/exe");
        refuse("/nowhere");
    }
}
