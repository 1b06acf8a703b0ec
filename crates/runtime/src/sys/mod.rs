//! Thin safe wrappers of the system calls that rustix lacks: the only unsafe code of the workspace.
//!
//! Each wrapper does one call, owns what it returns, and decides nothing.
#![allow(unsafe_code)]

mod bpf;
mod bundle;
mod confine;
pub mod memory;
mod mount;
mod probe;
mod process;
pub(crate) mod ptrace;
mod quota;
pub mod signal;

pub(crate) use bpf::{attach_device_program, load_device_program};
pub(crate) use bundle::{
    SchedAttr, change_mount, close_all_but, install_filter, join_session_keyring, personality,
    set_io_priority, set_memory_policy, set_scheduler, unshare_time, with_number,
};
pub(crate) use confine::{Landlock, filter, install_seccomp, landlock_abi};
pub(crate) use mount::{AttrChange, mount_setattr};
#[cfg(test)]
pub(crate) use probe::attempt;
pub(crate) use probe::open_tree_attr;
pub(crate) use process::{
    CStrings, Forked, block_signals, close_all, execve, exit, fork, fork_plain, keep_only, keep_open, kill,
    loopback_up, pidfd_kill, reset_signals, unshare, unshare_cgroup, unshare_mounts, wait_signal,
};
pub(crate) use quota::{enforces_projects, limit_project, project, project_usage, set_project};

/// The result of a raw system call.
fn check(result: libc::c_long) -> std::io::Result<libc::c_long> {
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}
