//! One client, seen from the monitor.
//!
//! Nothing here blocks. What the socket does not take is kept, and while anything is kept the loop reads no
//! output from the container: so one chunk of each stream, and the answers to the client's own requests, is all
//! that is ever kept.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, sendmsg};

use crate::protocol::{Broken, Inbox, ToClient, ToMonitor};

/// How long a client may take nothing before it counts as dead. A foreground client whose own reader is slow
/// says so more often than this ([`ToMonitor::Waiting`]).
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Kept bytes at which a client is broken: far more than backpressure ever leaves, far less than what hurts.
const LIMIT: usize = 2 * 1024 * 1024;

/// What a client is to the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Connected; gets answers, no output.
    Caller,
    /// Came later and watches.
    Attached,
    /// Started the container: its end is the end of the container's standard input, and it may hold the
    /// container's output back for as long as it lives.
    Foreground,
}

/// A client's connection.
#[derive(Debug)]
pub struct Peer {
    /// Names it for as long as the monitor lives.
    pub number: u64,
    pub role: Role,
    /// It may feed the container's standard input.
    pub stdin: bool,
    /// Its `Stdin` is not taken yet.
    pub feeding: bool,
    socket: OwnedFd,
    inbox: Inbox,
    unsent: Vec<u8>,
    /// Since when it takes nothing, while something is unsent.
    stalled: Instant,
    gone: bool,
}

impl Peer {
    pub fn new(number: u64, socket: OwnedFd, role: Role, stdin: bool) -> Self {
        let (inbox, unsent) = Default::default();
        Self {
            number,
            role,
            stdin,
            feeding: false,
            socket,
            inbox,
            unsent,
            stalled: Instant::now(),
            gone: false,
        }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// It closed, broke the protocol, or let its patience run out.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    pub fn leave(&mut self) {
        self.gone = true;
    }

    /// Something waits for the socket to take it.
    pub fn is_blocked(&self) -> bool {
        !self.gone && !self.unsent.is_empty()
    }

    /// What to wait for.
    pub fn interest(&self) -> PollFlags {
        if self.is_blocked() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
    }

    /// Gets the container's output.
    pub fn listens(&self) -> bool {
        !self.gone && self.role != Role::Caller
    }

    /// When a blocked client's patience ends.
    pub fn deadline(&self) -> Option<Instant> {
        self.is_blocked().then(|| self.stalled + PATIENCE)
    }

    /// Drops it once its patience has ended.
    pub fn expire(&mut self, now: Instant) {
        self.gone |= self.deadline().is_some_and(|deadline| deadline <= now);
    }

    /// It says that it lives. Only the foreground client may hold the container for longer than
    /// [`PATIENCE`]: one forgotten viewer must not stop a service.
    pub fn lives(&mut self) {
        if self.role == Role::Foreground {
            self.stalled = Instant::now();
        }
    }

    /// Sends a frame, or keeps what the socket does not take.
    pub fn send(&mut self, frame: ToClient<'_>) {
        if self.gone {
            return;
        }
        let frame = frame.encode();
        let sent = if self.unsent.is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let no_fds = &mut SendAncillaryBuffer::default();
            match rustix::io::retry_on_intr(|| sendmsg(&self.socket, &frame.slices(), no_fds, flags)) {
                Ok(sent) => sent,
                Err(Errno::AGAIN) => 0,
                Err(_) => return self.leave(),
            }
        } else {
            0
        };
        if sent == frame.len() {
            return;
        }
        if self.unsent.is_empty() {
            self.stalled = Instant::now();
        }
        frame.append_rest(sent, &mut self.unsent);
        self.gone |= self.unsent.len() > LIMIT;
    }

    /// Sends what was kept, as far as the socket takes it.
    pub fn flush(&mut self) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::io::retry_on_intr(|| rustix::net::send(&self.socket, &self.unsent, flags)) {
            Ok(sent) => {
                self.stalled = Instant::now();
                self.unsent.drain(..sent);
                if self.unsent.is_empty() {
                    self.unsent = Vec::new();
                }
            }
            Err(Errno::AGAIN) => {}
            Err(_) => self.leave(),
        }
    }

    /// Receives once, if there is something.
    pub fn receive(&mut self) {
        match rustix::io::retry_on_intr(|| self.inbox.receive(&self.socket, RecvFlags::DONTWAIT)) {
            Ok(1..) | Err(Errno::AGAIN) => {}
            Ok(0) | Err(_) => self.leave(),
        }
    }

    /// The next whole frame, if there is one and this client may send it now. One that breaks the protocol is
    /// gone.
    pub fn next_frame(&mut self) -> Option<ToMonitor<'_>> {
        let Self { inbox, feeding, stdin, role, gone, .. } = self;
        let frame = match inbox.next_frame() {
            Ok(Some((kind, payload))) => ToMonitor::decode(kind, payload).and_then(|frame| {
                let in_turn = match frame {
                    ToMonitor::Stdin(_) => *stdin && !*feeding,
                    ToMonitor::Attach { .. } => *role == Role::Caller,
                    _ => true,
                };
                if in_turn { Ok(frame) } else { Err(Broken::OutOfTurn(kind)) }
            }),
            Ok(None) => return None,
            Err(broken) => Err(broken),
        };
        *gone |= frame.is_err();
        frame.ok()
    }
}
