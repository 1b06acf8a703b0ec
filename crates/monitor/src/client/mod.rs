//! A client of a monitor: what `run`, `start -a`, `attach`, `pause` and `unpause` hold in their hands.

mod attach;
mod keys;
mod terminal;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corral_spec::Signal;
use corral_spec::record::Cgroup;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

pub use attach::{AttachOptions, Outcome, attach_terminal};
pub(crate) use attach::{Pump, Source};
pub use keys::{DetachKeys, DetachKeysError};
pub use terminal::{RawTerminal, size as terminal_size};

use crate::Error;
use crate::protocol::{Encoded, Inbox, MAX_PAYLOAD, ToClient, ToMonitor};

/// How a monitor's first word reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// The program was executed.
    Started {
        /// The container's first process in the host's pid namespace.
        pid: i32,
    },
    /// It was not.
    Failed {
        /// 125, 126 or 127 as Docker's.
        code: u8,
        /// One line for people.
        message: String,
    },
}

/// A connection to a monitor. Blocking; [`AsFd`] to wait on it along with other things.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    inbox: Inbox,
}

impl Client {
    /// The end of a socket pair whose other end the monitor was started with: attached from the start.
    pub fn from_fd(socket: OwnedFd) -> Self {
        Self { socket, inbox: Inbox::default() }
    }

    /// Connects to the monitor of a running container; not attached yet.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when nobody listens there.
    pub fn connect(run_dir: &Path) -> Result<Self, Error> {
        let path = run_dir.join(crate::SOCKET);
        let fail = |source: io::Error| Error::NotRunning { path: path.clone(), source };
        // By descriptor, because a socket address has room for 107 bytes only.
        let dir =
            rustix::fs::open(run_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| fail(errno.into()))?;
        let address = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), crate::SOCKET);
        let connect = || {
            let socket = rustix::net::socket_with(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            )?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(address)?)?;
            Ok(socket)
        };
        let socket = connect().map_err(|errno: Errno| fail(errno.into()))?;
        Ok(Self::from_fd(socket))
    }

    /// Blocks until the monitor says whether the container started. For the initial client, and after
    /// [`attach`](Self::attach). Output that comes later stays readable.
    ///
    /// # Errors
    /// [`Error::MonitorGone`], [`Error::Connection`], [`Error::Protocol`].
    pub fn beginning(&mut self) -> Result<Beginning, Error> {
        self.answer(|frame| match frame {
            ToClient::Started { pid } => Some(Ok(Beginning::Started { pid })),
            ToClient::Failed { code, message } => {
                Some(Ok(Beginning::Failed { code, message: message.to_owned() }))
            }
            ToClient::Refused { message } => Some(Err(Error::Refused(message.to_owned()))),
            _ => None,
        })
    }

    /// Asks for the output from now on, and with `stdin` to feed the container's standard input.
    ///
    /// # Errors
    /// As [`beginning`](Self::beginning), which it waits for.
    pub fn attach(&mut self, stdin: bool) -> Result<Beginning, Error> {
        self.send(ToMonitor::Attach { stdin }.encode())?;
        self.beginning()
    }

    /// Lets go of the container, which keeps its standard input open: what `run -d` does after
    /// [`beginning`](Self::beginning).
    ///
    /// # Errors
    /// [`Error::Connection`], [`Error::Protocol`].
    pub fn detach(mut self) -> Result<(), Error> {
        self.send(ToMonitor::Detach.encode())?;
        self.answer(|frame| match frame {
            ToClient::Detached | ToClient::Exited { .. } => Some(Ok(())),
            _ => None,
        })
    }

    /// Blocks until the container has ended, and gives its exit code.
    ///
    /// # Errors
    /// [`Error::MonitorGone`] when the monitor was killed, [`Error::Connection`], [`Error::Protocol`].
    pub fn wait(mut self) -> Result<u8, Error> {
        self.send(ToMonitor::Wait.encode())?;
        self.answer(|frame| match frame {
            ToClient::Exited { code, .. } => Some(Ok(code)),
            _ => None,
        })
    }

    /// Freezes the container, and returns once it is frozen and its status says so.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason, e.g. that it is paused already.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.request(ToMonitor::Pause)
    }

    /// Freezes the container until this client thaws it or is gone.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason, e.g. that it is paused already.
    pub fn hold(&mut self) -> Result<(), Error> {
        self.request(ToMonitor::Hold)
    }

    /// Tells the container's new name, which its events have from then on.
    ///
    /// # Errors
    /// [`Error::MonitorGone`] if the container ends meanwhile, [`Error::Connection`].
    pub fn rename(&mut self, name: &str) -> Result<(), Error> {
        self.request(ToMonitor::Rename(name))
    }

    /// Thaws it.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason, e.g. that it is not paused.
    pub fn unpause(&mut self) -> Result<(), Error> {
        self.request(ToMonitor::Unpause)
    }

    /// Puts other bounds in force, and returns once they hold.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason; the old bounds hold then.
    pub fn limit(&mut self, to: &Cgroup) -> Result<(), Error> {
        let bytes = serde_json::to_vec(to).unwrap_or_default();
        if bytes.len() > MAX_PAYLOAD {
            return Err(Error::Refused("these bounds are too many".to_owned()));
        }
        self.request(ToMonitor::Limit(&bytes))
    }

    /// Sends a signal to the container's first process.
    ///
    /// # Errors
    /// [`Error::Connection`].
    pub fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        self.send(ToMonitor::Signal(signal).encode())
    }

    /// Sets the size of the container's terminal; no effect without one.
    ///
    /// # Errors
    /// [`Error::Connection`].
    pub fn resize(&mut self, rows: u16, cols: u16) -> Result<(), Error> {
        self.send(ToMonitor::Resize { rows, cols }.encode())
    }

    fn request(&mut self, frame: ToMonitor<'_>) -> Result<(), Error> {
        self.send(frame.encode())?;
        self.answer(|frame| match frame {
            ToClient::Done => Some(Ok(())),
            ToClient::Refused { message } => Some(Err(Error::Refused(message.to_owned()))),
            _ => None,
        })
    }

    /// Blocks until a frame is an answer; output on the way is dropped.
    fn answer<T>(
        &mut self,
        mut meaning: impl FnMut(ToClient<'_>) -> Option<Result<T, Error>>,
    ) -> Result<T, Error> {
        loop {
            while let Some((kind, payload)) = self.inbox.next_frame()? {
                if let Some(answer) = meaning(ToClient::decode(kind, payload)?) {
                    return answer;
                }
            }
            self.receive()?;
        }
    }

    fn receive(&mut self) -> Result<(), Error> {
        match rustix::io::retry_on_intr(|| self.inbox.receive(&self.socket, MAX_PAYLOAD, RecvFlags::empty()))
        {
            Ok(0) | Err(Errno::CONNRESET) => Err(Error::MonitorGone),
            Ok(_) => Ok(()),
            Err(errno) => Err(Error::Connection { act: "read from the monitor", source: errno.into() }),
        }
    }

    /// Sends a whole frame. Blocks at most while the monitor is busy: it always reads its clients.
    ///
    /// That the monitor is gone is no error here but where it is read: what it said before is still there.
    fn send(&mut self, frame: Encoded<'_>) -> Result<(), Error> {
        let mut unsent = Vec::new();
        frame.append_rest(0, &mut unsent);
        let mut rest = unsent.as_slice();
        while !rest.is_empty() {
            match rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(errno) => {
                    return Err(Error::Connection { act: "write to the monitor", source: errno.into() });
                }
            }
        }
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
