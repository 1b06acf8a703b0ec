//! Looks at a stopped process: is it fit to be a template, is it what a launch says?
//!
//! What runs in a template was put there by an image. The looks are at what the kernel says of it, while it cannot run.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use corral_spec::record::Launch;
use rustix::fs::{Stat, fstat, stat};

use crate::{ControlGroup, Error, kernel_file};

/// /proc/PID/ns: those that a container has of its own, and those that nobody here changes.
const NAMESPACES: [&str; 10] =
    ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "pid_for_children", "time", "time_for_children"];

fn refuse<T>(reason: impl Into<String>) -> Result<T, Error> {
    Err(Error::Template(reason.into()))
}

fn read(pid: i32, file: &'static str) -> Result<String, Error> {
    let path = format!("/proc/{pid}/{file}");
    kernel_file::read(&path).map_err(|source| Error::Host { act: "read", path: path.into(), source })
}

/// /proc/PID/status (proc_pid_status(5)).
struct Status(String);

impl Status {
    fn of(pid: i32) -> Result<Self, Error> {
        read(pid, "status").map(Self)
    }

    fn field(&self, name: &str) -> Vec<&str> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().split_ascii_whitespace().collect()
    }

    /// What holds of every process of a container: one filter more than we have, for those too that it might have added,
    /// and no way to gain a privilege. Sets of capabilities are `bounding` at most, and empty otherwise.
    fn is_confined(&self) -> Result<(), Error> {
        let filters =
            |status: &Self| status.field("Seccomp_filters").first().and_then(|text| text.parse().ok());
        let own: Option<u32> = filters(&Self::of(rustix::process::getpid().as_raw_nonzero().get())?);
        let wanted = own.map(|own| own + 1);
        if self.field("NoNewPrivs") != ["1"] || self.field("Seccomp") != ["2"] || filters(self) != wanted {
            return refuse("its system calls are filtered in another way than it was started with");
        }
        let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        match sets.iter().find(|set| self.field(set).iter().any(|hex| hex.bytes().any(|digit| digit != b'0')))
        {
            Some(set) => refuse(format!("it has capabilities ({set})")),
            None => Ok(()),
        }
    }
}

/// Whether children of this process can be given to containers.
pub(super) fn at_template(pid: i32, inode: u64, group: &ControlGroup) -> Result<(), Error> {
    let status = Status::of(pid)?;
    status.is_confined()?;
    match status.field("Threads")[..] {
        ["1"] => {}
        _ => return refuse("it has several threads"),
    }
    let dir = group
        .v2()
        .or(group.v1().first().map(AsRef::as_ref))
        .ok_or(Error::Template("no control group".into()))?;
    let path = dir.join("cgroup.procs");
    let members = kernel_file::read(&path).map_err(|source| Error::Group {
        act: "read",
        path: path.clone(),
        source,
    })?;
    if members.lines().collect::<Vec<_>>() != [pid.to_string()] {
        return refuse("its imports left other processes behind");
    }
    let stream = |number: u32| stat(format!("/proc/{pid}/fd/{number}"));
    match [0, 1, 2].map(stream) {
        [Ok(stdin), Ok(_), Ok(_)] if stdin.st_ino == inode => {}
        _ => return refuse("its standard streams are not those that it was started with"),
    }
    // Two containers must not have memory in common that one of them can write.
    let smaps = read(pid, "smaps")?;
    let shared = |line: &str| {
        line.strip_prefix("VmFlags:").is_some_and(|flags| flags.split(' ').any(|flag| flag == "sh"))
    };
    if smaps.lines().any(shared) {
        return refuse("its imports left memory that is shared and can be written (MAP_SHARED)");
    }
    Ok(())
}

/// Where a template's own memory is, in pieces that hold a large page.
pub(super) fn at_memory(pid: i32) -> Result<Vec<(u64, u64)>, Error> {
    const LARGE: u64 = 2 << 20;
    let found = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (range, flags, inode) = (fields.next()?, fields.next()?, fields.nth(2)?);
        let (start, end) = range.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let (first, last) = (start.next_multiple_of(LARGE), end - end % LARGE);
        (flags == "rw-p" && inode == "0" && first < last).then_some((first, last))
    };
    Ok(read(pid, "maps")?.lines().filter_map(found).collect())
}

/// Whether a process that was forked from a template is what `launch` says; `init` is the container's first process, and
/// `streams` are those that it was to get.
pub(super) fn at_program(pid: i32, launch: &Launch, init: i32, streams: [&OwnedFd; 5]) -> Result<(), Error> {
    let status = Status::of(pid)?;
    status.is_confined()?;
    let process = &launch.process;
    let host = launch.ids.map_or(0, |ids| ids.host);
    let same = |field: &str, id: u32| status.field(field) == [(host + id).to_string().as_str(); 4];
    let groups: Vec<String> = process.groups.iter().map(|gid| (host + gid).to_string()).collect();
    if !same("Uid", process.uid) || !same("Gid", process.gid) || status.field("Groups") != groups {
        return refuse("a process of it has other ids than the container's user");
    }
    if status.field("Threads") != ["1"] {
        return refuse("a process of it has several threads");
    }
    for place in NAMESPACES.map(|name| format!("ns/{name}")).iter().map(String::as_str).chain(["root", "cwd"])
    {
        if identity(pid, place)? != identity(init, if place == "cwd" { "root" } else { place })? {
            return refuse(format!("a process of it is not in its container ({place})"));
        }
    }
    if read(pid, "cgroup")? != read(init, "cgroup")? {
        return refuse("a process of it is not in its container's control groups");
    }
    has_only(pid, streams)
}

/// What a link of /proc/PID leads to; none where this kernel has no such link.
fn identity(pid: i32, link: &str) -> Result<Option<(u64, u64)>, Error> {
    let path = format!("/proc/{pid}/{link}");
    match stat(&path) {
        Ok(found) => Ok(Some(file(&found))),
        Err(rustix::io::Errno::NOENT) if Path::new(&format!("/proc/{pid}")).exists() => Ok(None),
        Err(errno) => Err(Error::Host { act: "look at", path: path.into(), source: errno.into() }),
    }
}

fn file(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Its descriptors are these, and no others.
fn has_only(pid: i32, streams: [&OwnedFd; 5]) -> Result<(), Error> {
    let path = format!("/proc/{pid}/fd");
    let fail = |source: io::Error| Error::Host { act: "look at", path: path.clone().into(), source };
    let count = std::fs::read_dir(&path).map_err(fail)?.count();
    for (number, ours) in streams.iter().enumerate() {
        let theirs = stat(format!("{path}/{number}")).map_err(|errno| fail(errno.into()))?;
        let ours = fstat(ours.as_fd()).map_err(|errno| fail(errno.into()))?;
        if file(&theirs) != file(&ours) || count != streams.len() {
            return refuse("a process of it has other descriptors than it was given");
        }
    }
    Ok(())
}
