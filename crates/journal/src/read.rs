//! Reading: all lanes merged by time, each record verified, to the end or for as long as someone waits.

use std::collections::{BTreeMap, VecDeque};

use crate::chain::Key;
use crate::line::{Link, Record};
use crate::segment::{self, Opening, Step, Walk};
use crate::watch::Watch;
use crate::{Error, Journal};

/// What of the journal is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Nothing before this time, in nanoseconds since the epoch.
    pub since_ns: Option<u64>,
    /// Nothing after this time, likewise; a following reader ends there.
    pub until_ns: Option<u64>,
    /// Wait for more at the end.
    pub follow: bool,
}

/// What a reader meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A record that verifies.
    Record(Record),
    /// A place that does not, in words; the reader goes on behind it.
    Damage(String),
}

/// Reads the journal from its oldest record on. A journal that does not exist is empty.
#[derive(Debug)]
pub struct Reader {
    journal: Journal,
    key: Key,
    options: ReadOptions,
    lanes: BTreeMap<u32, Cursor>,
    damage: VecDeque<String>,
    watch: Option<Watch>,
}

/// A place in a lane.
#[derive(Debug)]
struct Cursor {
    lane: u32,
    walk: Walk,
    /// Read, and not yet handed out.
    next: Option<Record>,
    /// Nothing behind this place in this segment can be read.
    lost: bool,
}

impl Journal {
    /// Opens the journal for reading.
    ///
    /// # Errors
    /// When it cannot be read at all, as without its key.
    pub fn read(&self, options: ReadOptions) -> Result<Reader, Error> {
        // Before the segments are looked at, so that nothing written in between is slept over.
        let watch = if options.follow { Some(Watch::new(&self.segments())?) } else { None };
        // Without segments there is nothing that the key could have been lost of.
        let empty = segment::list(&self.segments())?.is_empty();
        let key = if empty { self.key()? } else { self.known_key()? };
        let (lanes, damage) = (BTreeMap::new(), VecDeque::new());
        let mut reader = Reader { journal: self.clone(), key, options, lanes, damage, watch };
        reader.discover()?;
        Ok(reader)
    }
}

impl Reader {
    /// The next record, or the next damage; none at the end. While following it blocks, and before that calls
    /// `before_wait`: the moment to flush what was written so far.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn next_item(&mut self, mut before_wait: impl FnMut()) -> Result<Option<Item>, Error> {
        loop {
            for cursor in self.lanes.values_mut().filter(|cursor| cursor.next.is_none()) {
                cursor.fill(&self.journal, &self.key, &mut self.damage)?;
            }
            if let Some(damage) = self.damage.pop_front() {
                return Ok(Some(Item::Damage(damage)));
            }
            let first = self.lanes.values_mut().filter(|cursor| cursor.next.is_some());
            let first = first.min_by_key(|cursor| cursor.next.as_ref().map(|record| record.time_ns));
            if let Some(record) = first.and_then(|cursor| cursor.next.take()) {
                if self.options.until_ns.is_some_and(|until| record.time_ns > until) {
                    return Ok(None);
                }
                if self.options.since_ns.is_none_or(|since| record.time_ns >= since) {
                    return Ok(Some(Item::Record(record)));
                }
                continue;
            }
            let Some(watch) = &self.watch else { return Ok(None) };
            before_wait();
            if !watch.wait(self.options.until_ns)? {
                return Ok(None);
            }
            self.discover()?;
        }
    }

    /// Finds the lanes that have begun.
    fn discover(&mut self) -> Result<(), Error> {
        for (lane, numbers) in segment::list(&self.journal.segments())? {
            if !self.lanes.contains_key(&lane)
                && let Some(number) = self.first(lane, &numbers)
                && let Some(walk) = open(&self.journal, &self.key, (lane, number), None, &mut self.damage)?
            {
                let lost = walk.0;
                self.lanes.insert(lane, Cursor { lane, walk: walk.1, next: None, lost });
            }
        }
        Ok(())
    }

    /// The segment to begin with: the last one that was begun before what is wanted.
    fn first(&self, lane: u32, numbers: &[u64]) -> Option<u64> {
        let Some(since) = self.options.since_ns else { return numbers.first().copied() };
        let early = |number: &u64| {
            let path = self.journal.segment(lane, *number);
            let key = self.key.of_segment(lane, *number);
            let opening = Walk::open(&path, lane, *number, key).and_then(|mut walk| walk.opening());
            matches!(opening, Ok(Ok(Some(Opening { time_ns, .. }))) if time_ns <= since)
        };
        numbers.iter().rev().find(|number| early(number)).or(numbers.first()).copied()
    }
}

impl Cursor {
    /// Reads the lane's next record, over the ends of segments; leaves `next` empty where there is none yet.
    fn fill(&mut self, journal: &Journal, key: &Key, damage: &mut VecDeque<String>) -> Result<(), Error> {
        loop {
            if self.step(journal, damage)? {
                return Ok(());
            }
            let numbers = segment::list(&journal.segments())?.remove(&self.lane).unwrap_or_default();
            let Some(newer) = numbers.into_iter().find(|number| *number > self.walk.number()) else {
                return Ok(());
            };
            // Once more: what was written between that look and the next segment's appearing.
            if self.step(journal, damage)? {
                return Ok(());
            }
            let before = (!self.lost).then_some(self.walk.link);
            match open(journal, key, (self.lane, newer), before, damage)? {
                Some((lost, walk)) => (self.lost, self.walk) = (lost, walk),
                None => return Ok(()),
            }
        }
    }

    /// Reads one record of this segment, if there is one.
    fn step(&mut self, journal: &Journal, damage: &mut VecDeque<String>) -> Result<bool, Error> {
        if self.lost {
            return Ok(false);
        }
        let path = journal.segment(self.lane, self.walk.number());
        match self.walk.step().map_err(Error::io("read", &path))? {
            Step::Record(record) => {
                self.next = Some(record);
                return Ok(true);
            }
            Step::End | Step::Torn(_) => {}
            Step::Bad(reason) => {
                damage.push_back(format!("{}: {reason}", path.display()));
                self.lost = true;
            }
        }
        Ok(false)
    }
}

/// Opens a segment that must go on behind `before`, if that is known; what is wrong with it is told. None if it
/// was trimmed meanwhile.
fn open(
    journal: &Journal,
    key: &Key,
    (lane, number): (u32, u64),
    before: Option<Link>,
    damage: &mut VecDeque<String>,
) -> Result<Option<(bool, Walk)>, Error> {
    let path = journal.segment(lane, number);
    let mut walk = match Walk::open(&path, lane, number, key.of_segment(lane, number)) {
        Ok(walk) => walk,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", &path)(error)),
    };
    let lost = match walk.opening().map_err(Error::io("read", &path))? {
        Ok(Some(opening)) => {
            if opening.damaged {
                damage.push_back(format!("{}: begun because the one before was damaged", path.display()));
            } else if before.is_some_and(|link| !link.meets(&opening.before)) {
                damage.push_back(format!("{}: records are missing before it", path.display()));
            }
            false
        }
        Ok(None) => false,
        Err(reason) => {
            damage.push_back(format!("{}: {reason}", path.display()));
            true
        }
    };
    Ok(Some((lost, walk)))
}
