//! The log driver `json-file`, with Docker's names: `ID-json.log`, and `ID-json.log.1` and so on for what was rotated.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use corral_spec::ContainerId;
use corral_spec::record::Log;
use rustix::fs::{Mode, OFlags, SeekFrom};

use super::Stream;
use super::json;
use super::lines::Lines;
use crate::Error;

/// Looked at from the end of a file for the last whole line: more than the longest one takes.
const LAST: u64 = 256 * 1024;

/// The file's name.
pub(super) fn name(id: &ContainerId) -> String {
    format!("{id}-json.log")
}

/// The one writer of a container's log. Makes no file before there is something to write.
#[derive(Debug)]
pub struct JsonFile {
    path: PathBuf,
    limits: Log,
    attributes: Vec<u8>,
    lines: Lines,
    current: Option<(OwnedFd, u64)>,
    /// Lines of one read, to be written at once.
    batch: Vec<u8>,
}

impl JsonFile {
    pub fn new(container_dir: &Path, id: &ContainerId, limits: Log) -> Self {
        let attributes = json::attributes(&limits.attributes);
        Self {
            path: container_dir.join(name(id)),
            limits,
            attributes,
            lines: Lines::default(),
            current: None,
            batch: Vec::new(),
        }
    }

    /// Takes what one read brought; what has no newline yet waits, up to 16 KiB.
    pub fn append(&mut self, time_ns: u64, stream: Stream, bytes: &[u8]) -> Result<(), Error> {
        let suffix = json::suffix(time_ns, stream, &self.attributes);
        let mut lines = std::mem::take(&mut self.lines);
        let mut result = Ok(());
        lines.feed(stream, bytes, |line| {
            if result.is_ok() {
                result = self.add(line, &suffix);
            }
        });
        self.lines = lines;
        result.and_then(|()| self.flush())
    }

    /// Takes what ended without a newline.
    pub fn finish(&mut self, time_ns: u64) -> Result<(), Error> {
        let mut lines = std::mem::take(&mut self.lines);
        let mut result = Ok(());
        lines.finish(|stream, line| {
            let suffix = json::suffix(time_ns, stream, &self.attributes);
            if result.is_ok() {
                result = self.add(line, &suffix);
            }
        });
        result.and_then(|()| self.flush())
    }

    /// Adds a line to the batch. As in Docker, a file that has reached its size is left before the next line.
    fn add(&mut self, line: &[u8], suffix: &[u8]) -> Result<(), Error> {
        if self.current.is_none() {
            self.open()?;
        }
        let size = self.current.as_ref().map_or(0, |(_, size)| *size) + self.batch.len() as u64;
        if size >= self.limits.max_size {
            self.flush()?;
            self.rotate()?;
            self.open()?;
        }
        self.batch.extend_from_slice(b"{\"log\":");
        json::write_string(&mut self.batch, line);
        self.batch.extend_from_slice(suffix);
        Ok(())
    }

    /// Writes the batch. After an error nothing of it is in the log.
    fn flush(&mut self) -> Result<(), Error> {
        let Some((file, size)) = &mut self.current else { return Ok(()) };
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut at = 0;
        let failed = loop {
            match rustix::io::retry_on_intr(|| rustix::io::write(&*file, &self.batch[at..])) {
                Ok(0) => break Some(io::ErrorKind::WriteZero.into()),
                Ok(written) => at += written,
                Err(errno) => break Some(io::Error::from(errno)),
            }
            if at == self.batch.len() {
                break None;
            }
        };
        self.batch.clear();
        match failed {
            None => {
                *size += at as u64;
                Ok(())
            }
            Some(error) => {
                // Half a line would spoil the next one.
                rustix::fs::ftruncate(&*file, *size)
                    .map_err(io::Error::from)
                    .map_err(Error::file("cut a half-written line off", &self.path))?;
                Err(Error::file("append to", &self.path)(error))
            }
        }
    }

    fn rotate(&mut self) -> Result<(), Error> {
        self.current = None;
        let path = |number: u32| match number {
            0 => self.path.clone(),
            number => PathBuf::from(format!("{}.{number}", self.path.display())),
        };
        let most = self.limits.max_files;
        if most == 0 {
            return std::fs::remove_file(path(0)).map_err(Error::file("remove", path(0)));
        }
        let free = (1..=most).find(|number| !path(*number).exists()).unwrap_or(most);
        for number in (0..free).rev() {
            std::fs::rename(path(number), path(number + 1)).map_err(Error::file("rotate", path(number)))?;
        }
        Ok(())
    }

    /// Opens the file for appending, cut back to its last whole line.
    fn open(&mut self) -> Result<(), Error> {
        let fail = |act| Error::file(act, &self.path);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        // Docker's mode.
        let file = rustix::fs::open(&self.path, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP)
            .map_err(io::Error::from)
            .map_err(fail("open"))?;
        let end =
            rustix::fs::seek(&file, SeekFrom::End(0)).map_err(io::Error::from).map_err(fail("inspect"))?;
        let mut last = vec![0; LAST.min(end) as usize];
        let from = end - last.len() as u64;
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut last, from));
        let read = read.map_err(io::Error::from).map_err(fail("inspect"))?;
        let whole = last[..read].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let size = from + whole as u64;
        if size < end {
            rustix::fs::ftruncate(&file, size)
                .map_err(io::Error::from)
                .map_err(fail("cut a half-written line off"))?;
        }
        self.current = Some((file, size));
        Ok(())
    }
}
