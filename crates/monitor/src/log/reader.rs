//! From records back to lines, over rotations, to the end or as long as the container runs.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use corral_spec::ContainerId;

use super::record::{HEADER, Header, MAX_BYTES, Stream};
use super::tail::{BLOCK, newlines, walk};
use super::watch::Watch;
use super::{CURRENT, DIRECTORY, json, jsonfile, lines};
use crate::Error;

/// A longer line of a json-file is none of a log driver's.
const LONGEST_JSON: usize = 1 << 20;

/// How the files are named, and what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Of the driver `local`.
    Local,
    /// Of the driver `json-file`, with this name.
    JsonFile(String),
}

/// What of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Nothing before this time, in nanoseconds since the epoch.
    pub since_ns: Option<u64>,
    /// Nothing after this time, likewise; a following reader ends there.
    pub until_ns: Option<u64>,
    /// Only the last so many lines, counted before the times are looked at, as Docker does.
    pub tail: Option<u64>,
    /// Wait for more at the end.
    pub follow: Option<Follow>,
    /// With what was written beside each line.
    pub details: bool,
}

/// As long as a container runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// Holds its monitor's lock.
    pub run_dir: PathBuf,
}

/// A line, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When the end of it was read from the container: nanoseconds since the epoch.
    pub time_ns: u64,
    /// Where it was written.
    pub stream: Stream,
    /// Up to and with its `\n`. Without one: the end of a stream that ended so, a piece of a line longer than
    /// 64 KiB, or, while following, a prompt that waits.
    pub bytes: &'a [u8],
    /// Labels and variables that the log has for each line, as `logs --details` shows them.
    pub details: &'a str,
    /// These bytes go on with a line whose beginning was the stream's last entry: no time stamp belongs here.
    pub continues: bool,
}

/// Reads a container's log from its oldest file to its end. A log that does not exist is empty.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    form: Form,
    options: ReadOptions,
    /// Opened and not yet begun, oldest first.
    files: VecDeque<File>,
    file: Option<File>,
    /// Bytes of `file` that were read, from `at` on not yet looked at.
    block: Vec<u8>,
    at: usize,
    /// Lines still to be passed over because of `tail`.
    skip: u64,
    /// The text of a json-file's line.
    text: Vec<u8>,
    /// The attributes that `details` were made of.
    attributes: Vec<u8>,
    details: String,
    lines: [Line; 2],
    out: Lines,
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

/// Lines of one stream and time that are ready, handed out one by one.
#[derive(Debug)]
struct Lines {
    bytes: Vec<u8>,
    /// Up to here they are handed out.
    at: usize,
    time_ns: u64,
    stream: Stream,
    /// The first of them goes on with a line that was begun.
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
        Self::open_form(container_dir, Form::Local, options)
    }

    /// Opens the log that the driver `json-file` wrote, or Docker itself.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn open_json_file(
        container_dir: &Path,
        id: &ContainerId,
        options: ReadOptions,
    ) -> Result<Self, Error> {
        Self::open_form(container_dir, Form::JsonFile(jsonfile::name(id)), options)
    }

    fn open_form(container_dir: &Path, form: Form, options: ReadOptions) -> Result<Self, Error> {
        let directory = match &form {
            Form::Local => container_dir.join(DIRECTORY),
            Form::JsonFile(_) => container_dir.to_owned(),
        };
        // Before the files are looked at, so that nothing written in between is slept over.
        let watch = match &options.follow {
            None => None,
            Some(follow) => Some(Watch::new(container_dir, &follow.run_dir)?),
        };
        let mut files = open_newer_than((&directory, &form), None)?;
        let skip = match options.tail {
            None => 0,
            Some(wanted) => lines_before_tail((&directory, &form), &mut files, wanted)?,
        };
        Ok(Self {
            directory,
            form,
            options,
            files,
            file: None,
            block: Vec::new(),
            at: 0,
            skip,
            text: Vec::new(),
            attributes: Vec::new(),
            details: String::new(),
            lines: Default::default(),
            out: Lines { bytes: Vec::new(), at: 0, time_ns: 0, stream: Stream::Stdout, continues: false },
            watch,
            past_until: false,
        })
    }

    /// The next line; none at the end. While following it blocks, and before that calls `before_wait`: the
    /// moment to flush what was written so far.
    ///
    /// # Errors
    /// [`Error::File`], and [`Error::Output`] for what `before_wait` met.
    pub fn next_entry(
        &mut self,
        mut before_wait: impl FnMut() -> io::Result<()>,
    ) -> Result<Option<Entry<'_>>, Error> {
        while self.out.at == self.out.bytes.len() {
            if !self.prepare(&mut before_wait)? {
                return Ok(None);
            }
        }
        Ok(self.out.next().map(|entry| Entry { details: &self.details, ..entry }))
    }

    /// Looks for lines to hand out, at one record or one end; false when nothing will follow.
    fn prepare(&mut self, before_wait: &mut dyn FnMut() -> io::Result<()>) -> Result<bool, Error> {
        match if self.past_until { Step::End } else { self.step()? } {
            Step::Record(header) => {
                self.past_until = self.options.until_ns.is_some_and(|until| header.time_ns > until);
                if !self.past_until {
                    self.take(header);
                }
                Ok(true)
            }
            // What has no newline and perhaps never gets one: the end of the stream, or a prompt.
            Step::End if self.take_unfinished() => Ok(true),
            Step::End if self.past_until => Ok(false),
            Step::End => match &mut self.watch {
                Some(watch) => {
                    before_wait().map_err(Error::Output)?;
                    watch.wait(&self.directory, self.options.until_ns)
                }
                None => Ok(false),
            },
        }
    }

    /// Moves a record's whole lines to `out`, behind the line begun before.
    fn take(&mut self, header: Header) {
        let mut bytes = match &self.form {
            Form::Local => &self.block[self.at - header.len..self.at],
            Form::JsonFile(_) => &self.text,
        };
        let line = &mut self.lines[header.stream as usize];
        if self.skip > 0 {
            bytes = line.pass_over(bytes, &mut self.skip);
        }
        if self.options.since_ns.is_some_and(|since| header.time_ns < since) {
            return;
        }
        line.time_ns = header.time_ns;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        if whole > 0 || (self.skip == 0 && line.bytes.len() + bytes.len() > MAX_BYTES) {
            self.out.begin(line, header.stream);
            self.out.bytes.extend_from_slice(&bytes[..whole]);
            line.continues = whole == 0;
        }
        line.hold(&bytes[whole..]);
    }

    /// Moves a line that is begun to `out`, unless it is one to be passed over.
    fn take_unfinished(&mut self) -> bool {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = &mut self.lines[stream as usize];
            if self.skip == 0 && !line.bytes.is_empty() {
                self.out.begin(line, stream);
                line.continues = true;
                return true;
            }
        }
        false
    }

    /// The next record, whose bytes end at `self.at`, or are in `self.text`.
    fn step(&mut self) -> Result<Step, Error> {
        if matches!(self.form, Form::JsonFile(_)) {
            return self.step_json();
        }
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

    /// The next line of a json-file. What is no such line, as the half that a crash left, is passed over.
    fn step_json(&mut self) -> Result<Step, Error> {
        loop {
            while let Some(len) = lines::newline(&self.block[self.at..]) {
                let line = &self.block[self.at..self.at + len];
                self.at += len + 1;
                let Some(parsed) = json::parse(line, &mut self.text) else { continue };
                if self.options.details && parsed.attributes != self.attributes {
                    self.details = json::details(parsed.attributes);
                    self.attributes = parsed.attributes.to_vec();
                }
                let (time_ns, stream) = (parsed.time_ns, parsed.stream);
                return Ok(Step::Record(Header { time_ns, stream, len: self.text.len() }));
            }
            if self.block.len() - self.at > LONGEST_JSON {
                self.at = self.block.len();
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
                    self.files = open_newer_than((&self.directory, &self.form), self.file.as_ref())?;
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
}

impl Lines {
    /// Begins anew with a line that was begun.
    fn begin(&mut self, line: &mut Line, stream: Stream) {
        self.bytes.clear();
        self.bytes.append(&mut line.bytes);
        (self.at, self.time_ns, self.stream, self.continues) = (0, line.time_ns, stream, line.continues);
    }

    fn next(&mut self) -> Option<Entry<'_>> {
        let mut rest = &self.bytes[self.at..];
        // The standard library's own memchr, by its only door.
        let len = rest.skip_until(b'\n').unwrap_or_default();
        let bytes = &self.bytes[self.at..self.at + len];
        self.at += len;
        let continues = std::mem::take(&mut self.continues);
        (len > 0).then_some(Entry {
            time_ns: self.time_ns,
            stream: self.stream,
            bytes,
            details: "",
            continues,
        })
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

impl Form {
    /// Of the current file, 0, and of those that were rotated.
    fn name(&self, number: u32) -> String {
        match (self, number) {
            (Self::Local, 0) => CURRENT.to_owned(),
            (Self::Local, number) => number.to_string(),
            (Self::JsonFile(name), 0) => name.clone(),
            (Self::JsonFile(name), number) => format!("{name}.{number}"),
        }
    }
}

/// Calls `each` with the text of every line of a json-file up to this size.
fn walk_json(file: &File, size: u64, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    // By offsets: the reader reads the same open file.
    let (mut block, mut text, mut at) = (Vec::new(), Vec::new(), 0);
    while at < size {
        let old = block.len();
        block.resize(old + BLOCK.min((size - at) as usize), 0);
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut block[old..], at))?;
        if read == 0 {
            break;
        }
        block.truncate(old + read);
        at += read as u64;
        let mut begun = 0;
        while let Some(len) = lines::newline(&block[begun..]) {
            if json::parse(&block[begun..begun + len], &mut text).is_some() {
                each(&text);
            }
            begun += len + 1;
        }
        if block.len() - begun > LONGEST_JSON {
            begun = block.len();
        }
        block.drain(..begun);
    }
    Ok(())
}

/// Opens the log's files that are younger than this one, oldest first; all of them without one.
///
/// Going from `current` upwards while the writer renames upwards: a file can be met twice, never missed.
fn open_newer_than((directory, form): (&Path, &Form), than: Option<&File>) -> Result<VecDeque<File>, Error> {
    let identity = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino()));
    let known = than.map(identity).transpose().map_err(Error::file("inspect", directory))?;
    let mut files = VecDeque::new();
    let mut last = None;
    let mut gaps = 0;
    for number in 0_u32.. {
        let path = directory.join(form.name(number));
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
fn lines_before_tail(
    (directory, form): (&Path, &Form),
    files: &mut VecDeque<File>,
    wanted: u64,
) -> Result<u64, Error> {
    let mut lines = 0;
    for at in (0..files.len()).rev() {
        let mut unfinished = false;
        let size = files[at].metadata().map_err(Error::file("inspect", directory))?.len();
        let mut count = |bytes: &[u8]| {
            lines += newlines(bytes);
            unfinished = bytes.last() != Some(&b'\n');
        };
        match form {
            Form::Local => walk(&files[at], size, |_, bytes| count(bytes)).map(drop),
            Form::JsonFile(_) => walk_json(&files[at], size, count),
        }
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
