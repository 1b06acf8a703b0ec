//! A further process in a running container.
//!
//! ```text
//! caller ── clone3(INTO_CGROUP) ─▶ go-between   (container's group, host's namespaces)
//!                                   │ limits, v1 groups, setns(pidfd of process 1, all at once)
//!                                   └─ clone3(CLONE_PARENT) ─▶ the process, a child of the caller
//!    ◀──────────────── PID n ───────┘ ends                     │ streams, privileges, directory
//!    ◀──────────────────────────────── READY [+ terminal] ─────┤
//!    ──────────────────────────────── GO ─────────────────────▶ execve
//! ```
//!
//! Until the caller has reaped the process, the container cannot end completely: its pid namespace waits for
//! every number in it to be free.
//!
//! The go-between enters the control group before the cgroup namespace: with `nsdelegate` nothing moves
//! across a namespace's border. It is not dumpable, and nobody inside sees it; the process itself is
//! visible inside from its first moment, and as little open to inspection (CVE-2016-9962).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corral_spec::record::{Launch, Process, Status};
use corral_spec::{NetworkMode, Weaker};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, pidfd_open, set_dumpable_behavior};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::caller::{Caller, process_name};
use crate::cgroup::Entrance;
use crate::channel::{Channel, Word};
use crate::confine;
use crate::create::{console, go};
use crate::inside::{Lead, Step, finish};
use crate::program::Program;
use crate::running::Child;
use crate::sys::memory::hide_words;
use crate::sys::{Forked, exit, fork};
use crate::terminal::{Terminal, give_pipes, take_streams};
use crate::{ControlGroup, Error, Exec, Io, find_process, idmap};

/// Starts `process` in the running container that `launch` and `status` describe: in all its
/// namespaces, in its control groups, under the same confinement. The caller is the parent: when it
/// dies, the process is killed.
///
/// # Errors
/// [`Error::Gone`] if the container's first process has ended, [`Error::Paused`] if it is frozen,
/// [`Error::Exec`] if the program cannot be executed.
pub fn exec(launch: &Launch, status: &Status, process: &Process, io: Io) -> Result<Exec, Error> {
    let caller = Caller::inspect()?;
    let init = find_process(&status.init)
        .map_err(|source| Error::Process { pid: status.init.pid, act: "open it", source })?
        .ok_or(Error::Gone(status.init))?;
    let group = ControlGroup::open(status.cgroup2.as_deref(), &status.cgroup1);
    if group.frozen()? {
        return Err(Error::Paused);
    }
    give_pipes(&io, process, idmap::outside(launch, process))?;
    let tty = matches!(io, Io::Terminal);
    let joining = Joining { launch, process, io, ignored_signals: caller.ignored_signals };
    let (mut child, channel) = spawn(joining, init.as_fd(), group.entrance()?)?;
    match settle(&mut child, &channel, tty) {
        Ok(console) => Ok(Exec { console, process: child }),
        Err(cause) => {
            // Killed and reaped when it is dropped.
            drop(Exec { console: None, process: child });
            Err(cause)
        }
    }
}

/// What the two children know.
struct Joining<'l> {
    launch: &'l Launch,
    process: &'l Process,
    io: Io,
    ignored_signals: u64,
}

/// Makes both children, and reaps the go-between.
fn spawn(joining: Joining<'_>, init: BorrowedFd<'_>, entrance: Entrance) -> Result<(Child, Channel), Error> {
    let (parent, child) = Channel::pair()?;
    // One for each child: who speaks first on a shared one depends on the scheduler.
    let (told, tell) = Channel::pair()?;
    let mut between = match fork(0, entrance.v2.as_ref().map(AsFd::as_fd)).map_err(Error::Namespaces)? {
        Forked::Child => {
            drop((parent, told));
            go_between(joining, init, &entrance, tell, child)
        }
        Forked::Parent { pid, pidfd } => Child::new(pid, pidfd),
    };
    drop((child, tell, joining, entrance));
    let message = told.answer("joining the container");
    // It has ended, or will at once: it only sends one message.
    between.wait()?;
    let message = message?;
    let pid = match (message.word, <[u8; 4]>::try_from(message.body.as_slice())) {
        (Word::Pid, Ok(bytes)) => i32::from_ne_bytes(bytes),
        _ => return Err(message.failure().unwrap_or(Error::Died { act: "joining the container" })),
    };
    // A child of this process that is not reaped yet: its number cannot be another's.
    let open = |pid| pidfd_open(pid, PidfdFlags::empty());
    let pidfd = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH).and_then(open);
    let pidfd = pidfd.map_err(|errno| Error::Process { pid, act: "open it", source: errno.into() })?;
    Ok((Child::new(pid, pidfd), parent))
}

/// Lets the process go, and waits until its program runs.
fn settle(child: &mut Child, channel: &Channel, tty: bool) -> Result<Option<OwnedFd>, Error> {
    child.name = process_name(child.name.pid)?;
    let console = if tty { Some(console(channel)?) } else { None };
    go(channel)?;
    Ok(console)
}

/// Joins the container and makes the process in it.
fn go_between(
    joining: Joining<'_>,
    init: BorrowedFd<'_>,
    entrance: &Entrance,
    tell: Channel,
    channel: Channel,
) -> ! {
    match join(&joining, init, entrance) {
        Ok(Forked::Child) => {
            drop(tell);
            let lead = Lead::of(joining.process, None);
            let (tty, ignored) = (joining.process.tty, joining.ignored_signals);
            let ready = set_up(&joining);
            finish(channel, ready, ignored, (lead, tty))
        }
        Ok(Forked::Parent { pid, .. }) => {
            let told = tell.send(Word::Pid, &pid.to_ne_bytes(), &[]);
            exit(i32::from(told.is_err()))
        }
        Err(error) => {
            tell.send_failure(&error);
            exit(error.exit_code().into())
        }
    }
}

fn join(joining: &Joining<'_>, init: BorrowedFd<'_>, entrance: &Entrance) -> Result<Forked, Error> {
    entrance.join_v1()?;
    confine::limit(None, &joining.process.ulimits)?;
    confine::adjust_oom_score("self", joining.process)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| Error::inside("hide the memory from the container", errno))?;
    hide_words().map_err(|error| Error::inside("hide the command line from the container", error))?;
    let mut namespaces = ThreadNameSpaceType::MOUNT;
    for (shared, namespace) in [
        (Weaker::PidHost, ThreadNameSpaceType::PROCESS_ID),
        (Weaker::IpcHost, ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
        (Weaker::UtsHost, ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
        (Weaker::CgroupHost, ThreadNameSpaceType::CONTROL_GROUP),
    ] {
        namespaces.set(namespace, !joining.launch.confinement.is_without(shared));
    }
    if joining.launch.network == NetworkMode::None {
        namespaces |= ThreadNameSpaceType::NETWORK;
    }
    if joining.launch.ids.is_some() {
        namespaces |= ThreadNameSpaceType::USER;
    }
    move_into_thread_name_spaces(init, namespaces)
        .map_err(|errno| Error::inside("join the container's namespaces", errno))?;
    fork(libc::CLONE_PARENT, None).map_err(|error| Error::inside("start a process in the container", error))
}

/// The process: as the first one, without anything to mount.
fn set_up(joining: &Joining<'_>) -> Result<Step, Error> {
    let process = joining.process;
    if joining.launch.ids.is_some() {
        confine::become_container_root(joining.launch)?;
    }
    confine::die_with_parent()?;
    let terminal = match joining.io {
        Io::Terminal => Some(Terminal::open(Terminal::find_devpts()?.as_fd(), process.uid)?),
        Io::Pipes { .. } => None,
    };
    take_streams(&joining.io, terminal.as_ref())?;
    let program = Program::of(process)?;
    let launch = joining.launch;
    let last = confine::drop_privileges(process, &launch.confinement, launch.network, launch.ids.is_some())?;
    confine::enter_workdir(process)?;
    Ok(Step { program, last, terminal })
}
