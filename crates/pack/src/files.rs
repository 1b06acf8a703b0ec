use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::Error;
use crate::tree::Content;

/// Opens a file whose path has been made canonical: a symbolic link put anywhere in it since is refused.
pub(crate) fn open_plain(path: &Path) -> Result<File, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
        .map(File::from)
        .map_err(|errno| Error::io("read", path)(errno.into()))
}

/// The bytes of a file on its way into a layer.
pub(crate) fn content_bytes(content: &Content) -> Result<std::borrow::Cow<'_, [u8]>, Error> {
    match content {
        Content::Bytes(bytes) => Ok(bytes[..].into()),
        Content::Host { path, offset, size } => {
            let mut bytes = vec![0; *size as usize];
            open_plain(path)?.read_exact_at(&mut bytes, *offset).map_err(Error::io("read", path))?;
            Ok(bytes.into())
        }
    }
}

/// Writes a file whole or not at all. Not synced: what is kept can be made again.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(&format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy()))
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(parent)
        .map_err(Error::io("write", path))?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.persist(path).map_err(|error| Error::io("write", path)(error.error))?;
    Ok(())
}

/// A text file at the top of the project; none if it is not there.
///
/// # Errors
/// [`Error::Io`], or [`Error::Project`] for a link, a directory, something larger than `limit` bytes or not UTF-8.
pub(crate) fn read_project_file(dir: &Path, name: &str, limit: u64) -> Result<Option<String>, Error> {
    let path = dir.join(name);
    let bad = |reason: &str| Error::Project { path: path.clone(), reason: reason.to_owned() };
    let file = match open_plain(&path) {
        Ok(file) => file,
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(Error::Io { source, .. })
            if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) =>
        {
            return Err(bad("is a symbolic link: put the file itself in its place"));
        }
        Err(error) => return Err(error),
    };
    let metadata = file.metadata().map_err(Error::io("read", &path))?;
    if !metadata.is_file() || metadata.len() > limit {
        return Err(bad(&format!("is not a plain file of at most {limit} bytes")));
    }
    let mut bytes = vec![0; metadata.len() as usize];
    file.read_exact_at(&mut bytes, 0).map_err(Error::io("read", &path))?;
    String::from_utf8(bytes).map(Some).map_err(|_| bad("is not UTF-8"))
}

/// Test input: a directory that holds these files, and its canonical path.
#[cfg(test)]
pub(crate) fn written(files: &[(&str, &str)]) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let root = dir.path().canonicalize().expect("canonical");
    for (path, text) in files {
        std::fs::create_dir_all(root.join(path).parent().expect("parent")).expect("made");
        std::fs::write(root.join(path), text).expect("written");
    }
    (dir, root)
}
