//! Attacks on whoever copies a container's files (A4, A5): links that lead to the host, swapped while we copy.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use corral_tests::{Corral, eventually};

const TOKEN: &str = "canary-91c3";

/// A directory of the host's that no container may read or change, and its contents.
struct Canary {
    dir: PathBuf,
}

impl Canary {
    fn new(corral: &Corral) -> Self {
        let dir = corral.dir().join("canary");
        fs::create_dir(&dir).expect("canary");
        fs::write(dir.join("secret"), TOKEN).expect("canary");
        Self { dir }
    }

    fn check(&self) {
        assert_eq!(fs::read_to_string(self.dir.join("secret")).expect("canary"), TOKEN);
        assert_eq!(fs::read_dir(&self.dir).expect("canary").count(), 1, "something was written there");
    }
}

fn contains(bytes: &[u8]) -> bool {
    bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes())
}

/// A4: a link in the workspace to a host file, then cp, export, diff, commit.
#[test]
fn a_link_to_the_host_is_copied_and_never_followed() {
    let corral = Corral::new();
    let canary = Canary::new(&corral);
    let work = corral.dir().join("work");
    fs::create_dir(&work).expect("workspace");
    std::os::unix::fs::chown(&work, Some(4321), Some(4321)).expect("owner");
    let host = canary.dir.display().to_string();
    let script = format!(
        "cd /work; ln -s {host}/secret file; ln -s {host} dir; ln -s ../../../../../..{host} up; ln -s /proc/1/root{host} magic; ln -s /proc/self/root proc; cd /; ln -s {host}/secret rootfile; ln -s {host} rootdir; sleep 1000"
    );
    let bind = format!("{}:/work", work.display());
    corral.ok(&["run", "-d", "--name", "box", "-v", &bind, "busybox", "sh", "-c", &script]);
    eventually("the links are there", || corral.say(&["exec", "box", "readlink", "/rootdir"]).code == 0);
    for state in ["running", "stopped"] {
        if state == "stopped" {
            corral.ok(&["stop", "-t", "0", "box"]);
        }
        let stream = |words: &[&str]| corral.command(words).output().expect("corral runs").stdout;
        assert!(!contains(&stream(&["cp", "box:/work", "-"])), "{state}: cp");
        assert!(!contains(&stream(&["export", "box"])), "{state}: export");
        for path in [
            "/work/file",
            "/work/dir/secret",
            "/work/up/secret",
            "/work/magic/secret",
            "/work/proc/etc/passwd",
            "/rootdir/secret",
        ] {
            for flags in [&["cp"][..], &["cp", "-L"]] {
                assert!(
                    !contains(&stream(&[flags, &[&format!("box:{path}"), "-"]].concat())),
                    "{state}: {path}"
                );
            }
        }
        assert_eq!(corral.ok(&["diff", "box"]), "A /rootdir\nA /rootfile\n", "{state}");
        corral.ok(&["commit", "box", state]);
        assert!(!contains(&stream(&["save", state])), "{state}: commit");
        let out = corral.dir().join(format!("out-{state}"));
        corral.ok(&["cp", "box:/work", out.to_str().expect("text")]);
        assert!(fs::symlink_metadata(out.join("dir")).expect("copied").is_symlink(), "{state}");
        // And in the other direction: what a link names is looked for inside.
        fs::write(corral.dir().join("planted"), "x").expect("source");
        for target in [
            "/work/dir/",
            "/work/dir/planted",
            "/work/up/planted",
            "/work/magic/planted",
            "/work/file",
            "/rootdir/",
        ] {
            corral.say(&["cp", "planted", &format!("box:{target}")]);
            canary.check();
        }
    }
}

/// A5: a directory and a link swapped while we copy, a thousand rounds.
#[test]
fn swapping_links_while_we_copy_leads_nowhere() {
    let corral = Corral::new();
    let canary = Canary::new(&corral);
    let host = canary.dir.display().to_string();
    let script = format!(
        "mkdir -p /w/d/sub /w/l; echo harmless > /w/d/sub/secret; echo harmless > /w/d/secret; ln -s {host} /w/link
         while :; do mv /w/d /w/l/d; mv /w/link /w/d; mv /w/d /w/link; mv /w/l/d /w/d; done"
    );
    let rename = script.replace("mv ", "/bin/busybox mv ");
    corral.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", &rename]);
    eventually("it swaps", || corral.say(&["exec", "box", "stat", "/w/link"]).code == 0);
    fs::create_dir_all(corral.dir().join("in/sub")).expect("source");
    fs::write(corral.dir().join("in/sub/planted"), "x").expect("source");
    let (mut copied, mut placed) = (0, 0);
    for round in 0..500 / corral_tests::slowness() as usize {
        let path = ["box:/w/d/secret", "box:/w", "box:/w/d/.", "box:/w/d"][round % 4];
        let output = corral.command(&["cp", path, "-"]).output().expect("corral runs");
        assert!(!contains(&output.stdout), "round {round}: {path}");
        copied += u32::from(output.status.success());
        let target = ["box:/w/d", "box:/w/d/", "box:/w/d/sub"][round % 3];
        placed += u32::from(corral.say(&["cp", "in/.", target]).code == 0);
        canary.check();
    }
    assert!(copied > 0 && placed > 0, "{copied} copied, {placed} placed");
    let output = corral.command(&["export", "box"]).output().expect("corral runs");
    assert!(!contains(&output.stdout));
}

/// G6: names of files that speak to a terminal.
#[test]
fn names_do_not_reach_the_terminal_as_sequences() {
    let corral = Corral::new();
    let script = "touch \"$(printf '/tmp/a\\033]0;title\\007')\"; mkdir -p \"$(printf '/w\\033[2J')/.wh.x\"";
    corral.ok(&["run", "--name", "box", "busybox", "sh", "-c", script]);
    let raw = corral.ok(&["diff", "box"]);
    assert!(raw.contains("a\u{1b}]0;title\u{7}"), "bytes for a program: {raw:?}");
    let said = corral.say(&["commit", "box"]);
    assert!(said.code == 1 && !said.err.contains('\u{1b}'), "{said:?}");
}

/// A container's writable layer is hostile input to commit: names, kinds and depths that no layer can have.
#[test]
fn a_hostile_layer_is_refused_or_confined() {
    let corral = Corral::new();
    let box_of = |name: &str, script: &str| {
        corral.ok(&["run", "--name", name, "busybox", "sh", "-c", script]);
    };
    box_of("mark", "touch /tmp/.wh.passwd");
    let said = corral.say(&["commit", "mark", "mark"]);
    assert!(said.code == 1 && said.err.contains(".wh."), "{said:?}");
    box_of("deep", "cd /tmp; i=0; while [ $i -lt 900 ]; do mkdir d; cd d; i=$((i+1)); done");
    for words in [&["commit", "deep"][..], &["diff", "deep"], &["export", "-o", "deep.tar", "deep"]] {
        let said = corral.say(words);
        assert!(said.code == 1 && said.err.contains("nested"), "{words:?}: {said:?}");
    }
    assert!(!corral.dir().join("deep.tar").exists(), "half an archive");
    corral.ok(&["rm", "deep"]);
    box_of("fifo", "cd /tmp; mkfifo pipe || mknod pipe p; echo x > file; ln -s /nowhere dangling");
    corral.ok(&["commit", "fifo", "fifo"]);
    assert_eq!(corral.ok(&["run", "--rm", "fifo", "ls", "/tmp"]), "dangling\nfile\npipe\n");
    assert_eq!(corral.ok(&["images", "-q"]).lines().count(), 2, "what was refused left nothing");
}

/// What a container puts at the path of a mount, where that path is its own, is a change like any other.
#[test]
fn the_path_of_a_mount_hides_nothing() {
    let corral = Corral::new();
    corral.ok(&["run", "--name", "base", "busybox", "sh", "-c", "mkdir /real; ln -s real /v; ln -s real /w"]);
    corral.ok(&["commit", "-c", "VOLUME /v /w /up/x /made", "base", "linked"]);
    // The engine made /up, so that it can be renamed with what is mounted in it.
    let script = "rm /v; mkdir /v; echo evil > /v/x; rm /w; mv /up /down; mkdir /up; echo evil > /up/x; echo seen > /y";
    corral.ok(&["run", "--name", "box", "linked", "sh", "-c", script]);
    let expect = "A /down\nA /down/x\nA /up\nA /up/x\nC /v\nA /v/x\nD /w\nA /y\n";
    assert_eq!(corral.ok(&["diff", "box"]), expect, "and /made, the engine's own, is not told");
    corral.ok(&["commit", "box", "evil"]);
    let mount = "type=image,source=evil,target=/i";
    let look = "cat /i/v/x /i/up/x; ls -d /i/w /i/made 2>/dev/null";
    let said = corral.say(&["run", "--rm", "--mount", mount, "busybox", "sh", "-c", look]);
    assert_eq!(said.out, "evil\nevil\n", "{said:?}");
}

/// A file of holes costs a container nothing, and nobody who copies it either.
#[test]
fn a_file_of_holes_is_copied_as_one() {
    let corral = Corral::new();
    let size = 300 << 20;
    let script = "dd if=/dev/null of=/sp bs=1M seek=300; echo end >> /sp";
    corral.ok(&["run", "--name", "box", "busybox", "sh", "-c", script]);
    corral.ok(&["cp", "box:/sp", "big"]);
    corral.ok(&["commit", "box", "holes"]);
    corral.ok(&["cp", "big", "box:/back"]);
    let layers = corral.root().join("store/layers");
    let layers =
        fs::read_dir(layers).expect("layers").map(|layer| layer.expect("a layer").path().join("fs/sp"));
    let uppers = fs::read_dir(corral.root().join("containers")).expect("containers");
    let uppers = uppers.map(|container| container.expect("a container").path().join("upper/back"));
    let mut copies = vec![corral.dir().join("big")];
    copies.extend(layers.chain(uppers).filter(|path| path.exists()));
    assert_eq!(copies.len(), 3, "on the host, in the store, in the container: {copies:?}");
    for copy in copies {
        let meta = fs::metadata(&copy).expect("copied");
        assert_eq!(meta.len(), size + 4, "{copy:?}");
        assert!(meta.blocks() * 512 < 1 << 20, "{copy:?} takes {} bytes", meta.blocks() * 512);
    }
    assert_eq!(corral.ok(&["run", "--rm", "holes", "tail", "-c", "4", "/sp"]), "end\n");
}

#[test]
fn a_full_disk_is_told_and_keeps_nothing_half_made() {
    let corral = Corral::new();
    corral.ok(&["run", "-d", "--name", "box", "--tmpfs", "/small:size=1m", "busybox", "sleep", "1000"]);
    fs::create_dir(corral.dir().join("in")).expect("source");
    fs::write(corral.dir().join("in/a"), "fits").expect("source");
    fs::write(corral.dir().join("in/b"), vec![b'x'; 2 << 20]).expect("source");
    let said = corral.say(&["cp", "in/.", "box:/small"]);
    assert!(
        said.code == 1 && said.err.contains("b: no space left") && said.err.lines().count() == 1,
        "{said:?}"
    );
    assert_eq!(corral.ok(&["exec", "box", "ls", "/small"]), "a\n");
}
