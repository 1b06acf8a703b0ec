//! One process per container: creates it, carries its streams, records its end.
//!
//! ```text
//!  corral run ── spawns ──▶ corral __monitor RECORDS_DIR DATA_DIR RUN_DIR  0: socket pair, 1: the lock
//!      ▲                        │
//!      │  socket pair           │ reads    RECORDS_DIR/launch.json
//!      └──── protocol ──────────┤ creates  the container: corral_runtime::create, its parent from now on
//!                               │ writes   RUN_DIR/status.json        after start, at each change
//!  corral attach ── RUN_DIR/attach.sock    DATA_DIR/log/…             what the container writes
//!  corral pause  ──────┘        │          RECORDS_DIR/exit.json      once, at the end
//!                               │          RUN_DIR/monitor.log        only if something failed meanwhile
//!                               └ holds    RUN_DIR/lock (flock)       who gets it knows: nobody lives here
//! ```
//!
//! `run --rm` in the foreground does the same in its own process (`here.rs`).
//!
//! One writer per fact: only the monitor writes these files, each whole and by rename, except the log, which
//! it appends to. A monitor that dies takes the container along (the runtime's parent-death signal); what it
//! leaves is a free lock and no `exit.json`, which the next command collects.
//!
//! It is synchronous and single-threaded, as a container's parent must be, starts no program but the container's (its
//! first one, again after an end if the launch says so, and health checks), and opens no network connection. It records
//! the container's events in the journal. It does not decide anything about the container: that is done in the launch.
//! It does not remove the container: it ends as [`After::Reap`], and its caller becomes `corral __reap`.
#![forbid(unsafe_code)]

pub mod client;
mod disk;
mod enter;
mod error;
mod events;
mod finish;
mod health;
mod here;
mod limit;
pub mod log;
mod peer;
pub mod protocol;
mod records;
mod restart;
mod streams;
mod supervise;
mod warm;

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use corral_runtime::Running;
use corral_spec::ContainerId;
use corral_spec::record::{GENERATION, Launch, Status};

pub use error::Error;
pub use here::{End, Here, run_here};

use disk::Watch;
use events::Events;
use finish::{Ending, Place};
use health::Checks;
use peer::{Peer, Role};
use protocol::ToClient;
use records::{Directory, Durability, now_ns};
use streams::Streams;
use supervise::{Clients, Supervisor};
use warm::Nursery;

/// The socket in the run directory.
const SOCKET: &str = "attach.sock";
/// Locked by the monitor for its whole life.
const LOCK: &str = "lock";
/// `record::Status`, in the run directory.
const STATUS: &str = "status.json";
/// `record::Exit`, among the container's records.
const EXIT: &str = "exit.json";
/// A mark among the container's records: somebody has stopped it, and it is not started again.
const STOPPED: &str = "stopped";
/// What failed without stopping anything, for people; in the run directory.
const NOTES: &str = "monitor.log";

/// What `corral __monitor` was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Absolute. Holds `launch.json`; gets `exit.json`. May be the run directory.
    pub records_dir: PathBuf,
    /// Absolute. Gets `log/`. May be the directory of records.
    pub data_dir: PathBuf,
    /// Absolute. Gets `status.json`, `attach.sock`, `lock`; must exist, with mode 0700.
    pub run_dir: PathBuf,
}

impl Invocation {
    /// Parses what follows `__monitor`: `RECORDS_DIR DATA_DIR RUN_DIR`.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut words = words.into_iter();
        let dirs = [words.next()?, words.next()?, words.next()?].map(PathBuf::from);
        let absolute = dirs.iter().all(|dir| dir.is_absolute());
        let [records_dir, data_dir, run_dir] = dirs;
        (absolute && words.next().is_none()).then_some(Self { records_dir, data_dir, run_dir })
    }
}

/// What the process does after the monitor has done its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// Exit with this code.
    Exit(u8),
    /// Execute `/proc/self/exe __reap ID` in place.
    Reap(ContainerId),
}

/// Is the monitor of a container from creation to end. Call it first thing in `main`, with nothing open:
/// every descriptor from 3 on is closed, except for `kept`.
///
/// Standard input is the initial client's socket, if it is a socket. Standard output is the container's lock,
/// held already, if it is that file: so no moment passes between a command that prepared the container and its
/// monitor. (A program without unsafe code can pass these three descriptors and no others.)
pub fn run(invocation: &Invocation, kept: Option<BorrowedFd<'_>>) -> After {
    let Ok(inherited) = enter::inherited(kept) else { return After::Exit(1) };
    let mut first = inherited.client.map(|socket| Peer::new(0, socket, Role::Foreground, false));
    let (place, run_dir, launch) = match take_place(invocation, inherited.lock) {
        Ok(taken) => taken,
        Err(error) => {
            // Nothing of the container is ours: its directory is left alone.
            if let Some(first) = &mut first {
                first.send(ToClient::Failed { code: error.exit_code(), message: &error.to_string() });
            }
            return After::Exit(1);
        }
    };
    if let Some(first) = &mut first {
        first.stdin = launch.process.stdin || launch.process.tty;
    }
    match enter::listen(&run_dir) {
        Ok(listener) => lives(invocation, place, launch, (Clients::new(listener, first), run_dir)),
        Err(error) => finish::fail(place, run_dir, first.into_iter().collect(), &Ending::of(&launch), &error),
    }
}

/// From the first start of a container to its last end: mostly one life, more with a restart policy.
fn lives(
    invocation: &Invocation,
    place: Place,
    mut launch: Launch,
    (mut clients, mut run_dir): (Clients, Directory),
) -> After {
    let mut ending = Ending::of(&launch);
    let mut backoff = restart::Backoff::default();
    loop {
        ending.restarts = backoff.restarts;
        let mut begun = match begin(&run_dir, &launch, &mut ending.events, backoff.restarts) {
            Ok(begun) => begun,
            Err(error) => return finish::fail(place, run_dir, clients.peers, &ending, &error),
        };
        let log = log::Sink::new(&invocation.data_dir, &launch);
        begun.checks = Checks::of(&launch, &invocation.records_dir);
        // A launch is mostly its seccomp program: kilobytes that nobody needs while the container runs.
        drop(launch);
        let mut supervisor = begun.supervisor(clients, log, run_dir, ending.events.clone());
        if let Err(error) = supervisor.serve(None) {
            supervisor.run_dir.note(NOTES, &error.to_string());
            // Without a loop there is nobody to serve it; the end is the same as a killed monitor's.
            supervisor.kill();
        }
        let mut ended = finish::end(supervisor);
        // It may have been renamed.
        ending.events.clone_from(&ended.events);
        finish::record_end(&ending.events, &ended.exit, &ended.run_dir);
        match restart::again(&mut ended, &place, &ending, &mut backoff) {
            // Its template may be gone by now.
            Some(next) => launch = Launch { warm: None, ..next },
            None => return finish::finish(ended, place, &ending),
        }
        (clients, run_dir) = (ended.clients, ended.run_dir);
    }
}

/// Becomes the one process that is responsible for this container.
fn take_place(invocation: &Invocation, held: OwnedFd) -> Result<(Place, Directory, Launch), Error> {
    enter::leave_caller()?;
    let run_dir = Directory::open(&invocation.run_dir)?;
    let lock = enter::lock(&run_dir.path, &run_dir.fd, held)?;
    let records_dir = Directory::open(&invocation.records_dir)?;
    let launch = records_dir.launch()?;
    corral_fault::step!(PlaceTaken);
    Ok((Place { records_dir, lock }, run_dir, launch))
}

/// A container that runs, and what belongs to it.
struct Begun {
    running: Running,
    streams: Streams,
    status: Status,
    checks: Option<Checks>,
    watch: Option<Watch>,
    nursery: Option<Nursery>,
}

impl Begun {
    /// Tells the first client that the program runs, and takes over.
    fn supervisor(
        self,
        mut clients: Clients,
        log: log::Sink,
        run_dir: Directory,
        events: Events,
    ) -> Supervisor {
        let Self { running, streams, status, checks, watch, nursery } = self;
        clients.tell(ToClient::Started { pid: status.init.pid });
        corral_fault::step!(StartTold);
        let (lost, over, held) = (None, None, None);
        Supervisor {
            running,
            streams,
            clients,
            log,
            status,
            checks,
            watch,
            nursery,
            run_dir,
            lost,
            over,
            events,
            held,
        }
    }
}

fn begin(run_dir: &Directory, launch: &Launch, events: &mut Events, restarts: u32) -> Result<Begun, Error> {
    let monitor = corral_runtime::process_name(rustix::process::getpid().as_raw_nonzero().get())?;
    let (mut io, mut streams) = streams::open(launch)?;
    let nursery = Nursery::open(launch, &mut io, run_dir)?;
    let mut created = corral_runtime::create(launch, io)?;
    if let Some(console) = created.console.take() {
        streams.set_terminal(console)?;
    }
    corral_fault::step!(ContainerMade);
    let running = created.start()?;
    corral_fault::step!(ContainerBegun);
    let status = Status {
        generation: GENERATION,
        monitor,
        init: running.name(),
        started_ns: now_ns(),
        paused: false,
        restarting: false,
        restarts,
        health: launch.health.is_some().then(Default::default),
        cgroup2: running.cgroup().v2().map(Into::into),
        cgroup1: running.cgroup().v1().to_vec(),
    };
    // A container that cannot be recorded does not run.
    let recorded = events.started().map_err(Error::from);
    corral_fault::step!(StartRecorded);
    match recorded.and_then(|()| run_dir.put(STATUS, &status, Durability::None)) {
        Ok(()) => Ok(Begun { running, streams, status, checks: None, watch: Watch::of(launch), nursery }),
        Err(error) => {
            running.cleanup().iter().for_each(|error| run_dir.note(NOTES, &error.to_string()));
            Err(error)
        }
    }
}
