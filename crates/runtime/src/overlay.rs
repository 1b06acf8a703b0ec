//! The container's root: an overlay of the image's layers and one writable directory, made detached.
//!
//! ```text
//! layer n … layer 0    open_tree(CLONE) + idmap of the container ─┐
//! WRITABLE/upper, work ───────────────────────────────────────────┴▶ fsopen("overlay") … fsmount
//! ```
//!
//! It is made with the host's credentials and mounted for the whole container range: layers are read
//! through an id map, and what is written is stored with the container's host ids. Layers are named by
//! descriptor, so no path is quoted and their number is not bounded. Before Linux 6.15 an overlay takes no
//! detached layer: then a short-lived child attaches them in a mount namespace of its own, where they have
//! short relative names.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use corral_spec::record::{IdMap, Launch, Root};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chmodat, chownat, fstat, mkdirat, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};
use rustix::process::fchdir;

use crate::channel::{Channel, Word};
use crate::detached::{clone_own, host, set};
use crate::running::Child;
use crate::sys::{AttrChange, Forked, exit, fork};
use crate::{Error, attach};

/// Longest value that fsconfig(2) takes.
const LONGEST_OPTION: usize = 255;

/// The parts, and how they are mounted.
pub(crate) struct Overlay<'l> {
    root: &'l Root,
    lowers: Vec<OwnedFd>,
    upper: OwnedFd,
    work: OwnedFd,
    attr: MountAttrFlags,
    /// Whether its marks are `user.` attributes: nobody but the host's root may use those of `trusted.`.
    user_marks: bool,
}

/// Makes the root of this launch; `userns` is the container's user namespace.
pub(crate) fn overlay(launch: &Launch, userns: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Error> {
    let root = &launch.root;
    if root.lowers.is_empty() {
        return Err(Error::Launch("the image has no layers".to_owned()));
    }
    let lowers = root.lowers.iter().map(|path| layer(path, userns)).collect::<Result<_, _>>()?;
    let mut attr = MountAttrFlags::MOUNT_ATTR_NODEV;
    attr.set(MountAttrFlags::MOUNT_ATTR_NOSUID, launch.confinement.no_new_privileges);
    let overlay = Overlay::of(root, lowers, attr, launch.shared.is_some())?;
    own_root(&overlay.upper, launch.ids, &root.writable)?;
    overlay.join()
}

/// Layers as one mount that nobody can write to; `scratch` holds the `upper` and `work` that overlayfs wants.
pub(crate) fn layers(
    lowers: &[PathBuf],
    scratch: &Path,
    launch: &Launch,
    userns: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, Error> {
    let mounts = lowers.iter().map(|path| layer(path, userns)).collect::<Result<_, _>>()?;
    let root =
        Root { lowers: lowers.to_vec(), writable: scratch.to_owned(), volatile: false, read_only: true };
    let attr = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_RDONLY;
    let overlay = Overlay::of(&root, mounts, attr, launch.shared.is_some())?;
    own_root(&overlay.upper, launch.ids, scratch)?;
    overlay.join()
}

impl<'l> Overlay<'l> {
    /// These layers, the topmost first, and the root's writable directory, with its `upper` and `work`.
    pub(crate) fn of(
        root: &'l Root,
        lowers: Vec<OwnedFd>,
        attr: MountAttrFlags,
        user_marks: bool,
    ) -> Result<Self, Error> {
        let upper = open_directory(&root.writable.join("upper"))?;
        let work = open_directory(&root.writable.join("work"))?;
        Ok(Self { root, lowers, upper, work, attr, user_marks })
    }

    /// Joins them, in the one way or the other.
    pub(crate) fn join(&self) -> Result<OwnedFd, Error> {
        match self.by_descriptor() {
            Err(Error::Overlay { source, .. }) if takes_no_descriptors(&source) => self.in_child(),
            made => made,
        }
    }

    fn by_descriptor(&self) -> Result<OwnedFd, Error> {
        self.mount(|fs| {
            self.lowers.iter().try_for_each(|lower| fsconfig_set_fd(fs, "lowerdir+", lower))?;
            fsconfig_set_fd(fs, "upperdir", &self.upper)?;
            Ok(fsconfig_set_fd(fs, "workdir", &self.work)?)
        })
    }

    /// Mounts what `name` has named, with the options that are always the same.
    fn mount(&self, name: impl FnOnce(&OwnedFd) -> io::Result<()>) -> Result<OwnedFd, Error> {
        let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| Error::Overlay { log: String::new(), source: errno.into() })?;
        let made = || -> io::Result<OwnedFd> {
            fsconfig_set_string(&fs, "source", "overlay")?;
            name(&fs)?;
            // Features that would need the host's trust in attributes of the image, or that do not survive a
            // layer being moved, stay off whatever the kernel was built with.
            for (key, value) in
                [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"), ("xino", "off")]
            {
                fsconfig_set_string(&fs, key, value)?;
            }
            if self.user_marks {
                fsconfig_set_flag(&fs, "userxattr")?;
            }
            if self.root.volatile {
                fsconfig_set_flag(&fs, "volatile")?;
            }
            fsconfig_create(&fs)?;
            Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, self.attr)?)
        };
        made().map_err(|source| Error::Overlay { log: self.log(&fs), source })
    }

    /// Has a child make it, in a mount namespace of its own.
    fn in_child(&self) -> Result<OwnedFd, Error> {
        let (parent, child) = Channel::pair()?;
        let mut helper = match fork(libc::CLONE_NEWNS, None).map_err(Error::Namespaces)? {
            Forked::Child => {
                drop(parent);
                match self.by_path().and_then(|made| {
                    let sent = child.send(Word::Mounts, &[], &[made.as_fd()]);
                    sent.map_err(|error| Error::inside("hand over the root file system", error))
                }) {
                    Ok(()) => exit(0),
                    Err(error) => {
                        child.send_failure(&error);
                        exit(1)
                    }
                }
            }
            Forked::Parent { pid, pidfd } => Child::new(pid, pidfd),
        };
        drop(child);
        let message = parent.answer("mounting the root file system");
        helper.wait()?;
        let message = message?;
        let failure = message.failure();
        message
            .fds
            .into_iter()
            .next()
            .ok_or(failure.unwrap_or(Error::Died { act: "mounting the root file system" }))
    }

    /// The child: attaches the layers below a memory file system, and names them relative to it.
    fn by_path(&self) -> Result<OwnedFd, Error> {
        attach::cut_propagation()?;
        let writable = clone_own(&self.root.writable, false)?;
        let names: Vec<String> = (0..self.lowers.len()).map(|number| number.to_string()).collect();
        let lowerdir = names.join(":");
        if lowerdir.len() > LONGEST_OPTION {
            let count = names.len();
            return Err(Error::Launch(format!("{count} layers are too many for a kernel before Linux 6.15")));
        }
        let named = || -> Result<(), rustix::io::Errno> {
            let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_create(&fs)?;
            let base = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
            move_mount(&base, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
            let layers = names.iter().map(String::as_str).zip(&self.lowers);
            for (name, mount) in layers.chain([("w", &writable)]) {
                mkdirat(&base, name, Mode::from_raw_mode(0o700))?;
                move_mount(mount, "", &base, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
            }
            fchdir(&base)
        };
        named().map_err(|errno| Error::inside("attach the layers", errno))?;
        self.mount(|fs| {
            fsconfig_set_string(fs, "lowerdir", lowerdir.as_str())?;
            fsconfig_set_string(fs, "upperdir", "w/upper")?;
            Ok(fsconfig_set_string(fs, "workdir", "w/work")?)
        })
    }

    /// What is known about a refusal, as ` (…)`: the kernel's own words, and the case that it has none for.
    fn log(&self, fs: &OwnedFd) -> String {
        let mut lines = Vec::new();
        let mut buffer = [0; 512];
        while let Ok(length @ 1..) = rustix::io::read(fs, &mut buffer) {
            lines.push(String::from_utf8_lossy(&buffer[..length]).trim().to_owned());
        }
        if self.root.volatile && self.root.writable.join("work/work/incompat/volatile").exists() {
            lines.push("a volatile writable layer can be used only once".to_owned());
        }
        if lines.is_empty() { String::new() } else { format!(" ({})", lines.join("; ")) }
    }
}

/// Whether this may be the answer of a kernel whose overlay knows its layers by name only: EOPNOTSUPP where it
/// has the old mount API (before Linux 6.5), EINVAL where its options are strings (before 6.13) or where it
/// refuses what is not attached (before 6.15).
fn takes_no_descriptors(source: &io::Error) -> bool {
    matches!(source.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// One layer, its owners shifted into the container's range.
fn layer(path: &Path, userns: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Error> {
    let mount = clone_own(path, false)?;
    if let Some(userns) = userns {
        let change = AttrChange { idmap: Some(userns), ..AttrChange::flags(MountAttrFlags::empty()) };
        set(&mount, change, path)?;
    }
    Ok(mount)
}

/// Opens a directory of ours for use by descriptor; its last component is no link.
fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(host("open", path))
}

/// The upper directory gives the container's root its owner and mode. It is set once: a container that
/// is started again keeps what it did to its root.
fn own_root(upper: &OwnedFd, ids: Option<IdMap>, path: &Path) -> Result<(), Error> {
    let Some(ids) = ids else { return Ok(()) };
    let fail = host("give the writable layer its owner", path);
    let stat = fstat(upper).map_err(&fail)?;
    if (ids.host..ids.host + ids.count).contains(&stat.st_uid) {
        return Ok(());
    }
    if stat.st_mode & 0o7777 != 0o755 {
        chmodat(upper, ".", Mode::from_raw_mode(0o755), AtFlags::empty()).map_err(&fail)?;
    }
    let (uid, gid) = (Uid::from_raw(ids.host), Gid::from_raw(ids.host));
    chownat(upper, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).map_err(&fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_kernels_are_told_from_refusals() {
        for (errno, older) in
            [(libc::EOPNOTSUPP, true), (libc::EINVAL, true), (libc::EPERM, false), (libc::ENODEV, false)]
        {
            assert_eq!(takes_no_descriptors(&io::Error::from_raw_os_error(errno)), older, "{errno}");
        }
    }
}
