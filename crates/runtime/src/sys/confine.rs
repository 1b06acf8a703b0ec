use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use corral_spec::record::BpfInstruction;

use super::check;

/// Installs a seccomp filter for this thread (seccomp(2)); needs no_new_privs or CAP_SYS_ADMIN.
pub(crate) fn install_seccomp(program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let fprog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `fprog` describes `program`, which lives across the call; the kernel only reads it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const fprog) })
        .map(drop)
}

/// The kernel's form of a record's filter.
pub(crate) fn filter(program: &[BpfInstruction]) -> Vec<libc::sock_filter> {
    program.iter().map(|&BpfInstruction(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect()
}

/// The Landlock ABI of this kernel, none if Landlock is off.
pub(crate) fn landlock_abi() -> Option<i64> {
    const CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: a null attribute of size 0 with this flag only asks for the version.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            CREATE_RULESET_VERSION,
        )
    })
    .ok()
}

/// A Landlock ruleset without rules: it denies what it handles.
pub(crate) struct Landlock(OwnedFd);

impl Landlock {
    /// LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
    pub(crate) const ABSTRACT_UNIX_SOCKETS: u64 = 1;
    /// LANDLOCK_SCOPE_SIGNAL
    pub(crate) const SIGNALS: u64 = 2;

    /// A ruleset that keeps the domain to its own abstract unix sockets, signals, or both (ABI 6).
    pub(crate) fn scoped(scopes: u64) -> io::Result<Self> {
        // handled_access_fs, handled_access_net, scoped (linux/landlock.h)
        let attr: [u64; 3] = [0, 0, scopes];
        // SAFETY: the attribute lives across the call and its size is given.
        let fd = check(unsafe {
            libc::syscall(libc::SYS_landlock_create_ruleset, attr.as_ptr(), size_of_val(&attr), 0)
        })?;
        // SAFETY: a fresh descriptor that nothing else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// Binds this thread; needs no_new_privs or CAP_SYS_ADMIN.
    pub(crate) fn restrict_self(&self) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        // SAFETY: no pointer is passed.
        check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.0.as_raw_fd(), 0) }).map(drop)
    }
}
