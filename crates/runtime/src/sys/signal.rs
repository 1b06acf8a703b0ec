//! Signals as a descriptor to poll, and the descriptors that came through execve.

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, RawFd};

use corral_spec::Signal;

use super::bundle::close_all_but;

/// Signals of this process, read from a descriptor instead of interrupting it: signalfd(2). While it
/// exists they are blocked in the calling thread; dropped, the earlier mask is back, and what is still
/// pending is delivered as usual. Not for programs that execute others meanwhile: the mask is inherited.
#[derive(Debug)]
pub struct SignalFd {
    file: File,
    before: libc::sigset_t,
}

impl SignalFd {
    /// Blocks these signals in the calling thread and makes the descriptor (non-blocking, close-on-exec).
    ///
    /// # Errors
    /// EMFILE, ENFILE or ENOMEM of signalfd(2); the mask is unchanged then.
    pub fn new(signals: impl IntoIterator<Item = Signal>) -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the whole set that it is given.
        let mut set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            set.assume_init()
        };
        for signal in signals {
            // SAFETY: the set is initialised; a number out of range is answered by an error, not by a write.
            unsafe { libc::sigaddset(&raw mut set, signal.number()) };
        }
        // SAFETY: -1 asks for a new descriptor; the set is initialised.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor to us alone.
        let file = unsafe { File::from_raw_fd(fd) };
        let mut before = set;
        // SAFETY: both sets are initialised and outlive the call.
        let failed = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before) };
        if failed != 0 { Err(io::Error::from_raw_os_error(failed)) } else { Ok(Self { file, before }) }
    }

    /// The next pending signal, or none for now.
    ///
    /// # Errors
    /// EIO and the like of read(2).
    pub fn take(&self) -> io::Result<Option<Signal>> {
        let mut record = [0; size_of::<libc::signalfd_siginfo>()];
        match (&self.file).read(&mut record) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        let [n0, n1, n2, n3, ..] = record;
        // ssi_signo is the record's first field, a u32.
        let number = u32::from_ne_bytes([n0, n1, n2, n3]);
        i32::try_from(number)
            .ok()
            .and_then(|number| Signal::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for SignalFd {
    fn drop(&mut self) {
        // SAFETY: `before` is the initialised mask of this thread; no old mask is asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

/// Closes every descriptor from `first` on but `kept`: what a careless caller left open does not reach a container then.
///
/// Call it once, first thing in the program, before anything owns a descriptor from `first` on: those are
/// closed under their owners' feet otherwise.
///
/// # Errors
/// EINVAL for a negative number; ENOSYS before Linux 5.9.
pub fn close_inherited(first: RawFd, kept: Option<BorrowedFd<'_>>) -> io::Result<()> {
    if first < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    close_all_but(first, kept.map_or(first - 1, |kept| kept.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_not_delivered() {
        let usr1: Signal = "USR1".parse().unwrap();
        let signals = SignalFd::new([usr1]).unwrap();
        assert_eq!(signals.take().unwrap(), None);
        // SAFETY: raises a signal that this thread has just blocked.
        unsafe { libc::pthread_kill(libc::pthread_self(), usr1.number()) };
        assert_eq!(signals.take().unwrap(), Some(usr1));
        assert_eq!(signals.take().unwrap(), None);
    }
}
