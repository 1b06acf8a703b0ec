//! The monitor's side of the log: append, rotate, cut off what a crash left half.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use corral_spec::record::Log;
use rustix::fs::{Mode, OFlags, SeekFrom};

use super::record::{HEADER, Header, MAX_BYTES, Stream};
use super::{CURRENT, DIRECTORY, tail};
use crate::Error;

/// The one writer of a container's log. Makes no file before there is something to write.
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    limits: Log,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    file: OwnedFd,
    /// Bytes of whole records.
    size: u64,
}

impl Writer {
    /// Of the container in this directory; no log is kept when `max_size` is 0.
    pub fn new(container_dir: &Path, limits: Log) -> Self {
        Self { directory: container_dir.join(DIRECTORY), limits, current: None }
    }

    /// Appends what one read of a stream brought, at most 64 KiB. After an error nothing of it is in the
    /// log, and the next call tries again.
    pub fn append(&mut self, time_ns: u64, stream: Stream, bytes: &[u8]) -> Result<(), Error> {
        debug_assert!(bytes.len() <= MAX_BYTES);
        if bytes.is_empty() || self.limits.max_size == 0 {
            return Ok(());
        }
        let record = (HEADER + bytes.len()) as u64;
        if self.current.as_ref().is_some_and(|current| current.size + record > self.limits.max_size) {
            self.rotate()?;
        }
        let head = Header::of(time_ns, stream, bytes);
        let slices = [IoSlice::new(&head), IoSlice::new(bytes)];
        let current = match &mut self.current {
            Some(current) => current,
            none => none.insert(open(&self.directory)?),
        };
        let fail = Error::file("append to", self.directory.join(CURRENT));
        match rustix::io::retry_on_intr(|| rustix::io::writev(&current.file, &slices)) {
            Ok(written) if written as u64 == record => {
                current.size += record;
                Ok(())
            }
            // Half a record would make all that follow it unreadable.
            cut => {
                rustix::fs::ftruncate(&current.file, current.size)
                    .map_err(io::Error::from)
                    .map_err(Error::file("cut a half-written record off", self.directory.join(CURRENT)))?;
                Err(fail(cut.map_or_else(io::Error::from, |_| io::ErrorKind::StorageFull.into())))
            }
        }
    }

    /// Renames `current` to `1`, `1` to `2` and so on, oldest first; the one beyond `max_files` goes.
    fn rotate(&mut self) -> Result<(), Error> {
        self.current = None;
        let path = |number: u32| match number {
            0 => self.directory.join(CURRENT),
            number => self.directory.join(number.to_string()),
        };
        let count = (1..=self.limits.max_files).find(|number| !path(*number).exists());
        let last = count.unwrap_or(self.limits.max_files);
        if last == 0 {
            return std::fs::remove_file(path(0)).map_err(Error::file("remove", path(0)));
        }
        for number in (0..last).rev() {
            std::fs::rename(path(number), path(number + 1)).map_err(Error::file("rotate", path(number)))?;
            corral_fault::step!(LogMoved);
        }
        corral_fault::step!(LogRotated);
        Ok(())
    }
}

/// Opens `current` for appending, cut back to its last whole record.
fn open(directory: &Path) -> Result<Current, Error> {
    let path = directory.join(CURRENT);
    // RDWR, because the last whole record has to be found.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let open = || rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR);
    let file = match open() {
        Err(rustix::io::Errno::NOENT) => {
            rustix::fs::mkdir(directory, Mode::RWXU)
                .map_err(|errno| Error::file("make", directory)(errno.into()))?;
            open()
        }
        other => other,
    };
    let file = file.map_err(|errno| Error::file("open", &path)(errno.into()))?;
    let fail = |errno: rustix::io::Errno| Error::file("inspect", &path)(errno.into());
    let end = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(fail)?;
    let size = tail::whole_records(&file, end).map_err(Error::file("inspect", &path))?;
    if size < end {
        rustix::fs::ftruncate(&file, size).map_err(fail)?;
    }
    Ok(Current { file, size })
}
