use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, chownat, fchmod, fchown, fstat, futimens,
    linkat, mkdirat, mknodat, openat, openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::memory::Memory;
use crate::sparse::SparseFile;
use crate::tree::{Attributes, is_access_list, kind_of, set_xattrs, split, times};
use crate::writer::attributes;
use crate::{EntryHead, EntryKind, Error, Sink};

/// Whose the written files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// The user and group that each entry names, with what that gives them: set-id bits and file capabilities.
    Keep,
    /// This user and group; set-id bits and file capabilities are kept too.
    One(u32, u32),
    /// This user and group, without set-id bits, file capabilities and access lists: what comes from a container shall
    /// not be a program that runs with its new owner's rights, nor open to whoever has one of its ids here.
    Plain(u32, u32),
}

/// Writes entries below a directory that may hold things already. A file replaces a file, a directory joins a
/// directory, and neither takes the other's place. Nothing is written through a link.
pub struct TreeWriter {
    root: OwnedFd,
    owners: Owners,
    /// Written directories and what they become at the end.
    directories: Vec<(PathBuf, Attributes)>,
    memory: Memory,
}

/// Mounts are crossed: a container's volumes lie in its tree.
const BELOW: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
/// How often somebody else may put something in the place of what is written.
const PATIENCE: u32 = 100;

impl TreeWriter {
    /// Below `root`, whose own attributes stay as they are.
    pub fn new(root: OwnedFd, owners: Owners) -> Self {
        Self { root, owners, directories: Vec::new(), memory: Memory::default() }
    }

    /// Gives the directories their owners, modes and times, which writing into them would have changed.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn finish(self) -> Result<(), Error> {
        for (path, attributes) in self.directories.iter().rev() {
            let fail = |errno: Errno| explain("write", path, errno);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir: File = self.open(path, flags).map_err(fail)?.into();
            self.seal(&dir, attributes).map_err(fail)?;
        }
        Ok(())
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        loop {
            match openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), BELOW) {
                // A rename raced with the look-up (openat2(2)).
                Err(Errno::AGAIN) => {}
                done => return done,
            }
        }
    }

    /// The directory that an entry goes into; one that the archive left out is made.
    fn parent(&self, path: &Path) -> Result<OwnedFd, Errno> {
        const DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
        match self.open(path, DIR) {
            Err(Errno::NOENT) => {
                let (above, name) = split(path).ok_or(Errno::NOENT)?;
                let above = self.parent(above)?;
                match mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) => self.own(above.as_fd(), name)?,
                    Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno),
                }
                self.open(path, DIR)
            }
            opened => opened,
        }
    }

    /// A directory of nobody's in particular.
    fn own(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
        let (uid, gid) = match self.owners {
            Owners::Keep => (0, 0),
            Owners::One(uid, gid) | Owners::Plain(uid, gid) => (uid, gid),
        };
        chownat(dir, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// What an entry becomes here.
    fn wanted(&self, head: &EntryHead) -> Attributes {
        let mut wanted = attributes(head);
        match self.owners {
            Owners::Keep => {}
            Owners::One(uid, gid) => (wanted.uid, wanted.gid) = (uid, gid),
            Owners::Plain(uid, gid) => {
                (wanted.uid, wanted.gid) = (uid, gid);
                wanted.mode &= 0o1777;
                wanted.xattrs.retain(|name, _| name != "security.capability" && !is_access_list(name));
            }
        }
        wanted
    }

    /// Owner, mode, attributes and time of something open.
    fn seal(&self, file: &File, wanted: &Attributes) -> Result<(), Errno> {
        let stat = fstat(file)?;
        if (stat.st_uid, stat.st_gid) != (wanted.uid, wanted.gid) {
            fchown(file, Some(Uid::from_raw(wanted.uid)), Some(Gid::from_raw(wanted.gid)))?;
        }
        // chown clears the set-id bits, so the mode comes after it.
        fchmod(file, Mode::from_raw_mode(wanted.mode & 0o7777))?;
        attribute(file.as_fd(), wanted)?;
        futimens(file, &times(wanted))
    }

    /// Owner and time of what cannot be opened.
    fn seal_at(&self, dir: BorrowedFd<'_>, name: &OsStr, head: &EntryHead) -> Result<(), Errno> {
        let wanted = self.wanted(head);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        chownat(dir, name, Some(Uid::from_raw(wanted.uid)), Some(Gid::from_raw(wanted.gid)), flags)?;
        utimensat(dir, name, &times(&wanted), flags)
    }

    /// Runs `make`, which fails with EEXIST where something is, and clears the place between its attempts.
    fn make<T>(
        &self,
        (dir, name): (BorrowedFd<'_>, &OsStr),
        path: &Path,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> Result<T, Errno>,
    ) -> Result<T, Error> {
        for _ in 0..PATIENCE {
            match make(dir, name) {
                Err(Errno::EXIST) => match unlink(dir, name) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(Errno::NODEV) => {
                        return Err(Error::place(path, "a device or a socket is there: it is not replaced"));
                    }
                    Err(Errno::ISDIR) => {
                        return Err(Error::place(path, "cannot overwrite a directory with a non-directory"));
                    }
                    Err(Errno::BUSY) => {
                        return Err(Error::place(path, "something is mounted there: it cannot be replaced"));
                    }
                    Err(errno) => return Err(explain("replace", path, errno)),
                },
                done => return done.map_err(|errno| explain("create", path, errno)),
            }
        }
        Err(Error::place(path, "somebody else keeps writing there"))
    }

    fn directory(&mut self, (dir, name): (BorrowedFd<'_>, &OsStr), head: &EntryHead) -> Result<(), Error> {
        match mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => match kind_of(dir, name) {
                Ok(FileType::Directory) => {}
                Ok(_) => {
                    return Err(Error::place(
                        &head.path,
                        "cannot overwrite a non-directory with a directory",
                    ));
                }
                Err(errno) => return Err(explain("read", &head.path, errno)),
            },
            Err(errno) => return Err(explain("create", &head.path, errno)),
        }
        let mut wanted = self.wanted(head);
        let now = wanted.leave_access_lists();
        if !now.xattrs.is_empty() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(dir, name, flags, Mode::empty())
                .and_then(|made| attribute(made.as_fd(), &now))
                .map_err(|errno| explain("write", &head.path, errno))?;
        }
        self.memory.path(&head.path)?;
        self.memory.take(wanted.held())?;
        self.directories.push((head.path.clone(), wanted));
        Ok(())
    }

    fn file(
        &self,
        place: (BorrowedFd<'_>, &OsStr),
        head: &EntryHead,
        size: u64,
        contents: &mut dyn Read,
    ) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: File = self
            .make(place, &head.path, |dir, name| openat(dir, name, flags, Mode::from_raw_mode(0o600)))?
            .into();
        let written = fill(&file, head, size, contents).and_then(|()| {
            self.seal(&file, &self.wanted(head)).map_err(|errno| explain("write", &head.path, errno))
        });
        if written.is_err() {
            discard(place, &file);
        }
        written
    }

    fn hardlink(
        &self,
        place: (BorrowedFd<'_>, &OsStr),
        head: &EntryHead,
        target: &Path,
    ) -> Result<(), Error> {
        let missing = |errno: Errno| {
            Error::place(
                &head.path,
                format!("its hard link target {} is not there: {errno}", target.display()),
            )
        };
        let (dir, name) = split(target).ok_or_else(|| missing(Errno::ISDIR))?;
        let dir = self.open(dir, OFlags::PATH | OFlags::DIRECTORY).map_err(missing)?;
        match kind_of(dir.as_fd(), name).map_err(missing)? {
            FileType::RegularFile | FileType::Symlink | FileType::Fifo => {}
            _ => return Err(missing(Errno::ISDIR)),
        }
        // No AtFlags::SYMLINK_FOLLOW: a link to a symbolic link is another name of the link itself.
        self.make(place, &head.path, |at, new| linkat(&dir, name, at, new, AtFlags::empty()))
    }
}

impl Sink for TreeWriter {
    fn put(&mut self, head: &EntryHead, contents: &mut dyn Read) -> Result<(), Error> {
        let path = &head.path;
        let Some((parent, name)) = split(path) else {
            // The directory itself, which stays as it is.
            return Ok(());
        };
        let parent = self.parent(parent).map_err(|errno| explain("enter the directory of", path, errno))?;
        let place = (parent.as_fd(), name);
        let mode = Mode::from_raw_mode(head.mode & 0o777);
        match &head.kind {
            EntryKind::File { size } => self.file(place, head, *size, contents),
            EntryKind::Directory => self.directory(place, head),
            EntryKind::Symlink { target } => {
                self.make(place, path, |dir, name| symlinkat(target, dir, name))?;
                self.seal_at(place.0, name, head).map_err(|errno| explain("write", path, errno))
            }
            EntryKind::Hardlink { target } => self.hardlink(place, head, target),
            EntryKind::Fifo => {
                self.make(place, path, |dir, name| mknodat(dir, name, FileType::Fifo, mode, 0))?;
                self.seal_at(place.0, name, head).map_err(|errno| explain("write", path, errno))
            }
            EntryKind::Whiteout | EntryKind::Opaque => {
                Err(Error::place(path, "a deletion mark, which means something in layers only"))
            }
        }
    }
}

/// Extended attributes, but on a file system without them.
fn attribute(file: BorrowedFd<'_>, wanted: &Attributes) -> Result<(), Errno> {
    match set_xattrs(file, wanted) {
        Err(Errno::OPNOTSUPP) => Ok(()),
        done => done,
    }
}

fn fill(file: &File, head: &EntryHead, size: u64, contents: &mut dyn Read) -> Result<(), Error> {
    let fail = |error: std::io::Error| match Errno::from_io_error(&error) {
        Some(errno) => explain("write", &head.path, errno),
        None => Error::io("write", &head.path, error),
    };
    let mut buffer = vec![0; size.clamp(1, 128 << 10) as usize];
    let mut sparse = SparseFile::new(file);
    let mut left = size;
    while left > 0 {
        let want = left.min(buffer.len() as u64) as usize;
        let got = match contents.read(&mut buffer[..want]) {
            Ok(0) => {
                return Err(Error::place(&head.path, format!("its contents end {left} bytes early")));
            }
            Ok(got) => got,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let read = |error| Error::io("read the contents of", &head.path, error);
                return Err(error.downcast().unwrap_or_else(read));
            }
        };
        sparse.write(&buffer[..got]).map_err(fail)?;
        left -= got as u64;
    }
    sparse.finish().map_err(fail)
}

/// Removes a file that could not be finished, unless somebody else has put something in its place. What kept it from
/// being finished is told, and says more than what might come of this.
fn discard((dir, name): (BorrowedFd<'_>, &OsStr), file: &File) {
    let same = |file: Stat, there: Stat| (file.st_dev, file.st_ino) == (there.st_dev, there.st_ino);
    if let (Ok(file), Ok(there)) = (fstat(file), statat(dir, name, AtFlags::SYMLINK_NOFOLLOW))
        && same(file, there)
    {
        let _ = unlinkat(dir, name, AtFlags::empty());
    }
}

/// Makes room for a file; ENODEV for what no copy could bring back.
fn unlink(dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    match kind_of(dir, name)? {
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Socket => Err(Errno::NODEV),
        _ => unlinkat(dir, name, AtFlags::empty()),
    }
}

/// The kernel's refusal in terms of who typed the command.
fn explain(act: &'static str, path: &Path, errno: Errno) -> Error {
    let reason = match errno {
        Errno::NOSPC | Errno::DQUOT => return Error::full(path),
        Errno::LOOP | Errno::NOTDIR => "part of its path is a link or a file at the destination",
        Errno::XDEV => "its path leads out of the destination",
        Errno::INVAL | Errno::OVERFLOW => "its owner is outside of the ids that can be stored there",
        Errno::NAMETOOLONG => "a name is longer than 255 bytes or the path longer than 4095",
        errno => return Error::io(act, path, errno),
    };
    Error::place(path, reason)
}
