//! The log driver `journald`: each line a datagram of systemd's native protocol.
//!
//! ```text
//! CONTAINER_ID=33c35c9777ad\n … PRIORITY=6\nMESSAGE=hello\n      a value without a newline
//! NAME\n len u64 LE value\n                                      any value
//! ```
//!
//! A journald that does not take them holds the container back for [`PATIENCE`] a line; then lines are lost, and counted.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use corral_spec::record::Log;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::Stream;
use super::lines::Lines;
use crate::Error;

/// systemd's door for log entries.
const SOCKET: &str = "/run/systemd/journal/socket";
/// How long a full socket is waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// The way to journald.
#[derive(Debug)]
pub struct Journald {
    path: PathBuf,
    /// What stands before each message.
    fields: Vec<u8>,
    lines: Lines,
    socket: Option<OwnedFd>,
}

impl Journald {
    pub fn new(limits: &Log) -> Self {
        Self::at(Path::new(SOCKET), limits)
    }

    fn at(path: &Path, limits: &Log) -> Self {
        let mut fields = Vec::new();
        limits.attributes.iter().for_each(|(name, value)| field(&mut fields, name, value.as_bytes()));
        Self { path: path.to_owned(), fields, lines: Lines::default(), socket: None }
    }

    /// Takes what one read brought; what has no newline yet waits, up to 16 KiB.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), Error> {
        let mut lines = std::mem::take(&mut self.lines);
        let mut result = Ok(());
        lines.feed(stream, bytes, |line| {
            let sent = self.send(stream, line);
            if result.is_ok() {
                result = sent;
            }
        });
        self.lines = lines;
        result
    }

    /// Takes what ended without a newline.
    pub fn finish(&mut self) -> Result<(), Error> {
        let mut lines = std::mem::take(&mut self.lines);
        let mut result = Ok(());
        lines.finish(|stream, line| {
            if result.is_ok() {
                result = self.send(stream, line);
            }
        });
        result
    }

    fn send(&mut self, stream: Stream, line: &[u8]) -> Result<(), Error> {
        let mut datagram = self.fields.clone();
        // As Docker's: informational, and errors.
        field(&mut datagram, "PRIORITY", if stream == Stream::Stderr { b"3" } else { b"6" });
        match line.strip_suffix(b"\n") {
            Some(line) => field(&mut datagram, "MESSAGE", line),
            None => {
                field(&mut datagram, "CONTAINER_PARTIAL_MESSAGE", b"true");
                field(&mut datagram, "MESSAGE", line);
            }
        }
        let mut result = self.try_send(&datagram);
        if matches!(result, Err(Errno::CONNREFUSED | Errno::NOTCONN)) {
            // It was restarted.
            self.socket = None;
            result = self.try_send(&datagram);
        }
        result.map_err(io::Error::from).map_err(Error::file("send a line to", &self.path))
    }

    fn try_send(&mut self, datagram: &[u8]) -> rustix::io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(connect(&self.path)?),
        };
        let send =
            || rustix::io::retry_on_intr(|| rustix::net::send(&*socket, datagram, SendFlags::NOSIGNAL));
        match send() {
            Err(Errno::AGAIN) => {
                let timeout = crate::records::timespec(PATIENCE);
                poll(&mut [PollFd::new(&*socket, PollFlags::OUT)], Some(&timeout))?;
                send().map(drop)
            }
            sent => sent.map(drop),
        }
    }
}

fn connect(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn log() -> Log {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let attributes = vec![field("CONTAINER_ID", "abc"), field("NOTE", "two\nlines")];
        Log { attributes, ..Log::default() }
    }

    #[test]
    fn lines_arrive_as_datagrams() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let server = UnixDatagram::bind(&path).unwrap();
        let mut journald = Journald::at(&path, &log());
        journald.append(Stream::Stdout, b"one\ntw").unwrap();
        journald.append(Stream::Stderr, b"bad\n").unwrap();
        journald.finish().unwrap();
        let receive = || {
            let mut bytes = [0; 4096];
            let len = server.recv(&mut bytes).unwrap();
            bytes[..len].to_vec()
        };
        let head = b"CONTAINER_ID=abc\nNOTE\n\x09\0\0\0\0\0\0\0two\nlines\n";
        for rest in [
            &b"PRIORITY=6\nMESSAGE=one\n"[..],
            b"PRIORITY=3\nMESSAGE=bad\n",
            b"PRIORITY=6\nCONTAINER_PARTIAL_MESSAGE=true\nMESSAGE=tw\n",
        ] {
            assert_eq!(receive(), [head, rest].concat());
        }
        // A new one in its place.
        drop(server);
        std::fs::remove_file(&path).unwrap();
        let server = UnixDatagram::bind(&path).unwrap();
        journald.append(Stream::Stdout, b"again\n").unwrap();
        let mut bytes = [0; 4096];
        assert!(server.recv(&mut bytes).unwrap() > head.len());
    }

    #[test]
    fn one_that_does_not_read_blocks_nobody_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _server = UnixDatagram::bind(&path).unwrap();
        let mut journald = Journald::at(&path, &log());
        let line = vec![b'x'; 16_000];
        let full = (0..10_000).find(|_| {
            journald.append(Stream::Stdout, &line).is_err() || journald.append(Stream::Stdout, b"\n").is_err()
        });
        assert!(full.is_some());
    }
}
