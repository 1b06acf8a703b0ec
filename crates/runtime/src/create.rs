//! From a launch to a child that waits one step before execve.

use std::os::fd::{AsFd, OwnedFd};

use corral_spec::record::{Launch, ProcessName};
use corral_spec::{NetworkMode, Weaker};
use rustix::process::Pid;

use crate::caller::{Caller, process_name};
use crate::channel::{Channel, Word};
use crate::detached::{Detached, Share};
use crate::inside::Inside;
use crate::overlay::overlay;
use crate::running::Child;
use crate::sys::{Forked, fork};
use crate::terminal::give_pipes;
use crate::warm::{self, Joining, Nursery};
use crate::{ControlGroup, Error, Running, confine, idmap};

/// The container's ends of its standard streams.
#[derive(Debug)]
pub enum Io {
    /// Any descriptors: pipes, files, /dev/null. A pipe is given to the container's user.
    Pipes {
        /// Descriptor 0.
        stdin: OwnedFd,
        /// Descriptor 1.
        stdout: OwnedFd,
        /// Descriptor 2.
        stderr: OwnedFd,
    },
    /// A pseudo-terminal of the container's own devpts, made there; its master side comes back.
    Terminal,
}

/// A container that is set up, as far as one step before execve, and waits there. Dropped without
/// [`start`](Self::start) it is killed and its control groups are removed.
#[derive(Debug)]
pub struct Created {
    /// The terminal's master side, for [`Io::Terminal`]; take it before [`start`](Self::start).
    pub console: Option<OwnedFd>,
    running: Running,
    channel: Channel,
    /// For a program that is not executed but forked.
    joining: Option<Joining>,
}

impl Created {
    /// The first process, which waits.
    pub fn name(&self) -> ProcessName {
        self.running.name()
    }

    /// The container's control group.
    pub fn cgroup(&self) -> &ControlGroup {
        self.running.cgroup()
    }

    /// Lets the child execute its program, and waits until it has.
    ///
    /// # Errors
    /// [`Error::Exec`] with the kernel's reason, or what failed while the child set itself up; the container is
    /// gone then.
    pub fn start(self) -> Result<Running, Error> {
        let Self { running, channel, joining, .. } = self;
        let begun = match joining {
            None => go(&channel),
            Some(joining) => joining.join(&channel, running.name().pid),
        };
        match begun {
            Ok(()) => Ok(running),
            Err(cause) => Err(cause.with_left(running.cleanup())),
        }
    }
}

/// Makes everything that `launch` says, up to the step before execve. The caller is the container's
/// parent: when it dies, the container dies. Without a terminal it returns while the child still sets itself
/// up; what fails there is told by [`Created::start`].
///
/// # Errors
/// Any [`Error`]; nothing is left behind then, or [`Error::HalfMade`] says what.
pub fn create(launch: &Launch, io: Io) -> Result<Created, Error> {
    let caller = Caller::inspect()?;
    idmap::check_launch(launch)?;
    give_pipes(&io, &launch.process, idmap::outside(launch, &launch.process))?;
    let group = ControlGroup::create(&launch.cgroup, &format!("corral-{}", launch.id.short()))?;
    let tty = matches!(io, Io::Terminal);
    let nursery = Nursery::of(launch);
    let spawned = nursery.and_then(|nursery| match nursery {
        None => spawn(launch, io, caller, &group).map(|spawned| (spawned, None)),
        Some(nursery) => {
            let joining = nursery.joining(launch, &io)?;
            warm::spawn(launch, io, caller, (&group, &nursery)).map(|spawned| (spawned, Some(joining)))
        }
    });
    let ((child, channel), joining) = match spawned {
        Ok(spawned) => spawned,
        Err(cause) => return Err(cause.with_left(group.remove())),
    };
    let mut running = Running::new(child, group);
    let prepared = prepare(Share::of(launch, caller), &mut running, &channel);
    match prepared.and_then(|()| tty.then(|| console(&channel)).transpose()) {
        Ok(console) => Ok(Created { console, running, channel, joining }),
        Err(cause) => Err(cause.with_left(running.cleanup())),
    }
}

/// Makes the child, which runs [`Inside::run`].
fn spawn(launch: &Launch, io: Io, caller: Caller, group: &ControlGroup) -> Result<(Child, Channel), Error> {
    let entrance = group.entrance()?;
    let (parent, child) = Channel::pair()?;
    // The cgroup namespace is made by the child, once it is in its groups.
    let mut flags = libc::CLONE_NEWNS;
    for (shared, flag) in [
        (Weaker::PidHost, libc::CLONE_NEWPID),
        (Weaker::IpcHost, libc::CLONE_NEWIPC),
        (Weaker::UtsHost, libc::CLONE_NEWUTS),
    ] {
        flags |= if launch.confinement.is_without(shared) { 0 } else { flag };
    }
    if launch.ids.is_some() {
        flags |= libc::CLONE_NEWUSER;
    }
    if launch.network == NetworkMode::None {
        flags |= libc::CLONE_NEWNET;
    }
    match fork(flags, entrance.v2.as_ref().map(AsFd::as_fd)).map_err(Error::Namespaces)? {
        Forked::Child => {
            drop(parent);
            Inside { launch, io, channel: child, entrance, caller }.run()
        }
        Forked::Parent { pid, pidfd } => Ok((Child::new(pid, pidfd), parent)),
    }
}

/// The parent's share, while the child sets itself up.
fn prepare(share: Share<'_>, running: &mut Running, channel: &Channel) -> Result<(), Error> {
    let launch = share.launch;
    let pid = running.process.name.pid;
    running.process.name = process_name(pid)?;
    confine::limit(Pid::from_raw(pid), &launch.process.ulimits)?;
    confine::adjust_oom_score(pid, &launch.process)?;
    let userns = idmap::give_map(launch, pid)?;
    let userns = userns.as_ref().map(AsFd::as_fd);
    let detached = Detached::make(share, overlay(launch, userns)?, userns)?;
    if let Err(error) = channel.send_mounts(&detached.fds()) {
        // A child that gave up has said why.
        return Err(channel
            .answer("setting up")?
            .failure()
            .unwrap_or(Error::inside("send the mounts", error)));
    }
    Ok(())
}

/// Waits until the child is ready, with the master side of its terminal.
pub(crate) fn console(channel: &Channel) -> Result<OwnedFd, Error> {
    let message = channel.answer("setting up")?;
    let failure = message.failure();
    message.fds.into_iter().next().ok_or(failure.unwrap_or(Error::Died { act: "setting up" }))
}

/// Releases the child, ready or not: without a terminal nobody waits for its word in between, which spares
/// two changes between the processes. End of file means that its program runs.
pub(crate) fn go(channel: &Channel) -> Result<(), Error> {
    let talk = |error| Error::inside("talk to the container's first process", error);
    let sent = channel.send(Word::Go, &[], &[]);
    while let Some(message) = channel.receive().map_err(talk)? {
        if let Some(error) = message.failure() {
            return Err(error);
        }
    }
    sent.map_err(talk)
}
