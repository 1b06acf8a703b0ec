//! The standard streams of a process: given descriptors, or a terminal of the container's own devpts.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use corral_spec::record::Process;
use rustix::fs::{CWD, Gid, Mode, OFlags, ResolveFlags, Uid, fchown, fstatfs, openat, openat2};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::sys::keep_open;
use crate::{Error, Io};

/// statfs(2): DEVPTS_SUPER_MAGIC.
const DEVPTS_MAGIC: u64 = 0x1cd1;

/// Both sides of a pseudo-terminal.
pub(crate) struct Terminal {
    /// For the caller.
    pub(crate) master: OwnedFd,
    /// For the process.
    pub(crate) slave: OwnedFd,
}

impl Terminal {
    /// A new terminal of the devpts mount at `devpts`, owned by `uid` inside.
    pub(crate) fn open(devpts: BorrowedFd<'_>, uid: u32) -> Result<Self, Error> {
        let fail = |errno: Errno| Error::inside("open a terminal in the container", errno);
        if fstatfs(devpts).map_err(fail)?.f_type as u64 != DEVPTS_MAGIC {
            return Err(fail(Errno::NODEV));
        }
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let master = openat(devpts, "ptmx", flags, Mode::empty()).map_err(fail)?;
        unlockpt(&master).map_err(fail)?;
        // By the master, not by a path: a path could have been replaced (CVE-2025-52565).
        let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, peer).map_err(fail)?;
        fchown(&slave, Some(Uid::from_raw(uid)), None::<Gid>).map_err(fail)?;
        Ok(Self { master, slave })
    }

    /// The devpts mount of the container that this process has joined.
    pub(crate) fn find_devpts() -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        openat2(CWD, "/dev/pts", flags, Mode::empty(), resolve)
            .map_err(|errno| Error::inside("find /dev/pts in the container", errno))
    }
}

/// Starts a session and puts descriptors 0, 1 and 2 in place.
pub(crate) fn take_streams(io: &Io, terminal: Option<&Terminal>) -> Result<(), Error> {
    let fail = |errno: Errno| Error::inside("put the standard streams in place", errno);
    // It fails only if this process leads a session already.
    setsid().map_err(fail)?;
    match (io, terminal) {
        (Io::Pipes { stdin, stdout, stderr }, _) => {
            let [stdin, stdout, stderr] = [stdin, stdout, stderr].map(|fd| above_streams(fd.as_fd()));
            install([stdin.map_err(fail)?, stdout.map_err(fail)?, stderr.map_err(fail)?])
        }
        (Io::Terminal, Some(Terminal { slave, .. })) => {
            ioctl_tiocsctty(slave)
                .map_err(|errno| Error::inside("make the terminal the controlling one", errno))?;
            install([above_streams(slave.as_fd()).map_err(fail)?; 3])
        }
        (Io::Terminal, None) => Err(Error::Launch("a terminal was not opened".to_owned())),
    }
}

/// Lets a process that is not root reopen its pipes through /dev/stdout: they belong to whoever made them
/// otherwise. Only pipes; a file or a terminal of the host keeps its owner.
pub(crate) fn give_pipes(io: &Io, process: &Process, (uid, gid): (u32, u32)) -> Result<(), Error> {
    let Io::Pipes { stdin, stdout, stderr } = io else { return Ok(()) };
    // Closed standard input is /dev/null.
    for fd in process.stdin.then_some(stdin).into_iter().chain([stdout, stderr]) {
        let fail = |errno: Errno| Error::inside("give a pipe to the container's user", errno);
        let stat = rustix::fs::fstat(fd).map_err(fail)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo {
            fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(fail)?;
        }
    }
    Ok(())
}

/// The descriptor, or a copy numbered 3 or more, so that putting one stream in place does not overwrite
/// another.
fn above_streams(fd: BorrowedFd<'_>) -> Result<BorrowedFd<'_>, Errno> {
    if fd.as_raw_fd() > 2 { Ok(fd) } else { fcntl_dupfd_cloexec(fd, 3).map(keep_open) }
}

fn install([stdin, stdout, stderr]: [BorrowedFd<'_>; 3]) -> Result<(), Error> {
    dup2_stdin(stdin)
        .and_then(|()| dup2_stdout(stdout))
        .and_then(|()| dup2_stderr(stderr))
        .map_err(|errno| Error::inside("put the standard streams in place", errno))
}
