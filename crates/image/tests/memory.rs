//! What an archive or a container may make the engine hold in memory. Peaks are this process's own, so one test at
//! a time measures.

mod common;

use std::fs;
use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};

use common::Scratch;
use common::tar::{Entry, part};
use corral_image::{
    ArchiveReader, Change, ChangeKind, Owners, Store, TreeWriter, UnpackLimits, Upper, changes,
};

static ONE: Mutex<()> = Mutex::new(());

/// By how many bytes this process's memory grew at most while `work` was done.
fn peak<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let kib = |field: &str| {
        let status = fs::read_to_string("/proc/self/status").expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    };
    // proc(5): the peak is the present size again.
    fs::OpenOptions::new()
        .write(true)
        .open("/proc/self/clear_refs")
        .and_then(|mut f| f.write_all(b"5"))
        .expect("reset");
    let before = kib("VmRSS:");
    let done = work();
    (kib("VmHWM:").saturating_sub(before), done)
}

/// The pieces `0..count` of an archive, made when they are read.
struct Pieces<F> {
    make: F,
    next: u32,
    count: u32,
    piece: io::Cursor<Vec<u8>>,
}

fn pieces<F: Fn(u32) -> Vec<u8>>(count: u32, make: F) -> Pieces<F> {
    Pieces { make, next: 0, count, piece: io::Cursor::default() }
}

impl<F: Fn(u32) -> Vec<u8>> Read for Pieces<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.piece.read(buffer)? {
                0 if self.next < self.count => {
                    self.piece = io::Cursor::new((self.make)(self.next));
                    self.next += 1;
                }
                got => return Ok(got),
            }
        }
    }
}

fn unpack(store: &Store, tar: impl Read) -> Result<u64, String> {
    let unpacked = store.unpack_layer(tar, None, &UnpackLimits::default());
    unpacked.map(|info| info.files).map_err(|error| error.to_string())
}

fn pour(scratch: &Scratch, tar: impl Read) -> Result<u64, String> {
    let dir = scratch.path().join("tree");
    fs::create_dir_all(&dir).expect("directory");
    let mut tree = TreeWriter::new(fs::File::open(dir).expect("directory").into(), Owners::Plain(0, 0));
    let poured = ArchiveReader::new(tar).and_then(|mut archive| archive.pour(&mut tree, &|path| path.into()));
    poured.and_then(|count| tree.finish().map(|()| count)).map_err(|error| error.to_string())
}

const MUCH: u64 = 100 << 20;

#[test]
fn headers_without_end_are_not_collected() {
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = Scratch::new();
    let header = part(&[Entry::global(&[("comment", &[b'c'; 1 << 19])])]);
    let bomb = || pieces(800, |_| header.clone());
    let (held, said) = peak(|| unpack(&scratch.store(), bomb()));
    assert!(said.as_ref().is_err_and(|said| said.contains("extension header")), "{said:?}");
    assert!(held < MUCH, "import holds {held}");
    let (held, said) = peak(|| pour(&scratch, bomb()));
    assert!(said.as_ref().is_err_and(|said| said.contains("extension header")), "{said:?}");
    assert!(held < MUCH, "cp holds {held}");
}

#[test]
fn attributes_of_directories_are_not_kept_to_the_end() {
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = Scratch::new();
    // Of another security module: kept in the layer's headers, set nowhere.
    let value = [b'v'; 60 << 10];
    let many = || {
        pieces(5_000, |number| {
            part(&[
                Entry::pax(&[("SCHILY.xattr.security.other", &value)]),
                Entry::dir(&format!("d{number}/")),
            ])
        })
    };
    let (held, said) = peak(|| unpack(&scratch.store(), many()));
    assert_eq!(said, Ok(5_000));
    assert!(held < MUCH, "import holds {held}");
    let (held, said) = peak(|| pour(&scratch, many()));
    assert_eq!(said, Ok(5_000));
    assert!(held < MUCH, "cp holds {held}");
}

#[test]
fn paths_of_changes_are_made_one_by_one() {
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = Scratch::new();
    let long = vec!["d".repeat(250); 14].join("/");
    let deep = scratch.path().join("upper").join(&long);
    fs::create_dir_all(&deep).expect("directories");
    // By a short way: the test's own paths are as long.
    std::os::unix::fs::symlink(&deep, scratch.path().join("short")).expect("link");
    for number in 0..60_000 {
        fs::File::create(scratch.path().join(format!("short/{number:05}"))).expect("file");
    }
    let found = || changes(&scratch.path().join("upper"), &Upper::default()).expect("changes");
    let (held, last) = peak(|| found().last());
    assert!(held < MUCH, "diff holds {held}");
    let path = std::path::Path::new("/").join(&long).join("59999");
    assert_eq!(last, Some(Change { path, kind: ChangeKind::Added }));
    let all: Vec<Change> = found().take(1000).collect();
    assert!(all.is_sorted() && all.len() == 1000, "in the order of paths");
    assert_eq!(found().count(), 60_014);
}
