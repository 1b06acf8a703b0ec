//! A running container, its streams, its clients and its log: one loop over a closed set of sources.
//!
//! ```text
//!            ┌──────────────── Source ────────────────┐
//!  pidfd ────┤ Ended                                   │
//!  pipes ────┤ Output(stream) ──▶ log, then every      │   not read while a client is blocked
//!            │                    attached client      │
//!  pipe  ────┤ Input  ◀── pieces on credit             │   only while a piece waits
//!  socket ───┤ Listener ──▶ new client                 │
//!  clients ──┤ Client(i) ──▶ frames                    │
//!  pump   ───┤ Here(source)                            │   only in a command that is the monitor itself
//!            └─────────────────────────────────────────┘
//! ```
//!
//! Back pressure. The log gets everything, so a log that blocked would block the container: it is a file, or a
//! socket that is waited for briefly, and what it refuses (no space) is counted and lost. A client that does not read holds the
//! container back, as a slow reader of `docker run` does; but at most for [`PATIENCE`](crate::peer::PATIENCE),
//! unless it started the container and keeps saying that it lives. So a pager may sit on a foreground container's
//! output for hours, a stopped or hung client for a minute, and a forgotten viewer for a minute too.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use corral_journal::Action;
use corral_runtime::Running;
use corral_spec::Signal;
use corral_spec::record::Status;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::Error;
use crate::client::{self, Outcome, Pump};
use crate::disk::Watch;
use crate::events::Events;
use crate::health::Checks;
use crate::log::{Sink, Stream};
use crate::peer::{Peer, Role};
use crate::protocol::{ToClient, ToMonitor};
use crate::records::{Directory, Durability, now_ns, timespec};
use crate::streams::Streams;
use crate::warm::Nursery;

/// How long nothing happens before a monitor counts as idle, and gives up what it can have again.
const REST_AFTER: Duration = Duration::from_millis(200);
/// Clients at one time.
const MOST_CLIENTS: usize = 64;

/// What the loop waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The first process.
    Ended,
    /// A stream of the container has bytes, or has ended.
    Output(Stream),
    /// The container takes input.
    Input,
    /// A client knocks.
    Listener,
    /// The client at this place says something, or takes something.
    Client(usize),
    /// Something of our own streams and signals.
    Here(client::Source),
    /// A health check writes, or has ended; files have been counted.
    Check,
    /// A template has something to do.
    Nursery,
}

/// All that a monitor knows while its container runs.
#[derive(Debug)]
pub struct Supervisor {
    pub running: Running,
    pub streams: Streams,
    pub clients: Clients,
    pub log: Sink,
    pub status: Status,
    pub checks: Option<Checks>,
    pub watch: Option<Watch>,
    pub nursery: Option<Nursery>,
    pub run_dir: Directory,
    /// Output that the log refused, in bytes, and why the first time.
    pub lost: Option<(u64, String)>,
    /// Why the container is ended, if it is for what it keeps on disk.
    pub over: Option<String>,
    pub events: Events,
    /// The client that has it frozen for as long as it is there.
    pub held: Option<u64>,
}

/// The clients, and the door.
#[derive(Debug)]
pub struct Clients {
    pub listener: OwnedFd,
    pub peers: Vec<Peer>,
    next_number: u64,
}

impl Clients {
    /// With the client that started the container, if there is one.
    pub fn new(listener: OwnedFd, first: Option<Peer>) -> Self {
        Self { listener, peers: first.into_iter().collect(), next_number: 1 }
    }

    /// Sends to all that listen.
    pub fn tell(&mut self, frame: ToClient<'_>) {
        self.peers.iter_mut().filter(|peer| peer.listens()).for_each(|peer| peer.send(frame));
    }

    pub fn accept(&mut self) {
        let flags = rustix::net::SocketFlags::CLOEXEC;
        // A client that left again is no event; the others stay in the queue.
        let Ok(socket) = rustix::net::accept_with(&self.listener, flags) else { return };
        if self.peers.len() < MOST_CLIENTS && crate::records::is_admitted(&socket) {
            self.peers.push(Peer::new(self.next_number, socket, Role::Caller, false));
            self.next_number += 1;
        }
    }

    fn by_number(&mut self, number: u64) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.number == number)
    }

    /// Until when a loop may sleep.
    pub fn deadline(&self) -> Option<Instant> {
        self.peers.iter().filter_map(Peer::deadline).min()
    }
}

impl Supervisor {
    /// Serves until the container's first process has ended, or until `pump`, which carries the streams of this
    /// process itself, says how its attachment ended.
    ///
    /// # Errors
    /// If waiting fails, or the pump.
    pub fn serve(&mut self, mut pump: Option<&mut Pump<'_>>) -> Result<Option<Outcome>, Error> {
        loop {
            let mut here = Vec::new();
            for source in self.wait(pump.as_deref())? {
                match source {
                    Source::Ended => return Ok(None),
                    Source::Output(stream) => self.carry_output(stream),
                    Source::Input => self.write_input(),
                    Source::Listener => self.clients.accept(),
                    Source::Client(at) => self.serve_client(at),
                    Source::Here(source) => here.push(source),
                    Source::Check => {}
                    Source::Nursery => self.serve_nursery(),
                }
            }
            self.check_health()?;
            self.watch_disk();
            if let Some(pump) = &mut pump {
                if let Some(outcome) = pump.act(here.into_iter())? {
                    return Ok(Some(outcome));
                }
                // A client that is this process lives as long as anybody could ask.
                self.clients.peers.iter_mut().for_each(Peer::lives);
            }
            self.forget_gone();
        }
    }

    /// Ends the container at once.
    pub fn kill(&self) {
        let killed = self.running.cgroup().kill().and_then(|()| self.running.signal(Signal::KILL));
        if let Err(error) = killed {
            self.run_dir.note(crate::NOTES, &error.to_string());
        }
    }

    fn serve_nursery(&mut self) {
        let Some(nursery) = &mut self.nursery else { return };
        match nursery.act(&self.running, &self.run_dir) {
            Ok(false) => {}
            Ok(true) => self.kill(),
            Err(error) => self.run_dir.note(crate::NOTES, &error.to_string()),
        }
    }

    fn check_health(&mut self) -> Result<(), Error> {
        let Some(checks) = &mut self.checks else { return Ok(()) };
        let Some(changed) = checks.turn(&mut self.status) else { return Ok(()) };
        self.run_dir.put(crate::STATUS, &self.status, Durability::None)?;
        let state = self.status.health.as_ref().map(|health| health.state);
        if let Err(error) = self.events.health(state.filter(|_| changed)) {
            self.run_dir.note(crate::NOTES, &error.to_string());
        }
        Ok(())
    }

    /// Ends a container that keeps more on disk than it may, and says so where its output goes.
    fn watch_disk(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let Some(cause) = watch.turn(self.running.cgroup(), self.status.paused) else { return };
        let cause = format!("the container was ended: {cause}");
        let line = format!("corral: {cause}\n");
        if let Err(error) = self.log.append(now_ns(), Stream::Stderr, line.as_bytes()) {
            self.lose(line.len() as u64, &error);
        }
        self.clients.tell(ToClient::Stderr(line.as_bytes()));
        (self.over, self.watch) = (Some(cause), None);
        self.kill();
    }

    fn wait(&mut self, pump: Option<&Pump<'_>>) -> Result<Vec<Source>, Error> {
        let now = Instant::now();
        let deadlines = [
            self.clients.deadline(),
            self.checks.as_ref().map(Checks::deadline),
            self.watch.as_ref().map(Watch::deadline),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        let patience = deadline.map(|deadline| deadline.saturating_duration_since(now));
        let timeout = timespec(patience.unwrap_or(REST_AFTER));
        let mut sources = vec![Source::Listener];
        let mut fds = vec![PollFd::new(&self.clients.listener, PollFlags::IN)];
        if !self.clients.peers.iter().any(Peer::is_blocked) {
            for (stream, fd) in self.streams.outputs() {
                sources.push(Source::Output(stream));
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            }
        }
        if let Some(fd) = self.streams.input.blocked() {
            sources.push(Source::Input);
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::OUT));
        }
        for (at, peer) in self.clients.peers.iter().enumerate() {
            sources.push(Source::Client(at));
            fds.push(PollFd::from_borrowed_fd(peer.fd(), peer.interest()));
        }
        for (source, fd) in pump.iter().flat_map(|pump| pump.interests()) {
            sources.push(Source::Here(source));
            fds.push(fd);
        }
        let measured = self.watch.iter().flat_map(Watch::fd);
        for fd in self.checks.iter().flat_map(Checks::fds).chain(measured) {
            sources.push(Source::Check);
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        if let Some(nursery) = &self.nursery {
            sources.push(Source::Nursery);
            fds.push(PollFd::from_borrowed_fd(nursery.fd(), PollFlags::IN));
        }
        // Last: what is ready beside it is carried first.
        sources.push(Source::Ended);
        fds.push(PollFd::from_borrowed_fd(self.running.pidfd(), PollFlags::IN));
        let polled = match poll(&mut fds, Some(&timeout)) {
            Ok(0) if patience.is_none() => rest(&mut fds),
            polled => polled,
        };
        match polled {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(errno) => return Err(Error::Setup { act: "wait for the container", source: errno.into() }),
        }
        let ready = sources.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        let ready = ready.map(|(source, _)| source).collect();
        if patience.is_some() {
            let now = Instant::now();
            self.clients.peers.iter_mut().for_each(|peer| peer.expire(now));
        }
        Ok(ready)
    }

    /// One read: to the log first, then to the clients.
    pub fn carry_output(&mut self, stream: Stream) {
        let bytes = self.streams.read(stream);
        if bytes.is_empty() {
            return;
        }
        if let Err(error) = self.log.append(now_ns(), stream, &bytes) {
            self.lose(bytes.len() as u64, &error);
        }
        corral_fault::step!(OutputLogged);
        self.clients.tell(match stream {
            Stream::Stdout => ToClient::Stdout(&bytes),
            Stream::Stderr => ToClient::Stderr(&bytes),
        });
    }

    /// Counts what the log did not take.
    pub fn lose(&mut self, bytes: u64, error: &Error) {
        let (lost, _) = self.lost.get_or_insert_with(|| (0, error.to_string()));
        *lost += bytes;
    }

    fn write_input(&mut self) {
        let clients = &mut self.clients;
        self.streams.input.write(|number| {
            if let Some(peer) = clients.by_number(number) {
                peer.feeding = false;
                peer.send(ToClient::StdinReady);
            }
        });
    }

    fn serve_client(&mut self, at: usize) {
        let peer = &mut self.clients.peers[at];
        if peer.is_blocked() {
            peer.flush();
        }
        peer.receive();
        while self.next_request(at) {}
        self.clients.peers[at].rest();
    }

    /// Does what the client's next frame asks for; false when there is none.
    fn next_request(&mut self, at: usize) -> bool {
        let peer = &mut self.clients.peers[at];
        let (number, pid) = (peer.number, self.status.init.pid);
        let Some(frame) = peer.next_frame() else { return false };
        match frame {
            ToMonitor::Attach { stdin } => match self.events.work(Action::Attach) {
                Ok(()) => {
                    (peer.role, peer.stdin) = (Role::Attached, stdin);
                    peer.send(ToClient::Started { pid });
                }
                Err(error) => peer.send(ToClient::Refused { message: &error.to_string() }),
            },
            ToMonitor::Stdin(bytes) => {
                self.streams.input.push(number, bytes);
                peer.feeding = true;
                self.write_input();
            }
            ToMonitor::StdinClosed => {
                if std::mem::take(&mut peer.stdin) {
                    self.streams.close_input();
                }
            }
            ToMonitor::Resize { rows, cols } => self.streams.resize(rows, cols),
            ToMonitor::Signal(signal) => {
                if let Err(error) = self.running.signal(signal) {
                    self.run_dir.note(crate::NOTES, &error.to_string());
                }
            }
            ToMonitor::Detach => {
                peer.send(ToClient::Detached);
                // Who started it and lets go of it at once never was attached.
                if peer.role == Role::Attached {
                    self.note_failure(self.events.end(&[Action::Detach]));
                }
                let peer = &mut self.clients.peers[at];
                // Its leaving means nothing now.
                (peer.role, peer.stdin) = (Role::Caller, false);
            }
            ToMonitor::Waiting => peer.lives(),
            ToMonitor::Wait => peer.role = Role::Waiter,
            ToMonitor::Pause => self.pause(at, true),
            ToMonitor::Unpause => self.pause(at, false),
            ToMonitor::Hold => {
                let held = self.set_paused(true);
                self.held = held.is_ok().then_some(number).or(self.held);
                self.answer(at, held);
            }
            ToMonitor::Rename(name) => {
                self.events.rename(name);
                self.answer(at, Ok(()));
            }
            ToMonitor::Limit(bytes) => {
                let answer = crate::limit::bounds(bytes).and_then(|to| self.set_bounds(&to));
                self.answer(at, answer);
            }
        }
        true
    }

    fn pause(&mut self, at: usize, pause: bool) {
        let answer = self.set_paused(pause);
        self.answer(at, answer);
    }

    fn answer(&mut self, at: usize, answer: Result<(), Error>) {
        let answer = answer.map_err(|error| error.to_string());
        self.clients.peers[at].send(match &answer {
            Ok(()) => ToClient::Done,
            Err(message) => ToClient::Refused { message },
        });
    }

    fn set_paused(&mut self, pause: bool) -> Result<(), Error> {
        if self.nursery.is_some() {
            return Err(Error::Refused("the container is a template, which never runs".into()));
        }
        if self.status.paused == pause {
            let state = if pause { "already paused" } else { "not paused" };
            return Err(Error::Refused(format!("the container is {state}")));
        }
        let group = self.running.cgroup();
        if pause {
            group.freeze()?
        } else {
            group.thaw()?
        }
        corral_fault::step!(FrozenOrThawed);
        (self.status.paused, self.held) = (pause, None);
        self.note_failure(self.events.end(&[if pause { Action::Pause } else { Action::Unpause }]));
        self.run_dir.put(crate::STATUS, &self.status, Durability::None)
    }

    /// What happened anyway and could not be recorded is noted.
    fn note_failure(&self, recorded: Result<(), corral_journal::Error>) {
        if let Err(error) = recorded {
            self.run_dir.note(crate::NOTES, &error.to_string());
        }
    }

    /// Drops the clients that are gone.
    fn forget_gone(&mut self) {
        let foreground_gone = self
            .clients
            .peers
            .iter()
            .any(|peer| peer.is_gone() && peer.role == Role::Foreground && peer.stdin);
        self.clients.peers.retain(|peer| !peer.is_gone());
        if self.held.is_some_and(|number| self.clients.by_number(number).is_none())
            && let Err(error) = self.set_paused(false)
        {
            self.run_dir.note(crate::NOTES, &error.to_string());
        }
        if foreground_gone {
            // Whoever fed it will never feed it again: a server on a pipe must see that.
            self.streams.close_input();
        }
    }
}

/// Waits as long as it takes. Nothing comes between giving the program's pages back and the wait, because each
/// function that ran there would have its pages again.
fn rest(fds: &mut [PollFd<'_>]) -> Result<usize, Errno> {
    // Without /proc the monitor stays as large as it is.
    let _ = corral_runtime::memory::give_back_program();
    poll(fds, None)
}
