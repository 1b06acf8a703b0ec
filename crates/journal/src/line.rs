//! One record as one line, and back.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chain::{Key, Mac};
use crate::event::{Event, Kind};

/// What a line has behind its body: `,"mac":"…64 digits…"}` and a newline.
const TAIL: usize = MAC_FIELD.len() + 64 + 2 + 1;
const MAC_FIELD: &str = ",\"mac\":\"";
/// Longer lines are not ours: the bounds below keep far under it.
pub(crate) const LONGEST: usize = 128 << 10;
/// An attribute's value is cut here, in bytes; images choose their labels.
const VALUE: usize = 4 << 10;
/// A name of an attribute, an actor.
const NAME: usize = 512;
/// Attributes beyond this many bytes together are dropped, and counted.
const ATTRIBUTES: usize = 16 << 10;
/// The attribute that says how many were dropped.
const DROPPED: &str = "corral.attributes.dropped";

/// The place in a chain behind a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub seq: u64,
    pub time_ns: u64,
    pub mac: Mac,
}

impl Link {
    /// Before the first record of a lane.
    pub const NONE: Self = Self { seq: 0, time_ns: 0, mac: Mac::NONE };

    /// Whether it is the place that another claim speaks of, which knows no time.
    pub fn meets(&self, claim: &Self) -> bool {
        (self.seq, self.mac) == (claim.seq, claim.mac)
    }
}

/// What stands in a line, but for its mac.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Body<'a> {
    pub seq: u64,
    pub time: u64,
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub action: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "str::is_empty", borrow)]
    pub detail: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "str::is_empty", borrow)]
    pub id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// A record as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The lane it stands in.
    pub lane: u32,
    /// Its number in the lane, from 1, without gaps.
    pub seq: u64,
    /// Nanoseconds since the epoch.
    pub time_ns: u64,
    /// Docker's `Type`.
    pub kind: String,
    /// Docker's `Action`, with its detail.
    pub action: String,
    /// Docker's `Actor.ID`.
    pub id: String,
    /// Docker's `Actor.Attributes`.
    pub attributes: BTreeMap<String, String>,
}

impl Record {
    /// Whether it is a mark of the journal's own and no event.
    pub fn is_mark(&self) -> bool {
        self.kind == Kind::Journal.as_str()
    }

    /// The action without its detail.
    pub fn verb(&self) -> &str {
        self.action.split_once(": ").map_or(self.action.as_str(), |(verb, _)| verb)
    }
}

/// Appends a record to `out` and moves the link behind it.
pub(crate) fn write(out: &mut Vec<u8>, key: &Key, link: &mut Link, mut body: Body<'_>) {
    body.seq = link.seq + 1;
    bound(&mut body);
    let at = out.len();
    // A map of strings and numbers always has a form in JSON.
    serde_json::to_writer(&mut *out, &body).expect("a record is plain JSON");
    let closing = out.pop();
    debug_assert_eq!(closing, Some(b'}'));
    let mac = key.mac(&[&link.mac.0, &out[at..]]);
    out.extend_from_slice(format!("{MAC_FIELD}{mac}\"}}\n").as_bytes());
    *link = Link { seq: body.seq, time_ns: body.time, mac };
}

/// The body of an event at this time.
pub(crate) fn body(event: &Event, time: u64) -> Body<'_> {
    let (kind, action) = event.action.words();
    Body {
        seq: 0,
        time,
        kind: kind.as_str().into(),
        action: action.into(),
        detail: event.detail.as_str().into(),
        id: event.id.as_str().into(),
        attributes: event.attributes.clone(),
    }
}

/// Keeps a record small, whatever an image or a command line says.
fn bound(body: &mut Body<'_>) {
    body.detail = clip(&body.detail, VALUE).into_owned().into();
    body.id = clip(&body.id, NAME).into_owned().into();
    let size = |(name, value): (&String, &String)| name.len() + value.len();
    let whole: usize = body.attributes.iter().map(size).sum();
    if whole <= VALUE && body.attributes.keys().all(|name| name.len() <= NAME) {
        return;
    }
    let (mut kept, mut used, mut dropped) = (BTreeMap::new(), 0, 0_u32);
    for (name, value) in std::mem::take(&mut body.attributes) {
        let value = clip(&value, VALUE).into_owned();
        used += name.len() + value.len();
        if used > ATTRIBUTES || name.len() > NAME {
            dropped += 1;
        } else {
            kept.insert(name, value);
        }
    }
    if dropped > 0 {
        kept.insert(DROPPED.to_owned(), dropped.to_string());
    }
    body.attributes = kept;
}

fn clip(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return text.into();
    }
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end]).into()
}

/// A line with its newline, checked against the link before it: the link behind it and what it says.
pub(crate) fn read<'a>(line: &'a [u8], key: &Key, before: &Link) -> Result<(Link, Body<'a>), String> {
    let (body, mac) = split(line).ok_or("is no record")?;
    if key.mac(&[&before.mac.0, body]) != mac {
        return Err("was changed, or does not belong here".into());
    }
    let parsed = parse(line).ok_or("is no record")?;
    if parsed.seq != before.seq + 1 {
        return Err(format!("has number {} and not {}", parsed.seq, before.seq + 1));
    }
    Ok((Link { seq: parsed.seq, time_ns: parsed.time, mac }, parsed))
}

/// The body's bytes and the mac, unchecked.
pub(crate) fn split(line: &[u8]) -> Option<(&[u8], Mac)> {
    let (body, tail) = line.split_at_checked(line.len().checked_sub(TAIL)?)?;
    let digits = tail.strip_prefix(MAC_FIELD.as_bytes())?.strip_suffix(b"\"}\n")?;
    Some((body, std::str::from_utf8(digits).ok()?.parse().ok()?))
}

/// What a line says, unchecked.
pub(crate) fn parse(line: &[u8]) -> Option<Body<'_>> {
    serde_json::from_slice(line).ok()
}

impl Body<'_> {
    /// As a reader gets it.
    pub fn into_record(self, lane: u32) -> Record {
        let action = match self.detail.is_empty() {
            true => self.action.into_owned(),
            false => format!("{}: {}", self.action, self.detail),
        };
        Record {
            lane,
            seq: self.seq,
            time_ns: self.time,
            kind: self.kind.into_owned(),
            action,
            id: self.id.into_owned(),
            attributes: self.attributes,
        }
    }

    /// One of the journal's own marks.
    pub fn mark(action: &'static str, time: u64, attributes: &[(&str, String)]) -> Self {
        Self {
            seq: 0,
            time,
            kind: Kind::Journal.as_str().into(),
            action: action.into(),
            detail: "".into(),
            id: "".into(),
            attributes: attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        }
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}
