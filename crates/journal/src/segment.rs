//! One segment: its name, its first and last record, and the walk over what is in between.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use crate::chain::{Key, Mac};
use crate::line::{self, Body, LONGEST, Link, Record};
use crate::{Error, LANES};

/// The version of the format, in each segment's first record.
const GENERATION: &str = "1";
/// The action of a segment's first record.
pub(crate) const OPENED: &str = "segment";
/// The action of a full segment's last record.
pub(crate) const CLOSED: &str = "close";

/// Why a segment was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is the lane's first.
    First,
    /// The one before is full.
    Full,
    /// The clock was set back.
    Clock,
    /// The one before does not verify, or lacks records that were there: what is missing stands before this.
    Damaged,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Full => "full",
            Self::Clock => "clock",
            Self::Damaged => "damaged",
        }
    }
}

/// `0.00000001`.
pub(crate) fn name(lane: u32, number: u64) -> String {
    format!("{lane}.{number:08}")
}

/// The inverse of [`name`].
fn parse_name(text: &str) -> Option<(u32, u64)> {
    let (lane, number) = text.split_once('.')?;
    let (lane, number) = (lane.parse().ok()?, number.parse().ok()?);
    (lane < LANES && number > 0 && name(lane, number) == text).then_some((lane, number))
}

/// The segments that there are, by lane, oldest first. Files that are no segments are another's.
pub(crate) fn list(directory: &Path) -> Result<BTreeMap<u32, Vec<u64>>, Error> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Error::io("read", directory)(error)),
    };
    let mut lanes: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", directory))?;
        if let Some((lane, number)) = entry.file_name().to_str().and_then(parse_name) {
            lanes.entry(lane).or_default().push(number);
        }
    }
    lanes.values_mut().for_each(|numbers| numbers.sort_unstable());
    Ok(lanes)
}

/// A segment's first record.
pub(crate) fn opening(
    (lane, number): (u32, u64),
    (reason, anchored): (Reason, u64),
    before: &Link,
    time: u64,
) -> Body<'static> {
    Body::mark(
        OPENED,
        time,
        &[
            ("generation", GENERATION.into()),
            ("lane", lane.to_string()),
            ("number", number.to_string()),
            ("before", before.mac.to_string()),
            ("anchored", anchored.to_string()),
            ("reason", reason.as_str().into()),
        ],
    )
}

/// A full segment's last record.
pub(crate) fn closing(next: u64, time: u64) -> Body<'static> {
    Body::mark(CLOSED, time, &[("next", next.to_string())])
}

/// What a walk came to.
#[derive(Debug)]
pub(crate) enum Step {
    /// A record that verifies.
    Record(Record),
    /// The end of what is written.
    End,
    /// So many bytes behind the last record are the beginning of one.
    Torn(u64),
    /// What stands here does not verify, and why.
    Bad(String),
}

/// Reads the records of one segment, each checked against the one before it.
#[derive(Debug)]
pub(crate) struct Walk {
    lane: u32,
    number: u64,
    key: Key,
    file: BufReader<File>,
    line: Vec<u8>,
    /// Behind the last record that verified.
    pub link: Link,
    /// Where that is.
    pub offset: u64,
    /// The last record was a full segment's last one.
    pub closed: bool,
}

/// What a segment says of its own beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// The link that it claims to follow; of its time nothing is known.
    pub before: Link,
    /// When it was begun.
    pub time_ns: u64,
    /// It replaces one that was found damaged.
    pub damaged: bool,
    /// How often the document of anchors had been replaced.
    pub anchored: u64,
}

impl Walk {
    /// At the beginning of a segment.
    pub fn open(path: &Path, lane: u32, number: u64, key: Key) -> std::io::Result<Self> {
        let file = BufReader::with_capacity(64 << 10, File::open(path)?);
        Ok(Self { lane, number, key, file, line: Vec::new(), link: Link::NONE, offset: 0, closed: false })
    }

    /// Reads the first record against its own claim of what comes before it, without moving on; the caller
    /// compares that with what it knows. An error says why there is no such record, none that it is torn.
    pub fn opening(&mut self) -> std::io::Result<Result<Option<Opening>, String>> {
        let whole = self.next_line()?;
        self.back()?;
        if !whole {
            return Ok(Ok(None));
        }
        let claim = |line: &[u8]| {
            let body = line::parse(line)?;
            let before = body.attribute("before").parse::<Mac>().ok()?;
            let ours = body.kind == "journal"
                && body.action == OPENED
                && body.attribute("lane") == self.lane.to_string()
                && body.attribute("number") == self.number.to_string()
                && body.attribute("generation") == GENERATION;
            let before = Link { seq: body.seq.checked_sub(1)?, time_ns: 0, mac: before };
            ours.then_some(Opening {
                before,
                time_ns: body.time,
                damaged: body.attribute("reason") == Reason::Damaged.as_str(),
                anchored: body.attribute("anchored").parse().ok()?,
            })
        };
        let Some(opening) = claim(&self.line) else {
            return Ok(Err("does not begin as a segment of this place and version does".into()));
        };
        match line::read(&self.line, &self.key, &opening.before) {
            Ok(_) => {
                self.link = opening.before;
                Ok(Ok(Some(opening)))
            }
            Err(reason) => Ok(Err(format!("record 1 {reason}"))),
        }
    }

    /// The next record.
    pub fn step(&mut self) -> std::io::Result<Step> {
        if !self.next_line()? {
            self.back()?;
            return Ok(match self.line.len() {
                0 => Step::End,
                len if len <= LONGEST || self.line.iter().all(|byte| *byte == 0) => Step::Torn(len as u64),
                _ => Step::Bad(self.at("is no record")),
            });
        }
        let (link, body) = match line::read(&self.line, &self.key, &self.link) {
            Ok(read) => read,
            Err(reason) => {
                let reason = self.at(&reason);
                self.back()?;
                return Ok(Step::Bad(reason));
            }
        };
        if self.offset > 0 && link.time_ns < self.link.time_ns {
            return Ok(Step::Bad(self.at("is earlier than the one before it")));
        }
        self.closed = body.kind == "journal" && body.action == CLOSED;
        let record = body.into_record(self.lane);
        (self.link, self.offset) = (link, self.offset + self.line.len() as u64);
        Ok(Step::Record(record))
    }

    /// Walks to the end: the last step, and each record on the way.
    pub fn finish(&mut self, mut each: impl FnMut(&Self, &Record)) -> std::io::Result<Step> {
        loop {
            match self.step()? {
                Step::Record(record) => each(self, &record),
                end => return Ok(end),
            }
        }
    }

    fn at(&self, reason: &str) -> String {
        format!("the record behind {} (at byte {}) {reason}", self.link.seq, self.offset)
    }

    /// Whether a whole line was read; what was read is in `line`.
    fn next_line(&mut self) -> std::io::Result<bool> {
        self.line.clear();
        let mut bounded = (&mut self.file).take(LONGEST as u64 + 1);
        bounded.read_until(b'\n', &mut self.line)?;
        Ok(self.line.last() == Some(&b'\n'))
    }

    /// Back to the last record's end, to read again.
    fn back(&mut self) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(self.offset)).map(drop)
    }

    /// The segment's number.
    pub fn number(&self) -> u64 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(parse_name(&name(3, 12)), Some((3, 12)));
        assert_eq!(parse_name("0.123456789"), Some((0, 123_456_789)));
        for bad in ["", "0", "0.1", "8.00000001", "0.00000000", "+0.00000001", "0.00000001~", "new.0"] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
    }
}
