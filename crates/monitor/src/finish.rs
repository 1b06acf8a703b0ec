//! From the end of the container's first process to the end of the monitor.
//!
//! ```text
//! pidfd readable: the pid namespace is dead
//!   last output ── exit state ── control groups removed ── exit.json ── the lock is given back
//!   ── Exited to every client
//!   remove:   the foreground client's engine, who has the lock now, removes the container; at the client's
//!             end of file, whatever still exists is left to `__reap`
//!   else:     `__reap` releases the rest; the container may be started again meanwhile
//! ```
//!
//! The lock goes before the last word: who hears it may take the lock at once.

use std::fs::File;
use std::time::{Duration, Instant};

use corral_runtime::ExitState;
use corral_spec::ContainerId;
use corral_spec::record::{Exit, GENERATION, Launch, Status};
use rustix::event::{PollFd, PollFlags, poll};

use crate::client::{Outcome, Pump};
use crate::events::Events;
use crate::log::Stream;
use crate::peer::{Peer, Role};
use crate::protocol::{ToClient, ToMonitor};
use crate::records::{Directory, Durability, now_ns, timespec};
use crate::supervise::{Clients, Supervisor};
use crate::{After, EXIT, Error, NOTES};

/// How long the last output is waited for. All processes of the container are dead by then; only who got a pipe
/// through a socket outside of it could hold it open.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What the end needs of a launch.
#[derive(Debug)]
pub struct Ending {
    pub id: ContainerId,
    pub remove: bool,
    pub events: Events,
    /// How often it was started again, or tried to be.
    pub restarts: u32,
}

impl Ending {
    pub fn of(launch: &Launch) -> Self {
        Self { id: launch.id.clone(), remove: launch.remove, events: Events::of(launch), restarts: 0 }
    }
}

/// The directories, and the lock that makes them ours.
#[derive(Debug)]
pub struct Place {
    pub records_dir: Directory,
    pub lock: File,
}

/// A container that has ended and holds nothing any more.
pub struct Ended {
    pub exit: Exit,
    pub status: Status,
    pub clients: Clients,
    pub run_dir: Directory,
    pub events: Events,
}

impl Ended {
    pub fn last_word(&self) -> ToClient<'static> {
        ToClient::Exited { code: self.exit.code, oom_killed: self.exit.oom_killed }
    }
}

/// Takes down a container whose first process has ended.
pub fn end(mut supervisor: Supervisor) -> Ended {
    let finished_ns = now_ns();
    corral_fault::step!(EndSeen);
    drain(&mut supervisor);
    corral_fault::step!(OutputDrained);
    // A check would hold the pid namespace, and with it the container's end.
    drop(supervisor.checks.take());
    drop(supervisor.watch.take());
    if let Err(error) = supervisor.log.finish(now_ns()) {
        supervisor.lose(0, &error);
    }
    let Supervisor { mut running, clients, status, run_dir, lost, over, events, .. } = supervisor;
    let mut notes: Vec<String> = Vec::new();
    if let Some((bytes, reason)) = lost {
        notes.push(format!("{bytes} bytes of output are missing in the log: {reason}"));
    }
    let state = running.wait().unwrap_or_else(|error| {
        notes.push(error.to_string());
        ExitState::Code(255)
    });
    let oom_kills = running.cgroup().oom_kills().unwrap_or_else(|error| {
        notes.push(error.to_string());
        0
    });
    let oom_killed = oom_kills > 0;
    notes.extend(running.cleanup().iter().map(ToString::to_string));
    corral_fault::step!(GroupsRemoved);
    notes.iter().for_each(|note| run_dir.note(NOTES, note));
    let (code, started_ns) = (state.code(), status.started_ns);
    let exit = Exit {
        generation: GENERATION,
        code,
        oom_killed,
        oom_kills,
        over_disk: over.is_some(),
        error: over.unwrap_or_default(),
        started_ns,
        finished_ns,
        restarts: status.restarts,
    };
    Ended { exit, status, clients, run_dir, events }
}

/// Records an end, which has happened whether or not that can be written.
pub fn record_end(events: &Events, exit: &Exit, run_dir: &Directory) {
    if let Err(error) = events.died(exit) {
        run_dir.note(NOTES, &error.to_string());
    }
    corral_fault::step!(EndRecorded);
}

/// Ends a monitor whose container has ended; its end is recorded.
pub fn finish(ended: Ended, place: Place, ending: &Ending) -> After {
    let last_word = ended.last_word();
    let Ended { exit, clients, run_dir, .. } = ended;
    close(place, run_dir, clients.peers, ending, (&exit, last_word))
}

/// Tells all who hear it, `pump` among them, that the container has ended: what the pump makes of it.
///
/// # Errors
/// The pump's.
pub fn tell_the_end(mut ended: Ended, pump: &mut Pump<'_>) -> Result<Outcome, Error> {
    let last_word = ended.last_word();
    tell(&mut ended.clients.peers, last_word);
    let mut outcome = pump.act(std::iter::empty())?;
    while outcome.is_none() {
        let (sources, mut polled): (Vec<_>, Vec<_>) = pump.interests().unzip();
        polled.extend(ended.clients.peers.iter().filter(|peer| peer.is_blocked()).map(waiting));
        match poll(&mut polled, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::Setup { act: "wait for our reader", source: errno.into() }),
        }
        let ready: Vec<_> =
            sources.into_iter().zip(&polled).filter(|(_, fd)| !fd.revents().is_empty()).collect();
        let ready: Vec<_> = ready.into_iter().map(|(source, _)| source).collect();
        ended.clients.peers.iter_mut().filter(|peer| peer.is_blocked()).for_each(Peer::flush);
        outcome = pump.act(ready.into_iter())?;
    }
    see_off(ended.clients.peers, false);
    outcome.ok_or(Error::MonitorGone)
}

pub fn tell(peers: &mut [Peer], last_word: ToClient<'_>) {
    peers.iter_mut().filter(|peer| peer.hears_the_end()).for_each(|peer| peer.send(last_word));
}

fn waiting(peer: &Peer) -> PollFd<'_> {
    PollFd::from_borrowed_fd(peer.fd(), peer.interest())
}

/// The end of a container that did not come to run.
pub fn never_ran(error: &Error) -> Exit {
    Exit {
        generation: GENERATION,
        code: error.exit_code(),
        oom_killed: false,
        oom_kills: 0,
        over_disk: false,
        error: error.to_string(),
        started_ns: 0,
        finished_ns: now_ns(),
        restarts: 0,
    }
}

/// Ends a monitor whose container never ran.
pub fn fail(place: Place, run_dir: Directory, peers: Vec<Peer>, ending: &Ending, error: &Error) -> After {
    let exit = Exit { restarts: ending.restarts, ..never_ran(error) };
    record_end(&ending.events, &exit, &run_dir);
    let last_word = ToClient::Failed { code: exit.code, message: &exit.error };
    close(place, run_dir, peers, ending, (&exit, last_word))
}

/// Writes the exit record, says the last word, and waits for those who have to hear it.
fn close(
    place: Place,
    run_dir: Directory,
    mut peers: Vec<Peer>,
    ending: &Ending,
    (exit, last_word): (&Exit, ToClient<'_>),
) -> After {
    let Place { records_dir, lock } = place;
    let durability = if ending.remove { Durability::None } else { Durability::Disk };
    if let Err(error) = records_dir.put(EXIT, exit, durability) {
        run_dir.note(NOTES, &error.to_string());
    }
    // Closed, not unlocked: its closing is what the readers of the log wait for.
    drop(lock);
    corral_fault::step!(LockDropped);
    tell(&mut peers, last_word);
    corral_fault::step!(EndTold);
    see_off(peers, ending.remove);
    if run_dir.exists() || (ending.remove && records_dir.exists()) {
        After::Reap(ending.id.clone())
    } else {
        After::Exit(0)
    }
}

/// Carries what is still in the pipes.
fn drain(supervisor: &mut Supervisor) {
    let deadline = Instant::now() + LAST_WORDS;
    while !supervisor.streams.are_silent() {
        let left = deadline.saturating_duration_since(Instant::now());
        // Somebody may hold the other end of a pipe and write on: out of the container, by a socket.
        if left.is_zero() {
            return;
        }
        let left = timespec(left);
        let (streams, mut fds): (Vec<Stream>, Vec<_>) = supervisor
            .streams
            .outputs()
            .map(|(stream, fd)| (stream, PollFd::from_borrowed_fd(fd, PollFlags::IN)))
            .unzip();
        if !poll(&mut fds, Some(&left)).is_ok_and(|ready| ready > 0) {
            return;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (stream, _) in streams.into_iter().zip(ready).filter(|(_, ready)| *ready) {
            supervisor.carry_output(stream);
        }
    }
}

/// Waits until every client has taken what was sent to it, or has lost its patience; and with `remove` until the
/// foreground client, who removes the container, is gone.
pub fn see_off(mut peers: Vec<Peer>, remove: bool) {
    loop {
        peers.retain(|peer| {
            !peer.is_gone() && (peer.is_blocked() || (remove && peer.role == Role::Foreground))
        });
        if peers.is_empty() {
            return;
        }
        let now = Instant::now();
        let deadline = peers.iter().filter_map(Peer::deadline).min();
        let timeout = deadline.map(|deadline| timespec(deadline.saturating_duration_since(now)));
        let mut polled: Vec<_> = peers.iter().map(waiting).collect();
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let now = Instant::now();
        for peer in &mut peers {
            if peer.is_blocked() {
                peer.flush();
            }
            peer.receive();
            while let Some(frame) = peer.next_frame() {
                if frame == ToMonitor::Waiting {
                    peer.lives();
                }
            }
            peer.expire(now);
        }
    }
}
