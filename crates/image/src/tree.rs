//! The tree of one layer while it is made, `staging/NAME/layer/fs`. Every path comes from an archive and is
//! hostile: parents are resolved with `openat2` below the root without following any link, the last
//! component is created, never opened.
//!
//! Directories get their owner, mode, access lists and time at the end: creating entries would change the time, and
//! a set-group-id directory would pass its group on, one with a default access list that.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    self, AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::Error;
use crate::memory::Memory;

/// What an archive says of an entry besides kind and contents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds since the epoch.
    pub mtime: (i64, u32),
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Attributes {
    /// Takes out the extended attributes but the access lists, to be set at once: their values can have 64 KiB each,
    /// and nothing that is made in a directory depends on them.
    pub(crate) fn leave_access_lists(&mut self) -> Self {
        let all = std::mem::take(&mut self.xattrs);
        let (lists, others) = all.into_iter().partition(|(name, _)| is_access_list(name));
        self.xattrs = lists;
        Self { xattrs: others, ..*self }
    }

    /// Bytes of the extended attributes.
    pub(crate) fn held(&self) -> usize {
        self.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// What happens when a path comes twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// It is an error, and so is a missing parent: a layer that we write ourselves.
    Refuse,
    /// The later entry wins, and missing parents are made (root's, 0755): a layer from elsewhere.
    Replace,
}

pub(crate) struct Tree {
    root: OwnedFd,
    path: PathBuf,
    repeats: Repeats,
    /// The directory of the last entry: archives go directory by directory.
    parent: Option<(PathBuf, OwnedFd)>,
    directories: Vec<(PathBuf, Attributes)>,
    /// Names made by hard links: their contents belong to another entry.
    links: HashSet<PathBuf>,
    /// How often the contents of a path were replaced by a later entry; copy n of all lies in shadow/n.
    shadowed: BTreeMap<PathBuf, Vec<u64>>,
    shadows: u64,
    memory: Memory,
    owner: (u32, u32),
    umask: u32,
}

pub(crate) const CONFINED: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

impl Tree {
    /// Makes the root directory `path`/fs.
    pub(crate) fn create(path: &Path, repeats: Repeats) -> Result<Self, Error> {
        let fail = |e: Errno| Error::io("create", path, e);
        fs::mkdir(path, Mode::from_raw_mode(0o700)).map_err(fail)?;
        let fs_path = path.join("fs");
        fs::mkdir(&fs_path, Mode::from_raw_mode(0o777)).map_err(fail)?;
        let root = fs::open(&fs_path, OFlags::RDONLY | DIRECTORY, Mode::empty()).map_err(fail)?;
        // What the new directory lacks is the umask, which nothing else tells without a race.
        let umask = !fs::fstat(&root).map_err(fail)?.st_mode & 0o777;
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let root_attributes = Attributes { mode: 0o755, ..Attributes::default() };
        Ok(Self {
            root,
            path: path.into(),
            repeats,
            parent: None,
            directories: vec![(PathBuf::new(), root_attributes)],
            links: HashSet::new(),
            shadowed: BTreeMap::new(),
            shadows: 0,
            memory: Memory::default(),
            owner,
            umask,
        })
    }

    /// A new file, open for reading and writing; [`Tree::seal`] it after writing.
    pub(crate) fn file(&mut self, path: &Path, mode: u32) -> Result<File, Error> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode & 0o777);
        self.make(path, |parent, name| fs::openat(parent, name, flags, mode)).map(File::from)
    }

    /// Owner, mode, attributes and time of a file just written.
    pub(crate) fn seal(&self, path: &Path, file: &File, attributes: &Attributes) -> Result<(), Error> {
        let fail = |e: Errno| Error::io("write", self.show(path), e);
        let chowned = self.chown(attributes, |uid, gid| fs::fchown(file, uid, gid)).map_err(fail)?;
        // chown clears the set-id bits, so the mode comes after it.
        if chowned || attributes.mode & 0o7000 != 0 || attributes.mode & self.umask != 0 {
            fs::fchmod(file, Mode::from_raw_mode(attributes.mode & 0o7777)).map_err(fail)?;
        }
        set_xattrs(file.as_fd(), attributes).map_err(fail)?;
        fs::futimens(file, &times(attributes)).map_err(fail)
    }

    pub(crate) fn directory(&mut self, path: &Path, mut attributes: Attributes) -> Result<(), Error> {
        if !path.as_os_str().is_empty() {
            let repeats = self.repeats;
            self.make(path, |parent, name| {
                match fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
                    Err(Errno::EXIST) if repeats == Repeats::Replace => match kind_of(parent, name)? {
                        FileType::Directory => Ok(()),
                        // The directory takes the place of the hidden one below, and nothing of it shows.
                        FileType::CharacterDevice => {
                            fs::unlinkat(parent, name, AtFlags::empty())?;
                            fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
                            set_opaque(parent, name)
                        }
                        _ => Err(Errno::EXIST),
                    },
                    done => done,
                }
            })?;
        }
        let now = attributes.leave_access_lists();
        if now.xattrs.keys().any(|name| is_portable(name)) {
            self.open(path)
                .and_then(|dir| set_xattrs(dir.as_fd(), &now))
                .map_err(|errno| Error::io("write", self.show(path), errno))?;
        }
        self.memory.path(path)?;
        self.memory.take(attributes.held())?;
        self.directories.push((path.into(), attributes));
        Ok(())
    }

    pub(crate) fn symlink(&mut self, path: &Path, to: &Path, attributes: &Attributes) -> Result<(), Error> {
        self.make(path, |parent, name| fs::symlinkat(to, parent, name))?;
        self.attributes_at(path, attributes)
    }

    pub(crate) fn fifo(&mut self, path: &Path, attributes: &Attributes) -> Result<(), Error> {
        let mode = Mode::from_raw_mode(attributes.mode & 0o777);
        self.make(path, |parent, name| fs::mknodat(parent, name, FileType::Fifo, mode, 0))?;
        let (parent, name) = self.parent(path)?;
        // Safe although chmodat follows links: the name was just made a fifo by us.
        let mode = Mode::from_raw_mode(attributes.mode & 0o7777);
        fs::chmodat(parent, name, mode, AtFlags::empty())
            .map_err(|e| Error::io("write", self.show(path), e))?;
        self.attributes_at(path, attributes)
    }

    /// A second name for a file made earlier. The target is resolved like any other path of the archive.
    pub(crate) fn hardlink(&mut self, path: &Path, target: &Path) -> Result<(), Error> {
        let missing = |e: Errno| {
            let reason =
                format!("its hard link target {} is not a file of this layer: {e}", target.display());
            Error::entry(path, reason)
        };
        let (dir, target_name) = split(target).ok_or_else(|| missing(Errno::ISDIR))?;
        let dir = self.resolve(dir).map_err(missing)?;
        match kind_of(dir.as_fd(), target_name).map_err(missing)? {
            FileType::RegularFile | FileType::Symlink | FileType::Fifo => {}
            FileType::Directory => return Err(missing(Errno::ISDIR)),
            _ => return Err(missing(Errno::NOENT)),
        }
        // No AtFlags::SYMLINK_FOLLOW: a link to a symbolic link is another name of the link itself.
        self.make(path, |parent, name| fs::linkat(&dir, target_name, parent, name, AtFlags::empty()))?;
        if self.repeats == Repeats::Replace {
            self.memory.path(path)?;
            self.links.insert(path.into());
        }
        Ok(())
    }

    /// Hides what lower layers have at this path. What this layer has there stays, and hides it too.
    pub(crate) fn whiteout(&mut self, path: &Path) -> Result<(), Error> {
        let repeats = self.repeats;
        self.make(path, |parent, name| {
            match fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0) {
                Err(Errno::EXIST) if repeats == Repeats::Replace => match kind_of(parent, name)? {
                    FileType::Directory => set_opaque(parent, name),
                    _ => Ok(()),
                },
                done => done,
            }
        })
    }

    /// Hides all that lower layers have in this directory.
    pub(crate) fn opaque(&mut self, path: &Path) -> Result<(), Error> {
        let dir = match self.resolve(path) {
            Err(Errno::NOENT) if self.repeats == Repeats::Replace => {
                self.implicit(path)?;
                self.resolve(path)
            }
            done => done,
        };
        let set = dir.and_then(|dir| {
            let dir = fs::openat(dir, ".", OFlags::RDONLY | DIRECTORY, Mode::empty())?;
            mark_opaque(&dir)
        });
        set.map_err(|e| self.explain(path, e))
    }

    /// Applies what was kept for the end. Returns which paths' contents lie in `shadow/`.
    pub(crate) fn finish(mut self) -> Result<BTreeMap<PathBuf, Vec<u64>>, Error> {
        for (path, attributes) in std::mem::take(&mut self.directories) {
            let fail = |e: Errno| Error::io("write", self.show(&path), e);
            let dir = self.open(&path).map_err(fail)?;
            self.chown(&attributes, |uid, gid| fs::fchown(&dir, uid, gid)).map_err(fail)?;
            fs::fchmod(&dir, Mode::from_raw_mode(attributes.mode & 0o7777)).map_err(fail)?;
            set_xattrs(dir.as_fd(), &attributes).map_err(fail)?;
            fs::futimens(&dir, &times(&attributes)).map_err(fail)?;
        }
        Ok(self.shadowed)
    }

    /// Where an error message says that `path` lies.
    pub(crate) fn show(&self, path: &Path) -> PathBuf {
        self.path.join("fs").join(path)
    }

    /// Runs `create` in the parent of `path`, and once more when a repeated path was moved away.
    fn make<T>(
        &mut self,
        path: &Path,
        create: impl Fn(BorrowedFd<'_>, &OsStr) -> Result<T, Errno>,
    ) -> Result<T, Error> {
        let (parent, name) = self.parent(path)?;
        match create(parent, name) {
            Err(Errno::EXIST) if self.repeats == Repeats::Replace => self.displace(path)?,
            Err(errno) => return Err(self.explain(path, errno)),
            Ok(made) => return Ok(made),
        }
        let (parent, name) = self.parent(path)?;
        create(parent, name).map_err(|errno| self.explain(path, errno))
    }

    /// The directory an entry goes into, and the entry's last component.
    fn parent<'p>(&mut self, path: &'p Path) -> Result<(BorrowedFd<'_>, &'p OsStr), Error> {
        let (dir, name) =
            split(path).ok_or_else(|| Error::entry(path, "the layer's root can only be a directory"))?;
        if self.parent.as_ref().is_none_or(|(cached, _)| cached != dir) {
            let fd = match self.resolve(dir) {
                Err(Errno::NOENT) if self.repeats == Repeats::Replace => {
                    self.implicit(dir)?;
                    self.resolve(dir)
                }
                done => done,
            };
            let fd = fd.map_err(|errno| match errno {
                Errno::NOENT => Error::entry(path, "its directory did not come before it"),
                errno => self.explain(path, errno),
            })?;
            self.parent = Some((dir.into(), fd));
        }
        match &self.parent {
            Some((_, fd)) => Ok((fd.as_fd(), name)),
            None => Ok((self.root.as_fd(), name)),
        }
    }

    fn resolve(&self, dir: &Path) -> Result<OwnedFd, Errno> {
        self.open_with(dir, OFlags::PATH)
    }

    /// A directory, to change its attributes.
    fn open(&self, dir: &Path) -> Result<OwnedFd, Errno> {
        self.open_with(dir, OFlags::RDONLY)
    }

    fn open_with(&self, dir: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        fs::openat2(&self.root, dir, flags | DIRECTORY, Mode::empty(), CONFINED)
    }

    /// Makes the directories that an archive left out.
    fn implicit(&mut self, dir: &Path) -> Result<(), Error> {
        let mut ancestors: Vec<&Path> =
            dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty()).collect();
        ancestors.reverse();
        for ancestor in ancestors {
            if self.resolve(ancestor).is_err_and(|errno| errno == Errno::NOENT) {
                self.directory(ancestor, Attributes { mode: 0o755, ..Attributes::default() })?;
            }
        }
        Ok(())
    }

    /// Clears a path that a later entry takes; contents that the headers refer to move to `shadow/`.
    fn displace(&mut self, path: &Path) -> Result<(), Error> {
        let linked = self.links.remove(path);
        let shadow = self.path.join("shadow");
        let number = self.shadows;
        let (parent, name) = self.parent(path)?;
        let stat = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| Error::io("read", shadow.join(path), e))?;
        let moved = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                return Err(Error::entry(path, "it replaces a directory of the same layer"));
            }
            FileType::RegularFile if stat.st_size > 0 && !linked => if number == 0 {
                fs::mkdir(&shadow, Mode::from_raw_mode(0o700)).map(|()| true)
            } else {
                Ok(true)
            }
            .and_then(|_| fs::renameat(parent, name, CWD, shadow.join(number.to_string())))
            .map(|()| true),
            _ => fs::unlinkat(parent, name, AtFlags::empty()).map(|()| false),
        };
        if moved.map_err(|e| Error::io("move", self.show(path), e))? {
            self.memory.path(path)?;
            self.shadowed.entry(path.into()).or_default().push(number);
            self.shadows += 1;
        }
        Ok(())
    }

    /// Owner and time of what cannot be opened.
    fn attributes_at(&mut self, path: &Path, attributes: &Attributes) -> Result<(), Error> {
        let owner = self.owner;
        let (parent, name) = self.parent(path)?;
        let chown = |uid, gid| fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        chown_as(owner, attributes, chown)
            .and_then(|_| fs::utimensat(parent, name, &times(attributes), AtFlags::SYMLINK_NOFOLLOW))
            .map_err(|e| Error::io("write", self.show(path), e))
    }

    fn chown(
        &self,
        attributes: &Attributes,
        chown: impl Fn(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
    ) -> Result<bool, Errno> {
        chown_as(self.owner, attributes, chown)
    }

    /// The kernel's refusal in terms of the archive, where the archive is to blame.
    fn explain(&self, path: &Path, errno: Errno) -> Error {
        let reason = match errno {
            Errno::EXIST => "the path comes twice",
            Errno::LOOP | Errno::NOTDIR => "part of its path is a symbolic link or a file of the same layer",
            Errno::XDEV => "its path leads out of the layer",
            Errno::NAMETOOLONG => "a name is longer than 255 bytes or the path longer than 4095",
            Errno::NOENT => "its path names nothing that came before",
            errno => return Error::io("create", self.show(path), errno),
        };
        Error::entry(path, reason)
    }
}

/// Directory and last component; none for the root itself.
pub(crate) fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

pub(crate) fn kind_of(parent: BorrowedFd<'_>, name: &OsStr) -> Result<FileType, Errno> {
    fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode))
}

fn set_opaque(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let dir = fs::openat(parent, name, OFlags::RDONLY | DIRECTORY, Mode::empty())?;
    mark_opaque(&dir)
}

/// An ordinary user's overlays are mounted with userxattr, and have their marks where the user may write them.
fn mark_opaque(dir: &OwnedFd) -> Result<(), Errno> {
    match fs::fsetxattr(dir, "trusted.overlay.opaque", b"y", XattrFlags::empty()) {
        Err(Errno::PERM) => fs::fsetxattr(dir, "user.overlay.opaque", b"y", XattrFlags::empty()),
        done => done,
    }
}

/// New files belong to this process already; most layers are root's, so most calls are saved.
fn chown_as(
    owner: (u32, u32),
    attributes: &Attributes,
    chown: impl Fn(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    if owner == (attributes.uid, attributes.gid) {
        return Ok(false);
    }
    match chown(Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid))) {
        // No such id in this user namespace (chown(2)); EOVERFLOW is told in words where it is met.
        Err(Errno::INVAL) => Err(Errno::OVERFLOW),
        done => done.map(|()| true),
    }
}

/// Only attributes that mean the same on any host and that overlayfs does not take for its own; the
/// others live on in the headers.
pub(crate) fn set_xattrs(file: BorrowedFd<'_>, attributes: &Attributes) -> Result<(), Errno> {
    for (name, value) in attributes.xattrs.iter().filter(|(name, _)| is_portable(name)) {
        fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty())?;
    }
    Ok(())
}

/// Whether an extended attribute means the same on any host, and nothing to overlayfs.
pub(crate) fn is_portable(name: &str) -> bool {
    name == "security.capability"
        || is_access_list(name)
        || (name.starts_with("user.") && !name.starts_with("user.overlay."))
}

/// Whether it is a list of POSIX.1e, which names users and groups (acl(5)).
pub(crate) fn is_access_list(name: &str) -> bool {
    name.starts_with("system.posix_acl_")
}

pub(crate) fn times(attributes: &Attributes) -> Timestamps {
    let time = Timespec { tv_sec: attributes.mtime.0, tv_nsec: i64::from(attributes.mtime.1) as _ };
    Timestamps { last_access: time, last_modification: time }
}
