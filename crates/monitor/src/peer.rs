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

/// Received at once.
const ROOM: usize = 16 * 1024;

/// What a client is to the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Connected; gets answers, no output.
    Caller,
    /// Waits for the container's end; gets that, no output.
    Waiter,
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
        !self.gone && matches!(self.role, Role::Attached | Role::Foreground)
    }

    /// Is told the container's end.
    pub fn hears_the_end(&self) -> bool {
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
        match rustix::io::retry_on_intr(|| self.inbox.receive(&self.socket, ROOM, RecvFlags::DONTWAIT)) {
            Ok(1..) | Err(Errno::AGAIN) => {}
            Ok(0) | Err(_) => self.leave(),
        }
    }

    /// All frames were taken: an idle client costs no memory.
    pub fn rest(&mut self) {
        self.inbox.shrink();
    }

    /// The next whole frame, if there is one and this client may send it now. One that breaks the protocol is
    /// gone.
    pub fn next_frame(&mut self) -> Option<ToMonitor<'_>> {
        let Self { inbox, feeding, stdin, role, gone, .. } = self;
        let frame = match inbox.next_frame() {
            Ok(Some((kind, payload))) => ToMonitor::decode(kind, payload).and_then(|frame| {
                let in_turn = match frame {
                    ToMonitor::Stdin(_) => *stdin && !*feeding,
                    ToMonitor::Attach { .. } | ToMonitor::Wait => *role == Role::Caller,
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

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;
    use crate::protocol::MAX_PAYLOAD;

    fn pair(role: Role) -> (Peer, OwnedFd) {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        (Peer::new(1, ours, role, true), theirs)
    }

    #[test]
    fn patience_ends_but_for_a_foreground_client_that_lives() {
        for (role, says_so, dropped) in [
            (Role::Attached, false, true),
            (Role::Attached, true, true),
            (Role::Foreground, false, true),
            (Role::Foreground, true, false),
        ] {
            let (mut peer, theirs) = pair(role);
            assert_eq!(peer.deadline(), None);
            while !peer.is_blocked() {
                peer.send(ToClient::Stdout(&[b'x'; 60_000]));
            }
            peer.stalled -= PATIENCE - Duration::from_secs(1);
            if says_so {
                peer.lives();
            }
            peer.expire(Instant::now());
            assert!(!peer.is_gone(), "{role:?} {says_so}: a second is left");
            peer.expire(Instant::now() + Duration::from_secs(2));
            assert_eq!(peer.is_gone(), dropped, "{role:?} {says_so}");
            drop(theirs);
        }
    }

    #[test]
    fn what_was_kept_arrives_whole() {
        let (mut peer, theirs) = pair(Role::Attached);
        let mut sent = 0_u8;
        while !peer.is_blocked() {
            peer.send(ToClient::Stdout(&[sent; 50_000]));
            sent += 1;
        }
        peer.send(ToClient::Detached);
        let (mut inbox, mut received) = (Inbox::default(), 0);
        loop {
            if peer.is_blocked() {
                peer.flush();
            }
            inbox.receive(&theirs, MAX_PAYLOAD, RecvFlags::empty()).unwrap();
            while let Some((kind, payload)) = inbox.next_frame().unwrap() {
                match ToClient::decode(kind, payload).unwrap() {
                    ToClient::Stdout(bytes) => {
                        assert!(bytes.len() == 50_000 && bytes.iter().all(|byte| *byte == received));
                        received += 1;
                    }
                    ToClient::Detached => {
                        assert_eq!(received, sent);
                        assert_eq!(peer.unsent.capacity(), 0, "nothing kept costs nothing");
                        return;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn who_never_reads_answers_is_dropped() {
        let (mut peer, _theirs) = pair(Role::Caller);
        for _ in 0..100_000 {
            peer.send(ToClient::Refused { message: &"no".repeat(100) });
        }
        assert!(peer.is_gone());
        assert!(peer.unsent.len() <= 2 * LIMIT);
    }

    #[test]
    fn frames_out_of_turn_break_the_connection() {
        use crate::protocol::ToMonitor as Frame;
        let attach = Frame::Attach { stdin: true };
        for (role, stdin, frames, good) in [
            (Role::Caller, false, &[attach][..], true),
            (Role::Attached, true, &[attach], false),
            (Role::Foreground, true, &[attach], false),
            (Role::Caller, false, &[Frame::Stdin(b"x")], false),
            (Role::Foreground, true, &[Frame::Stdin(b"x")], true),
            (Role::Foreground, true, &[Frame::Stdin(b"x"), Frame::Stdin(b"y")], false),
        ] {
            let (mut peer, theirs) = pair(role);
            peer.stdin = stdin;
            for frame in frames {
                let mut bytes = Vec::new();
                frame.encode().append_rest(0, &mut bytes);
                rustix::net::send(&theirs, &bytes, SendFlags::empty()).unwrap();
                peer.receive();
                let feeds = matches!(peer.next_frame(), Some(Frame::Stdin(_)));
                peer.feeding |= feeds;
            }
            assert_eq!(peer.is_gone(), !good, "{role:?} {frames:?}");
        }
    }
}
