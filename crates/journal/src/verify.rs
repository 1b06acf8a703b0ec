//! Is all of it there, and as it was written?

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use crate::anchor::{Anchors, Point};
use crate::chain::{Key, Mac};
use crate::head::Head;
use crate::line::Link;
use crate::segment::{self, Step, Walk};
use crate::{Error, Journal, LANES};

/// A journal that is written to and trimmed meanwhile can look wrong once, and not so often.
const TRIES: usize = 3;

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments that there are.
    pub segments: usize,
    /// Records that verify, the journal's own marks among them.
    pub records: u64,
    /// Records at the end that a killed writer left half written: no fault, nothing is lost that was recorded.
    pub torn: Vec<String>,
    /// What was trimmed on purpose.
    pub trimmed: Vec<String>,
    /// What does not verify, and what is missing.
    pub wrong: Vec<String>,
}

impl Report {
    /// Whether everything that was recorded is there as it was recorded.
    pub fn is_good(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// A record that someone knows of.
struct Known {
    seq: u64,
    mac: Mac,
    who: String,
    met: bool,
}

/// All that is known beside the segments.
struct Beside<'a> {
    key: Key,
    anchors: Option<Anchors>,
    elsewhere: Option<(&'a Path, Anchors)>,
}

impl Journal {
    /// Verifies every record of every segment, and that none is missing which the heads, the anchors or a document of
    /// anchors that was kept elsewhere know of.
    ///
    /// # Errors
    /// When the disk fails, or the document from elsewhere is none of this journal's.
    pub fn verify(&self, elsewhere: Option<(&Path, &str)>) -> Result<Report, Error> {
        let mut attempt = self.verify_once(elsewhere);
        for _ in 1..TRIES {
            if matches!(&attempt, Ok(report) if report.is_good()) {
                break;
            }
            attempt = self.verify_once(elsewhere);
        }
        attempt
    }

    fn verify_once(&self, elsewhere: Option<(&Path, &str)>) -> Result<Report, Error> {
        let mut report = Report::default();
        // In this order: what is written later is known by none of the earlier.
        let key = match self.known_key() {
            Err(error @ Error::Key { .. }) => {
                if !segment::list(&self.segments())?.is_empty() || self.anchors_path().exists() {
                    report.wrong.push(error.to_string());
                }
                return Ok(report);
            }
            key => key?,
        };
        let anchors = match self.anchors(&key) {
            Err(error @ Error::Anchors { .. }) => {
                report.wrong.push(error.to_string());
                None
            }
            anchors => anchors?,
        };
        let elsewhere = match elsewhere {
            None => None,
            Some((path, text)) => Some((path, Anchors::parse(text, &key, path)?)),
        };
        let beside = Beside { key, anchors, elsewhere };
        let heads: Vec<Option<Head>> = (0..LANES).map(|lane| self.head(lane)).collect::<Result<_, _>>()?;
        let segments = segment::list(&self.segments())?;
        if beside.anchors.is_none() && !segments.is_empty() && report.wrong.is_empty() {
            report.wrong.push(format!("{} is missing", self.anchors_path().display()));
        }
        if self.spoilt_anchors_path().exists() {
            let path = self.spoilt_anchors_path();
            report.wrong.push(format!(
                "{}: the document of anchors was changed by another hand, or removed",
                path.display()
            ));
        }
        for (lane, head) in (0..LANES).zip(heads) {
            self.verify_lane(lane, head.as_ref(), (&beside, &segments), &mut report)?;
        }
        Ok(report)
    }

    fn head(&self, lane: u32) -> Result<Option<Head>, Error> {
        let path = self.heads().join(lane.to_string());
        match File::open(&path) {
            Ok(file) => Head::read(&file).map_err(Error::os("read", &path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    fn verify_lane(
        &self,
        lane: u32,
        head: Option<&Head>,
        (beside, segments): (&Beside<'_>, &BTreeMap<u32, Vec<u64>>),
        report: &mut Report,
    ) -> Result<(), Error> {
        let mut known = known(lane, head, beside);
        let trimmed = beside.anchors.as_ref().and_then(|anchors| anchors.of(lane)?.trimmed.as_ref());
        if let Some(point) = trimmed {
            report
                .trimmed
                .push(format!("lane {lane}: up to record {} (segment {})", point.seq, point.segment));
        }
        let numbers = segments.get(&lane).map_or(&[][..], Vec::as_slice);
        let mut before = expected(lane, numbers, trimmed, report);
        for (at, number) in numbers.iter().enumerate() {
            if at > 0 && numbers[at - 1] + 1 != *number {
                report.wrong.push(format!("lane {lane}: segments before {number} are missing"));
            }
            let newest = at + 1 == numbers.len();
            let anchored = beside.anchors.as_ref().map_or(0, |anchors| anchors.count);
            let mut visit = Visit { before, newest, known: &mut known, report: &mut *report, anchored };
            before = visit.segment(self, (lane, *number), &beside.key)?;
        }
        let gone = trimmed.map_or(0, |point| point.seq);
        for known in known.iter().filter(|known| !known.met && known.seq > gone) {
            report
                .wrong
                .push(format!("lane {lane}: record {} is missing: {} knows it", known.seq, known.who));
        }
        Ok(())
    }
}

/// The records of a lane that someone knows of.
fn known(lane: u32, head: Option<&Head>, beside: &Beside<'_>) -> Vec<Known> {
    let head = head.map(|head| (head.link.seq, head.link.mac, "the head in memory".to_owned()));
    let point = |point: &Point, who: String| (point.seq, point.mac(), who);
    let anchor = beside.anchors.as_ref().and_then(|anchors| anchors.of(lane));
    let anchor = anchor.map(|anchor| point(&anchor.at, "journal.anchors".to_owned()));
    let other = beside.elsewhere.as_ref().and_then(|(path, anchors)| Some((path, anchors.of(lane)?)));
    let other = other.map(|(path, anchor)| point(&anchor.at, path.display().to_string()));
    let all = head.into_iter().chain(anchor).chain(other);
    all.map(|(seq, mac, who)| Known { seq, mac, who, met: false }).collect()
}

/// What the first segment must follow; none if anything will do.
fn expected(lane: u32, numbers: &[u64], trimmed: Option<&Point>, report: &mut Report) -> Option<Link> {
    match (numbers.first(), trimmed) {
        (None, _) => None,
        (Some(1), _) => Some(Link::NONE),
        (Some(first), Some(point)) if *first == point.segment + 1 => {
            Some(Link { seq: point.seq, time_ns: 0, mac: point.mac() })
        }
        // Who trimmed was killed before it had removed all.
        (Some(first), Some(point)) if *first <= point.segment => None,
        (Some(first), _) => {
            report.wrong.push(format!("lane {lane}: segments before {first} are missing"));
            None
        }
    }
}

/// One segment under verification.
struct Visit<'a> {
    before: Option<Link>,
    newest: bool,
    known: &'a mut [Known],
    report: &'a mut Report,
    /// How often the document of anchors was replaced, as it says.
    anchored: u64,
}

impl Visit<'_> {
    /// Walks it; the link behind it, if that is sure.
    fn segment(
        &mut self,
        journal: &Journal,
        (lane, number): (u32, u64),
        key: &Key,
    ) -> Result<Option<Link>, Error> {
        let path = journal.segment(lane, number);
        let fail = |error| Error::io("read", &path)(error);
        self.report.segments += 1;
        let mut walk = Walk::open(&path, lane, number, key.of_segment(lane, number)).map_err(fail)?;
        match walk.opening().map_err(fail)? {
            Err(reason) => {
                self.wrong(&path, &reason);
                return Ok(None);
            }
            Ok(None) => self.wrong(&path, "has no first record"),
            Ok(Some(opening)) => {
                if self.before.is_some_and(|link| !link.meets(&opening.before)) {
                    self.wrong(&path, "records that came before it are missing or were changed");
                }
                if opening.anchored > self.anchored {
                    self.wrong(&path, "knows of later anchors than there are: journal.anchors was replaced");
                }
                if opening.damaged {
                    self.wrong(&path, "was begun because the one before it did not verify or was cut short");
                }
            }
        }
        let (mut records, mut changed) = (0, Vec::new());
        let known = &mut *self.known;
        let end = walk.finish(|walk, _| {
            records += 1;
            for known in known.iter_mut().filter(|known| known.seq == walk.link.seq) {
                known.met = true;
                if known.mac != walk.link.mac {
                    changed.push(format!("record {} is not the one that {} knows", known.seq, known.who));
                }
            }
        });
        let end = end.map_err(fail)?;
        self.report.records += records;
        changed.iter().for_each(|text| self.wrong(&path, text));
        match end {
            Step::Torn(bytes) if self.newest => {
                self.report
                    .torn
                    .push(format!("{}: {bytes} bytes of a record that was not finished", path.display()));
            }
            Step::Torn(_) => self.wrong(&path, "ends in the middle of a record"),
            Step::Bad(reason) => {
                self.wrong(&path, &reason);
                return Ok(None);
            }
            Step::End | Step::Record(_) => {}
        }
        Ok(Some(walk.link))
    }

    fn wrong(&mut self, path: &Path, reason: &str) {
        self.report.wrong.push(format!("{}: {reason}", path.display()));
    }
}
