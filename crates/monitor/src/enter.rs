//! From a fresh process to one that is fit to be a container's parent.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::stdio::{stdin, stdout};

use crate::records::Directory;
use crate::{Error, LOCK, SOCKET};

/// How often a lock that somebody holds is tried again, a millisecond apart: who only asks whether a monitor
/// lives holds it for a moment.
const LOCK_TRIES: u32 = 50;
/// The first descriptor that is not a standard stream.
const FIRST: i32 = 3;

fn setup(act: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Setup { act, source: errno.into() }
}

/// What the command that started us passed on.
pub struct Inherited {
    /// The initial client.
    pub client: Option<OwnedFd>,
    /// Standard output: perhaps the lock.
    pub lock: OwnedFd,
}

/// Takes over the standard streams that mean something, and closes everything else but `kept`.
pub fn inherited(kept: Option<BorrowedFd<'_>>) -> io::Result<Inherited> {
    corral_runtime::signal::close_inherited(FIRST, kept)?;
    let is_socket = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
    let client = rustix::fs::fstat(stdin())
        .is_ok_and(is_socket)
        .then(|| fcntl_dupfd_cloexec(stdin(), FIRST))
        .transpose()?;
    Ok(Inherited { client, lock: fcntl_dupfd_cloexec(stdout(), FIRST)? })
}

/// Leaves the caller's session, directory, umask and streams.
pub fn leave_caller() -> Result<(), Error> {
    match rustix::process::setsid() {
        Ok(_) => {}
        // It leads a session already: what was to be reached.
        Err(Errno::PERM) if rustix::process::getsid(None) == Ok(rustix::process::getpid()) => {}
        Err(errno) => return Err(setup("start a session")(errno)),
    }
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    rustix::process::chdir("/").map_err(setup("change to /"))?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(setup("open /dev/null"))?;
    rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| rustix::stdio::dup2_stderr(&null))
        .map_err(setup("leave the standard streams"))
}

/// A directory by descriptor: whoever renames a parent of it does not redirect us.
pub fn directory(path: &Path) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::file("open", path)(errno.into()))
}

/// Takes the lock that says that this container has a monitor; `held` may be it.
pub fn lock(run_dir: &Path, directory: impl AsFd, held: OwnedFd) -> Result<File, Error> {
    let path = run_dir.join(LOCK);
    let fail = |act| Error::file(act, &path);
    let identity = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
    // Writable, so that its closing is an event for those who watch it (IN_CLOSE_WRITE).
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let open = || -> io::Result<OwnedFd> {
        let file = rustix::fs::openat(directory, LOCK, flags, Mode::RUSR | Mode::WUSR)?;
        let same = identity(rustix::fs::fstat(&file)?) == identity(rustix::fs::fstat(&held)?);
        Ok(if same { held } else { file })
    };
    let file = open().map_err(fail("open"))?;
    for _ in 0..LOCK_TRIES {
        // No wait and no effect on a lock that was passed on.
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file.into()),
            Err(Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
            Err(errno) => return Err(fail("lock")(errno.into())),
        }
    }
    Err(Error::Locked(run_dir.to_owned()))
}

/// Listens for clients.
pub fn listen(run_dir: &Directory) -> Result<OwnedFd, Error> {
    listen_at(run_dir, SOCKET, SocketType::STREAM)
}

/// Listens at a name in the run directory. The socket has mode 0600 from its first moment.
pub fn listen_at(run_dir: &Directory, name: &str, kind: SocketType) -> Result<OwnedFd, Error> {
    let directory = &run_dir.fd;
    let path = run_dir.path.join(name);
    let fail = |errno: Errno| Error::file("listen at", &path)(io::Error::from(errno));
    // By descriptor, because a socket address has room for 107 bytes only.
    let address = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    let address = SocketAddrUnix::new(address).map_err(fail)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).map_err(fail)?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(fail)?;
    match rustix::net::bind(&socket, &address) {
        // Left by a monitor that was killed: the lock is ours, so nobody listens there.
        Err(Errno::ADDRINUSE) => rustix::fs::unlinkat(directory, name, rustix::fs::AtFlags::empty())
            .and_then(|()| rustix::net::bind(&socket, &address)),
        other => other,
    }
    .and_then(|()| rustix::net::listen(&socket, 16))
    .map_err(fail)?;
    corral_fault::step!(Listening);
    Ok(socket)
}
