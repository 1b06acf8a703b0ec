//! Into the namespace, and what is known of it inside.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, getegid, geteuid, getpid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::members::Members;
use super::subids::{self, Range};
use crate::caller::{Caller, in_first_user_namespace};
use crate::idmap::Extent;
use crate::running::Child;
use crate::sys::{Forked, exit, fork, unshare};
use crate::{Error, ExitState, kernel_file};

/// What the user's namespace maps: read inside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The user.
    pub uid: u32,
    /// The user's group.
    pub gid: u32,
    /// User ids 0 to `count`-1, and group ids likewise, are there; 0 is the user.
    pub count: u32,
}

/// A process of ours in the namespace.
#[derive(Debug)]
pub struct Member {
    /// What the namespace maps.
    pub shared: Shared,
    /// Says that this process is there, until it is closed.
    pub lock: BorrowedFd<'static>,
}

/// How the namespace was entered.
#[derive(Debug)]
pub struct Entered {
    /// What it maps.
    pub shared: Shared,
    /// Why it maps one id only, if that is so.
    pub single: Option<String>,
}

/// Enters the namespace that the user's other processes are in, or a new one, and a mount namespace of this process's
/// own. `run` is the user's run directory, checked before.
///
/// # Errors
/// When the kernel refuses it, or a helper refuses the user's ranges.
pub fn enter(run: &Path) -> Result<Entered, Error> {
    Caller::inspect()?;
    let members = Members::lock(run)?;
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let single = match members.namespace()? {
        Some(namespace) => {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))
                .map_err(|errno| Error::inside("join the user namespace of your other containers", errno))?;
            None
        }
        None => make(uid, gid)?,
    };
    unshare(libc::CLONE_NEWNS)
        .map_err(|error| Error::inside("make a mount namespace (see corral doctor)", error))?;
    crate::attach::cut_propagation()?;
    members.register()?;
    let shared = Shared::read()?;
    let single =
        single.or_else(|| (shared.count == 1).then(|| "it was made so by an earlier command".to_owned()));
    Ok(Entered { shared, single })
}

/// What a process of ours that was started inside does first.
///
/// # Errors
/// When its file cannot be written, or it is not in a user's namespace at all.
pub fn register(run: &Path) -> Result<Member, Error> {
    let lock = Members::lock(run)?.register()?;
    Ok(Member { shared: Shared::read()?, lock })
}

impl Shared {
    fn read() -> Result<Self, Error> {
        if in_first_user_namespace() {
            return Err(Error::Launch("this is not the user namespace of an ordinary user".to_owned()));
        }
        let read = |path: &'static str| {
            kernel_file::read_single(path).map_err(|source| Error::Host {
                act: "read",
                path: path.into(),
                source,
            })
        };
        let (users, groups) = (lines(&read("/proc/self/uid_map")?), lines(&read("/proc/self/gid_map")?));
        let (Some((uid, user_ids)), Some((gid, group_ids))) = (users, groups) else {
            return Err(Error::Launch("this user namespace has another map than corral gives".to_owned()));
        };
        Ok(Self { uid, gid, count: user_ids.min(group_ids) })
    }
}

/// Whose id is 0, and how many ids follow without a gap, 0 included.
fn lines(text: &str) -> Option<(u32, u32)> {
    let mut all = text.lines().map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u32>().ok());
        Some(Extent(numbers.next()??, numbers.next()??, numbers.next()??))
    });
    let Some(Some(Extent(0, own, 1))) = all.next() else { return None };
    let mut count = 1_u32;
    for Extent(inside, _, more) in all.map_while(|line| line) {
        if inside != count {
            break;
        }
        count = count.checked_add(more)?;
    }
    Some((own, count))
}

fn refused(source: io::Error) -> Error {
    Error::UserNamespace { source }
}

const NEWUIDMAP: &str = "/usr/bin/newuidmap";
const NEWGIDMAP: &str = "/usr/bin/newgidmap";

/// Makes the namespace and its maps: the user's ranges, or the user alone, and why.
fn make(uid: u32, gid: u32) -> Result<Option<String>, Error> {
    let ranges = match Ranges::of(uid, gid) {
        Ok(ranges) => ranges,
        Err(reason) => return make_single(uid, gid).map(|()| Some(reason)),
    };
    let maps = [(NEWUIDMAP, subids::map(uid, &ranges.users)), (NEWGIDMAP, subids::map(gid, &ranges.groups))];
    with_helpers(&maps).map(|()| None)
}

/// Alone a user needs no helper; that nobody changes groups is the kernel's condition (user_namespaces(7)).
fn make_single(uid: u32, gid: u32) -> Result<(), Error> {
    unshare(libc::CLONE_NEWUSER).map_err(refused)?;
    let own = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ];
    own.iter().try_for_each(|(file, text)| {
        kernel_file::write(format!("/proc/self/{file}"), text).map_err(|source| Error::IdMap {
            host: uid,
            last: uid.into(),
            source,
        })
    })
}

/// What is a user's to map, and can be.
struct Ranges {
    users: Vec<Range>,
    groups: Vec<Range>,
}

impl Ranges {
    /// Looks in the files that newuidmap and newgidmap look in, or says what is missing.
    fn of(uid: u32, gid: u32) -> Result<Self, String> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let files = [read("/etc/subuid"), read("/etc/subgid")];
        let name = subids::name(&read("/etc/passwd"), uid);
        let users = subids::ranges(&files[0], name.as_deref(), uid);
        // Both files name users: /etc/subgid too.
        let mut groups = subids::ranges(&files[1], name.as_deref(), uid);
        groups.retain(|range| !(range.first..range.first + range.count).contains(&gid));
        if users.is_empty() || groups.is_empty() {
            let file = if users.is_empty() { "/etc/subuid" } else { "/etc/subgid" };
            let name = name.unwrap_or_else(|| uid.to_string());
            let free = subids::free(files.each_ref().map(String::as_str));
            let last = free.saturating_add(65_535);
            return Err(format!(
                "{file} gives {name} no range (sudo usermod --add-subuids {free}-{last} --add-subgids {free}-{last} {name})"
            ));
        }
        match [NEWUIDMAP, NEWGIDMAP].into_iter().find(|path| !Path::new(path).exists()) {
            Some(missing) => Err(format!("{missing} is not there (Debian: sudo apt-get install uidmap)")),
            None => Ok(Self { users, groups }),
        }
    }
}

/// Why a user has no id but their own; none if they could have.
pub fn why_single(uid: u32, gid: u32) -> Option<String> {
    Ranges::of(uid, gid).err()
}

/// Unshares, while a child that stays behind waits to have the helpers write the maps: a process cannot map more than
/// itself.
fn with_helpers(maps: &[(&str, Vec<Extent>)]) -> Result<(), Error> {
    let talk = |error: io::Error| Error::inside("talk to the process that maps ids", error);
    let (mut go, wait) = io::pipe().map(|(read, write)| (write, read)).map_err(talk)?;
    let (mut said, say) = io::pipe().map_err(talk)?;
    let target = getpid();
    let mut child = match fork(0, None).map_err(Error::Namespaces)? {
        Forked::Child => {
            drop((go, said));
            exit(helper(target, wait, say, maps))
        }
        Forked::Parent { pid, pidfd } => Child::new(pid, pidfd),
    };
    drop((wait, say));
    let unshared = unshare(libc::CLONE_NEWUSER);
    if unshared.is_ok() {
        go.write_all(b"g").map_err(talk)?;
    }
    drop(go);
    let mut text = String::new();
    said.read_to_string(&mut text).map_err(talk)?;
    let ended = child.wait()?;
    unshared.map_err(refused)?;
    match ended {
        ExitState::Code(0) => Ok(()),
        _ => Err(Error::Launch(text.trim().to_owned())),
    }
}

/// The child: runs the helpers, says what they complained of.
fn helper(
    target: Pid,
    mut wait: io::PipeReader,
    mut say: io::PipeWriter,
    maps: &[(&str, Vec<Extent>)],
) -> i32 {
    // Nothing to do for a parent that could not unshare, or died.
    if !matches!(wait.read(&mut [0]), Ok(1)) {
        return 1;
    }
    for (program, map) in maps {
        let numbers =
            map.iter().flat_map(|extent| [extent.0, extent.1, extent.2]).map(|number| number.to_string());
        let ran = Command::new(program)
            .env_clear()
            .current_dir("/")
            .arg(target.as_raw_nonzero().to_string())
            .args(numbers)
            .stdin(Stdio::null())
            .output();
        let complaint = match ran {
            Ok(output) if output.status.success() => continue,
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        // The parent sees the code, if not the words.
        let _ = write!(say, "{program} refuses the ranges of /etc/subuid and /etc/subgid: {complaint}");
        return 1;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_as_far_as_it_has_no_gap() {
        assert_eq!(
            lines("         0       1000          1\n         1     100000      65536\n"),
            Some((1000, 65_537))
        );
        assert_eq!(lines("0 1000 1\n1 100000 5\n6 200000 5\n12 1 1\n"), Some((1000, 11)));
        assert_eq!(lines("0 1000 1"), Some((1000, 1)));
        for bad in ["", "0 0 4294967295", "1 1000 1", "0 1000 2", "x"] {
            assert_eq!(lines(bad), None, "{bad}");
        }
    }
}
