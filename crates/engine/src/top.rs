use std::path::PathBuf;

use corral_journal::Action;
use corral_runtime::ControlGroup;
use corral_spec::ContainerId;

use crate::journal::of_container;
use crate::{Engine, Error};

/// A process of a container, as the host sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessEntry {
    /// Process id.
    pub pid: i32,
    /// Parent.
    pub ppid: i32,
    /// Process group.
    pub pgid: i32,
    /// Session.
    pub sid: i32,
    /// Letter of its state: R, S, D, T, Z …
    pub state: char,
    /// Name of the program, at most 15 bytes.
    pub comm: String,
    /// Arguments; empty for one that has ended.
    pub args: Vec<String>,
    /// Effective user on the host.
    pub uid: u32,
    /// Effective group on the host.
    pub gid: u32,
    /// Number of its controlling terminal, 0 for none.
    pub tty: i32,
    /// Whether it is in the foreground of it.
    pub foreground: bool,
    /// Threads.
    pub threads: u64,
    /// Nice value.
    pub nice: i32,
    /// Hundredths of a second of processor time, its own.
    pub cpu_ticks: u64,
    /// Hundredths of a second between the boot and its start.
    pub start_ticks: u64,
    /// Bytes of address space.
    pub virtual_bytes: u64,
    /// Bytes in memory.
    pub resident_bytes: u64,
    /// Whether part of it is locked in memory.
    pub locked: bool,
}

impl Engine {
    /// The processes of a running container, oldest first.
    ///
    /// # Errors
    /// [`Error::WrongState`] when it does not run; or that it cannot be recorded.
    pub fn top(&self, id: &ContainerId) -> Result<Vec<ProcessEntry>, Error> {
        let status = self.running(id)?;
        let group = ControlGroup::of(&status);
        let mut entries: Vec<_> = group.processes()?.into_iter().filter_map(entry).collect();
        entries.sort_by_key(|entry| (entry.start_ticks, entry.pid));
        if let Some(record) = self.layout().container_record(id)? {
            self.record_end(of_container(Action::Top, &record))?;
        }
        Ok(entries)
    }
}

/// One that ended since it was listed is none.
fn entry(pid: i32) -> Option<ProcessEntry> {
    let dir = PathBuf::from(format!("/proc/{pid}"));
    let read = |file: &str| {
        std::fs::read(dir.join(file)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut entry = parse(&read("stat")?, &read("status")?)?;
    let args = read("cmdline")?;
    entry.args =
        args.trim_end_matches('\0').split('\0').filter(|_| !args.is_empty()).map(str::to_owned).collect();
    Some(entry)
}

/// proc_pid_stat(5) and proc_pid_status(5). The name may hold anything: fields are counted after the last `)`.
fn parse(stat: &str, status: &str) -> Option<ProcessEntry> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (pid, comm) = head.split_once('(')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The state is field 3.
    let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let effective = |key: &str| line(key)?.split_ascii_whitespace().nth(1)?.parse().ok();
    let kib = |key: &str| line(key)?.strip_suffix("kB")?.trim().parse::<u64>().ok();
    Some(ProcessEntry {
        pid: pid.trim().parse().ok()?,
        comm: comm.to_owned(),
        state: fields.first()?.chars().next()?,
        ppid: number(4)? as i32,
        pgid: number(5)? as i32,
        sid: number(6)? as i32,
        tty: number(7)? as i32,
        foreground: number(8)? == number(5)?,
        cpu_ticks: (number(14)? + number(15)?) as u64,
        nice: number(19)? as i32,
        threads: number(20)? as u64,
        start_ticks: number(22)? as u64,
        virtual_bytes: number(23)? as u64,
        resident_bytes: kib("VmRSS:").unwrap_or(0) << 10,
        locked: kib("VmLck:").is_some_and(|kib| kib > 0),
        uid: effective("Uid:")?,
        gid: effective("Gid:")?,
        args: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) S 1 (b) R 1 7 7 34816 7 0 1 2 3 4 150 50 8 9 20 -5 3 0 777 4096 1";
        let status = "Name:\tx\nUid:\t0\t1000\t0\t0\nGid:\t0\t1001\t0\t0\nVmRSS:\t      8 kB\n";
        let entry = parse(stat, status).expect("parses");
        assert_eq!((entry.comm.as_str(), entry.state, entry.ppid), ("a) S 1 (b", 'R', 1));
        assert_eq!((entry.cpu_ticks, entry.nice, entry.threads, entry.start_ticks), (200, -5, 3, 777));
        assert_eq!((entry.uid, entry.gid, entry.resident_bytes), (1000, 1001, 8192));
        assert!(entry.foreground && !entry.locked);
        assert_eq!(parse("7 (a", status), None);
    }

    #[test]
    fn this_process() {
        let own = entry(std::process::id() as i32).expect("it lives");
        assert!(!own.args.is_empty() && own.virtual_bytes > 0);
    }
}
