//! The document of anchors: how far each lane was when it was last made durable.
//!
//! ```text
//! ROOT/journal.anchors   {"generation":1,"count":7,"time":…,"lanes":[
//!                          {"lane":0,"segment":3,"seq":1204,"mac":"…","trimmed":{"segment":1,"seq":400,"mac":"…"}}
//!                        ],"mac":"…"}
//! ```
//!
//! Replaced as a whole, by rename, under a lock on the directory of segments; the disk has it, and what it
//! speaks of, when that returns. The same text can be kept on another machine and verified against.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::chain::{Key, Mac};
use crate::head::Head;
use crate::lane::Lane;
use crate::line::Link;
use crate::{Error, Journal, LANES, segment};

/// All anchors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Anchors {
    generation: u32,
    /// How often it was replaced. Each segment says how often that was when it was begun: a document that was
    /// removed, or put back from an older copy, shows.
    pub count: u64,
    /// Nanoseconds since the epoch.
    time: u64,
    pub lanes: Vec<Anchor>,
}

/// A lane's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Anchor {
    pub lane: u32,
    #[serde(flatten)]
    pub at: Point,
    /// The last record that was trimmed; none if the lane is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trimmed: Option<Point>,
}

/// A record of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub segment: u64,
    pub seq: u64,
    mac: String,
}

impl Point {
    pub fn new(segment: u64, link: &Link) -> Self {
        Self { segment, seq: link.seq, mac: link.mac.to_string() }
    }

    /// The chain at this point; a text that is no mac is none that occurs.
    pub fn mac(&self) -> Mac {
        self.mac.parse().unwrap_or(Mac([0xff; 32]))
    }
}

impl Anchors {
    /// The lane's.
    pub fn of(&self, lane: u32) -> Option<&Anchor> {
        self.lanes.iter().find(|anchor| anchor.lane == lane)
    }

    /// Moves a lane's anchor.
    pub fn set(&mut self, lane: u32, at: Point) {
        match self.lanes.iter_mut().find(|anchor| anchor.lane == lane) {
            Some(anchor) => anchor.at = at,
            None => self.lanes.push(Anchor { lane, at, trimmed: None }),
        }
    }

    fn sealed(&self, key: &Key) -> String {
        // Numbers, and strings of hexadecimal digits.
        let body = serde_json::to_string(self).expect("anchors are plain JSON");
        let mac = key.of_anchors().mac(&[body.as_bytes()]);
        format!("{},\"mac\":\"{mac}\"}}\n", body.strip_suffix('}').unwrap_or(&body))
    }

    /// The document that this text is, if the holder of the key wrote it.
    pub fn parse(text: &str, key: &Key, path: &Path) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Anchors { path: path.to_owned(), reason: reason.to_owned() };
        let text = text.trim_end();
        let (body, mac) =
            text.rsplit_once(",\"mac\":\"").ok_or_else(|| wrong("is no document of anchors"))?;
        let mac: Option<Mac> = mac.strip_suffix("\"}").and_then(|digits| digits.parse().ok());
        let body = format!("{body}}}");
        if mac != Some(key.of_anchors().mac(&[body.as_bytes()])) {
            return Err(wrong("was changed, or is another journal's"));
        }
        serde_json::from_str(&body).map_err(|error| wrong(&error.to_string()))
    }
}

impl Journal {
    /// The document; none if there is none.
    pub(crate) fn anchors(&self, key: &Key) -> Result<Option<Anchors>, Error> {
        let path = self.anchors_path();
        match std::fs::read_to_string(&path) {
            Ok(text) => Anchors::parse(&text, key, &path).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    /// Makes durable what every lane holds now, and says so in the document; its text.
    ///
    /// # Errors
    /// When the disk fails, or the document was changed by another hand.
    pub fn anchor(&self) -> Result<String, Error> {
        let key = self.key()?;
        self.change_anchors(&key, |anchors| {
            for lane in 0..LANES {
                let path = self.heads().join(lane.to_string());
                let head = match File::open(&path) {
                    Ok(file) => Head::read(&file).map_err(Error::os("read", &path))?,
                    Err(error) if error.kind() == ErrorKind::NotFound => None,
                    Err(error) => return Err(Error::io("read", &path)(error)),
                };
                let Some(head) = head else { continue };
                let known = anchors.of(lane).map_or(0, |anchor| anchor.at.seq);
                let path = self.segment(lane, head.number);
                // Gone: the next record of this lane finds that out, and the anchor stays where it was.
                if let (true, Ok(file)) = (head.link.seq > known, File::open(&path)) {
                    rustix::fs::fdatasync(&file).map_err(Error::os("sync", &path))?;
                    anchors.set(lane, Point::new(head.number, &head.link));
                }
            }
            Ok(())
        })
    }

    /// Removes what writers left that died before they put it in place: the next one would write over it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn collect_staged(&self) -> Result<(), Error> {
        let directory = self.segments();
        let lock = match File::open(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            lock => lock.map_err(Error::io("open", &directory))?,
        };
        flock(&lock, FlockOperation::LockExclusive).map_err(Error::os("lock", &directory))?;
        remove(&staged(&self.anchors_path()))?;
        drop(lock);
        for lane in 0..LANES {
            let staged = self.staged_segment(lane);
            // Whoever has the lane may be making one.
            if staged.exists()
                && let Some(_lane) = Lane::take(self, lane, crate::append::now_ns())?
            {
                remove(&staged)?;
            }
        }
        Ok(())
    }

    /// Replaces the document; its text. Durable when it returns.
    pub(crate) fn change_anchors(
        &self,
        key: &Key,
        change: impl FnOnce(&mut Anchors) -> Result<(), Error>,
    ) -> Result<String, Error> {
        let directory = self.segments();
        let lock = match File::open(&directory) {
            Ok(lock) => lock,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                crate::lane::make_directory(&directory)?;
                File::open(&directory).map_err(Error::io("open", &directory))?
            }
            Err(error) => return Err(Error::io("open", &directory)(error)),
        };
        flock(&lock, FlockOperation::LockExclusive).map_err(Error::os("lock", &directory))?;
        let mut anchors = match self.anchors(key) {
            // Kept as evidence, which a verification finds; the record goes on.
            Err(Error::Anchors { path, .. }) => {
                std::fs::rename(&path, self.spoilt_anchors_path()).map_err(Error::io("set aside", &path))?;
                Anchors::default()
            }
            Ok(Some(anchors)) => anchors,
            Ok(None) => {
                // It is there before the first segment is.
                if !segment::list(&directory)?.is_empty() {
                    let path = self.spoilt_anchors_path();
                    std::fs::write(&path, "it was missing\n").map_err(Error::io("write", &path))?;
                }
                Anchors::default()
            }
            Err(error) => return Err(error),
        };
        let before = anchors.clone();
        change(&mut anchors)?;
        if anchors == before && anchors.count > 0 {
            return Ok(anchors.sealed(key));
        }
        (anchors.generation, anchors.count) = (1, anchors.count + 1);
        anchors.time = crate::append::now_ns();
        let text = anchors.sealed(key);
        let path = self.anchors_path();
        write_durably(&path, text.as_bytes()).map_err(Error::io("write", &path))?;
        Ok(text)
    }
}

/// Under which name a document is written.
fn staged(path: &Path) -> PathBuf {
    path.with_extension("anchors.new")
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Puts a file in place, whole, and on the disk.
fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let staged = staged(path);
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    corral_fault::step!(AnchorsStaged);
    std::fs::rename(&staged, path)?;
    corral_fault::step!(AnchorsPlaced);
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}
