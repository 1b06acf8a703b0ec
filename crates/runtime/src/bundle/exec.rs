//! A further process in a container that runs.

use std::os::fd::{AsFd, OwnedFd};

use corral_spec::record::ProcessName;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{DumpableBehavior, Pid, set_dumpable_behavior};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::create::{adjust_oom_score, adopt, heard};
use super::inside::{Step, change_root, new_keyring, open_terminal, take_streams};
use super::wait::Released;
use super::{Bundle, Kind, privileges, wait};
use crate::caller::{Caller, process_name};
use crate::cgroup::Entrance;
use crate::channel::{Channel, Message, Word};
use crate::program::Program;
use crate::running::{Child, Exec};
use crate::sys::{Forked, close_all_but, exit, fork, keep_open};
use crate::terminal::Terminal;
use crate::{ControlGroup, Error, confine, find_process};

/// A process that joined a container and waits one step before execve. Dropped, it is killed.
#[derive(Debug)]
pub struct Joined {
    /// The terminal's master side, if it has one; take it before [`Self::release`].
    pub console: Option<OwnedFd>,
    process: Exec,
    channel: Channel,
}

/// Makes `bundle.process` in the container whose first process is `init`, in the groups `group`.
///
/// # Errors
/// [`Error::Gone`] if the container has ended; any other [`Error`].
pub fn exec(bundle: &Bundle, init: &ProcessName, group: &ControlGroup) -> Result<Joined, Error> {
    let caller = Caller::inspect()?;
    let process = &bundle.process;
    let found =
        find_process(init).map_err(|source| Error::Process { pid: init.pid, act: "open it", source })?;
    let found = found.ok_or(Error::Gone(*init))?;
    let entrance = group.entrance()?;
    let (parent, child) = Channel::pair()?;
    let (told, tell) = Channel::pair()?;
    let mut between = match fork(0, entrance.v2.as_ref().map(AsFd::as_fd)).map_err(Error::Namespaces)? {
        Forked::Child => {
            drop((parent, told));
            match join(bundle, (found.as_fd(), init.pid), &entrance) {
                Ok(Forked::Child) => {
                    drop(tell);
                    run(bundle, child, caller.ignored_signals)
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
    drop((child, tell, entrance));
    let process_ = adopt(&told, &mut between)?;
    let mut joined =
        Joined { console: None, process: Exec { console: None, process: process_ }, channel: parent };
    let pid = joined.process.process.name.pid;
    joined.process.process.name = process_name(pid)?;
    confine::limit(Pid::from_raw(pid), &process.rlimits)?;
    adjust_oom_score(pid, process.oom_score_adj)?;
    let talk = |error| Error::inside("talk to the new process", error);
    joined.channel.send(Word::Go, &[], &[]).map_err(talk)?;
    joined.console = heard(&joined.channel)?.into_iter().next();
    Ok(joined)
}

impl Joined {
    /// The process, in the caller's numbers.
    pub fn pid(&self) -> i32 {
        self.process.process.name.pid
    }

    /// Lets it execute its program, which runs after [`Released::finish`].
    ///
    /// # Errors
    /// Why it does not.
    pub fn release(self) -> Result<(Exec, Released), Error> {
        let released = Released::hear(self.channel, self.process.process.name.pid)?;
        Ok((self.process, released))
    }
}

fn join(
    bundle: &Bundle,
    (init, pid): (std::os::fd::BorrowedFd<'_>, i32),
    entrance: &Entrance,
) -> Result<Forked, Error> {
    entrance.join_v1()?;
    // Found before the namespaces change: this /proc has the number.
    let root = bundle.is_staged().then(|| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open(format!("/proc/{pid}/root"), flags, Mode::empty())
    });
    let root = root.transpose().map_err(|errno| Error::inside("find the container's root", errno))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| Error::inside("hide the memory from the container", errno))?;
    let flags = bundle.namespaces.iter().fold(0, |flags, namespace| flags | namespace.kind.flag());
    let flags = ThreadNameSpaceType::from_bits_retain(flags as u32);
    move_into_thread_name_spaces(init, flags)
        .map_err(|errno| Error::inside("join the container's namespaces", errno))?;
    if let Some(root) = root {
        change_root(keep_open(root))?;
    }
    fork(libc::CLONE_PARENT, None).map_err(|error| Error::inside("start a process in the container", error))
}

fn run(bundle: &Bundle, channel: Channel, ignored_signals: u64) -> ! {
    let error = match set_up(bundle, &channel) {
        Ok(step) => {
            let first = 3 + bundle.process.preserve_fds as i32;
            let kept = channel.into_fd();
            let moved = rustix::io::fcntl_dupfd_cloexec(&kept, first);
            std::mem::forget(kept);
            let Ok(moved) = moved else { exit(1) };
            if close_all_but(first, std::os::fd::AsRawFd::as_raw_fd(&moved)).is_err() {
                exit(1);
            }
            wait::keep_inherited(bundle.process.preserve_fds);
            let channel = Channel::from_fd(moved);
            let error = wait::execute(&step, &channel, ignored_signals);
            channel.send_failure(&error);
            exit(1)
        }
        Err(error) => error,
    };
    channel.send_failure(&error);
    exit(1)
}

fn set_up(bundle: &Bundle, channel: &Channel) -> Result<Step, Error> {
    let process = &bundle.process;
    let talk = |error| Error::inside("talk to the runtime", error);
    let go = |heard: Option<Message>| match heard {
        Some(Message { word: Word::Go, .. }) => {}
        // The runtime died or changed its mind.
        _ => exit(1),
    };
    go(channel.receive().map_err(talk)?);
    if bundle.namespace(Kind::User).is_some() {
        confine::become_bundle_root()?;
    }
    if !process.no_new_keyring {
        new_keyring(&bundle.id)?;
    }
    let terminal = open_terminal(process, Terminal::find_devpts)?;
    take_streams(process, terminal.as_ref())?;
    let last = privileges::drop_all_in_cwd(process, bundle.seccomp.as_ref())?;
    let program = Program::new(&process.argv, &process.env)?;
    program.look()?;
    let fds: Vec<_> = terminal.iter().map(|terminal| terminal.master.as_fd()).collect();
    channel.send(Word::Ready, &[], &fds).map_err(talk)?;
    std::mem::forget(terminal);
    go(channel.receive().map_err(talk)?);
    Ok(Step { program: Some(program), last })
}
