use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;
use super::mount::{AttrChange, MountAttr};

/// open_tree_attr(2), Linux 6.15: a detached clone of the mount at `fd`, changed before anyone can use it.
pub(crate) fn open_tree_attr(fd: BorrowedFd<'_>, change: AttrChange<'_>) -> io::Result<OwnedFd> {
    const OPEN_TREE_ATTR: libc::c_long = 467;
    const OPEN_TREE_CLONE: libc::c_int = 1;
    let attr = MountAttr::of(&change);
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | libc::AT_EMPTY_PATH;
    // SAFETY: the path is a valid empty C string, `attr` lives across the call and its size is given.
    let tree = check(unsafe {
        libc::syscall(
            OPEN_TREE_ATTR,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })?;
    // SAFETY: a fresh descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(tree as i32) })
}

/// Any system call with numbers and null pointers only, to see whether a filter lets it through. The
/// caller chooses arguments under which the kernel would refuse or do nothing.
#[cfg(test)]
pub(crate) fn attempt(number: i64, args: [u64; 3]) -> io::Result<i64> {
    // SAFETY: no argument points into this process's memory, by the caller's choice of numbers.
    check(unsafe { libc::syscall(number, args[0], args[1], args[2], 0_u64, 0_u64, 0_u64) })
}
