//! Archives from elsewhere: re-made byte for byte when they are sound, refused by name when they are not
//! (attack rows G2 and G4). The oracle is a canary file beside the store that no archive may reach.

mod common;

use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use common::tar::{Entry, archive};
use common::{Scratch, sha256};
use corral_image::{Error, Store, UnpackLimits};

fn unpack(store: &Store, tar: &[u8]) -> Result<corral_image::LayerInfo, Error> {
    store.unpack_layer(tar, None, &UnpackLimits::default())
}

/// Unpacks, and re-makes the same bytes.
fn round_trip(store: &Store, tar: &[u8]) -> std::path::PathBuf {
    let info = unpack(store, tar).expect("sound");
    assert_eq!((info.diff_id, info.size), (sha256(tar), tar.len() as u64));
    let mut again = Vec::new();
    store.layer_tar(&info.diff_id, &mut again).expect("re-made");
    assert!(again == tar, "the re-made tar differs");
    store.layer_dir(&info.diff_id)
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn what_gnu_tar_makes_is_kept_to_the_byte() {
    let scratch = Scratch::new();
    let tree = scratch.path().join("tree");
    let deep = tree.join("d".repeat(90)).join("e".repeat(90));
    std::fs::create_dir_all(&deep).expect("tree");
    std::fs::write(deep.join("long"), b"long name").expect("file");
    std::fs::write(tree.join("plain"), vec![b'x'; 100_000]).expect("file");
    std::fs::write(tree.join("ünïcode"), b"").expect("file");
    std::fs::hard_link(tree.join("plain"), tree.join("second")).expect("hard link");
    std::os::unix::fs::symlink("../../../etc", tree.join("away")).expect("symlink");
    let store = scratch.store();
    for format in ["gnu", "pax", "ustar"] {
        let made = std::process::Command::new("tar")
            .args(["--format", format, "--sort=name", "-C"])
            .arg(&tree)
            .args(["-cf", "-", "."])
            .output()
            .expect("tar is part of every Debian");
        assert!(made.status.success(), "{format}: {made:?}");
        let fs = round_trip(&store, &made.stdout);
        assert_eq!(read(&fs.join("plain")), vec![b'x'; 100_000]);
        assert_eq!(std::fs::metadata(fs.join("second")).expect("stat").nlink(), 2);
        assert_eq!(std::fs::read_link(fs.join("away")).expect("link"), Path::new("../../../etc"));
        assert_eq!(read(&fs.join("d".repeat(90)).join("e".repeat(90)).join("long")), b"long name");
    }
}

#[test]
fn gzip_and_zstd_are_told_by_their_first_bytes() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let tar = archive(&[Entry::file("f", b"data")]);
    let expect = sha256(&tar);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).expect("gzip");
    let gzip = gzip.finish().expect("gzip");
    let zstd = zstd::encode_all(&tar[..], 1).expect("zstd");
    for packed in [&gzip, &zstd, &tar] {
        let info =
            store.unpack_layer(&packed[..], Some(&expect), &UnpackLimits::default()).expect("unpacked");
        assert_eq!(info.diff_id, expect);
    }
    for cut in [&gzip[..gzip.len() - 9], &zstd[..zstd.len() - 5], &tar[..600], &tar[..513]] {
        let error = unpack(&store, cut).expect_err("cut").to_string();
        assert!(error.contains("truncated"), "{error}");
    }
    let error = unpack(&store, b"\xfd7zXZ\0rest").expect_err("xz").to_string();
    assert!(error.contains("xz"), "{error}");
    let error = store.unpack_layer(&tar[..], Some(&sha256(b"other")), &UnpackLimits::default());
    assert!(matches!(error, Err(Error::DigestMismatch { .. })));
}

#[test]
fn whiteouts_are_overlays_own_on_disk() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let fs = round_trip(
        &store,
        &archive(&[
            Entry::dir("etc/"),
            Entry::file("etc/.wh.gone", b""),
            Entry::dir("etc/both/"),
            Entry::file("etc/both/kept", b"k"),
            Entry::file("etc/.wh.both", b""),
            Entry::file("etc/.wh.later", b""),
            Entry::file("etc/later", b"new"),
            Entry::file("etc/.wh.dir", b""),
            Entry::dir("etc/dir/"),
            Entry::file("missing/parent/.wh..wh..opq", b""),
            Entry::device("dev-null", 0, 0),
        ]),
    );
    let is_whiteout = |name: &str| {
        let stat = std::fs::symlink_metadata(fs.join(name)).expect("stat");
        stat.file_type().is_char_device() && stat.rdev() == 0
    };
    let is_opaque = |name: &str| {
        let mut value = [0; 2];
        rustix::fs::lgetxattr(fs.join(name), "trusted.overlay.opaque", &mut value) == Ok(1)
            && value[0] == b'y'
    };
    assert!(is_whiteout("etc/gone") && is_whiteout("dev-null"));
    assert!(
        is_opaque("etc/both") && is_opaque("etc/dir") && is_opaque("missing/parent") && !is_opaque("etc")
    );
    assert_eq!(read(&fs.join("etc/later")), b"new");
    assert_eq!(read(&fs.join("etc/both/kept")), b"k");
    assert!(!fs.join("etc/.wh.gone").exists());
}

#[test]
fn a_repeated_path_is_what_it_was_last_and_re_made_as_it_was() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let fs = round_trip(
        &store,
        &archive(&[
            Entry::file("a", b"first"),
            Entry::hardlink("b", "a"),
            Entry::file("a", b"second"),
            Entry::file("b", b"third"),
            Entry::symlink("a", "/etc/passwd"),
            Entry::file("a", b"last"),
            Entry::file("e", b""),
            Entry::file("e", b"full"),
            Entry::dir("d/"),
            Entry::dir("d/"),
        ]),
    );
    assert_eq!((read(&fs.join("a")), read(&fs.join("b"))), (b"last".to_vec(), b"third".to_vec()));
    assert_eq!(read(&fs.join("e")), b"full");
}

#[test]
fn attributes_are_applied_and_overlays_own_are_not() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let pax = Entry::pax(&[
        ("SCHILY.xattr.user.note", b"a\nb=c"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("mtime", b"12.25"),
        ("uid", b"70000"),
    ]);
    let fs = round_trip(&store, &archive(&[pax, Entry::file("f", b"x").with_mode(0o6755)]));
    let mut value = [0; 8];
    assert_eq!(rustix::fs::lgetxattr(fs.join("f"), "user.note", &mut value), Ok(5));
    assert_eq!(&value[..5], b"a\nb=c");
    for foreign in ["trusted.overlay.redirect", "user.overlay.opaque"] {
        assert!(rustix::fs::lgetxattr(fs.join("f"), foreign, &mut value).is_err(), "{foreign}");
    }
    let stat = std::fs::metadata(fs.join("f")).expect("stat");
    assert_eq!((stat.uid(), stat.mode() & 0o7777, stat.mtime()), (70000, 0o6755, 12));
    assert_eq!(stat.mtime_nsec(), 250_000_000);
}

/// Each archive is refused with an error that says why and, where one entry is to blame, which.
#[test]
fn hostile_archives_are_refused_by_name() {
    let dir = || Entry::dir("d/");
    let link = |to: &str| Entry::symlink("s", to);
    let cases: Vec<(&str, Vec<Entry>, &str)> = vec![
        ("climbing", vec![Entry::file("../canary", b"x")], "\"../canary\""),
        ("climbing inside", vec![dir(), Entry::file("d/../../canary", b"x")], "d/../../canary"),
        ("absolute", vec![Entry::file("/canary", b"x")], "\"/canary\""),
        ("through a link", vec![link("../../.."), Entry::file("s/canary", b"x")], "\"s/canary\""),
        ("through an absolute link", vec![link("/"), Entry::file("s/canary", b"x")], "\"s/canary\""),
        ("a directory through a link", vec![link(".."), Entry::dir("s/x/")], "\"s/x\""),
        ("a directory swapped", vec![dir(), Entry::symlink("d", "/"), Entry::file("d/x", b"")], "\"d\""),
        ("a directory replaced", vec![dir(), Entry::file("d", b"x")], "replaces a directory"),
        ("a hard link outside", vec![Entry::hardlink("h", "../../../../canary")], "hard link target"),
        ("an absolute hard link", vec![Entry::hardlink("h", "/etc/passwd")], "hard link target"),
        ("a hard link through a link", vec![link("../../../.."), Entry::hardlink("h", "s/canary")], "\"h\""),
        ("a hard link to nothing", vec![Entry::hardlink("h", "nothing")], "nothing"),
        ("a hard link to itself", vec![Entry::file("h", b"x"), Entry::hardlink("h", "h")], "\"h\""),
        ("a hard link to a directory", vec![dir(), Entry::hardlink("h", "d")], "\"h\""),
        ("a hard link to a mark", vec![Entry::file(".wh.a", b""), Entry::hardlink("h", "a")], "\"h\""),
        ("a mark through a link", vec![link("../.."), Entry::file("s/.wh.canary", b"")], "s/canary"),
        ("an opaque link", vec![link("../.."), Entry::file("s/.wh..wh..opq", b"")], "\"s\""),
        ("a mark that climbs", vec![dir(), Entry::file("d/.wh...", b"")], "names nothing"),
        ("a mark with contents", vec![Entry::file(".wh.a", b"x")], "with contents"),
        ("aufs", vec![Entry::file(".wh..wh.plnk", b"")], "aufs"),
        ("a device", vec![Entry::device("sda", 8, 0)], "device node 8:0"),
        (
            "a long component",
            vec![
                Entry::file(&"n".repeat(99), b""),
                Entry::pax(&[("path", &[b'n'; 300])]),
                Entry::file("n", b""),
            ],
            "longer than 255",
        ),
        ("NUL in a pax path", vec![Entry::pax(&[("path", b"a\0b")]), Entry::file("n", b"")], "NUL"),
        ("pax climbing", vec![Entry::pax(&[("path", b"../canary")]), Entry::file("n", b"")], "../canary"),
        ("GNU climbing", vec![Entry::long_name("../canary"), Entry::file("n", b"")], "../canary"),
        ("pax sparse", vec![Entry::pax(&[("GNU.sparse.major", b"1")]), Entry::file("n", b"")], "sparse"),
        ("GNU sparse", vec![Entry::of_type("n", b'S')], "sparse"),
        (
            "two names",
            vec![Entry::long_name("a"), Entry::pax(&[("path", b"b")]), Entry::file("n", b"")],
            "both",
        ),
        (
            "two global headers",
            vec![
                Entry::global(&[("comment", b"a")]),
                Entry::global(&[("comment", b"a")]),
                Entry::file("n", b""),
            ],
            "two extension headers",
        ),
        (
            "a long attribute",
            vec![Entry::pax(&[("SCHILY.xattr.user.a", &[b'a'; (64 << 10) + 1])]), Entry::dir("n/")],
            "longer than 64 KiB",
        ),
        (
            "headers beyond measure",
            vec![
                Entry::global(&[("comment", &[b'a'; 900 << 10])]),
                Entry::pax(&[("comment", &[b'a'; 900 << 10])]),
                Entry::long_name(&"a".repeat(900 << 10)),
                Entry::file("n", b""),
            ],
            "bytes of headers",
        ),
        ("an unknown type", vec![Entry::of_type("n", b'V')], "'V'"),
        ("a link without target", vec![Entry::symlink("s", "")], "target"),
        (
            "a negative owner",
            vec![Entry::pax(&[("uid", b"4294967295")]), Entry::file("n", b"")],
            "4294967295",
        ),
        ("a root that is a link", vec![Entry::symlink("./", "/etc")], "root"),
    ];
    let scratch = Scratch::new();
    let store = scratch.store();
    let canary = scratch.path().join("canary");
    std::fs::write(&canary, b"alive").expect("canary");
    for (what, entries, says) in cases {
        let error = unpack(&store, &archive(&entries)).map(|info| info.diff_id);
        let error = error.expect_err(what).to_string();
        assert!(error.contains(says), "{what}: {error}");
        assert!(!error.contains('\n'), "{what}: {error}");
    }
    assert_eq!(read(&canary), b"alive");
    assert_eq!(std::fs::metadata(&canary).expect("stat").nlink(), 1);
    for empty in ["layers", "staging"] {
        let left: Vec<_> =
            std::fs::read_dir(scratch.path().join("store").join(empty)).expect("dir").collect();
        assert!(left.is_empty(), "{empty}: {left:?}");
    }
}

#[test]
fn a_hard_link_to_a_symlink_is_the_link_itself() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let canary = scratch.path().join("canary");
    std::fs::write(&canary, b"alive").expect("canary");
    let target = canary.to_str().expect("utf-8");
    let fs = round_trip(
        &store,
        &archive(&[Entry::symlink("s", target), Entry::hardlink("h", "s"), Entry::file("h", b"overwritten")]),
    );
    assert_eq!(read(&canary), b"alive");
    assert_eq!(read(&fs.join("h")), b"overwritten");
    assert_eq!(std::fs::read_link(fs.join("s")).expect("still a link"), canary);
}

#[test]
fn bombs_meet_a_limit() {
    let scratch = Scratch::new();
    let store = scratch.store();
    // 1.2 GiB of zeros are a few MB of gzip; the ratio is looked at from 1 GiB on, so that much is written.
    let mut header = Entry::file("zeros", b"").header();
    common::tar::set_size(&mut header, 1200 << 20);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&header).expect("gzip");
    let zeros = vec![0; 1 << 20];
    for _ in 0..1200 {
        gzip.write_all(&zeros).expect("gzip");
    }
    let bomb = gzip.finish().expect("gzip");
    let limited = |tar: &[u8], limits: UnpackLimits| {
        let error = store.unpack_layer(tar, None, &limits).expect_err("a bomb");
        assert!(matches!(error, Error::Limit { .. }), "{error}");
    };
    limited(&bomb, UnpackLimits::default());
    let small = archive(&[Entry::file("a", &[1; 5000]), Entry::file("b", b"")]);
    limited(&small, UnpackLimits { bytes: 4000, ..UnpackLimits::default() });
    limited(&small, UnpackLimits { entries: 1, ..UnpackLimits::default() });
    let mut trailer = small;
    trailer.resize(trailer.len() + (2 << 20), 0);
    limited(&trailer, UnpackLimits::default());
}

/// Archives damaged in ways nobody thought of: each is stored faithfully or refused, none harms anything.
#[test]
fn mutated_archives_are_stored_faithfully_or_refused() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let canary = scratch.path().join("canary");
    std::fs::write(&canary, b"alive").expect("canary");
    let whole = archive(&[
        Entry::dir("d/"),
        Entry::pax(&[("path", b"d/pax"), ("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"b")]),
        Entry::file("x", &[7; 700]),
        Entry::long_name("d/long"),
        Entry::symlink("y", "../../../canary"),
        Entry::hardlink("d/hard", "d/pax"),
        Entry::file("d/.wh.gone", b""),
    ]);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize % below
    };
    let (mut kept, mut refused) = (0, 0);
    for _ in 0..700 {
        let mut tar = whole.clone();
        for _ in 0..=next(3) {
            let at = next(tar.len());
            tar[at] = [0, b'/', b'.', b'7', 0xff, next(256) as u8][next(6)];
            let header = at / 512 * 512;
            let mut block: [u8; 512] = tar[header..header + 512].try_into().expect("a block");
            if block[257..262] == *b"ustar" && next(4) > 0 {
                common::tar::seal(&mut block);
                tar[header..header + 512].copy_from_slice(&block);
            }
        }
        match unpack(&store, &tar) {
            Ok(info) => {
                let mut again = Vec::new();
                store.layer_tar(&info.diff_id, &mut again).expect("re-made");
                assert!(again == tar, "the re-made tar differs");
                kept += 1;
            }
            Err(error) => {
                assert!(!error.to_string().contains('\n'), "{error}");
                assert!(!matches!(error, Error::Io { .. }), "{error}");
                refused += 1;
            }
        }
        assert_eq!(read(&canary), b"alive");
    }
    assert!(kept > 50 && refused > 50, "{kept} kept, {refused} refused");
    assert_eq!(std::fs::read_dir(scratch.path()).expect("root").count(), 2, "the store and the canary");
}
