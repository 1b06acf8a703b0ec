//! The pump between our standard streams, our signals and a container.
//!
//! ```text
//! stdin ──▶ detach keys ──▶ Stdin, on credit ──▶ ┌────────┐
//! signals ─────────────────▶ Signal, Resize ───▶ │ monitor│
//! stdout, stderr ◀── filter ◀── one frame ◀───── └────────┘
//! ```
//!
//! One frame of output is held at a time: while our own reader does not take it, nothing is read from the
//! monitor, and the pressure reaches the container. Signals and keys go on meanwhile.

use std::os::fd::AsFd;

use corral_runtime::signal::SignalFd;
use corral_spec::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal as Kernel;
use rustix::stdio::{stderr, stdin, stdout};

use super::keys::KeyWatch;
use super::terminal::{self, Output, RawTerminal};
use super::{Client, DetachKeys};
use crate::Error;
use crate::log::{Stream, TerminalFilter};
use crate::protocol::{MAX_PAYLOAD, ToClient, ToMonitor};

/// How a person (or a pipe) is joined to a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Forward our standard input.
    pub stdin: bool,
    /// The container has a terminal: ours is set raw, its size is followed, keys can detach.
    pub tty: bool,
    /// Forward signals to the container (not with `tty`, where keys do that).
    pub sig_proxy: bool,
    /// What detaches, with `tty`.
    pub detach_keys: DetachKeys,
    /// Not to be written, standard output and error in turn.
    pub hidden: [bool; 2],
}

/// How an attachment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The container ended.
    Exited {
        /// As `record::Exit::code`.
        code: u8,
        /// Whether the kernel killed it for memory.
        oom_killed: bool,
    },
    /// The detach keys were typed; the container runs on.
    Detached,
    /// The container did not start.
    Failed {
        /// 125, 126 or 127.
        code: u8,
        /// One line for people.
        message: String,
    },
    /// This signal asked us to end and was not ours to forward, or our reader is gone (SIGPIPE); the container
    /// runs on. Exit with 128 + its number.
    Interrupted(Signal),
}

/// Joins our standard streams to the container until one of them ends it. Blocks. The terminal is as
/// before on every return.
///
/// The client is the initial one, or one that was attached ([`Client::attach`]). It is to be kept until a
/// container that is removed at its end was removed: the monitor takes its end of file as a sign that it must see to
/// that itself.
///
/// # Errors
/// [`Error::MonitorGone`] when the monitor was killed, [`Error::Connection`], [`Error::Protocol`],
/// [`Error::Terminal`].
pub fn attach_terminal(client: &mut Client, options: &AttachOptions) -> Result<Outcome, Error> {
    let mut pump = Pump::new(client, options)?;
    loop {
        if let Some(outcome) = pump.turn()? {
            return Ok(outcome);
        }
    }
}

/// How often a client whose reader is slow tells the monitor that it lives, in seconds; the monitor's patience
/// is three times that.
pub(crate) const SIGN_OF_LIFE: i64 = 20;

/// What the pump waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Signals,
    Input,
    Monitor,
    Output,
}

pub(crate) struct Pump<'a> {
    client: &'a mut Client,
    options: &'a AttachOptions,
    signals: SignalFd,
    terminal: Option<RawTerminal>,
    keys: KeyWatch,
    /// Our standard input may still bring something.
    stdin_open: bool,
    /// The monitor takes the next `Stdin`.
    credit: bool,
    outputs: [Output; 2],
    filters: [Option<TerminalFilter>; 2],
    held: Held,
    typed: Vec<u8>,
}

/// Output that our reader has not taken yet: the bytes from `at` on.
struct Held {
    stream: Stream,
    bytes: Vec<u8>,
    at: usize,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }
}

impl<'a> Pump<'a> {
    pub(crate) fn new(client: &'a mut Client, options: &'a AttachOptions) -> Result<Self, Error> {
        let signals = SignalFd::new(watched(options))
            .map_err(|source| Error::Connection { act: "wait for signals", source })?;
        let terminal = if options.tty { RawTerminal::enter()? } else { None };
        // A container with a terminal is meant to act on ours. One without is text of a stranger.
        let filter = |terminal: bool| (terminal && !options.tty).then(TerminalFilter::default);
        let filters = [filter(rustix::termios::isatty(stdout())), filter(rustix::termios::isatty(stderr()))];
        let mut pump = Self {
            client,
            options,
            signals,
            terminal,
            keys: KeyWatch::new(options.detach_keys.clone()),
            stdin_open: options.stdin,
            credit: true,
            outputs: [Output::new(stdout()), Output::new(stderr())],
            filters,
            held: Held { stream: Stream::Stdout, bytes: Vec::new(), at: 0 },
            typed: Vec::new(),
        };
        if options.tty {
            pump.resize()?;
        }
        Ok(pump)
    }

    /// Waits once and does what is due.
    fn turn(&mut self) -> Result<Option<Outcome>, Error> {
        let (sources, mut fds): (Vec<_>, Vec<_>) = self.interests().unzip();
        let patience = self.holds().then_some(Timespec { tv_sec: SIGN_OF_LIFE, tv_nsec: 0 });
        let ready = match poll(&mut fds, patience.as_ref()) {
            Ok(ready) => ready,
            Err(Errno::INTR) => return Ok(None),
            Err(errno) => {
                return Err(Error::Connection { act: "wait for the container", source: errno.into() });
            }
        };
        let is_ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready == 0 {
            self.say_alive()?;
        }
        self.act(sources.into_iter().zip(is_ready).filter(|(_, ready)| *ready).map(|(source, _)| source))
    }

    /// What is waited for now. poll(2) reports a hang-up of whatever it is given, so it is given nothing else.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (Source, PollFd<'_>)> {
        let holds = self.holds();
        let output = &self.outputs[self.held.stream as usize];
        let all = [
            (Source::Signals, PollFd::new(&self.signals, PollFlags::IN), true),
            (Source::Input, PollFd::from_borrowed_fd(stdin(), PollFlags::IN), self.stdin_open && self.credit),
            (Source::Monitor, PollFd::from_borrowed_fd(self.client.as_fd(), PollFlags::IN), !holds),
            (Source::Output, PollFd::new(output, PollFlags::OUT), holds),
        ];
        all.into_iter().filter(|(.., wanted)| *wanted).map(|(source, fd, _)| (source, fd))
    }

    /// Whether our reader has not taken all yet.
    pub(crate) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Tells the monitor that we live, though our reader takes nothing.
    pub(crate) fn say_alive(&mut self) -> Result<(), Error> {
        self.client.send(ToMonitor::Waiting.encode())
    }

    /// Does what is due about what is ready.
    pub(crate) fn act(&mut self, ready: impl Iterator<Item = Source>) -> Result<Option<Outcome>, Error> {
        for source in ready {
            let outcome = match source {
                Source::Signals => self.take_signals()?,
                Source::Output => self.write()?,
                Source::Input => {
                    self.read_input()?;
                    None
                }
                Source::Monitor => {
                    self.client.receive()?;
                    None
                }
            };
            if outcome.is_some() {
                return Ok(outcome);
            }
        }
        self.take_frames()
    }

    fn take_signals(&mut self) -> Result<Option<Outcome>, Error> {
        let take = |signals: &SignalFd| {
            signals.take().map_err(|source| Error::Connection { act: "read signals", source })
        };
        while let Some(signal) = take(&self.signals)? {
            if !self.options.tty {
                self.client.signal(signal)?;
            } else if is(signal, Kernel::WINCH) || is(signal, Kernel::CONT) {
                if let Some(terminal) = self.terminal.as_ref().filter(|_| is(signal, Kernel::CONT)) {
                    terminal.again()?;
                }
                self.resize()?;
            } else {
                return Ok(Some(Outcome::Interrupted(signal)));
            }
        }
        Ok(None)
    }

    fn resize(&mut self) -> Result<(), Error> {
        match terminal::size() {
            Some((rows, cols)) => self.client.resize(rows, cols),
            None => Ok(()),
        }
    }

    fn read_input(&mut self) -> Result<(), Error> {
        self.typed.resize(MAX_PAYLOAD / 2, 0);
        let read = match rustix::io::retry_on_intr(|| rustix::io::read(stdin(), &mut self.typed[..])) {
            Ok(read) => read,
            Err(Errno::AGAIN) => return Ok(()),
            // A terminal that hung up reads as EIO.
            Err(_) => 0,
        };
        if read == 0 {
            self.stdin_open = false;
            self.client.send(ToMonitor::StdinClosed.encode())?;
            return Ok(());
        }
        let mut pass = Vec::new();
        let mut detach = false;
        let bytes = if self.options.tty {
            detach = self.keys.feed(&self.typed[..read], &mut pass);
            &pass
        } else {
            &self.typed[..read]
        };
        if !bytes.is_empty() {
            self.client.send(ToMonitor::Stdin(bytes).encode())?;
            self.credit = false;
        }
        if detach {
            self.client.send(ToMonitor::Detach.encode())?;
            self.stdin_open = false;
        }
        Ok(())
    }

    /// Takes received frames up to one that brings output.
    fn take_frames(&mut self) -> Result<Option<Outcome>, Error> {
        while self.held.is_empty() {
            let Some((kind, payload)) = self.client.inbox.next_frame()? else { break };
            let (stream, bytes) = match ToClient::decode(kind, payload)? {
                ToClient::Stdout(bytes) => (Stream::Stdout, bytes),
                ToClient::Stderr(bytes) => (Stream::Stderr, bytes),
                ToClient::StdinReady => {
                    self.credit = true;
                    continue;
                }
                ToClient::Exited { code, oom_killed } => {
                    return Ok(Some(Outcome::Exited { code, oom_killed }));
                }
                ToClient::Detached => return Ok(Some(Outcome::Detached)),
                ToClient::Failed { code, message } => {
                    return Ok(Some(Outcome::Failed { code, message: message.to_owned() }));
                }
                ToClient::Refused { message } => return Err(Error::Refused(message.to_owned())),
                ToClient::Started { .. } | ToClient::Done => continue,
            };
            if self.options.hidden[stream as usize] {
                continue;
            }
            (self.held.stream, self.held.at) = (stream, 0);
            self.held.bytes.clear();
            match &mut self.filters[stream as usize] {
                None => self.held.bytes.extend_from_slice(bytes),
                Some(filter) => filter.feed(bytes, &mut self.held.bytes),
            }
        }
        Ok(None)
    }

    fn write(&mut self) -> Result<Option<Outcome>, Error> {
        let held = &mut self.held;
        match self.outputs[held.stream as usize].write(&held.bytes[held.at..]) {
            Ok(written) => held.at += written,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                return Ok(Signal::try_from(Kernel::PIPE.as_raw()).ok().map(Outcome::Interrupted));
            }
            Err(source) => return Err(Error::Output(source)),
        }
        Ok(None)
    }
}

fn is(signal: Signal, kernel: Kernel) -> bool {
    signal.number() == kernel.as_raw()
}

/// The signals that are read instead of being delivered. Without a terminal, those that Docker forwards and a
/// person or a supervisor sends; with one, those that must not leave it raw behind.
fn watched(options: &AttachOptions) -> impl Iterator<Item = Signal> + use<> {
    const PROXIED: &[Kernel] = &[
        Kernel::HUP,
        Kernel::INT,
        Kernel::QUIT,
        Kernel::USR1,
        Kernel::USR2,
        Kernel::ALARM,
        Kernel::TERM,
        Kernel::CONT,
        Kernel::TSTP,
        Kernel::WINCH,
    ];
    const TERMINAL: &[Kernel] =
        &[Kernel::WINCH, Kernel::CONT, Kernel::HUP, Kernel::INT, Kernel::QUIT, Kernel::TERM];
    let set = match options {
        AttachOptions { tty: true, .. } => TERMINAL,
        AttachOptions { sig_proxy: true, .. } => PROXIED,
        _ => &[],
    };
    set.iter().filter_map(|signal| Signal::try_from(signal.as_raw()).ok())
}
