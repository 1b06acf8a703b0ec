//! Which control group file systems the caller is in, and where.

use std::path::{Path, PathBuf};

use crate::{Error, kernel_file};

/// The caller's place in the host's control groups, from /proc/self/mountinfo and /proc/self/cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// cgroup2.
    pub(crate) v2: Option<Place>,
    /// cgroup v1: the controllers that share one hierarchy, and the place.
    pub(crate) v1: Vec<(Vec<String>, Place)>,
}

/// A hierarchy and the caller's group in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where it is mounted; nothing above it can be reached.
    pub(crate) mount: PathBuf,
    /// The caller's own group, at or below `mount`.
    pub(crate) own: PathBuf,
}

impl Hierarchies {
    /// Reads the two files.
    pub(crate) fn detect() -> Result<Self, Error> {
        Self::of("/proc/self/cgroup")
    }

    /// Where another process is, by its file in /proc.
    pub(crate) fn of(own: &str) -> Result<Self, Error> {
        let fail = |path: &str| {
            let path = path.into();
            move |source| Error::Host { act: "read", path, source }
        };
        let mounts = "/proc/self/mountinfo";
        let mounts = kernel_file::read(mounts).map_err(fail(mounts))?;
        Ok(Self::parse(&mounts, &kernel_file::read_single(own).map_err(fail(own))?))
    }

    /// The place of a v1 controller.
    pub(crate) fn v1(&self, controller: &str) -> Option<&Place> {
        self.v1.iter().find(|(names, _)| names.iter().any(|name| name == controller)).map(|(_, place)| place)
    }

    /// proc_pid_mountinfo(5) and cgroups(7). A group outside what is mounted (the caller was moved out of
    /// its cgroup namespace) counts as not there.
    fn parse(mountinfo: &str, own: &str) -> Self {
        let mut found = Self::default();
        for line in own.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(number), Some(names), Some(path)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let names: Vec<String> = names.split(',').map(str::to_owned).collect();
            let unified = number == "0";
            let place =
                mountinfo.lines().rev().find_map(|line| place(line, (!unified).then_some(&names), path));
            match place {
                Some(place) if unified => found.v2 = Some(place),
                Some(place) => found.v1.push((names, place)),
                None => {}
            }
        }
        found
    }
}

/// The place that one mountinfo line gives: `v1` are the wanted controllers, none for cgroup2.
fn place(line: &str, v1: Option<&Vec<String>>, own: &str) -> Option<Place> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, mount) = (unescape(left.next()?), unescape(left.next()?));
    let mut right = right.split(' ');
    let (fstype, options) = (right.next()?, right.nth(1)?);
    match v1 {
        None if fstype != "cgroup2" => return None,
        Some(_) if fstype != "cgroup" => return None,
        Some(names) if !names.iter().all(|name| options.split(',').any(|option| option == name)) => {
            return None;
        }
        _ => {}
    }
    let below = Path::new(own).strip_prefix(&root).ok()?;
    if below.components().any(|part| part == std::path::Component::ParentDir) {
        return None;
    }
    let mount = PathBuf::from(mount);
    let own = if below.as_os_str().is_empty() { mount.clone() } else { mount.join(below) };
    Some(Place { mount, own })
}

/// Octal escapes of space, tab, newline and backslash.
pub(crate) fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mount: &str, own: &str) -> Place {
        Place { mount: mount.into(), own: own.into() }
    }

    #[test]
    fn pure_v2() {
        let found = Hierarchies::parse(
            "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
            "0::/user.slice/user-0.slice/session-3.scope\n",
        );
        let own = "/sys/fs/cgroup/user.slice/user-0.slice/session-3.scope";
        assert_eq!(found, Hierarchies { v2: Some(at("/sys/fs/cgroup", own)), v1: vec![] });
    }

    #[test]
    fn hybrid_with_joined_controllers() {
        let found = Hierarchies::parse(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            "3:name=systemd:/\n2:memory:/api/be50\n1:cpu,cpuacct:/\n0::/\n",
        );
        assert_eq!(found.v2, Some(at("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified")));
        assert_eq!(found.v1("memory"), Some(&at("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/api/be50")));
        assert_eq!(found.v1("cpu"), Some(&at("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(found.v1("pids"), None);
    }

    #[test]
    fn a_bound_subtree_and_a_place_outside_it() {
        let mountinfo = "35 24 0:30 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        let own = |own: &str| Hierarchies::parse(mountinfo, own).v2;
        assert_eq!(own("0::/docker/abc/x\n"), Some(at("/sys/fs/cgroup", "/sys/fs/cgroup/x")));
        assert_eq!(own("0::/elsewhere\n"), None);
        let namespaced = "35 24 0:30 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        assert_eq!(Hierarchies::parse(namespaced, "0::/../other\n").v2, None);
    }
}
