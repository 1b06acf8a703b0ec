//! What is written is read; what is changed by another hand is found.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::{Action, Error, Event, Grade, Item, Journal, Limits, ReadOptions, Record, segment};

/// A journal of its own, with small segments.
struct Place {
    dir: TempDir,
    journal: Journal,
}

const SECOND: u64 = 1_000_000_000;
const NOON: u64 = 1_795_000_000 * SECOND;

impl Place {
    fn new() -> Self {
        Self::with(Limits { segment: 4096, kept: 100, kept_others: 2 })
    }

    fn with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::new(&dir.path().join("root"), &dir.path().join("run"));
        journal.limits = limits;
        Self { dir, journal }
    }

    fn append(&self, number: u64) {
        let event = Event::new(Action::Start, "c1").with("number", number.to_string());
        self.journal.append_at(Grade::Work, &[event], NOON + number * SECOND).unwrap();
    }

    fn filled(count: u64) -> Self {
        let place = Self::new();
        (0..count).for_each(|number| place.append(number));
        place
    }

    fn reboot(&self) {
        // There is none where nothing was written since the last one.
        let _ = std::fs::remove_dir_all(self.dir.path().join("run"));
    }

    fn segments(&self) -> Vec<PathBuf> {
        let lanes = segment::list(&self.journal.segments()).unwrap();
        let paths = lanes
            .iter()
            .flat_map(|(lane, numbers)| numbers.iter().map(|number| self.journal.segment(*lane, *number)));
        paths.collect()
    }

    fn last(&self) -> PathBuf {
        self.segments().pop().unwrap()
    }

    fn wrong(&self) -> Vec<String> {
        self.journal.verify(None).unwrap().wrong
    }

    fn read(&self, options: ReadOptions) -> (Vec<Record>, Vec<String>) {
        let (mut records, mut damage) = (Vec::new(), Vec::new());
        let mut reader = self.journal.read(options).unwrap();
        while let Some(item) = reader.next_item(|| {}).unwrap() {
            match item {
                Item::Record(record) if record.is_mark() => {}
                Item::Record(record) => records.push(record),
                Item::Damage(text) => damage.push(text),
            }
        }
        (records, damage)
    }
}

fn edit(path: &PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn nothing_is_a_good_journal() {
    let place = Place::new();
    assert_eq!(place.read(ReadOptions::default()), (vec![], vec![]));
    let report = place.journal.verify(None).unwrap();
    assert!(report.is_good() && report.segments == 0, "{report:?}");
}

#[test]
fn what_is_written_is_read_over_segments() {
    let place = Place::filled(100);
    assert!(place.segments().len() > 3, "{:?}", place.segments());
    let (records, damage) = place.read(ReadOptions::default());
    assert_eq!((records.len(), damage), (100, vec![]));
    for (number, record) in records.iter().enumerate() {
        assert_eq!(record.attributes["number"], number.to_string());
        assert_eq!((record.kind.as_str(), record.action.as_str()), ("container", "start"));
        assert_eq!(record.time_ns, NOON + number as u64 * SECOND);
    }
    let window =
        ReadOptions { since_ns: Some(NOON + 40 * SECOND), until_ns: Some(NOON + 49 * SECOND), follow: false };
    let numbers: Vec<_> =
        place.read(window).0.iter().map(|record| record.attributes["number"].clone()).collect();
    assert_eq!(numbers, (40..=49).map(|number| number.to_string()).collect::<Vec<_>>());
    let report = place.journal.verify(None).unwrap();
    assert!(report.is_good() && report.torn.is_empty(), "{report:?}");
    assert!(report.records > 100);
}

#[test]
fn a_reboot_goes_on_in_the_same_chain() {
    let place = Place::filled(5);
    place.reboot();
    place.append(5);
    assert_eq!(place.segments().len(), 1);
    assert_eq!(place.read(ReadOptions::default()).0.len(), 6);
    assert_eq!(place.wrong(), Vec::<String>::new());
}

#[test]
fn a_record_cannot_be_two() {
    let place = Place::new();
    let forged = "x\"}\n{\"seq\":3,\"time\":1,\"type\":\"container\",\"action\":\"destroy\"}\n\u{1b}[2J";
    let event = Event::new(Action::ExecCreate, "c1").with(forged, forged).detailed(forged);
    place.journal.append(Grade::Work, &[event]).unwrap();
    let (records, damage) = place.read(ReadOptions::default());
    assert_eq!((records.len(), damage), (1, vec![]));
    assert_eq!(records[0].attributes[forged], forged);
    assert_eq!((records[0].verb(), &*records[0].action), ("exec_create", &*format!("exec_create: {forged}")));
    assert!(place.journal.verify(None).unwrap().is_good());
}

#[test]
fn hostile_sizes_are_cut() {
    let place = Place::with(Limits { segment: 1 << 20, kept: 100, kept_others: 2 });
    let mut event = Event::new(Action::Create, "i".repeat(5000)).detailed("d".repeat(100_000));
    for number in 0..1000 {
        event = event.with(&format!("label{number:04}"), "ä".repeat(40_000));
    }
    event = event.with(&"n".repeat(100_000), "");
    place.journal.append(Grade::Work, &[event]).unwrap();
    let (records, _) = place.read(ReadOptions::default());
    let size: usize = records[0].attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(size < 20_000, "{size}");
    assert_eq!(records[0].attributes["corral.attributes.dropped"], "998");
    assert!(std::fs::metadata(place.last()).unwrap().len() < 60_000);
}

#[test]
fn every_changed_byte_is_found() {
    let place = Place::filled(3);
    let path = place.last();
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        edit(&path, |bytes| bytes[at] ^= 1);
        assert!(!place.wrong().is_empty(), "byte {at} of {}", good.len());
        std::fs::write(&path, &good).unwrap();
    }
    assert_eq!(place.wrong(), Vec::<String>::new());
}

/// G8: each is found at once, after the next append, and after a reboot; and recording goes on.
#[test]
fn tampering_is_found() {
    let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    };
    type Tamper<'a> = (&'static str, Box<dyn Fn(&Place) + 'a>);
    let on_last = |change: fn(&mut Vec<Vec<u8>>)| {
        move |place: &Place| {
            edit(&place.last(), |bytes| {
                let mut all = lines(bytes);
                change(&mut all);
                *bytes = all.concat();
            });
        }
    };
    let nth = |at: usize, change: fn(&PathBuf)| move |place: &Place| change(&place.segments()[at]);
    let remove: fn(&PathBuf) = |path| std::fs::remove_file(path).unwrap();
    let tampers: Vec<Tamper<'_>> = vec![
        ("last record cut off", Box::new(on_last(|lines| drop(lines.pop())))),
        ("last record cut in two", Box::new(on_last(|lines| lines.last_mut().unwrap().truncate(40)))),
        ("record removed", Box::new(on_last(|lines| drop(lines.remove(1))))),
        ("records swapped", Box::new(on_last(|lines| lines.swap(1, 2)))),
        ("record repeated", Box::new(on_last(|lines| lines.push(lines[1].clone())))),
        (
            "value edited",
            Box::new(on_last(|lines| {
                let text = String::from_utf8(lines[1].clone()).unwrap();
                lines[1] = text.replace("\"start\"", "\"pause\"").into_bytes();
            })),
        ),
        (
            "record forged",
            Box::new(on_last(|lines| {
                let last = String::from_utf8(lines.last().unwrap().clone()).unwrap();
                lines.push(last.replace("start", "erase").into_bytes());
            })),
        ),
        ("nonsense appended", Box::new(on_last(|lines| lines.push(b"nonsense\n".to_vec())))),
        ("emptied", Box::new(on_last(Vec::clear))),
        ("oldest segment removed", Box::new(nth(0, remove))),
        ("middle segment removed", Box::new(nth(1, remove))),
        ("newest segment removed", Box::new(|place| remove(&place.last()))),
        (
            "segments swapped",
            Box::new(|place| {
                let all = place.segments();
                let aside = place.dir.path().join("aside");
                std::fs::rename(&all[0], &aside).unwrap();
                std::fs::rename(&all[1], &all[0]).unwrap();
                std::fs::rename(&aside, &all[1]).unwrap();
            }),
        ),
        ("all segments removed", Box::new(|place| place.segments().iter().for_each(remove))),
        ("anchors removed", Box::new(|place| remove(&place.journal.anchors_path()))),
        ("anchors edited", Box::new(|place| edit(&place.journal.anchors_path(), |bytes| bytes[10] ^= 1))),
        ("key removed", Box::new(|place| remove(&place.journal.key_path()))),
        ("key replaced", Box::new(|place| edit(&place.journal.key_path(), |bytes| bytes[0] ^= 1))),
    ];
    for (name, tamper) in tampers {
        for reboot in [false, true] {
            let place = Place::filled(40);
            place.journal.anchor().unwrap();
            assert_eq!(place.wrong(), Vec::<String>::new());
            tamper(&place);
            if reboot {
                place.reboot();
            }
            assert!(!place.wrong().is_empty(), "{name}, reboot: {reboot}");
            (100..104).for_each(|number| place.append(number));
            let wrong = place.wrong();
            assert!(!wrong.is_empty(), "{name}, reboot: {reboot}, and recorded on");
            if !name.starts_with("key") {
                let seen = place.read(ReadOptions::default()).0;
                let number = |record: &Record| record.attributes["number"].parse::<u64>().unwrap();
                assert_eq!(seen.iter().filter(|record| number(record) >= 100).count(), 4, "{name} {reboot}");
            }
        }
    }
}

#[test]
fn a_document_from_elsewhere_knows_what_the_host_forgot() {
    let place = Place::filled(3);
    let document = place.journal.anchor().unwrap();
    let elsewhere = PathBuf::from("/elsewhere");
    let check = || place.journal.verify(Some((&elsewhere, &document)));
    assert!(check().unwrap().is_good());
    (3..60).for_each(|number| place.append(number));
    assert!(check().unwrap().is_good());
    // Everything is rewritten by someone who has the key.
    for gone in ["root/journal", "run"] {
        std::fs::remove_dir_all(place.dir.path().join(gone)).unwrap();
    }
    std::fs::remove_file(place.journal.anchors_path()).unwrap();
    (0..60).for_each(|number| place.append(number + 1));
    assert_eq!(place.wrong(), Vec::<String>::new());
    assert!(!check().unwrap().is_good());
    let changed = document.replace("\"seq\":4", "\"seq\":3");
    assert_ne!(changed, document);
    assert!(matches!(place.journal.verify(Some((&elsewhere, &changed))), Err(Error::Anchors { .. })));
}

#[test]
fn a_torn_record_is_no_tampering_and_is_cut_off() {
    for reboot in [false, true] {
        let place = Place::filled(3);
        let path = place.last();
        let size = std::fs::metadata(&path).unwrap().len();
        for torn in [&b"{\"seq\":5,\"ti"[..], &[0; 700]] {
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(torn).unwrap();
            if reboot {
                place.reboot();
            }
            let report = place.journal.verify(None).unwrap();
            assert!(report.is_good() && report.torn.len() == 1, "{report:?}");
            assert_eq!(place.read(ReadOptions::default()).0.len(), 3);
            file.set_len(size).unwrap();
        }
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seq\":5").unwrap();
        place.append(3);
        let report = place.journal.verify(None).unwrap();
        assert!(report.is_good() && report.torn.is_empty(), "{report:?}");
        assert_eq!((place.read(ReadOptions::default()).0.len(), place.segments().len()), (4, 1));
    }
}

/// The head was not written after the record: the writer was killed between the two.
#[test]
fn a_record_that_the_head_does_not_know_is_kept() {
    let place = Place::filled(3);
    let head = place.dir.path().join("run/journal/0");
    let old = std::fs::read(&head).unwrap();
    place.append(3);
    std::fs::write(&head, old).unwrap();
    assert!(place.journal.verify(None).unwrap().is_good());
    place.append(4);
    assert!(place.journal.verify(None).unwrap().is_good());
    assert_eq!(place.read(ReadOptions::default()).0.len(), 5);
}

#[test]
fn a_spoilt_head_is_found_again() {
    let place = Place::filled(3);
    let mut head = OpenOptions::new().write(true).open(place.dir.path().join("run/journal/0")).unwrap();
    head.seek(SeekFrom::Start(20)).unwrap();
    head.write_all(b"xx").unwrap();
    place.append(3);
    assert_eq!((place.read(ReadOptions::default()).0.len(), place.wrong()), (4, vec![]));
}

#[test]
fn the_oldest_segments_are_trimmed_and_that_is_anchored() {
    let place = Place::with(Limits { segment: 2048, kept: 3, kept_others: 2 });
    (0..200).for_each(|number| place.append(number));
    assert_eq!(place.segments().len(), 3);
    let report = place.journal.verify(None).unwrap();
    assert!(report.is_good(), "{report:?}");
    assert_eq!(report.trimmed.len(), 1);
    let (records, damage) = place.read(ReadOptions::default());
    assert_eq!((records.last().unwrap().attributes["number"].as_str(), damage), ("199", vec![]));
    assert!(records.len() < 30);
    // One more than was trimmed.
    std::fs::remove_file(&place.segments()[0]).unwrap();
    assert!(!place.wrong().is_empty());
}

#[test]
fn time_never_goes_back_within_a_segment() {
    let place = Place::new();
    for seconds in [0, 10, 5, 1, 20] {
        place
            .journal
            .append_at(Grade::Work, &[Event::new(Action::Die, "c1")], NOON + seconds * SECOND)
            .unwrap();
    }
    let times: Vec<_> =
        place.read(ReadOptions::default()).0.iter().map(|record| record.time_ns - NOON).collect();
    assert_eq!(times, [0, 10 * SECOND, 10 * SECOND + 1, 10 * SECOND + 2, 20 * SECOND], "nor stands still");
    assert_eq!(place.segments().len(), 1);
    // Set back by a day: a segment of its own, with the time that it is now.
    place.journal.append_at(Grade::Work, &[Event::new(Action::Die, "c2")], NOON - 86_400 * SECOND).unwrap();
    assert_eq!((place.segments().len(), place.wrong()), (2, vec![]));
    let (records, damage) = place.read(ReadOptions::default());
    let late = records.iter().find(|record| record.id == "c2").unwrap();
    assert_eq!((late.time_ns, damage), (NOON - 86_400 * SECOND, vec![]));
}

#[test]
fn many_at_once_lose_nothing() {
    let place = Place::with(Limits { segment: 64 << 10, kept: 100, kept_others: 100 });
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let journal = &place.journal;
            scope.spawn(move || {
                for number in 0..100 {
                    let id = format!("{thread}-{number}");
                    let events = [Event::new(Action::Start, &*id), Event::new(Action::Die, &*id)];
                    journal.append(Grade::Work, &events).unwrap();
                }
            });
        }
    });
    let report = place.journal.verify(None).unwrap();
    assert!(report.is_good(), "{report:?}");
    let (records, damage) = place.read(ReadOptions::default());
    assert_eq!((records.len(), damage), (3200, vec![]));
    assert!(records.is_sorted_by_key(|record| record.time_ns));
}

#[test]
fn a_stopped_holder_stops_nobody() {
    let place = Place::filled(1);
    let held = place.journal.lane(NOON).unwrap();
    place.append(1);
    drop(held);
    place.append(2);
    let lanes = segment::list(&place.journal.segments()).unwrap();
    assert_eq!(lanes.keys().copied().collect::<Vec<_>>(), [0, 1]);
    assert_eq!((place.read(ReadOptions::default()).0.len(), place.wrong()), (3, vec![]));
}

#[test]
fn a_follower_sees_all_lanes_and_segments() {
    let place = Place::with(Limits { segment: 2048, kept: 100, kept_others: 100 });
    place.append(0);
    let since_ns = Some(NOON + SECOND);
    let mut reader = place.journal.read(ReadOptions { since_ns, until_ns: None, follow: true }).unwrap();
    let journal = place.journal.clone();
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        let held = journal.lane(NOON).unwrap();
        let event = |number: u64| Event::new(Action::Start, number.to_string());
        journal.append_at(Grade::Work, &[event(1)], NOON + SECOND).unwrap();
        drop(held);
        for number in 2..100 {
            journal.append_at(Grade::Work, &[event(number)], NOON + number * SECOND).unwrap();
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 99 {
        match reader.next_item(|| {}).unwrap() {
            Some(Item::Record(record)) if record.is_mark() => {}
            Some(Item::Record(record)) => seen.push(record.id.parse::<u64>().unwrap()),
            other => panic!("{other:?}"),
        }
    }
    writer.join().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (1..100).collect::<Vec<_>>());
}

#[test]
fn a_follower_ends_at_its_time() {
    let place = Place::filled(1);
    let until = crate::append::now_ns() + 50_000_000;
    let (records, _) = place.read(ReadOptions { since_ns: None, until_ns: Some(until), follow: true });
    assert_eq!(records.len(), 1);
    assert!(crate::append::now_ns() >= until);
}

/// The chain does not depend on which process verifies: the bytes of one record, once and for all.
#[test]
fn the_format_is_what_it_was() {
    let place = Place::new();
    std::fs::create_dir_all(place.dir.path().join("root")).unwrap();
    std::fs::write(place.journal.key_path(), [7; 32]).unwrap();
    place.append(1);
    let text = std::fs::read_to_string(place.last()).unwrap();
    let expect = include_str!("../tests/generation-1.jsonl");
    assert_eq!(text, expect);
}
