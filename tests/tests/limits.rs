//! Bounds, what they do to a container, what `update` changes, what `stats` and `top` say. The oracles are outside: the
//! files of the container's control groups, /proc, and what a program inside meets.

use std::path::PathBuf;

use corral_tests::{Corral, Said, eventually};

/// The container's groups, cgroup2 first.
fn groups(corral: &Corral, name: &str) -> Vec<PathBuf> {
    let groups = &corral.inspect(name)["Corral"]["Cgroups"];
    let v1 = groups["v1"].as_array().expect("running").iter();
    let all = std::iter::once(&groups["v2"]).chain(v1).filter_map(|group| group.as_str());
    all.map(PathBuf::from).collect()
}

/// What the first of these files that is there holds.
fn control(corral: &Corral, name: &str, files: &[&str]) -> String {
    let groups = groups(corral, name);
    let paths = files.iter().flat_map(|file| groups.iter().map(move |group| group.join(file)));
    let text = paths.filter_map(|path| std::fs::read_to_string(path).ok()).next();
    text.unwrap_or_else(|| panic!("none of {files:?} in {groups:?}")).trim().to_owned()
}

fn run(corral: &Corral, flags: &[&str], command: &[&str]) -> Said {
    corral.say(&[&["run", "--rm"], flags, &["busybox"], command].concat())
}

/// A container that sleeps.
fn sleeper(corral: &Corral, name: &str, flags: &[&str]) {
    corral.ok(&[&["run", "-d", "--name", name], flags, &["busybox", "sleep", "1000"]].concat());
}

fn is_v2(controller: &str) -> bool {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].iter().any(|mount| {
        std::fs::read_to_string(format!("{mount}/cgroup.controllers"))
            .is_ok_and(|text| text.split_whitespace().any(|name| name == controller))
    })
}

#[test]
fn what_was_asked_stands_in_the_control_files() {
    let corral = Corral::new();
    let flags = [
        "-m",
        "64m",
        "--memory-swap",
        "96m",
        "--memory-reservation",
        "32m",
        "--cpu-period",
        "50000",
        "--cpu-quota",
        "20000",
        "-c",
        "512",
        "--cpuset-cpus",
        "0",
        "--pids-limit",
        "77",
        "--oom-score-adj",
        "300",
    ];
    sleeper(&corral, "all", &flags);
    let check = |v1: &str, v2: &str, in_v1: &str, in_v2: &str| {
        let found = control(&corral, "all", &[v1, v2]);
        assert!(found == in_v1 || found == in_v2, "{v1}, {v2}: {found}");
    };
    check("memory.limit_in_bytes", "memory.max", "67108864", "67108864");
    check("memory.memsw.limit_in_bytes", "memory.swap.max", "100663296", "33554432");
    check("memory.soft_limit_in_bytes", "memory.low", "33554432", "33554432");
    check("cpu.cfs_quota_us", "cpu.max", "20000", "20000 50000");
    check("cpu.shares", "cpu.weight", "512", "59");
    check("cpuset.cpus", "cpuset.cpus", "0", "0");
    check("pids.max", "pids.max", "77", "77");
    let inspect = corral.inspect("all");
    let pid = inspect["State"]["Pid"].as_i64().expect("pid");
    let score = |pid: i64| std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it runs");
    assert_eq!(score(pid), "300\n");
    let own = corral.ok(&["exec", "all", "cat", "/proc/self/oom_score_adj"]);
    assert_eq!(own, "300\n", "exec'd processes too");
    let host = &inspect["HostConfig"];
    let shown = |key: &str| host[key].to_string();
    assert_eq!(shown("MemorySwap"), "100663296");
    assert_eq!(shown("MemoryReservation"), "33554432");
    assert_eq!(shown("CpuQuota"), "20000");
    assert_eq!(shown("CpuPeriod"), "50000");
    assert_eq!(shown("CpuShares"), "512");
    assert_eq!(shown("CpusetCpus"), "\"0\"");
    assert_eq!(shown("OomScoreAdj"), "300");
    let mask = corral.ok(&["exec", "all", "grep", "Cpus_allowed_list", "/proc/self/status"]);
    assert_eq!(mask.split_whitespace().last(), Some("0"));
}

#[test]
fn a_container_without_limits_is_in_no_group_for_them() {
    let corral = Corral::new();
    sleeper(&corral, "plain", &[]);
    for group in groups(&corral, "plain") {
        let known = ["memory.limit_in_bytes", "cpu.shares", "cpuset.cpus", "blkio.weight", "devices.list"];
        assert!(known.iter().all(|file| !group.join(file).exists()), "{}", group.display());
    }
}

#[test]
fn docker_says_no_in_its_words() {
    let corral = Corral::new();
    let refused = |flags: &[&str], part: &str| {
        let said = run(&corral, flags, &["true"]);
        assert_eq!(said.code, 125, "{flags:?}: {said:?}");
        assert!(said.err.contains(part), "{flags:?}: {part:?} is not in {:?}", said.err);
        assert!(said.err.lines().count() <= 2, "{flags:?}: {}", said.err);
    };
    refused(&["-m", "4m"], "Minimum memory limit allowed is 6MB");
    refused(
        &["-m", "64m", "--memory-swap", "32m"],
        "Minimum memoryswap limit should be larger than memory limit",
    );
    refused(&["--memory-swap", "32m"], "You should always set the Memory limit when using Memoryswap limit");
    refused(&["-m", "16m", "--memory-reservation", "32m"], "can not be less than memory reservation limit");
    refused(&["--memory-swappiness", "101"], "valid memory swappiness range is 0-100");
    refused(&["--cpus", "1", "--cpu-quota", "5000"], "Nano CPUs and CPU Quota cannot both be set");
    refused(&["--cpus", "9999"], "as there are only");
    refused(&["--cpu-period", "10"], "CPU cfs period can not be less than 1ms");
    refused(&["--cpuset-cpus", "x"], "Invalid value x for cpuset cpus");
    refused(&["--cpuset-cpus", "4095"], "Requested CPUs are not available - requested 4095, available: ");
    refused(&["--blkio-weight", "5"], "Range of blkio weight is from 10 to 1000");
    refused(&["--blkio-weight-device", "sda:100"], "bad format for device path: sda:100");
    refused(&["--device-read-bps", "/dev/null:lots"], "invalid rate for device");
    refused(&["--device-read-bps", "/dev/null:1mb"], "/dev/null: not a block device");
    refused(&["--oom-score-adj", "1001"], "range for oom score adj is [-1000, 1000]");
    refused(&["--device", "/dev/no-such"], "error gathering device information");
    refused(&["--device", "/dev/null:/dev/x:q"], "bad mode specified: q");
    refused(&["--device-cgroup-rule", "x"], "invalid device cgroup format 'x'");
    refused(&["--device", "/dev/zero:/etc/x"], "launch.devices");
    refused(&["--device", "/dev/null:/dev/zero"], "launch.devices");
    refused(&["--cgroup-parent", "../x"], "--cgroup-parent");
    refused(&["--profile", "agent", "-u", "1", "--device", "/dev/null:/dev/x"], "agent.devices");
    refused(&["--profile", "agent", "-u", "1", "--pids-limit", "-1"], "agent.limits");
    assert_eq!(corral.ok(&["ps", "-aq"]), "");
}

/// What the host cannot enforce is refused by name, and what it can is enforced: both are outcomes that are checked.
#[test]
fn a_limit_is_enforced_or_refused_by_name() {
    let corral = Corral::new();
    let either = |flags: &[&str], files: &[&str], values: &[&str], name: &str| {
        let said =
            corral.say(&[&["run", "-d", "--name", "one"], flags, &["busybox", "sleep", "1000"]].concat());
        if said.code == 0 {
            let found = control(&corral, "one", files);
            assert!(values.contains(&found.as_str()), "{flags:?}: {found}");
        } else {
            let wanted = format!("the {name} limit cannot be enforced: ");
            assert!(said.code == 125 && said.err.contains(&wanted), "{flags:?}: {said:?}");
        }
        corral.say(&["rm", "-f", "one"]);
    };
    either(&["-m", "64m", "--memory-swappiness", "10"], &["memory.swappiness"], &["10"], "memory-swappiness");
    either(
        &["--blkio-weight", "500"],
        &["blkio.bfq.weight", "blkio.weight", "io.bfq.weight", "io.weight"],
        &["500", "default 500", "default 4950"],
        "blkio-weight",
    );
    either(&["--cpu-rt-runtime", "10"], &["cpu.rt_runtime_us"], &["10"], "cpu-rt-runtime");
    either(
        &["-m", "64m", "--oom-kill-disable"],
        &["memory.oom_control"],
        &["oom_kill_disable 1\nunder_oom 0\noom_kill 0"],
        "oom-kill-disable",
    );
}

#[test]
fn an_unbounded_number_of_tasks_is_a_mode_with_a_name() {
    let corral = Corral::new();
    sleeper(&corral, "open", &["--pids-limit", "-1"]);
    assert_eq!(control(&corral, "open", &["pids.max"]), "max");
    let listing = corral.ok(&["ps"]);
    assert!(listing.contains("[pids=unlimited]"), "{listing}");
    corral.ok(&["update", "--pids-limit", "50", "open"]);
    assert_eq!(control(&corral, "open", &["pids.max"]), "50");
    assert!(!corral.ok(&["ps"]).contains("unlimited"), "the mark follows the bound");
    corral.ok(&["update", "--pids-limit", "-1", "open"]);
    assert_eq!(control(&corral, "open", &["pids.max"]), "max");
    assert!(corral.ok(&["ps"]).contains("[pids=unlimited]"));
}

#[test]
fn a_device_that_is_not_granted_cannot_be_opened() {
    let corral = Corral::new();
    // A number without a driver: the guard is asked before the driver, so who may open it hears of no such device.
    let node = corral.dir().join("node");
    let made = std::process::Command::new("mknod").arg(&node).args(["c", "60", "7"]).status().expect("mknod");
    assert!(made.success());
    let node = node.display().to_string();
    let script = "head -c 1 /dev/mine; echo x >/dev/mine; head -c 1 /dev/zero | wc -c; \
                  stat -c %u /dev/sub/zero; head -c 1 /dev/sub/zero | wc -c";
    let (open, kept) = ("No such device or address", "Operation not permitted");
    for (access, reading, writing) in [("r", open, kept), ("w", kept, open), ("rw", open, open)] {
        let device = format!("{node}:/dev/mine:{access}");
        let flags = ["--device", &device, "--device", "/dev/zero:/dev/sub/zero"];
        let said = run(&corral, &flags, &["sh", "-c", script]);
        assert_eq!((said.code, said.out.as_str()), (0, "1\n0\n1\n"), "{said:?}");
        let lines: Vec<&str> = said.err.lines().collect();
        assert!(
            lines.len() == 2 && lines[0].ends_with(reading) && lines[1].ends_with(writing),
            "{access}: {said:?}"
        );
    }
    // The same node with another number behind it is not what was granted.
    corral.ok(&["create", "--name", "stale", "--device", &format!("{node}:/dev/mine"), "busybox", "true"]);
    std::fs::remove_file(&node).expect("a node");
    let said = corral.say(&["start", "-a", "stale"]);
    assert!(said.code != 0 && said.err.contains(&node), "{said:?}");
    let without = run(&corral, &[], &["ls", "/dev/mine"]);
    assert_ne!(without.code, 0);
    sleeper(&corral, "marked", &["--device", "/dev/kmsg"]);
    assert!(corral.ok(&["ps"]).contains("[device]"));
    let said = corral.say(&["exec", "marked", "sh", "-c", "mknod /tmp/x c 1 11"]);
    assert_ne!(said.code, 0, "no node can be made inside: {said:?}");
}

#[test]
fn a_named_parent_holds_the_containers_groups() {
    let corral = Corral::new();
    let parent = format!("corral-test-{}", std::process::id());
    sleeper(&corral, "child", &["--cgroup-parent", &parent, "-m", "64m"]);
    let groups = groups(&corral, "child");
    let above: Vec<_> = groups.iter().filter_map(|group| group.parent()).collect();
    assert!(!above.is_empty());
    for group in &above {
        assert_eq!(group.file_name().and_then(|name| name.to_str()), Some(parent.as_str()));
    }
    corral.ok(&["rm", "-f", "child"]);
    for group in above {
        std::fs::remove_dir(group).expect("the parent stays, and is empty");
    }
}

#[test]
fn an_update_holds_at_once_and_at_the_next_start() {
    let corral = Corral::new();
    sleeper(&corral, "web", &["-m", "64m"]);
    let memory = || control(&corral, "web", &["memory.limit_in_bytes", "memory.max"]);
    // Up and down: memory and memory with swap depend on each other in opposite orders.
    for (flag, bytes) in [("128m", "134217728"), ("48m", "50331648")] {
        assert_eq!(corral.ok(&["update", "-m", flag, "web"]), "web\n");
        assert_eq!(memory(), bytes);
        assert_eq!(corral.inspect("web")["HostConfig"]["Memory"].to_string(), bytes);
    }
    corral.ok(&["update", "--cpus", "0.5", "--cpu-shares", "256", "--cpuset-cpus", "0", "web"]);
    let quota = control(&corral, "web", &["cpu.cfs_quota_us", "cpu.max"]);
    assert!(["50000", "50000 100000"].contains(&quota.as_str()), "{quota}");
    // The groups are new on v1: everybody who runs moved there, and who comes later starts there.
    corral.ok(&["exec", "-d", "web", "sleep", "999"]);
    let pid = corral.inspect("web")["State"]["Pid"].to_string();
    for group in groups(&corral, "web") {
        let inside = || std::fs::read_to_string(group.join("cgroup.procs")).expect("a group");
        eventually("both processes are in the group", || inside().lines().count() == 2);
        assert!(inside().lines().any(|line| line == pid), "{}: {}", group.display(), inside());
    }
    let allowed = corral.ok(&["exec", "web", "grep", "Cpus_allowed_list", "/proc/1/status"]);
    assert_eq!(allowed.split_whitespace().last(), Some("0"), "{allowed}");
    let made = groups(&corral, "web");
    corral.ok(&["stop", "-t", "0", "web"]);
    assert!(made.iter().all(|group| !group.exists()), "new groups go with the container");
    corral.ok(&["update", "--pids-limit", "33", "web"]);
    corral.ok(&["start", "web"]);
    assert_eq!(memory(), "50331648");
    assert_eq!(control(&corral, "web", &["pids.max"]), "33");
    let shares = control(&corral, "web", &["cpu.shares", "cpu.weight"]);
    assert!(["256", "35"].contains(&shares.as_str()), "{shares}");
}

#[test]
fn an_update_that_is_refused_changes_nothing() {
    let corral = Corral::new();
    sleeper(&corral, "web", &["-m", "64m", "--memory-swap", "80m"]);
    let before = corral.inspect("web");
    let refused = |flags: &[&str], part: &str| {
        let said = corral.say(&[&["update"], flags, &["web"]].concat());
        assert!(said.code != 0 && said.err.contains(part), "{flags:?}: {said:?}");
        assert_eq!(corral.inspect("web")["HostConfig"], before["HostConfig"], "{flags:?}");
    };
    refused(&[], "you must provide one or more flags");
    refused(&["-m", "1m"], "Minimum memory limit allowed is 6MB");
    refused(&["-m", "128m"], "Memory limit should be smaller than already set memoryswap limit");
    refused(&["--restart", "sometimes"], "unknown policy 'sometimes'");
    refused(&["--cpuset-cpus", "4095", "--pids-limit", "9"], "Requested CPUs are not available");
    assert_eq!(control(&corral, "web", &["pids.max"]), "4096", "what was done before is undone");
    // Also what had no bound before: the group is there for the shares, and the bandwidth was the kernel's default.
    corral.ok(&["update", "-c", "512", "web"]);
    let bandwidth = || control(&corral, "web", &["cpu.cfs_quota_us", "cpu.max"]);
    let open = bandwidth();
    let said = corral.say(&["update", "--cpus", "0.5", "--cpuset-cpus", "4095", "web"]);
    assert_eq!((said.code, bandwidth()), (1, open), "{}", said.err);
    for group in groups(&corral, "web") {
        assert!(!group.join("cpuset.cpus").exists() || is_v2("cpuset"), "{}", group.display());
    }
    assert_eq!(corral.say(&["update", "-m", "64m", "nobody"]).code, 1);
    assert_eq!(corral.ok(&["exec", "web", "echo", "alive"]), "alive\n", "and it was thawed");
}

/// Without charge moving a memory group that is made later would not count what is used already.
#[test]
fn memory_can_be_bounded_later_only_where_it_counts() {
    let corral = Corral::new();
    sleeper(&corral, "late", &[]);
    let said = corral.say(&["update", "-m", "64m", "late"]);
    if said.code == 0 {
        assert_eq!(control(&corral, "late", &["memory.limit_in_bytes", "memory.max"]), "67108864");
    } else {
        assert!(said.err.contains("stop it, update it and start it again"), "{said:?}");
        corral.ok(&["stop", "-t", "0", "late"]);
        corral.ok(&["update", "-m", "64m", "late"]);
        corral.ok(&["start", "late"]);
        assert_eq!(control(&corral, "late", &["memory.limit_in_bytes", "memory.max"]), "67108864");
    }
}

#[test]
fn a_paused_container_is_updated_and_stays_paused() {
    let corral = Corral::new();
    sleeper(&corral, "still", &[]);
    corral.ok(&["pause", "still"]);
    corral.ok(&["update", "--cpus", "0.5", "still"]);
    let inspect = corral.inspect("still");
    assert_eq!(inspect["State"]["Status"], "paused");
    let pid = inspect["State"]["Pid"].to_string();
    for group in groups(&corral, "still") {
        let inside = std::fs::read_to_string(group.join("cgroup.procs")).expect("a group");
        assert_eq!(inside.trim(), pid, "{}", group.display());
    }
    corral.ok(&["unpause", "still"]);
    assert_eq!(corral.ok(&["exec", "still", "echo", "on"]), "on\n");
}

#[test]
fn kills_for_memory_are_told_from_other_kills() {
    let corral = Corral::new();
    let fill = "head -c 64m /dev/zero | tail -c 64m >/dev/null";
    // Only a child is killed; the first process goes on and ends well.
    let script = format!("({fill}); echo survived");
    corral.ok(&["run", "--name", "child", "-m", "16m", "busybox", "sh", "-c", &script]);
    let state = |name: &str| corral.inspect(name)["State"].clone();
    assert_eq!((&state("child")["OOMKilled"], &state("child")["ExitCode"]), (&true.into(), &0.into()));
    assert!(state("child")["OOMKills"].as_u64().is_some_and(|kills| kills > 0), "{}", state("child"));
    sleeper(&corral, "killed", &["-m", "16m"]);
    corral.ok(&["kill", "killed"]);
    corral.ok(&["wait", "killed"]);
    assert_eq!((&state("killed")["OOMKilled"], &state("killed")["ExitCode"]), (&false.into(), &137.into()));
}

#[test]
fn stats_tell_what_the_kernel_counts() {
    let corral = Corral::new();
    let busy = "while :; do :; done";
    corral.ok(&["run", "-d", "--name", "busy", "-m", "64m", "--cpus", "0.5", "busybox", "sh", "-c", busy]);
    sleeper(&corral, "idle", &[]);
    corral.ok(&["create", "--name", "never", "busybox", "true"]);
    let row = |name: &str| -> serde_json::Value {
        serde_json::from_str(&corral.ok(&["stats", "--no-stream", "--format", "json", name])).expect("JSON")
    };
    let number = |text: &serde_json::Value| -> f64 {
        text.as_str().expect("text").trim_end_matches('%').parse().expect("a number")
    };
    let busy = row("busy");
    let share = number(&busy["CPUPerc"]);
    assert!((20.0..70.0).contains(&share), "half a CPU: {busy}");
    assert!(busy["MemUsage"].as_str().is_some_and(|text| text.ends_with("/ 64MiB")), "{busy}");
    assert_eq!(
        (&busy["PIDs"], &busy["NetIO"], &busy["Name"]),
        (&"1".into(), &"0B / 0B".into(), &"busy".into())
    );
    let idle = row("idle");
    assert!(number(&idle["CPUPerc"]) < 5.0, "{idle}");
    let used = idle["MemUsage"].as_str().expect("text").split(" / ").next().expect("first");
    assert!(
        used.ends_with("KiB") || used.ends_with("MiB"),
        "a sleeping busybox is small and not nothing: {idle}"
    );
    let table = corral.ok(&["stats", "--no-stream", "-a"]);
    let head: Vec<&str> = table.lines().next().expect("head").split("  ").map(str::trim).collect();
    let head: Vec<&str> = head.into_iter().filter(|cell| !cell.is_empty()).collect();
    assert_eq!(
        head,
        ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"]
    );
    let never = table.lines().find(|line| line.contains("never")).expect("-a lists it");
    assert!(never.contains("--") && !never.contains("0.00%"), "{never}");
    assert!(!corral.ok(&["stats", "--no-stream"]).contains("never"));
    assert_eq!(corral.say(&["stats", "--no-stream", "nobody"]).code, 1);
}

#[test]
fn top_shows_the_containers_processes_and_no_other() {
    let corral = Corral::new();
    corral.ok(&["run", "-d", "--name", "two", "busybox", "sh", "-c", "sleep 777 & sleep 888; true"]);
    eventually("both sleep", || corral.ok(&["top", "two"]).lines().count() == 4);
    let text = corral.ok(&["top", "two"]);
    let head: Vec<&str> = text.lines().next().expect("head").split_whitespace().collect();
    assert_eq!(head, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert!(text.contains("sleep 777") && text.contains("sleep 888") && !text.contains("corral"), "{text}");
    let pid = corral.inspect("two")["State"]["Pid"].to_string();
    let pids = corral.ok(&["top", "two", "-o", "pid"]);
    assert!(pids.lines().skip(1).any(|line| line.trim() == pid), "{pids}");
    assert!(corral.ok(&["top", "two", "aux"]).starts_with("USER"));
    let said = corral.say(&["top", "two", "--forest"]);
    assert!(said.code == 125 && said.err.contains("not supported"), "{said:?}");
    corral.ok(&["stop", "-t", "0", "two"]);
    assert_eq!(corral.say(&["top", "two"]).code, 1, "it does not run");
}

#[test]
fn top_agrees_with_ps() {
    let version = std::process::Command::new("ps").arg("--version").output();
    if !version.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains("procps")) {
        println!("SKIP: limits::top_agrees_with_ps: the ps of procps is not installed");
        return;
    }
    let corral = Corral::new();
    corral.ok(&["run", "-d", "--name", "two", "busybox", "sh", "-c", "sleep 777 & sleep 888; true"]);
    eventually("both sleep", || corral.ok(&["top", "two"]).lines().count() == 4);
    let pids = corral.ok(&["top", "two", "-o", "pid"]);
    let numbers: Vec<&str> = pids.lines().skip(1).map(str::trim).collect();
    let theirs = std::process::Command::new("ps")
        .args(["-o", "pid=,ppid=,nice=,nlwp=,comm=", "-p", &numbers.join(",")])
        .output()
        .expect("ps runs");
    let words = |text: &str| {
        let mut lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        lines.sort();
        lines
    };
    let ours = corral.ok(&["top", "two", "-o", "pid,ppid,nice,nlwp,comm"]);
    let ours: String = ours.lines().skip(1).map(|line| format!("{line}\n")).collect();
    assert_eq!(words(&ours), words(&String::from_utf8_lossy(&theirs.stdout)));
}
