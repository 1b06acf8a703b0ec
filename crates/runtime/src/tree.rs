//! Paths inside a container's root, which its image may have filled with anything.
//!
//! Every look-up goes through openat2 with RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS: an absolute link or a
//! `..` stays below the root, and /proc/*/fd leads nowhere. What is found is used by descriptor only,
//! never looked up again.

use std::os::fd::BorrowedFd;
use std::path::{Component, Path, PathBuf};

use corral_spec::AbsPath;
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat, symlinkat};
use rustix::io::Errno;

use crate::Error;
use crate::sys::keep_open;

/// Dangling links that are followed while a missing directory is made.
const MAX_LINKS: usize = 16;

/// A directory that is the root of what it names.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'fd>(pub(crate) BorrowedFd<'fd>);

/// What a missing mount point becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

/// Something found or made. The descriptor (O_PATH) stays open until the program starts.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    /// What it is.
    pub(crate) fd: BorrowedFd<'static>,
    /// Whether it was missing.
    pub(crate) made: bool,
}

impl Tree<'_> {
    /// Opens what is at `path` (O_PATH), following links within the root.
    pub(crate) fn find(self, path: &Path) -> Result<BorrowedFd<'static>, Errno> {
        self.open(path, OFlags::empty(), ResolveFlags::empty())
    }

    /// Opens a directory; a symbolic link anywhere in the path is refused.
    pub(crate) fn find_unlinked(self, path: &Path) -> Result<BorrowedFd<'static>, Errno> {
        self.open(path, OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS)
    }

    /// Opens the mount point, and makes it and the directories above it where they are missing.
    pub(crate) fn find_or_make(self, path: &AbsPath, point: Point) -> Result<Found, Error> {
        self.find_or(path, || self.make_missing(path, point))
            .map_err(|errno| Error::inside(format!("prepare {path} in the container"), errno))
    }

    /// Opens the mount point, or what `make` makes where nothing is.
    pub(crate) fn find_or(
        self,
        path: &AbsPath,
        make: impl FnOnce() -> Result<BorrowedFd<'static>, Errno>,
    ) -> Result<Found, Errno> {
        match self.find(path.relative()) {
            Ok(fd) => Ok(Found { fd, made: false }),
            Err(Errno::NOENT) => make().map(|fd| Found { fd, made: true }),
            Err(errno) => Err(errno),
        }
    }

    /// Makes what [`Self::find`] did not find.
    pub(crate) fn make_missing(self, path: &AbsPath, point: Point) -> Result<BorrowedFd<'static>, Errno> {
        // Mostly only the last component is missing.
        let made = match split(path) {
            Some((parent, name)) => self.find(parent).and_then(|dir| make_one(dir, name, point)),
            None => Err(Errno::INVAL),
        };
        made.or_else(|_| self.make(path.relative(), point))
    }

    /// As [`Self::find_unlinked`], and makes the directory if it alone is missing.
    pub(crate) fn find_or_make_unlinked(self, path: &AbsPath) -> Result<BorrowedFd<'static>, Errno> {
        match (self.find_unlinked(path.relative()), split(path)) {
            (Err(Errno::NOENT), Some((parent, name))) => {
                self.find_unlinked(parent).and_then(|dir| make_one(dir, name, Point::Directory))
            }
            (found, _) => found,
        }
    }

    fn open(self, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<BorrowedFd<'static>, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | flags;
        let resolve = resolve | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match openat2(self.0, path, flags, Mode::empty(), resolve) {
                // A rename raced with the look-up (openat2(2)).
                Err(Errno::AGAIN) => {}
                result => return result.map(keep_open),
            }
        }
    }

    /// Makes `path` from the first missing component on. A dangling link is replaced by its target, read
    /// as a path of this root; a wrong guess at `..` makes a directory in a wrong place below the root.
    fn make(self, path: &Path, point: Point) -> Result<BorrowedFd<'static>, Errno> {
        let mut todo = path.to_owned();
        let mut links = 0;
        'again: loop {
            let parts: Vec<_> = todo.iter().map(ToOwned::to_owned).collect();
            let mut done = PathBuf::from(".");
            let mut dir = self.find(&done)?;
            for (index, part) in parts.iter().enumerate() {
                let path = done.join(part);
                let point = if index + 1 == parts.len() { point } else { Point::Directory };
                match self.find(&path) {
                    Ok(found) => dir = found,
                    Err(Errno::NOENT) => match make_one(dir, part.as_ref(), point) {
                        Ok(made) => dir = made,
                        Err(Errno::EXIST) if links < MAX_LINKS => {
                            links += 1;
                            todo = expand(&done, dir, part.as_ref(), &parts[index + 1..])?;
                            continue 'again;
                        }
                        Err(errno) => return Err(errno),
                    },
                    Err(errno) => return Err(errno),
                }
                done = path;
            }
            return Ok(dir);
        }
    }
}

/// The directory that the last new entry went into: devices and links come in runs, and nothing is mounted
/// between them.
pub(crate) struct LastParent<'p>(Option<(&'p Path, BorrowedFd<'p>)>);

impl<'p> LastParent<'p> {
    /// Begins with a directory that is known, and its path relative to the root.
    pub(crate) fn at(known: Option<(&'p Path, BorrowedFd<'p>)>) -> Self {
        Self(known)
    }

    /// The directory of `path`, which must exist, and the last component.
    fn split(&mut self, tree: Tree<'_>, path: &'p AbsPath) -> Result<(BorrowedFd<'p>, &'p Path), Errno> {
        let (parent, name) = split(path).ok_or(Errno::INVAL)?;
        let dir = match self.0 {
            Some((known, dir)) if known == parent => dir,
            _ => tree.find(parent)?,
        };
        self.0 = Some((parent, dir));
        Ok((dir, name))
    }

    /// Makes a symbolic link; its directory must exist.
    pub(crate) fn link(&mut self, tree: Tree<'_>, path: &'p AbsPath, target: &str) -> Result<(), Error> {
        self.split(tree, path)
            .and_then(|(dir, name)| symlinkat(target, dir, name))
            .map_err(|errno| Error::inside(format!("make the link {path} in the container"), errno))
    }

    /// An empty file to bind a device to. What the image has of that name is looked up with care.
    pub(crate) fn file(&mut self, tree: Tree<'_>, path: &'p AbsPath) -> Result<BorrowedFd<'static>, Error> {
        match self.split(tree, path).and_then(|(dir, name)| make_one(dir, name, Point::File)) {
            Ok(made) => Ok(made),
            Err(_) => tree.find_or_make(path, Point::File).map(|found| found.fd),
        }
    }
}

/// The directory and the last component, both relative to the root; none for the root itself.
fn split(path: &AbsPath) -> Option<(&Path, &Path)> {
    let relative = path.relative();
    let (parent, name) = (relative.parent()?, relative.file_name()?);
    Some((if parent.as_os_str().is_empty() { Path::new(".") } else { parent }, Path::new(name)))
}

/// Makes one entry and opens it without following anything.
fn make_one(dir: BorrowedFd<'_>, name: &Path, point: Point) -> Result<BorrowedFd<'static>, Errno> {
    if point == Point::File {
        // Not for writing: an open writer would forbid making the root read-only (EBUSY).
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        return openat(dir, name, flags, Mode::from_raw_mode(0o644)).map(keep_open);
    }
    mkdirat(dir, name, Mode::from_raw_mode(0o755))?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).map(keep_open)
}

/// The path with the dangling link `done/name` replaced by what it points at, and `rest` behind.
fn expand(
    done: &Path,
    dir: BorrowedFd<'_>,
    name: &Path,
    rest: &[std::ffi::OsString],
) -> Result<PathBuf, Errno> {
    use std::os::unix::ffi::OsStringExt;
    let target = readlinkat(dir, name, Vec::new())?;
    let target = PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes()));
    let mut clean = PathBuf::new();
    let joined = if target.is_absolute() { target } else { done.join(target) };
    for component in joined.components().chain(rest.iter().map(|part| Component::Normal(part))) {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A root with hostile links beside a canary directory.
    fn arena(name: &str) -> PathBuf {
        let base = std::env::temp_dir().join(format!("corral-tree-{}-{name}", std::process::id()));
        fs::create_dir_all(base.join("root/etc")).unwrap();
        fs::create_dir_all(base.join("outside")).unwrap();
        base
    }

    #[test]
    fn mount_points_stay_inside() {
        let base = arena("inside");
        let root = base.join("root");
        symlink(base.join("outside"), root.join("absolute")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink("/run/deep/er", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        let fd = fs::File::open(&root).unwrap();
        let tree = Tree(fd.as_fd());
        let make = |path: &str, point| tree.find_or_make(&AbsPath::new(path).unwrap(), point);
        assert!(make("/absolute/x", Point::Directory).unwrap().made);
        assert!(make("/relative/y", Point::File).unwrap().made);
        assert!(make("/dangling/z", Point::Directory).unwrap().made);
        assert!(root.join("run/deep/er/z").is_dir());
        assert!(root.join("outside/y").is_file());
        assert!(!make("/etc", Point::Directory).unwrap().made);
        assert!(make("/loop/a", Point::Directory).is_err());
        assert!(make("/magic/a", Point::Directory).unwrap().made, "a link's text, not the host's root");
        assert_eq!(fs::read_dir(base.join("outside")).unwrap().count(), 0);
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn links_are_refused_where_the_kernel_file_systems_go() {
        let base = arena("kernel");
        let root = base.join("root");
        symlink("etc", root.join("proc")).unwrap();
        let fd = fs::File::open(&root).unwrap();
        assert_eq!(Tree(fd.as_fd()).find_unlinked(Path::new("proc")).unwrap_err(), Errno::LOOP);
        assert!(Tree(fd.as_fd()).find_unlinked(Path::new("etc")).is_ok());
        fs::remove_dir_all(base).unwrap();
    }
}
