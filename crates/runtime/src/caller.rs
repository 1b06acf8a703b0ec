//! What the child inherits from the caller and must not keep.

use std::io;

use corral_spec::record::ProcessName;

use crate::{Error, kernel_file};

/// linux/capability.h
const CAP_MKNOD: u32 = 27;

/// Facts about the calling process, read once from /proc/self/status.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    /// It has CAP_MKNOD, and in the user namespace where that counts.
    pub(crate) may_make_devices: bool,
    /// Bit n-1 is set if signal n is ignored: execve keeps that, so the child resets it.
    pub(crate) ignored_signals: u64,
}

impl Caller {
    /// Reads the facts; refuses a caller with more than one thread, whose locks would stay locked in
    /// the child's copy of the memory.
    pub(crate) fn inspect() -> Result<Self, Error> {
        let status = kernel_file::read_single("/proc/self/status").map_err(|source| Error::Host {
            act: "read",
            path: "/proc/self/status".into(),
            source,
        })?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        match field("Threads:") {
            Some("1") => {}
            other => {
                return Err(Error::Launch(format!(
                    "the calling process has {} threads; containers are created by a process with one",
                    other.unwrap_or("unknown")
                )));
            }
        }
        let set = |name: &str| field(name).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        Ok(Self {
            may_make_devices: set("CapEff:").is_some_and(|held| held & (1 << CAP_MKNOD) != 0)
                && in_first_user_namespace(),
            ignored_signals: set("SigIgn:").unwrap_or(u64::MAX),
        })
    }
}

/// Whether this is the user namespace that the kernel began with, which has a number of its own
/// (PROC_USER_INIT_INO, linux/proc_ns.h).
pub(crate) fn in_first_user_namespace() -> bool {
    let link = rustix::fs::readlink("/proc/self/ns/user", Vec::new());
    link.is_ok_and(|link| link.as_bytes() == format!("user:[{}]", 0xEFFF_FFFD_u32).as_bytes())
}

/// The start time of a process in clock ticks since boot (proc_pid_stat(5), field 22).
pub(crate) fn start_ticks(pid: i32) -> io::Result<u64> {
    let stat = kernel_file::read_single(format!("/proc/{pid}/stat"))?;
    parse_start_ticks(&stat).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

/// A process as records name it.
///
/// # Errors
/// [`Error::Process`] if there is none of this number.
pub fn process_name(pid: i32) -> Result<ProcessName, Error> {
    let start_ticks =
        start_ticks(pid).map_err(|source| Error::Process { pid, act: "read its start time", source })?;
    Ok(ProcessName { pid, start_ticks })
}

/// The command name may hold spaces and parentheses: fields are counted after the last `)`.
fn parse_start_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_found_behind_any_command_name() {
        let tail = "S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 8 9";
        for name in ["(sh)", "(a b)", "(x) S 1 2)", "(()"] {
            assert_eq!(parse_start_ticks(&format!("42 {name} {tail}")), Some(777), "{name}");
        }
        for bad in ["", "42 (sh", "42 (sh) S 1"] {
            assert_eq!(parse_start_ticks(bad), None, "{bad}");
        }
    }
}
