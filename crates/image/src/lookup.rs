//! Looking up one file through unmounted layers, as overlayfs would show it.
//!
//! The walk goes component by component and each `openat` names a single component with O_NOFOLLOW, so the
//! kernel never resolves a link of the image; links are followed here, inside the union.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fgetxattr, openat, readlinkat, statat};
use rustix::io::Errno;

/// Links followed before giving up, as in the kernel.
const MAX_LINKS: u32 = 40;

/// Reads a file such as `/etc/passwd` as a container of these layers would see it, at most `limit` bytes.
/// None if it is not there, is not a regular file, is larger, or cannot be read.
pub fn read_file(layers_topmost_first: &[PathBuf], path: &Path, limit: u64) -> Option<Vec<u8>> {
    let mut left = components(path.as_os_str());
    let mut stack = vec![Union::Root(layers_topmost_first)];
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            stack.truncate(stack.len().saturating_sub(1).max(1));
            continue;
        }
        match stack.last()?.step(&name)? {
            Step::Directories(dirs) => stack.push(Union::Directories(dirs)),
            Step::Link(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                if target.as_bytes().starts_with(b"/") {
                    stack.truncate(1);
                }
                for component in components(&target).into_iter().rev() {
                    left.push_front(component);
                }
            }
            Step::File(file) if left.is_empty() => return read(file, limit),
            Step::File(_) => return None,
        }
    }
    None
}

pub(crate) fn components(path: &OsStr) -> VecDeque<OsString> {
    let parts = path.as_bytes().split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.map(|part| OsStr::from_bytes(part).to_owned()).collect()
}

fn read(file: File, limit: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= limit).then_some(bytes)
}

/// A directory of the union: the directories of all layers that show through, topmost first.
enum Union<'l> {
    /// Not opened: most layers have nothing of what is looked for, and one call tells that.
    Root(&'l [PathBuf]),
    Directories(Vec<OwnedFd>),
}

enum Step {
    Directories(Vec<OwnedFd>),
    File(File),
    Link(OsString),
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK);

impl Union<'_> {
    /// What `name` is here; none if it is nowhere, hidden, or neither file, directory nor link.
    fn step(&self, name: &OsStr) -> Option<Step> {
        match self {
            Self::Root(layers) => {
                let paths: Vec<PathBuf> = layers.iter().map(|layer| layer.join(name)).collect();
                step(paths.iter().map(|path| (CWD, path.as_os_str())))
            }
            Self::Directories(dirs) => step(dirs.iter().map(|dir| (dir.as_fd(), name))),
        }
    }
}

fn step<'p>(places: impl Iterator<Item = (impl AsFd, &'p OsStr)>) -> Option<Step> {
    let mut dirs = Vec::new();
    for (dir, name) in places {
        match openat(&dir, name, FLAGS | OFlags::DIRECTORY, Mode::empty()) {
            Ok(found) => {
                let opaque = is_opaque(&found);
                dirs.push(found);
                if opaque {
                    break;
                }
            }
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR | Errno::LOOP) if dirs.is_empty() => return other(dir, name),
            Err(Errno::NOTDIR | Errno::LOOP) => break,
            Err(_) => return None,
        }
    }
    (!dirs.is_empty()).then_some(Step::Directories(dirs))
}

fn other(dir: impl AsFd, name: &OsStr) -> Option<Step> {
    let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Some(Step::File(openat(&dir, name, FLAGS, Mode::empty()).ok()?.into())),
        FileType::Symlink => {
            Some(Step::Link(OsString::from_vec(readlinkat(&dir, name, Vec::new()).ok()?.into_bytes())))
        }
        // A whiteout, or nothing that has contents to read.
        _ => None,
    }
}

/// `trusted.` for layers of root's, `user.` where overlayfs is mounted with userxattr.
pub(crate) fn is_opaque(dir: &OwnedFd) -> bool {
    has_mark(dir, "trusted.overlay.opaque") || has_mark(dir, "user.overlay.opaque")
}

/// The same of a writable layer. In one that root mounted a container may write `user.` attributes itself; in one
/// that was mounted with userxattr, overlayfs keeps these names from it.
pub(crate) fn is_opaque_upper(dir: &OwnedFd, user_marks: bool) -> bool {
    has_mark(dir, if user_marks { "user.overlay.opaque" } else { "trusted.overlay.opaque" })
}

fn has_mark(dir: &OwnedFd, name: &str) -> bool {
    let mut value = [0; 1];
    fgetxattr(dir, name, &mut value) == Ok(1) && value == *b"y"
}
