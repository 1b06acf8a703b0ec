//! Appending: one lane, one write.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::event::{Action, Event};
use crate::lane::{Lane, RESERVE, append_all, reserve};
use crate::segment::Reason;
use crate::{Error, Journal, LANES, line};

/// How long a process waits while all lanes are taken. Each is held for microseconds, unless its holder is stopped.
const PATIENCE: Duration = Duration::from_secs(5);
/// A clock that was set back by more than this begins a new segment.
const CLOCK_TOLERANCE_NS: u64 = 60_000_000_000;

/// How much of the reserve an event may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// Something that is about to be done, and is not done if it cannot be recorded: none of it.
    Work,
    /// That something was refused: half of it, so that who asks again and again does not use up all.
    Refusal,
    /// The end of something that was recorded, which happens anyway: all of it.
    End,
}

impl Grade {
    /// Bytes of the reserve that it leaves.
    const fn leaves(self) -> u64 {
        match self {
            Self::Work => RESERVE / 2,
            Self::Refusal => RESERVE / 4,
            Self::End => 0,
        }
    }
}

/// Nanoseconds since the epoch.
pub(crate) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

impl Journal {
    /// Appends events in this order, all of them or none, in one write(2). They are not synced to the disk.
    ///
    /// # Errors
    /// [`Error::Full`] if they cannot be recorded; then work must not be done. [`Error::Busy`], [`Error::Io`].
    pub fn append(&self, grade: Grade, events: &[Event]) -> Result<(), Error> {
        self.append_at(grade, events, now_ns())
    }

    pub(crate) fn append_at(&self, grade: Grade, events: &[Event], now_ns: u64) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let mut lane = self.lane(now_ns)?;
        let appended = lane.append(grade, events, now_ns);
        if let (Grade::Work, Err(Error::Full(_))) = (grade, &appended) {
            // That the reserve is used up too changes nothing: the work is refused all the same.
            drop(lane.append(Grade::Refusal, &events.iter().map(refusal).collect::<Vec<_>>(), now_ns));
        }
        appended
    }

    /// Any lane that is free.
    pub(crate) fn lane(&self, now_ns: u64) -> Result<Lane<'_>, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for lane in 0..LANES {
                if let Some(lane) = Lane::take(self, lane, now_ns)? {
                    return Ok(lane);
                }
            }
            if Instant::now() > deadline {
                return Err(Error::Busy(self.segments()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What is recorded instead of work that could not be.
fn refusal(event: &Event) -> Event {
    let (kind, action) = event.action.words();
    Event::new(Action::Refuse, event.id.as_str())
        .with("refused", format!("{} {action}", kind.as_str()))
        .with("reason", "no space left for the journal")
}

impl Lane<'_> {
    fn append(&mut self, grade: Grade, events: &[Event], now_ns: u64) -> Result<(), Error> {
        let set_back = now_ns.saturating_add(CLOCK_TOLERANCE_NS) < self.head.link.time_ns;
        let mut lines = self.lines(events, now_ns);
        let mut rotated = false;
        if set_back || self.head.offset + lines.0.len() as u64 > self.journal.limits.segment {
            let reason = if set_back { Reason::Clock } else { Reason::Full };
            let time = if set_back { now_ns } else { now_ns.max(self.head.link.time_ns) };
            match self.rotate(reason, time) {
                Ok(()) => (lines, rotated) = (self.lines(events, now_ns), true),
                // No space for another segment: what must be recorded goes on in the reserve of this one.
                Err(Error::Full(_)) if grade != Grade::Work => {}
                Err(error) => return Err(error),
            }
        }
        let (bytes, link) = lines;
        let path = self.journal.segment(self.lane, self.head.number);
        if !self.has_room(bytes.len() as u64, grade)? {
            return Err(Error::Full(self.journal.segments()));
        }
        append_all(&self.segment, &bytes, self.head.offset, &path)?;
        corral_fault::step!(EventsAppended);
        self.head.offset += bytes.len() as u64;
        self.head.link = link;
        self.remember();
        corral_fault::step!(HeadWritten);
        if rotated { self.trim() } else { Ok(()) }
    }

    /// The events as lines behind the last record, and the link behind them.
    fn lines(&self, events: &[Event], now_ns: u64) -> (Vec<u8>, line::Link) {
        let mut link = self.head.link;
        let mut bytes = Vec::with_capacity(512 * events.len());
        // No two have the same time: who reads them may sort them by it.
        let first = if now_ns < link.time_ns { link.time_ns + 1 } else { now_ns };
        for (time, event) in (first..).zip(events) {
            line::write(&mut bytes, &self.head.key, &mut link, line::body(event, time));
        }
        (bytes, link)
    }

    /// Whether so many bytes can be written and leave what others may need; tops the reserve up if not.
    fn has_room(&self, bytes: u64, grade: Grade) -> Result<bool, Error> {
        let size = self.head.offset;
        let reserved = (self.stat.st_blocks as u64 * 512).saturating_sub(size);
        if reserved >= bytes + grade.leaves() {
            return Ok(true);
        }
        let path = self.journal.segment(self.lane, self.head.number);
        reserve(&self.segment, size, bytes + RESERVE, &path)
    }
}
