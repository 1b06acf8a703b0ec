//! A directory that a step wrote, taken back as a tree. Whatever wrote it is dead, and hostile: no name in it is
//! followed, resolved twice or believed.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};

use crate::Error;
use crate::python::{Stage, is_safe};
use crate::step::open_output;
use crate::tarball::symlink_inside;
use crate::tree::{Node, NodeKind, Tree};

/// Bytes of all files.
const MAX_BYTES: u64 = 8 << 30;
/// Files and links.
const MAX_ENTRIES: usize = 200_000;

/// A directory that was taken back.
pub(crate) struct Output {
    /// Its files and links.
    pub tree: Tree,
    /// Links out of it, which were left behind.
    pub astray: Vec<String>,
}

/// What is in the directory `name` of `out`, below `target`. Permissions come down to "executable or not".
///
/// # Errors
/// [`Error::Archive`] for what an image cannot hold: devices, names that are not plain, too much of it.
/// [`Error::Io`].
pub(crate) fn directory(out: &File, name: &str, target: &Path, stage: &Stage) -> Result<Output, Error> {
    let output = Output { tree: Tree::default(), astray: Vec::new() };
    let mut taken = Taken { out, target, stage, output, left: MAX_BYTES };
    taken.take(name, "")?;
    Ok(taken.output)
}

struct Taken<'a> {
    out: &'a File,
    target: &'a Path,
    stage: &'a Stage,
    output: Output,
    /// Bytes that may still come.
    left: u64,
}

impl Taken<'_> {
    /// `place` is the directory as seen from `out`, `inside` as seen from the first one.
    fn take(&mut self, place: &str, inside: &str) -> Result<(), Error> {
        let io = |errno: rustix::io::Errno| Error::io("read what a step wrote:", place)(errno.into());
        let bad = |reason: &str| Error::archive(inside.to_owned(), reason);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let dir = rustix::fs::openat2(self.out, place, flags, Mode::empty(), resolve).map_err(io)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&dir).map_err(io)? {
            let entry = entry.map_err(io)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                let name = entry.file_name().to_str().map_err(|_| bad("holds a name that is not UTF-8"))?;
                names.push(name.to_owned());
            }
        }
        names.sort();
        for name in names {
            let (below, path) = (format!("{place}/{name}"), format!("{inside}/{name}"));
            let path = path.trim_start_matches('/');
            if !is_safe(path) || self.output.tree.len() >= MAX_ENTRIES {
                return Err(bad(&format!("holds {name:?}, an unsafe name or one too many")));
            }
            let stat = rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(io)?;
            let node = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    self.take(&below, path)?;
                    continue;
                }
                FileType::RegularFile => self.file(&below, stat.st_mode & 0o111 != 0)?,
                FileType::Symlink => {
                    let aim = rustix::fs::readlinkat(&dir, &name, Vec::new()).map_err(io)?;
                    match symlink_inside(path, aim.to_bytes()) {
                        Ok(node) => node,
                        Err(_) => {
                            self.output.astray.push(path.to_owned());
                            continue;
                        }
                    }
                }
                kind => return Err(bad(&format!("holds {name:?}, which is a {kind:?}"))),
            };
            self.output.tree.insert(self.target.join(path), node);
        }
        Ok(())
    }

    fn file(&mut self, place: &str, executable: bool) -> Result<Node, Error> {
        let gone = || Error::archive(place, "was there and is not");
        let mut file = open_output(self.out, place, self.left)?.ok_or_else(gone)?;
        let size = file.metadata().map_err(Error::io("read", place))?.len();
        self.left -= size;
        let content = self.stage.keep(size, &mut |sink| {
            let (mut from, mut buffer) = ((&mut file).take(size), vec![0; 64 << 10]);
            loop {
                match from.read(&mut buffer).map_err(Error::io("read", place))? {
                    0 => return Ok(()),
                    got => sink(&buffer[..got])?,
                }
            }
        })?;
        let mode = if executable { 0o755 } else { 0o644 };
        Ok(Node { mode, uid: 0, gid: 0, kind: NodeKind::File(content) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn check(make: fn(&Path), expect: &str) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path().canonicalize().expect("canonical");
        std::fs::create_dir_all(root.join("out/package/a")).expect("made");
        make(&root.join("out/package"));
        let out = File::open(root.join("out")).expect("opened");
        let stage = Stage::new(&root).expect("stage");
        let shown = match directory(&out, "package", Path::new("app/p"), &stage) {
            Ok(output) => {
                let shown = |(path, node): (&Path, &Node)| {
                    format!("{} {:o} {}; ", path.display(), node.mode, node.size())
                };
                output.tree.iter().map(shown).collect::<String>() + &format!("astray {:?}", output.astray)
            }
            Err(error) => error.to_string(),
        };
        assert!(shown.contains(expect), "{shown:?} does not say {expect:?}");
    }

    #[test]
    fn plain_files_and_links_inside() {
        check(
            |dir| {
                std::fs::write(dir.join("a/b"), "xyz").expect("written");
                std::fs::set_permissions(dir.join("a/b"), PermissionsExt::from_mode(0o4711)).expect("mode");
                symlink("a/b", dir.join("l")).expect("linked");
            },
            "app/p/a/b 755 3; app/p/l 777 0; astray []",
        );
        check(|dir| symlink("/etc/passwd", dir.join("l")).expect("linked"), "astray [\"l\"]");
        check(|dir| symlink("../../x", dir.join("a/l")).expect("linked"), "astray [\"a/l\"]");
        check(|dir| std::fs::write(dir.join("a\nb"), "").expect("written"), "unsafe name");
        check(
            |dir| drop(std::os::unix::net::UnixListener::bind(dir.join("s")).expect("bound")),
            "which is a Socket",
        );
        check(
            |dir| {
                std::fs::remove_dir_all(dir).expect("removed");
                symlink("/etc", dir).expect("linked");
            },
            "cannot read what a step wrote",
        );
    }
}
