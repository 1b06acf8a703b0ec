//! Somebody swaps a directory and a link while files are copied from and to it: what lies behind the link is
//! neither read nor changed.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use corral_image::{
    ArchiveReader, ArchiveWriter, EntryHead, EntryKind, Error, Found, Owners, Sink, TreeWriter, Walk,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

const ROUNDS: usize = 1_000;
const TOKEN: &[u8] = b"canary-5b0e7f";

/// `tree/d`, which is now a directory and now a link to `canary`.
struct Arena {
    base: PathBuf,
    stop: AtomicBool,
    swaps: AtomicU64,
}

impl Arena {
    fn new(name: &str) -> Self {
        let base = std::env::temp_dir().join(format!("corral-race-{}-{name}", std::process::id()));
        fs::create_dir_all(base.join("tree/d/sub")).expect("tree");
        fs::create_dir_all(base.join("canary/sub")).expect("canary");
        fs::write(base.join("tree/d/sub/file"), b"harmless").expect("file");
        fs::write(base.join("canary/sub/file"), TOKEN).expect("canary");
        Self { base, stop: AtomicBool::new(false), swaps: AtomicU64::new(0) }
    }

    fn tree(&self) -> PathBuf {
        self.base.join("tree")
    }

    fn swap(&self) {
        let (d, other) = (self.tree().join("d"), self.base.join("other"));
        symlink(self.base.join("canary"), &other).expect("link");
        while !self.stop.load(Ordering::Relaxed) {
            renameat_with(CWD, &d, CWD, &other, RenameFlags::EXCHANGE).expect("exchanged");
            self.swaps.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Runs `round` a thousand times beside the swapper, and until that has swapped a thousand times.
    fn run(&self, mut round: impl FnMut(&Path)) {
        std::thread::scope(|scope| {
            scope.spawn(|| self.swap());
            let mut rounds = 0;
            while rounds < ROUNDS || self.swaps.load(Ordering::Relaxed) < ROUNDS as u64 {
                round(&self.tree());
                rounds += 1;
            }
            self.stop.store(true, Ordering::Relaxed);
        });
    }

    fn canary(&self) -> (Vec<u8>, Vec<PathBuf>, u32) {
        let sub = self.base.join("canary/sub");
        let mut names: Vec<PathBuf> = fs::read_dir(self.base.join("canary"))
            .expect("canary")
            .chain(fs::read_dir(&sub).expect("canary"))
            .map(|entry| entry.expect("entry").path())
            .collect();
        names.sort();
        let mode = fs::metadata(&sub).expect("canary").mode();
        (fs::read(sub.join("file")).expect("canary file"), names, mode)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.base);
    }
}

fn contains(bytes: &[u8], token: &[u8]) -> bool {
    bytes.windows(token.len()).any(|window| window == token)
}

#[test]
fn nothing_behind_a_swapped_link_is_read() {
    let arena = Arena::new("read");
    let (mut whole, mut linked) = (0, 0);
    arena.run(|tree| {
        let root = fs::File::open(tree).expect("tree");
        let mut bytes = Vec::new();
        let mut archive = ArchiveWriter::new(&mut bytes);
        let walked = Walk::new(&mut archive).inside(root.as_fd());
        if walked.and_then(|()| archive.finish()).is_ok() {
            assert!(!contains(&bytes, TOKEN), "the canary was read");
            whole += usize::from(contains(&bytes, b"harmless"));
            linked += usize::from(contains(&bytes, b"/canary"));
        }
        let found = Found::at(root.as_fd(), OsStr::new("d"));
        drop(found);
    });
    assert!(whole > 0 && linked > 0, "both were met: {whole} directories, {linked} links");
}

#[test]
fn nothing_behind_a_swapped_link_is_written() {
    let arena = Arena::new("write");
    let before = arena.canary();
    let (mut written, mut refused) = (0, 0);
    arena.run(|tree| {
        let root = fs::File::open(tree).expect("tree");
        let mut writer = TreeWriter::new(root.into(), Owners::Plain(0, 0));
        let entries = [
            EntryHead::new("d", EntryKind::Directory, 0o777),
            EntryHead::new("d/sub", EntryKind::Directory, 0o777),
            EntryHead::new("d/sub/file", EntryKind::File { size: 8 }, 0o666),
            EntryHead::new("d/link", EntryKind::Symlink { target: "x".into() }, 0o777),
            EntryHead::new("d/sub/more", EntryKind::Hardlink { target: "d/sub/file".into() }, 0o666),
            EntryHead::new("d/fifo", EntryKind::Fifo, 0o666),
        ];
        let mut contents = &b"harmless"[..];
        let done = entries.iter().try_for_each(|head| writer.put(head, &mut contents));
        match done.and_then(|()| writer.finish()) {
            Ok(()) => written += 1,
            Err(_) => refused += 1,
        }
    });
    assert_eq!(arena.canary(), before);
    assert!(written > 0 && refused > 0, "{written} written, {refused} refused");
}

#[test]
fn an_archive_of_a_stranger_stays_below_its_directory() {
    let arena = Arena::new("archive");
    symlink(arena.base.join("canary"), arena.tree().join("out")).expect("link");
    let before = arena.canary();
    let put = |heads: &[EntryHead]| {
        let mut bytes = Vec::new();
        let mut archive = ArchiveWriter::new(&mut bytes);
        for head in heads {
            archive.put(head, &mut std::io::repeat(b'x')).expect("an archive");
        }
        archive.finish().expect("an archive");
        let root = fs::File::open(arena.tree()).expect("tree");
        let mut writer = TreeWriter::new(root.into(), Owners::Plain(0, 0));
        ArchiveReader::new(&bytes[..])
            .and_then(|mut archive| archive.pour(&mut writer, &Path::to_path_buf))
            .and_then(|_| writer.finish())
    };
    let file = |path: &str| EntryHead::new(path, EntryKind::File { size: 3 }, 0o4755);
    let refused = |heads: &[EntryHead]| {
        let error = put(heads).expect_err("refused");
        assert!(matches!(error, Error::Place { .. } | Error::Entry { .. }), "{error}");
    };
    refused(&[file("out/sub/file")]);
    refused(&[EntryHead::new("out", EntryKind::Directory, 0o777)]);
    let link =
        |path: &str, target: &str| EntryHead::new(path, EntryKind::Symlink { target: target.into() }, 0o777);
    refused(&[link("up", ".."), file("up/canary/sub/file")]);
    refused(&[link("abs", &arena.base.display().to_string()), file("abs/canary/sub/file")]);
    refused(&[EntryHead::new("hard", EntryKind::Hardlink { target: "out/sub/file".into() }, 0o644)]);
    refused(&[file("d")]);
    // A link in the place of a file is replaced, not written through.
    put(&[file("out")]).expect("replaced");
    let made = fs::symlink_metadata(arena.tree().join("out")).expect("made");
    assert!(made.is_file() && made.mode() & 0o7777 == 0o755, "no set-id bit: {:o}", made.mode());
    assert_eq!(arena.canary(), before);
    let mut short = ArchiveReader::new(&[1_u8; 700][..]).expect("a reader");
    assert!(short.next_entry().is_err());
    assert_eq!(short.read(&mut [0; 4]).expect("nothing"), 0);
}
