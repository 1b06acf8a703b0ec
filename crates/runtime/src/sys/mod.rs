//! Thin safe wrappers of the system calls that rustix lacks: the only unsafe code of the workspace.
//!
//! Each wrapper does one call, owns what it returns, and decides nothing.
#![allow(unsafe_code)]

mod confine;
mod mount;
mod process;

pub(crate) use confine::{Landlock, filter, install_seccomp, landlock_abi};
pub(crate) use mount::{AttrChange, mount_setattr};
pub(crate) use process::{
    CStrings, Forked, block_signals, close_range, execve, exit, fork, loopback_up, reset_signals, unshare_cgroup,
    wait_signal,
};

/// The result of a raw system call.
fn check(result: libc::c_long) -> std::io::Result<libc::c_long> {
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}
