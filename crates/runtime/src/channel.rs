//! The socket between the parent and the child that becomes the container.
//!
//! ```text
//! parent ── MOUNTS + descriptors (SCM_RIGHTS, at most 200 a message) ──▶ child
//!        ◀── READY [+ terminal master] ───────────────────────────────
//!        ── GO ──────────────────────────────────────────────────────▶
//!        ◀── end of file: the program runs, the socket closed at execve
//!        ◀── FAILED tag errno text, at any time ───────────────────────
//! ```
//!
//! Messages keep their bounds (SOCK_SEQPACKET). Each side reads the other's death as end of file.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::Error;

/// Descriptors in one message; the kernel's own bound is 253 (SCM_MAX_FD).
const CHUNK: usize = 200;
/// Longest message text.
const TEXT: usize = 1024;

/// One end of the socket.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Word {
    /// Here are descriptors.
    Mounts = 1,
    /// All is set up, except for the last step.
    Ready = 2,
    /// Take the last step.
    Go = 3,
    /// Setting up failed.
    FailedInside = 4,
    /// execve failed.
    FailedExec = 5,
    /// The process that was asked for has this number (exec only).
    Pid = 6,
    /// A process is to be forked from a template.
    Fork = 7,
    /// There is nothing to be forked.
    Unfit = 8,
}

/// A received message.
pub(crate) struct Message {
    /// First byte.
    pub(crate) word: Word,
    /// The rest.
    pub(crate) body: Vec<u8>,
    /// Descriptors, close-on-exec.
    pub(crate) fds: Vec<OwnedFd>,
}

impl Channel {
    /// Both ends, close-on-exec.
    pub(crate) fn pair() -> Result<(Self, Self), Error> {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map(|(a, b)| (Self(a), Self(b)))
            .map_err(|errno| Error::inside("make a socket pair", errno))
    }

    /// The descriptor.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Takes over a descriptor that [`Self::into_fd`] gave.
    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends descriptors, in order, in as many messages as it takes.
    pub(crate) fn send_mounts(&self, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        fds.chunks(CHUNK).try_for_each(|chunk| self.send(Word::Mounts, &[], chunk))
    }

    /// Receives exactly `count` descriptors; end of file means that the parent died or gave up.
    pub(crate) fn receive_mounts(&self, count: usize) -> io::Result<Vec<OwnedFd>> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            match self.receive()? {
                Some(Message { word: Word::Mounts, fds, .. }) if !fds.is_empty() => all.extend(fds),
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        if all.len() == count { Ok(all) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Sends one message.
    pub(crate) fn send(&self, word: Word, body: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CHUNK))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let word = [word as u8];
        let iov = [IoSlice::new(&word), IoSlice::new(body)];
        sendmsg(&self.0, &iov, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Receives one message; none at end of file.
    pub(crate) fn receive(&self) -> io::Result<Option<Message>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CHUNK))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; TEXT + 8];
        let length = loop {
            let mut iov = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.0, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received.bytes,
                // The other end was closed with unread messages: told once, before what it had sent.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        match bytes[..length].split_first() {
            None => Ok(None),
            Some((&word, body)) => {
                let word = Word::of(word).ok_or(io::ErrorKind::InvalidData)?;
                Ok(Some(Message { word, body: body.to_vec(), fds }))
            }
        }
    }

    /// Writes one message and waits for any answer, by write(2) and read(2) alone.
    pub(crate) fn exchange(&self, message: &[u8]) -> io::Result<()> {
        rustix::io::write(&self.0, message)?;
        match rustix::io::read(&self.0, &mut [0; TEXT])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The child's next message; end of file means that it died.
    pub(crate) fn answer(&self, act: &'static str) -> Result<Message, Error> {
        let message =
            self.receive().map_err(|error| Error::inside("talk to the container's first process", error))?;
        message.ok_or(Error::Died { act })
    }

    /// Tells the other end why this one gives up. Nobody is left to hear of a failure to do so.
    pub(crate) fn send_failure(&self, error: &Error) {
        let (word, errno, text) = match error {
            Error::Exec { program, source } => (Word::FailedExec, source.raw_os_error(), program.clone()),
            Error::Inside { act, source } => (Word::FailedInside, source.raw_os_error(), act.clone()),
            Error::Launch(text) => (Word::FailedInside, None, text.clone()),
            Error::Template(text) => (Word::Unfit, None, text.clone()),
            other => (Word::FailedInside, None, other.to_string()),
        };
        let mut body = errno.unwrap_or(0).to_ne_bytes().to_vec();
        body.insert(0, word as u8);
        body.extend(text.bytes().take(TEXT));
        // Not sendmsg: the container's filter may hold already, and write is always allowed.
        let _ = rustix::io::write(&self.0, &body);
    }
}

impl Message {
    /// The failure that the message reports, if it does.
    pub(crate) fn failure(&self) -> Option<Error> {
        let (errno, text) = self.body.split_first_chunk::<4>()?;
        let text = String::from_utf8_lossy(text).into_owned();
        let errno = i32::from_ne_bytes(*errno);
        let source = io::Error::from_raw_os_error(errno);
        match self.word {
            // Not a system call that failed, but something refused: the text says all.
            Word::FailedInside if errno == 0 => Some(Error::Launch(text)),
            Word::Unfit => Some(Error::Template(text)),
            Word::FailedInside => Some(Error::Inside { act: text, source }),
            Word::FailedExec => Some(Error::Exec { program: text, source }),
            _ => None,
        }
    }
}

impl Word {
    fn of(byte: u8) -> Option<Self> {
        [
            Self::Mounts,
            Self::Ready,
            Self::Go,
            Self::FailedInside,
            Self::FailedExec,
            Self::Pid,
            Self::Fork,
            Self::Unfit,
        ]
        .into_iter()
        .find(|word| *word as u8 == byte)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn failures_survive_the_socket() {
        let (parent, child) = Channel::pair().unwrap();
        let sent =
            Error::Exec { program: "/bin/nö".into(), source: io::Error::from_raw_os_error(libc::ENOENT) };
        child.send_failure(&sent);
        let got = parent.receive().unwrap().and_then(|message| message.failure()).unwrap();
        assert_eq!(got.to_string(), sent.to_string());
        assert_eq!(got.exit_code(), 127);
        drop(child);
        assert!(parent.receive().unwrap().is_none());
    }

    #[test]
    fn a_last_word_is_heard_by_a_sender() {
        let (parent, child) = Channel::pair().unwrap();
        parent.send(Word::Go, &[], &[]).unwrap();
        child.send_failure(&Error::Launch("no".into()));
        drop(child);
        assert!(parent.receive().unwrap().unwrap().failure().is_some());
        assert!(parent.receive().unwrap().is_none());
    }

    #[test]
    fn more_descriptors_than_one_message_holds() {
        let (parent, child) = Channel::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let fds = vec![null.as_fd(); CHUNK + 50];
        parent.send_mounts(&fds).unwrap();
        assert_eq!(child.receive_mounts(CHUNK + 50).unwrap().len(), CHUNK + 50);
        drop(parent);
        assert!(child.receive_mounts(1).is_err());
    }
}
