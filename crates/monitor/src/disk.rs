//! Bounds on disk that no file system enforces: how often they are measured, and when the container has to end.
//!
//! ```text
//! due ── much less free around? ── Measure started (a child of ours, which counts) ── over: the container is ended
//!  ▲            │ no                              │ within
//!  └── later ───┴─────────────────────────────────┘
//! ```
//!
//! What may happen between two looks is what a disk takes at [`RATE`]: the less room is left, the sooner the next. A look
//! asks the file system how much is in use, which costs one system call; the files are counted only if that grew
//! by a part of the room that was left, or if the last count is old, since someone else may have freed as much. Counting
//! takes at most a twentieth of a processor's time, and of this process's none.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use corral_runtime::{ControlGroup, Count, Measure, used_around};
use corral_spec::record::{DiskBound, DiskKeeper, Launch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Bytes a second that a container is taken to write.
const RATE: u64 = 1 << 30;
const SOONEST: Duration = Duration::from_millis(100);
const LATEST: Duration = Duration::from_secs(5);
/// Files are counted after so long whatever the file system says; twice as long each time that nothing has changed.
const OLD: Duration = Duration::from_secs(10);
const OLDEST: Duration = Duration::from_secs(60);
/// What takes longer to count cannot be watched.
const LONGEST: Duration = Duration::from_secs(120);
/// Pause after a count, in times of its own length.
const PAUSE: u32 = 20;
/// Counts that may fail in a row.
const FAILURES: u32 = 10;

/// The bounds of a container that its monitor keeps.
#[derive(Debug)]
pub struct Watch {
    bounds: Vec<DiskBound>,
    due: Instant,
    running: Option<Counting>,
    last: Option<Last>,
    /// How long the last count stays good.
    old: Duration,
    failures: u32,
}

#[derive(Debug)]
struct Counting {
    measure: Measure,
    began: Instant,
    /// Bytes in use around each bound when it began.
    used: Vec<u64>,
}

#[derive(Debug)]
struct Last {
    ended: Instant,
    used: Vec<u64>,
    counts: Vec<Count>,
}

impl Watch {
    /// Of a container that has just been started; none if there is nothing to watch.
    pub fn of(launch: &Launch) -> Option<Self> {
        let watched = launch.disk.iter().filter(|bound| bound.keeper == DiskKeeper::Monitor);
        let bounds: Vec<DiskBound> = watched.cloned().collect();
        let now = Instant::now();
        (!bounds.is_empty()).then_some(Self {
            bounds,
            due: now,
            running: None,
            last: None,
            old: OLD,
            failures: 0,
        })
    }

    /// When [`turn`](Self::turn) has something to do, whatever happens.
    pub fn deadline(&self) -> Instant {
        self.running.as_ref().map_or(self.due, |counting| counting.began + LONGEST)
    }

    /// What it waits for besides.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|counting| counting.measure.pidfd())
    }

    /// Does what is due. The answer is why the container has to end.
    pub fn turn(&mut self, group: &ControlGroup, paused: bool) -> Option<String> {
        let now = Instant::now();
        match self.running.take() {
            Some(counting) if has_ended(counting.measure.pidfd()) => self.take(counting, now),
            Some(counting) if now >= counting.began + LONGEST => {
                Some(format!("the files of its {} could not be counted in {LONGEST:?}", self.bounds[0].what))
            }
            Some(counting) => {
                self.running = Some(counting);
                None
            }
            None if now < self.due => None,
            None => {
                // A frozen container writes nothing.
                self.due = now + LATEST;
                if !paused {
                    self.look(group, now);
                }
                None
            }
        }
        .or_else(|| {
            (self.failures > FAILURES).then(|| format!("its {} could not be measured", self.bounds[0].what))
        })
    }

    fn look(&mut self, group: &ControlGroup, now: Instant) {
        let used: Vec<u64> = self.bounds.iter().map(|bound| around(bound).unwrap_or(u64::MAX)).collect();
        if let Some(last) = self.last.as_ref().filter(|last| now < last.ended + self.old) {
            let left = |(at, bound): (usize, &DiskBound)| bound.bytes.saturating_sub(last.counts[at].bytes);
            let grown = |at: usize| used[at].saturating_sub(last.used[at]);
            if self.bounds.iter().enumerate().all(|of| grown(of.0) <= left(of) / 4) {
                let least =
                    self.bounds.iter().enumerate().map(|of| left(of).saturating_sub(grown(of.0))).min();
                self.due = now + pause(least.unwrap_or(0));
                return;
            }
        }
        match Measure::start(&self.bounds, group) {
            Ok(measure) => self.running = Some(Counting { measure, began: now, used }),
            Err(_) => self.failures += 1,
        }
    }

    fn take(&mut self, counting: Counting, now: Instant) -> Option<String> {
        let Counting { measure, began, used } = counting;
        let took = now - began;
        let counted = measure.finish().unwrap_or(None);
        let Some(counts) = counted else {
            self.failures += 1;
            self.due = now + SOONEST;
            return None;
        };
        self.failures = 0;
        let over = self.bounds.iter().zip(&counts).find(|(bound, count)| count.is_over(bound));
        if let Some((bound, count)) = over {
            return Some(text(bound, *count));
        }
        let same = self.last.as_ref().is_some_and(|last| last.counts == counts);
        self.old = if same { (self.old * 2).min(OLDEST) } else { OLD };
        let left = self.bounds.iter().zip(&counts).map(|(bound, count)| bound.bytes - count.bytes).min();
        self.due = now + pause(left.unwrap_or(0)).max(took * PAUSE);
        self.old = self.old.max(took * PAUSE);
        self.last = Some(Last { ended: now, used, counts });
        None
    }
}

/// For people.
fn text(bound: &DiskBound, count: Count) -> String {
    let DiskBound { what, bytes, .. } = bound;
    match count.bytes {
        u64::MAX => format!("its {what} has files that cannot be counted, under a bound of {bytes} bytes"),
        used if used > *bytes => format!("its {what} passed its bound of {bytes} bytes on disk"),
        _ => format!(
            "its {what} has more than {} files, the most under its bound of {bytes} bytes",
            count.inodes - 1
        ),
    }
}

/// The time in which so much could be written.
fn pause(left: u64) -> Duration {
    Duration::from_millis(left / (RATE / 1000)).clamp(SOONEST, LATEST)
}

fn around(bound: &DiskBound) -> Option<u64> {
    used_around(bound.dirs.first()?).ok()
}

fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_is_left_the_sooner() {
        assert_eq!(pause(0), SOONEST);
        assert_eq!(pause(2 << 30), Duration::from_millis(2000));
        assert_eq!(pause(1 << 40), LATEST);
    }

    #[test]
    fn what_people_read() {
        let bound = DiskBound {
            what: "writable layer".into(),
            dirs: Vec::new(),
            bytes: 4 << 20,
            keeper: DiskKeeper::Monitor,
        };
        let said = |bytes, inodes| text(&bound, Count { bytes, inodes });
        assert_eq!(said(5 << 20, 3), "its writable layer passed its bound of 4194304 bytes on disk");
        assert!(said(0, 1025).contains("more than 1024 files"));
        assert!(said(u64::MAX, u64::MAX).contains("cannot be counted"));
    }
}
