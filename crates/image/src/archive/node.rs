use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;

/// How often something may turn into something else between two looks at it.
const PATIENCE: u32 = 100;

/// Something in a directory, open as what it is: nobody can put another thing in its place any more.
#[derive(Debug)]
pub struct Found {
    pub(crate) node: Node,
    pub(crate) stat: Stat,
}

#[derive(Debug)]
pub(crate) enum Node {
    Directory(OwnedFd),
    File(File),
    Symlink(PathBuf),
    Fifo,
    /// overlayfs' mark of a deletion.
    Whiteout,
    /// A socket or a device.
    Other,
}

const PATH: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
// A pipe must not keep us waiting for its writer, should one be swapped in.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

impl Found {
    /// Opens the entry `name` of a directory; a link is not followed.
    ///
    /// # Errors
    /// The kernel's; EAGAIN for something that never stays what it is.
    pub fn at(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Self, Errno> {
        Self::by(|flags| openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty()))
    }

    /// Opens what `open` looks up, which is asked several times and may answer differently.
    ///
    /// # Errors
    /// As [`Found::at`].
    pub fn by(open: impl Fn(OFlags) -> Result<OwnedFd, Errno>) -> Result<Self, Errno> {
        for _ in 0..PATIENCE {
            let place = open(PATH)?;
            let stat = fstat(&place)?;
            let node = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    Node::Directory(openat(&place, ".", flags, Mode::empty())?)
                }
                FileType::Symlink => {
                    let target = readlinkat(&place, "", Vec::new())?;
                    Node::Symlink(OsString::from_vec(target.into_bytes()).into())
                }
                FileType::RegularFile => match open(READ) {
                    Ok(file) => {
                        let opened = fstat(&file)?;
                        if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
                            continue;
                        }
                        // Its size may have changed meanwhile.
                        return Ok(Self { node: Node::File(file.into()), stat: opened });
                    }
                    Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => continue,
                    Err(errno) => return Err(errno),
                },
                FileType::Fifo => Node::Fifo,
                FileType::CharacterDevice if stat.st_rdev == 0 => Node::Whiteout,
                _ => Node::Other,
            };
            return Ok(Self { node, stat });
        }
        Err(Errno::AGAIN)
    }

    /// Whether an archive of files can have it: it is no socket and no device.
    pub fn is_copyable(&self) -> bool {
        !matches!(self.node, Node::Other | Node::Whiteout)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.node, Node::Directory(_))
    }
}

/// Whether this is overlayfs' mark of a deletion.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}
