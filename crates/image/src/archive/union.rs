use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Stat, fstat, statat};
use rustix::io::Errno;

use super::node::{Found, is_whiteout};
use super::walk::{Walk, held, names};
use crate::lookup::{components, is_opaque};
use crate::memory::Memory;
use crate::{Error, Sink};

/// Links followed before giving up, as in the kernel.
const MAX_LINKS: u32 = 40;

/// What the layers of an image, which never change, have at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Nothing,
    /// The directories that show through each other, topmost first.
    Directory(Vec<PathBuf>),
    Link(PathBuf),
    /// Anything else.
    File(PathBuf),
}

/// The directories, topmost first, or the one file, that a stack of layers has at `path`; links are followed
/// inside the image. None if there is nothing, or nothing that could be mounted.
pub fn union_paths(layers_topmost_first: &[PathBuf], path: &Path) -> Option<Vec<PathBuf>> {
    let mut left = components(path.as_os_str());
    let mut stack = vec![layers_topmost_first.to_vec()];
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            stack.truncate(stack.len().saturating_sub(1).max(1));
            continue;
        }
        match step(stack.last()?, &name).ok()? {
            Place::Nothing => return None,
            Place::Directory(dirs) => stack.push(dirs),
            Place::File(file) if left.is_empty() => return Some(vec![file]),
            Place::File(_) => return None,
            Place::Link(link) => {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                let target = std::fs::read_link(link).ok()?;
                if target.is_absolute() {
                    stack.truncate(1);
                }
                for component in components(target.as_os_str()).into_iter().rev() {
                    left.push_front(component);
                }
            }
        }
    }
    stack.pop()
}

/// What the union of these directories has under a name.
pub(crate) fn step(dirs: &[PathBuf], name: &OsStr) -> Result<Place, Error> {
    let mut found = Vec::new();
    for dir in dirs {
        let path = dir.join(name);
        let stat = match statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(Error::io("read", path, errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let last = opaque(&path)?;
                found.push(path);
                if last {
                    break;
                }
            }
            _ if !found.is_empty() || is_whiteout(&stat) => break,
            FileType::Symlink => return Ok(Place::Link(path)),
            _ => return Ok(Place::File(path)),
        }
    }
    Ok(if found.is_empty() { Place::Nothing } else { Place::Directory(found) })
}

/// Whether the union of these directories has nothing at a path, in which no link is followed.
pub(crate) fn is_bare(dirs: &[PathBuf], path: &Path) -> Result<bool, Error> {
    let mut dirs = dirs.to_vec();
    for name in path {
        match step(&dirs, name)? {
            Place::Nothing => return Ok(true),
            Place::Directory(below) => dirs = below,
            Place::Link(_) | Place::File(_) => return Ok(false),
        }
    }
    Ok(false)
}

/// Names in any of these directories, those that a whiteout hides included. What they take of `memory` is
/// [`held`].
pub(crate) fn all_names(dirs: &[PathBuf], memory: &mut Memory) -> Result<BTreeSet<OsString>, Error> {
    let mut all = BTreeSet::new();
    for dir in dirs {
        let file = File::open(dir).map_err(|error| Error::io("read", dir, error))?;
        for name in names(file.as_fd(), dir, memory)? {
            let bytes = held([&name]);
            if !all.insert(name) {
                memory.give_back(bytes);
            }
        }
    }
    Ok(all)
}

fn opaque(dir: &Path) -> Result<bool, Error> {
    let file = File::open(dir).map_err(|error| Error::io("read", dir, error))?;
    Ok(is_opaque(&file.into()))
}

/// Hands what these directories show as one, the topmost first, to a sink, and says whose and how open the
/// topmost itself is.
///
/// # Errors
/// What reading the layers gives, and the sink's.
pub fn copy_union(dirs: &[PathBuf], sink: &mut dyn Sink) -> Result<Option<(u32, u32, u32)>, Error> {
    let Some(top) = dirs.first() else { return Ok(None) };
    merge(&mut Walk::new(sink), dirs, Path::new(""))?;
    let stat = stat(top)?;
    Ok(Some((stat.st_uid, stat.st_gid, stat.st_mode & 0o7777)))
}

fn stat(path: &Path) -> Result<Stat, Error> {
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| Error::io("read", path, errno))
}

fn merge(walk: &mut Walk<'_>, dirs: &[PathBuf], path: &Path) -> Result<(), Error> {
    let all = all_names(dirs, walk.memory())?;
    let bytes = held(&all);
    for name in all {
        let child = path.join(&name);
        match step(dirs, &name)? {
            Place::Nothing => {}
            Place::Directory(below) => {
                let fail = |error| Error::io("read", &below[0], error);
                let dir = File::open(&below[0]).map_err(fail)?;
                let stat = fstat(&dir).map_err(|errno| Error::io("read", &below[0], errno))?;
                walk.directory(dir.as_fd(), &stat, &child)?;
                drop(dir);
                merge(walk, &below, &child)?;
            }
            Place::File(place) | Place::Link(place) => {
                let found =
                    Found::at(CWD, place.as_os_str()).map_err(|errno| Error::io("read", &place, errno))?;
                walk.found(found, &child)?;
            }
        }
    }
    walk.memory().give_back(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn layers_show_through_each_other_and_links_stay_inside() {
        let base = std::env::temp_dir().join(format!("corral-union-{}", std::process::id()));
        let (top, low) = (base.join("top"), base.join("low"));
        for dir in ["top/d/sub", "top/hides", "low/d/sub", "low/hides/x", "low/only"] {
            fs::create_dir_all(base.join(dir)).expect("directory");
        }
        fs::write(low.join("d/file"), "").expect("file");
        symlink("/d/sub", top.join("link")).expect("link");
        symlink("../../../../../d", top.join("d/up")).expect("link");
        symlink("loop", top.join("loop")).expect("link");
        let file = fs::File::open(top.join("hides")).expect("directory");
        let layers = [top.clone(), low.clone()];
        let check = |path: &str, expect: Option<&[&str]>| {
            let expect = expect.map(|paths| paths.iter().map(|path| base.join(path)).collect::<Vec<_>>());
            assert_eq!(union_paths(&layers, Path::new(path)), expect, "{path}");
        };
        check("/", Some(&["top", "low"]));
        check("/d/sub", Some(&["top/d/sub", "low/d/sub"]));
        check("/link", Some(&["top/d/sub", "low/d/sub"]));
        check("/d/up", Some(&["top/d", "low/d"]));
        check("/d/file", Some(&["low/d/file"]));
        check("/only", Some(&["low/only"]));
        check("/only/../../only", Some(&["low/only"]));
        check("/d/file/x", None);
        check("/loop", None);
        check("/none", None);
        check("/hides", Some(&["top/hides", "low/hides"]));
        let flags = rustix::fs::XattrFlags::empty();
        if rustix::fs::fsetxattr(&file, "user.overlay.opaque", b"y", flags).is_ok() {
            check("/hides", Some(&["top/hides"]));
            check("/hides/x", None);
        }
        fs::remove_dir_all(base).expect("removed");
    }
}
