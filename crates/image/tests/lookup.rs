//! Files found through unmounted layers are those that overlayfs would show.

mod common;

use std::path::{Path, PathBuf};

use common::Scratch;
use common::tar::{Entry, archive};
use corral_image::{UnpackLimits, read_file};

#[test]
fn layers_are_looked_through_as_overlayfs_does() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let canary = scratch.path().join("canary");
    std::fs::write(&canary, b"host").expect("canary");
    let outside = canary.to_str().expect("utf-8");
    let climb = format!("{}{}", "../".repeat(40), &outside[1..]);
    let bottom = archive(&[
        Entry::dir("etc/"),
        Entry::file("etc/passwd", b"bottom"),
        Entry::file("etc/group", b"bottom group"),
        Entry::file("etc/hidden", b"x"),
        Entry::dir("cut/"),
        Entry::file("cut/below", b"x"),
        Entry::dir("usr/"),
        Entry::dir("usr/lib/"),
        Entry::file("usr/lib/os-release", b"os"),
        Entry::file("var", b"a file"),
        Entry::dir("was-dir/"),
        Entry::file("was-dir/x", b"x"),
    ]);
    let middle = archive(&[
        Entry::file("etc/passwd", b"middle"),
        Entry::symlink("etc/os-release", "../usr/lib/os-release"),
        Entry::symlink("etc/absolute", "/usr/lib/os-release"),
        Entry::symlink("lib", "usr/lib"),
        Entry::symlink("loop", "loop"),
        Entry::symlink("out", outside),
        Entry::symlink("climb", &climb),
        Entry::file("etc/.wh.hidden", b""),
        Entry::dir("cut/"),
        Entry::file("cut/.wh..wh..opq", b""),
        Entry::dir("var/"),
        Entry::file("was-dir", b"now a file"),
    ]);
    let top = archive(&[Entry::dir("etc/"), Entry::file("etc/big", &[b'b'; 100])]);
    let layers: Vec<PathBuf> = [&top, &middle, &bottom]
        .into_iter()
        .map(|tar| {
            let info = store.unpack_layer(&tar[..], None, &UnpackLimits::default()).expect("layer");
            store.layer_dir(&info.diff_id)
        })
        .collect();
    let check = |path: &str, expect: Option<&str>| {
        let found =
            read_file(&layers, Path::new(path), 50).map(|bytes| String::from_utf8(bytes).expect("text"));
        assert_eq!(found.as_deref(), expect, "{path}");
    };
    check("/etc/passwd", Some("middle"));
    check("etc/group", Some("bottom group"));
    check("/etc/os-release", Some("os"));
    check("/etc/absolute", Some("os"));
    check("/lib/os-release", Some("os"));
    check("/lib/../etc/passwd", None); // usr/etc is not there
    check("/etc/../../etc/passwd", Some("middle"));
    check("/was-dir", Some("now a file"));
    for none in
        ["/etc/hidden", "/cut/below", "/etc/big", "/etc", "/", "/loop", "/was-dir/x", "/var/x", "/nothing"]
    {
        check(none, None);
    }
    check("/out", None);
    check("/climb", None);
    assert_eq!(read_file(&layers, Path::new("/etc/big"), 100).map(|bytes| bytes.len()), Some(100));
}
