//! What a container changed: its writable layer against the layers of its image.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;
use rustix::io::Errno;

use crate::archive::{Found, Node, Place, all_names, names, step};
use crate::lookup::is_opaque_upper;
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

/// Compares an overlay's upper directory with its lower ones (topmost first); sorted by path. What the engine
/// itself made to mount something on is no change.
///
/// # Errors
/// What reading gives; [`Error::Place`] for directories nested without end.
pub fn changes(upper: &Path, lowers: &[PathBuf], reading: &Upper) -> Result<Vec<Change>, Error> {
    let root = match File::open(upper) {
        // That of a read-only root is there only while it runs.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        root => root.map_err(|error| Error::io("read", upper, error))?,
    };
    let mut comparison = Comparison { reading, found: Vec::new(), entries: 0 };
    comparison.level(root.as_fd(), &Below::Shown(lowers.to_vec()), Path::new(""), 0)?;
    comparison.found.sort_unstable();
    Ok(comparison.found)
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
    found: Vec<Change>,
    entries: usize,
}

impl Comparison<'_> {
    fn level(&mut self, dir: BorrowedFd<'_>, below: &Below, path: &Path, depth: usize) -> Result<Met, Error> {
        if depth == DEPTH {
            return Err(Error::place(path, format!("directories are nested more than {DEPTH} deep")));
        }
        let names = names(dir, ENTRIES - self.entries).map_err(|errno| match errno {
            Errno::OVERFLOW => Error::Limit { what: "entries", limit: ENTRIES as u64 },
            errno => Error::io("read", path, errno),
        })?;
        self.entries += names.len();
        let mut met = Met::default();
        if let Below::Hidden(dirs) = below {
            met.altered = self.hidden(dirs, &names, path)?;
        }
        for name in names {
            let child = path.join(&name);
            if self.reading.mount_points.contains(&child) {
                met.points = true;
                continue;
            }
            let found = match Found::at(dir, &name) {
                Ok(found) => found,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(Error::io("read", child, errno)),
            };
            let kind = self.entry(found, step(below.dirs(), &name)?, &child, depth)?;
            met.altered |= matches!(kind, Some(ChangeKind::Added | ChangeKind::Deleted));
            met.other |= kind.is_some();
        }
        Ok(met)
    }

    /// What an opaque directory hides and has not again.
    fn hidden(&mut self, dirs: &[PathBuf], names: &[OsString], path: &Path) -> Result<bool, Error> {
        let here: BTreeSet<&OsString> = names.iter().collect();
        let mut any = false;
        for name in all_names(dirs)?.iter().filter(|name| !here.contains(name)) {
            if step(dirs, name)? != Place::Nothing {
                self.tell(&path.join(name), ChangeKind::Deleted);
                any = true;
            }
        }
        Ok(any)
    }

    fn entry(
        &mut self,
        found: Found,
        below: Place,
        path: &Path,
        depth: usize,
    ) -> Result<Option<ChangeKind>, Error> {
        let known = below != Place::Nothing;
        let kind = match found.node {
            Node::Whiteout if known => ChangeKind::Deleted,
            Node::Whiteout => return Ok(None),
            Node::Directory(dir) => {
                let below = match below {
                    Place::Directory(dirs) if is_opaque_upper(&dir) => Below::Hidden(dirs),
                    Place::Directory(dirs) => Below::Shown(dirs),
                    _ => Below::Nothing,
                };
                let met = self.level(dir.as_fd(), &below, path, depth + 1)?;
                match &below {
                    Below::Shown(dirs) => {
                        let differs = self.differs(&found.stat, &dirs[0], met.points)?;
                        if !differs && !met.altered {
                            // Something in it may have changed, and is told by itself.
                            return Ok(met.other.then_some(ChangeKind::Modified));
                        }
                        ChangeKind::Modified
                    }
                    Below::Hidden(_) => ChangeKind::Modified,
                    // Made on the way to a mount point.
                    Below::Nothing if met.points && !met.other => return Ok(None),
                    Below::Nothing if known => ChangeKind::Modified,
                    Below::Nothing => ChangeKind::Added,
                }
            }
            _ if known => ChangeKind::Modified,
            _ => ChangeKind::Added,
        };
        self.tell(path, kind);
        Ok(Some(kind))
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

    fn tell(&mut self, path: &Path, kind: ChangeKind) {
        self.found.push(Change { path: Path::new("/").join(path), kind });
    }
}
