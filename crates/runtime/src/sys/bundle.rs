use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::check;
use super::mount::{MountAttr, set_attr};

/// mount_setattr(2) with everything that it can change, given as the kernel's bits.
pub(crate) fn change_mount(
    mount: BorrowedFd<'_>,
    (set, clear, propagation): (u64, u64, u64),
    idmap: Option<BorrowedFd<'_>>,
    recursive: bool,
) -> io::Result<()> {
    set_attr(mount, &MountAttr::from_bits(set, clear, propagation, idmap), recursive)
}

/// unshare(CLONE_NEWTIME): for the children of this process.
pub(crate) fn unshare_time() -> io::Result<()> {
    // SAFETY: no memory or descriptor is affected.
    check(unsafe { libc::unshare(libc::CLONE_NEWTIME) }.into()).map(drop)
}

/// keyctl(KEYCTL_JOIN_SESSION_KEYRING): a new session keyring of this name.
pub(crate) fn join_session_keyring(name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: the name lives across the call.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })
        .map(drop)
}

/// Closes every descriptor from `first` on but `kept`. For a process that owns none of them any more.
pub(crate) fn close_all_but(first: RawFd, kept: RawFd) -> io::Result<()> {
    let close = |from: RawFd, to: libc::c_uint| {
        if from as libc::c_uint > to {
            return Ok(());
        }
        // SAFETY: three plain numbers; by the caller's contract no owner of these descriptors runs again.
        check(unsafe { libc::syscall(libc::SYS_close_range, from as libc::c_uint, to, 0) }).map(drop)
    };
    // A number below all of them keeps none.
    if kept > first {
        close(first, kept as libc::c_uint - 1)?;
    }
    close(kept.max(first - 1) + 1, libc::c_uint::MAX)
}

/// personality(2).
pub(crate) fn personality(persona: u32) -> io::Result<()> {
    // SAFETY: a plain number.
    check(unsafe { libc::personality(persona.into()) }.into()).map(drop)
}

/// ioprio_set(2) for this process.
pub(crate) fn set_io_priority(class: u32, data: u32) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, class << 13 | data) }).map(drop)
}

/// set_mempolicy(2) for this process: the mode with its flags, and a bit for each node.
pub(crate) fn set_memory_policy(mode: u32, nodes: &[libc::c_ulong]) -> io::Result<()> {
    // The kernel takes one bit fewer than it is told (mm/mempolicy.c, get_nodes).
    let bits = nodes.len() * libc::c_ulong::BITS as usize + 1;
    // SAFETY: the mask lives across the call and has that many bits but one.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, nodes.as_ptr(), bits) }).map(drop)
}

/// `struct sched_attr` (linux/sched/types.h), version 0.
#[repr(C)]
pub(crate) struct SchedAttr {
    pub(crate) size: u32,
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    pub(crate) runtime: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
}

/// sched_setattr(2) for this process.
pub(crate) fn set_scheduler(attr: &SchedAttr) -> io::Result<()> {
    // SAFETY: the attribute lives across the call and says its size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(attr), 0) }).map(drop)
}

/// Installs a seccomp filter with SECCOMP_FILTER_FLAG_* flags; a listener if one of them asks for it.
pub(crate) fn install_filter(program: &[libc::sock_filter], flags: u64) -> io::Result<Option<OwnedFd>> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let fprog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `fprog` describes `program`, which lives across the call; the kernel only reads it.
    let got = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const fprog)
    })?;
    let listens = flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0;
    // SAFETY: with that flag the answer is a fresh descriptor that nothing else owns.
    Ok(listens.then(|| unsafe { OwnedFd::from_raw_fd(got as RawFd) }))
}

/// Does something with a descriptor that this process inherited under this number and that nothing in it owns.
pub(crate) fn with_number<T>(number: RawFd, act: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
    // SAFETY: borrowed for the call only; a number without a descriptor is answered by EBADF.
    act(unsafe { BorrowedFd::borrow_raw(number) })
}
