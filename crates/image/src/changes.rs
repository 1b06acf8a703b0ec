//! What a container changed: its writable layer against the layers of its image.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;
use rustix::io::Errno;

use crate::archive::{Found, Node, Place, all_names, held, names, step};
use crate::lookup::is_opaque_upper;
use crate::memory::Memory;
use crate::{Error, Upper};

/// As deep as a walk goes.
const DEPTH: usize = 800;
const ENTRIES: usize = 4_000_000;

/// One path that is not as the image has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Absolute, inside the container.
    pub path: PathBuf,
    /// How it differs.
    pub kind: ChangeKind,
}

/// How a path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// Contents or attributes; or something in it came or went.
    Modified,
    /// The image has nothing there.
    Added,
    /// The image has something there.
    Deleted,
}

impl ChangeKind {
    /// The letter that `diff` prints.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Modified => "C",
            Self::Added => "A",
            Self::Deleted => "D",
        }
    }
}

/// Compares an overlay's upper directory with the layers below. What the engine itself made to mount something
/// on is no change.
///
/// # Errors
/// What reading gives; [`Error::Place`] for directories nested without end; [`Error::Limit`] for too many names.
pub fn changes(upper: &Path, reading: &Upper) -> Result<Changes, Error> {
    let mut comparison =
        Comparison { reading, told: Changes::default(), memory: Memory::default(), entries: 0 };
    match File::open(upper) {
        Ok(root) => {
            let below = Below::Shown(reading.lowers.clone());
            comparison.level(root.as_fd(), &below, Path::new(""), 0)?;
        }
        // That of a read-only root is there only while it runs.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("read", upper, error)),
    }
    Ok(comparison.told)
}

/// What differs, sorted by path, each path made when it is its turn: what a container makes below a few long names
/// would be gigabytes of paths.
///
/// ```text
/// records = ( kind:u8 depth:u16 length:u8 name )*     parents first; kind is '.' where only something below differs
/// ```
#[derive(Clone, Debug, Default)]
pub struct Changes {
    records: Vec<u8>,
    next: usize,
    /// Path and depth of the last record.
    path: PathBuf,
    depth: usize,
}

/// Bytes of a record besides its name.
const RECORD: usize = 4;
const UNTOLD: u8 = b'.';

impl Changes {
    /// The place of its kind, to be [`Changes::set`].
    fn push(&mut self, depth: usize, name: &OsStr) -> usize {
        let at = self.records.len();
        let [low, high] = (depth as u16).to_le_bytes();
        // NAME_MAX is 255.
        self.records.extend_from_slice(&[UNTOLD, low, high, name.len() as u8]);
        self.records.extend_from_slice(name.as_bytes());
        at
    }

    fn set(&mut self, at: usize, kind: ChangeKind) {
        self.records[at] = kind.letter().as_bytes()[0];
    }
}

impl Iterator for Changes {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        loop {
            let [kind, low, high, length] = *self.records.get(self.next..)?.first_chunk::<RECORD>()?;
            let name = &self.records[self.next + RECORD..][..usize::from(length)];
            let depth = usize::from(u16::from_le_bytes([low, high]));
            while self.depth > depth {
                self.path.pop();
                self.depth -= 1;
            }
            if self.depth == 0 {
                self.path = PathBuf::from("/");
            }
            self.path.push(OsStr::from_bytes(name));
            self.depth += 1;
            self.next += RECORD + name.len();
            let kind = match kind {
                b'C' => ChangeKind::Modified,
                b'A' => ChangeKind::Added,
                b'D' => ChangeKind::Deleted,
                _ => continue,
            };
            return Some(Change { path: self.path.clone(), kind });
        }
    }
}

/// What the image has where a directory of the writable layer is.
enum Below {
    /// These directories, seen through it.
    Shown(Vec<PathBuf>),
    /// These directories, of which nothing is seen.
    Hidden(Vec<PathBuf>),
    Nothing,
}

impl Below {
    fn dirs(&self) -> &[PathBuf] {
        match self {
            Self::Shown(dirs) | Self::Hidden(dirs) => dirs,
            Self::Nothing => &[],
        }
    }
}

/// What was met in a directory.
#[derive(Default)]
struct Met {
    /// Something came or went.
    altered: bool,
    /// The engine's mount points.
    points: bool,
    /// Anything else.
    other: bool,
}

struct Comparison<'r> {
    reading: &'r Upper,
    told: Changes,
    memory: Memory,
    entries: usize,
}

impl Comparison<'_> {
    fn level(&mut self, dir: BorrowedFd<'_>, below: &Below, path: &Path, depth: usize) -> Result<Met, Error> {
        if depth == DEPTH {
            return Err(Error::place(path, format!("directories are nested more than {DEPTH} deep")));
        }
        let names = names(dir, path, &mut self.memory)?;
        self.entries += names.len();
        if self.entries > ENTRIES {
            return Err(Error::Limit { what: "entries", limit: ENTRIES as u64 });
        }
        let mut met = Met::default();
        let gone = match below {
            Below::Hidden(dirs) => self.hidden(dirs, &names)?,
            _ => Vec::new(),
        };
        let bytes = held(names.iter().chain(&gone));
        let gone = gone.into_iter().map(|name| (name, true));
        let mut all: Vec<(OsString, bool)> =
            names.into_iter().map(|name| (name, false)).chain(gone).collect();
        all.sort_unstable();
        for (name, gone) in all {
            let child = path.join(&name);
            if gone {
                self.tell(depth, &name, ChangeKind::Deleted)?;
                met.altered = true;
                continue;
            }
            let found = match Found::at(dir, &name) {
                Ok(found) => found,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(Error::io("read", child, errno)),
            };
            if self.reading.is_mount_point(&found, &child)? {
                met.points = true;
                continue;
            }
            let kind = self.entry(found, step(below.dirs(), &name)?, &child, depth)?;
            met.altered |= matches!(kind, Some(ChangeKind::Added | ChangeKind::Deleted));
            met.other |= kind.is_some();
        }
        self.memory.give_back(bytes);
        Ok(met)
    }

    /// What an opaque directory hides and has not again.
    fn hidden(&mut self, dirs: &[PathBuf], names: &[OsString]) -> Result<Vec<OsString>, Error> {
        let here: BTreeSet<&OsString> = names.iter().collect();
        let mut gone = Vec::new();
        for name in all_names(dirs, &mut self.memory)? {
            if !here.contains(&name) && step(dirs, &name)? != Place::Nothing {
                gone.push(name);
            } else {
                self.memory.give_back(held([&name]));
            }
        }
        Ok(gone)
    }

    fn entry(
        &mut self,
        found: Found,
        below: Place,
        path: &Path,
        depth: usize,
    ) -> Result<Option<ChangeKind>, Error> {
        let known = below != Place::Nothing;
        let name = path.file_name().unwrap_or_default();
        let kind = match &found.node {
            Node::Whiteout if known => ChangeKind::Deleted,
            Node::Whiteout => return Ok(None),
            Node::Directory(dir) => {
                let below = match below {
                    Place::Directory(dirs) if is_opaque_upper(dir, self.reading.user_marks) => {
                        Below::Hidden(dirs)
                    }
                    Place::Directory(dirs) => Below::Shown(dirs),
                    _ => Below::Nothing,
                };
                // What is in it comes after it, and says what is to be told of it.
                self.memory.take(RECORD + name.len())?;
                let at = self.told.push(depth, name);
                let met = self.level(dir.as_fd(), &below, path, depth + 1)?;
                let (kind, told) = self.directory(&found.stat, &below, known, &met)?;
                if told && let Some(kind) = kind {
                    self.told.set(at, kind);
                } else if self.told.records.len() == at + RECORD + name.len() {
                    self.told.records.truncate(at);
                    self.memory.give_back(RECORD + name.len());
                }
                return Ok(kind);
            }
            _ if known => ChangeKind::Modified,
            _ => ChangeKind::Added,
        };
        self.tell(depth, name, kind)?;
        Ok(Some(kind))
    }

    /// How a directory differs, and whether that is told or only what is in it.
    fn directory(
        &self,
        stat: &Stat,
        below: &Below,
        known: bool,
        met: &Met,
    ) -> Result<(Option<ChangeKind>, bool), Error> {
        Ok(match below {
            Below::Shown(dirs) if !met.altered && !self.differs(stat, &dirs[0], met.points)? => {
                (met.other.then_some(ChangeKind::Modified), false)
            }
            Below::Shown(_) | Below::Hidden(_) => (Some(ChangeKind::Modified), true),
            // Made on the way to a mount point.
            Below::Nothing if met.points && !met.other => (None, false),
            Below::Nothing if known => (Some(ChangeKind::Modified), true),
            Below::Nothing => (Some(ChangeKind::Added), true),
        })
    }

    /// Whether a directory's own attributes were changed. One that the engine put a mount point into has a new
    /// time for that reason.
    fn differs(&self, stat: &Stat, lower: &Path, points: bool) -> Result<bool, Error> {
        let known = std::fs::symlink_metadata(lower).map_err(|error| Error::io("read", lower, error))?;
        let host = |id: u32| self.reading.ids.map_or(id, |(first, _)| first.saturating_add(id));
        let owner = (host(known.uid()), host(known.gid())) != (stat.st_uid, stat.st_gid);
        let time = (known.mtime(), known.mtime_nsec()) != (stat.st_mtime, stat.st_mtime_nsec as i64);
        Ok(owner || known.mode() != stat.st_mode || (time && !points))
    }

    fn tell(&mut self, depth: usize, name: &OsStr, kind: ChangeKind) -> Result<(), Error> {
        self.memory.take(RECORD + name.len())?;
        let at = self.told.push(depth, name);
        self.told.set(at, kind);
        Ok(())
    }
}
