//! Bounds on disk, whoever enforces them: the file system where it keeps quotas of projects, else the monitor.
//!
//! Which one it is depends on where the temporary directory lies. On most machines it is the monitor; the machines of
//! `cargo xtask vm` have a file system with quotas. A test of the one prints `SKIP:` where there is the other.

use std::process::Command;
use std::time::{Duration, Instant};

use corral_tests::{Corral, Said, eventually};

const BOUND: u64 = 20 << 20;

/// Who enforces the first bound of a container.
fn keeper(corral: &Corral, name: &str) -> String {
    let bounds = &corral.inspect(name)["Corral"]["Disk"];
    bounds[0]["EnforcedBy"].as_str().unwrap_or_default().to_owned()
}

/// Whether the file system of this installation keeps quotas.
fn has_quota(corral: &Corral) -> bool {
    corral.ok(&["create", "--name", "asks", "--storage-opt", "size=1m", "busybox", "true"]);
    let keeper = keeper(corral, "asks");
    corral.ok(&["rm", "asks"]);
    keeper.starts_with("file system")
}

fn skip(test: &str, reason: &str) {
    println!("SKIP: {test}: {reason}");
}

/// Runs a shell script in a container with a bound on its layer.
fn bounded(corral: &Corral, flags: &[&str], script: &str) -> Said {
    let words =
        [&["run", "--name", "box", "--storage-opt", "size=20m"], flags, &["busybox", "sh", "-c", script]];
    corral.say(&words.concat())
}

/// Bytes on disk below a container's directory.
fn on_disk(corral: &Corral) -> u64 {
    let dir = corral.root().join("containers");
    let said = Said::from(Command::new("du").args(["-s", "-k"]).arg(dir).output().expect("du"));
    said.out.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
}

#[test]
fn a_writer_does_not_go_past_its_bound() {
    let corral = Corral::new();
    let began = Instant::now();
    let said = bounded(&corral, &[], "while :; do cat /bin/busybox >>/big || exit 9; done");
    assert!(began.elapsed() < Duration::from_secs(20), "{said:?}");
    if keeper(&corral, "box").starts_with("file system") {
        assert_eq!(said.code, 9, "{said:?}");
        assert!(said.err.contains("quota exceeded") || said.err.contains("No space"), "{said:?}");
        let used = on_disk(&corral);
        assert!(used > BOUND / 2 && used < BOUND + (2 << 20), "{used}");
        return;
    }
    assert_eq!(keeper(&corral, "box"), "monitor");
    assert_eq!(said.code, 137, "{said:?}");
    let cause = "the container was ended: its writable layer passed its bound of 20971520 bytes on disk";
    assert!(said.err.contains(cause), "{said:?}");
    let state = &corral.inspect("box")["State"];
    assert_eq!((&state["OverDisk"], &state["OOMKilled"]), (&true.into(), &false.into()));
    assert_eq!(state["Error"], cause);
    let said = corral.say(&["logs", "box"]);
    assert!(said.err.contains(cause), "{said:?}");
    assert!(corral.ok(&["ps", "-a"]).contains("(over its bound on disk)"));
    assert!(corral.ok(&["ps", "-as"]).contains(" of 21MB"));
    assert_eq!(corral.inspect("box")["HostConfig"]["StorageOpt"]["size"], "20971520");
}

/// The control: what stays within is let be, however often it is written.
#[test]
fn who_stays_within_is_left_alone() {
    let corral = Corral::new();
    let script = "head -c 5000000 /dev/zero >/a; for i in 1 2 3 4 5 6 7 8; do ln /a /a$i; done; \
         for i in $(seq 30); do head -c 8000000 /dev/zero >/b; rm /b; done; sleep 1; echo done";
    let said = bounded(&corral, &[], script);
    assert_eq!((said.code, said.out.trim()), (0, "done"), "{said:?}");
    assert_eq!(corral.inspect("box")["State"]["OverDisk"], false);
}

/// What has no name any more takes room all the same.
#[test]
fn a_file_without_a_name_counts() {
    let corral = Corral::new();
    let script = "exec 3>/f; rm /f; while :; do cat /bin/busybox >&3 || exit 9; done";
    let said = bounded(&corral, &[], script);
    let expect = if keeper(&corral, "box").starts_with("file system") { 9 } else { 137 };
    assert_eq!(said.code, expect, "{said:?}");
}

#[test]
fn empty_files_are_bounded_too() {
    let corral = Corral::new();
    let script = "mkdir /d; cd /d; for i in $(seq 9000); do echo -n >$i || exit 9; done; sleep 60";
    let said = bounded(&corral, &[], script);
    if keeper(&corral, "box").starts_with("file system") {
        assert_eq!(said.code, 9, "{said:?}");
    } else {
        assert_eq!(said.code, 137, "{said:?}");
        assert!(said.err.contains("more than 5120 files"), "{said:?}");
    }
}

#[test]
fn a_tree_that_cannot_be_counted_ends_its_container() {
    let corral = Corral::new();
    if has_quota(&corral) {
        return skip("a_tree_that_cannot_be_counted", "the file system counts");
    }
    let said = bounded(&corral, &[], "for i in $(seq 700); do mkdir d; cd d; done; sleep 60");
    assert_eq!(said.code, 137, "{said:?}");
    assert!(said.err.contains("files that cannot be counted"), "{said:?}");
}

#[test]
fn what_is_ended_for_its_disk_is_not_started_again() {
    let corral = Corral::new();
    if has_quota(&corral) {
        return skip("what_is_ended_for_its_disk", "the file system refuses the write, and nothing is ended");
    }
    let script = "while :; do cat /bin/busybox >>/big; done";
    let words = ["run", "-d", "--name", "box", "--restart", "always", "--storage-opt", "size=20m", "busybox"];
    corral.ok(&[&words[..], &["sh", "-c", script]].concat());
    eventually("it is ended", || corral.inspect("box")["State"]["Status"] == "exited");
    std::thread::sleep(Duration::from_millis(500));
    let state = &corral.inspect("box")["State"];
    assert_eq!((&state["Status"], &state["OverDisk"]), (&"exited".into(), &true.into()));
    // Its files are still there to be fetched.
    corral.ok(&["cp", "box:/etc/passwd", "-"]);
}

#[test]
fn a_paused_container_is_not_ended_and_one_on_the_way_out_is_not_held() {
    let corral = Corral::new();
    corral.ok(&["run", "-d", "--name", "box", "--storage-opt", "size=20m", "busybox", "sleep", "60"]);
    corral.ok(&["pause", "box"]);
    std::thread::sleep(Duration::from_millis(300));
    corral.ok(&["unpause", "box"]);
    let began = Instant::now();
    corral.ok(&["stop", "-t", "0", "box"]);
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(corral.inspect("box")["State"]["OverDisk"], false);
}

#[test]
fn a_volume_has_its_bound_in_every_container() {
    let corral = Corral::new();
    let quota = has_quota(&corral);
    corral.ok(&["volume", "create", "-o", "size=10m", "data"]);
    let volume = corral.inspect("data");
    assert_eq!(volume["Status"]["Bound"], 10 << 20);
    let enforced = volume["Status"]["EnforcedBy"].as_str().expect("text");
    assert_eq!(enforced.starts_with("file system"), quota, "{enforced}");
    corral.ok(&["run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "head -c 6000000 /dev/zero >/d/a"]);
    let more = "head -c 6000000 /dev/zero >/d/$HOSTNAME || exit 9; sleep 20";
    let said = corral.say(&["run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", more]);
    assert_eq!(said.code, if quota { 9 } else { 137 }, "{said:?}");
    assert!(quota || said.err.contains("its volume data passed its bound of 10485760 bytes"), "{said:?}");
    corral.ok(&["create", "--name", "reader", "-v", "data:/d:ro", "busybox", "true"]);
    assert_eq!(corral.inspect("reader")["Corral"]["Disk"], serde_json::json!([]), "who only reads is free");
    corral.ok(&["rm", "reader"]);
    corral.ok(&["volume", "rm", "data"]);
    let left: Vec<_> = std::fs::read_dir(corral.root().join("volumes")).expect("volumes").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_archive_does_not_pass_the_bound_of_a_volume() {
    let corral = Corral::new();
    let quota = has_quota(&corral);
    corral.ok(&["volume", "create", "-o", "size=1m", "small"]);
    let mut tar = tar::Builder::new(Vec::new());
    corral_tests::file(&mut tar, "big", 0o644, &[7; 3 << 20]).expect("archive");
    let said = corral.feed(&["volume", "import", "small", "-"], &tar.into_inner().expect("archive"));
    assert_eq!(said.code, 1, "{said:?}");
    let expect = if quota { "is full at its bound of 1048576" } else { "more than its bound of 1048576" };
    assert!(said.err.contains(expect), "{said:?}");
}

/// With the host's ids a process could take its files out of a project.
#[test]
fn without_a_user_namespace_the_monitor_keeps_the_bound() {
    let corral = Corral::new();
    let script = "while :; do cat /bin/busybox >>/big || exit 9; done";
    let said = bounded(&corral, &["--userns", "host"], script);
    assert_eq!((said.code, keeper(&corral, "box").as_str()), (137, "monitor"), "{said:?}");
}

#[test]
fn a_project_goes_with_its_container() {
    let corral = Corral::new();
    if !has_quota(&corral) {
        return skip("a_project_goes_with_its_container", "the file system keeps no quotas of projects");
    }
    corral.ok(&[
        "run",
        "--name",
        "one",
        "--storage-opt",
        "size=5m",
        "busybox",
        "sh",
        "-c",
        "mkdir /x; mv /x /y",
    ]);
    corral.ok(&["run", "--name", "two", "--storage-opt", "size=5m", "busybox", "true"]);
    assert_ne!(keeper(&corral, "one"), keeper(&corral, "two"));
    // Its bound holds in the next run too, and does not hinder the host.
    let full = "head -c 6000000 /dev/zero >/big || exit 9";
    corral.ok(&["run", "--name", "three", "--storage-opt", "size=9m", "busybox", "sh", "-c", full]);
    assert_eq!(corral.say(&["start", "-a", "three"]).code, 0);
    corral.ok(&["cp", "three:/big", "-"]);
    corral.ok(&["rm", "one", "two", "three"]);
}

#[test]
fn what_makes_no_bound_is_refused() {
    let corral = Corral::new();
    let check = |words: &[&str], expect: &str| {
        let said = corral.say(words);
        assert!(said.code > 0 && said.err.contains(expect), "{words:?}: {said:?}");
    };
    check(&["create", "--storage-opt", "size=10", "busybox", "true"], "the least is 1m");
    check(&["create", "--storage-opt", "size=x", "busybox", "true"], "--storage-opt size=x");
    check(&["create", "--storage-opt", "dm.basesize=1g", "busybox", "true"], "unknown option (size=BYTES)");
    check(&["volume", "create", "-o", "size=10m", "-o", "type=tmpfs", "vol"], "size bounds a directory");
    assert_eq!(corral.ok(&["volume", "ls", "-q"]) + &corral.ok(&["ps", "-aq"]), "");
}
