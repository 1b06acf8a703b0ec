//! Our own end: the terminal's mode and size, and standard streams that are written without blocking.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use crate::Error;

/// Standard input's terminal in raw mode; as before once this is dropped.
#[derive(Debug)]
pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Sets raw mode; none if standard input is no terminal.
    ///
    /// # Errors
    /// [`Error::Terminal`].
    pub fn enter() -> Result<Option<Self>, Error> {
        if !isatty(stdin()) {
            return Ok(None);
        }
        let before = tcgetattr(stdin()).map_err(fail("read the mode of"))?;
        let terminal = Self { before };
        terminal.again()?;
        Ok(Some(terminal))
    }

    /// Sets it again: a shell that stopped and continued us has set its own mode in between.
    ///
    /// # Errors
    /// [`Error::Terminal`].
    pub fn again(&self) -> Result<(), Error> {
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).map_err(fail("set the mode of"))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that hung up has no mode to be restored, and there is nobody to be told.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.before);
    }
}

fn fail(act: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Terminal { act, source: errno.into() }
}

/// Lines and columns of our terminal, if it has a size.
pub fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin())).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// A standard stream to write to.
///
/// A slow reader must block neither our reading of signals nor of keys, and `O_NONBLOCK` on a descriptor that we
/// share with the shell would break the shell. A pipe or terminal is therefore opened once more, with flags of
/// its own; where that is refused, pieces are written that fit once poll(2) says that there is room.
#[derive(Debug)]
pub struct Output {
    own: Option<OwnedFd>,
    shared: BorrowedFd<'static>,
    piece: usize,
}

impl Output {
    /// Of standard output or error.
    pub fn new(shared: BorrowedFd<'static>) -> Self {
        let kind = rustix::fs::fstat(shared).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if matches!(kind, Ok(FileType::RegularFile)) {
            return Self { own: None, shared, piece: usize::MAX };
        }
        let path = format!("/proc/self/fd/{}", shared.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(own) => Self { own: Some(own), shared, piece: usize::MAX },
            Err(_) => Self { own: None, shared, piece: 4096 },
        }
    }

    /// Writes what fits now; `WouldBlock` if nothing does. Only after poll(2) said that there is room.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(self.piece)];
        Ok(rustix::io::retry_on_intr(|| rustix::io::write(self, piece))?)
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.as_ref().map_or(self.shared, AsFd::as_fd)
    }
}
