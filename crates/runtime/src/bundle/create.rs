//! The parent's side of a container's creation.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corral_spec::record::ProcessName;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::inside::Inside;
use super::{Bundle, IdLine, Kind, mounts, netdev};
use crate::caller::{Caller, process_name};
use crate::cgroup::Entrance;
use crate::channel::{Channel, Word};
use crate::idmap::{self, Extent};
use crate::running::Child;
use crate::sys::{Forked, exit, fork, unshare_time};
use crate::{ControlGroup, Error, confine, kernel_file};

/// A container with all its namespaces and mounts, that waits for the hooks of the runtime's side. Dropped, it is
/// killed.
#[derive(Debug)]
pub struct Setting {
    child: Option<Child>,
    channel: Channel,
}

/// A container that waits for [`release`](super::release).
#[derive(Debug)]
pub struct Ready {
    /// The terminal's master side, if it has one.
    pub console: Option<OwnedFd>,
    /// The first process, a child of this one.
    pub name: ProcessName,
}

/// Makes the container's first process and its mounts, in the groups `group`. `listener` is what the process will
/// wait at; `state` makes what the hooks in the container read, of its number and status.
///
/// # Errors
/// Any [`Error`]; no process is left then.
pub fn create(
    bundle: &Bundle,
    group: &ControlGroup,
    listener: OwnedFd,
    state: &dyn Fn(i32, &str) -> String,
) -> Result<Setting, Error> {
    let caller = Caller::inspect()?;
    let entrance = group.entrance()?;
    let joined = open_namespaces(bundle)?;
    let views = mounts::Views::of(group)?;
    let has_userns = bundle.namespace(Kind::User).is_some();
    let (parent, child) = Channel::pair()?;
    let (told, tell) = Channel::pair()?;
    let mut between = match fork(0, entrance.v2.as_ref().map(AsFd::as_fd)).map_err(Error::Namespaces)? {
        Forked::Child => {
            drop((parent, told));
            match enter(bundle, &entrance, &joined) {
                Ok(Forked::Child) => {
                    drop(tell);
                    let ignored_signals = caller.ignored_signals;
                    Inside { bundle, channel: child, listener, ignored_signals, has_userns, state, views }
                        .run()
                }
                Ok(Forked::Parent { pid, .. }) => {
                    exit(i32::from(tell.send(Word::Pid, &pid.to_ne_bytes(), &[]).is_err()))
                }
                Err(error) => {
                    tell.send_failure(&error);
                    exit(1)
                }
            }
        }
        Forked::Parent { pid, pidfd } => Child::new(pid, pidfd),
    };
    drop((child, tell, listener, joined, entrance));
    let child = adopt(&told, &mut between)?;
    let mut setting = Setting { child: Some(child), channel: parent };
    setting.prepare(bundle)?;
    Ok(setting)
}

/// Hears the number of the process that the go-between made as this one's child.
pub(super) fn adopt(told: &Channel, between: &mut Child) -> Result<Child, Error> {
    let message = told.answer("joining the namespaces");
    between.wait()?;
    let message = message?;
    let pid = match (message.word, <[u8; 4]>::try_from(message.body.as_slice())) {
        (Word::Pid, Ok(bytes)) => i32::from_ne_bytes(bytes),
        _ => return Err(message.failure().unwrap_or(Error::Died { act: "joining the namespaces" })),
    };
    let open = |pid| pidfd_open(pid, PidfdFlags::empty());
    let pidfd = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH).and_then(open);
    let pidfd = pidfd.map_err(|errno| Error::Process { pid, act: "open it", source: errno.into() })?;
    Ok(Child::new(pid, pidfd))
}

impl Setting {
    /// The first process, in the caller's numbers.
    pub fn pid(&self) -> i32 {
        self.child.as_ref().map_or(0, |child| child.name.pid)
    }

    /// Lets the container finish, once the runtime's hooks have run.
    ///
    /// # Errors
    /// What failed inside; no process is left then.
    pub fn finish(mut self, terminal: bool) -> Result<Ready, Error> {
        let talk = |error| Error::inside("talk to the container's first process", error);
        self.channel.send(Word::Go, &[], &[]).map_err(talk)?;
        let message = heard(&self.channel)?;
        let console = message.into_iter().next();
        if terminal && console.is_none() {
            return Err(Error::Died { act: "opening the terminal" });
        }
        let name = process_name(self.pid())?;
        // From here on it lives without this process.
        self.child = None;
        Ok(Ready { console, name })
    }

    fn prepare(&mut self, bundle: &Bundle) -> Result<(), Error> {
        let pid = self.pid();
        confine::limit(Pid::from_raw(pid), &bundle.process.rlimits)?;
        adjust_oom_score(pid, bundle.process.oom_score_adj)?;
        if bundle.is_new(Kind::User) {
            idmap::map(pid, &extents(&bundle.uids), &extents(&bundle.gids))?;
        }
        netdev::hand_over(&bundle.net_devices, pid)?;
        let userns = match bundle.namespace(Kind::User) {
            Some(_) => Some(idmap::namespace_of(pid)?),
            None => None,
        };
        let made = mounts::detached(bundle, userns.as_ref().map(AsFd::as_fd), pid)?;
        let fds: Vec<BorrowedFd<'_>> = made.iter().map(AsFd::as_fd).collect();
        let talk = |error| Error::inside("talk to the container's first process", error);
        let told = self.channel.send(Word::Go, &pid.to_ne_bytes(), &[]);
        let sent = told.and_then(|()| self.channel.send_mounts(&fds));
        // A child that gave up has said why.
        heard(&self.channel).map(drop).and(sent.map_err(talk))
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.signal(corral_spec::Signal::KILL).and_then(|()| child.wait()));
        }
    }
}

/// Waits for the child's word that it is ready, with the descriptors that come along.
pub(super) fn heard(channel: &Channel) -> Result<Vec<OwnedFd>, Error> {
    let message = channel.answer("setting up")?;
    match message.failure() {
        Some(error) => Err(error),
        None => Ok(message.fds),
    }
}

/// What is in /proc/PID/oom_score_adj already is not written: lowering it takes a privilege.
pub(super) fn adjust_oom_score(pid: i32, score: Option<i32>) -> Result<(), Error> {
    let Some(score) = score else { return Ok(()) };
    kernel_file::write(format!("/proc/{pid}/oom_score_adj"), &score.to_string())
        .map_err(|error| Error::inside(format!("set oomScoreAdj to {score}"), error))
}

pub(super) fn extents(lines: &[IdLine]) -> Vec<Extent> {
    lines.iter().map(|&IdLine(inside, outside, count)| Extent(inside, outside, count)).collect()
}

/// The namespaces that are given by a path, the user namespace last: those before may belong to the host's.
fn open_namespaces(bundle: &Bundle) -> Result<Vec<(Kind, OwnedFd)>, Error> {
    let mut kinds = Kind::ALL;
    kinds.rotate_left(1);
    let mut opened = Vec::new();
    for kind in kinds {
        if let Some(path) = bundle.namespace(kind).and_then(|namespace| namespace.path.as_ref()) {
            let fd = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
                Error::Host { act: "open the namespace", path: path.clone(), source: errno.into() }
            })?;
            opened.push((kind, fd));
        }
    }
    Ok(opened)
}

/// The go-between's share: everything that only holds for the children of whoever does it.
fn enter(bundle: &Bundle, entrance: &Entrance, joined: &[(Kind, OwnedFd)]) -> Result<Forked, Error> {
    entrance.join_v1()?;
    if bundle.is_new(Kind::Time) {
        unshare_time().map_err(|error| Error::inside("make the time namespace", error))?;
        for line in &bundle.time_offsets {
            kernel_file::write("/proc/self/timens_offsets", line)
                .map_err(|error| Error::inside(format!("set the time offset {line:?}"), error))?;
        }
    }
    for (kind, fd) in joined {
        let link = match kind {
            Kind::User => LinkNameSpaceType::User,
            Kind::Mount => LinkNameSpaceType::Mount,
            Kind::Pid => LinkNameSpaceType::ProcessID,
            Kind::Network => LinkNameSpaceType::Network,
            Kind::Ipc => LinkNameSpaceType::InterProcessCommunication,
            Kind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
            Kind::Cgroup => LinkNameSpaceType::ControlGroup,
            Kind::Time => LinkNameSpaceType::Time,
        };
        move_into_link_name_space(fd.as_fd(), Some(link))
            .map_err(|errno| Error::inside(format!("join the {kind:?} namespace"), errno))?;
    }
    let new = |kind: &Kind| bundle.is_new(*kind) && *kind != Kind::Time;
    let flags = Kind::ALL.into_iter().filter(new).fold(libc::CLONE_PARENT, |flags, kind| flags | kind.flag());
    fork(flags, None).map_err(Error::Namespaces)
}
