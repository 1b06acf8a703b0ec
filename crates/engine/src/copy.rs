//! `cp`: files between a container and the host.
//!
//! ```text
//! out   guest: Walk ──▶ tar ══ stream ══▶ here: TreeWriter below a host directory, or standard output
//! in    here:  Walk ──▶ tar ══ stream ══▶ guest: TreeWriter below a directory of the container
//! ```
//!
//! Where the copy lands follows from three things, as with Docker: what the source is, what is at the
//! destination, and how both were spelled ([`place`]).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use corral_image::{ArchiveReader, ArchiveWriter, EntryKind, Found, Owners, TreeWriter, Walk};
use corral_journal::Action;
use corral_runtime::Scope;
use corral_spec::ContainerId;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat, statat};
use rustix::io::Errno;

use crate::guest::InsidePath;
use crate::journal::of_container;
use crate::{Engine, Error};

/// How `cp` copies.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// `-a`: owners stay as they are.
    pub archive: bool,
    /// `-L`: a link as the source means what it leads to.
    pub follow: bool,
}

/// What is at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Existing {
    Nothing,
    File,
    Directory,
}

/// Where the source's entry goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Placed {
    /// Into the destination, a directory, under this name; what is in the source, if there is none.
    Into(Option<OsString>),
    /// Beside the destination's siblings, under its name.
    As,
}

/// The source of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    is_dir: bool,
    /// Spelled with `/.` at its end.
    contents: bool,
    name: OsString,
}

const MAX_LINKS: u32 = 40;
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// Docker's rules; the text says what contradicts them.
fn place(source: &Source, there: Existing, spelled_as_directory: bool) -> Result<Placed, &'static str> {
    match (there, source.is_dir) {
        (Existing::Directory, true) if source.contents => Ok(Placed::Into(None)),
        (Existing::Directory, _) => Ok(Placed::Into(Some(source.name.clone()))),
        (Existing::File, true) => Err("cannot copy directory: the destination is a file"),
        (Existing::File, false) if spelled_as_directory => Err("not a directory"),
        (Existing::Nothing, false) if spelled_as_directory => {
            Err("no such directory: make it first, or leave the / at the end out")
        }
        (Existing::File, false) | (Existing::Nothing, _) => Ok(Placed::As),
    }
}

impl Engine {
    /// Copies a path of a container to the host. Says how many bytes of archive that took.
    ///
    /// # Errors
    /// When either path is not what Docker's rules want, or what reading or writing gives.
    pub fn copy_out(
        &self,
        id: &ContainerId,
        source: &Path,
        target: &Path,
        options: CopyOptions,
    ) -> Result<u64, Error> {
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let owners = if options.archive { Owners::Keep } else { Owners::Plain(owner.0, owner.1) };
        let contents = InsidePath::new(source).contents;
        self.read_out(id, source, options, |stream| {
            let mut counted = Counted { inner: stream, bytes: 0 };
            write_host(&mut counted, contents, target, owners)?;
            Ok(counted.bytes)
        })
    }

    /// Copies a path of a container as a tar stream.
    ///
    /// # Errors
    /// When there is no such path, or what reading or writing gives.
    pub fn copy_out_tar(
        &self,
        id: &ContainerId,
        source: &Path,
        options: CopyOptions,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        self.read_out(id, source, options, |stream| pump(stream, out))
    }

    fn read_out<T>(
        &self,
        id: &ContainerId,
        source: &Path,
        options: CopyOptions,
        take: impl FnOnce(&mut File) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let path = InsidePath::new(source);
        let shown = format!("{}:{}", self.record_copy(Action::ArchivePath, id, source)?, source.display());
        let mut guest = self.guest(id, Scope::Everything, move |root, stream| {
            send(root.as_fd(), &path, options.follow, stream).map_err(|error| format!("{shown}: {error}"))
        })?;
        let taken = take(guest.stream());
        guest.leave(taken)
    }

    /// Copies a path of the host into a container. Says how many bytes of archive that took.
    ///
    /// # Errors
    /// As [`Engine::copy_out`].
    pub fn copy_in(
        &self,
        id: &ContainerId,
        source: &Path,
        target: &Path,
        options: CopyOptions,
    ) -> Result<u64, Error> {
        let (found, source) = host_source(source, options.follow)?;
        let as_path = if source.contents { PathBuf::new() } else { PathBuf::from(&source.name) };
        self.write_in(id, target, Some(source), options, |stream| {
            let mut counted = Counted { inner: stream, bytes: 0 };
            let mut archive = ArchiveWriter::new(&mut counted);
            Walk::new(&mut archive).found(found, &as_path)?;
            archive.finish()?;
            Ok(counted.bytes)
        })
    }

    /// Unpacks a tar stream in a directory of a container.
    ///
    /// # Errors
    /// When the path is no directory, the archive is unsafe, or what reading or writing gives.
    pub fn copy_in_tar(
        &self,
        id: &ContainerId,
        archive: &mut dyn Read,
        target: &Path,
        options: CopyOptions,
    ) -> Result<(), Error> {
        self.write_in(id, target, None, options, |stream| pump(archive, stream))
    }

    fn write_in<T>(
        &self,
        id: &ContainerId,
        target: &Path,
        source: Option<Source>,
        options: CopyOptions,
        give: impl FnOnce(&mut File) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let path = InsidePath::new(target);
        let shown = format!("{}:{}", self.record_copy(Action::ExtractToDir, id, target)?, target.display());
        let owners = if options.archive { Owners::Keep } else { Owners::One(0, 0) };
        let mut guest = self.guest(id, Scope::Everything, move |root, stream| {
            receive(root.as_fd(), &path, source.as_ref(), owners, stream)
                .map_err(|error| format!("{shown}: {error}"))
        })?;
        let given = give(guest.stream());
        let closed = guest.close_write();
        guest.leave(given.and_then(|given| closed.map(|()| given)))
    }

    /// Records a copy that is about to be made; the container's name, for messages.
    fn record_copy(&self, action: Action, id: &ContainerId, path: &Path) -> Result<String, Error> {
        let view = self.view(id)?.ok_or_else(|| Error::NoContainer(id.to_string()))?;
        let event = of_container(action, &view.record).with("path", path.to_string_lossy());
        self.record_work(&[event])?;
        Ok(view.record.name.to_string())
    }
}

/// The guest's part of a copy out.
fn send(root: BorrowedFd<'_>, path: &InsidePath, follow: bool, stream: File) -> Result<(), String> {
    let missing = |errno: Errno| match errno {
        Errno::NOENT => "no such file or directory in the container".to_owned(),
        errno => errno.to_string(),
    };
    let found = find_inside(root, &path.clean, path.directory || follow).map_err(missing)?;
    if path.directory && !found.is_dir() {
        return Err("not a directory".into());
    }
    let name = if path.contents { Path::new("") } else { Path::new(base(&path.clean)) };
    let mut archive = ArchiveWriter::new(stream);
    let copyable = found.is_copyable();
    Walk::new(&mut archive).found(found, name).map_err(|error| error.to_string())?;
    if !copyable {
        return Err("sockets and devices are not copied".into());
    }
    archive.finish().map_err(|error| error.to_string())
}

fn base(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

fn find_inside(root: BorrowedFd<'_>, path: &Path, follow: bool) -> Result<Found, Errno> {
    if follow {
        return Found::by(|flags| inside(root, path, flags & !OFlags::NOFOLLOW));
    }
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Found::by(|flags| inside(root, path, flags));
    };
    let above = inside(root, above, OFlags::PATH | OFlags::DIRECTORY)?;
    Found::at(above.as_fd(), name)
}

/// Opens what a path of the container names; links lead to where they would inside.
fn inside(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    loop {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), INSIDE) {
            // A rename raced with the look-up (openat2(2)).
            Err(Errno::AGAIN) => {}
            done => return done,
        }
    }
}

/// The guest's part of a copy in. Without a source it is an archive that somebody else has made.
fn receive(
    root: BorrowedFd<'_>,
    path: &InsidePath,
    source: Option<&Source>,
    owners: Owners,
    stream: File,
) -> Result<(), String> {
    let (above, name, there) = destination(root, &path.clean)?;
    let placed = match source {
        Some(source) => place(source, there, path.directory)?,
        None if there == Existing::Directory => Placed::Into(None),
        None => return Err("the destination must be a directory".into()),
    };
    let dir = match &placed {
        Placed::Into(_) => openat(
            &above,
            &name,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| errno.to_string())?,
        Placed::As => above,
    };
    let mut archive = ArchiveReader::new(stream).map_err(|error| error.to_string())?;
    let mut tree = TreeWriter::new(dir, owners);
    let poured = match (&placed, source) {
        (Placed::As, Some(source)) => archive.pour(&mut tree, &renamed(source, &name)),
        _ => archive.pour(&mut tree, &Path::to_path_buf),
    };
    poured.and_then(|_| tree.finish()).map_err(|error| readable(&error))
}

/// Docker's words for what a read-only root answers.
fn readable(error: &corral_image::Error) -> String {
    match error {
        corral_image::Error::ReadOnly { .. } => {
            "read-only file system: the container's root file system, or the volume there, is mounted read-only"
                .to_owned()
        }
        error => error.to_string(),
    }
}

/// The source's own entry under the destination's name.
fn renamed<'n>(source: &Source, name: &'n OsStr) -> impl Fn(&Path) -> PathBuf + use<'n> {
    let old = if source.contents { PathBuf::new() } else { PathBuf::from(&source.name) };
    move |path| match path.strip_prefix(&old) {
        Ok(rest) if rest.as_os_str().is_empty() => PathBuf::from(name),
        Ok(rest) => Path::new(name).join(rest),
        Err(_) => path.to_owned(),
    }
}

/// The directory of a destination, its name there, and what it is; a link is what it leads to.
fn destination(root: BorrowedFd<'_>, path: &Path) -> Result<(OwnedFd, OsString, Existing), String> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let (above, name) = match (path.parent(), path.file_name()) {
            (Some(above), Some(name)) => (above.to_owned(), name.to_owned()),
            _ => (PathBuf::from("/"), ".".into()),
        };
        let dir = inside(root, &above, OFlags::PATH | OFlags::DIRECTORY).map_err(|errno| match errno {
            Errno::NOENT => format!("there is no directory {} in the container", above.display()),
            errno => format!("{}: {errno}", above.display()),
        })?;
        match statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok((dir, name, Existing::Nothing)),
            Err(errno) => return Err(errno.to_string()),
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => return Ok((dir, name, Existing::Directory)),
                FileType::Symlink => {
                    let target = readlinkat(&dir, &name, Vec::new()).map_err(|errno| errno.to_string())?;
                    // Relative to the link's own directory, whatever links lie on the way there.
                    path = above.join(OsString::from_vec(target.into_bytes()));
                    if path.file_name().is_none() {
                        path.push(".");
                    }
                }
                _ => return Ok((dir, name, Existing::File)),
            },
        }
    }
    Err("too many levels of symbolic links".into())
}

/// Unpacks a guest's archive at a path of the host, whose links mean what they say: they are the caller's.
fn write_host(stream: &mut dyn Read, contents: bool, target: &Path, owners: Owners) -> Result<(), Error> {
    let mut archive = ArchiveReader::new(stream)?;
    let Some(first) = archive.next_entry()? else {
        // The guest has something to say.
        return Err(Error::io("read the archive")(std::io::ErrorKind::UnexpectedEof.into()));
    };
    let source =
        Source { is_dir: first.kind == EntryKind::Directory, contents, name: base(&first.path).to_owned() };
    let spelled = InsidePath::new(target).directory;
    let there = match std::fs::metadata(target) {
        Ok(meta) if meta.is_dir() => Existing::Directory,
        Ok(_) => Existing::File,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Existing::Nothing,
        Err(error) => return Err(Error::io(format!("look at {}", target.display()))(error)),
    };
    let fail = |reason: &str| Error::Invalid(format!("{}: {reason}", target.display()));
    let placed = place(&source, there, spelled).map_err(fail)?;
    // A file at the end of a link is written where the link leads.
    let resolved = match there {
        Existing::File => {
            std::fs::canonicalize(target).map_err(Error::io(format!("find {}", target.display())))?
        }
        _ => target.to_owned(),
    };
    let (dir, name) = match &placed {
        Placed::Into(_) => (target.to_owned(), None),
        Placed::As => (parent_of(&resolved), resolved.file_name()),
    };
    let root = openat(CWD, &dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(
        |errno| match errno {
            Errno::NOENT => {
                Error::Invalid(format!("directory {} does not exist: make it first", dir.display()))
            }
            errno => Error::io(format!("open {}", dir.display()))(errno.into()),
        },
    )?;
    let mut tree = TreeWriter::new(root, owners);
    let rename: Box<dyn Fn(&Path) -> PathBuf> = match name {
        Some(name) => Box::new(renamed(&source, name)),
        None => Box::new(Path::to_path_buf),
    };
    archive.resume(first, &mut tree, &rename)?;
    Ok(tree.finish()?)
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What a path of the host names: the link itself, unless it is to be followed.
fn host_source(path: &Path, follow: bool) -> Result<(Found, Source), Error> {
    let spelled = InsidePath::new(path);
    let bytes = path.as_os_str().as_encoded_bytes();
    let fail = |errno: Errno| match errno {
        Errno::NOENT => Error::Invalid(format!("{}: no such file or directory", path.display())),
        errno => Error::io(format!("read {}", path.display()))(errno.into()),
    };
    let follow = follow || bytes.ends_with(b"/") || bytes.ends_with(b"/.") || path.file_name().is_none();
    let found = Found::by(|flags| {
        let flags = if follow { flags & !OFlags::NOFOLLOW } else { flags | OFlags::NOFOLLOW };
        openat(CWD, path, flags, Mode::empty())
    })
    .map_err(fail)?;
    let absolute = std::path::absolute(path).map_err(Error::io(format!("find {}", path.display())))?;
    let clean = InsidePath::new(&absolute);
    let contents = clean.clean == Path::new("/") || bytes == b"." || bytes.ends_with(b"/.");
    if spelled.directory && !found.is_dir() && bytes.ends_with(b"/") {
        return Err(Error::Invalid(format!("{}: not a directory", path.display())));
    }
    if !found.is_copyable() {
        return Err(Error::Invalid(format!("{}: sockets and devices are not copied", path.display())));
    }
    let source = Source { is_dir: found.is_dir(), contents, name: base(&clean.clean).to_owned() };
    Ok((found, source))
}

/// Copies a stream to its end.
pub(crate) fn pump(from: &mut (impl Read + ?Sized), to: &mut (impl Write + ?Sized)) -> Result<(), Error> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        let got = from.read(&mut buffer).map_err(Error::io("read the archive"))?;
        if got == 0 {
            return to.flush().map_err(Error::io("write the archive"));
        }
        to.write_all(&buffer[..got]).map_err(Error::io("write the archive"))?;
    }
}

/// Counts what goes through.
struct Counted<'i, I> {
    inner: &'i mut I,
    bytes: u64,
}

impl<I: Read> Read for Counted<'_, I> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.bytes += got as u64;
        Ok(got)
    }
}

impl<I: Write> Write for Counted<'_, I> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let put = self.inner.write(bytes)?;
        self.bytes += put as u64;
        Ok(put)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_land_where_docker_puts_them() {
        let check = |(is_dir, contents), there, slash, expect: &str| {
            let source = Source { is_dir, contents, name: "src".into() };
            let got = match place(&source, there, slash) {
                Ok(Placed::Into(Some(name))) => format!("in as {}", name.display()),
                Ok(Placed::Into(None)) => "merged".into(),
                Ok(Placed::As) => "as".into(),
                Err(reason) => reason.split(':').next().unwrap_or_default().to_owned(),
            };
            assert_eq!(got, expect, "{source:?} {there:?} {slash}");
        };
        let (file, dir, contents) = ((false, false), (true, false), (true, true));
        check(file, Existing::Nothing, false, "as");
        check(file, Existing::Nothing, true, "no such directory");
        check(file, Existing::File, false, "as");
        check(file, Existing::File, true, "not a directory");
        check(file, Existing::Directory, false, "in as src");
        check(file, Existing::Directory, true, "in as src");
        check(dir, Existing::Nothing, false, "as");
        check(dir, Existing::Nothing, true, "as");
        check(dir, Existing::File, false, "cannot copy directory");
        check(dir, Existing::Directory, false, "in as src");
        check(contents, Existing::Nothing, false, "as");
        check(contents, Existing::File, false, "cannot copy directory");
        check(contents, Existing::Directory, false, "merged");
    }

    #[test]
    fn paths_inside_are_cleaned_and_their_ends_kept() {
        let check = |text: &str, clean: &str, directory, contents| {
            let expect = InsidePath { clean: clean.into(), directory, contents };
            assert_eq!(InsidePath::new(Path::new(text)), expect, "{text}");
        };
        check("/a/b", "/a/b", false, false);
        check("a//b/", "/a/b", true, false);
        check("/a/b/.", "/a/b", true, true);
        check("../../x", "/x", false, false);
        check("/a/../b", "/b", false, false);
        check("/", "/", true, true);
        check(".", "/", true, true);
        check("..", "/", true, true);
        check("/a..b/...", "/a..b/...", false, false);
    }

    #[test]
    fn the_top_entry_takes_the_new_name() {
        let source = |contents| Source { is_dir: true, contents, name: "src".into() };
        let name = OsStr::new("new");
        let check = |contents, path: &str, expect: &str| {
            assert_eq!(renamed(&source(contents), name)(Path::new(path)), PathBuf::from(expect), "{path}");
        };
        check(false, "src", "new");
        check(false, "src/a/b", "new/a/b");
        check(true, "", "new");
        check(true, "a", "new/a");
    }
}
