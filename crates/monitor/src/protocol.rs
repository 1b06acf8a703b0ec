//! What monitor and clients say to each other over a unix stream socket.
//!
//! ```text
//!  0        1              4                 8                      8 + len
//! ┌────────┬──────────────┬─────────────────┬──────────────────────┐
//! │ kind u8│ zero, 3 bytes│ len u32 LE      │ payload, len ≤ 65536 │
//! └────────┴──────────────┴─────────────────┴──────────────────────┘
//!
//! client                         monitor
//!   │ (initial client: attached from the start; any other sends)
//!   ├── Attach{stdin} ─────────────▶│
//!   │◀──────────── Started | Failed ┤
//!   ├── Stdin (one at a time) ─────▶│──▶ container
//!   │◀────────────────── StdinReady ┤   it was taken: the next one may come
//!   │◀───────────── Stdout, Stderr ─┤
//!   ├── Waiting ───────────────────▶│   my own reader is slow, I live
//!   │◀────── Exited (after the last output byte)
//!   ├── Pause | Unpause | Limit | Hold | Rename ───▶│
//!   │◀─────────────── Done | Refused┤
//!   ├── Wait ──────────────────────▶│
//!   │◀─────────────────────── Exited┤   without any output before it
//! ```
//!
//! Standard input travels on credit: a client has one `Stdin` frame in flight at most. So the monitor never
//! has to stop reading a client because the container does not read, and a `Signal` or a `Detach` is never
//! stuck behind input that nobody takes.
//!
//! Both directions have one parser into one enum. Whatever does not parse is [`Broken`]; the monitor drops
//! such a client, and the container does not notice.

use std::io::IoSlice;
use std::ops::Range;

use corral_spec::Signal;
use rustix::buffer::spare_capacity;
use rustix::fd::AsFd;
use rustix::net::RecvFlags;

/// The longest payload, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;
const HEADER: usize = 8;

/// From the monitor to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToClient<'a> {
    /// The container's program was executed; a late client hears it when it is attached.
    Started {
        /// The container's first process in the host's pid namespace.
        pid: i32,
    },
    /// The container could not be created; nothing follows.
    Failed {
        /// Exit code as Docker's: 125, 126 or 127.
        code: u8,
        /// One line for people.
        message: &'a str,
    },
    /// Bytes of the container's standard output, or of its terminal.
    Stdout(&'a [u8]),
    /// Bytes of its standard error.
    Stderr(&'a [u8]),
    /// The container has ended and all its output was sent; nothing follows.
    Exited {
        /// As `record::Exit::code`.
        code: u8,
        /// Whether the kernel killed it for memory.
        oom_killed: bool,
    },
    /// The answer to [`ToMonitor::Detach`]; nothing follows.
    Detached,
    /// The last `Stdin` was taken, the next one may be sent.
    StdinReady,
    /// The request was carried out.
    Done,
    /// The request was not carried out.
    Refused {
        /// Why, one line for people.
        message: &'a str,
    },
}

/// From a client to the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToMonitor<'a> {
    /// Send me the output from now on; with `stdin` I also have a `Stdin` to send.
    Attach {
        /// Whether this client feeds the container's standard input.
        stdin: bool,
    },
    /// Bytes for the container's standard input; never a second one before `StdinReady`.
    Stdin(&'a [u8]),
    /// No more input: the container sees the end of its standard input.
    StdinClosed,
    /// The client's terminal has this size.
    Resize {
        /// Lines.
        rows: u16,
        /// Columns.
        cols: u16,
    },
    /// Send this signal to the container's first process.
    Signal(Signal),
    /// Let go of me, and leave the container's standard input open.
    Detach,
    /// I hold unwritten output and live: do not take me for dead.
    Waiting,
    /// Freeze the container.
    Pause,
    /// Thaw it.
    Unpause,
    /// Tell me its end, and nothing before.
    Wait,
    /// Put other bounds in force: a `record::Cgroup` as JSON.
    Limit(&'a [u8]),
    /// Freeze the container until I thaw it, or am gone.
    Hold,
    /// The container has another name.
    Rename(&'a str),
}

/// Bytes that are no frame of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A payload length over [`MAX_PAYLOAD`].
    #[error("a frame announces {0} bytes, at most {MAX_PAYLOAD} are allowed")]
    TooLong(u32),
    /// The reserved bytes are not zero.
    #[error("a frame's reserved bytes are not zero")]
    Reserved,
    /// No frame of this direction has this kind.
    #[error("frame kind {0} does not exist")]
    Kind(u8),
    /// The payload is not what the kind asks for.
    #[error("a frame of kind {0} has a malformed payload")]
    Payload(u8),
    /// A second `Stdin` without credit, or a frame that this client may not send now.
    #[error("a frame of kind {0} came out of turn")]
    OutOfTurn(u8),
}

/// A frame ready for one `sendmsg`: header and fixed fields by value, the rest borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    head: [u8; HEADER + 4],
    head_len: usize,
    body: &'a [u8],
}

impl<'a> Encoded<'a> {
    fn new(kind: u8, fields: &[u8], body: &'a [u8]) -> Self {
        debug_assert!(fields.len() <= 4 && fields.len() + body.len() <= MAX_PAYLOAD);
        let mut head = [0; HEADER + 4];
        head[0] = kind;
        head[4..8].copy_from_slice(&((fields.len() + body.len()) as u32).to_le_bytes());
        head[HEADER..HEADER + fields.len()].copy_from_slice(fields);
        Self { head, head_len: HEADER + fields.len(), body }
    }

    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        self.head_len + self.body.len()
    }

    /// A frame is never empty: it has a header.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The whole frame, in order.
    pub fn slices(&self) -> [IoSlice<'_>; 2] {
        [IoSlice::new(&self.head[..self.head_len]), IoSlice::new(self.body)]
    }

    /// Appends what lies behind the first `sent` bytes of the frame.
    pub fn append_rest(&self, sent: usize, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.head[sent.min(self.head_len)..self.head_len]);
        to.extend_from_slice(&self.body[sent.saturating_sub(self.head_len).min(self.body.len())..]);
    }
}

/// The longest prefix of a message that fits beside `fields` bytes.
fn clip(message: &str, fields: usize) -> &[u8] {
    let mut end = message.len().min(MAX_PAYLOAD - fields);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message.as_bytes()[..end]
}

fn text(bytes: &[u8], kind: u8) -> Result<&str, Broken> {
    std::str::from_utf8(bytes).map_err(|_| Broken::Payload(kind))
}

impl<'a> ToClient<'a> {
    /// The frame's bytes; a message that is too long is cut, output must be at most [`MAX_PAYLOAD`].
    pub fn encode(&self) -> Encoded<'a> {
        match *self {
            Self::Started { pid } => Encoded::new(1, &pid.to_le_bytes(), &[]),
            Self::Failed { code, message } => Encoded::new(2, &[code], clip(message, 1)),
            Self::Stdout(bytes) => Encoded::new(3, &[], bytes),
            Self::Stderr(bytes) => Encoded::new(4, &[], bytes),
            Self::Exited { code, oom_killed } => Encoded::new(5, &[code, oom_killed.into()], &[]),
            Self::Detached => Encoded::new(6, &[], &[]),
            Self::StdinReady => Encoded::new(7, &[], &[]),
            Self::Done => Encoded::new(8, &[], &[]),
            Self::Refused { message } => Encoded::new(9, &[], clip(message, 0)),
        }
    }

    /// The meaning of one frame.
    pub fn decode(kind: u8, payload: &'a [u8]) -> Result<Self, Broken> {
        let wrong = Broken::Payload(kind);
        Ok(match (kind, payload) {
            (1, pid) => Self::Started { pid: i32::from_le_bytes(pid.try_into().map_err(|_| wrong)?) },
            (2, [code, message @ ..]) => Self::Failed { code: *code, message: text(message, kind)? },
            (3, bytes) => Self::Stdout(bytes),
            (4, bytes) => Self::Stderr(bytes),
            (5, [code, oom @ (0 | 1)]) => Self::Exited { code: *code, oom_killed: *oom == 1 },
            (6, []) => Self::Detached,
            (7, []) => Self::StdinReady,
            (8, []) => Self::Done,
            (9, message) => Self::Refused { message: text(message, kind)? },
            (2 | 5..=8, _) => return Err(wrong),
            _ => return Err(Broken::Kind(kind)),
        })
    }
}

impl<'a> ToMonitor<'a> {
    /// The frame's bytes; input must be at most [`MAX_PAYLOAD`].
    pub fn encode(&self) -> Encoded<'a> {
        match *self {
            Self::Attach { stdin } => Encoded::new(1, &[stdin.into()], &[]),
            Self::Stdin(bytes) => Encoded::new(2, &[], bytes),
            Self::StdinClosed => Encoded::new(3, &[], &[]),
            Self::Resize { rows, cols } => {
                let ([r0, r1], [c0, c1]) = (rows.to_le_bytes(), cols.to_le_bytes());
                Encoded::new(4, &[r0, r1, c0, c1], &[])
            }
            Self::Signal(signal) => Encoded::new(5, &[signal.number() as u8], &[]),
            Self::Detach => Encoded::new(6, &[], &[]),
            Self::Waiting => Encoded::new(7, &[], &[]),
            Self::Pause => Encoded::new(8, &[], &[]),
            Self::Unpause => Encoded::new(9, &[], &[]),
            Self::Wait => Encoded::new(10, &[], &[]),
            Self::Limit(bytes) => Encoded::new(11, &[], bytes),
            Self::Hold => Encoded::new(12, &[], &[]),
            Self::Rename(name) => Encoded::new(13, &[], name.as_bytes()),
        }
    }

    /// The meaning of one frame.
    pub fn decode(kind: u8, payload: &'a [u8]) -> Result<Self, Broken> {
        let wrong = Broken::Payload(kind);
        Ok(match (kind, payload) {
            (1, [stdin @ (0 | 1)]) => Self::Attach { stdin: *stdin == 1 },
            (2, bytes) => Self::Stdin(bytes),
            (3, []) => Self::StdinClosed,
            (4, [r0, r1, c0, c1]) => {
                Self::Resize { rows: u16::from_le_bytes([*r0, *r1]), cols: u16::from_le_bytes([*c0, *c1]) }
            }
            (5, [number]) => Self::Signal(i32::from(*number).try_into().map_err(|_| wrong)?),
            (6, []) => Self::Detach,
            (7, []) => Self::Waiting,
            (8, []) => Self::Pause,
            (9, []) => Self::Unpause,
            (10, []) => Self::Wait,
            (11, bytes) => Self::Limit(bytes),
            (12, []) => Self::Hold,
            (13, name) => Self::Rename(text(name, kind)?),
            (1..=10 | 12, _) => return Err(wrong),
            _ => return Err(Broken::Kind(kind)),
        })
    }
}

/// Received bytes that are not yet a whole frame: at most one frame and what one `recv` brought behind it.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    at: usize,
}

impl Inbox {
    /// Adds received bytes.
    #[cfg(test)]
    fn push(&mut self, bytes: &[u8]) {
        self.compact();
        self.bytes.extend_from_slice(bytes);
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.at);
        self.at = 0;
    }

    /// Receives once, at least as many bytes as fit into `room`; 0 is the end of the stream, `AGAIN` an error
    /// like others.
    pub fn receive(&mut self, socket: impl AsFd, room: usize, flags: RecvFlags) -> rustix::io::Result<usize> {
        self.compact();
        self.bytes.reserve(room);
        let (received, _) = rustix::net::recv(socket, spare_capacity(&mut self.bytes), flags)?;
        Ok(received)
    }

    /// The next whole frame as (kind, payload).
    pub fn next_frame(&mut self) -> Result<Option<(u8, &[u8])>, Broken> {
        let Some((kind, payload)) = self.locate()? else { return Ok(None) };
        self.at = payload.end;
        Ok(Some((kind, &self.bytes[payload])))
    }

    /// Gives its memory back if it is empty: for those who have many, and mostly idle ones.
    pub fn shrink(&mut self) {
        if self.at == self.bytes.len() {
            *self = Self::default();
        }
    }

    fn locate(&self) -> Result<Option<(u8, Range<usize>)>, Broken> {
        let Some(([kind, reserved @ .., l0, l1, l2, l3], rest)) =
            self.bytes[self.at..].split_first_chunk::<8>()
        else {
            return Ok(None);
        };
        let reserved: &[u8] = reserved;
        if reserved.iter().any(|byte| *byte != 0) {
            return Err(Broken::Reserved);
        }
        let len = u32::from_le_bytes([*l0, *l1, *l2, *l3]);
        if len as usize > MAX_PAYLOAD {
            return Err(Broken::TooLong(len));
        }
        let start = self.at + HEADER;
        Ok((rest.len() >= len as usize).then_some((*kind, start..start + len as usize)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(frame: Encoded<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame.append_rest(0, &mut bytes);
        assert_eq!(bytes.len(), frame.len());
        bytes
    }

    fn to_client() -> Vec<ToClient<'static>> {
        vec![
            ToClient::Started { pid: 77 },
            ToClient::Failed { code: 127, message: "nö: not found" },
            ToClient::Stdout(b"out"),
            ToClient::Stdout(b""),
            ToClient::Stderr(b"err\0"),
            ToClient::Exited { code: 137, oom_killed: true },
            ToClient::Detached,
            ToClient::StdinReady,
            ToClient::Done,
            ToClient::Refused { message: "no" },
        ]
    }

    fn to_monitor() -> Vec<ToMonitor<'static>> {
        vec![
            ToMonitor::Attach { stdin: true },
            ToMonitor::Stdin(&[7; MAX_PAYLOAD]),
            ToMonitor::StdinClosed,
            ToMonitor::Resize { rows: 24, cols: 513 },
            ToMonitor::Signal(Signal::TERM),
            ToMonitor::Detach,
            ToMonitor::Waiting,
            ToMonitor::Pause,
            ToMonitor::Unpause,
            ToMonitor::Wait,
            ToMonitor::Limit(b"{}"),
            ToMonitor::Hold,
            ToMonitor::Rename("web"),
        ]
    }

    #[test]
    fn every_frame_comes_back_whatever_the_cuts() {
        let stream: Vec<u8> = to_client().iter().flat_map(|frame| wire(frame.encode())).collect();
        for step in [1, 3, 8, 13, stream.len()] {
            let mut inbox = Inbox::default();
            let mut frames = to_client().into_iter();
            for part in stream.chunks(step) {
                inbox.push(part);
                while let Some((kind, payload)) = inbox.next_frame().unwrap() {
                    assert_eq!(ToClient::decode(kind, payload), Ok(frames.next().unwrap()));
                }
            }
            assert_eq!(frames.next(), None);
            inbox.shrink();
            assert_eq!(inbox.bytes.capacity(), 0, "an empty inbox holds no memory");
        }
        for frame in to_monitor() {
            let mut inbox = Inbox::default();
            inbox.push(&wire(frame.encode()));
            let (kind, payload) = inbox.next_frame().unwrap().unwrap();
            assert_eq!(ToMonitor::decode(kind, payload), Ok(frame));
        }
    }

    #[test]
    fn a_cut_frame_continues_where_it_stopped() {
        for frame in to_client() {
            let whole = wire(frame.encode());
            for sent in 0..=whole.len() {
                let mut rest = Vec::new();
                frame.encode().append_rest(sent, &mut rest);
                assert_eq!(rest, whole[sent..]);
            }
        }
    }

    #[test]
    fn hostile_frames_are_broken() {
        fn check(bytes: &[u8], expect: Broken) {
            let mut inbox = Inbox::default();
            inbox.push(bytes);
            let found = match inbox.next_frame() {
                Err(broken) => broken,
                Ok(Some((kind, payload))) => ToMonitor::decode(kind, payload).expect_err("parsed"),
                Ok(None) => panic!("{bytes:?} waits for more"),
            };
            assert_eq!(found, expect, "{bytes:?}");
        }
        check(&[2, 0, 0, 0, 1, 0, 1, 0], Broken::TooLong(65537));
        check(&[2, 0, 0, 0, 255, 255, 255, 255], Broken::TooLong(u32::MAX));
        check(&[2, 0, 1, 0, 0, 0, 0, 0], Broken::Reserved);
        check(&[0, 0, 0, 0, 0, 0, 0, 0], Broken::Kind(0));
        check(&[200, 0, 0, 0, 0, 0, 0, 0], Broken::Kind(200));
        check(&[1, 0, 0, 0, 0, 0, 0, 0], Broken::Payload(1));
        check(&[1, 0, 0, 0, 1, 0, 0, 0, 2], Broken::Payload(1));
        check(&[4, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3], Broken::Payload(4));
        check(&[5, 0, 0, 0, 1, 0, 0, 0, 0], Broken::Payload(5));
        check(&[5, 0, 0, 0, 1, 0, 0, 0, 65], Broken::Payload(5));
        check(&[6, 0, 0, 0, 1, 0, 0, 0, 9], Broken::Payload(6));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let message = "ö".repeat(MAX_PAYLOAD);
        let bytes = wire(ToClient::Failed { code: 125, message: &message }.encode());
        let mut inbox = Inbox::default();
        inbox.push(&bytes);
        let (kind, payload) = inbox.next_frame().unwrap().unwrap();
        assert!(ToClient::decode(kind, payload).is_ok());
    }
}
