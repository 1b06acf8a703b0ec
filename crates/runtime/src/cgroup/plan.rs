//! Where a container's groups go and what is written there: decided from facts, applied elsewhere.

use std::path::{Path, PathBuf};

use corral_spec::CgroupParent;

use super::bound::{Bound, Value};
use super::devices;
use super::hierarchy::{Hierarchies, Place};
use crate::{Error, kernel_file};

/// A group to make and the files to write in it, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Its directory.
    pub(super) dir: PathBuf,
    /// What is written there.
    pub(super) values: Vec<Value>,
    /// The BPF program that answers for devices, if it is attached here.
    pub(super) program: Option<Vec<u64>>,
}

impl Group {
    fn new(dir: PathBuf) -> Self {
        Self { dir, values: Vec::new(), program: None }
    }

    /// Whether the kernel counts here whom it kills for memory.
    pub(super) fn bounds_memory(&self) -> bool {
        self.values.iter().any(Value::is_memory)
    }
}

/// The caller's v1 places, or those below them that `--cgroup-parent` names. On cgroup2 it counts from where the
/// container would be without it, which is found first.
pub(super) fn v1_below(found: &Hierarchies, parent: Option<&CgroupParent>) -> Result<Hierarchies, Error> {
    let Some(parent) = parent else { return Ok(found.clone()) };
    let v1 = found.v1.iter().map(|(names, place)| Ok((names.clone(), below(place, parent)?)));
    Ok(Hierarchies { v2: found.v2.clone(), v1: v1.collect::<Result<_, Error>>()? })
}

/// An absolute name counts from the hierarchy's root, but only at or below the caller's own group: elsewhere the
/// container would escape the limits that the caller is under.
pub(super) fn below(place: &Place, parent: &CgroupParent) -> Result<Place, Error> {
    let name = parent.as_str();
    let own = match name.strip_prefix('/') {
        None => place.own.join(name),
        Some(name) => place.mount.join(name),
    };
    if own.starts_with(&place.own) {
        return Ok(Place { mount: place.mount.clone(), own });
    }
    let reason = format!(
        "{} lies outside {}, the group of this command, whose limits hold for the container too; give a path without \
         a leading slash",
        own.display(),
        place.own.display()
    );
    Err(Error::Limit { limit: "cgroup-parent", reason })
}

/// Where each bound is enforced.
#[derive(Debug)]
pub(super) struct Split<'l> {
    /// On cgroup2.
    pub(super) v2: Vec<Bound<'l>>,
    /// In a v1 hierarchy.
    pub(super) v1: Vec<Bound<'l>>,
}

/// A bound is cgroup2's where that offers the controller; devices are a v1 hierarchy's where there is one.
pub(super) fn split<'l>(found: &Hierarchies, offered: &str, bounds: Vec<Bound<'l>>) -> Split<'l> {
    let is_v2 = |bound: &Bound<'_>| match bound.v2_controller() {
        Some(controller) => offered.split_ascii_whitespace().any(|name| name == controller),
        None => found.v2.is_some() && found.v1(bound.v1_controller()).is_none(),
    };
    let (v2, v1) = bounds.into_iter().partition(is_v2);
    Split { v2, v1 }
}

/// The group of cgroup2, below the one that [`v2_parent`] found.
pub(super) fn v2_group(dir: PathBuf, bounds: &[Bound<'_>]) -> Result<Group, Error> {
    let mut group = Group::new(dir);
    for bound in bounds {
        group.values.extend(bound.v2()?);
        if let Bound::Devices(more) = bound {
            group.program = Some(devices::program(&devices::allowed(&more.device_rules)));
        }
    }
    Ok(group)
}

/// The v1 groups: one for each hierarchy that carries a bound, and the freezer's where there is no
/// cgroup2 to freeze and name the container by.
pub(super) fn v1_groups(found: &Hierarchies, bounds: &[Bound<'_>], name: &str) -> Result<Vec<Group>, Error> {
    let mut groups: Vec<Group> = Vec::new();
    if found.v2.is_none() {
        let freezer = found.v1("freezer").ok_or_else(|| {
            Error::Launch("this host mounts neither cgroup2 nor the v1 freezer: mount one of them".to_owned())
        })?;
        groups.push(Group::new(freezer.own.join(name)));
    }
    for &bound in bounds {
        let group = v1_group(found, bound, name)?;
        match groups.iter_mut().find(|known| known.dir == group.dir) {
            Some(known) => known.values.extend(group.values),
            None => groups.push(group),
        }
    }
    Ok(groups)
}

/// The group for one bound in its v1 hierarchy.
pub(super) fn v1_group(found: &Hierarchies, bound: Bound<'_>, name: &str) -> Result<Group, Error> {
    let limit = bound.v1_controller();
    let place = found.v1(limit).ok_or_else(|| Error::Limit {
        limit,
        reason: format!("neither cgroup2 nor cgroup v1 offers the {limit} controller here; start without it"),
    })?;
    Ok(Group { values: bound.v1()?, ..Group::new(place.own.join(name)) })
}

/// The group under which a cgroup2 group with these controllers can be made: the caller's own, or the
/// nearest one above that may have children with controllers (a group with processes may not, unless
/// it is the root). A group that has any bound of its own is never climbed past: the container would escape
/// that bound, whether or not it asks for one of the kind. Nor is a group that the user has named (`fixed`).
pub(super) fn v2_parent(place: &Place, controllers: &[&'static str], fixed: bool) -> Result<PathBuf, Error> {
    if controllers.is_empty() {
        return Ok(place.own.clone());
    }
    let mut group: &Path = &place.own;
    loop {
        if !is_occupied(group) && controllers.iter().all(|controller| enable(place, group, controller)) {
            return Ok(group.to_owned());
        }
        if fixed {
            let reason = format!(
                "{} cannot have groups with it below itself; name a group without processes",
                group.display()
            );
            return Err(Error::Limit { limit: controllers[0], reason });
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

/// Gives a controller to a group that is there, which must not be below one with processes.
pub(super) fn v2_give(place: &Place, group: &Path, controller: &'static str) -> Result<(), Error> {
    let above = group.parent().unwrap_or(group);
    let has = kernel_file::read(group.join("cgroup.controllers"))
        .is_ok_and(|text| text.split_ascii_whitespace().any(|name| name == controller));
    if has {
        return Ok(());
    }
    if !is_occupied(above) && enable(place, above, controller) {
        return Ok(());
    }
    let reason = format!(
        "{} was made without the {controller} controller, and the group above it holds processes; set the limit when \
         the container is created",
        group.display()
    );
    Err(Error::Limit { limit: controller, reason })
}

/// Whether processes keep the group from having children with controllers; the root alone, which has no type,
/// may have both. The kernel lets `cpu` and `pids` be enabled all the same, and turns the group into the root
/// of threads: no process can be in a group below it from then on (cgroup-v2.rst, "Threads").
pub(crate) fn is_occupied(group: &Path) -> bool {
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
    const BOUNDS: [(&str, &str); 7] = [
        ("cpuset.cpus", "cpuset"),
        ("io.max", "io"),
        ("memory.max", "memory"),
        ("memory.high", "memory"),
        ("memory.swap.max", "memory"),
        ("cpu.max", "cpu"),
        ("pids.max", "pids"),
    ];
    let is_bound = |text: &str| !text.trim().is_empty() && !text.starts_with("max");
    let bounds = |file: &str| kernel_file::read(group.join(file)).is_ok_and(|text| is_bound(&text));
    BOUNDS.into_iter().find(|(file, _)| bounds(file)).map(|(_, controller)| controller)
}

#[cfg(test)]
mod tests {
    use corral_spec::record::Cgroup;

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
        let limits = Cgroup { memory: Some(1), ..Cgroup::default() };
        let error = v1_groups(&found, &Bound::of(&limits), "x").unwrap_err();
        assert!(matches!(error, Error::Limit { limit: "memory", .. }), "{error}");
        let nothing = Hierarchies::default();
        assert!(v1_groups(&nothing, &[], "x").is_err());
    }

    #[test]
    fn each_bound_goes_where_it_can_be_enforced() {
        let limits = Cgroup {
            memory: Some(1),
            pids: Some(1),
            more: corral_spec::Resources { devices_enforced: true, ..Default::default() },
            ..Cgroup::default()
        };
        let check = |found: &Hierarchies, offered: &str, v2: &[&str], v1: &[&str]| {
            let split = split(found, offered, Bound::of(&limits));
            let names = |bounds: &[Bound<'_>]| bounds.iter().map(|b| b.v1_controller()).collect::<Vec<_>>();
            assert_eq!((names(&split.v2), names(&split.v1)), (v2.to_vec(), v1.to_vec()), "{offered}");
        };
        let v1 = |names: &[&str]| {
            let one = |name: &&str| (vec![(*name).to_owned()], place("/v1", "/v1"));
            names.iter().map(one).collect::<Vec<_>>()
        };
        let all = ["memory", "pids", "devices"];
        let v2 = Some(place("/cg", "/cg/own"));
        let pure_v2 = Hierarchies { v2: v2.clone(), v1: Vec::new() };
        check(&pure_v2, "cpu memory pids", &all, &[]);
        let hybrid = Hierarchies { v2: v2.clone(), v1: v1(&all) };
        check(&hybrid, "hugetlb", &[], &all);
        let mixed = Hierarchies { v2, v1: v1(&["memory"]) };
        check(&mixed, "pids", &["pids", "devices"], &["memory"]);
        check(&Hierarchies { v2: None, v1: v1(&all) }, "", &[], &all);
        let group = v2_group("/cg/own/x".into(), &Bound::of(&limits)).unwrap();
        assert!(group.program.is_some_and(|program| !program.is_empty()));
    }

    #[test]
    fn a_named_parent_lies_below_the_callers_group() {
        let found = Hierarchies {
            v2: Some(place("/cg", "/cg/own")),
            v1: vec![(vec!["pids".into()], place("/pids", "/pids"))],
        };
        let check = |parent: &str| {
            let parent = parent.parse().unwrap();
            let v1 = v1_below(&found, Some(&parent)).ok()?;
            let v2 = below(found.v2.as_ref()?, &parent).ok()?;
            let show = |place: &Place| place.own.display().to_string();
            Some((show(&v2), show(v1.v1("pids")?)))
        };
        assert_eq!(check("a/b"), Some(("/cg/own/a/b".into(), "/pids/a/b".into())));
        assert_eq!(check("/own/a"), Some(("/cg/own/a".into(), "/pids/own/a".into())));
        assert_eq!(check("/other"), None);
        assert_eq!(check("/owner"), None);
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
            let place = Place { mount: self.0.clone(), own: self.0.join("slice/scope") };
            let found = v2_parent(&place, controllers, false)?;
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
    fn a_group_that_was_named_is_the_one_or_none() {
        let fake = Fake::new("named");
        fake.write("slice/cgroup.subtree_control", "cpu memory pids\n");
        let place = |own: &str| Place { mount: fake.0.clone(), own: fake.0.join(own) };
        assert!(v2_parent(&place("slice/scope"), &["memory"], true).is_err());
        assert_eq!(v2_parent(&place("slice"), &["memory"], true).unwrap(), fake.0.join("slice"));
        assert_eq!(v2_parent(&place("slice/scope"), &[], true).unwrap(), fake.0.join("slice/scope"));
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
