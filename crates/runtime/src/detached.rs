//! The parent's share of the mounts: everything that needs the host's privileges, made detached.
//!
//! ```text
//! layers, writable     the root, see overlay.rs
//! bound path           open_tree(CLONE, RECURSIVE) + idmap + ro, nosuid, nodev
//! /dev                 a tmpfs of the host's, with the nodes that every Linux has and those that were granted
//! other device node    open_tree(CLONE), after a look at what it is
//! ```
//!
//! Nothing here is visible in any mount namespace; a descriptor that is not handed on takes its mount
//! along. Paths are the host's and trusted up to their last component, which is never a symbolic link.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corral_spec::record::{BindIds, Launch, Mount, MountKind};
use corral_spec::{AbsPath, DeviceKind, DeviceNumber, HostDevice, NetworkMode, Weaker};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, chownat, fstat, lstat, makedev,
    mkdirat, mknodat, openat2,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen, open_tree,
};

use crate::Error;
use crate::caller::Caller;
use crate::idmap::owner_namespace;
use crate::overlay::layers;
use crate::sys::{AttrChange, mount_setattr};

/// Which parts of a launch the parent makes. Both sides ask, and get the same answers.
#[derive(Clone, Copy)]
pub(crate) struct Share<'l> {
    pub(crate) launch: &'l Launch,
    /// The launch's mount at /dev, if it is made here with its nodes in it.
    dev: Option<usize>,
}

impl<'l> Share<'l> {
    pub(crate) fn of(launch: &'l Launch, caller: Caller) -> Self {
        let is_dev = |mount: &Mount| {
            let memory = matches!(mount.kind, MountKind::Tmpfs { .. });
            memory && !mount.read_only && mount.target.as_path() == Path::new(DEV)
        };
        // Where nodes count, nobody may add one: without a user namespace of its own, a container with CAP_MKNOD could.
        let may = caller.may_make_devices && launch.ids.is_some();
        let dev = launch.mounts.iter().position(is_dev).filter(|_| may);
        Self { launch, dev }
    }

    /// Whether the parent makes this mount, which is the launch's at `index`. sysfs shows the caller's network
    /// namespace and can be mounted only by that namespace's owner: with the host's network it is a clone of the
    /// host's. So is procfs with the host's processes.
    pub(crate) fn has(self, index: usize, mount: &Mount) -> bool {
        match mount.kind {
            MountKind::Bind { .. } | MountKind::Layers { .. } => true,
            MountKind::Sysfs => self.launch.network == NetworkMode::Host && self.launch.ids.is_some(),
            MountKind::Proc => {
                self.launch.confinement.is_without(Weaker::PidHost) && self.launch.ids.is_some()
            }
            _ => self.is_dev(index),
        }
    }

    /// Whether it is the /dev that is made with its nodes.
    pub(crate) fn is_dev(self, index: usize) -> bool {
        self.dev == Some(index)
    }

    /// The launch's devices that are nodes of the host, bound: what is found on the host, and where it goes.
    pub(crate) fn bound_devices(self) -> impl Iterator<Item = BoundDevice<'l>> {
        let own =
            self.launch.devices.iter().filter(move |device| self.dev.is_none() || known(device).is_none());
        let own = own.map(|device| BoundDevice { source: device.as_path(), target: device, granted: None });
        let granted = self.launch.host_devices.iter().filter(move |_| self.dev.is_none());
        own.chain(granted.map(|device| BoundDevice {
            source: &device.source,
            target: &device.target,
            granted: Some(device),
        }))
    }

    /// Whether the container's own /dev/null can cover masked files.
    fn has_null(self) -> bool {
        self.dev.is_some() && self.launch.devices.iter().any(|device| device.as_path() == Path::new(NULL))
    }

    /// How many descriptors [`Detached`] has.
    pub(crate) fn count(self) -> usize {
        let made = |(index, mount)| self.has(index, mount);
        let mounts = self.launch.mounts.iter().enumerate().filter(|&of| made(of)).count();
        1 + mounts + self.bound_devices().count() + usize::from(!self.has_null())
    }
}

/// A node of the host.
#[derive(Clone, Copy)]
pub(crate) struct BoundDevice<'l> {
    source: &'l Path,
    /// Where it goes.
    pub(crate) target: &'l AbsPath,
    granted: Option<&'l HostDevice>,
}

/// All that the child attaches and cannot make itself.
pub(crate) struct Detached {
    /// The overlay root.
    pub(crate) root: OwnedFd,
    /// One for each mount of the launch that [`Share::has`], in order.
    pub(crate) mounts: Vec<OwnedFd>,
    /// The device nodes that are bound, in order.
    pub(crate) devices: Vec<OwnedFd>,
    /// The host's /dev/null, to cover masked files, where the container has none.
    pub(crate) null: Option<OwnedFd>,
}

const DEV: &str = "/dev";
const NULL: &str = "/dev/null";

impl Detached {
    /// Makes all but the root; `userns` is the container's user namespace.
    pub(crate) fn make(
        share: Share<'_>,
        root: OwnedFd,
        userns: Option<BorrowedFd<'_>>,
    ) -> Result<Self, Error> {
        let launch = share.launch;
        let make = |(index, mount): (usize, &Mount)| match &mount.kind {
            MountKind::Tmpfs { size, mode, .. } => dev(launch, mount, *size, *mode),
            _ if share.has(index, mount) => bound(mount, launch, userns),
            _ => Err(Error::Launch(format!("{} is not for the parent to mount", mount.target))),
        };
        let shared = launch.mounts.iter().enumerate().filter(|&(index, mount)| share.has(index, mount));
        Ok(Self {
            root,
            mounts: shared.map(make).collect::<Result<_, _>>()?,
            devices: share
                .bound_devices()
                .map(|device| match device.granted {
                    Some(granted) => granted_node(granted),
                    None => device_node(device.source),
                })
                .collect::<Result<_, _>>()?,
            null: (!share.has_null()).then(private_null).transpose()?,
        })
    }

    /// In the order in which the child takes them.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let rest = self.mounts.iter().chain(&self.devices).chain(&self.null);
        std::iter::once(&self.root).chain(rest).map(AsFd::as_fd).collect()
    }

    /// The child's side of [`Self::fds`].
    pub(crate) fn from_fds(fds: Vec<OwnedFd>, share: Share<'_>) -> Option<Self> {
        let mut fds = fds.into_iter();
        let root = fds.next()?;
        let mut mounts: Vec<_> = fds.collect();
        let null = if share.has_null() { None } else { Some(mounts.pop()?) };
        let devices = mounts.split_off(mounts.len().checked_sub(share.bound_devices().count())?);
        Some(Self { root, mounts, devices, null })
    }
}

/// The container's /dev with its nodes, made with the host's privileges: nobody inside may make a node, and to
/// bind each of the host's costs a mount that the kernel has to take down again.
fn dev(launch: &Launch, mount: &Mount, size: Option<u64>, mode: u32) -> Result<OwnedFd, Error> {
    let fail = |errno: Errno| Error::inside("make the container's /dev", errno);
    let mut options = vec![("mode", format!("{mode:o}"))];
    options.extend(size.map(|bytes| ("size", bytes.to_string())));
    options.extend(launch.ids.iter().flat_map(|ids| ["uid", "gid"].map(|key| (key, ids.host.to_string()))));
    let mut attr = MountAttrFlags::MOUNT_ATTR_NOSUID;
    attr.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, mount.no_exec);
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(fail)?;
    options
        .iter()
        .try_for_each(|(key, value)| fsconfig_set_string(&fs, *key, value.as_str()))
        .map_err(fail)?;
    let dev = fsconfig_create(&fs)
        .and_then(|()| fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attr))
        .map_err(fail)?;
    let umask = rustix::process::umask(Mode::empty());
    let made = launch.devices.iter().filter_map(|device| Some((device, known(device)?))).try_for_each(
        |(device, (major, minor))| {
            let name = device.as_path().strip_prefix(DEV).unwrap_or(device.as_path());
            mknodat(&dev, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(major, minor))
                .map_err(|errno| Error::inside(format!("make the device {device}"), errno))
        },
    );
    let made = made
        .and_then(|()| launch.host_devices.iter().try_for_each(|device| make_granted(&dev, launch, device)));
    rustix::process::umask(umask);
    made.map(|()| dev)
}

/// A node of its own for a device of the host, in the container's /dev: made by number, after a look at what the
/// number belongs to now.
fn make_granted(dev: &OwnedFd, launch: &Launch, device: &HostDevice) -> Result<(), Error> {
    let fail = |errno: Errno| Error::inside(format!("make the device {}", device.target), errno);
    is_still(device, lstat(&device.source).map_err(host("look at", &device.source))?)?;
    let path = device.target.as_path();
    let name = path.strip_prefix(DEV).map_err(|_| Error::Launch(format!("{path:?} is not below /dev")))?;
    let id = |id: u32| match launch.ids {
        Some(ids) if id < ids.count => ids.host.saturating_add(id),
        Some(ids) => ids.host,
        None => id,
    };
    for parent in name
        .ancestors()
        .skip(1)
        .filter(|parent| !parent.as_os_str().is_empty())
        .collect::<Vec<_>>()
        .iter()
        .rev()
    {
        match mkdirat(dev, *parent, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let (uid, gid) = (Uid::from_raw(id(0)), Gid::from_raw(id(0)));
                chownat(dev, *parent, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(fail(errno)),
        }
    }
    let kind = match device.kind {
        DeviceKind::Char => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
    };
    let (number, mode) = (device.number, Mode::from_raw_mode(device.mode & 0o777));
    mknodat(dev, name, kind, mode, makedev(number.major, number.minor)).map_err(fail)?;
    let (uid, gid) = (Uid::from_raw(id(device.uid)), Gid::from_raw(id(device.gid)));
    chownat(dev, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(fail)
}

/// The host's own node, bound.
fn granted_node(device: &HostDevice) -> Result<OwnedFd, Error> {
    let (tree, stat) = clone_tree(&device.source, false)?;
    is_still(device, stat)?;
    Ok(tree)
}

/// A number that was given away since would open another device.
fn is_still(device: &HostDevice, stat: Stat) -> Result<(), Error> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => Some(DeviceKind::Char),
        FileType::BlockDevice => Some(DeviceKind::Block),
        _ => None,
    };
    let number =
        DeviceNumber { major: rustix::fs::major(stat.st_rdev), minor: rustix::fs::minor(stat.st_rdev) };
    if kind == Some(device.kind) && number == device.number {
        return Ok(());
    }
    Err(Error::Launch(format!(
        "{} is no longer the device {} {} that it was when the container was made; make the container anew",
        device.source.display(),
        device.kind.letter(),
        device.number
    )))
}

/// The number of a device that every Linux has.
fn known(device: &AbsPath) -> Option<(u32, u32)> {
    KNOWN_DEVICES.iter().find(|(path, _)| Path::new(path) == device.as_path()).map(|(_, number)| *number)
}

/// Wraps an error number in the act and the path.
pub(crate) fn host(act: &'static str, path: &Path) -> impl Fn(Errno) -> Error {
    move |errno| Error::Host { act, path: path.to_owned(), source: errno.into() }
}

/// A detached copy of the mount at `path`, from there downwards, and what it shows. The look-up is done once;
/// the last component is never followed, and a link there is refused.
pub(crate) fn clone_tree(path: &Path, recursive: bool) -> Result<(OwnedFd, Stat), Error> {
    let tree = clone_own(path, recursive)?;
    let stat = fstat(&tree).map_err(host("look at", path))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Err(host("use a symbolic link:", path)(Errno::LOOP));
    }
    Ok((tree, stat))
}

/// A detached copy of a bound path and of what is mounted below it.
fn clone_bound(source: &Path) -> Result<OwnedFd, Error> {
    let found = open_bound(source)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(&found, "", flags).map_err(host("open", source))
}

/// A bound path had no link in it when the container was made. One that is there now may be a container's, which could
/// write to a directory above it, and would choose what of the host it is given at its next start.
fn open_bound(source: &Path) -> Result<OwnedFd, Error> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename raced with the look-up (openat2(2)).
            Err(Errno::AGAIN) => {}
            Err(Errno::LOOP) => return Err(Error::Moved { path: source.to_owned() }),
            found => return found.map_err(host("open", source)),
        }
    }
}

/// A detached copy of what is at `subpath` below `source`, which a container may have filled: a link there leads
/// to where it would if `source` were the root, and is followed once, now.
fn clone_below(source: &Path, subpath: &Path) -> Result<OwnedFd, Error> {
    let shown = source.join(subpath);
    let fail = host("open", &shown);
    let root = open_bound(source)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = loop {
        match openat2(&root, subpath, flags, Mode::empty(), resolve) {
            // A rename raced with the look-up (openat2(2)).
            Err(Errno::AGAIN) => {}
            found => break found.map_err(&fail)?,
        }
    };
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(&found, "", flags).map_err(&fail)
}

/// As [`clone_tree`], of what the engine itself has made: no container could have put a link there.
pub(crate) fn clone_own(path: &Path, recursive: bool) -> Result<OwnedFd, Error> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(CWD, path, flags).map_err(host("open", path))
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

/// The layers of an image, a bound path, or the host's sysfs or procfs.
pub(crate) fn bound(
    mount: &Mount,
    launch: &Launch,
    userns: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, Error> {
    let mut flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    if mount.no_exec {
        flags |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
    }
    if let MountKind::Layers { lowers, scratch } = &mount.kind {
        return layers(lowers, scratch, launch, userns);
    }
    let MountKind::Bind { source, ids: owners, subpath } = &mount.kind else {
        let (path, more) = match mount.kind {
            MountKind::Proc => (Path::new("/proc"), MountAttrFlags::empty()),
            _ => (Path::new("/sys"), MountAttrFlags::MOUNT_ATTR_RDONLY),
        };
        let (tree, _) = clone_tree(path, false)?;
        set(&tree, AttrChange::flags(flags | more), path)?;
        return Ok(tree);
    };
    if mount.read_only {
        flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    let tree = match subpath {
        Some(subpath) => clone_below(source, subpath)?,
        None => clone_bound(source)?,
    };
    let helper;
    let idmap = match (owners, launch.ids) {
        (BindIds::Unmapped, _) | (BindIds::Container, None) => None,
        (BindIds::Owner { .. }, _) if launch.shared.is_some() => {
            return Err(Error::Launch(format!("{}: an ordinary user maps no owners", source.display())));
        }
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
