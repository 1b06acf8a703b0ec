//! `cp`, `diff`, `export`, `commit`: a container's files from outside.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use corral_tests::Corral;

/// Names and owners in an archive, sorted.
fn entries(bytes: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(bytes);
    let mut lines: Vec<String> = archive
        .entries()
        .expect("archive")
        .map(|entry| {
            let entry = entry.expect("entry");
            let header = entry.header();
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            format!("{path} {}:{}", header.uid().expect("uid"), header.gid().expect("gid"))
        })
        .collect();
    lines.sort();
    lines
}

fn archive_of(corral: &Corral, words: &[&str]) -> Vec<u8> {
    let output = corral.command(words).output().expect("corral runs");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A running container and a stopped one: what is true of the files of one is true of the other's.
fn both(corral: &Corral, check: impl Fn(&str)) {
    corral.ok(&["run", "-d", "--name", "up", "busybox", "sleep", "1000"]);
    corral.ok(&["create", "--name", "down", "busybox", "true"]);
    check("up");
    check("down");
}

#[test]
fn copies_in_land_where_dockers_do() {
    let corral = Corral::new();
    let dir = corral.dir();
    fs::create_dir_all(dir.join("src/sub")).expect("source");
    fs::write(dir.join("src/sub/file"), "one").expect("source");
    fs::write(dir.join("plain"), "two").expect("source");
    both(&corral, |name| {
        let to = |path: &str| format!("{name}:{path}");
        corral.ok(&["cp", "plain", &to("/tmp/")]);
        corral.ok(&["cp", "plain", &to("/tmp/renamed")]);
        corral.ok(&["cp", "src", &to("/made")]);
        corral.ok(&["cp", "src", &to("/tmp")]);
        corral.ok(&["cp", "src/.", &to("/home")]);
        let said = corral.feed(&["cp", "-", &to("/root")], &archive_of(&corral, &["cp", &to("/made"), "-"]));
        assert_eq!(said.code, 0, "{said:?}");
        let all = entries(&archive_of(&corral, &["export", name]));
        for path in [
            "tmp/plain",
            "tmp/renamed",
            "made/sub/file",
            "tmp/src/sub/file",
            "home/sub/file",
            "root/made/sub/file",
        ] {
            assert!(all.contains(&format!("{path} 0:0")), "{path} in {all:?}");
        }
        for (source, target, part) in [
            ("plain", "/none/", "no such directory"),
            ("plain", "/none/deeper", "there is no directory /none"),
            ("src", "/etc/passwd", "cannot copy directory"),
            ("plain", "/etc/passwd/", "not a directory"),
            ("nothing", "/tmp", "nothing: no such file"),
        ] {
            let said = corral.say(&["cp", source, &to(target)]);
            assert_eq!(said.code, 1, "{said:?}");
            assert!(said.err.contains(part), "{part:?} in {said:?}");
        }
        let said = corral.feed(&["cp", "-", &to("/etc/passwd")], b"");
        assert!(said.code == 1 && said.err.contains("must be a directory"), "{said:?}");
    });
}

#[test]
fn copies_out_land_where_dockers_do() {
    let corral = Corral::new();
    both(&corral, |name| {
        let out = corral.dir().join(name);
        fs::create_dir(&out).expect("directory");
        let from = |path: &str| format!("{name}:{path}");
        let to = |path: &str| format!("{name}/{path}");
        corral.ok(&["cp", &from("/etc/passwd"), &to("")]);
        corral.ok(&["cp", &from("/etc/passwd"), &to("users")]);
        corral.ok(&["cp", &from("/etc"), &to("new")]);
        corral.ok(&["cp", &from("/etc"), &to("")]);
        corral.ok(&["cp", &from("/etc/."), &to("")]);
        for path in ["passwd", "users", "new/passwd", "etc/passwd", "group"] {
            let meta = fs::symlink_metadata(out.join(path)).expect(path);
            assert!(meta.is_file() && meta.uid() == 0, "{path}: {meta:?}");
        }
        for (source, target, part) in [
            ("/etc", "users", "cannot copy directory"),
            ("/etc/passwd", "none/", "no such directory"),
            ("/etc/passwd", "none/deeper", "does not exist"),
            ("/none", "", "no such file or directory"),
            ("/etc/passwd/", "", "not a directory"),
        ] {
            let said = corral.say(&["cp", &from(source), &to(target)]);
            assert_eq!(said.code, 1, "{said:?}");
            assert!(said.err.contains(part), "{part:?} in {said:?}");
        }
    });
}

#[test]
fn what_is_typed_wrong_is_told() {
    let corral = Corral::new();
    for (words, part) in [
        (&["cp", "a", "b"][..], "must specify at least one container source"),
        (&["cp", "a:/x", "b:/y"], "copying between containers is not supported"),
        (&["cp", "nobody:/x", "."], "no such container: nobody"),
        (&["cp", "nobody:", "."], "the path in the container is missing"),
        (&["diff", "nobody"], "no such container: nobody"),
        (&["export", "nobody"], "no such container: nobody"),
        (&["commit", "nobody"], "no such container: nobody"),
    ] {
        let said = corral.say(words);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{words:?}: {said:?}");
        assert!(said.err.contains(part) && said.err.lines().count() == 1, "{words:?}: {said:?}");
    }
    let said = corral.say(&["cp", "a"]);
    assert!(said.code == 1 && said.err.contains("requires 2 arguments"), "{said:?}");
}

#[test]
fn owners_belong_to_the_caller_unless_asked() {
    let corral = Corral::new();
    let dir = corral.dir();
    fs::write(dir.join("mine"), "x").expect("source");
    std::os::unix::fs::chown(dir.join("mine"), Some(1234), Some(1235)).expect("owner");
    both(&corral, |name| {
        let at = |path: &str| format!("{name}:{path}");
        corral.ok(&["cp", "mine", &at("/plain")]);
        corral.ok(&["cp", "-a", "mine", &at("/kept")]);
        let all = entries(&archive_of(&corral, &["export", name]));
        for line in ["plain 0:0", "kept 1234:1235"] {
            assert!(all.contains(&line.to_owned()), "{line} in {all:?}");
        }
        let (plain, kept) = (dir.join(format!("{name}-plain")), dir.join(format!("{name}-kept")));
        corral.ok(&["cp", &at("/kept"), plain.to_str().expect("text")]);
        corral.ok(&["cp", "-a", &at("/kept"), kept.to_str().expect("text")]);
        let owner = |path: &Path| fs::metadata(path).map(|meta| (meta.uid(), meta.gid())).expect("copied");
        assert_eq!((owner(&plain), owner(&kept)), ((0, 0), (1234, 1235)));
    });
    fs::write(dir.join("foreign"), "x").expect("source");
    std::os::unix::fs::chown(dir.join("foreign"), Some(200_000), None).expect("owner");
    let said = corral.say(&["cp", "-a", "foreign", "up:/x"]);
    assert!(said.code == 1 && said.err.contains("outside of the ids"), "{said:?}");
}

#[test]
fn a_program_that_a_container_marked_set_uid_is_not_one_for_its_new_owner() {
    let corral = Corral::new();
    corral.ok(&[
        "run",
        "--name",
        "box",
        "busybox",
        "sh",
        "-c",
        "cp() { cat $1 > $2; }; cp /bin/busybox /trap; chmod 6755 /trap",
    ]);
    corral.ok(&["cp", "box:/trap", "plain"]);
    corral.ok(&["cp", "-a", "box:/trap", "kept"]);
    let mode =
        |name: &str| fs::metadata(corral.dir().join(name)).expect("copied").permissions().mode() & 0o7777;
    assert_eq!((mode("plain"), mode("kept")), (0o755, 0o6755));
}

#[test]
fn links_are_copied_and_followed_only_on_demand() {
    let corral = Corral::new();
    let dir = corral.dir();
    fs::write(dir.join("target"), "host").expect("target");
    symlink("target", dir.join("link")).expect("link");
    both(&corral, |name| {
        let at = |path: &str| format!("{name}:{path}");
        corral.ok(&["cp", "link", &at("/as-link")]);
        corral.ok(&["cp", "-L", "link", &at("/as-file")]);
        let copied = |path: &str, flags: &[&str]| {
            let out = dir.join(format!("{name}{}", path.replace('/', "-")));
            corral.ok(&[&["cp"], flags, &[at(path).as_str(), out.to_str().expect("text")]].concat());
            out
        };
        assert_eq!(fs::read_link(copied("/as-link", &[])).expect("a link"), Path::new("target"));
        assert_eq!(fs::read_to_string(copied("/as-file", &[])).expect("a file"), "host");
        let shell = copied("/bin/sh", &["-L"]);
        assert!(fs::symlink_metadata(shell).expect("copied").len() > 100_000, "what /bin/sh leads to");
        // A link as the destination is what it leads to, inside.
        corral.ok(&["cp", "target", &at("/real")]);
        symlink("/real", dir.join(format!("{name}-to-real"))).expect("link");
        corral.ok(&["cp", &format!("{name}-to-real"), &at("/alias")]);
        fs::write(dir.join("other"), "changed").expect("source");
        corral.ok(&["cp", "other", &at("/alias")]);
        assert_eq!(fs::read_to_string(copied("/real", &[])).expect("a file"), "changed");
    });
}

#[test]
fn volumes_and_bound_paths_are_seen_and_the_root_below_them_is_exported() {
    let corral = Corral::new();
    let bound = corral.dir().join("bound");
    fs::create_dir(&bound).expect("directory");
    std::os::unix::fs::chown(&bound, Some(4321), Some(4321)).expect("owner");
    let bind = format!("{}:/bound", bound.display());
    fs::write(corral.dir().join("file"), "x").expect("source");
    let mounts = ["-v", "data:/data", "-v", &bind, "--tmpfs", "/mem"];
    corral.ok(&[&["create", "--name", "down"], &mounts[..], &["busybox", "sleep", "1000"]].concat());
    corral.ok(&["cp", "file", "down:/data/stopped"]);
    corral.ok(&["cp", "file", "down:/bound/stopped"]);
    corral.ok(&["start", "down"]);
    corral.ok(&["cp", "file", "down:/data/running"]);
    corral.ok(&["cp", "file", "down:/mem/running"]);
    assert_eq!(corral.ok(&["exec", "down", "ls", "/data", "/bound", "/mem"]).matches("running").count(), 2);
    assert_eq!(fs::metadata(bound.join("stopped")).expect("copied").uid(), 4321, "root inside is its owner");
    let all = entries(&archive_of(&corral, &["export", "down"]));
    assert!(
        all.iter().any(|line| line.starts_with("data/ ")) && !all.iter().any(|line| line.contains("running"))
    );
    assert!(!all.iter().any(|line| line.contains("stopped")), "{all:?}");
    assert_eq!(corral.ok(&["diff", "down"]), "", "mount points are no change");
}

#[test]
fn the_containers_own_files_are_seen_before_it_runs_and_cannot_be_lost() {
    let corral = Corral::new();
    corral.ok(&["create", "--name", "box", "--hostname", "down", "busybox", "sleep", "1000"]);
    fs::write(corral.dir().join("file"), "x").expect("source");
    for state in ["created", "running"] {
        assert_eq!(corral.inspect("box")["State"]["Status"], state);
        corral.ok(&["cp", "box:/etc/hostname", state]);
        assert_eq!(fs::read_to_string(corral.dir().join(state)).expect("copied"), "down\n", "{state}");
        assert_eq!(
            corral.say(&["cp", "file", "box:/etc/hostname"]).code,
            1,
            "{state}: never written and forgotten"
        );
        assert_eq!(corral.ok(&["diff", "box"]), "", "{state}");
        if state == "created" {
            corral.ok(&["start", "box"]);
        }
    }
}

#[test]
fn a_read_only_root_takes_nothing_but_its_volumes_do() {
    let corral = Corral::new();
    fs::write(corral.dir().join("file"), "x").expect("source");
    corral.ok(&["create", "--read-only", "--name", "ro", "-v", "data:/data", "busybox", "sleep", "1000"]);
    for state in ["created", "running"] {
        assert_eq!(corral.inspect("ro")["State"]["Status"], state);
        let said = corral.say(&["cp", "file", "ro:/x"]);
        assert!(said.code == 1 && said.err.contains("read-only"), "{said:?}");
        corral.ok(&["cp", "file", "ro:/data/x"]);
        corral.ok(&["cp", "ro:/etc/passwd", "out"]);
        if state == "created" {
            corral.ok(&["start", "ro"]);
        }
    }
}

#[test]
fn diff_tells_what_changed_and_nothing_else() {
    let corral = Corral::new();
    corral.ok(&["create", "--name", "fresh", "busybox", "true"]);
    assert_eq!(corral.ok(&["diff", "fresh"]), "");
    corral.ok(&["start", "-a", "fresh"]);
    assert_eq!(corral.ok(&["diff", "fresh"]), "", "a start changes nothing");
    let script = "echo x > /etc/new; echo y >> /etc/passwd; rm /etc/group; chmod 700 /home; rm -r /tmp; mkdir -p /tmp/a; ln -s x /root/l";
    corral.ok(&["run", "--name", "box", "busybox", "sh", "-c", script]);
    let expect =
        "C /etc\nD /etc/group\nA /etc/new\nC /etc/passwd\nC /home\nC /root\nA /root/l\nC /tmp\nA /tmp/a\n";
    assert_eq!(corral.ok(&["diff", "box"]), expect);
}

#[test]
fn an_exported_container_is_an_image_again() {
    let corral = Corral::new();
    corral.ok(&["run", "--name", "box", "busybox", "sh", "-c", "echo kept > /file; chown 7:8 /file"]);
    let first = archive_of(&corral, &["export", "box"]);
    assert!(entries(&first).contains(&"file 7:8".to_owned()));
    corral.ok(&["export", "-o", "box.tar", "box"]);
    assert_eq!(fs::read(corral.dir().join("box.tar")).expect("archive"), first, "the same bytes each time");
    corral.ok(&["import", "box.tar", "again"]);
    assert_eq!(corral.ok(&["run", "--rm", "again", "cat", "/file"]), "kept\n");
}

#[test]
fn a_commit_is_the_image_and_the_changes() {
    let corral = Corral::new();
    let script = "echo kept > /file; chown 7:8 /file; chmod 4750 /file; rm /etc/group; rm -r /home; mkdir /home; ln /file /second; sleep 1000";
    corral.ok(&["run", "-d", "--name", "box", "-e", "A=1", "-w", "/tmp", "busybox", "sh", "-c", script]);
    corral_tests::eventually("the script ran", || corral.say(&["exec", "box", "stat", "/second"]).code == 0);
    let id = corral.ok(&[
        "commit",
        "-a",
        "me",
        "-m",
        "why",
        "-c",
        "CMD [\"cat\", \"/file\"]",
        "-c",
        "LABEL k=v",
        "box",
        "new:1",
    ]);
    assert_eq!(id.trim(), corral.inspect("new:1")["Id"]);
    assert_eq!(corral.inspect("box")["State"]["Status"], "running", "it goes on");
    assert_eq!(corral.ok(&["run", "--rm", "new:1"]), "kept\n");
    let check = "stat -c '%u:%g %a %h' /file; ls /home; stat /etc/group || echo gone; echo $A; pwd";
    let said = corral.say(&["run", "--rm", "new:1", "sh", "-c", check]);
    assert_eq!(said.out, "7:8 4750 2\ngone\n1\n/tmp\n", "{said:?}");
    let image = corral.inspect("new:1");
    assert_eq!((&image["Author"], &image["Config"]["Labels"]["k"]), (&"me".into(), &"v".into()));
    assert!(corral.ok(&["history", "new:1"]).contains("why"));
    let said = corral.say(&["commit", "-c", "RUN x", "box"]);
    assert!(said.code == 1 && said.err.contains("RUN x"), "{said:?}");
    // What was committed can be saved and loaded: its layer is one like any other.
    corral.ok(&["save", "-o", "new.tar", "new:1"]);
    let other = Corral::empty();
    let said = other.feed(&["load"], &fs::read(corral.dir().join("new.tar")).expect("archive"));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(other.ok(&["run", "--rm", "new:1"]), "kept\n");
}

#[test]
fn what_the_engine_put_there_is_not_replaced() {
    let corral = Corral::new();
    corral.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    fs::write(corral.dir().join("file"), "x").expect("source");
    let said = corral.say(&["cp", "file", "box:/etc/hosts"]);
    assert!(said.code == 1 && said.err.contains("something is mounted there"), "{said:?}");
    // The kernel's file systems are no part of it.
    let said = corral.say(&["cp", "file", "box:/proc/sys/kernel/hostname"]);
    assert_eq!(said.code, 1, "{said:?}");
    corral.say(&["cp", "file", "box:/dev/null"]);
    assert_eq!(
        corral.ok(&["exec", "box", "sh", "-c", "echo x > /dev/null; stat -c %F /dev/null"]),
        "character special file\n"
    );
}

#[test]
fn copies_into_one_container_take_turns() {
    let corral = Corral::new();
    corral.ok(&["create", "--name", "box", "busybox", "true"]);
    fs::write(corral.dir().join("file"), "x").expect("source");
    std::thread::scope(|scope| {
        let corral = &corral;
        let copy =
            |number: usize| scope.spawn(move || corral.ok(&["cp", "file", &format!("box:/tmp/{number}")]));
        let copies: Vec<_> = (0..8).map(copy).collect();
        copies.into_iter().for_each(|copy| drop(copy.join().expect("copied")));
    });
    assert_eq!(corral.ok(&["diff", "box"]).lines().count(), 9);
}

#[test]
fn hard_links_stay_one_file() {
    let corral = Corral::new();
    let dir = corral.dir();
    fs::create_dir(dir.join("src")).expect("source");
    fs::write(dir.join("src/one"), "x").expect("source");
    fs::hard_link(dir.join("src/one"), dir.join("src/two")).expect("link");
    both(&corral, |name| {
        corral.ok(&["cp", "src", &format!("{name}:/linked")]);
        corral.ok(&["cp", &format!("{name}:/linked"), &format!("{name}-out")]);
        let out = dir.join(format!("{name}-out"));
        let inode = |file: &str| fs::metadata(out.join(file)).expect("copied").ino();
        assert_eq!(inode("one"), inode("two"));
        // The directory under another name, and its links with it.
        corral.ok(&["cp", &format!("{name}:/linked/."), &format!("{name}-as")]);
        assert!(dir.join(format!("{name}-as/two")).exists());
    });
}

#[test]
fn a_commit_that_is_interrupted_lets_the_container_go_on() {
    let corral = Corral::new();
    let script = "dd if=/dev/zero of=/big bs=1M count=200 2>/dev/null; touch /done; sleep 1000";
    corral.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    corral_tests::eventually("it is full", || corral.say(&["exec", "box", "stat", "/done"]).code == 0);
    let mut commit = corral.spawn(&["commit", "box", "new"]);
    let status = || corral.inspect("box")["State"]["Status"].as_str().map(str::to_owned);
    corral_tests::eventually("it is paused", || status().as_deref() == Some("paused"));
    let pid = rustix::process::Pid::from_child(&commit);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("interrupted");
    let ended = commit.wait().expect("it ends");
    assert!(!ended.success(), "the interruption counts");
    // The monitor hears of its client's end and thaws.
    corral_tests::eventually("it goes on", || status().as_deref() == Some("running"));
}

#[test]
fn a_copy_that_is_killed_leaves_the_container_to_others() {
    let corral = Corral::new();
    let big = fs::File::create(corral.dir().join("big")).expect("source");
    big.set_len(1 << 30).expect("source");
    corral.ok(&["create", "--name", "box", "busybox", "sleep", "1000"]);
    for state in ["created", "running"] {
        for wait in [0, 5, 20, 60] {
            let mut copy = corral.spawn(&["cp", "big", "box:/big"]);
            std::thread::sleep(std::time::Duration::from_millis(wait));
            copy.kill().expect("killed");
            copy.wait().expect("it ends");
            corral.ok(&["cp", "box:/etc/passwd", "users"]);
            assert_eq!(corral.inspect("box")["State"]["Status"], state);
        }
        if state == "created" {
            corral.ok(&["start", "box"]);
        }
    }
    corral.ok(&["rm", "-f", "box"]);
    let left = fs::read_dir(corral.run_root().join("containers")).expect("run directory").count();
    assert_eq!(left, 0, "no run directory");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(corral.root().to_str().expect("text")), "no mount");
}

#[test]
fn a_container_that_is_removed_says_what_went_with_it() {
    let corral = Corral::new();
    corral.ok(&[
        "run",
        "--name",
        "full",
        "busybox",
        "sh",
        "-c",
        "dd if=/dev/zero of=/big bs=1k count=2 2>/dev/null",
    ]);
    corral.ok(&["run", "--name", "empty", "busybox", "true"]);
    let said = corral.say(&["rm", "full"]);
    assert_eq!((said.code, said.out.as_str()), (0, "full\n"));
    assert!(said.err.contains("discarded 2.05kB in 1 file of its writable layer"), "{said:?}");
    let said = corral.say(&["rm", "empty"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("empty\n", ""));
}
