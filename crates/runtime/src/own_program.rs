//! This program, where nobody can write to it.
//!
//! A container without a user namespace runs as the host's root. It reaches the program that makes it, or that enters
//! it, through `/proc/PID/exe`, by a script whose interpreter is `/proc/self/exe` if need be, and can overwrite it once
//! it has ended (CVE-2019-5736). Executed through a read-only mount of its own, in no mount namespace, it is reached
//! through that mount only: opening it for writing is refused (EROFS), and nobody but its maker could change the mount.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, StatVfsMountFlags, statvfs};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use crate::Error;
use crate::detached::host;
use crate::sys::{AttrChange, mount_setattr};

const SELF: &str = "/proc/self/exe";

/// A read-only mount of this program, to be executed through `/proc/self/fd`; none if it runs from one already, or if
/// this process may mount nothing: then it can make no container that shares the host's ids.
///
/// # Errors
/// When the kernel refuses the mount.
pub fn read_only_program() -> Result<Option<OwnedFd>, Error> {
    let path = SELF.as_ref();
    if statvfs(SELF).map_err(host("look at", path))?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(None);
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = match open_tree(CWD, SELF, flags) {
        Err(Errno::PERM) => return Ok(None),
        mount => mount.map_err(host("clone the mount of", path))?,
    };
    mount_setattr(mount.as_fd(), AttrChange::flags(MountAttrFlags::MOUNT_ATTR_RDONLY))
        .map_err(|source| Error::Host { act: "make read-only", path: path.to_owned(), source })?;
    Ok(Some(mount))
}
