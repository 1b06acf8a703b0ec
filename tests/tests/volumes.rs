//! Volumes: what they hold, who sees it, and when it goes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;

use corral_tests::Corral;

/// An image with files at /seed and a declared volume at /declared.
fn seeded(corral: &Corral) {
    let script = "mkdir -p /seed/sub /declared; echo s > /seed/sub/file; ln -s sub/file /seed/link; chown -R 1000:1001 /seed; chmod 750 /seed; echo d > /declared/d";
    corral.ok(&["run", "--name", "seed", "busybox", "sh", "-c", script]);
    corral.ok(&["commit", "-c", "VOLUME /declared", "seed", "seeded"]);
    corral.ok(&["rm", "seed"]);
}

fn names(corral: &Corral) -> Vec<String> {
    corral.ok(&["volume", "ls", "-q"]).lines().map(str::to_owned).collect()
}

#[test]
fn an_empty_volume_takes_what_the_image_has_there() {
    let corral = Corral::new();
    seeded(&corral);
    let look = "stat -c '%n %u:%g %a' /seed /seed/sub/file; cat /seed/link";
    let expect = "/seed 1000:1001 750\n/seed/sub/file 1000:1001 644\ns\n";
    assert_eq!(corral.ok(&["run", "--rm", "-v", "data:/seed", "seeded", "sh", "-c", look]), expect);
    corral.ok(&["run", "--rm", "-v", "data:/seed", "seeded", "rm", "/seed/link"]);
    assert_eq!(
        corral.ok(&["run", "--rm", "-v", "data:/seed", "seeded", "ls", "/seed"]),
        "sub\n",
        "only once"
    );
    assert_eq!(corral.ok(&["run", "--rm", "-v", "bare:/seed:nocopy", "seeded", "ls", "/seed"]), "");
    let mount = "type=volume,source=bare2,target=/seed,volume-nocopy";
    assert_eq!(corral.ok(&["run", "--rm", "--mount", mount, "seeded", "ls", "/seed"]), "");
}

#[test]
fn many_who_come_at_once_find_one_volume_and_all_of_it() {
    let corral = Corral::new();
    let script = "mkdir /seed; for i in $(seq 300); do echo $i > /seed/$i; done";
    corral.ok(&["run", "--name", "seed", "busybox", "sh", "-c", script]);
    corral.ok(&["commit", "seed", "seeded"]);
    let words = ["run", "--rm", "-v", "shared:/seed", "-v", "/own", "seeded", "sh", "-c", "ls /seed | wc -l"];
    std::thread::scope(|scope| {
        let runs = [(); 8].map(|()| scope.spawn(|| corral.say(&words)));
        for run in runs {
            let said = run.join().expect("ran");
            assert_eq!((said.code, said.out.trim()), (0, "300"), "{said:?}");
        }
    });
    assert_eq!(names(&corral), ["shared"]);
}

#[test]
fn a_fill_that_was_killed_is_begun_again() {
    let corral = Corral::new();
    seeded(&corral);
    corral.ok(&["volume", "create", "half"]);
    // As a killed creation leaves it: some files, and the mark.
    let volumes = corral.root().join("volumes");
    fs::write(volumes.join("half/link"), "torn").expect("a file");
    fs::write(volumes.join(".filling-half"), "").expect("the mark");
    let look = ["run", "--rm", "-v", "half:/seed", "seeded", "cat", "/seed/link"];
    assert_eq!(corral.ok(&look), "s\n");
    assert!(!volumes.join(".filling-half").exists());
}

#[test]
fn volumes_without_a_name_go_when_asked() {
    let corral = Corral::new();
    seeded(&corral);
    assert_eq!(corral.ok(&["run", "--rm", "-v", "/x", "seeded", "ls", "/declared"]), "d\n");
    assert_eq!(names(&corral), [""; 0], "--rm takes them along");
    let agent = ["run", "--rm", "--profile", "agent", "-u", "1000", "seeded", "sh", "-c"];
    let said = corral.say(&[&agent[..], &["ls /declared; mount | grep -c declared"]].concat());
    assert_eq!(said.out, "d\n0\n", "an image gives an agent no place to write: {said:?}");
    corral.ok(&["create", "--name", "kept", "-v", "/x", "-v", "named:/y", "seeded", "true"]);
    assert_eq!(names(&corral).len(), 3, "/x, /declared and named");
    let hex = names(&corral).into_iter().find(|name| name.len() == 64).expect("an anonymous one");
    let said = corral.say(&["volume", "rm", &hex]);
    assert!(
        said.code == 1 && said.err.contains("volume is in use") || said.err.contains("is in use"),
        "{said:?}"
    );
    corral.ok(&["create", "--name", "other", "--volumes-from", "kept", "busybox", "true"]);
    corral.ok(&["rm", "-v", "kept"]);
    assert_eq!(names(&corral).len(), 3, "another container uses them");
    corral.ok(&["rm", "-v", "other"]);
    assert_eq!(names(&corral), ["named"]);
    corral.ok(&["create", "--name", "left", "-v", "/x", "busybox", "true"]);
    corral.ok(&["rm", "left"]);
    assert_eq!(names(&corral).len(), 2, "without -v they stay");
    let said = corral.ok(&["volume", "prune", "-f"]);
    assert!(said.starts_with("Deleted Volumes:\n"), "{said}");
    assert_eq!(names(&corral), ["named"], "what somebody named stays");
}

#[test]
fn a_container_that_could_not_be_made_leaves_no_volume() {
    let corral = Corral::new();
    let said = corral.say(&["run", "-v", "/x", "busybox"]);
    assert!(said.code == 125 && said.err.contains("no command"), "{said:?}");
    let said = corral.say(&["create", "-v", "/x", "-v", "/proc/y", "busybox", "true"]);
    assert!(said.code == 125 && said.err.contains("/proc"), "{said:?}");
    assert_eq!(names(&corral), [""; 0]);
}

#[test]
fn another_containers_volumes_can_be_had_too() {
    let corral = Corral::new();
    corral.ok(&[
        "run",
        "--name",
        "db",
        "-v",
        "data:/data",
        "-v",
        "/more",
        "busybox",
        "touch",
        "/data/a",
        "/more/b",
    ]);
    let from = ["run", "--rm", "--volumes-from"];
    assert_eq!(
        corral.ok(&[&from[..], &["db", "busybox", "ls", "/data", "/more"]].concat()),
        "/data:\na\n\n/more:\nb\n"
    );
    let said = corral.say(&[&from[..], &["db:ro", "busybox", "touch", "/data/x"]].concat());
    assert!(said.code != 0 && said.err.contains("Read-only"), "{said:?}");
    let own = ["-v", "own:/data", "busybox", "ls", "/data"];
    assert_eq!(corral.ok(&[&from[..], &["db"], &own].concat()), "", "its own comes first");
    let said = corral.say(&[&from[..], &["nobody", "busybox", "true"]].concat());
    assert!(said.code == 125 && said.err.contains("nobody"), "{said:?}");
}

#[test]
fn a_volume_is_created_inspected_and_removed() {
    let corral = Corral::new();
    assert_eq!(corral.ok(&["volume", "create", "--label", "k=v", "data"]), "data\n");
    assert_eq!(corral.ok(&["volume", "create", "data"]), "data\n", "the same once more is no error");
    let value: serde_json::Value =
        serde_json::from_str(&corral.ok(&["volume", "inspect", "data"])).expect("JSON");
    let volume = &value[0];
    assert_eq!(volume["Labels"], serde_json::json!({ "k": "v" }));
    assert_eq!(
        (&volume["Driver"], &volume["Scope"], &volume["Options"]),
        (&"local".into(), &"local".into(), &serde_json::Value::Null)
    );
    assert!(volume["Mountpoint"].as_str().is_some_and(|path| path.ends_with("volumes/data")), "{volume}");
    assert_eq!(corral.ok(&["volume", "create"]).trim().len(), 64);
    corral.ok(&["create", "--name", "user", "-v", "data:/d:ro", "busybox", "true"]);
    let mount = &corral.inspect("user")["Mounts"][0];
    for (key, value) in [("Type", "volume"), ("Name", "data"), ("Destination", "/d"), ("Driver", "local")] {
        assert_eq!(mount[key], value, "{mount}");
    }
    assert_eq!(mount["RW"], false);
    let said = corral.say(&["volume", "rm", "data"]);
    assert!(said.code == 1 && said.err.contains("volume data is in use"), "{said:?}");
    corral.ok(&["rm", "user"]);
    assert_eq!(corral.ok(&["volume", "rm", "data"]), "data\n");
    assert_eq!(corral.say(&["volume", "rm", "data"]).code, 1);
    assert_eq!(corral.ok(&["volume", "rm", "-f", "data"]), "data\n");
    let said = corral.say(&["volume", "inspect", "data"]);
    assert_eq!((said.code, said.out.as_str()), (1, "[]\n"), "{said:?}");
    for bad in
        [&["--driver", "nfs", "x1"][..], &["a/b"], &["--opt", "type=nfs", "x1"], &["--opt", "size=1", "x1"]]
    {
        let said = corral.say(&[&["volume", "create"], bad].concat());
        assert!(said.code == 1 && said.err.lines().count() == 1, "{bad:?}: {said:?}");
    }
}

#[test]
fn a_volume_may_be_a_directory_of_the_hosts_or_memory() {
    let corral = Corral::new();
    let host = corral.dir().join("host");
    fs::create_dir(&host).expect("directory");
    std::os::unix::fs::chown(&host, Some(4321), Some(4321)).expect("owner");
    let device = format!("device={}", host.display());
    corral.ok(&["volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", &device, "shared"]);
    corral.ok(&["run", "--rm", "-v", "shared:/d", "busybox", "touch", "/d/file"]);
    assert!(host.join("file").exists());
    corral.ok(&["volume", "rm", "shared"]);
    assert!(host.join("file").exists(), "the host's directory stays");
    corral.ok(&["volume", "create", "-o", "type=tmpfs", "-o", "o=size=1m,mode=0700", "mem"]);
    let script = "stat -c %a /d; dd if=/dev/zero of=/d/x bs=1k count=2000 2>/dev/null || echo full";
    assert_eq!(corral.ok(&["run", "--rm", "-v", "mem:/d", "busybox", "sh", "-c", script]), "700\nfull\n");
    let said = corral.say(&["volume", "export", "mem"]);
    assert!(said.code == 1 && said.err.contains("memory"), "{said:?}");
}

#[test]
fn a_backup_is_restored_with_its_owners() {
    let corral = Corral::new();
    let script = "mkdir /d/sub; echo kept > /d/sub/file; chown 12:34 /d/sub/file; chmod 600 /d/sub/file; ln -s sub /d/link";
    corral.ok(&["run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", script]);
    corral.ok(&["volume", "export", "-o", "data.tar", "data"]);
    let backup = fs::read(corral.dir().join("data.tar")).expect("archive");
    let said = corral.say(&["volume", "export", "data"]);
    assert_eq!(said.code, 0, "{said:?}");
    corral.ok(&["volume", "import", "copy", "data.tar"]);
    let other = Corral::new();
    assert_eq!(other.feed(&["volume", "import", "data", "-"], &backup).code, 0);
    for (corral, name) in [(&corral, "copy:/d"), (&other, "data:/d")] {
        let look = "stat -c '%u:%g %a' /d/sub/file; cat /d/link/file";
        assert_eq!(corral.ok(&["run", "--rm", "-v", name, "busybox", "sh", "-c", look]), "12:34 600\nkept\n");
    }
    let said = corral.say(&["volume", "export", "-o", "none.tar", "none"]);
    assert!(said.code == 1 && said.err.contains("no such volume: none"), "{said:?}");
    assert!(!corral.dir().join("none.tar").exists());
    assert_eq!(corral.feed(&["volume", "import", "bad", "-"], b"this is no archive").code, 1);
}

/// An archive with a program that is root's and set-uid.
fn set_id_archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut entry = |kind, path: &str, mode| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        tar.append_data(&mut header, path, &b""[..]).expect("entry");
    };
    entry(tar::EntryType::Directory, "sub", 0o2777);
    entry(tar::EntryType::Regular, "sub/sh", 0o6755);
    tar.into_inner().expect("archive")
}

#[test]
fn what_is_restored_into_a_directory_of_the_hosts_is_its_owners_and_no_set_id_program() {
    let corral = Corral::new();
    let host = corral.dir().join("host");
    fs::create_dir(&host).expect("directory");
    std::os::unix::fs::chown(&host, Some(4321), Some(4322)).expect("owner");
    let device = format!("device={}", host.display());
    corral.ok(&["volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", &device, "shared"]);
    let archive = set_id_archive();
    for (volume, path, expect) in [
        ("shared", host.clone(), [(4321, 4322, 0o777), (4321, 4322, 0o755)]),
        ("own", corral.root().join("volumes/own"), [(0, 0, 0o2777), (0, 0, 0o6755)]),
    ] {
        assert_eq!(corral.feed(&["volume", "import", volume, "-"], &archive).code, 0);
        for (name, expect) in ["sub", "sub/sh"].into_iter().zip(expect) {
            let meta = fs::metadata(path.join(name)).expect("restored");
            assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), expect, "{volume}: {name}");
        }
    }
    // On the host's disk it is root's, and no other user gets there, however open the way to it is.
    let open = |path: &std::path::Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    for path in [corral.dir(), &corral.root()] {
        open(path).expect("opened");
    }
    let reach = |path: std::path::PathBuf| {
        let mut command = std::process::Command::new("stat");
        command.arg(path).uid(65_534).gid(65_534);
        command.output().expect("stat runs").status.success()
    };
    assert!(reach(host.join("sub/sh")), "the way is open");
    assert!(!reach(corral.root().join("volumes/own/sub/sh")), "another user reaches root's program");
    let look = ["run", "--rm", "-v", "own:/d", "busybox", "stat", "-c", "%u:%g %a", "/d/sub/sh"];
    assert_eq!(corral.ok(&look), "0:0 6755\n", "a backup is whole");
}

#[test]
fn an_image_can_be_mounted_and_nobody_writes_to_it() {
    let corral = Corral::new();
    seeded(&corral);
    let whole = "type=image,source=seeded,target=/i";
    let part = "type=image,source=seeded,target=/p,image-subpath=seed/sub";
    let script = "cat /i/seed/link /p/file; stat -c %u /i/seed; touch /i/x /p/x";
    let said = corral.say(&["run", "--rm", "--mount", whole, "--mount", part, "busybox", "sh", "-c", script]);
    assert_eq!(said.out, "s\ns\n1000\n", "{said:?}");
    assert_eq!(said.err.matches("Read-only file system").count(), 2, "{said:?}");
    let none = "type=image,source=seeded,target=/p,image-subpath=none";
    let said = corral.say(&["run", "--rm", "--mount", none, "busybox", "true"]);
    assert!(said.code == 125 && said.err.contains("no /none"), "{said:?}");
    // The mount keeps the image, also across a restart of the container.
    corral.ok(&["run", "-d", "--name", "user", "--mount", whole, "busybox", "sleep", "1000"]);
    assert_eq!(corral.inspect("user")["Mounts"][0]["Type"], "image");
    corral.ok(&["rmi", "-f", "seeded"]);
    corral.ok(&["system", "prune"]);
    corral.ok(&["restart", "-t", "0", "user"]);
    assert_eq!(corral.ok(&["exec", "user", "cat", "/i/seed/sub/file"]), "s\n");
}

#[test]
fn a_subpath_of_a_volume_stays_in_the_volume() {
    let corral = Corral::new();
    let canary = corral.dir().join("canary");
    fs::create_dir(&canary).expect("canary");
    fs::write(canary.join("token"), "secret").expect("canary");
    let script = format!(
        "mkdir -p /d/a/b; touch /d/a/b/in; ln -s {} /d/out; ln -s ../../../.. /d/up; ln -s a /d/alias",
        canary.display()
    );
    corral.ok(&["run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", &script]);
    let ls = |subpath: &str| {
        let mount = format!("type=volume,source=data,target=/m,volume-subpath={subpath}");
        corral.say(&["run", "--rm", "--mount", &mount, "busybox", "ls", "/m"])
    };
    assert_eq!(ls("a/b").out, "in\n");
    assert_eq!(ls("alias/b").out, "in\n", "a link inside is followed inside");
    assert_eq!(ls("up").out, "a\nalias\nout\nup\n", "the volume is the root");
    let said = ls("out");
    assert!(said.code == 125 && !said.out.contains("token"), "{said:?}");
    assert_eq!(ls("none").code, 125);
    assert_eq!(ls("../x").code, 125);
}

#[test]
fn options_give_a_volume_an_owner_or_take_writing_away() {
    let corral = Corral::new();
    let create = |options: &[&str], name: &str| {
        let options: Vec<&str> = options.iter().flat_map(|option| ["--opt", option]).collect();
        corral.ok(&[&["volume", "create"][..], &options, &[name]].concat());
    };
    create(&["type=tmpfs", "device=tmpfs", "o=size=1m,uid=1000,gid=7,mode=750"], "owned");
    let seen = corral.ok(&["run", "--rm", "-v", "owned:/m", "busybox", "stat", "-c", "%u %g %a", "/m"]);
    assert_eq!(seen, "1000 7 750\n");
    create(&["type=tmpfs", "o=uid=1000"], "half");
    let seen = corral.ok(&["run", "--rm", "-v", "half:/m", "busybox", "stat", "-c", "%u %g", "/m"]);
    assert_eq!(seen, "1000 0\n");
    let dir = corral.dir().join("shared");
    std::fs::create_dir(&dir).expect("a directory");
    let device = format!("device={}", dir.display());
    // Root's, which only a mount that cannot be written may be.
    create(&["type=none", "o=bind,ro", &device], "shown");
    let said = corral.say(&["run", "--rm", "-v", "shown:/m", "busybox", "touch", "/m/x"]);
    assert!(said.code == 1 && said.err.contains("Read-only file system"), "{said:?}");
    create(&["type=tmpfs", "o=ro"], "memory");
    let said = corral.say(&["run", "--rm", "-v", "memory:/m", "busybox", "touch", "/m/x"]);
    assert!(said.code == 1 && said.err.contains("Read-only file system"), "{said:?}");
    for bad in ["type=tmpfs,o=uid=nobody", "type=none,o=bind,noexec,device=/srv"] {
        let (kind, rest) = bad.split_once(",").expect("two");
        let said = corral.say(&["volume", "create", "--opt", kind, "--opt", rest, "bad"]);
        assert_eq!(said.code, 1, "{bad}: {said:?}");
    }
}

/// What is refused has made nothing.
#[test]
fn a_refused_container_leaves_no_volume() {
    let corral = Corral::new();
    let roots = corral.dir().join("roots");
    std::fs::create_dir(&roots).expect("a directory");
    let roots = format!("{}:/roots", roots.display());
    for words in [
        &["-v", "/nowhere/at/all:/x"][..],
        &["-v", &roots],
        &["--mount", "type=image,source=nothing,target=/x"],
        &["--tmpfs", "/data"],
        &["--device", "/dev/nothing"],
        &["--profile", "agent", "--cap-add", "SYS_ADMIN"],
        &["-u", "nobody-there"],
    ] {
        for verb in ["run", "create"] {
            let said = corral.say(
                &[&[verb, "-v", "data:/data", "-v", "/anonymous"], words, &["busybox", "true"]].concat(),
            );
            assert!(said.code == 125, "{verb} {words:?}: {said:?}");
            assert_eq!(corral.ok(&["volume", "ls", "-q"]), "", "{verb} {words:?}");
        }
    }
    corral.ok(&["run", "--rm", "-v", "data:/data", "busybox", "touch", "/data/x"]);
    assert_eq!(corral.ok(&["volume", "ls", "-q"]), "data\n");
}
