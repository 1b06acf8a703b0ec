use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::mount::MountAttrFlags;

use super::check;

/// `struct mount_attr` (linux/mount.h), version 0.
#[repr(C)]
pub(super) struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// What mount_setattr(2) changes.
#[derive(Clone, Copy)]
pub(crate) struct AttrChange<'fd> {
    /// MOUNT_ATTR_* to set; `MOUNT_ATTR_IDMAP` is added when `idmap` is given.
    pub(crate) set: MountAttrFlags,
    /// The user namespace whose map translates owners.
    pub(crate) idmap: Option<BorrowedFd<'fd>>,
    /// MS_PRIVATE.
    pub(crate) private: bool,
    /// Also everything mounted below.
    pub(crate) recursive: bool,
}

impl AttrChange<'_> {
    /// Sets these flags on one mount.
    pub(crate) fn flags(set: MountAttrFlags) -> Self {
        Self { set, idmap: None, private: false, recursive: false }
    }
}

impl MountAttr {
    /// From the kernel's own bits; `MOUNT_ATTR_IDMAP` is added when `idmap` is given.
    pub(super) fn from_bits(set: u64, clear: u64, propagation: u64, idmap: Option<BorrowedFd<'_>>) -> Self {
        let idmapped = if idmap.is_some() { u64::from(MountAttrFlags::MOUNT_ATTR_IDMAP.bits()) } else { 0 };
        Self {
            attr_set: set | idmapped,
            attr_clr: clear,
            propagation,
            userns_fd: idmap.map_or(0, |fd| fd.as_raw_fd() as u64),
        }
    }

    /// As the kernel reads it.
    pub(super) fn of(change: &AttrChange<'_>) -> Self {
        let mut set = change.set;
        if change.idmap.is_some() {
            set |= MountAttrFlags::MOUNT_ATTR_IDMAP;
        }
        Self {
            attr_set: u64::from(set.bits()),
            attr_clr: 0,
            propagation: if change.private { libc::MS_PRIVATE } else { 0 },
            userns_fd: change.idmap.map_or(0, |fd| fd.as_raw_fd() as u64),
        }
    }
}

/// mount_setattr(2) on the mount that `mount` is the root of.
pub(crate) fn mount_setattr(mount: BorrowedFd<'_>, change: AttrChange<'_>) -> io::Result<()> {
    set_attr(mount, &MountAttr::of(&change), change.recursive)
}

pub(super) fn set_attr(mount: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a valid empty C string, `attr` is borrowed across the call and its size is given.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}
