//! Where a container's groups go and what is written there: decided from facts, applied elsewhere.

use std::path::{Path, PathBuf};

use corral_spec::record::Cgroup;

use super::hierarchy::{Hierarchies, Place};
use crate::{Error, kernel_file};

/// CPU bandwidth period in microseconds: the kernel's and Docker's default.
const PERIOD: u64 = 100_000;

/// A bound that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// Bytes.
    Memory(u64),
    /// Thousandths of a CPU.
    Cpu(u32),
    /// Tasks.
    Pids(u32),
}

/// A group to make and the files to write in it, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Its directory.
    pub(super) dir: PathBuf,
    /// File name, value, and whether the file may be missing.
    pub(super) values: Vec<(&'static str, String, Presence)>,
}

/// Whether a control file must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Always.
    Required,
    /// Only where swap is accounted; missing is fine while the host has no swap.
    SwapAccounting,
}

impl Bound {
    /// What a launch asks for.
    pub(super) fn of(limits: &Cgroup) -> Vec<Self> {
        let Cgroup { memory, cpu_millis, pids } = limits;
        [memory.map(Self::Memory), cpu_millis.map(Self::Cpu), pids.map(Self::Pids)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// The controller's name, the same in v1 and v2.
    pub(super) fn controller(self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Cpu(_) => "cpu",
            Self::Pids(_) => "pids",
        }
    }

    /// cgroup v2 files (Documentation/admin-guide/cgroup-v2.rst).
    pub(super) fn v2(self) -> Vec<(&'static str, String, Presence)> {
        match self {
            Self::Memory(bytes) => vec![
                ("memory.max", bytes.to_string(), Presence::Required),
                ("memory.swap.max", "0".to_owned(), Presence::SwapAccounting),
            ],
            Self::Cpu(millis) => vec![("cpu.max", format!("{} {PERIOD}", quota(millis)), Presence::Required)],
            Self::Pids(tasks) => vec![("pids.max", tasks.to_string(), Presence::Required)],
        }
    }

    /// cgroup v1 files (Documentation/admin-guide/cgroup-v1/).
    pub(super) fn v1(self) -> Vec<(&'static str, String, Presence)> {
        match self {
            Self::Memory(bytes) => vec![
                ("memory.limit_in_bytes", bytes.to_string(), Presence::Required),
                ("memory.memsw.limit_in_bytes", bytes.to_string(), Presence::SwapAccounting),
            ],
            Self::Cpu(millis) => vec![
                ("cpu.cfs_period_us", PERIOD.to_string(), Presence::Required),
                ("cpu.cfs_quota_us", quota(millis).to_string(), Presence::Required),
            ],
            Self::Pids(tasks) => vec![("pids.max", tasks.to_string(), Presence::Required)],
        }
    }
}

fn quota(millis: u32) -> u64 {
    u64::from(millis) * PERIOD / 1000
}

/// The v1 groups: one for each hierarchy that carries a bound, and the freezer's where there is no
/// cgroup2 to freeze and name the container by.
pub(super) fn v1_groups(found: &Hierarchies, bounds: &[Bound], name: &str) -> Result<Vec<Group>, Error> {
    let mut groups: Vec<Group> = Vec::new();
    if found.v2.is_none() {
        let freezer = found.v1("freezer").ok_or_else(|| {
            Error::Launch("this host mounts neither cgroup2 nor the v1 freezer: mount one of them".to_owned())
        })?;
        groups.push(Group { dir: freezer.own.join(name), values: Vec::new() });
    }
    for &bound in bounds {
        let limit = bound.controller();
        let place = found.v1(limit).ok_or_else(|| Error::Limit {
            limit,
            reason: format!(
                "neither cgroup2 nor cgroup v1 offers the {limit} controller here; start without it"
            ),
        })?;
        let dir = place.own.join(name);
        match groups.iter_mut().find(|group| group.dir == dir) {
            Some(group) => group.values.extend(bound.v1()),
            None => groups.push(Group { dir, values: bound.v1() }),
        }
    }
    Ok(groups)
}

/// The group under which a cgroup2 group with these controllers can be made: the caller's own, or the
/// nearest one above that may have children with controllers (a group with processes may not, unless
/// it is the root). A group that has any bound of its own is never climbed past: the container would escape
/// that bound, whether or not it asks for one of the kind.
pub(super) fn v2_parent(place: &Place, controllers: &[&'static str]) -> Result<PathBuf, Error> {
    if controllers.is_empty() {
        return Ok(place.own.clone());
    }
    let mut group: &Path = &place.own;
    loop {
        if !is_occupied(group) && controllers.iter().all(|controller| enable(place, group, controller)) {
            return Ok(group.to_owned());
        }
        if let Some(limit) = bound_of(group) {
            let reason = format!(
                "{} holds processes and has a {limit} limit of its own; start corral from a group without one \
                 (systemd-run --scope -p Delegate=yes)",
                group.display()
            );
            return Err(Error::Limit { limit, reason });
        }
        match group.parent() {
            Some(parent) if group != place.mount => group = parent,
            _ => {
                return Err(Error::Limit {
                    limit: controllers[0],
                    reason: format!("cgroup2 at {} does not let it be enabled", place.mount.display()),
                });
            }
        }
    }
}

/// Whether processes keep the group from having children with controllers; the root alone, which has no type,
/// may have both. The kernel lets `cpu` and `pids` be enabled all the same, and turns the group into the root
/// of threads: no process can be in a group below it from then on (cgroup-v2.rst, "Threads").
fn is_occupied(group: &Path) -> bool {
    let empty = || kernel_file::read(group.join("cgroup.procs")).is_ok_and(|text| text.is_empty());
    group.join("cgroup.type").exists() && !empty()
}

/// Whether children of `group` have the controller, after an attempt to enable it. A group can give on only
/// what it was given, so that the attempt begins at the top: a limit below stays in force.
fn enable(place: &Place, group: &Path, controller: &str) -> bool {
    let control = group.join("cgroup.subtree_control");
    let enabled = kernel_file::read(&control)
        .is_ok_and(|text| text.split_ascii_whitespace().any(|name| name == controller));
    if enabled {
        return true;
    }
    let above = group.parent().filter(|_| group != place.mount);
    above.is_none_or(|above| !is_occupied(above) && enable(place, above, controller))
        && kernel_file::write(&control, &format!("+{controller}")).is_ok()
}

/// The controller by which the group itself bounds those in it.
fn bound_of(group: &Path) -> Option<&'static str> {
    const BOUNDS: [(&str, &str); 5] = [
        ("memory.max", "memory"),
        ("memory.high", "memory"),
        ("memory.swap.max", "memory"),
        ("cpu.max", "cpu"),
        ("pids.max", "pids"),
    ];
    let bounds = |file: &str| kernel_file::read(group.join(file)).is_ok_and(|text| !text.starts_with("max"));
    BOUNDS.into_iter().find(|(file, _)| bounds(file)).map(|(_, controller)| controller)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(mount: &str, own: &str) -> Place {
        Place { mount: mount.into(), own: own.into() }
    }

    #[test]
    fn v1_groups_only_where_a_bound_is_asked() {
        let found = Hierarchies {
            v2: Some(place("/cg/unified", "/cg/unified")),
            v1: vec![
                (vec!["cpu".into(), "pids".into()], place("/cg/cpu", "/cg/cpu/own")),
                (vec!["memory".into()], place("/cg/memory", "/cg/memory")),
            ],
        };
        let check = |limits: Cgroup, expect: &[(&str, usize)]| {
            let groups = v1_groups(&found, &Bound::of(&limits), "corral-x").unwrap();
            let shape: Vec<_> = groups.iter().map(|g| (g.dir.to_str().unwrap(), g.values.len())).collect();
            assert_eq!(shape, expect);
        };
        check(Cgroup::default(), &[]);
        check(Cgroup { memory: Some(1), ..Cgroup::default() }, &[("/cg/memory/corral-x", 2)]);
        let joined = Cgroup { cpu_millis: Some(1), pids: Some(1), ..Cgroup::default() };
        check(joined, &[("/cg/cpu/own/corral-x", 3)]);
    }

    #[test]
    fn a_bound_without_controller_is_refused() {
        let found = Hierarchies { v2: Some(place("/cg", "/cg")), v1: vec![] };
        let error = v1_groups(&found, &[Bound::Memory(1)], "x").unwrap_err();
        assert!(matches!(error, Error::Limit { limit: "memory", .. }), "{error}");
        let nothing = Hierarchies::default();
        assert!(v1_groups(&nothing, &[], "x").is_err());
    }

    #[test]
    fn quota_of_half_a_cpu() {
        assert_eq!(Bound::Cpu(500).v2()[0].1, "50000 100000");
        assert_eq!(Bound::Cpu(1500).v1()[1].1, "150000");
    }

    /// A plain directory stands for a hierarchy: a file that cannot be written is a refusal.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("corral-v2-{name}-{}", std::process::id()));
            std::fs::create_dir_all(root.join("slice/scope")).unwrap();
            Self(root)
        }

        fn write(&self, file: &str, text: &str) {
            std::fs::write(self.0.join(file), text).unwrap();
        }

        fn read(&self, file: &str) -> String {
            std::fs::read_to_string(self.0.join(file)).unwrap()
        }

        /// The parent that is found, below the root.
        fn parent(&self, controllers: &[&'static str]) -> Result<String, Error> {
            let found =
                v2_parent(&Place { mount: self.0.clone(), own: self.0.join("slice/scope") }, controllers)?;
            Ok(found.strip_prefix(&self.0).unwrap().display().to_string())
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn v2_parent_climbs_to_the_first_group_that_delegates() {
        let fake = Fake::new("climbs");
        fake.write("slice/cgroup.subtree_control", "cpu memory pids\n");
        assert_eq!(fake.parent(&[]).unwrap(), "slice/scope");
        assert_eq!(fake.parent(&["memory", "pids"]).unwrap(), "slice");
        fake.write("slice/scope/memory.max", "max\n");
        assert_eq!(fake.parent(&["memory"]).unwrap(), "slice");
        fake.write("slice/scope/memory.max", "1048576\n");
        assert!(matches!(fake.parent(&["memory"]), Err(Error::Limit { limit: "memory", .. })));
    }

    #[test]
    fn a_group_with_processes_is_not_turned_into_a_root_of_threads() {
        let fake = Fake::new("occupied");
        fake.write("slice/cgroup.subtree_control", "pids\n");
        for (file, text) in [("type", "domain\n"), ("procs", "77\n"), ("subtree_control", "")] {
            fake.write(&format!("slice/scope/cgroup.{file}"), text);
        }
        assert_eq!(fake.parent(&["pids"]).unwrap(), "slice");
        assert_eq!(fake.read("slice/scope/cgroup.subtree_control"), "");
        fake.write("slice/scope/cgroup.procs", "");
        assert_eq!(fake.parent(&["pids"]).unwrap(), "slice/scope");
    }

    #[test]
    fn what_a_group_was_not_given_is_given_from_the_top() {
        let fake = Fake::new("given");
        for group in ["", "slice/"] {
            fake.write(&format!("{group}cgroup.subtree_control"), "pids\n");
        }
        // A limit that would be lost above the slice.
        fake.write("slice/pids.max", "100\n");
        assert_eq!(fake.parent(&["pids", "cpu"]).unwrap(), "slice");
        for group in ["", "slice/"] {
            assert_eq!(fake.read(&format!("{group}cgroup.subtree_control")), "+cpu\n", "{group}");
        }
    }
}
