//! Control groups where linux.cgroupsPath says, with exactly the values of linux.resources.
//!
//! An absolute path counts from each hierarchy's root, another one from the caller's own group, or in cgroup2 from the
//! one above it, as runc's: no group below one that holds processes can have a controller. There is a group in each v1
//! hierarchy that is mounted, and one of cgroup2: whoever manages the container finds it by that path.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use corral_spec::{DeviceAccess, DeviceKind, DeviceRule};
use rustix::fs::{Mode, OFlags, open};

use super::DeviceAct;
use crate::cgroup::hierarchy::{Hierarchies, Place};
use crate::cgroup::plan::is_occupied;
use crate::sys::{attach_device_program, load_device_program};
use crate::{ControlGroup, Error, kernel_file};

/// One value of linux.resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its name in the configuration, for errors.
    pub name: &'static str,
    /// The controller that has it.
    pub controller: String,
    /// File and text for cgroup v1.
    pub v1: Option<(String, String)>,
    /// File and text for cgroup2.
    pub v2: Option<(String, String)>,
}

/// The groups that a path names; nothing is made yet.
///
/// # Errors
/// [`Error::Launch`] for a path that climbs.
pub fn locate(path: Option<&str>, id: &str) -> Result<ControlGroup, Error> {
    let path = path.filter(|path| !path.is_empty()).unwrap_or(id);
    if Path::new(path).components().any(|part| part == Component::ParentDir) {
        return Err(Error::Launch(format!("linux.cgroupsPath {path:?} has \"..\"")));
    }
    let found = Hierarchies::detect()?;
    let group = |place: &Place| match path.strip_prefix('/') {
        Some(absolute) => place.mount.join(absolute),
        None => place.own.join(path),
    };
    let mut v1: Vec<(bool, PathBuf)> = found
        .v1
        .iter()
        .map(|(names, place)| (names.iter().all(|name| name != "freezer"), group(place)))
        .collect();
    // The freezer's first: by it the container is named where there is no cgroup2.
    v1.sort();
    let v1: Vec<PathBuf> = v1.into_iter().map(|(_, dir)| dir).collect();
    let v2 = found.v2.as_ref().map(|place| match place.own.parent().filter(|_| is_occupied(&place.own)) {
        Some(above) => group(&Place { own: above.to_owned(), ..place.clone() }),
        None => group(place),
    });
    Ok(ControlGroup::open(v2.as_deref(), &v1))
}

/// Makes the groups and those above them. A group of cgroup2 gets every controller that its parents can give.
///
/// # Errors
/// [`Error::Group`].
pub fn make(group: &ControlGroup) -> Result<(), Error> {
    let found = Hierarchies::detect()?;
    let places = found.v2.iter().chain(found.v1.iter().map(|(_, place)| place));
    for dir in group.v2().into_iter().chain(group.v1().iter().map(PathBuf::as_path)) {
        let Some(place) = places.clone().find(|place| dir.starts_with(&place.mount)) else { continue };
        let below: Vec<&Path> = dir.ancestors().take_while(|above| *above != place.mount).collect();
        for step in below.into_iter().rev() {
            make_one(step).map_err(|source| Error::Group { act: "create", path: step.into(), source })?;
        }
    }
    Ok(())
}

fn make_one(dir: &Path) -> io::Result<()> {
    let Some(above) = dir.parent() else { return Ok(()) };
    // Whoever has processes gives nothing, or would keep any from the groups below; a value that needs it is refused
    // then.
    if let Ok(offered) = kernel_file::read(above.join("cgroup.controllers"))
        && !is_occupied(above)
    {
        for name in offered.split_ascii_whitespace() {
            // Some controllers are taken: cpuset by a cgroup v1 mount, say.
            let _ = kernel_file::write(above.join("cgroup.subtree_control"), &format!("+{name}"));
        }
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    // A v1 cpuset is empty at first, and nobody can enter it.
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if !dir.join("cgroup.controllers").exists() && dir.join(file).exists() {
            let text = kernel_file::read(dir.join(file))?;
            if text.trim().is_empty() {
                kernel_file::write(dir.join(file), kernel_file::read(above.join(file))?.trim())?;
            }
        }
    }
    Ok(())
}

/// Writes the values. One that is refused is tried once more after the others: some depend on each other in an order
/// that depends on what is there.
///
/// # Errors
/// [`Error::Limit`] for what the host cannot enforce.
pub fn write(group: &ControlGroup, values: &[Value]) -> Result<(), Error> {
    let found = Hierarchies::detect()?;
    let refused: Vec<&Value> =
        values.iter().filter(|value| write_one(&found, group, value).is_err()).collect();
    refused.into_iter().try_for_each(|value| write_one(&found, group, value))
}

fn write_one(found: &Hierarchies, group: &ControlGroup, value: &Value) -> Result<(), Error> {
    let fail = |reason: String| Error::Limit { limit: value.name, reason };
    let v1 = found.v1(&value.controller).map(|place| &place.mount);
    let v1 = v1.and_then(|mount| group.v1().iter().find(|dir| dir.starts_with(mount)));
    let (dir, place) = match (v1, group.v2()) {
        (Some(dir), _) => (dir.as_path(), &value.v1),
        (None, Some(dir)) => (dir, &value.v2),
        (None, None) => return Err(fail(format!("this host has no {} controller", value.controller))),
    };
    let version = if v1.is_some() { "cgroup v1" } else { "cgroup2" };
    let (file, text) = place.as_ref().ok_or_else(|| fail(format!("{version} has nothing like it")))?;
    kernel_file::write(dir.join(file), text).map_err(|error| {
        fail(match error.kind() {
            io::ErrorKind::NotFound => format!("there is no {file} in {}", dir.display()),
            _ => format!("the kernel refuses {text:?} for {}: {error}", dir.join(file).display()),
        })
    })
}

/// Makes the device rules hold: in order, the last that matches decides.
///
/// # Errors
/// [`Error::Limit`] if the kernel refuses them.
pub fn enforce_devices(group: &ControlGroup, acts: &[DeviceAct]) -> Result<(), Error> {
    let fail =
        |error: io::Error| Error::Limit { limit: "linux.resources.devices", reason: error.to_string() };
    let found = Hierarchies::detect()?;
    let v1 =
        found.v1("devices").and_then(|place| group.v1().iter().find(|dir| dir.starts_with(&place.mount)));
    if let Some(dir) = v1 {
        for DeviceAct { allow, rule } in acts {
            let file = if *allow { "devices.allow" } else { "devices.deny" };
            for line in lines(rule) {
                kernel_file::write(dir.join(file), &line).map_err(fail)?;
            }
        }
        return Ok(());
    }
    let dir = group.v2().ok_or_else(|| fail(io::ErrorKind::NotFound.into()))?;
    let program = load_device_program(&program(acts)).map_err(fail)?;
    let dir = open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    attach_device_program(dir.map_err(|errno| fail(errno.into()))?.as_fd(), program.as_fd()).map_err(fail)
}

/// The v1 controller takes `a` for every device and every access, whatever follows it.
fn lines(rule: &DeviceRule) -> Vec<String> {
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
    let (major, minor) = (number(rule.major), number(rule.minor));
    match rule.kind {
        Some(kind) => vec![format!("{} {major}:{minor} {}", kind.letter(), rule.access)],
        None if rule.major.is_none() && rule.minor.is_none() && rule.access == DeviceAccess::ALL => {
            vec!["a".to_owned()]
        }
        None => ['c', 'b'].map(|kind| format!("{kind} {major}:{minor} {}", rule.access)).to_vec(),
    }
}

/// BPF_PROG_TYPE_CGROUP_DEVICE: the last rule is asked first.
///
/// ```text
/// r2 = type, r3 = access, r4 = major, r5 = minor
/// allow: everything asked is granted → 1     deny: anything asked is denied → 0
/// no rule → 1
/// ```
fn program(acts: &[DeviceAct]) -> Vec<u64> {
    const LOAD_WORD: u8 = 0x61;
    const MOVE_REGISTER: u8 = 0xbf;
    const MOVE_NUMBER: u8 = 0xb7;
    const AND_NUMBER: u8 = 0x54;
    const SHIFT_RIGHT: u8 = 0x77;
    const JUMP_UNEQUAL: u8 = 0x56;
    const JUMP_EQUAL: u8 = 0x16;
    const EXIT: u8 = 0x95;
    let op = |code: u8, dst: u8, src: u8, offset: i16, number: i32| {
        u64::from(code)
            | u64::from(dst) << 8
            | u64::from(src) << 12
            | u64::from(offset as u16) << 16
            | u64::from(number as u32) << 32
    };
    let mut code = vec![
        op(LOAD_WORD, 3, 1, 0, 0),
        op(MOVE_REGISTER, 2, 3, 0, 0),
        op(AND_NUMBER, 2, 0, 0, 0xffff),
        op(SHIFT_RIGHT, 3, 0, 0, 16),
        op(LOAD_WORD, 4, 1, 4, 0),
        op(LOAD_WORD, 5, 1, 8, 0),
    ];
    for DeviceAct { allow, rule } in acts.iter().rev() {
        let kind = rule.kind.map(|kind| (2, if kind == DeviceKind::Block { 1 } else { 2 }));
        let major = rule.major.map(|major| (4, major as i32));
        let minor = rule.minor.map(|minor| (5, minor as i32));
        let tests: Vec<(u8, i32)> = [kind, major, minor].into_iter().flatten().collect();
        let DeviceAccess { read, write, mknod } = rule.access;
        let named = i32::from(mknod) | i32::from(read) << 1 | i32::from(write) << 2;
        let mut left = tests.len() as i16 + 5;
        for (register, number) in tests {
            left -= 1;
            code.push(op(JUMP_UNEQUAL, register, 0, left, number));
        }
        code.push(op(MOVE_REGISTER, 1, 3, 0, 0));
        if *allow {
            code.push(op(AND_NUMBER, 1, 0, 0, !named));
            code.push(op(JUMP_UNEQUAL, 1, 0, 2, 0));
        } else {
            code.push(op(AND_NUMBER, 1, 0, 0, named));
            code.push(op(JUMP_EQUAL, 1, 0, 2, 0));
        }
        code.push(op(MOVE_NUMBER, 0, 0, 0, i32::from(*allow)));
        code.push(op(EXIT, 0, 0, 0, 0));
    }
    code.push(op(MOVE_NUMBER, 0, 0, 0, 1));
    code.push(op(EXIT, 0, 0, 0, 0));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_devices_are_one_line_and_others_are_by_kind() {
        let check = |rule: &str, expect: &[&str]| assert_eq!(lines(&rule.parse().unwrap()), expect, "{rule}");
        check("a *:* rwm", &["a"]);
        check("a *:* m", &["c *:* m", "b *:* m"]);
        check("c 1:3 rw", &["c 1:3 rw"]);
    }

    #[test]
    fn paths_that_climb_are_refused() {
        assert!(locate(Some("/a/../b"), "x").is_err());
        assert!(locate(None, "x").is_ok());
    }
}
