use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{RawDir, SeekFrom, Stat, fgetxattr, flistxattr, seek};
use rustix::io::Errno;

use super::node::{Found, Node};
use super::union::is_bare;
use crate::lookup::is_opaque_upper;
use crate::memory::Memory;
use crate::tree::is_portable;
use crate::{EntryHead, EntryKind, Error, Sink, UnpackLimits};

/// Directories are entered this deep, each at the cost of a descriptor; a path of Linux can be 2,047 deep.
const DEPTH: usize = 800;
/// As many entries as a layer may have.
const ENTRIES: usize = 4_000_000;
/// The kernel's bound for a value and for a list of names.
const XATTR: usize = 64 << 10;
/// All attributes of a file: a header of an archive has no room for more.
const XATTRS: usize = 1000 << 10;

/// Hands the files below a directory to a sink, in the order of their names. Sockets and devices are left out, as
/// archives of files have no use for them.
pub struct Walk<'s> {
    sink: &'s mut dyn Sink,
    /// First path of each file with several names.
    links: HashMap<(u64, u64), PathBuf>,
    upper: Option<Upper>,
    memory: Memory,
    entries: usize,
    bytes: u64,
    left_out: u64,
}

/// How to read a container's writable layer (the upper directory of an overlay).
#[derive(Clone, Debug, Default)]
pub struct Upper {
    /// First host id of the container's range, if its ids are shifted, and how many there are.
    pub ids: Option<(u32, u32)>,
    /// Whether overlayfs was mounted with userxattr.
    pub user_marks: bool,
    /// Where the engine mounts something: relative paths.
    pub mount_points: BTreeSet<PathBuf>,
    /// The layers of its image, topmost first.
    pub lowers: Vec<PathBuf>,
}

impl Upper {
    /// Whether this is what the engine made to mount something on, untouched. A container that replaces a link of its
    /// image, or renames a directory above, has that path for itself; what it puts there is a change like any other.
    pub(crate) fn is_mount_point(&self, found: &Found, path: &Path) -> Result<bool, Error> {
        if !self.mount_points.contains(path) {
            return Ok(false);
        }
        let untouched = match (&found.node, found.stat.st_mode & 0o7777) {
            (Node::File(_), 0o644) => found.stat.st_size == 0,
            (Node::Directory(dir), 0o755) => is_empty(dir).map_err(|errno| Error::io("read", path, errno))?,
            _ => false,
        };
        Ok(untouched && is_bare(&self.lowers, path)?)
    }
}

impl<'s> Walk<'s> {
    /// Of any directory.
    pub fn new(sink: &'s mut dyn Sink) -> Self {
        Self {
            sink,
            links: HashMap::new(),
            upper: None,
            memory: Memory::default(),
            entries: 0,
            bytes: 0,
            left_out: 0,
        }
    }

    /// Of a writable layer: deletions become whiteouts, ids those of the container.
    pub fn of_upper(sink: &'s mut dyn Sink, upper: Upper) -> Self {
        Self { upper: Some(upper), ..Self::new(sink) }
    }

    /// How many sockets and devices were left out.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Walks what was found, which is told as `path`, and all below.
    ///
    /// # Errors
    /// What reading gives, and the sink's.
    pub fn found(&mut self, found: Found, path: &Path) -> Result<(), Error> {
        self.node(found, path, 0)
    }

    /// Walks all that is in a directory, whose own entry is not told.
    ///
    /// # Errors
    /// As [`Walk::found`].
    pub fn inside(&mut self, dir: BorrowedFd<'_>) -> Result<(), Error> {
        self.children(dir, Path::new(""), 0)
    }

    /// Tells a directory's own entry.
    pub(crate) fn directory(&mut self, dir: BorrowedFd<'_>, stat: &Stat, path: &Path) -> Result<(), Error> {
        let head = self.head(path, EntryKind::Directory, stat, self.xattrs(dir, path)?);
        self.sink.put(&head, &mut std::io::empty())
    }

    fn node(&mut self, found: Found, path: &Path, depth: usize) -> Result<(), Error> {
        let Found { node, stat } = found;
        let (xattrs, kind) = match &node {
            Node::Directory(dir) => (self.xattrs(dir.as_fd(), path)?, EntryKind::Directory),
            Node::File(file) => {
                let kind = EntryKind::File { size: stat.st_size.max(0) as u64 };
                (self.xattrs(file.as_fd(), path)?, kind)
            }
            Node::Symlink(target) => (BTreeMap::new(), EntryKind::Symlink { target: target.clone() }),
            Node::Fifo => (BTreeMap::new(), EntryKind::Fifo),
            Node::Whiteout if self.upper.is_some() => (BTreeMap::new(), EntryKind::Whiteout),
            Node::Whiteout | Node::Other => {
                self.left_out += 1;
                return Ok(());
            }
        };
        if let (Some(_), EntryKind::File { size }) = (&self.upper, &kind) {
            self.bytes = self.bytes.saturating_add(*size);
            let limit = UnpackLimits::default().bytes;
            if self.bytes > limit {
                return Err(Error::Limit { what: "bytes", limit });
            }
        }
        let head = self.head(path, kind, &stat, xattrs);
        if let Some(first) = self.first_name(&head, &stat)? {
            let head = EntryHead { kind: EntryKind::Hardlink { target: first }, ..head };
            return self.sink.put(&head, &mut std::io::empty());
        }
        match node {
            Node::File(file) => self.sink.put(&head, &mut file.take(stat.st_size.max(0) as u64)),
            Node::Directory(dir) => {
                self.sink.put(&head, &mut std::io::empty())?;
                if self.upper.as_ref().is_some_and(|upper| is_opaque_upper(&dir, upper.user_marks)) {
                    let mark = EntryHead { kind: EntryKind::Opaque, ..head };
                    self.sink.put(&mark, &mut std::io::empty())?;
                }
                self.children(dir.as_fd(), path, depth)
            }
            _ => self.sink.put(&head, &mut std::io::empty()),
        }
    }

    fn children(&mut self, dir: BorrowedFd<'_>, path: &Path, depth: usize) -> Result<(), Error> {
        if depth == DEPTH {
            return Err(Error::place(path, format!("directories are nested more than {DEPTH} deep")));
        }
        let names = names(dir, path, &mut self.memory)?;
        self.entries += names.len();
        if self.entries > ENTRIES {
            return Err(Error::Limit { what: "entries", limit: ENTRIES as u64 });
        }
        let held = held(&names);
        for name in names {
            let child = path.join(&name);
            let found = match Found::at(dir, &name) {
                Ok(found) => found,
                // Removed since the directory was read.
                Err(Errno::NOENT) => continue,
                Err(Errno::AGAIN) => return Err(Error::place(&child, "it changes while it is read")),
                Err(errno) => return Err(Error::io("read", child, errno)),
            };
            if let Some(upper) = &self.upper
                && upper.is_mount_point(&found, &child)?
            {
                continue;
            }
            self.node(found, &child, depth + 1)?;
        }
        self.memory.give_back(held);
        Ok(())
    }

    /// For who reads directories beside the walk, within its bounds.
    pub(super) const fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }

    fn head(
        &self,
        path: &Path,
        kind: EntryKind,
        stat: &Stat,
        xattrs: BTreeMap<String, Vec<u8>>,
    ) -> EntryHead {
        let id = |host: u32| match self.upper.as_ref().and_then(|upper| upper.ids) {
            None => host,
            Some((first, count)) => host.checked_sub(first).filter(|id| *id < count).unwrap_or(NOBODY),
        };
        EntryHead {
            path: path.to_owned(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: id(stat.st_uid),
            gid: id(stat.st_gid),
            mtime: stat.st_mtime,
            xattrs,
        }
    }

    /// The path under which this file was told before, if it was.
    fn first_name(&mut self, head: &EntryHead, stat: &Stat) -> Result<Option<PathBuf>, Error> {
        if stat.st_nlink < 2 || matches!(head.kind, EntryKind::Directory | EntryKind::Whiteout) {
            return Ok(None);
        }
        match self.links.entry((stat.st_dev, stat.st_ino)) {
            std::collections::hash_map::Entry::Occupied(first) => Ok(Some(first.get().clone())),
            std::collections::hash_map::Entry::Vacant(place) => {
                self.memory.path(&head.path)?;
                place.insert(head.path.clone());
                Ok(None)
            }
        }
    }

    /// The attributes that mean the same elsewhere. One whose name an archive cannot spell is left out.
    fn xattrs(&self, fd: BorrowedFd<'_>, path: &Path) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let mut found = BTreeMap::new();
        let mut sum = 0;
        let mut list = vec![0; XATTR];
        let length = match flistxattr(fd, &mut list[..]) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => 0,
            Err(errno) => return Err(Error::io("read the attributes of", path, errno)),
        };
        for name in list[..length].split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok())
        {
            if !is_portable(name) || name.contains('=') {
                continue;
            }
            let mut value = vec![0; XATTR];
            match fgetxattr(fd, name, &mut value[..]) {
                Ok(length) => value.truncate(length),
                Err(Errno::NODATA) => continue,
                Err(errno) => return Err(Error::io("read the attributes of", path, errno)),
            }
            sum += name.len() + value.len();
            if sum > XATTRS {
                let reason = format!("its extended attributes are more than {XATTRS} bytes");
                return Err(Error::place(path, reason));
            }
            let value = match (&self.upper, name) {
                (Some(upper), "security.capability") => capability(&value, upper.ids),
                (Some(upper), name) if name.starts_with("system.posix_acl_") => acl(&value, upper.ids),
                _ => Some(value),
            };
            found.extend(value.map(|value| (name.to_owned(), value)));
        }
        Ok(found)
    }
}

/// Whose id is not one of the container's.
const NOBODY: u32 = 65_534;

/// The names in a directory, sorted. What they take of `memory` is [`held`].
pub(crate) fn names(dir: BorrowedFd<'_>, path: &Path, memory: &mut Memory) -> Result<Vec<OsString>, Error> {
    let mut names: Vec<OsString> = Vec::new();
    let mut buffer = vec![MaybeUninit::<u8>::uninit(); 32 << 10];
    let mut reader = RawDir::new(dir, &mut buffer);
    while let Some(entry) = reader.next() {
        let entry = entry.map_err(|errno| Error::io("read", path, errno))?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        memory.take(name.len() + NAME)?;
        names.push(OsStr::from_bytes(name).to_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// What a name costs besides its bytes: its place in a list or a set, the allocation.
const NAME: usize = 48;

/// What names take of memory.
pub(crate) fn held<'n>(names: impl IntoIterator<Item = &'n OsString>) -> usize {
    names.into_iter().map(|name| name.len() + NAME).sum()
}

/// Whether nothing is in a directory, which can be read from its beginning afterwards.
fn is_empty(dir: &OwnedFd) -> Result<bool, Errno> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 1024];
    let mut reader = RawDir::new(dir, &mut buffer);
    let mut empty = true;
    while let Some(entry) = reader.next() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            empty = false;
            break;
        }
    }
    seek(dir, SeekFrom::Start(0))?;
    Ok(empty)
}

/// `struct vfs_ns_cap_data` (linux/capability.h) of the container's root as what it is in an image, revision 2
/// without an id; of anybody else it would mean something else there, and is left out.
fn capability(value: &[u8], ids: Option<(u32, u32)>) -> Option<Vec<u8>> {
    const REVISION_2: u32 = 0x0200_0000;
    const REVISION_3: u32 = 0x0300_0000;
    let word = |at: usize| Some(u32::from_le_bytes(value.get(at..at + 4)?.try_into().ok()?));
    let magic = word(0)?;
    match (magic & 0xff00_0000, value.len(), ids) {
        (REVISION_2, 20, None) => Some(value.to_vec()),
        (REVISION_3, 24, _) if word(20)? == ids.map_or(0, |(first, _)| first) => {
            let plain = magic & 0x00ff_ffff | REVISION_2;
            Some([&plain.to_le_bytes(), &value[4..20]].concat())
        }
        _ => None,
    }
}

/// `struct posix_acl_xattr_header` and its entries (linux/posix_acl_xattr.h) with the container's ids.
fn acl(value: &[u8], ids: Option<(u32, u32)>) -> Option<Vec<u8>> {
    const USER: u16 = 0x02;
    const GROUP: u16 = 0x08;
    let Some((first, count)) = ids else { return Some(value.to_vec()) };
    let (head, entries) = value.split_at_checked(4)?;
    let mut translated = head.to_vec();
    for entry in entries.chunks(8) {
        let (tag, id) = (entry.get(..2)?, entry.get(4..8)?);
        translated.extend_from_slice(&entry[..4]);
        if matches!(u16::from_le_bytes(tag.try_into().ok()?), USER | GROUP) {
            let id = u32::from_le_bytes(id.try_into().ok()?);
            let inside = id.checked_sub(first).filter(|id| *id < count)?;
            translated.extend_from_slice(&inside.to_le_bytes());
        } else {
            translated.extend_from_slice(id);
        }
    }
    Some(translated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_the_images_or_nobodys() {
        const IDS: Option<(u32, u32)> = Some((100_000, 65_536));
        let body = [1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let plain = |magic: u32| [&magic.to_le_bytes()[..], &body].concat();
        let rooted = |root: u32| [&plain(0x0300_0001)[..], &root.to_le_bytes()].concat();
        let check = |value: Vec<u8>, ids, expect: Option<Vec<u8>>| {
            assert_eq!(capability(&value, ids), expect, "{value:?} {ids:?}");
        };
        check(rooted(100_000), IDS, Some(plain(0x0200_0001)));
        check(rooted(100_001), IDS, None);
        check(rooted(0), IDS, None);
        check(rooted(0), None, Some(plain(0x0200_0001)));
        check(plain(0x0200_0001), None, Some(plain(0x0200_0001)));
        // The host's root could have written it, and nobody in a container.
        check(plain(0x0200_0001), IDS, None);
        check(plain(0x0300_0001), IDS, None);
        check(plain(0x0400_0001), None, None);
        check(Vec::new(), IDS, None);
        check(vec![0; 3], None, None);
    }

    #[test]
    fn access_lists_name_ids_of_the_container() {
        const IDS: Option<(u32, u32)> = Some((100_000, 65_536));
        let entry = |tag: u16, id: u32| [&tag.to_le_bytes()[..], &[7, 0], &id.to_le_bytes()].concat();
        let list = |entries: &[Vec<u8>]| [&[2, 0, 0, 0][..], &entries.concat()].concat();
        let owner = || entry(1, u32::MAX);
        let check = |value: Vec<u8>, expect: Option<Vec<u8>>| assert_eq!(acl(&value, IDS), expect);
        check(
            list(&[owner(), entry(2, 101_000), entry(8, 100_000)]),
            Some(list(&[owner(), entry(2, 1000), entry(8, 0)])),
        );
        check(list(&[owner(), entry(2, 1000)]), None);
        check(list(&[entry(2, 165_536)]), None);
        check(list(&[owner()])[..9].to_vec(), None);
        check(vec![2, 0], None);
    }
}
