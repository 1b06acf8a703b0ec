//! What a container cannot do, tried from inside, with oracles outside.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use corral_tests::{Corral, eventually};

fn shell(corral: &Corral, flags: &[&str], script: &str) -> corral_tests::Said {
    corral.say(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
}

#[test]
fn host_files_are_not_there() {
    let corral = Corral::new();
    let canary = corral.dir().join("canary");
    std::fs::write(&canary, "host secret").expect("canary");
    let path = canary.display();
    for way in [
        format!("cat {path}"),
        format!("cat /proc/1/root{path}"),
        format!("cat ../../../../..{path}"),
        format!("cat /proc/1/cwd{path}"),
    ] {
        let said = shell(&corral, &[], &format!("{way}; true"));
        assert!(!said.out.contains("host secret"), "{way}: {said:?}");
        assert!(said.err.contains("No such file"), "{way}: {said:?}");
    }
}

#[test]
fn no_descriptor_of_the_host_leaks_and_none_serves_as_working_directory() {
    let corral = Corral::new();
    let said = shell(&corral, &[], "exec ls /proc/self/fd");
    // 3 is ls's own view of the directory.
    assert_eq!(said.out.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{said:?}");
    for fd in 3..=12 {
        let dir = format!("/proc/self/fd/{fd}");
        let said = corral.say(&["run", "--rm", "-w", &dir, "busybox", "ls", "../../../.."]);
        assert_ne!(said.code, 0, "{dir}: {said:?}");
    }
}

#[test]
fn root_inside_is_nobody_outside() {
    let corral = Corral::new();
    let id = corral.ok(&["run", "-d", "busybox", "sleep", "1000"]);
    let pid = corral.inspect(id.trim())["State"]["Pid"].as_i64().expect("pid");
    let meta = std::fs::metadata(format!("/proc/{pid}")).expect("the container's process");
    assert!(meta.uid() >= 0x4000_0000, "host uid {}", meta.uid());
    let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).expect("map");
    let numbers: Vec<u64> = map.split_whitespace().map(|word| word.parse().expect("number")).collect();
    assert_eq!((numbers[0], numbers[1], numbers[2]), (0, u64::from(meta.uid()), 65536));
}

#[test]
fn mounts_namespaces_and_devices_are_refused() {
    let corral = Corral::new();
    for attempt in [
        "mount -t tmpfs x /tmp",
        "umount /proc",
        "mknod /tmp/sda b 8 0",
        "unshare -U true",
        "unshare -m true",
        "echo x > /proc/sys/kernel/core_pattern",
        "echo b > /proc/sysrq-trigger",
        "echo 1 > /sys/kernel/uevent_helper",
        "hostname evil",
        // Where the kernel has it, it is covered by an empty file.
        "head -c 1 /proc/kcore | grep -q .",
        "ip link add x type dummy",
    ] {
        let said = shell(&corral, &[], &format!("{attempt} && echo DONE; true"));
        assert!(!said.out.contains("DONE"), "{attempt}: {said:?}");
    }
}

#[test]
fn without_a_network_there_is_nothing_but_loopback() {
    let corral = Corral::new();
    let said = shell(&corral, &[], "ls /sys/class/net; nc -w 1 192.0.2.1 80 < /dev/null; echo $?");
    let mut words = said.out.split_whitespace();
    assert_eq!((words.next(), words.next()), (Some("lo"), Some("1")), "{said:?}");
    // Nobody listens there, and something answers so: without a loopback that is up, it is "unreachable".
    let said = shell(&corral, &[], "nc -w 1 127.0.0.1 9 < /dev/null");
    assert!(said.err.contains("Connection refused"), "{said:?}");
}

#[test]
fn the_agent_profile_is_strict() {
    let corral = Corral::new();
    let agent = ["--profile", "agent", "-u", "1000"];
    let said = shell(
        &corral,
        &agent,
        "id -u; touch /x; touch /tmp/x && echo tmp; grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status",
    );
    assert_eq!(said.out, "1000\ntmp\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n", "{said:?}");
    assert!(said.err.contains("Read-only file system"), "{said:?}");
    for (flags, rule) in [
        (&["--profile", "agent"][..], "agent.user"),
        (&["--profile", "agent", "-u", "1000", "--network", "host"], "agent.network"),
        (&["--profile", "agent", "-u", "1000", "--cap-add", "NET_ADMIN"], "agent.capabilities"),
        (&["--profile", "agent", "-u", "1000", "--userns", "host"], "agent.userns"),
        (&["--profile", "agent", "-u", "1000", "-v", "/proc:/host:ro"], "agent.mount"),
    ] {
        let said = shell(&corral, flags, "true");
        assert_eq!(said.code, 125, "{flags:?}: {said:?}");
        assert!(said.err.contains(rule), "{flags:?}: {said:?}");
    }
}

#[test]
fn a_bound_directory_keeps_its_owner() {
    let corral = Corral::new();
    let dir = corral.dir().join("work");
    std::fs::create_dir(&dir).expect("directory");
    chown(&dir, Some(4242), Some(4242)).expect("chown");
    let mount = format!("{}:/work", dir.display());
    let said = shell(
        &corral,
        &["-v", &mount],
        "stat -c %u /work; echo x > /work/file; touch /work/other; chown 7 /work/other",
    );
    assert_eq!((said.code, said.out.as_str()), (0, "0\n"), "{said:?}");
    let owner = |name: &str| std::fs::metadata(dir.join(name)).expect("file").uid();
    assert_eq!(owner("file"), 4242, "what root writes inside belongs to the owner outside");
    assert!(owner("other") >= 0x4000_0000, "every other id is a shifted one: {}", owner("other"));
    let said = shell(&corral, &["-u", "1000", "-v", &mount], "stat -c %u /work; touch /work/agents");
    assert_eq!((said.code, said.out.as_str(), owner("agents")), (0, "1000\n", 4242), "{said:?}");
}

#[test]
fn a_directory_of_root_is_not_writable_by_surprise() {
    let corral = Corral::new();
    let dir = corral.dir().join("roots");
    std::fs::create_dir(&dir).expect("directory");
    std::fs::write(dir.join("read-me"), "text").expect("file");
    let said = shell(&corral, &["-v", &format!("{}:/d", dir.display())], "true");
    assert_eq!(said.code, 125);
    assert!(said.err.contains("belongs to root") && said.err.contains(":ro"), "{said:?}");
    let said = shell(&corral, &["-v", &format!("{}:/d:ro", dir.display())], "cat /d/read-me; touch /d/x");
    assert_eq!(said.out, "text", "{said:?}");
    assert!(!dir.join("x").exists());
}

#[test]
fn links_in_the_image_lead_nowhere_outside() {
    let corral = Corral::empty();
    let canary = corral.dir().join("canary");
    std::fs::create_dir(&canary).expect("canary");
    let target = canary.display().to_string();
    let busybox = std::fs::read("/bin/busybox").expect("busybox");
    for trap in ["etc", "proc", "dev", "data"] {
        let mut tar = tar::Builder::new(Vec::new());
        corral_tests::file(&mut tar, "bin/busybox", 0o755, &busybox).expect("archive");
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        tar.append_link(&mut header, trap, &target).expect("archive");
        let bytes = tar.into_inner().expect("archive");
        assert_eq!(corral.feed(&["import", "-", "trap"], &bytes).code, 0);
        corral.say(&["run", "--rm", "--tmpfs", "/data/sub", "trap", "/bin/busybox", "true"]);
        let left: Vec<_> = std::fs::read_dir(&canary).expect("canary").collect();
        assert!(left.is_empty(), "{trap}: {left:?}");
    }
}

#[test]
fn a_setuid_program_gains_nothing() {
    let corral = Corral::empty();
    let busybox = std::fs::read("/bin/busybox").expect("busybox");
    let mut tar = tar::Builder::new(Vec::new());
    corral_tests::file(&mut tar, "bin/busybox", 0o4755, &busybox).expect("archive");
    let bytes = tar.into_inner().expect("archive");
    assert_eq!(corral.feed(&["import", "-", "suid"], &bytes).code, 0);
    let said = corral.say(&["run", "--rm", "-u", "1000", "suid", "/bin/busybox", "id", "-u"]);
    assert_eq!(said.out, "1000\n", "{said:?}");
}

#[test]
fn the_engines_directories_are_closed_to_others() {
    let corral = Corral::new();
    corral.ok(&["create", "busybox", "true"]);
    for dir in
        [corral.root().join("containers"), corral.root().join("store"), corral.run_root().join("containers")]
    {
        let mode = std::fs::metadata(&dir).expect("directory").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", dir.display());
    }
    let link = corral.dir().join("link");
    symlink("/etc", &link).expect("link");
    let said = shell(&corral, &["-v", &format!("{}:/d:ro", link.display())], "ls /d/passwd");
    assert_eq!(said.code, 0, "a link that the user named himself is followed: {said:?}");
}

#[test]
fn a_container_with_the_hosts_ids_reaches_only_a_sealed_copy_of_the_engine() {
    let corral = Corral::new();
    let id = corral.ok(&["run", "-d", "--name", "weak", "--userns", "host", "busybox", "sleep", "1000"]);
    assert!(corral.ok(&["ps"]).contains("[userns=host]"), "the weaker mode is marked");
    let program = |pid: String| std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let sealed = |pid: String| program(pid).to_string_lossy().starts_with("/memfd:corral");
    let status = corral.run_root().join("containers").join(id.trim()).join("status.json");
    let status: serde_json::Value =
        serde_json::from_slice(&std::fs::read(status).expect("status")).expect("JSON");
    assert!(sealed(status["monitor"]["pid"].to_string()), "the monitor, which makes the container");
    let mut exec = corral.spawn(&["exec", "weak", "sleep", "1000"]);
    let pid = exec.id().to_string();
    eventually("exec runs from the copy", || sealed(pid.clone()));
    eventually("its process runs", || corral.ok(&["exec", "weak", "ps"]).matches("sleep 1000").count() == 2);
    corral.ok(&["rm", "-f", "weak"]);
    exec.wait().expect("ended with the container");
}

#[test]
fn the_containers_own_files_of_etc_are_bounded_memory() {
    let corral = Corral::new();
    let said = shell(
        &corral,
        &["--hostname", "box"],
        "cat /etc/hostname; grep -c box /etc/hosts; echo 10.0.0.1 peer >> /etc/hosts && grep peer /etc/hosts",
    );
    assert_eq!(said.out, "box\n1\n10.0.0.1 peer\n", "{said:?}");
    let fill = "dd if=/dev/zero of=/etc/hosts bs=1M count=4 2>&1; stat -c %s /etc/hosts";
    let said = shell(&corral, &[], fill);
    assert!(said.out.contains("No space left"), "{said:?}");
    assert!(
        said.out.lines().last().and_then(|size| size.parse().ok()).is_some_and(|size: u64| size < 1 << 20)
    );
    let said = shell(&corral, &["--read-only"], "echo x >> /etc/hosts");
    assert!(said.code != 0 && said.err.contains("Read-only file system"), "{said:?}");
    let said = shell(&corral, &["-u", "1000"], "ls /dev/.corral; echo x >> /etc/hosts");
    assert!(said.code != 0 && said.err.matches("ermission denied").count() == 2, "{said:?}");
    // What the user mounts there wins.
    let own = corral.dir().join("own");
    std::fs::write(&own, "mine\n").expect("file");
    let said = shell(&corral, &["-v", &format!("{}:/etc/hosts:ro", own.display())], "cat /etc/hosts");
    assert_eq!(said.out, "mine\n", "{said:?}");
    // With the host's user namespace, /dev is another one.
    let said = shell(&corral, &["--userns", "host", "--hostname", "box"], "cat /etc/hostname");
    assert_eq!(said.out, "box\n", "{said:?}");
}

/// A process names itself: any bytes, also in what the kernel says of it in /proc.
#[test]
fn a_name_that_is_no_text_keeps_no_container_alive() {
    let corral = Corral::new();
    let script = "printf '\\377) R 1 1' > /proc/1/comm; touch /named; sleep 1000; :";
    corral.ok(&["run", "-d", "--name", "odd", "busybox", "sh", "-c", script]);
    eventually("it is named", || corral.say(&["exec", "odd", "stat", "/named"]).code == 0);
    assert_eq!(corral.inspect("odd")["State"]["Status"], "running");
    corral.ok(&["pause", "odd"]);
    corral.ok(&["unpause", "odd"]);
    corral.ok(&["stop", "-t", "0", "odd"]);
    assert_eq!(corral.inspect("odd")["State"]["ExitCode"], 137);
    corral.ok(&["start", "odd"]);
    corral.ok(&["rm", "-f", "odd"]);
}

/// setresuid(2) takes the highest number for "as it is": root.
#[test]
fn an_image_has_no_user_that_is_no_id() {
    let corral = Corral::new();
    let script = "echo ghost:x:4294967295:4294967295::/:/bin/sh >> /etc/passwd; \
                  echo more:x:4294967295:ghost >> /etc/group";
    corral.ok(&["run", "--name", "odd", "busybox", "sh", "-c", script]);
    corral.ok(&["commit", "-c", "USER ghost", "odd", "odd"]);
    let said = corral.say(&["run", "--rm", "--profile", "agent", "odd", "id"]);
    assert!(said.code == 125 && said.err.contains("ghost"), "{said:?}");
    let said = corral.say(&["run", "--rm", "-u", "70000", "busybox", "id"]);
    assert!(said.code == 125 && said.err.contains("launch.ids"), "{said:?}");
    assert_eq!(corral.ok(&["run", "--rm", "-u", "65535", "busybox", "id", "-u"]), "65535\n");
    assert_eq!(corral.ok(&["run", "--rm", "busybox", "id", "-G"]), "0\n", "the primary group counts too");
}

/// What lies on disk is judged again before it runs.
#[test]
fn a_launch_that_was_changed_is_not_started() {
    let corral = Corral::new();
    let id = corral.ok(&["create", "--profile", "agent", "-u", "1000", "busybox", "id"]);
    let path = corral.root().join("containers").join(id.trim()).join("launch.json");
    let text = std::fs::read_to_string(&path).expect("launch");
    let mut launch: serde_json::Value = serde_json::from_str(&text).expect("json");
    let whole = launch.clone();
    let mut refused = |rule: &str, change: &dyn Fn(&mut serde_json::Value)| {
        launch.clone_from(&whole);
        change(&mut launch);
        std::fs::write(&path, launch.to_string()).expect("written");
        let said = corral.say(&["start", "-a", id.trim()]);
        assert!(said.code != 0 && said.err.contains(rule) && said.out.is_empty(), "{rule}: {said:?}");
    };
    refused("launch.seccomp", &|launch| launch["confinement"]["seccomp"] = serde_json::Value::Null);
    refused("launch.no-new-privileges", &|launch| launch["confinement"]["no_new_privileges"] = false.into());
    refused("agent.user", &|launch| launch["process"]["uid"] = 0.into());
    refused("launch.masked-paths", &|launch| launch["masked_paths"] = serde_json::json!([]));
    refused("agent.root", &|launch| launch["root"]["read_only"] = false.into());
    assert!(corral.ok(&["journal"]).contains("container start"), "the refusal is recorded");
    std::fs::write(&path, text).expect("written");
    assert!(corral.ok(&["start", "-a", id.trim()]).contains("uid=1000"));
}

/// A box that writes above a bound path puts a link in its place, and is started again.
#[test]
fn a_bound_path_leads_nowhere_else_at_the_next_start() {
    let corral = Corral::new();
    let project = corral.dir().join("project");
    let victim = corral.dir().join("victim");
    for dir in [&project, &project.join("sub"), &project.join("sub/data"), &victim, &victim.join("data")] {
        std::fs::create_dir(dir).expect("directory");
        chown(dir, Some(1000), Some(1000)).expect("owner");
    }
    std::fs::write(victim.join("data/canary"), "host secret").expect("canary");
    let project_bind = format!("{}:/workspace", project.display());
    let data_bind = format!("{}:/data", project.join("sub/data").display());
    let script = "cat /data/canary; cd /workspace && test -d old || { mv sub old && ln -s ../victim sub; }";
    let words =
        ["run", "--name", "box", "-v", &project_bind, "-v", &data_bind, "busybox", "sh", "-c", script];
    corral.say(&words);
    assert!(project.join("sub").is_symlink(), "the box has put its link there");
    let said = corral.say(&["start", "-a", "box"]);
    assert!(!said.out.contains("host secret"), "{said:?}");
    assert!(said.code != 0 && said.err.contains("symbolic link"), "{said:?}");
    let said = corral.say(&["cp", "box:/data/canary", "-"]);
    assert!(said.code != 0 && !said.out.contains("host secret"), "{said:?}");
}

/// What the kernel shows in a container is no file of it: cp takes and finds none of it.
#[test]
fn a_copy_of_everything_leaves_the_kernels_files_out() {
    let corral = Corral::new();
    corral.ok(&["run", "-d", "--name", "box", "--tmpfs", "/mem", "busybox", "sleep", "1000"]);
    corral.ok(&["exec", "box", "sh", "-c", "echo x > /mem/file; echo y > /kept"]);
    corral.ok(&["cp", "box:/", "tree"]);
    assert_eq!(std::fs::read_to_string(corral.dir().join("tree/kept")).expect("file"), "y\n");
    assert_eq!(std::fs::read_to_string(corral.dir().join("tree/mem/file")).expect("file"), "x\n");
    assert!(
        std::fs::read_to_string(corral.dir().join("tree/etc/hosts")).expect("hosts").contains("localhost")
    );
    for empty in ["proc", "sys", "dev"] {
        let entries = std::fs::read_dir(corral.dir().join("tree").join(empty)).map_or(0, Iterator::count);
        assert_eq!(entries, 0, "{empty}");
    }
    for path in ["box:/proc/version", "box:/dev/null", "box:/sys/kernel"] {
        let said = corral.say(&["cp", path, "copied"]);
        assert!(said.code == 1 && !corral.dir().join("copied").exists(), "{path}: {said:?}");
    }
    assert_eq!(corral.ok(&["exec", "box", "cat", "/proc/sys/kernel/ostype"]), "Linux\n", "it still has them");
}

/// A mount is judged by its path, and an image has a link there.
#[test]
fn a_link_of_the_image_leads_no_mount_onto_the_kernels_files() {
    let corral = Corral::new();
    let script = "ln -s /proc /one; ln -s /proc/sys /two; ln -s /sys /three; ln -s /tmp /four";
    corral.ok(&["run", "--name", "odd", "busybox", "sh", "-c", script]);
    corral.ok(&["commit", "odd", "odd"]);
    let volume = |target: &str| corral.say(&["run", "--rm", "-v", &format!("data:{target}"), "odd", "true"]);
    let memory = |target: &str| corral.say(&["run", "--rm", "--tmpfs", target, "odd", "true"]);
    for target in ["/one", "/two", "/three"] {
        for said in [volume(target), memory(target)] {
            assert!(said.code == 125 && said.err.contains("file system of the kernel"), "{target}: {said:?}");
        }
    }
    assert_eq!((volume("/four").code, memory("/four").code), (0, 0), "elsewhere it may lead");
}

/// What the command line says of the host is not the container's to read.
#[test]
fn the_first_process_of_init_shows_no_word_of_the_command_line() {
    let corral = Corral::new();
    let script =
        "tr '\\0' ' ' < /proc/1/cmdline; echo; tr '\\0' ' ' < /proc/1/environ; echo; cat /proc/1/comm";
    for flags in
        [&["--rm", "--init"][..], &["--rm", "--init", "-e", "SECRET=hunter2", "--label", "a=hunter2"]]
    {
        let words = [&["run"], flags, &["busybox", "sh", "-c", script]].concat();
        let said = corral.say(&words);
        assert_eq!(said.out.lines().next().map(str::trim), Some("corral"), "{said:?}");
        assert!(!said.out.contains("hunter2") && !said.out.contains("PATH="), "{said:?}");
    }
    corral.ok(&["run", "-d", "--init", "--name", "box", "busybox", "sleep", "1000"]);
    let shown = corral.ok(&["exec", "box", "cat", "/proc/1/cmdline"]);
    assert!(shown.starts_with("corral\0") && !shown.contains("__monitor"), "{shown:?}");
    corral.ok(&["rm", "-f", "box"]);
}
