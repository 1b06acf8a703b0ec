use std::ffi::{CStr, CString, NulError, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;

use rustix::process::Pid;

use super::check;

/// Which side of [`fork`] this is.
pub(crate) enum Forked {
    /// The old process.
    Parent {
        /// The child's number in the caller's pid namespace.
        pid: i32,
        /// The child.
        pidfd: OwnedFd,
    },
    /// The new process, on a copy of the memory.
    Child,
}

/// `struct clone_args` (linux/sched.h), version 2.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// clone3(2) as a fork: `flags` must be namespaces and CLONE_PARENT only. The caller has one thread
/// (checked by [`crate::caller::Caller::inspect`]), so the child's copy of the heap is consistent.
pub(crate) fn fork(flags: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    let mut pidfd: i32 = -1;
    let exit_signal = if flags & libc::CLONE_PARENT == 0 { libc::SIGCHLD as u64 } else { 0 };
    let mut args = CloneArgs {
        flags: flags as u32 as u64 | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` and `pidfd` live across the call; without CLONE_VM the child has its own copy of
    // the stack, so returning into it is as with fork(2).
    match check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })? {
        0 => Ok(Forked::Child),
        // SAFETY: the kernel stored a fresh descriptor there.
        pid => Ok(Forked::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// fork(2): none in the child.
pub(crate) fn fork_plain() -> io::Result<Option<Pid>> {
    // SAFETY: the process has one thread, see [`fork`].
    Ok(Pid::from_raw(check(unsafe { libc::fork() }.into())? as i32))
}

/// kill(2) with any signal number; rustix knows the named ones only.
pub(crate) fn kill(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: no pointer is passed.
    check(unsafe { libc::kill(pid.as_raw_nonzero().get(), signal) }.into()).map(drop)
}

/// pidfd_send_signal(2) with any signal number.
pub(crate) fn pidfd_kill(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no signal information is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}

/// A null-terminated array of C strings.
pub(crate) struct CStrings {
    pointers: Vec<*const c_char>,
    _owner: Vec<CString>,
}

impl CStrings {
    /// Copies the texts.
    pub(crate) fn new(texts: &[String]) -> Result<Self, NulError> {
        let owner = texts.iter().map(|text| CString::new(text.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        let pointers = owner.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
        Ok(Self { pointers, _owner: owner })
    }
}

/// execve(2); returns only with an error.
pub(crate) fn execve(path: &CStr, argv: &CStrings, env: &CStrings) -> io::Error {
    // SAFETY: all three are null-terminated and live across the call.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), env.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process without running any exit handler.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: _exit has no precondition.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor. For a process that owns none any more and never returns to code that does.
pub(crate) fn close_all() -> io::Result<()> {
    close_from(0)
}

/// Moves `kept` to number 3, close-on-exec, and closes everything above: the standard streams and this one
/// are left. For a child that executes a program or ends next; what it owned else is closed under it.
pub(crate) fn keep_only(kept: OwnedFd) -> io::Result<OwnedFd> {
    let kept = kept.into_raw_fd();
    if kept != 3 {
        // SAFETY: two plain numbers; whatever had number 3 is given up by this function's contract.
        check(unsafe { libc::dup3(kept, 3, libc::O_CLOEXEC) }.into())?;
    }
    close_from(4)?;
    // SAFETY: number 3 was made or taken over above, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(3) })
}

/// Gives a descriptor up to [`keep_only`], which closes it with all the others by one system call.
pub(crate) fn keep_open(fd: OwnedFd) -> BorrowedFd<'static> {
    // SAFETY: ownership ends here; only keep_only and close_all close the number, after which nothing of
    // the process looks at it again.
    unsafe { BorrowedFd::borrow_raw(fd.into_raw_fd()) }
}

fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: by the callers' contract no owner of these descriptors runs again.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) }).map(drop)
}

/// unshare(CLONE_NEWNS).
pub(crate) fn unshare_mounts() -> io::Result<()> {
    unshare(libc::CLONE_NEWNS)
}

/// unshare(CLONE_NEWCGROUP).
pub(crate) fn unshare_cgroup() -> io::Result<()> {
    unshare(libc::CLONE_NEWCGROUP)
}

/// unshare(2); `flags` must be namespaces only.
pub(crate) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory or descriptor is affected.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}

/// Gives the signals whose bit (number - 1) is set in `ignored` their default action and unblocks all.
pub(crate) fn reset_signals(ignored: u64) -> io::Result<()> {
    for number in 1..=64 {
        if ignored >> (number - 1) & 1 == 1 {
            // All zero is SIG_DFL without flags; the C library refuses the numbers it keeps for itself.
            let action = [0_u64; 4];
            // SAFETY: the kernel reads one struct sigaction, four words at most.
            check(unsafe {
                libc::syscall(libc::SYS_rt_sigaction, number, action.as_ptr(), ptr::null::<u64>(), 8_usize)
            })?;
        }
    }
    set_mask(0)
}

/// Blocks every signal that can be blocked.
pub(crate) fn block_signals() -> io::Result<()> {
    set_mask(u64::MAX)
}

fn set_mask(mask: u64) -> io::Result<()> {
    // SAFETY: the kernel reads eight bytes; no handler exists that could see a half-changed state.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            ptr::null::<u64>(),
            8_usize,
        )
    })
    .map(drop)
}

/// Takes one blocked signal from the queue; waits for it.
pub(crate) fn wait_signal() -> io::Result<i32> {
    let all = u64::MAX;
    // SAFETY: the kernel reads eight bytes; no information and no timeout are asked for.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const all,
            ptr::null::<libc::siginfo_t>(),
            ptr::null::<libc::timespec>(),
            8_usize,
        )
    })
    .map(|signal| signal as i32)
}

/// Sets IFF_UP on `lo`; `socket` is any socket of the network namespace.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as c_char;
    request.ifr_name[1] = b'o' as c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: `request` is a whole ifreq and lives across the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }.into())
        .map(drop)
}
