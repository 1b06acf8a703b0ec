//! Writing what was planned.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::bound::Value;
use super::plan::Group;
use super::{files, gone};
use crate::sys::{attach_device_program, load_device_program};
use crate::{Error, kernel_file};

impl Group {
    /// Makes the directory and sets everything.
    pub(super) fn make(&self) -> Result<(), Error> {
        make_dir(&self.dir)?;
        write_all(&self.dir, &self.values)?;
        self.program.as_deref().map_or(Ok(()), |code| attach(&self.dir, code))
    }
}

/// Writes values that may depend on each other in an order which depends on what is there (memory and memory with
/// swap, period and quota): one that is refused is tried once more after the others.
pub(super) fn write_all(dir: &Path, values: &[Value]) -> Result<(), Error> {
    let refused: Vec<&Value> = values.iter().filter(|value| write(dir, value).is_err()).collect();
    refused.into_iter().try_for_each(|value| write(dir, value))
}

fn write(dir: &Path, value: &Value) -> Result<(), Error> {
    for (file, text) in &value.choices {
        let path = dir.join(file);
        let text = match (text, dir.parent()) {
            (Some(text), _) => text.clone(),
            (None, Some(above)) => files::read(&above.join(file))?.trim().to_owned(),
            (None, None) => continue,
        };
        match kernel_file::write(&path, &text) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && dir.exists() => {}
            Err(error) if value.swap && gone(&error) => {}
            Err(source) if gone(&source) && !dir.exists() => {
                return Err(Error::Group { act: "write", path, source });
            }
            Err(source) => return Err(refused(dir, value, (file, &text), &source)),
        }
    }
    if value.swap {
        return without_swap();
    }
    let files: Vec<&str> = value.choices.iter().map(|(file, _)| *file).collect();
    let reason = format!(
        "this kernel has no {} in {}; leave --{} out",
        files.join(" or "),
        dir.display(),
        value.limit
    );
    Err(Error::Limit { limit: value.limit, reason })
}

/// The kernel's no, with what is known of the cause.
fn refused(dir: &Path, value: &Value, (file, text): (&str, &str), source: &io::Error) -> Error {
    let read = |path: &Path| kernel_file::read(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let above = || dir.parent().map(|above| read(&above.join(file))).unwrap_or_default();
    let hint = match value.limit {
        "cpuset-cpus" => {
            format!("Requested CPUs are not available - requested {text}, available: {}", above())
        }
        "cpuset-mems" => {
            format!("Requested memory nodes are not available - requested {text}, available: {}", above())
        }
        "memory" if source.raw_os_error() == Some(libc::EBUSY) => {
            format!("its processes use {} bytes now", read(&dir.join("memory.usage_in_bytes")))
        }
        "cpu-rt-runtime" | "cpu-rt-period" => {
            "the group above gives real-time processes no time; see cpu.rt_runtime_us there".to_owned()
        }
        _ => format!("{} holds {:?}", file, read(&dir.join(file))),
    };
    Error::Limit { limit: value.limit, reason: format!("the kernel refuses {text:?} ({source}): {hint}") }
}

fn make_dir(dir: &Path) -> Result<(), Error> {
    std::fs::create_dir(dir).map_err(|source| match source.raw_os_error() {
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => {
            Error::NoGroups { path: dir.parent().unwrap_or(dir).into(), source }
        }
        _ => Error::Group { act: "create", path: dir.into(), source },
    })
}

/// Makes the groups from `top`, which is there, down to `dir`, as far as they are missing.
pub(super) fn make_parents(top: &Path, dir: &Path) -> Result<(), Error> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|group| *group != top && !group.exists()).collect();
    for group in missing.into_iter().rev() {
        make_dir(group)?;
        // A v1 cpuset is empty at first, and nobody can enter it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let (path, above) = (group.join(file), group.parent().map(|above| above.join(file)));
            let is_v2 = group.join("cgroup.controllers").exists();
            if let Some(above) = above.filter(|_| !is_v2 && path.exists()) {
                files::set(path, files::read(&above)?.trim())?;
            }
        }
    }
    Ok(())
}

fn attach(dir: &Path, code: &[u64]) -> Result<(), Error> {
    let fail = |source: io::Error| Error::Limit {
        limit: "device",
        reason: format!("the kernel refuses the program that guards devices in {}: {source}", dir.display()),
    };
    let program = load_device_program(code).map_err(fail)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let group = openat(CWD, dir, flags, Mode::empty()).map_err(|errno| fail(errno.into()))?;
    attach_device_program(group.as_fd(), program.as_fd()).map_err(fail)
}

/// A memory bound without swap accounting holds only while there is no swap.
fn without_swap() -> Result<(), Error> {
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() <= 1 {
        return Ok(());
    }
    let reason = "the kernel does not account swap; boot with swapaccount=1 or turn swap off".to_owned();
    Err(Error::Limit { limit: "memory", reason })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::cgroup::{devices, hierarchy::Hierarchies};

    /// The kernel takes the program, and who enters the group is held to it.
    #[test]
    fn the_guard_of_devices_holds() {
        let own = Hierarchies::detect().ok().and_then(|found| found.v2).map(|place| place.own);
        let Some(own) = own.filter(|_| rustix::process::geteuid().is_root()) else {
            println!("SKIP: cgroup::apply::tests::the_guard_of_devices_holds: needs root and cgroup2");
            return;
        };
        let dir = own.join(format!("corral-guard-{}", std::process::id()));
        let rules = devices::allowed(&["c 10:1 r".parse().unwrap()]);
        let group = Group { dir: dir.clone(), values: Vec::new(), program: Some(devices::program(&rules)) };
        group.make().unwrap();
        // A process that was in the root group may enter, and both read what every container may.
        let script = "echo $$ >\"$1/cgroup.procs\" || exit 9; : </dev/null || exit 8; (: </dev/kmsg) 2>/dev/null && exit 7; \
                      cat /dev/zero | head -c 1 | wc -c";
        let ran = Command::new("sh").args(["-c", script, "sh"]).arg(&dir).output().unwrap();
        let outside = Command::new("sh").args(["-c", ": </dev/kmsg"]).status().unwrap();
        std::fs::remove_dir(&dir).unwrap();
        assert_eq!((ran.status.code(), ran.stdout.as_slice()), (Some(0), b"1\n".as_slice()), "{ran:?}");
        assert!(outside.success(), "the same device is open to who is not in the group");
    }
}
