//! A lane that is ours for the moment: found by its head, or by a walk over its newest segment where the head is
//! gone or does not fit.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags, Stat, flock};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::anchor::{Anchor, Point};
use crate::chain::Key;
use crate::head::Head;
use crate::line::{self, Link};
use crate::segment::{self, Reason, Step, Walk};
use crate::{Error, Journal};

/// Blocks that are reserved beyond a segment's end, in bytes.
pub(crate) const RESERVE: u64 = 1 << 20;

/// A lane under our lock.
#[derive(Debug)]
pub(crate) struct Lane<'a> {
    pub journal: &'a Journal,
    pub lane: u32,
    /// The lock, and where the head is written.
    file: OwnedFd,
    /// The segment that is appended to.
    pub segment: OwnedFd,
    pub head: Head,
    pub stat: Stat,
}

impl<'a> Lane<'a> {
    /// Takes a lane; none if another process has it.
    pub fn take(journal: &'a Journal, lane: u32, now_ns: u64) -> Result<Option<Self>, Error> {
        let path = journal.heads().join(lane.to_string());
        let open = || {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
        };
        let file = match open() {
            Err(Errno::NOENT) => {
                make_directory(&journal.heads())?;
                open()
            }
            file => file,
        };
        let file = file.map_err(Error::os("open", &path))?;
        if !locked(&file, &path)? {
            return Ok(None);
        }
        let head = Head::read(&file).map_err(Error::os("read", &path))?;
        if let Some(head) = &head
            && let Some(segment) = open_segment(&journal.segment(lane, head.number))?
        {
            // Another run directory over the same root has its own heads, but not its own segments.
            if !locked(&segment, &path)? {
                return Ok(None);
            }
            let stat = inspect(&segment, &path)?;
            if stat.st_size as u64 == head.offset {
                return Ok(Some(Self { journal, lane, file, segment, head: head.clone(), stat }));
            }
        }
        recover(journal, (lane, now_ns), file, head)
    }

    /// Begins the next segment, in a lane whose last one is as it should be; `time` is its first record's.
    pub fn rotate(&mut self, reason: Reason, time: u64) -> Result<(), Error> {
        let key = self.journal.key()?;
        let next = self.head.number + 1;
        // All that needs space comes before the record that says that this segment is closed.
        let mut closing = Vec::new();
        let mut link = self.head.link;
        let closed = segment::closing(next, time.max(link.time_ns));
        line::write(&mut closing, &self.head.key, &mut link, closed);
        let (staged, new) = stage(self.journal, (self.lane, next), &key, (reason, link, time))?;
        let path = self.journal.segment(self.lane, self.head.number);
        append_all(&self.segment, &closing, self.head.offset, &path)?;
        corral_fault::step!(SegmentClosed);
        let place = self.journal.segment(self.lane, next);
        std::fs::rename(&staged, &place).map_err(Error::io("put in place", &place))?;
        corral_fault::step!(SegmentPlaced);
        rustix::fs::fdatasync(&self.segment).map_err(Error::os("sync", &path))?;
        self.enter(new)?;
        rustix::fs::fdatasync(&self.segment).map_err(Error::os("sync", &place))
    }

    /// Goes on in a segment that was made.
    fn enter(&mut self, (segment, head): (OwnedFd, Head)) -> Result<(), Error> {
        let path = self.journal.segment(self.lane, head.number);
        if !locked(&segment, &path)? {
            return Err(Error::Busy(self.journal.segments()));
        }
        self.stat = inspect(&segment, &path)?;
        (self.segment, self.head) = (segment, head);
        self.remember();
        Ok(())
    }

    /// Anchors where the lane is, and removes the segments that are too many; what is removed is anchored first.
    pub fn trim(&self) -> Result<(), Error> {
        let key = &self.journal.key()?;
        let here = Point::new(self.head.number, &self.head.link);
        let numbers = segment::list(&self.journal.segments())?.remove(&self.lane).unwrap_or_default();
        let too_many = numbers.len().saturating_sub(self.journal.kept(self.lane) as usize);
        let last = numbers.get(too_many.wrapping_sub(1)).copied();
        let trimmed = match last {
            None => None,
            Some(last) => self.last_of(last, key)?.map(|link| Point::new(last, &link)),
        };
        self.journal.change_anchors(key, |anchors| {
            anchors.set(self.lane, here);
            if let (Some(trimmed), Some(anchor)) =
                (trimmed.clone(), anchors.lanes.iter_mut().find(|anchor| anchor.lane == self.lane))
            {
                anchor.trimmed = Some(trimmed);
            }
            Ok(())
        })?;
        // What does not verify is evidence, and stays.
        if trimmed.is_some() {
            for number in &numbers[..too_many] {
                let path = self.journal.segment(self.lane, *number);
                std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                corral_fault::step!(SegmentTrimmed);
            }
        }
        Ok(())
    }

    /// The last record of a segment; none if it does not verify to its end.
    fn last_of(&self, number: u64, key: &Key) -> Result<Option<Link>, Error> {
        let path = self.journal.segment(self.lane, number);
        let fail = |error| Error::io("read", &path)(error);
        let key = key.of_segment(self.lane, number);
        let mut walk = Walk::open(&path, self.lane, number, key).map_err(fail)?;
        if !matches!(walk.opening().map_err(fail)?, Ok(Some(_))) {
            return Ok(None);
        }
        let end = walk.finish(|_, _| {}).map_err(fail)?;
        Ok(matches!(end, Step::End).then_some(walk.link))
    }

    /// Writes the head down. Where that fails the next writer finds more than the head says, and takes it.
    pub fn remember(&self) {
        let _ = self.head.write(&self.file);
    }
}

/// What is known of a lane without its newest segment.
fn known(head: Option<&Head>, anchor: Option<&Anchor>) -> Option<(u64, Link)> {
    let head = head.map(|head| (head.number, head.link));
    let anchor = anchor
        .map(|anchor| (anchor.at.segment, Link { seq: anchor.at.seq, time_ns: 0, mac: anchor.at.mac() }));
    head.into_iter().chain(anchor).max_by_key(|(_, link)| link.seq)
}

/// Finds the place where a lane goes on, and cuts a torn record off. None if another process has it.
fn recover<'a>(
    journal: &'a Journal,
    (lane, now_ns): (u32, u64),
    file: OwnedFd,
    head: Option<Head>,
) -> Result<Option<Lane<'a>>, Error> {
    let key = journal.key()?;
    let anchors = match journal.anchors(&key) {
        Err(Error::Anchors { .. }) => None,
        anchors => anchors?,
    };
    let known = known(head.as_ref(), anchors.as_ref().and_then(|anchors| anchors.of(lane)));
    let newest =
        segment::list(&journal.segments())?.remove(&lane).and_then(|numbers| numbers.last().copied());
    let walked = match newest {
        None => None,
        Some(number) => match walk(journal, (lane, number), &key)? {
            None => return Ok(None),
            walked => walked,
        },
    };
    let begin = next_segment(walked.as_ref(), known);
    let mut found = match (begin, walked) {
        (None, Some(Walked { segment, head, stat, .. })) => Lane { journal, lane, file, segment, head, stat },
        (begin, _) => {
            let (number, reason, link) = begin.unwrap_or((1, Reason::First, Link::NONE));
            let time = now_ns.max(link.time_ns);
            journal.change_anchors(&key, |_| Ok(()))?;
            let (staged, (segment, head)) = stage(journal, (lane, number), &key, (reason, link, time))?;
            let path = journal.segment(lane, number);
            std::fs::rename(&staged, &path).map_err(Error::io("put in place", &path))?;
            corral_fault::step!(SegmentPlaced);
            if !locked(&segment, &path)? {
                return Ok(None);
            }
            let stat = inspect(&segment, &path)?;
            Lane { journal, lane, file, segment, head, stat }
        }
    };
    if head.is_none() {
        // The first append of a boot: what it found is worth pinning, now and not at some rotation.
        let path = journal.segment(lane, found.head.number);
        rustix::fs::fdatasync(&found.segment).map_err(Error::os("sync", &path))?;
        let here = Point::new(found.head.number, &found.head.link);
        journal.change_anchors(&key, |anchors| {
            if anchors.of(lane).is_none_or(|anchor| anchor.at.seq < here.seq) {
                anchors.set(lane, here);
            }
            Ok(())
        })?;
    }
    // After the anchor: a kill in between leaves no head, and the next append anchors.
    found.remember();
    found.stat = inspect(&found.segment, &journal.segments())?;
    Ok(Some(found))
}

/// The segment that has to be begun, if the newest one cannot be gone on with: its number, why, and what it follows.
fn next_segment(walked: Option<&Walked>, known: Option<(u64, Link)>) -> Option<(u64, Reason, Link)> {
    let Some(walked) = walked else {
        return Some(match known {
            None => (1, Reason::First, Link::NONE),
            Some((number, link)) => (number + 1, Reason::Damaged, link),
        });
    };
    let (number, link) = (walked.head.number, walked.head.link);
    match known {
        // Records that were there are not there any more.
        Some((at, known)) if known.seq > link.seq => Some((at.max(number) + 1, Reason::Damaged, known)),
        _ if !walked.good => Some((number + 1, Reason::Damaged, link)),
        _ if walked.closed => Some((number + 1, Reason::Full, link)),
        _ => None,
    }
}

/// The newest segment, walked to where it verifies.
struct Walked {
    segment: OwnedFd,
    head: Head,
    stat: Stat,
    closed: bool,
    /// It verifies to its end, but for what was torn there.
    good: bool,
}

fn walk(journal: &Journal, (lane, number): (u32, u64), key: &Key) -> Result<Option<Walked>, Error> {
    let path = journal.segment(lane, number);
    let Some(segment) = open_segment(&path)? else { return Ok(None) };
    if !locked(&segment, &path)? {
        return Ok(None);
    }
    let fail = |error| Error::io("read", &path)(error);
    let key = key.of_segment(lane, number);
    let mut walk = Walk::open(&path, lane, number, key.clone()).map_err(fail)?;
    let begins = matches!(walk.opening().map_err(fail)?, Ok(Some(_)));
    let end = if begins { walk.finish(|_, _| {}).map_err(fail)? } else { Step::Bad(String::new()) };
    if let Step::Torn(_) = end {
        rustix::fs::ftruncate(&segment, walk.offset).map_err(Error::os("cut a torn record off", &path))?;
    }
    let head = Head { number, offset: walk.offset, link: walk.link, key };
    let stat = inspect(&segment, &path)?;
    let good = !matches!(end, Step::Bad(_));
    Ok(Some(Walked { segment, head, stat, closed: walk.closed, good }))
}

/// Makes a segment with its first record under a name that is none, with its reserve.
fn stage(
    journal: &Journal,
    (lane, number): (u32, u64),
    key: &Key,
    (reason, before, time): (Reason, Link, u64),
) -> Result<(std::path::PathBuf, (OwnedFd, Head)), Error> {
    let staged = journal.staged_segment(lane);
    let open = || {
        let flags = OFlags::RDWR
            | OFlags::CREATE
            | OFlags::TRUNC
            | OFlags::APPEND
            | OFlags::CLOEXEC
            | OFlags::NOFOLLOW;
        rustix::fs::open(&staged, flags, Mode::RUSR | Mode::WUSR)
    };
    let segment = match open() {
        Err(Errno::NOENT) => {
            make_directory(&journal.segments())?;
            open()
        }
        segment => segment,
    };
    let segment = match segment {
        Err(errno) if is_full(errno) => return Err(Error::Full(journal.segments())),
        segment => segment.map_err(Error::os("make", &staged))?,
    };
    if !reserve(&segment, 0, RESERVE, &staged)? {
        drop(std::fs::remove_file(&staged));
        return Err(Error::Full(journal.segments()));
    }
    let anchored = match journal.anchors(key) {
        Err(Error::Anchors { .. }) => 0,
        anchors => anchors?.map_or(0, |anchors| anchors.count),
    };
    let key = key.of_segment(lane, number);
    let (mut line, mut link) = (Vec::new(), before);
    let opening = segment::opening((lane, number), (reason, anchored), &before, time);
    line::write(&mut line, &key, &mut link, opening);
    append_all(&segment, &line, 0, &staged)?;
    corral_fault::step!(SegmentStaged);
    Ok((staged, (segment, Head { number, offset: line.len() as u64, link, key })))
}

/// Appends in one write(2). What was written in part is cut off again.
pub(crate) fn append_all(segment: &OwnedFd, bytes: &[u8], offset: u64, path: &Path) -> Result<(), Error> {
    let full = || Error::Full(path.parent().unwrap_or(path).to_owned());
    match rustix::io::retry_on_intr(|| rustix::io::write(segment, bytes)) {
        Ok(written) if written == bytes.len() => Ok(()),
        Ok(_) => {
            rustix::fs::ftruncate(segment, offset).map_err(Error::os("cut a torn record off", path))?;
            Err(full())
        }
        Err(errno) if is_full(errno) => Err(full()),
        Err(errno) => Err(Error::os("append to", path)(errno)),
    }
}

/// Reserves blocks from `offset` on without changing the size; false if there are none. A filesystem that cannot
/// reserve has no reserve.
pub(crate) fn reserve(segment: &OwnedFd, offset: u64, bytes: u64, path: &Path) -> Result<bool, Error> {
    match rustix::fs::fallocate(segment, FallocateFlags::KEEP_SIZE, offset, bytes) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(true),
        Err(errno) if is_full(errno) => Ok(false),
        Err(errno) => Err(Error::os("reserve blocks of", path)(errno)),
    }
}

fn is_full(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::FBIG)
}

fn open_segment(path: &Path) -> Result<Option<OwnedFd>, Error> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(segment) => Ok(Some(segment)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::os("open", path)(errno)),
    }
}

fn inspect(segment: &OwnedFd, path: &Path) -> Result<Stat, Error> {
    rustix::fs::fstat(segment).map_err(Error::os("inspect", path))
}

fn locked(file: impl AsFd, path: &Path) -> Result<bool, Error> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(Error::os("lock", path)(errno)),
    }
}

pub(crate) fn make_directory(path: &Path) -> Result<(), Error> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("make", path))
}

impl Journal {
    /// The key, made if there is none.
    pub(crate) fn key(&self) -> Result<Key, Error> {
        match self.known_key() {
            Err(Error::Key { reason: GONE, .. }) => {}
            key => return key,
        }
        let path = self.key_path();
        let mut bytes = [0; 32];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())
                .map_err(Error::os("read random numbers for", &path))?;
        }
        let staged = self.root.join("journal.key.new");
        make_directory(&self.root)?;
        let make = || -> std::io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&staged)?;
            flock(&file, FlockOperation::LockExclusive)?;
            // Who comes second takes the first one's key; the file that it waited for is that key then.
            if path.exists() {
                return std::fs::remove_file(&staged).or_else(gone);
            }
            // One who was killed here has left some of it.
            file.set_len(0)?;
            std::io::Write::write_all(&mut file, &bytes)?;
            file.sync_data()?;
            corral_fault::step!(KeyStaged);
            std::fs::rename(&staged, &path)?;
            corral_fault::step!(KeyPlaced);
            Ok(())
        };
        make().map_err(Error::io("make", &path))?;
        self.known_key()
    }

    /// The key that is there.
    pub(crate) fn known_key(&self) -> Result<Key, Error> {
        let path = self.key_path();
        let wrong = |reason| Error::Key { path: path.clone(), reason };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(wrong(GONE)),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let mut bytes = [0; 32];
        file.read_exact(&mut bytes).map_err(|_| wrong("is shorter than a key"))?;
        Ok(Key(bytes))
    }
}

/// What is to be removed may be gone.
fn gone(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Why there is no key.
const GONE: &str = "is gone";
