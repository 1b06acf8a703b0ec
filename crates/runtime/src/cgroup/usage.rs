//! What a container uses.
//!
//! | number | from, the first that there is |
//! |---|---|
//! | processor time | cgroup2 `cpu.stat`, which needs no controller; v1 `cpuacct.usage`; its processes' /proc/PID/stat |
//! | memory | `memory.current`, `memory.usage_in_bytes`, both without the inactive file cache, as Docker counts; its processes' proportional share (/proc/PID/smaps_rollup) |
//! | bytes read and written | `io.stat`, `blkio.throttle.io_service_bytes`; its processes' /proc/PID/io |
//! | tasks | `pids.current`; the tasks that the group lists |
//!
//! Where a container has no group with the controller, its processes are summed. That is complete for time and bytes:
//! a process's numbers hold those of the children that it has waited for, and the first process waits for orphans.

use std::path::{Path, PathBuf};

use super::update::members;
use super::{ControlGroup, files, gone};
use corral_spec::record::ProcessName;

use crate::{Error, kernel_file};

/// What a container uses; none is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds of processor time since its start.
    pub cpu_ns: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes read from block devices since its start.
    pub read: Option<u64>,
    /// Bytes written to block devices since its start.
    pub written: Option<u64>,
    /// Threads.
    pub tasks: Option<u64>,
}

impl ControlGroup {
    /// What the container's processes use.
    ///
    /// # Errors
    /// [`Error::Group`].
    pub fn usage(&self) -> Result<Usage, Error> {
        let (read, written) = self.io()?.or_else(|| self.sum(process_io)).unzip();
        Ok(Usage {
            cpu_ns: self.cpu()?.or_else(|| self.sum(process_cpu)),
            memory: self.memory()?.or_else(|| self.sum(process_memory)),
            read,
            written,
            tasks: self.tasks()?,
        })
    }

    /// The processes of the container, in the host's numbers.
    ///
    /// # Errors
    /// [`Error::Group`].
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        match (self.v2.as_ref().or(self.v1.first()), self.init) {
            (Some(group), _) => members(group),
            (None, Some(init)) => Ok(namespace_members(&init)),
            (None, None) => Ok(Vec::new()),
        }
    }

    fn cpu(&self) -> Result<Option<u64>, Error> {
        if let Some(text) = self.first(self.v2.iter(), "cpu.stat")? {
            return Ok(files::keyed(&text, "usage_usec").map(|time| time.saturating_mul(1000)));
        }
        Ok(self.first(self.v1.iter(), "cpuacct.usage")?.and_then(|text| text.trim().parse().ok()))
    }

    fn memory(&self) -> Result<Option<u64>, Error> {
        for (usage, cache) in
            [("memory.current", "inactive_file"), ("memory.usage_in_bytes", "total_inactive_file")]
        {
            let Some(text) = self.first(self.groups(), usage)? else { continue };
            let stat = self.first(self.groups(), "memory.stat")?.unwrap_or_default();
            let cache = files::keyed(&stat, cache).unwrap_or(0);
            return Ok(text.trim().parse::<u64>().ok().map(|bytes| bytes.saturating_sub(cache)));
        }
        Ok(None)
    }

    fn io(&self) -> Result<Option<(u64, u64)>, Error> {
        if let Some(text) = self.first(self.v2.iter(), "io.stat")? {
            return Ok(Some(io_stat(&text)));
        }
        Ok(self.first(self.v1.iter(), "blkio.throttle.io_service_bytes")?.map(|text| service_bytes(&text)))
    }

    fn tasks(&self) -> Result<Option<u64>, Error> {
        if let Some(text) = self.first(self.groups(), "pids.current")? {
            return Ok(text.trim().parse().ok());
        }
        let lines = |text: String| text.lines().count() as u64;
        match self.first(self.v2.iter(), "cgroup.threads")? {
            Some(text) => Ok(Some(lines(text))),
            None if self.v1.is_empty() => Ok(self.sum(process_tasks)),
            None => Ok(self.first(self.v1.iter(), "tasks")?.map(lines)),
        }
    }

    fn groups(&self) -> impl Iterator<Item = &PathBuf> {
        self.v2.iter().chain(&self.v1)
    }

    /// The file of the first group that has it.
    fn first<'g>(
        &self,
        groups: impl Iterator<Item = &'g PathBuf>,
        file: &str,
    ) -> Result<Option<String>, Error> {
        for group in groups {
            let path = group.join(file);
            match kernel_file::read(&path) {
                Ok(text) => return Ok(Some(text)),
                // Accounting that is compiled in and switched off answers so.
                Err(error) if gone(&error) || error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
                Err(source) => return Err(Error::Group { act: "read", path, source }),
            }
        }
        Ok(None)
    }

    /// Over all processes; none if one that lives does not tell, because a sum without it would be made up.
    fn sum<T: Add>(&self, of: impl Fn(&Path) -> Option<T>) -> Option<T> {
        let mut total = None;
        for pid in self.processes().ok()? {
            let dir = PathBuf::from(format!("/proc/{pid}"));
            match of(&dir) {
                Some(part) => total = Some(total.map_or(part, |total: T| total.add(part))),
                None if dir.exists() => return None,
                None => {}
            }
        }
        total
    }
}

/// Numbers that are summed over processes.
trait Add: Copy {
    fn add(self, other: Self) -> Self;
}

impl Add for u64 {
    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl Add for (u64, u64) {
    fn add(self, other: Self) -> Self {
        (self.0.saturating_add(other.0), self.1.saturating_add(other.1))
    }
}

/// `8:0 rbytes=1 wbytes=2 rios=…` for each device.
fn io_stat(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let values = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key)?.parse().ok());
        values.fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

/// `8:0 Read 1` and the like for each device.
fn service_bytes(text: &str) -> (u64, u64) {
    let sum = |kind: &str| {
        let values = text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            (words.next()? == kind).then_some(())?;
            words.next()?.parse().ok()
        });
        values.fold(0, u64::saturating_add)
    };
    (sum("Read"), sum("Write"))
}

/// Clock ticks a second in what the kernel tells programs, whatever its own clock is (asm-generic/param.h).
const USER_HZ: u64 = 100;

/// Who is in the pid namespace of this process; none once it has ended, for its number may be another's.
fn namespace_members(init: &ProcessName) -> Vec<i32> {
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = namespace(init.pid) else { return Vec::new() };
    let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let found: Vec<i32> = numbers.filter(|pid| namespace(*pid).as_ref() == Some(&own)).collect();
    match crate::find_process(init) {
        Ok(Some(_)) => found,
        _ => Vec::new(),
    }
}

fn process_tasks(process: &Path) -> Option<u64> {
    Some(std::fs::read_dir(process.join("task")).ok()?.count() as u64)
}

fn process_cpu(process: &Path) -> Option<u64> {
    let stat = kernel_file::read_single(process.join("stat")).ok()?;
    cpu_of_stat(&stat)
}

/// utime, stime, and those of the children that were waited for (proc_pid_stat(5), fields 14 to 17).
fn cpu_of_stat(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<u64> =
        rest.split_ascii_whitespace().skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
    (fields.len() == 4).then(|| fields.iter().sum::<u64>().saturating_mul(1_000_000_000 / USER_HZ))
}

/// Its proportional share: pages that several processes share are counted once in the sum.
fn process_memory(process: &Path) -> Option<u64> {
    match kernel_file::read(process.join("smaps_rollup")) {
        Ok(text) => {
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
        }
        // A process that has ended and was not waited for has no memory left.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) && process.exists() => Some(0),
        Err(_) => None,
    }
}

fn process_io(process: &Path) -> Option<(u64, u64)> {
    let text = kernel_file::read(process.join("io")).ok()?;
    let number = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
    let cancelled = number("cancelled_write_bytes:")?;
    Some((number("read_bytes:")?, number("write_bytes:")?.saturating_sub(cancelled)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts() {
        assert_eq!(io_stat("8:0 rbytes=10 wbytes=3 rios=1 wios=1\n8:16 rbytes=5 wbytes=0\n"), (15, 3));
        let text = "8:0 Read 10\n8:0 Write 3\n8:0 Total 13\n8:16 Read 5\nTotal 18\n";
        assert_eq!(service_bytes(text), (15, 3));
        assert_eq!((io_stat(""), service_bytes("Total 0\n")), ((0, 0), (0, 0)));
        let stat = "1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 1 2 3 4 20 0 1 0 7";
        assert_eq!(cpu_of_stat(stat), Some(10 * 10_000_000));
        assert_eq!(cpu_of_stat("1 (a"), None);
    }

    #[test]
    fn groups_are_read_where_the_controller_is() {
        let root = std::env::temp_dir().join(format!("corral-usage-{}", std::process::id()));
        for (file, text) in [
            ("v2/cpu.stat", "usage_usec 7\nuser_usec 1\n"),
            ("mem/memory.usage_in_bytes", "1000\n"),
            ("mem/memory.stat", "inactive_file 1\ntotal_inactive_file 300\n"),
            ("pids/pids.current", "4\n"),
            ("blkio/blkio.throttle.io_service_bytes", "8:0 Read 10\n8:0 Write 3\nTotal 13\n"),
        ] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let v1 = ["mem", "pids", "blkio"].map(|group| root.join(group));
        let group = ControlGroup::open(Some(&root.join("v2")), &v1);
        let expect =
            Usage { cpu_ns: Some(7000), memory: Some(700), read: Some(10), written: Some(3), tasks: Some(4) };
        assert_eq!(group.usage().unwrap(), expect);
        let nothing = ControlGroup::open(Some(&root.join("gone")), &[]);
        assert_eq!(nothing.usage().unwrap(), Usage::default());
        std::fs::remove_dir_all(root).unwrap();
    }
}
