//! The record of what happened: append-only, chained by a keyed hash, verified on reading.
//!
//! ```text
//! ROOT/journal/0.00000001 …   segments of lane 0, the oldest ones trimmed; 1.00000001 …: of lane 1
//! ROOT/journal.anchors        how far each lane was when that was last made durable, and what was trimmed
//! ROOT/journal.key            32 random bytes, made once
//! RUN/journal/0 …             the lane's head: where its next record goes; in memory, gone at a reboot
//!
//! segment ─▶ {"seq":7,"time":…,"type":"container","action":"start","id":…,"attributes":{…},"mac":"9f…"}\n
//!            {"seq":8, …                                                                  ,"mac":"03…"}\n
//!                                    │ body: all bytes before ,"mac"
//!            mac(n) = HMAC-SHA-256(key of the segment, mac(n-1) ‖ body(n))
//!            key of the segment = HMAC-SHA-256(journal.key, lane ‖ number)
//!            first record: action `segment`, with the number, the mac before it, and why it was begun
//!            last record of a full segment: action `close`; the next one goes on with seq and chain
//!
//! append:  flock head ─ read it ─ flock segment ─ its size is the head's? ─ one write(2) ─ write the head
//! ```
//!
//! **Lines, not frames.** A record is one line of JSON: every tool reads it, and JSON's own escaping is what keeps a
//! label with a newline in it from being a second record. A binary frame would save a tenth of a microsecond.
//! A line without its newline at the end of a segment is a torn record: a writer was killed, or the disk was full.
//! The next writer cuts it off. Anything else that does not verify is never cut off: the writer leaves it as
//! evidence and goes on in a new segment, which says so.
//!
//! **Lanes, not a file a process.** A container has four events and a command line two: a file for each would cost
//! more than the events, and a disk full of files. A lane is a chain of segments that one process at a time
//! appends to, under a lock that is held for the length of one append. A process that finds a lane taken takes
//! the next, so a stopped holder stops nobody. Who writes all the time keeps a lane of its own.
//!
//! **What is promised.** A container reaches none of these files; what it can choose are values (labels of its image),
//! which cannot leave their JSON string. Of someone who can write to the segments and cannot read the key,
//! [`Journal::verify`] finds every edit, forgery, reordering, and missing record or segment. A record at the end is
//! missed as long as the boot lasts in which it was written (the head knows it), and after that if it was
//! anchored: at each rotation, at the end of each container that is kept, and at the first append of a boot.
//! **What is not.** Host root can read the key and rewrite everything that is on the host. Against that, keep the
//! output of `corral journal anchors` on another machine, and verify against it. A power failure loses what was not
//! yet anchored, as nothing is synced on the way of a container's start: records at the end are then gone, and
//! nothing tells that from their removal. A filesystem without fallocate(2) has no reserve.
//!
//! **A full disk** stops the work, not the record. Each segment has blocks reserved beyond its end. Work ([`Grade::Work`])
//! is refused once they cannot be topped up, which is recorded from the reserve, as are the ends of what runs.
//!
//! **Time** never goes back within a segment: a clock that is set back gives the last time again, and from a minute on a
//! new segment. Sizes are bounded: [`SEGMENT_BYTES`] a segment, [`KEPT_SEGMENTS`] of the first lane; what is
//! trimmed is anchored first, so that a journal which begins later than it did is not taken for whole.
//!
//! Not here: what the events mean, who may read them, sending them anywhere.
#![forbid(unsafe_code)]

mod anchor;
mod append;
mod chain;
mod error;
mod event;
mod head;
mod lane;
mod line;
mod read;
mod segment;
#[cfg(test)]
mod tests;
mod verify;
mod watch;

use std::path::{Path, PathBuf};

pub use append::Grade;
pub use error::Error;
pub use event::{Action, Event, Kind};
pub use line::Record;
pub use read::{Item, ReadOptions, Reader};
pub use verify::Report;

/// A segment that would grow beyond this many bytes is closed.
pub const SEGMENT_BYTES: u64 = 4 << 20;
/// So many segments of the first lane are kept, and [`KEPT_OTHERS`] of each other one.
pub const KEPT_SEGMENTS: u64 = 16;
/// See [`KEPT_SEGMENTS`].
pub const KEPT_OTHERS: u64 = 2;
/// Processes that can append at the same moment; the next one waits.
pub(crate) const LANES: u32 = 8;

/// The journal of one root directory.
#[derive(Clone, Debug)]
pub struct Journal {
    root: PathBuf,
    run: PathBuf,
    limits: Limits,
}

/// Sizes; smaller in tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub segment: u64,
    pub kept: u64,
    pub kept_others: u64,
}

impl Journal {
    /// The journal below these two directories, of which the second ends with the boot. Makes nothing yet.
    pub fn new(root: &Path, run: &Path) -> Self {
        let limits = Limits { segment: SEGMENT_BYTES, kept: KEPT_SEGMENTS, kept_others: KEPT_OTHERS };
        Self { root: root.to_owned(), run: run.to_owned(), limits }
    }

    /// The directory of the segments.
    pub(crate) fn segments(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub(crate) fn segment(&self, lane: u32, number: u64) -> PathBuf {
        self.segments().join(segment::name(lane, number))
    }

    /// A segment of the lane until it has its first record.
    pub(crate) fn staged_segment(&self, lane: u32) -> PathBuf {
        self.segments().join(format!("new.{lane}"))
    }

    /// The directory of the heads.
    pub(crate) fn heads(&self) -> PathBuf {
        self.run.join("journal")
    }

    pub(crate) fn key_path(&self) -> PathBuf {
        self.root.join("journal.key")
    }

    pub(crate) fn anchors_path(&self) -> PathBuf {
        self.root.join("journal.anchors")
    }

    /// Where a document of anchors goes that does not verify.
    pub(crate) fn spoilt_anchors_path(&self) -> PathBuf {
        self.root.join("journal.anchors.spoilt")
    }

    pub(crate) fn kept(&self, lane: u32) -> u64 {
        if lane == 0 { self.limits.kept } else { self.limits.kept_others }
    }
}
