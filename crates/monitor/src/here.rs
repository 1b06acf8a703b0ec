//! A command that is the monitor of its own container: `run --rm` in the foreground, without a terminal.
//!
//! Nobody could detach from such a container, and nothing of it is kept. So there is no second process and no
//! record that goes through the file system: the command makes the container itself, serves it in the same loop
//! in which it carries its own streams and signals, and takes it down. A container whose command is killed is
//! killed with it, as that of any other monitor.

use std::path::Path;

use corral_journal::Event;
use corral_spec::record::{Exit, Launch};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::client::{AttachOptions, Client, Outcome, Pump};
use crate::events::Events;
use crate::finish;
use crate::health::Checks;
use crate::peer::{Peer, Role};
use crate::records::Directory;
use crate::supervise::Clients;
use crate::{Error, begin, enter, log};

/// What such a command has in its hands, the container's lock included.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// What is run.
    pub launch: &'a Launch,
    /// As [`Invocation::data_dir`](crate::Invocation::data_dir).
    pub data_dir: &'a Path,
    /// As [`Invocation::run_dir`](crate::Invocation::run_dir).
    pub run_dir: &'a Path,
}

/// How it ended.
#[derive(Debug)]
pub struct End {
    /// What the caller says of it. What keeps a container from being watched is an error, and has ended it; one that did
    /// not start is an outcome.
    pub outcome: Result<Outcome, Error>,
    /// What of it is to be recorded yet: with its removal, in one append.
    pub events: Vec<Event>,
}

/// Runs the container until its end, or until our reader is gone, which ends it. The caller has one thread, holds
/// the container's lock, and removes the container afterwards.
pub fn run_here(here: Here<'_>, options: &AttachOptions) -> End {
    let mut events = Events::of_own(here.launch);
    let mut exit = None;
    let outcome = run(here, options, &mut events, &mut exit);
    let events = exit.map_or_else(|| events.unsaid(), |exit| events.death(&exit));
    End { outcome, events }
}

fn run(
    here: Here<'_>,
    options: &AttachOptions,
    events: &mut Events,
    exit: &mut Option<Exit>,
) -> Result<Outcome, Error> {
    let Here { launch, data_dir, run_dir } = here;
    // What is made for the container does not depend on the caller's.
    let umask = rustix::process::umask(Mode::WGRP | Mode::WOTH);
    let run_dir = Directory::open(run_dir)?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| Error::Setup { act: "make a socket pair", source: errno.into() })?;
    let mut client = Client::from_fd(ours);
    let mut pump = Pump::new(&mut client, options)?;
    let stdin = launch.process.stdin || launch.process.tty;
    let first = Peer::new(0, theirs, Role::Foreground, stdin);
    let begun = enter::listen(&run_dir)
        .and_then(|listener| Ok((begin(&run_dir, launch, events, 0)?, Clients::new(listener, Some(first)))));
    let (mut begun, clients) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            let Exit { code, error: message, .. } = exit.insert(finish::never_ran(&error)).clone();
            return Ok(Outcome::Failed { code, message });
        }
    };
    let log = log::Sink::new(data_dir, launch);
    // Its records are in the run directory, as those of every passing container.
    begun.checks = Checks::of(launch, here.run_dir);
    let mut supervisor = begun.supervisor(clients, log, run_dir, events.clone());
    let served = supervisor.serve(Some(&mut pump));
    if !matches!(served, Ok(None)) {
        supervisor.kill();
    }
    let ended = finish::end(supervisor);
    events.clone_from(&ended.events);
    *exit = Some(ended.exit.clone());
    rustix::process::umask(umask);
    match served {
        Ok(None) => finish::tell_the_end(ended, &mut pump),
        Ok(Some(outcome)) => Ok(outcome),
        Err(error) => Err(error),
    }
}
