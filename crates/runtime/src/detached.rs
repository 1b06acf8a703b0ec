//! The parent's share of the mounts: everything that needs the host's privileges, made detached.
//!
//! ```text
//! layer n … layer 0    open_tree(CLONE) + idmap of the container ─┐
//! WRITABLE/upper, work ───────────────────────────────────────────┴▶ overlay (fsopen … fsmount)
//! bound path           open_tree(CLONE, RECURSIVE) + idmap + ro, nosuid, nodev
//! device node          open_tree(CLONE), after a look at what it is
//! ```
//!
//! Nothing here is visible in any mount namespace; a descriptor that is not handed on takes its mount
//! along. Paths are the host's and trusted up to their last component, which is never a symbolic link.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corral_spec::NetworkMode;
use corral_spec::record::{BindIds, IdMap, Launch, Mount, MountKind, Root};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, fstat, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, open_tree,
};

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
    /// The host's /dev/null, verified: what covers a masked file.
    pub(crate) null: OwnedFd,
}

/// How many descriptors [`Detached`] has for this launch.
pub(crate) fn count(launch: &Launch) -> usize {
    2 + launch.mounts.iter().filter(|mount| from_host(mount, launch)).count() + launch.devices.len()
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
    /// Makes them all; `userns` is the container's user namespace.
    pub(crate) fn make(launch: &Launch, userns: Option<BorrowedFd<'_>>) -> Result<Self, Error> {
        let root = overlay(&launch.root, launch, userns)?;
        let mounts = launch
            .mounts
            .iter()
            .filter(|mount| from_host(mount, launch))
            .map(|mount| bound(mount, launch.ids, userns))
            .collect::<Result<_, _>>()?;
        let devices =
            launch.devices.iter().map(|device| device_node(device.as_path())).collect::<Result<_, _>>()?;
        Ok(Self { root, mounts, devices, null: device_node(Path::new("/dev/null"))? })
    }

    /// In the order in which the child takes them.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        [&self.root, &self.null]
            .into_iter()
            .chain(&self.mounts)
            .chain(&self.devices)
            .map(AsFd::as_fd)
            .collect()
    }

    /// The child's side of [`Self::fds`].
    pub(crate) fn from_fds(fds: Vec<OwnedFd>, launch: &Launch) -> Option<Self> {
        let mut fds = fds.into_iter();
        let (root, null) = (fds.next()?, fds.next()?);
        let devices = launch.devices.len();
        let mut mounts: Vec<_> = fds.collect();
        let devices = mounts.split_off(mounts.len().checked_sub(devices)?);
        Some(Self { root, mounts, devices, null })
    }
}

/// Opens a host path once, for use by descriptor; a final symbolic link or a magic link is refused.
fn open_path(path: &Path) -> Result<(OwnedFd, Stat), Error> {
    let host = |act| {
        move |errno: rustix::io::Errno| Error::Host { act, path: path.to_owned(), source: errno.into() }
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS).map_err(host("open"))?;
    let stat = fstat(&fd).map_err(host("look at"))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Err(host("use a symbolic link:")(rustix::io::Errno::LOOP));
    }
    Ok((fd, stat))
}

/// A detached copy of the mount under `fd`, from there downwards.
fn clone_tree(fd: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<OwnedFd, Error> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(fd, "", flags).map_err(|errno| Error::Host {
        act: "clone its mount",
        path: path.to_owned(),
        source: errno.into(),
    })
}

/// Sets flags and the id map of a detached mount; a refused id map has its own error.
fn set(mount: &OwnedFd, change: AttrChange<'_>, path: &Path) -> Result<(), Error> {
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

/// The overlay of the image's layers and the container's writable directory. It is made with the host's
/// credentials; owners in the upper directory are stored as host ids of the container's range.
fn overlay(root: &Root, launch: &Launch, userns: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Error> {
    if root.lowers.is_empty() {
        return Err(Error::Launch("the image has no layers".to_owned()));
    }
    let lowers = root.lowers.iter().map(|path| layer(path, userns)).collect::<Result<Vec<_>, _>>()?;
    let (upper, stat) = open_path(&root.writable.join("upper"))?;
    let (work, _) = open_path(&root.writable.join("work"))?;
    own_root(&upper, &stat, launch.ids, &root.writable)?;
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| Error::Overlay { log: String::new(), source: errno.into() })?;
    let made = || -> io::Result<OwnedFd> {
        fsconfig_set_string(&fs, "source", "overlay")?;
        for lower in &lowers {
            fsconfig_set_fd(&fs, "lowerdir+", lower)?;
        }
        fsconfig_set_fd(&fs, "upperdir", &upper)?;
        fsconfig_set_fd(&fs, "workdir", &work)?;
        // Features that would need the host's trust in attributes of the image, or that do not survive a
        // layer being moved, stay off whatever the kernel was built with.
        for (key, value) in
            [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"), ("xino", "off")]
        {
            fsconfig_set_string(&fs, key, value)?;
        }
        if root.volatile {
            fsconfig_set_flag(&fs, "volatile")?;
        }
        fsconfig_create(&fs)?;
        let mut attr = MountAttrFlags::MOUNT_ATTR_NODEV;
        if launch.confinement.no_new_privileges {
            attr |= MountAttrFlags::MOUNT_ATTR_NOSUID;
        }
        Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attr)?)
    };
    made().map_err(|source| Error::Overlay { log: kernel_log(&fs), source })
}

/// One layer, its owners shifted into the container's range.
fn layer(path: &Path, userns: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Error> {
    let (fd, _) = open_path(path)?;
    let mount = clone_tree(fd.as_fd(), path, false)?;
    if let Some(userns) = userns {
        let change = AttrChange { idmap: Some(userns), ..AttrChange::flags(MountAttrFlags::empty()) };
        set(&mount, change, path)?;
    }
    Ok(mount)
}

/// The upper directory gives the container's root its owner and mode. It is set once: a container that
/// is started again keeps what it did to its root.
fn own_root(upper: &OwnedFd, stat: &Stat, ids: Option<IdMap>, path: &Path) -> Result<(), Error> {
    let Some(ids) = ids else { return Ok(()) };
    if (ids.host..ids.host + ids.count).contains(&stat.st_uid) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(ids.host), Gid::from_raw(ids.host));
    rustix::fs::chownat(upper, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
        .and_then(|()| match stat.st_mode & 0o7777 {
            0o755 => Ok(()),
            _ => rustix::fs::chmodat(upper, ".", Mode::from_raw_mode(0o755), AtFlags::empty()),
        })
        .map_err(|errno| Error::Host {
            act: "give the writable layer its owner",
            path: path.to_owned(),
            source: errno.into(),
        })
}

/// What the kernel wrote about a file system context, as ` (…)`.
fn kernel_log(fs: &OwnedFd) -> String {
    let mut lines = Vec::new();
    let mut buffer = [0; 512];
    while let Ok(length @ 1..) = rustix::io::read(fs, &mut buffer) {
        lines.push(String::from_utf8_lossy(&buffer[..length]).trim().to_owned());
    }
    if lines.is_empty() { String::new() } else { format!(" ({})", lines.join("; ")) }
}

/// A bound path, or the host's sysfs.
fn bound(mount: &Mount, ids: Option<IdMap>, userns: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Error> {
    let mut flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    if mount.no_exec {
        flags |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
    }
    let MountKind::Bind { source, ids: owners } = &mount.kind else {
        let path = Path::new("/sys");
        let (fd, _) = open_path(path)?;
        let tree = clone_tree(fd.as_fd(), path, false)?;
        set(&tree, AttrChange::flags(flags | MountAttrFlags::MOUNT_ATTR_RDONLY), path)?;
        return Ok(tree);
    };
    if mount.read_only {
        flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    let (fd, _) = open_path(source)?;
    let tree = clone_tree(fd.as_fd(), source, true)?;
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

/// A device node of the host, after a look at what it is: a symbolic link, a file or another device in
/// its place is refused (CVE-2025-31133).
fn device_node(path: &Path) -> Result<OwnedFd, Error> {
    let (fd, stat) = open_path(path)?;
    let is = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let kind = FileType::from_raw_mode(stat.st_mode);
    let expected =
        KNOWN_DEVICES.iter().find(|(known, _)| Path::new(known) == path).map(|(_, number)| *number);
    if kind != FileType::CharacterDevice || expected.is_some_and(|number| number != is) {
        return Err(Error::Launch(format!(
            "{} is not the character device it should be; repair the host's /dev",
            path.display()
        )));
    }
    let tree = clone_tree(fd.as_fd(), path, false)?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    set(&tree, AttrChange { private: true, ..AttrChange::flags(flags) }, path)?;
    Ok(tree)
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
            assert!(open_path(path).is_err() || device_node(path).is_err(), "{}", path.display());
        };
        refuse("/etc/passwd");
        refuse("/dev/fd");
        refuse("/proc/self/exe");
        refuse("/nowhere");
    }
}
