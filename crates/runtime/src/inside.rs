//! The child: from the first instruction after clone3 to execve.

use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::path::Path;

use corral_spec::record::{Kernel, Launch, Process, Warm};
use corral_spec::{AbsPath, NetworkMode, Weaker};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::system::sethostname;

use crate::attach;
use crate::caller::Caller;
use crate::cgroup::Entrance;
use crate::channel::{Channel, Message, Word};
use crate::confine::{self, LastStep};
use crate::detached::{Detached, Share};
use crate::program::Program;
use crate::sys::{exit, keep_only, keep_open, loopback_up, reset_signals, unshare_cgroup};
use crate::terminal::{Terminal, take_streams};
use crate::tree::{Point, Tree};
use crate::{Error, Io, init, kernel_file};

/// What the child knows.
pub(crate) struct Inside<'l> {
    pub(crate) launch: &'l Launch,
    pub(crate) io: Io,
    pub(crate) channel: Channel,
    pub(crate) entrance: Entrance,
    pub(crate) caller: Caller,
}

impl Inside<'_> {
    /// Becomes the container's first process, or tells the parent why not.
    pub(crate) fn run(self) -> ! {
        let ready = self.set_up();
        finish(
            self.channel,
            ready,
            self.caller.ignored_signals,
            (Lead::of(&self.launch.process, self.launch.warm.as_ref()), self.launch.process.tty),
        )
    }

    fn set_up(&self) -> Result<Step, Error> {
        let launch = self.launch;
        let share = Share::of(launch, self.caller);
        self.settle()?;
        let fds = self
            .channel
            .receive_mounts(share.count())
            .map_err(|error| Error::inside("receive the mounts from the monitor", error))?;
        let detached =
            Detached::from_fds(fds, share).ok_or_else(|| Error::Launch("a mount is missing".to_owned()))?;
        // All descriptors are closed together before the program starts.
        let detached = ManuallyDrop::new(detached);
        if launch.ids.is_some() {
            confine::become_container_root(launch)?;
        }
        tell_kernel(&launch.kernel)?;
        let null = attach::attach_all(share, &detached)?;
        let terminal = self.open_terminal(&detached)?;
        if let Some(Terminal { slave, .. }) = &terminal {
            attach::bind_node(detached.root.as_fd(), slave.as_fd(), &console()?)?;
        }
        make_workdir(launch, &detached)?;
        attach::restrict(launch, detached.root.as_fd(), null)?;
        attach::pivot(launch, detached.root.as_fd())?;
        take_streams(&self.io, terminal.as_ref())?;
        let program = Program::of(&launch.process)?;
        let last = confine::drop_privileges(
            &launch.process,
            &launch.confinement,
            launch.network,
            launch.ids.is_some(),
        )?;
        // The new root is the working directory already: pivot_root(2) moves whoever stands in the old one, and this process
        // stood in the new one.
        if launch.process.workdir.as_path() != Path::new("/") {
            confine::enter_workdir(&launch.process)?;
        }
        Ok(Step { program, last, terminal })
    }

    fn open_terminal(&self, detached: &Detached) -> Result<Option<Terminal>, Error> {
        let Io::Terminal = self.io else { return Ok(None) };
        match attach::devpts(self.launch, detached.root.as_fd())? {
            Some(devpts) => Terminal::open(devpts, self.launch.process.uid).map(Some),
            None => Err(Error::Launch("a terminal needs a devpts mount, and the launch has none".to_owned())),
        }
    }

    /// What needs nothing from the parent, and so runs while it makes the mounts.
    fn settle(&self) -> Result<(), Error> {
        self.entrance.join_v1()?;
        // Only now: the root of a cgroup namespace is where its maker is.
        let shares = |wall| self.launch.confinement.is_without(wall);
        if !shares(Weaker::CgroupHost) {
            unshare_cgroup().map_err(|error| Error::inside("make the cgroup namespace", error))?;
        }
        attach::cut_propagation()?;
        if !shares(Weaker::UtsHost) {
            sethostname(self.launch.hostname.as_bytes())
                .map_err(|errno| Error::inside("set the host name", errno))?;
        }
        if self.launch.network == NetworkMode::None {
            bring_up_loopback()?;
        }
        Ok(())
    }
}

/// What a process that is set up becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lead {
    /// The program.
    Program,
    /// Its parent.
    Init,
    /// The parent of a program that is forked from a template.
    Adopter,
}

impl Lead {
    pub(crate) fn of(process: &Process, warm: Option<&Warm>) -> Self {
        match (warm, process.init) {
            (Some(Warm::Forked { .. }), _) => Self::Adopter,
            (_, true) => Self::Init,
            (_, false) => Self::Program,
        }
    }
}

/// All that is left to do.
pub(crate) struct Step {
    pub(crate) program: Program,
    pub(crate) last: LastStep,
    pub(crate) terminal: Option<Terminal>,
}

/// Reports, waits for the word, executes. Nothing owned here is dropped.
pub(crate) fn finish(
    channel: Channel,
    ready: Result<Step, Error>,
    ignored_signals: u64,
    (lead, tty): (Lead, bool),
) -> ! {
    let told = ready.and_then(|step| report_ready(&channel, &step, lead).map(|word| (step, word)));
    let (step, word) = match told {
        Ok(told) => told,
        Err(error) => give_up(&channel, &error),
    };
    let Step { program, last, terminal } = step;
    std::mem::forget(terminal);
    let channel = match keep_only(channel.into_fd()) {
        Ok(fd) => Channel::from_fd(fd),
        // Without descriptors there is nobody to tell; the parent sees the exit code.
        Err(_) => exit(125),
    };
    let error = match lead {
        Lead::Init => init::run(&program, &last, ignored_signals, tty),
        Lead::Adopter => init::adopt(&word, &last),
        Lead::Program => match reset_signals(ignored_signals) {
            Err(error) => Error::inside("reset signals", error),
            Ok(()) => match last.take() {
                Err(error) => error,
                Ok(()) => program.execute(),
            },
        },
    };
    give_up(&channel, &error)
}

fn give_up(channel: &Channel, error: &Error) -> ! {
    channel.send_failure(error);
    exit(error.exit_code().into())
}

/// What comes with the word to go.
fn report_ready(channel: &Channel, step: &Step, lead: Lead) -> Result<Vec<u8>, Error> {
    let talk = |error| Error::inside("talk to the monitor", error);
    // Set here and not earlier: it would hide /proc/PID/uid_map from a monitor without privileges.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| Error::inside("hide the memory from other processes", errno))?;
    // Without a terminal nobody waits for this word: the next is the parent's.
    if let Some(terminal) = &step.terminal {
        channel.send(Word::Ready, &[], &[terminal.master.as_fd()]).map_err(talk)?;
    } else if lead == Lead::Adopter {
        channel.send(Word::Ready, &[], &[]).map_err(talk)?;
    }
    match channel.receive().map_err(talk)? {
        Some(Message { word: Word::Go, body, .. }) => Ok(body),
        // The monitor died or changed its mind.
        _ => exit(125),
    }
}

/// What is the container's namespaces' own, whichever /proc it is written through: the host's is still there, and nobody
/// inside could have put another file in place.
fn tell_kernel(kernel: &Kernel) -> Result<(), Error> {
    if let Some(domain) = &kernel.domain {
        rustix::system::setdomainname(domain.as_bytes())
            .map_err(|errno| Error::inside("set the domain name", errno))?;
    }
    for sysctl in &kernel.sysctls {
        kernel_file::write(format!("/proc/sys/{}", sysctl.path()), sysctl.value())
            .map_err(|error| Error::inside(format!("set the sysctl {}", sysctl.name()), error))?;
    }
    Ok(())
}

fn console() -> Result<AbsPath, Error> {
    AbsPath::new("/dev/console").map_err(|error| Error::Launch(error.to_string()))
}

fn bring_up_loopback() -> Result<(), Error> {
    socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(Into::into)
        .and_then(|socket| loopback_up(keep_open(socket)))
        .map_err(|error| Error::inside("bring up the loopback device", error))
}

/// Makes a missing working directory, as Docker does, and gives it to the process's user.
fn make_workdir(launch: &Launch, detached: &Detached) -> Result<(), Error> {
    use rustix::fs::{AtFlags, Gid, Uid, chownat};
    let process = &launch.process;
    if process.workdir.as_path() == Path::new("/") {
        return Ok(());
    }
    let found = Tree(detached.root.as_fd()).find_or_make(&process.workdir, Point::Directory)?;
    if found.made {
        let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
        chownat(found.fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            .map_err(|errno| Error::inside(format!("give {} to its user", process.workdir), errno))?;
    }
    Ok(())
}
