//! User namespaces and the maps that translate owners.
//!
//! Two uses of one kernel object: the container's own user namespace, and, for a bound directory whose
//! host owner appears as somebody else inside, a namespace that only carries a map
//! (mount_setattr(2), MOUNT_ATTR_IDMAP: "on-disk id" → "host id of the mount").

use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use corral_spec::record::{BindIds, IdMap, Launch, Own, Process, Warm};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, getppid, pidfd_send_signal, set_parent_process_death_signal,
    waitid,
};

use crate::Error;
use crate::caller::in_first_user_namespace;
use crate::sys::{Forked, exit, fork};

/// One line of a map: first id inside (on disk), first id outside, how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl Extent {
    /// The outer number of an inner one.
    pub(crate) fn outside(self, id: u32) -> Option<u32> {
        let within = id.checked_sub(self.0).filter(|&offset| offset < self.2);
        within.and_then(|offset| self.1.checked_add(offset))
    }
}

/// Gives the container's namespace, that of `pid`, its map. What is mounted for it is mounted through that map, and so
/// the namespace is the answer; an ordinary user cannot, and the ids on disk are the container's own.
pub(crate) fn give_map(launch: &Launch, pid: i32) -> Result<Option<OwnedFd>, Error> {
    let Some(ids) = launch.ids else { return Ok(None) };
    match launch.warm {
        None => map_container(pid, ids, launch.shared)?,
        Some(Warm::Template { window }) => map_template(pid, ids, window)?,
        // Mapped where it was made.
        Some(Warm::Forked { .. }) => {}
    }
    launch.shared.is_none().then(|| namespace_of(pid)).transpose()
}

/// Gives the namespace of `pid` the container's map.
pub(crate) fn map_container(pid: i32, ids: IdMap, shared: Option<Own>) -> Result<(), Error> {
    match shared {
        None => {
            let extents = [Extent(0, ids.host, ids.count)];
            map(pid, &extents, &extents)
        }
        Some(own) => map(pid, &around(ids.count, own.uid), &around(ids.count, own.gid)),
    }
}

/// The ids of the user's namespace: `own` is its id 0, 0 is its id `own` or, where there is none of that number, its
/// last. All others are themselves, so that what an image gives them stays theirs.
fn around(count: u32, own: u32) -> Vec<Extent> {
    let root = own.min(count - 1);
    let rest = |first: u32, end: u32| Extent(first, first, end.saturating_sub(first));
    let extents = match own {
        0 => [Extent(0, 0, 1), rest(1, count), rest(0, 0), rest(0, 0)],
        _ => [Extent(0, root, u32::from(root > 0)), rest(1, root), Extent(own, 0, 1), rest(root + 1, count)],
    };
    extents.into_iter().filter(|extent| extent.2 > 0).collect()
}

/// What a process's user and group are where its namespace was made.
pub(crate) fn outside(launch: &Launch, process: &Process) -> (u32, u32) {
    let (uid, gid) = (process.uid, process.gid);
    let around = |id: u32, own: u32| match id {
        id if id == own => 0,
        // Who is not there cannot be given anything, and the kernel says so.
        0 => own.min(launch.ids.map_or(0, |ids| ids.count - 1)),
        id => id,
    };
    match (launch.shared, launch.ids) {
        (Some(own), _) => (around(uid, own.uid), around(gid, own.gid)),
        (None, Some(ids)) => (ids.host.saturating_add(uid), ids.host.saturating_add(gid)),
        (None, None) => (uid, gid),
    }
}

/// The same for a template: the ids around its own are there too, unchanged.
pub(crate) fn map_template(pid: i32, ids: IdMap, window: IdMap) -> Result<(), Error> {
    let extents: Vec<_> = [Extent(0, ids.host, ids.count)].into_iter().chain(without(ids, window)).collect();
    map(pid, &extents, &extents)
}

/// The window without what is mapped already.
fn without(ids: IdMap, window: IdMap) -> impl Iterator<Item = Extent> {
    let (end, window_end) = (ids.host + ids.count, window.host + window.count);
    let parts = [(window.host, ids.host.min(window_end)), (end.max(window.host), window_end)];
    parts.into_iter().filter(|(from, to)| from < to).map(|(from, to)| Extent(from, from, to - from))
}

/// The user namespace of a process.
pub(crate) fn namespace_of(pid: i32) -> Result<OwnedFd, Error> {
    open(format!("/proc/{pid}/ns/user"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::Process { pid, act: "open its user namespace", source: errno.into() })
}

/// Checks the ids of a launch before anything is made of them. Id 0 is mapped only where it is an ordinary user.
pub(crate) fn check_launch(launch: &Launch) -> Result<(), Error> {
    match (launch.ids, launch.shared) {
        (None, None) => Ok(()),
        (Some(ids), None) => check(ids),
        (Some(IdMap { host: 0, count: 1.. }), Some(_)) if !in_first_user_namespace() => Ok(()),
        (_, Some(_)) => Err(Error::Launch(
            "it was made for an ordinary user's namespace, and this is another one: start it as that user"
                .to_owned(),
        )),
    }
}

fn check(ids: IdMap) -> Result<(), Error> {
    let end = u64::from(ids.host) + u64::from(ids.count);
    // 65534 (nobody) and 65535 (the old "no id") are not given away, nor host root; u32::MAX is "no id".
    if ids.host == 0 || ids.count == 0 || end > u64::from(u32::MAX) {
        return Err(Error::Launch(format!(
            "host ids {} to {} cannot be mapped",
            ids.host,
            end.saturating_sub(1)
        )));
    }
    Ok(())
}

/// A user namespace for [`BindIds::Owner`]: the host owner is the container's `to_uid:to_gid`, all other
/// container ids are stored as their host ids. A short-lived child carries it.
pub(crate) fn owner_namespace(ids: IdMap, owner: &BindIds) -> Result<OwnedFd, Error> {
    let BindIds::Owner { uid, gid, to_uid, to_gid } = *owner else {
        return Err(Error::Launch("only an owner's map needs a namespace of its own".to_owned()));
    };
    if uid == 0 {
        return Err(Error::Launch(
            "a directory of the host's root cannot be given to a container".to_owned(),
        ));
    }
    let users = owner_extents(ids, uid, to_uid)?;
    let groups =
        if gid == 0 { vec![Extent(ids.host, ids.host, ids.count)] } else { owner_extents(ids, gid, to_gid)? };
    namespace_with(&users, &groups)
}

/// A user namespace that only carries these maps.
pub(crate) fn namespace_with(users: &[Extent], groups: &[Extent]) -> Result<OwnedFd, Error> {
    let caller = getpid();
    let (pid, pidfd) = match fork(libc::CLONE_NEWUSER, None).map_err(Error::Namespaces)? {
        Forked::Parent { pid, pidfd } => (pid, pidfd),
        Forked::Child => carry_namespace(caller),
    };
    let namespace = map(pid, users, groups).and_then(|()| namespace_of(pid));
    let killed = pidfd_send_signal(&pidfd, Signal::KILL);
    let reaped = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    killed.and(reaped.map(drop)).map_err(|errno| Error::Process { pid, act: "end", source: errno.into() })?;
    namespace
}

/// Gives the namespace of `pid` its maps.
pub(crate) fn map(pid: i32, users: &[Extent], groups: &[Extent]) -> Result<(), Error> {
    let first = users.first().map_or(0, |extent| extent.1);
    let last = users.iter().map(|extent| u64::from(extent.1) + u64::from(extent.2)).max().unwrap_or(1) - 1;
    write_map(pid, "uid_map", users)
        .and_then(|()| write_map(pid, "gid_map", groups))
        .map_err(|source| Error::IdMap { host: first, last, source })
}

/// What the short-lived child does: it lives until it is killed, or until `caller` is dead.
fn carry_namespace(caller: Pid) -> ! {
    if set_parent_process_death_signal(Some(Signal::KILL)).is_ok() && getppid() == Some(caller) {
        std::thread::sleep(Duration::from_secs(600));
    }
    exit(0)
}

/// Host `id` on disk is the container's `to`; every other id of the range is itself.
fn owner_extents(ids: IdMap, id: u32, to: u32) -> Result<Vec<Extent>, Error> {
    if (ids.host..ids.host + ids.count).contains(&id) {
        return Err(Error::Launch(format!("host id {id} belongs to the container's own range")));
    }
    if to >= ids.count {
        return Err(Error::Launch(format!(
            "container id {to} is beyond the {} ids of the container",
            ids.count
        )));
    }
    let after = ids.host + to + 1;
    let extents = [
        Extent(ids.host, ids.host, to),
        Extent(id, ids.host + to, 1),
        Extent(after, after, ids.count - to - 1),
    ];
    Ok(extents.into_iter().filter(|extent| extent.2 > 0).collect())
}

/// user_namespaces(7): one write, at most 340 lines.
fn write_map(pid: i32, file: &str, extents: &[Extent]) -> io::Result<()> {
    let mut text = String::new();
    for Extent(inside, outside, count) in extents {
        writeln!(text, "{inside} {outside} {count}").map_err(io::Error::other)?;
    }
    crate::kernel_file::write(format!("/proc/{pid}/{file}"), &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: IdMap = IdMap { host: 100_000, count: 65_536 };

    #[test]
    fn the_owner_is_one_container_id_and_the_rest_is_shifted() {
        let check = |id, to, expect: &[Extent]| assert_eq!(owner_extents(IDS, id, to).unwrap(), expect);
        check(1000, 0, &[Extent(1000, 100_000, 1), Extent(100_001, 100_001, 65_535)]);
        check(
            1000,
            5,
            &[Extent(100_000, 100_000, 5), Extent(1000, 100_005, 1), Extent(100_006, 100_006, 65_530)],
        );
        check(1000, 65_535, &[Extent(100_000, 100_000, 65_535), Extent(1000, 165_535, 1)]);
    }

    #[test]
    fn a_templates_window_has_a_hole_where_its_own_ids_are() {
        let check = |host, expect: &[Extent]| {
            let window = IdMap { host: 100, count: 30 };
            assert_eq!(without(IdMap { host, count: 10 }, window).collect::<Vec<_>>(), expect);
        };
        check(110, &[Extent(100, 100, 10), Extent(120, 120, 10)]);
        check(100, &[Extent(110, 110, 20)]);
        check(120, &[Extent(100, 100, 20)]);
    }

    #[test]
    fn the_users_own_id_is_anywhere_and_no_id_is_used_twice() {
        let check = |own, expect: &[Extent]| assert_eq!(around(10, own), expect, "{own}");
        check(0, &[Extent(0, 0, 1), Extent(1, 1, 9)]);
        check(3, &[Extent(0, 3, 1), Extent(1, 1, 2), Extent(3, 0, 1), Extent(4, 4, 6)]);
        check(1, &[Extent(0, 1, 1), Extent(1, 0, 1), Extent(2, 2, 8)]);
        check(9, &[Extent(0, 9, 1), Extent(1, 1, 8), Extent(9, 0, 1)]);
        check(1000, &[Extent(0, 9, 1), Extent(1, 1, 8), Extent(1000, 0, 1)]);
        assert_eq!(around(1, 0), [Extent(0, 0, 1)]);
        assert_eq!(around(1, u32::MAX - 1), [Extent(u32::MAX - 1, 0, 1)]);
    }

    #[test]
    fn impossible_owners_are_refused() {
        assert!(owner_extents(IDS, 100_001, 0).is_err());
        assert!(owner_extents(IDS, 1000, 65_536).is_err());
        assert!(owner_namespace(IDS, &BindIds::Owner { uid: 0, gid: 5, to_uid: 0, to_gid: 0 }).is_err());
    }

    #[test]
    fn host_root_is_never_in_a_range() {
        for (host, count, good) in
            [(100_000, 65_536, true), (0, 65_536, false), (1, 0, false), (u32::MAX - 5, 65_536, false)]
        {
            assert_eq!(check(IdMap { host, count }).is_ok(), good, "{host} {count}");
        }
    }
}
