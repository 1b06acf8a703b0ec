use std::borrow::Cow;
use std::io;

use corral_spec::seccomp::{SyscallAction, SyscallFilter, SyscallRule};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::process::getpriority_process;
use rustix::thread::set_no_new_privs;

use super::Ground;
use super::child::in_child;
use super::failure::{Failure, at};
use crate::seccomp::{Arch, compile};
use crate::sys::{Landlock, filter, install_seccomp, landlock_abi};

/// A filter of our own compiler: it denies getpriority with a rare errno and lets the rest through that
/// the child still needs.
pub(super) fn seccomp(_: &Ground) -> Result<String, Failure> {
    const RARE: Errno = Errno::NOTUNIQ;
    let rule = |name, otherwise| SyscallRule { name: Cow::Borrowed(name), cases: Vec::new(), otherwise };
    let deny = SyscallAction::Errno(RARE.raw_os_error() as u16);
    let mut rules: Vec<_> = ["write", "exit", "exit_group", "mmap", "munmap", "brk", "mprotect", "madvise"]
        .map(|name| rule(name, SyscallAction::Allow))
        .into();
    rules.push(rule("getpriority", deny));
    let (unlisted, unknown) = (SyscallAction::Errno(1), SyscallAction::Errno(38));
    let all = SyscallFilter { rules, unlisted, unknown, foreign: SyscallAction::KillProcess };
    let arch = Arch::NATIVE.ok_or_else(|| {
        Failure::new("filter system calls on this architecture", io::Error::from_raw_os_error(libc::ENOSYS))
    })?;
    let program =
        compile(&all, arch).map_err(|error| Failure::new(error.to_string(), io::ErrorKind::InvalidInput))?;
    let program = filter(&program);
    in_child(
        0,
        |_| Ok(()),
        || {
            set_no_new_privs(true).map_err(at("set no_new_privs"))?;
            install_seccomp(&program).map_err(at("load a system call filter"))?;
            match getpriority_process(None) {
                Err(RARE) => Ok(()),
                _ => Err(Failure::no_effect("be bound by the filter")),
            }
        },
    )?;
    Ok(format!("{} instructions loaded and in effect", program.len()))
}

/// A domain that cannot reach the abstract sockets and processes outside of it.
pub(super) fn landlock(_: &Ground) -> Result<String, Failure> {
    let abi = landlock_abi()
        .ok_or_else(|| Failure::new("use Landlock", io::Error::from_raw_os_error(libc::EOPNOTSUPP)))?;
    in_child(
        0,
        |_| Ok(()),
        || {
            set_no_new_privs(true).map_err(at("set no_new_privs"))?;
            let domain = Landlock::scoped(Landlock::ABSTRACT_UNIX_SOCKETS | Landlock::SIGNALS)
                .map_err(at("make a Landlock domain that scopes sockets and signals"))?;
            domain.restrict_self().map_err(at("enter a Landlock domain"))?;
            // The parent is outside: even the null signal to it is refused now.
            let parent = rustix::process::getppid().ok_or_else(|| Failure::no_effect("know the parent"))?;
            match rustix::process::test_kill_process(parent) {
                Err(Errno::PERM) => Ok(()),
                _ => Err(Failure::no_effect("be bound by the Landlock domain")),
            }
        },
    )?;
    Ok(format!("ABI {abi}, scopes in effect"))
}

/// A sealed file in memory.
pub(super) fn memfd(_: &Ground) -> Result<String, Failure> {
    let fd = memfd_create("corral-doctor", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(at("make a file in memory"))?;
    fcntl_add_seals(&fd, SealFlags::WRITE | SealFlags::SEAL).map_err(at("seal a file in memory"))?;
    match rustix::io::write(&fd, b"x") {
        Err(Errno::PERM) => Ok("sealed against writing".to_owned()),
        _ => Err(Failure::no_effect("seal a file in memory")),
    }
}
