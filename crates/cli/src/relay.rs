//! The pump between our standard streams and a process that we started in a container.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corral_monitor::client::{RawTerminal, terminal_size};
use corral_runtime::Exec;
use corral_runtime::signal::SignalFd;
use corral_spec::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal as Kernel;
use rustix::stdio::{stderr, stdin, stdout};

/// How long after the end of the process its output is still waited for: a process that it left behind
/// may hold the other end for ever.
const LAST_WORDS: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
const CHUNK: usize = 32 << 10;

/// Our ends of a process's streams. With a terminal, input and output are the same descriptor.
pub(crate) struct Ends {
    /// Where our standard input goes; none if it is not forwarded.
    pub(crate) input: Option<OwnedFd>,
    /// What comes to our standard output.
    pub(crate) output: OwnedFd,
    /// What comes to our standard error; none with a terminal.
    pub(crate) errors: Option<OwnedFd>,
    /// Whether it is a terminal.
    pub(crate) tty: bool,
}

/// Copies until the process has ended, and answers its exit code.
pub(crate) fn run(process: Exec, ends: Ends) -> Result<u8, crate::Failure> {
    let terminal = if ends.tty { RawTerminal::enter()? } else { None };
    let mut relay = Relay::new(process, ends)?;
    while relay.turn()? {}
    let code = relay.process.wait().map_err(crate::Failure::new)?.code();
    drop(terminal);
    Ok(code)
}

struct Relay {
    process: Exec,
    ends: Ends,
    signals: SignalFd,
    /// Input that the process has not taken yet.
    pending: Vec<u8>,
    /// Whether output and errors may bring more.
    open: [bool; 2],
    ended: bool,
}

/// What is due.
#[derive(Default)]
struct Ready {
    ended: bool,
    signal: bool,
    output: bool,
    errors: bool,
    input: bool,
}

impl Relay {
    fn new(process: Exec, ends: Ends) -> io::Result<Self> {
        let window = Signal::try_from(Kernel::WINCH.as_raw()).ok().filter(|_| ends.tty);
        let signals = SignalFd::new(window)?;
        if let Some(input) = &ends.input {
            rustix::io::ioctl_fionbio(input, true)?;
        }
        if ends.tty {
            resize(&ends.output);
        }
        let open = [true, ends.errors.is_some()];
        Ok(Self { process, ends, signals, pending: Vec::new(), open, ended: false })
    }

    /// Waits once and does what is due; false when all is done.
    fn turn(&mut self) -> io::Result<bool> {
        let ready = self.wait()?;
        if self.ended && !ready.output && !ready.errors {
            return Ok(false);
        }
        self.ended |= ready.ended;
        while ready.signal && self.signals.take()?.is_some() {
            resize(&self.ends.output);
        }
        if ready.output {
            self.open[0] = copy(&self.ends.output, stdout())?;
        }
        if let Some(errors) = self.ends.errors.as_ref().filter(|_| ready.errors) {
            self.open[1] = copy(errors, stderr())?;
        }
        if ready.input {
            feed(&mut self.ends, &mut self.pending)?;
        }
        Ok(!self.ended || self.open.contains(&true))
    }

    fn wait(&self) -> io::Result<Ready> {
        type Mark = fn(&mut Ready);
        let mut marks: Vec<Mark> = Vec::new();
        let mut fds = Vec::new();
        let mut watch = |fd, flags, wanted: bool, mark: Mark| {
            if wanted {
                fds.push(PollFd::from_borrowed_fd(fd, flags));
                marks.push(mark);
            }
        };
        watch(self.process.pidfd(), PollFlags::IN, !self.ended, |ready| ready.ended = true);
        watch(self.signals.as_fd(), PollFlags::IN, true, |ready| ready.signal = true);
        watch(self.ends.output.as_fd(), PollFlags::IN, self.open[0], |ready| ready.output = true);
        if let Some(errors) = &self.ends.errors {
            watch(errors.as_fd(), PollFlags::IN, self.open[1], |ready| ready.errors = true);
        }
        if let Some(input) = self.ends.input.as_ref().filter(|_| !self.ended) {
            match self.pending.is_empty() {
                true => watch(stdin(), PollFlags::IN, true, |ready| ready.input = true),
                false => watch(input.as_fd(), PollFlags::OUT, true, |ready| ready.input = true),
            }
        }
        let mut ready = Ready::default();
        match poll(&mut fds, self.ended.then_some(&LAST_WORDS)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(ready),
            Err(errno) => return Err(errno.into()),
        }
        for (fd, mark) in fds.iter().zip(marks) {
            if !fd.revents().is_empty() {
                mark(&mut ready);
            }
        }
        Ok(ready)
    }
}

/// One chunk; false at the end of the source.
fn copy(from: &OwnedFd, to: BorrowedFd<'_>) -> io::Result<bool> {
    let mut chunk = [0; CHUNK];
    let read = match rustix::io::read(from, &mut chunk) {
        // The terminal's other end was closed.
        Ok(0) | Err(Errno::IO) => return Ok(false),
        Ok(read) => read,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(true),
        Err(errno) => return Err(errno.into()),
    };
    let mut rest = &chunk[..read];
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::AGAIN) => {
                // Our own standard output may have been made non-blocking by whoever shares it.
                poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None)?;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(true)
}

/// Moves input on: what is pending first, then one more chunk. The end of our input closes theirs.
fn feed(ends: &mut Ends, pending: &mut Vec<u8>) -> io::Result<()> {
    let Some(input) = &ends.input else { return Ok(()) };
    if pending.is_empty() {
        pending.resize(CHUNK, 0);
        let read = rustix::io::retry_on_intr(|| rustix::io::read(stdin(), &mut pending[..])).unwrap_or(0);
        pending.truncate(read);
        if read == 0 {
            ends.input = None;
            return Ok(());
        }
    }
    match rustix::io::write(input, pending) {
        Ok(written) => drop(pending.drain(..written)),
        Err(Errno::AGAIN | Errno::INTR) => {}
        // The process closed its input: ours is not read any more.
        Err(Errno::PIPE | Errno::IO) => {
            ends.input = None;
            pending.clear();
        }
        Err(errno) => return Err(errno.into()),
    }
    Ok(())
}

fn resize(console: &OwnedFd) {
    if let Some((rows, cols)) = terminal_size() {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        // A terminal that is gone needs no size.
        let _gone = rustix::termios::tcsetwinsize(console, size);
    }
}
