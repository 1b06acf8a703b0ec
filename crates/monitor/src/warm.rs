//! The monitor of a template: waits for its imports, then has it forked for those who ask.
//!
//! ```text
//! RUN_DIR/warm.sock   listens from the start; who connects before the imports are done waits in its queue
//! RUN_DIR/warm.json   record::Imported, once they are done
//!
//! Importing ── "R…" on the template's standard input ──▶ Ready: stopped for good, callers are served one by one
//!     └─────── "E…", or not fit to be forked ──────────▶ Failed: the first caller is told why, and it ends
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corral_runtime::warm::{self, Template};
use corral_runtime::{Io, Running};
use corral_spec::record::{Imported, Launch, Warm};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};

use crate::records::{Directory, Durability, is_admitted};
use crate::{Error, enter};

/// `record::Imported`.
const IMPORTED: &str = "warm.json";
/// The longest report.
const REPORT: usize = 64 << 10;

/// A template, and the door for those who want a fork of it.
pub struct Nursery {
    listener: OwnedFd,
    state: State,
}

enum State {
    Importing { socket: OwnedFd, inode: u64 },
    Ready(Box<Template>),
    Failed(String),
}

impl std::fmt::Debug for Nursery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nursery")
    }
}

impl Nursery {
    /// For a launch that makes a template: gives it a socket as its standard input.
    pub fn open(launch: &Launch, io: &mut Io, run_dir: &Directory) -> Result<Option<Self>, Error> {
        let (Some(Warm::Template { .. }), Io::Pipes { stdin, .. }) = (&launch.warm, io) else {
            return Ok(None);
        };
        let make = || {
            let (ours, theirs) =
                socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
            let inode = rustix::fs::fstat(&theirs)?.st_ino;
            Ok((ours, theirs, inode))
        };
        let (socket, theirs, inode) = make().map_err(|errno: rustix::io::Errno| Error::Setup {
            act: "make a template's socket",
            source: errno.into(),
        })?;
        *stdin = theirs;
        let listener = enter::listen_at(run_dir, warm::SOCKET, SocketType::SEQPACKET)?;
        Ok(Some(Self { listener, state: State::Importing { socket, inode } }))
    }

    /// Readable when there is something to do.
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.state {
            State::Importing { socket, .. } => socket.as_fd(),
            State::Ready(_) | State::Failed(_) => self.listener.as_fd(),
        }
    }

    /// Does it. An error is worth a note; true: the container is to end.
    pub fn act(&mut self, running: &Running, run_dir: &Directory) -> Result<bool, Error> {
        if let State::Importing { socket, inode } = &self.state {
            let (socket, inode) = (socket.try_clone().map_err(copy)?, *inode);
            let ready = imported(&socket).and_then(|imported| {
                let template = Template::capture(running.name(), socket, inode, running.cgroup());
                let template = template.map_err(|error| error.to_string())?;
                run_dir.put(IMPORTED, &imported, Durability::None).map_err(|error| error.to_string())?;
                Ok(template)
            });
            self.state = ready.map_or_else(State::Failed, |template| State::Ready(Box::new(template)));
            return Ok(false);
        }
        // A caller that left again is no event.
        let Ok(client) = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) else {
            return Ok(false);
        };
        if !is_admitted(&client) {
            return Ok(false);
        }
        match &self.state {
            State::Ready(template) => template.serve(client).map(|()| false).map_err(Error::from),
            State::Failed(reason) => {
                warm::refuse(client, reason);
                Ok(true)
            }
            State::Importing { .. } => Ok(false),
        }
    }
}

fn copy(source: std::io::Error) -> Error {
    Error::Setup { act: "copy a template's socket", source }
}

/// What the template says of its imports, once it says something.
fn imported(socket: &OwnedFd) -> Result<Imported, String> {
    let mut text = vec![0; REPORT];
    let length = recv(socket, &mut text, RecvFlags::empty()).map(|(length, _)| length).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[..length]).into_owned();
    match text.split_at_checked(1) {
        Some(("R", "*")) => Ok(Imported { variables: None }),
        Some(("R", names)) => {
            let names = names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned);
            Ok(Imported { variables: Some(names.collect()) })
        }
        // It is shown to a person.
        Some(("E", reason)) => Err(reason.replace(char::is_control, " ")),
        _ => Err("it ended before its imports were done; `corral logs` may say why".into()),
    }
}
