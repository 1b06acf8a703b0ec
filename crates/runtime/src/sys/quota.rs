use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// `struct fsxattr` (linux/fs.h).
#[repr(C)]
#[derive(Default)]
struct FsXAttr {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    pad: [u8; 8],
}

/// FS_IOC_FSGETXATTR, `_IOR('X', 31, struct fsxattr)`, and FS_IOC_FSSETXATTR, `_IOW('X', 32, struct fsxattr)`.
const GET_XATTR: u32 = 0x801c_581f;
const SET_XATTR: u32 = 0x401c_5820;
/// FS_XFLAG_PROJINHERIT: what is made in the directory belongs to its project.
const INHERIT: u32 = 0x200;

/// `struct if_dqblk` (linux/quota.h).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Quota {
    /// In units of 1,024 bytes.
    hard_blocks: u64,
    soft_blocks: u64,
    bytes: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

/// Q_GETQUOTA, Q_SETQUOTA and Q_XGETQSTATV (linux/dqblk_xfs.h), of projects.
const GET: u32 = 0x80_0007;
const SET: u32 = 0x80_0008;
const STATE: u32 = 0x5808;
const PROJECTS: u32 = 2;
/// QIF_BLIMITS | QIF_ILIMITS.
const LIMITS: u32 = 5;
/// FS_QUOTA_PDQ_ENFD.
const ENFORCED: u16 = 1 << 5;

/// Puts a directory, and what will be made in it, into a project.
pub(crate) fn set_project(dir: BorrowedFd<'_>, project: u32) -> io::Result<()> {
    let mut attributes = FsXAttr::default();
    // SAFETY: the kernel writes one struct fsxattr, which lives across the call.
    check(unsafe { libc::ioctl(dir.as_raw_fd(), GET_XATTR as _, &raw mut attributes) }.into())?;
    attributes.project = project;
    attributes.flags |= INHERIT;
    // SAFETY: the kernel reads one struct fsxattr, which lives across the call.
    check(unsafe { libc::ioctl(dir.as_raw_fd(), SET_XATTR as _, &raw const attributes) }.into()).map(drop)
}

/// The project of a directory, if it hands it on.
pub(crate) fn project(dir: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let mut attributes = FsXAttr::default();
    // SAFETY: the kernel writes one struct fsxattr, which lives across the call.
    check(unsafe { libc::ioctl(dir.as_raw_fd(), GET_XATTR as _, &raw mut attributes) }.into())?;
    Ok((attributes.flags & INHERIT != 0).then_some(attributes.project))
}

/// Whether limits of projects are enforced on the file system.
pub(crate) fn enforces_projects(on: BorrowedFd<'_>) -> io::Result<bool> {
    // struct fs_quota_statv has 160 bytes; FS_QSTATV_VERSION1 in the first, qs_flags in the second pair.
    let mut state = [0_u64; 32];
    state[0] = u64::from_ne_bytes([1, 0, 0, 0, 0, 0, 0, 0]);
    quotactl(on, STATE, 0, state.as_mut_ptr().cast())?;
    let [_, _, low, high, ..] = state[0].to_ne_bytes();
    Ok(u16::from_ne_bytes([low, high]) & ENFORCED != 0)
}

/// Bytes and inodes of a project; nothing of one that the file system has never seen.
pub(crate) fn project_usage(on: BorrowedFd<'_>, project: u32) -> io::Result<(u64, u64)> {
    let mut quota = Quota::default();
    match quotactl(on, GET, project, (&raw mut quota).cast()) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok((0, 0)),
        done => done.map(|()| (quota.bytes, quota.inodes)),
    }
}

/// Sets a project's hard limits; 0 is none.
pub(crate) fn limit_project(on: BorrowedFd<'_>, project: u32, bytes: u64, inodes: u64) -> io::Result<()> {
    let mut quota =
        Quota { hard_blocks: bytes.div_ceil(1024), hard_inodes: inodes, valid: LIMITS, ..Quota::default() };
    quotactl(on, SET, project, (&raw mut quota).cast())
}

/// quotactl_fd(2), since Linux 5.14.
fn quotactl(on: BorrowedFd<'_>, command: u32, id: u32, address: *mut libc::c_void) -> io::Result<()> {
    // SAFETY: each caller passes what its command reads or writes, no smaller than the kernel's struct.
    check(unsafe {
        libc::syscall(libc::SYS_quotactl_fd, on.as_raw_fd(), command << 8 | PROJECTS, id, address)
    })
    .map(drop)
}
