use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::record::{HEADER, Header, MAX_BYTES, Stream};
use super::tail::{BLOCK, newlines, walk};
use super::watch::Watch;
use super::{CURRENT, DIRECTORY};
use crate::Error;

/// What of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Nothing before this time, in nanoseconds since the epoch.
    pub since_ns: Option<u64>,
    /// Nothing after this time, likewise; a following reader ends there.
    pub until_ns: Option<u64>,
    /// Only the last so many lines, counted before the times are looked at, as Docker does.
    pub tail: Option<u64>,
    /// Wait for more, as long as the container runs.
    pub follow: Follow,
}

/// Whether a reader waits at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Follow {
    /// It does not.
    #[default]
    No,
    /// It waits until the monitor of this run directory is gone.
    While {
        /// Holds the monitor's lock.
        run_dir: PathBuf,
    },
}

/// Whole lines of one stream that were written at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When the last of it was read from the container: nanoseconds since the epoch.
    pub time_ns: u64,
    /// Where it was written.
    pub stream: Stream,
    /// One line or more, each with its `\n`. Without one at the end: the rest of a stream that ended so, or
    /// a piece of a line longer than 64 KiB, or with [`ReadOptions::follow`] a prompt that waits.
    pub bytes: &'a [u8],
    /// The first of these bytes go on with a line whose beginning was in an earlier entry.
    pub continues: bool,
}

/// Reads a container's log from its oldest file to its end. A log that does not exist is empty.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    options: ReadOptions,
    /// Opened and not yet begun, oldest first.
    files: VecDeque<File>,
    file: Option<File>,
    /// Bytes of `file` that were read, from `at` on not yet looked at.
    block: Vec<u8>,
    at: usize,
    /// Lines still to be passed over because of `tail`.
    skip: u64,
    lines: [Line; 2],
    out: Vec<u8>,
    watch: Option<Watch>,
    /// A record later than wanted was met.
    past_until: bool,
}

/// The line that a stream has begun.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    time_ns: u64,
    /// Its beginning is already out.
    continues: bool,
}

/// What one look at the files brought.
enum Step {
    Record(Header),
    End,
}

impl Reader {
    /// Opens the log of the container in this directory.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn open(container_dir: &Path, options: ReadOptions) -> Result<Self, Error> {
        let directory = container_dir.join(DIRECTORY);
        // Before the files are looked at, so that nothing written in between is slept over.
        let watch = match &options.follow {
            Follow::No => None,
            Follow::While { run_dir } => Some(Watch::new(container_dir, run_dir)?),
        };
        let mut files = open_newer_than(&directory, None)?;
        let skip = match options.tail {
            None => 0,
            Some(wanted) => lines_before_tail(&directory, &mut files, wanted)?,
        };
        Ok(Self {
            directory,
            options,
            files,
            file: None,
            block: Vec::new(),
            at: 0,
            skip,
            lines: Default::default(),
            out: Vec::new(),
            watch,
            past_until: false,
        })
    }

    /// The next lines; none at the end. Blocks while following.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Error> {
        loop {
            let step = if self.past_until { Step::End } else { self.step()? };
            match step {
                Step::Record(header) if self.options.until_ns.is_some_and(|until| header.time_ns > until) => {
                    self.past_until = true;
                }
                Step::Record(header) => {
                    if let Some(continues) = self.take(header) {
                        let (time_ns, stream) = (header.time_ns, header.stream);
                        return Ok(Some(Entry { time_ns, stream, bytes: &self.out, continues }));
                    }
                }
                Step::End => {
                    // What has no newline and perhaps never gets one: the end of the stream, or a prompt.
                    if let Some((time_ns, stream, continues)) = self.unfinished() {
                        return Ok(Some(Entry { time_ns, stream, bytes: &self.out, continues }));
                    }
                    if self.past_until || !self.wait()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Moves a record's whole lines to `out`, with the line begun before; none if there is nothing to show.
    fn take(&mut self, header: Header) -> Option<bool> {
        let mut bytes = &self.block[self.at - header.len..self.at];
        let line = &mut self.lines[header.stream as usize];
        self.out.clear();
        if self.skip > 0 {
            bytes = line.pass_over(bytes, &mut self.skip);
        }
        if self.options.since_ns.is_some_and(|since| header.time_ns < since) {
            return None;
        }
        line.time_ns = header.time_ns;
        let continues = line.continues;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        if whole > 0 {
            self.out.append(&mut line.bytes);
            self.out.extend_from_slice(&bytes[..whole]);
            line.continues = false;
        } else if self.skip == 0 && line.bytes.len() + bytes.len() > MAX_BYTES {
            self.out.append(&mut line.bytes);
            line.continues = true;
        }
        line.hold(&bytes[whole..]);
        (!self.out.is_empty()).then_some(continues)
    }

    fn unfinished(&mut self) -> Option<(u64, Stream, bool)> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = &mut self.lines[stream as usize];
            if !line.bytes.is_empty() {
                self.out = std::mem::take(&mut line.bytes);
                let continues = std::mem::replace(&mut line.continues, true);
                return Some((line.time_ns, stream, continues));
            }
        }
        None
    }

    /// The next record, whose bytes end at `self.at`.
    fn step(&mut self) -> Result<Step, Error> {
        loop {
            if let Some((head, rest)) = self.block[self.at..].split_first_chunk::<HEADER>() {
                match Header::parse(head) {
                    Some(header) if rest.len() >= header.len => {
                        self.at += HEADER + header.len;
                        return Ok(Step::Record(header));
                    }
                    Some(_) => {}
                    // Nothing behind this place can be told apart: go on with the next file, if there is one.
                    None => self.at = self.block.len(),
                }
            }
            if !self.fill()? {
                return Ok(Step::End);
            }
        }
    }

    /// Reads more of this file, or of the next one; false at the end of all.
    fn fill(&mut self) -> Result<bool, Error> {
        loop {
            if let Some(file) = &self.file {
                self.block.drain(..self.at);
                self.at = 0;
                self.block.reserve(BLOCK);
                let read = rustix::io::retry_on_intr(|| {
                    rustix::io::read(file, rustix::buffer::spare_capacity(&mut self.block))
                });
                if read.map_err(|errno| Error::file("read", &self.directory)(errno.into()))? > 0 {
                    return Ok(true);
                }
            }
            if self.files.is_empty() {
                // Without following, what is there at the start is read, not what rotation brings meanwhile.
                if self.watch.is_some() {
                    self.files = open_newer_than(&self.directory, self.file.as_ref())?;
                }
                if self.files.is_empty() {
                    return Ok(false);
                }
                if self.file.is_some() {
                    // It was rotated since: once more, for what came before that.
                    continue;
                }
            }
            self.next_file();
            self.file = self.files.pop_front();
        }
    }

    /// Leaves this file, with what is left of it: at most half a record.
    fn next_file(&mut self) {
        self.block.clear();
        self.at = 0;
        self.file = None;
    }

    /// At the end: false when nothing will follow.
    fn wait(&mut self) -> Result<bool, Error> {
        match &mut self.watch {
            Some(watch) => watch.wait(&self.directory, self.options.until_ns),
            None => Ok(false),
        }
    }
}

impl Line {
    fn hold(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() > MAX_BYTES {
            self.bytes.clear();
            self.continues = true;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Drops the lines that are not wanted, the one begun before among them; what is left behind them.
    fn pass_over<'a>(&mut self, mut bytes: &'a [u8], skip: &mut u64) -> &'a [u8] {
        while *skip > 0 {
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { break };
            bytes = &bytes[end + 1..];
            self.bytes.clear();
            self.continues = false;
            *skip -= 1;
        }
        bytes
    }
}

/// Opens the log's files that are younger than this one, oldest first; all of them without one.
///
/// Going from `current` upwards while the writer renames upwards: a file can be met twice, never missed.
fn open_newer_than(directory: &Path, than: Option<&File>) -> Result<VecDeque<File>, Error> {
    let identity = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino()));
    let known = than.map(identity).transpose().map_err(Error::file("inspect", directory))?;
    let mut files = VecDeque::new();
    let mut last = None;
    let mut gaps = 0;
    for number in 0_u32.. {
        let path = if number == 0 { directory.join(CURRENT) } else { directory.join(number.to_string()) };
        let file = match File::open(&path) {
            Ok(file) => file,
            // In the middle of a rotation one number is free.
            Err(error) if error.kind() == io::ErrorKind::NotFound && gaps == 0 => {
                gaps += 1;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(Error::file("open", path)(error)),
        };
        let this = Some(identity(&file).map_err(Error::file("inspect", path))?);
        if this == known {
            break;
        }
        if this != last {
            files.push_front(file);
            last = this;
        }
    }
    Ok(files)
}

/// Forgets the files that the last `wanted` lines do not reach back to; says how many lines of the others
/// come before them.
fn lines_before_tail(directory: &Path, files: &mut VecDeque<File>, wanted: u64) -> Result<u64, Error> {
    let mut lines = 0;
    for at in (0..files.len()).rev() {
        let mut unfinished = false;
        let size = files[at].metadata().map_err(Error::file("inspect", directory))?.len();
        walk(&files[at], size, |_, bytes| {
            lines += newlines(bytes);
            unfinished = bytes.last() != Some(&b'\n');
        })
        .map_err(Error::file("read", directory))?;
        if at + 1 == files.len() && unfinished {
            lines += 1;
        }
        // More than wanted, not as many: the first line of a file may have begun in the one before.
        if lines > wanted {
            files.drain(..at);
            break;
        }
    }
    Ok(lines.saturating_sub(wanted))
}
