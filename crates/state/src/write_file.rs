use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// Writes a record so that a reader sees the old one or the new one, never a half. `durable` adds the
/// fsync that makes it outlive a power cut; what the next boot throws away does without.
///
/// # Errors
/// [`Error::Io`].
pub fn write_record<T: Serialize>(path: &Path, record: &T, durable: bool) -> Result<(), Error> {
    stage_record(path, record, durable)?.place()
}

/// A record that is written, and that nobody sees yet.
#[derive(Debug)]
pub struct Staged<'p> {
    written: PathBuf,
    path: &'p Path,
}

/// The first half of [`write_record`], which is what can fail: a caller that has something to do in between knows then
/// that there is space.
///
/// # Errors
/// As [`write_record`].
pub fn stage_record<'p, T: Serialize>(
    path: &'p Path,
    record: &T,
    durable: bool,
) -> Result<Staged<'p>, Error> {
    let damaged =
        |reason: serde_json::Error| Error::Damaged { path: path.to_path_buf(), reason: reason.to_string() };
    let bytes = serde_json::to_vec(record).map_err(damaged)?;
    let written = path.with_extension("new");
    let mut file = open(&written, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)
        .map_err(Error::io("write", &written))?;
    file.write_all(&bytes).map_err(Error::io("write", &written))?;
    if durable {
        file.sync_all().map_err(Error::io("sync", &written))?;
    }
    corral_fault::step!(RecordStaged);
    Ok(Staged { written, path })
}

impl Staged<'_> {
    /// Puts it in its place.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn place(self) -> Result<(), Error> {
        std::fs::rename(&self.written, self.path).map_err(Error::io("put in place", self.path))?;
        corral_fault::step!(RecordPlaced);
        Ok(())
    }
}

/// Opens a file that no other user may read. musl's open(3), which std calls, sets FD_CLOEXEC once more by a call of
/// its own; this is one call.
pub(crate) fn open(path: &Path, flags: OFlags) -> std::io::Result<File> {
    Ok(rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))?.into())
}

/// Reads a record; none if the file does not exist.
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`], and [`Error::Generation`] for a record of a newer build.
pub fn read_record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    match serde_json::from_slice(&bytes) {
        Ok(record) => Ok(Some(record)),
        Err(error) => Err(explain(path, &bytes, &error)),
    }
}

/// A record that does not parse is from a newer build if it says so, else damaged.
fn explain(path: &Path, bytes: &[u8], error: &serde_json::Error) -> Error {
    #[derive(serde::Deserialize)]
    struct Head {
        generation: u32,
    }
    let known = corral_spec::record::GENERATION;
    match serde_json::from_slice::<Head>(bytes) {
        Ok(head) if head.generation > known => {
            Error::Generation { path: path.to_path_buf(), found: head.generation, known }
        }
        _ => Error::Damaged { path: path.to_path_buf(), reason: error.to_string() },
    }
}
