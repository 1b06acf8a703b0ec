//! The monitor's ends of the container's standard streams.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corral_runtime::Io;
use corral_spec::record::Launch;
use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::Error;
use crate::log::Stream;

/// Read at once: what a pipe holds, and what a frame and a log record can carry.
const CHUNK: usize = 64 * 1024;

/// The container's standard streams.
#[derive(Debug)]
pub struct Streams {
    /// By [`Stream`]; none at its end. A terminal counts as standard output.
    outputs: [Option<OwnedFd>; 2],
    pub input: Input,
    terminal: bool,
}

/// The way to the container's standard input.
#[derive(Debug, Default)]
pub struct Input {
    /// None: closed, or there never was one. What comes is dropped then.
    fd: Option<OwnedFd>,
    /// Taken from clients and not yet by the container, at most one piece a client.
    waiting: VecDeque<Piece>,
    /// To be closed once nothing waits.
    closing: bool,
}

/// A client's bytes on the way.
#[derive(Debug)]
struct Piece {
    from: u64,
    bytes: Vec<u8>,
    at: usize,
}

/// Makes pipes, or asks for a terminal: the container's ends, and ours.
pub fn open(launch: &Launch) -> Result<(Io, Streams), Error> {
    let fail =
        |errno: Errno| Error::Setup { act: "make the container's standard streams", source: errno.into() };
    if launch.process.tty {
        return Ok((Io::Terminal, Streams::closed(true)));
    }
    let make = || -> rustix::io::Result<_> {
        let (stdin, ours) = if launch.process.stdin {
            let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
            (theirs, Some(ours))
        } else {
            (rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?, None)
        };
        let (out, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (err, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        let input = Input { fd: ours, ..Input::default() };
        let streams = Streams { outputs: [Some(out), Some(err)], input, terminal: false };
        Ok((Io::Pipes { stdin, stdout, stderr }, streams))
    };
    make().map_err(fail)
}

impl Streams {
    fn closed(terminal: bool) -> Self {
        Self { outputs: [None, None], input: Input::default(), terminal }
    }

    /// Takes over the terminal that the runtime made.
    pub fn set_terminal(&mut self, console: OwnedFd) -> Result<(), Error> {
        let set = || {
            // Only for writing: what is read was announced by poll(2).
            rustix::fs::fcntl_setfl(&console, OFlags::NONBLOCK)?;
            rustix::io::fcntl_dupfd_cloexec(&console, 3)
        };
        let input = set().map_err(|errno| Error::Terminal { act: "take over", source: errno.into() })?;
        self.outputs[Stream::Stdout as usize] = Some(console);
        self.input.fd = Some(input);
        Ok(())
    }

    /// The streams that have not ended.
    pub fn outputs(&self) -> impl Iterator<Item = (Stream, BorrowedFd<'_>)> {
        let stream = [Stream::Stdout, Stream::Stderr].into_iter();
        stream.zip(&self.outputs).filter_map(|(stream, fd)| fd.as_ref().map(|fd| (stream, fd.as_fd())))
    }

    /// Reads once, after poll(2) said that there is something. Nothing at the end of the stream, which is closed
    /// then, and after a false alarm.
    pub fn read(&mut self, stream: Stream) -> Vec<u8> {
        // Not on the stack, where the whole of it would be touched.
        let mut chunk = Vec::with_capacity(CHUNK);
        let output = &mut self.outputs[stream as usize];
        let Some(fd) = output else { return chunk };
        match rustix::io::read(fd, spare_capacity(&mut chunk)) {
            Ok(1..) | Err(Errno::AGAIN | Errno::INTR) => {}
            // A terminal ends with EIO, once no process of the container has it open.
            Ok(0) | Err(_) => *output = None,
        }
        chunk
    }

    /// Whether every output has ended.
    pub fn are_silent(&self) -> bool {
        self.outputs.iter().all(Option::is_none)
    }

    /// Sets the terminal's size; nothing without one.
    pub fn resize(&self, rows: u16, cols: u16) {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        if let (true, Some(console)) = (self.terminal, &self.outputs[0]) {
            // The terminal hung up: the container is about to end.
            let _ = tcsetwinsize(console, size);
        }
    }

    /// No more input. A terminal has no end of input: its program reads an end when someone types it.
    pub fn close_input(&mut self) {
        if !self.terminal {
            self.input.closing = true;
            self.input.close_if_due();
        }
    }
}

impl Input {
    /// The descriptor to wait for, while something waits to be written.
    pub fn blocked(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().filter(|_| !self.waiting.is_empty()).map(AsFd::as_fd)
    }

    /// Queues a client's bytes. What was taken is told by [`write`](Self::write).
    pub fn push(&mut self, from: u64, bytes: &[u8]) {
        self.waiting.push_back(Piece { from, bytes: bytes.to_vec(), at: 0 });
    }

    /// Writes what the container takes now; calls `taken` with each client whose bytes are through.
    pub fn write(&mut self, mut taken: impl FnMut(u64)) {
        while let Some(piece) = self.waiting.front_mut() {
            let rest = &piece.bytes[piece.at..];
            let written = match &self.fd {
                None => Ok(rest.len()),
                Some(fd) => rustix::io::retry_on_intr(|| rustix::io::write(fd, rest)),
            };
            match written {
                Ok(written) => piece.at += written,
                Err(Errno::AGAIN) => break,
                // Nobody in the container reads any more.
                Err(_) => self.fd = None,
            }
            if piece.at == piece.bytes.len() {
                taken(piece.from);
                self.waiting.pop_front();
            }
        }
        self.close_if_due();
    }

    fn close_if_due(&mut self) {
        if self.closing && self.waiting.is_empty() {
            self.fd = None;
            self.waiting = VecDeque::new();
        }
    }
}
