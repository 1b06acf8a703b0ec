//! The store as other rooms use it: write a layer, make an image of it, name it, find it, remove it.

mod common;

use common::{Scratch, config_for, file, image_of};
use corral_image::{EntryHead, EntryKind, Error, Store};
use corral_spec::Digest;

#[test]
fn a_written_layer_is_its_canonical_tar() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let mut writer = store.layer_writer().expect("writer");
    let dir = EntryHead { mtime: 7, ..EntryHead::new("etc", EntryKind::Directory, 0o2755) };
    writer.append(&dir, std::io::empty()).expect("dir");
    let mut passwd = file("etc/passwd", 5);
    passwd.xattrs.insert("user.note".into(), b"a\nb".to_vec());
    (passwd.uid, passwd.gid, passwd.mode) = (3, 4, 0o4755);
    writer.append(&passwd, &b"root\n"[..]).expect("file");
    let link = EntryHead::new("etc/link", EntryKind::Symlink { target: "/outside".into() }, 0o777);
    writer.append(&link, std::io::empty()).expect("symlink");
    let hard = EntryHead::new("etc/hard", EntryKind::Hardlink { target: "etc/passwd".into() }, 0o644);
    writer.append(&hard, std::io::empty()).expect("hard link");
    writer.append(&EntryHead::new("etc/gone", EntryKind::Whiteout, 0), std::io::empty()).expect("whiteout");
    writer.append(&EntryHead::new("etc", EntryKind::Opaque, 0), std::io::empty()).expect("opaque");
    let info = writer.finish().expect("finish");
    assert_eq!((info.files, info.content), (6, 5));

    let mut tar = Vec::new();
    store.layer_tar(&info.diff_id, &mut tar).expect("re-made");
    assert_eq!(tar.len() as u64, info.size);
    let names: Vec<String> = tar::Archive::new(&tar[..])
        .entries()
        .expect("entries")
        .map(|entry| entry.expect("entry").path().expect("path").display().to_string())
        .collect();
    assert_eq!(names, ["etc/", "etc/passwd", "etc/link", "etc/hard", "etc/.wh.gone", "etc/.wh..wh..opq"]);

    use std::os::unix::fs::MetadataExt;
    let fs = store.layer_dir(&info.diff_id);
    let stat = std::fs::symlink_metadata(fs.join("etc/passwd")).expect("stat");
    assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777, stat.nlink()), (3, 4, 0o4755, 2));
    let dir = std::fs::symlink_metadata(fs.join("etc")).expect("stat");
    assert_eq!((dir.mode() & 0o7777, dir.mtime()), (0o2755, 7));
    let gone = std::fs::symlink_metadata(fs.join("etc/gone")).expect("stat");
    assert_eq!((gone.mode() & 0o170000, gone.rdev()), (0o020000, 0));
    assert_eq!(std::fs::read_dir(scratch.path().join("store/staging")).expect("staging").count(), 0);
}

#[test]
fn the_writer_refuses_what_is_not_canonical() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let mut writer = store.layer_writer().expect("writer");
    writer.append(&file("a", 1), &b"x"[..]).expect("first");
    let refused = |result: Result<(), Error>, what: &str| {
        let error = result.expect_err(what).to_string();
        assert!(error.contains(what), "{error}");
    };
    refused(writer.append(&file("a", 1), &b"x"[..]), "twice");
    let mut writer = store.layer_writer().expect("writer");
    refused(writer.append(&file("no/parent", 1), &b"x"[..]), "did not come before");
    let mut writer = store.layer_writer().expect("writer");
    refused(writer.append(&file("short", 9), &b"x"[..]), "early");
    let mut writer = store.layer_writer().expect("writer");
    refused(writer.append(&file("../up", 1), &b"x"[..]), "clean");
}

#[test]
fn images_are_found_by_tag_digest_and_prefix() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let id = image_of(&store, &[("hello", b"world")], Some("demo:1"));
    for name in
        ["demo:1".to_owned(), id.to_string(), id.hex(), id.hex()[..6].to_owned(), format!("demo@{id}")]
    {
        assert_eq!(store.resolve(&name).unwrap_or_else(|e| panic!("{name}: {e}")).id, id);
    }
    for missing in ["demo", "demo:2", "other@sha256:00", "ffffffffffffffffffff", "../x", ""] {
        assert!(matches!(store.resolve(missing), Err(Error::NoSuchImage(_))), "{missing}");
    }
    let image = store.resolve("demo:1").expect("found");
    assert_eq!(image.references(&store).expect("refs")[0].to_string(), "demo:1");
    assert_eq!(image.config.rootfs.diff_ids, image.layers);
    let list = store.list().expect("list");
    assert_eq!((list.len(), list[0].id, list[0].size), (1, id, 5));
}

#[test]
fn names_with_dots_do_not_become_hosts() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let id = image_of(&store, &[("a", b"1")], Some("docker.io/my.site/x:1"));
    image_of(&store, &[("a", b"2")], Some("my.site/x:1"));
    assert_eq!(store.resolve("docker.io/my.site/x:1").expect("found").id, id);
    assert_ne!(store.resolve("my.site/x:1").expect("found").id, id);
    assert_eq!(store.list().expect("list").len(), 2);
}

#[test]
fn removal_follows_docker() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let id = image_of(&store, &[("a", b"1")], Some("one:1"));
    store.tag(&id, &"two:1".parse().expect("name")).expect("tag");
    let free = |_: &Digest| false;
    let used = |_: &Digest| true;

    assert!(matches!(store.remove(&id.hex(), false, &free), Err(Error::Busy { .. })));
    let removed = store.remove("one:1", false, &used).expect("one of two names");
    assert_eq!((removed.untagged.len(), removed.deleted.len()), (1, 0));
    assert!(matches!(store.remove("two:1", false, &used), Err(Error::Busy { .. })));
    let removed = store.remove("two:1", true, &used).expect("forced");
    assert_eq!((removed.untagged.len(), removed.deleted.len()), (1, 0));
    let layer = store.resolve(&id.hex()).expect("kept for the container").layers[0];

    assert!(store.gc(&used).expect("gc").images.is_empty());
    let gone = store.gc(&free).expect("gc");
    assert_eq!((gone.images, gone.layers, gone.bytes, gone.held), (vec![id], vec![layer], 1, false));
    assert!(!store.has_layer(&layer));
}

#[test]
fn removal_beside_a_starting_container_leaves_it_its_image() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let id = image_of(&store, &[("a", b"1")], Some("one"));
    let lease = store.lease().expect("lease");
    let removed = store.remove("one", false, &|_| false).expect("the name goes");
    assert_eq!((removed.untagged.len(), removed.deleted.len()), (1, 0));
    assert!(matches!(store.remove(&id.hex(), false, &|_| false), Err(Error::Busy { .. })));
    drop(lease);
    // By now the container is on record.
    assert!(store.gc(&|image| *image == id).expect("gc").layers.is_empty());
    assert_eq!(store.resolve(&id.hex()).expect("still there").id, id);
    assert_eq!(store.remove(&id.hex(), false, &|_| false).expect("removed").deleted.len(), 2);
}

#[test]
fn removal_keeps_what_another_image_has() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let shared = common::layer(&store, &[("base", b"b")]);
    let own = common::layer(&store, &[("own", b"o")]);
    let name = |text: &str| text.parse().expect("name");
    let one = store.add_image(&config_for(&[shared, own]), &[shared, own]).expect("one");
    store.tag(&one, &name("one")).expect("tag");
    let two = store.add_image(&config_for(&[shared]), &[shared]).expect("two");
    store.tag(&two, &name("two")).expect("tag");
    let removed = store.remove("one", false, &|_| false).expect("removed");
    assert_eq!(removed.deleted, [one, own]);
    assert!(store.has_layer(&shared) && !store.has_layer(&own));
    assert!(store.config_bytes(&one).is_err() && store.config_bytes(&two).is_ok());
}

#[test]
fn a_lease_keeps_everything_and_a_dead_cache_entry_goes() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let layer = common::layer(&store, &[("f", b"1")]);
    let key = Digest::from_bytes([7; 32]);
    store.cache_put("wheel", &key, &layer).expect("put");
    let lease = store.lease().expect("lease");
    assert!(store.gc(&|_| false).expect("gc").held);
    assert_eq!(store.cache_get("wheel", &key), Some(layer));
    drop(lease);
    assert_eq!(store.gc(&|_| false).expect("gc").layers, [layer]);
    assert_eq!(store.cache_get("wheel", &key), None);
    assert_eq!(std::fs::read_dir(scratch.path().join("store/cache/wheel")).expect("dir").count(), 0);
    assert!(store.cache_put("../x", &key, &layer).is_err());
}

#[test]
fn a_changed_config_or_layer_is_noticed() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let id = image_of(&store, &[("f", b"right")], Some("x"));
    let layer = store.resolve("x").expect("image").layers[0];
    std::fs::write(store.layer_dir(&layer).join("f"), b"wrong").expect("tamper");
    let error = store.layer_tar(&layer, &mut std::io::sink()).expect_err("tampered");
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    let blob = scratch.path().join("store/blobs/sha256").join(id.hex());
    std::fs::write(&blob, b"{}").expect("tamper");
    assert!(matches!(store.resolve("x"), Err(Error::DigestMismatch { .. })));
}

/// Makes all of a store look as if it were written before the last boot.
fn reboot(scratch: &Scratch) {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("boot id");
    let mut left = vec![scratch.path().join("store")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(
                std::fs::read_dir(path).expect("directory").map(|entry| entry.expect("entry").path()),
            );
        } else if let Ok(text) = std::fs::read_to_string(&path)
            && text.contains(boot.trim())
        {
            std::fs::write(&path, text.replace(boot.trim(), "an-earlier-boot")).expect("write");
        }
    }
}

#[test]
fn after_a_power_failure_images_are_verified_once() {
    let scratch = Scratch::new();
    let store = scratch.store();
    image_of(&store, &[("f", b"whole")], Some("whole"));
    image_of(&store, &[("f", b"half")], Some("half"));
    let [whole, half] = ["whole", "half"].map(|name| store.resolve(name).expect("image").layers[0]);
    let mark = |layer: &Digest| store.layer_dir(layer).with_file_name("synced").exists();
    assert!(!mark(&whole) && !mark(&half));
    reboot(&scratch);
    std::fs::write(store.layer_dir(&half).join("f"), b"").expect("as a power cut leaves it");

    assert_eq!(store.resolve("whole").expect("verified").layers, [whole]);
    assert!(mark(&whole));
    let name = std::fs::read_to_string(scratch.path().join("store/refs/_/whole/latest")).expect("ref");
    assert!(!name.contains("boot"), "{name}");

    let error = store.resolve("half").expect_err("cut off").to_string();
    assert!(error.contains("power failure") && !error.contains('\n'), "{error}");
    assert!(!store.has_layer(&half));
    assert!(matches!(store.add_image(&config_for(&[half]), &[half]), Err(Error::NoSuchLayer(_))));
    // Made again, it is as good as new.
    image_of(&store, &[("f", b"half")], Some("half"));
    assert_eq!(store.resolve("half").expect("made anew").layers, [half]);
    assert_eq!(std::fs::read(store.layer_dir(&half).join("f")).expect("file"), b"half");
    // And, as it was not synced, just as doubtful after the next power failure.
    reboot(&scratch);
    std::fs::write(store.layer_dir(&half).join("f"), b"").expect("as a power cut leaves it");
    store.resolve("half").expect_err("cut off again");
}

#[test]
fn an_emptied_record_costs_a_look_and_no_image() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let id = image_of(&store, &[("f", b"1")], None);
    std::fs::write(scratch.path().join("store/images").join(id.hex()), b"").expect("emptied");
    assert_eq!(store.resolve(&id.hex()).expect("still there").id, id);
}

#[test]
fn two_processes_may_create_the_store_at_once() {
    let scratch = Scratch::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| Store::open(scratch.path()).expect("open"));
        }
    });
    let entries: Vec<_> = std::fs::read_dir(scratch.path()).expect("root").flatten().collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
}

/// Between the list and the removal somebody gave the image a name, or gave its name to another.
#[test]
fn only_what_is_as_it_was_listed_is_pruned() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let (unnamed, named) =
        (image_of(&store, &[("f", b"1")], None), image_of(&store, &[("f", b"2")], Some("web")));
    let listed = store.list().expect("list");
    store.tag(&unnamed, &"made".parse().expect("name")).expect("tag");
    let other = image_of(&store, &[("f", b"3")], Some("web"));
    for image in &listed {
        let kept = store.remove_listed(image, &|_| false);
        assert!(matches!(kept, Err(Error::NoSuchImage(_))), "{image:?}: {kept:?}");
    }
    assert_eq!(store.resolve("made").expect("named by now").id, unnamed);
    assert_eq!(store.resolve("web").expect("another's name").id, other);
    for image in store.list().expect("list") {
        store.remove_listed(&image, &|_| false).expect("as it is");
    }
    assert!(store.resolve(&named.to_string()).is_err() && store.list().expect("list").is_empty());
}
