//! What is written is read, whatever happens in between.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use corral_spec::record::{Log, LogDriver};
use tempfile::TempDir;

use super::record::{HEADER, MAX_BYTES};
use super::{CURRENT, DIRECTORY, Follow, ReadOptions, Reader, Stream, Writer};

const ROOMY: Log = Log { driver: LogDriver::Local, max_size: 64 << 20, max_files: 2, attributes: Vec::new() };

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn write(dir: &Path, limits: &Log, records: &[(u64, Stream, &[u8])]) {
    let mut writer = Writer::new(dir, limits.clone());
    for (time_ns, stream, bytes) in records {
        writer.append(*time_ns, *stream, bytes).unwrap();
    }
}

/// All entries as (time, stream, bytes, continues).
fn read(dir: &Path, options: ReadOptions) -> Vec<(u64, Stream, String, bool)> {
    let mut reader = Reader::open(dir, options).unwrap();
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry(|| Ok(())).unwrap() {
        let text = String::from_utf8_lossy(entry.bytes).into_owned();
        found.push((entry.time_ns, entry.stream, text, entry.continues));
    }
    found
}

fn text(dir: &Path, options: ReadOptions) -> String {
    read(dir, options).into_iter().map(|(_, _, text, _)| text).collect()
}

use Stream::{Stderr, Stdout};

#[test]
fn no_log_is_an_empty_log() {
    let dir = dir();
    assert_eq!(read(dir.path(), ReadOptions::default()), []);
    write(dir.path(), &Log { max_size: 0, max_files: 3, ..Log::default() }, &[(1, Stdout, b"x\n")]);
    write(dir.path(), &ROOMY, &[]);
    assert!(!dir.path().join(DIRECTORY).exists(), "nothing written, no file made");
}

#[test]
fn lines_are_whole_again() {
    let dir = dir();
    let records: &[(u64, Stream, &[u8])] = &[
        (1, Stdout, b"one\ntwo\nthr"),
        (2, Stderr, b"error\n"),
        (3, Stdout, b"ee\n"),
        (4, Stdout, b"prompt> "),
        (5, Stderr, b"last"),
    ];
    write(dir.path(), &ROOMY, records);
    let expect = [
        (1, Stdout, "one\n".to_owned(), false),
        (1, Stdout, "two\n".to_owned(), false),
        (2, Stderr, "error\n".to_owned(), false),
        (3, Stdout, "three\n".to_owned(), false),
        (4, Stdout, "prompt> ".to_owned(), false),
        (5, Stderr, "last".to_owned(), false),
    ];
    assert_eq!(read(dir.path(), ReadOptions::default()), expect);
}

#[test]
fn since_until_and_tail_choose() {
    fn check(options: ReadOptions, expect: &str) {
        let dir = dir();
        let records: &[(u64, Stream, &[u8])] =
            &[(10, Stdout, b"a\nb\nc"), (20, Stderr, b"d\n"), (30, Stdout, b"e\nf\n"), (40, Stdout, b"g")];
        write(dir.path(), &ROOMY, records);
        assert_eq!(text(dir.path(), options.clone()), expect, "{options:?}");
    }
    let all = ReadOptions::default();
    check(ReadOptions { since_ns: Some(20), ..all.clone() }, "d\ne\nf\ng");
    check(ReadOptions { until_ns: Some(20), ..all.clone() }, "a\nb\nd\nc");
    check(ReadOptions { since_ns: Some(20), until_ns: Some(30), ..all.clone() }, "d\ne\nf\n");
    check(ReadOptions { tail: Some(0), ..all.clone() }, "");
    check(ReadOptions { tail: Some(1), ..all.clone() }, "g");
    check(ReadOptions { tail: Some(2), ..all.clone() }, "f\ng");
    check(ReadOptions { tail: Some(3), ..all.clone() }, "ce\nf\ng");
    check(ReadOptions { tail: Some(5), ..all.clone() }, "b\nd\nce\nf\ng");
    check(ReadOptions { tail: Some(99), ..all.clone() }, "a\nb\nd\nce\nf\ng");
    check(ReadOptions { tail: Some(3), since_ns: Some(40), ..all }, "g");
}

#[test]
fn rotation_keeps_the_youngest_files() {
    let dir = dir();
    // Five records of ten bytes each fill a file.
    let limits = Log { max_size: 5 * (HEADER as u64 + 10), max_files: 2, ..Log::default() };
    let mut writer = Writer::new(dir.path(), limits);
    for number in 0..23 {
        writer.append(1 + number, Stdout, format!("line {number:04}\n").as_bytes()).unwrap();
    }
    let mut names: Vec<_> = std::fs::read_dir(dir.path().join(DIRECTORY))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["1", "2", "current"]);
    let expect: String = (10..23).map(|number| format!("line {number:04}\n")).collect();
    assert_eq!(text(dir.path(), ReadOptions::default()), expect);
    let tail: String = (16..23).map(|number| format!("line {number:04}\n")).collect();
    assert_eq!(text(dir.path(), ReadOptions { tail: Some(7), ..ReadOptions::default() }), tail);

    let alone = Log { max_size: 5 * (HEADER as u64 + 10), max_files: 0, ..Log::default() };
    let mut writer = Writer::new(dir.path(), alone);
    for number in 23..30 {
        writer.append(1 + number, Stdout, format!("line {number:04}\n").as_bytes()).unwrap();
    }
    assert!(dir.path().join(DIRECTORY).join(CURRENT).metadata().unwrap().len() <= 5 * (HEADER as u64 + 10));
}

#[test]
fn a_torn_record_is_ignored_then_cut_off() {
    let records: &[(u64, Stream, &[u8])] = &[(1, Stdout, b"first\n"), (2, Stdout, b"second\n")];
    let whole = 2 * HEADER + "first\nsecond\n".len();
    for cut in 1..HEADER + "second\n".len() {
        let dir = dir();
        write(dir.path(), &ROOMY, records);
        let current = dir.path().join(DIRECTORY).join(CURRENT);
        std::fs::OpenOptions::new()
            .write(true)
            .open(&current)
            .unwrap()
            .set_len((whole - cut) as u64)
            .unwrap();
        assert_eq!(text(dir.path(), ReadOptions::default()), "first\n", "{cut} bytes are missing");
        write(dir.path(), &ROOMY, &[(3, Stdout, b"third\n")]);
        assert_eq!(text(dir.path(), ReadOptions::default()), "first\nthird\n", "{cut} bytes are missing");
    }
}

#[test]
fn zeros_of_a_power_failure_end_a_file_not_the_log() {
    let dir = dir();
    write(dir.path(), &ROOMY, &[(1, Stdout, b"first\n")]);
    let log = dir.path().join(DIRECTORY);
    let mut current = std::fs::OpenOptions::new().append(true).open(log.join(CURRENT)).unwrap();
    current.write_all(&[0; 5000]).unwrap();
    std::fs::rename(log.join(CURRENT), log.join("1")).unwrap();
    write(dir.path(), &ROOMY, &[(2, Stdout, b"second\n")]);
    assert_eq!(text(dir.path(), ReadOptions::default()), "first\nsecond\n");
}

#[test]
fn a_line_without_end_is_read_in_pieces() {
    let dir = dir();
    let mut writer = Writer::new(dir.path(), Log { max_size: u64::MAX, max_files: 0, ..Log::default() });
    let piece = vec![b'x'; MAX_BYTES];
    for time_ns in 1..=40 {
        writer.append(time_ns, Stdout, &piece).unwrap();
    }
    writer.append(41, Stdout, b"end\nnext\n").unwrap();
    let mut reader = Reader::open(dir.path(), ReadOptions::default()).unwrap();
    let (mut bytes, mut began) = (0, 0);
    while let Some(entry) = reader.next_entry(|| Ok(())).unwrap() {
        assert!(entry.bytes.len() <= 2 * MAX_BYTES, "memory is bounded");
        bytes += entry.bytes.len();
        began += u32::from(!entry.continues);
    }
    assert_eq!((bytes, began), (40 * MAX_BYTES + "end\nnext\n".len(), 2));
}

#[test]
fn a_million_lines_in_order_and_fast() {
    let dir = dir();
    let mut writer = Writer::new(dir.path(), Log { max_size: 16 << 20, max_files: 50, ..Log::default() });
    let mut batch = Vec::new();
    for number in 0..1_000_000_u32 {
        batch.extend_from_slice(format!("{number:07} {}\n", "y".repeat(92)).as_bytes());
        if batch.len() >= MAX_BYTES - 101 {
            writer.append(u64::from(number) + 1, Stdout, &batch).unwrap();
            batch.clear();
        }
    }
    writer.append(1_000_001, Stdout, &batch).unwrap();
    let begun = Instant::now();
    let mut reader = Reader::open(dir.path(), ReadOptions::default()).unwrap();
    let (mut next, mut bytes) = (0, 0);
    while let Some(entry) = reader.next_entry(|| Ok(())).unwrap() {
        bytes += entry.bytes.len();
        assert_eq!((entry.bytes.len(), entry.continues), (101, false));
        let number = entry.bytes[..7].iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        assert_eq!(number, next);
        next += 1;
    }
    assert_eq!(next, 1_000_000);
    let rate = bytes as f64 / 1e6 / begun.elapsed().as_secs_f64();
    println!("read with checks: {rate:.0} MB/s");
}

#[test]
fn a_follower_sees_all_over_rotations_and_ends_with_the_monitor() {
    let (dir, run) = (dir(), dir());
    let lock = std::fs::File::create(run.path().join(crate::LOCK)).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let options =
        ReadOptions { follow: Some(Follow { run_dir: run.path().to_owned() }), ..ReadOptions::default() };
    let mut reader = Reader::open(dir.path(), options).unwrap();
    let path = dir.path().to_owned();
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        let mut writer = Writer::new(&path, Log { max_size: 4000, max_files: 100, ..Log::default() });
        for number in 0..5000_u64 {
            writer.append(number + 1, Stdout, format!("{number}\n").as_bytes()).unwrap();
            if number % 500 == 0 {
                std::thread::sleep(Duration::from_millis(3));
            }
        }
        drop(lock);
    });
    let mut found = String::new();
    while let Some(entry) = reader.next_entry(|| Ok(())).unwrap() {
        found.push_str(std::str::from_utf8(entry.bytes).unwrap());
    }
    writer.join().unwrap();
    let expect: String = (0..5000).map(|number| format!("{number}\n")).collect();
    assert!(found == expect, "{} of {} bytes", found.len(), expect.len());
}

#[test]
fn a_follower_ends_at_its_time() {
    let (dir, run) = (dir(), dir());
    let lock = std::fs::File::create(run.path().join(crate::LOCK)).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let until_ns = Some(crate::records::now_ns() + 50_000_000);
    let follow = Some(Follow { run_dir: run.path().to_owned() });
    write(dir.path(), &ROOMY, &[(1, Stdout, b"first\n")]);
    let begun = Instant::now();
    assert_eq!(text(dir.path(), ReadOptions { until_ns, follow, ..ReadOptions::default() }), "first\n");
    assert!(begun.elapsed() >= Duration::from_millis(49));
}
