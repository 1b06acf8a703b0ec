//! Several processes at once, processes that die, disks that fill up. Each case runs this test program again
//! as a child process (the test `child`), which takes its orders from the environment.

mod common;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::tar::{Entry, archive};
use common::{Scratch, config_for, layer, sha256};
use corral_image::{Store, UnpackLimits};
use corral_spec::Digest;

const FREE: &dyn Fn(&Digest) -> bool = &|_| false;

/// What the other tests run as a child process. Without an order it gives one to a child of its own.
#[test]
fn child() {
    let (Ok(root), Ok(order)) = (std::env::var("CORRAL_TEST_ROOT"), std::env::var("CORRAL_TEST_ORDER"))
    else {
        let scratch = Scratch::new();
        let output = this_program(scratch.path(), "resolve").output().expect("child");
        assert_eq!(said(&output), "no such image: kept (`corral images` lists those there are)");
        return;
    };
    let result = Store::open(Path::new(&root)).and_then(|store| match order.as_str() {
        "unpack" => store.unpack_layer(std::io::stdin(), None, &UnpackLimits::default()).map(|_| ()),
        "write" => (0..3).try_for_each(|number| write_big(&store, number)),
        "resolve" => store.resolve("kept").map(|_| ()),
        "pack" => {
            (0..25).for_each(|round| pack_once(&store, round));
            Ok(())
        }
        other => panic!("no such order: {other}"),
    });
    match result {
        Ok(()) => println!("child: ok"),
        Err(error) => println!("child: {error}"),
    }
}

fn write_big(store: &Store, number: u64) -> Result<(), corral_image::Error> {
    let mut writer = store.layer_writer()?;
    let size = 3 << 20;
    writer.append(&common::file("big", size), std::io::repeat(number as u8).take(size))?;
    writer.finish().map(|_| ())
}

/// What pack does: several layers, an image, a name; then the name goes, so that gc has work.
fn pack_once(store: &Store, round: u32) {
    let lease = store.lease().expect("lease");
    let own = format!("{} {round}", std::process::id());
    let shared = format!("shared {}", round / 5);
    let layers: Vec<Digest> =
        [&shared, &own].into_iter().map(|text| layer(store, &[("f", text.as_bytes())])).collect();
    let id = store.add_image(&config_for(&layers), &layers).expect("image");
    let name = format!("process-{}:{round}", std::process::id());
    store.tag(&id, &name.parse().expect("name")).expect("tag");
    drop(lease);
    let image = store.resolve(&name).expect("a named image stays");
    for layer in &image.layers {
        store.layer_tar(layer, &mut std::io::sink()).expect("its layers stay");
    }
    store.list().expect("list");
    store.remove(&name, false, FREE).expect("remove");
}

fn this_program(root: &Path, order: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "child", "--nocapture"]);
    set_up(&mut command, root, order);
    command
}

fn set_up(command: &mut Command, root: &Path, order: &str) {
    command.env("CORRAL_TEST_ROOT", root).env("CORRAL_TEST_ORDER", order);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
}

/// The child's one line, and that it did not panic.
fn said(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{out}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> =
        out.lines().filter_map(|line| line.split_once("child: ")).map(|(_, l)| l).collect();
    assert_eq!(lines.len(), 1, "{out}");
    lines[0].to_owned()
}

fn entries(root: &Path, sub: &str) -> usize {
    std::fs::read_dir(root.join("store").join(sub)).expect("directory").count()
}

/// A layer with enough in it that each part of its making takes a while.
fn sizable() -> Vec<u8> {
    let mut parts = vec![Entry::dir("d/")];
    for number in 0..300 {
        parts.push(Entry::file(&format!("d/{number}"), &[number as u8; 3000]));
    }
    archive(&parts)
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn kill(mut child: Child) {
    child.kill().expect("SIGKILL");
    child.wait().expect("reaped");
}

#[test]
fn a_killed_unpack_leaves_nothing_that_the_next_command_does_not_collect() {
    let tar = sizable();
    // In a header, at its end, in a file, in padding, before the trailer, after it but before the end.
    for fed in [1, 100, 512, 600, 5000, tar.len() / 2, tar.len() - 1024, tar.len() - 512, tar.len()] {
        let scratch = Scratch::new();
        let store = scratch.store();
        let mut child = this_program(scratch.path(), "unpack").spawn().expect("child");
        let mut stdin = child.stdin.take().expect("stdin");
        stdin.write_all(&tar[..fed]).expect("feed");
        wait_for("the child starts", || entries(scratch.path(), "staging") == 1);
        std::thread::sleep(Duration::from_millis(10));
        kill(child);
        drop(stdin);
        assert_eq!((entries(scratch.path(), "layers"), entries(scratch.path(), "staging")), (0, 1), "{fed}");
        if fed % 2 == 0 {
            assert_eq!(store.gc(FREE).expect("gc").staging, 1, "{fed}");
        } else {
            layer(&store, &[("another", b"layer")]);
        }
        assert_eq!(entries(scratch.path(), "staging"), 0, "{fed}");
    }
}

#[test]
fn a_process_killed_at_any_moment_leaves_a_whole_layer_or_none() {
    let tar = sizable();
    let id = sha256(&tar);
    let (mut whole, mut none) = (0, 0);
    for step in 0..24 {
        let scratch = Scratch::new();
        let store = scratch.store();
        let mut child = this_program(scratch.path(), "unpack").spawn().expect("child");
        child.stdin.take().expect("stdin").write_all(&tar).expect("feed");
        std::thread::sleep(Duration::from_millis(step));
        kill(child);
        if store.has_layer(&id) {
            store.layer_tar(&id, &mut std::io::sink()).expect("whole");
            whole += 1;
        } else {
            assert_eq!(entries(scratch.path(), "layers"), 0);
            none += 1;
        }
        store.gc(FREE).expect("gc");
        assert_eq!((entries(scratch.path(), "staging"), entries(scratch.path(), "layers")), (0, 0));
    }
    assert_eq!(whole + none, 24);
}

#[test]
fn processes_that_unpack_the_same_layer_agree() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let tar = sizable();
    let children: Vec<Child> = (0..4)
        .map(|_| {
            let mut child = this_program(scratch.path(), "unpack").spawn().expect("child");
            child.stdin.take().expect("stdin").write_all(&tar).expect("feed");
            child
        })
        .collect();
    for child in children {
        assert_eq!(said(&child.wait_with_output().expect("child")), "ok");
    }
    assert_eq!((entries(scratch.path(), "layers"), entries(scratch.path(), "staging")), (1, 0));
    store.layer_tar(&sha256(&tar), &mut std::io::sink()).expect("whole");
}

#[test]
fn gc_beside_running_packs_takes_nothing_from_them() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let mut waiting: Vec<Child> =
        (0..3).map(|_| this_program(scratch.path(), "pack").spawn().expect("child")).collect();
    let mut sweeps = (0, 0);
    while !waiting.is_empty() {
        let done = store.gc(FREE).expect("gc");
        if done.held {
            sweeps.0 += 1
        } else {
            sweeps.1 += 1
        }
        let mut still = Vec::new();
        for mut child in waiting {
            match child.try_wait().expect("wait") {
                Some(_) => assert_eq!(said(&child.wait_with_output().expect("child")), "ok"),
                None => still.push(child),
            }
        }
        waiting = still;
    }
    assert!(sweeps.0 > 0 && sweeps.1 > 0, "both kinds of sweep took place: {sweeps:?}");
    store.gc(FREE).expect("gc");
    for sub in ["layers", "images", "refs", "blobs/sha256", "staging"] {
        assert_eq!(entries(scratch.path(), sub), 0, "{sub}");
    }
}

/// The child in a mount namespace of its own, after `prepare` was run there by a shell.
fn in_mount_namespace(root: &Path, order: &str, prepare: &str) -> String {
    let mut command = Command::new("unshare");
    let script = format!("{prepare} && exec \"$0\" --exact child --nocapture");
    command.args(["--mount", "sh", "-c", &script]);
    command.arg(std::env::current_exe().expect("this program"));
    set_up(&mut command, root, order);
    said(&command.output().expect("unshare is part of every Debian"))
}

#[test]
fn a_full_disk_is_one_clear_error() {
    let scratch = Scratch::new();
    let said =
        in_mount_namespace(scratch.path(), "write", "mount -t tmpfs -o size=4m none \"$CORRAL_TEST_ROOT\"");
    assert!(said.contains("no space left") && said.contains("--root"), "{said}");
}

#[test]
fn a_read_only_store_reads_and_refuses_to_write() {
    let scratch = Scratch::new();
    let read_only = "mount --bind \"$CORRAL_TEST_ROOT\" \"$CORRAL_TEST_ROOT\" && mount -o remount,bind,ro \"$CORRAL_TEST_ROOT\"";
    let refused = in_mount_namespace(scratch.path(), "write", read_only);
    assert!(refused.contains("read-only") && refused.contains("--root"), "{refused}");
    common::image_of(&scratch.store(), &[("f", b"1")], Some("kept"));
    let refused = in_mount_namespace(scratch.path(), "write", read_only);
    assert!(refused.contains("read-only") && refused.contains("--root"), "{refused}");
    assert_eq!(in_mount_namespace(scratch.path(), "resolve", read_only), "ok");
}
