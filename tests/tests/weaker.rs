//! Weaker modes: each is there only by its name, marked wherever the container is listed, and gives away what its
//! documentation says and no more.

use std::fs;
use std::process::Command;

use corral_tests::Corral;

/// A shell script's output in a container with these flags.
fn inside(corral: &Corral, flags: &[&str], script: &str) -> String {
    corral.ok(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
}

fn mark(corral: &Corral, flags: &[&str]) -> String {
    corral.ok(&[&["create", "--name", "marked"], flags, &["busybox", "true"]].concat());
    let line = corral.ok(&["ps", "-a", "--format", "{{.Weaker}}"]);
    assert!(corral.ok(&["ps", "-a"]).contains(&format!("[{}]", line.trim().replace(',', ", "))));
    let named: Vec<String> =
        serde_json::from_value(corral.inspect("marked")["Corral"]["Weaker"].clone()).expect("a list");
    assert_eq!(named.join(","), line.trim());
    corral.ok(&["rm", "marked"]);
    line.trim().to_owned()
}

/// Which namespace of the host's, or another.
fn host_namespace(name: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace").display().to_string()
}

fn namespace(corral: &Corral, flags: &[&str], name: &str) -> String {
    inside(corral, flags, &format!("readlink /proc/self/ns/{name}")).trim().to_owned()
}

#[test]
fn each_namespace_of_the_host_is_shared_by_its_name_only() {
    let corral = Corral::new();
    for (flag, name, marked) in [
        ("--pid=host", "pid", "pid=host"),
        ("--ipc=host", "ipc", "ipc=host"),
        ("--uts=host", "uts", "uts=host"),
        ("--cgroupns=host", "cgroup", "cgroupns=host"),
    ] {
        let host = host_namespace(name);
        assert_eq!(namespace(&corral, &[flag], name), host, "{flag}");
        assert_ne!(namespace(&corral, &[], name), host, "without {flag}");
        for other in
            ["user", "mnt", "net", "pid", "ipc", "uts", "cgroup"].iter().filter(|other| **other != name)
        {
            assert_ne!(namespace(&corral, &[flag], other), host_namespace(other), "{flag} shares {other}");
        }
        assert_eq!(mark(&corral, &[flag]), marked);
        let said = corral.say(&["run", "--rm", "--profile", "agent", "-u", "1000", flag, "busybox", "true"]);
        assert!(said.code == 125 && said.err.contains("rule agent.weaker"), "{said:?}");
    }
}

/// The host's processes are seen, and neither signalled nor looked into.
#[test]
fn the_hosts_processes_are_seen_and_out_of_reach() {
    let corral = Corral::new();
    let mut canary = Command::new("sleep").arg("1000").env("CANARY", "xyzzy").spawn().expect("sleep");
    let pid = canary.id();
    let script = format!(
        "cat /proc/{pid}/comm; kill -9 {pid}; cat /proc/{pid}/environ; ls /proc/{pid}/root/; ls /proc/1/cwd/; \
         echo x >/proc/sys/kernel/core_pattern; echo b >/proc/sysrq-trigger; echo done"
    );
    let said = corral.say(&["run", "--rm", "--pid", "host", "busybox", "sh", "-c", &script]);
    assert_eq!(said.out, "sleep\ndone\n", "{said:?}");
    assert!(canary.try_wait().expect("our child").is_none(), "it was killed");
    canary.kill().expect("kill");
    canary.wait().expect("reaped");
    let hidden = inside(&corral, &[], &format!("cat /proc/{pid}/comm 2>&1; true"));
    assert!(hidden.contains("No such file"), "{hidden}");
}

/// The processes of the host that sleep for so many seconds, by how the number begins.
fn sleepers(begin: &str) -> Vec<String> {
    let lines = fs::read_dir("/proc").expect("processes").flatten();
    let lines = lines.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.starts_with(&format!("sleep\0{begin}"))).collect()
}

/// Without a pid namespace that ends with its first process, the group ends them.
#[test]
fn nothing_is_left_of_a_container_in_the_hosts_pid_namespace() {
    let corral = Corral::new();
    corral.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--pid",
        "host",
        "busybox",
        "sh",
        "-c",
        "sleep 7654321 & sleep 7654322 & wait",
    ]);
    let running = || sleepers("765432").len();
    corral.ok(&["exec", "-d", "box", "sh", "-c", "setsid sleep 7654323 & sleep 7654324"]);
    corral_tests::eventually("all run", || running() == 4);
    let said = corral.say(&["exec", "box", "readlink", "/proc/self/ns/pid"]);
    assert_eq!(said.out.trim(), host_namespace("pid"), "{said:?}");
    corral.ok(&["kill", "box"]);
    corral_tests::eventually("none is left", || running() == 0);
    corral.ok(&["rm", "-f", "box"]);
}

#[test]
fn the_hosts_shared_memory_is_what_everybody_may_have() {
    let corral = Corral::new();
    let path = |name: &str| format!("/dev/shm/corral-weaker-{}-{name}", std::process::id());
    let (secret, plain, made) = (path("secret"), path("plain"), path("made"));
    fs::write(&secret, "canary").expect("shared memory");
    fs::write(&plain, "readable").expect("shared memory");
    Command::new("chmod").args(["600", &secret]).status().expect("chmod");
    Command::new("chmod").args(["644", &plain]).status().expect("chmod");
    let script = format!("cat {plain}; cat {secret}; echo x >{plain}; rm {plain}; echo made >{made}; echo");
    let said = corral.say(&["run", "--rm", "--ipc", "host", "busybox", "sh", "-c", &script]);
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&made).expect("made inside"));
    let left = fs::read_to_string(&plain);
    let hidden = inside(&corral, &[], "ls /dev/shm");
    for file in [&secret, &plain, &made] {
        fs::remove_file(file).expect("clean");
    }
    assert_eq!(said.out, "readable\n", "{said:?}");
    assert_eq!(left.expect("still there"), "readable");
    assert!(owner >= 0x4000_0000, "{owner}");
    assert_eq!(hidden, "");
    let said =
        corral.say(&["run", "--rm", "--ipc", "host", "--sysctl", "kernel.shmmax=1", "busybox", "true"]);
    assert!(said.code == 125 && said.err.contains("rule launch.sysctl"), "{said:?}");
}

#[test]
fn the_hosts_name_is_read_and_not_changed() {
    let corral = Corral::new();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    let said =
        corral.say(&["run", "--rm", "--uts", "host", "busybox", "sh", "-c", "hostname; hostname evil"]);
    assert_eq!(said.out, host);
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").expect("a name"), host);
    let said = corral.say(&["run", "--rm", "--uts", "host", "-h", "other", "busybox", "true"]);
    assert!(said.code == 125 && said.err.contains("conflicting options: hostname"), "{said:?}");
}

/// The lines of /proc/self/status that tell of walls.
fn walls(corral: &Corral, flags: &[&str]) -> String {
    let text = inside(corral, flags, "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn each_wall_comes_down_by_its_name_only() {
    let corral = Corral::new();
    let (eleven, masks) = ("CapEff: 00000000800405fb", "grep -c ' /proc/' /proc/self/mounts; true");
    assert_eq!(walls(&corral, &[]), format!("{eleven} NoNewPrivs: 1 Seccomp: 2"));
    assert_ne!(inside(&corral, &[], masks), "0\n");
    let unfiltered = ["--security-opt", "seccomp=unconfined"];
    assert_eq!(walls(&corral, &unfiltered), format!("{eleven} NoNewPrivs: 1 Seccomp: 0"));
    assert_eq!(mark(&corral, &unfiltered), "seccomp=unconfined");
    let setuid = ["--security-opt", "no-new-privileges=false"];
    assert_eq!(walls(&corral, &setuid), format!("{eleven} NoNewPrivs: 0 Seccomp: 2"));
    assert_eq!(mark(&corral, &setuid), "new-privileges");
    let bare = ["--security-opt", "systempaths=unconfined"];
    assert_eq!(walls(&corral, &bare), format!("{eleven} NoNewPrivs: 1 Seccomp: 2"));
    assert_eq!(inside(&corral, &bare, masks), "0\n");
    let said = corral.say(&[
        "run",
        "--rm",
        bare[0],
        bare[1],
        "busybox",
        "sh",
        "-c",
        "echo x >/proc/sys/kernel/core_pattern",
    ]);
    assert_ne!(said.code, 0, "the ids still hold: {said:?}");
    assert_eq!(mark(&corral, &bare), "systempaths=unconfined");
    assert_eq!(
        walls(&corral, &["--security-opt", "apparmor=unconfined", "--security-opt", "label=disable"]),
        format!("{eleven} NoNewPrivs: 1 Seccomp: 2"),
        "what is not set is not taken away"
    );
    for flags in [unfiltered, setuid, bare] {
        let words =
            ["run", "--rm", "--profile", "agent", "-u", "1000", flags[0], flags[1], "busybox", "true"];
        let said = corral.say(&words);
        assert!(said.code == 125 && said.err.contains("rule agent.weaker"), "{said:?}");
    }
}

#[test]
fn privileged_is_confirmed_marked_and_still_nobody_outside() {
    let corral = Corral::new();
    let said = corral.say(&["run", "--rm", "--privileged", "busybox", "true"]);
    assert!(said.code == 125 && said.err.contains("type: --privileged --confirm-privileged;"), "{said:?}");
    let flags = ["--privileged", "--confirm-privileged"];
    assert!(walls(&corral, &flags).ends_with("NoNewPrivs: 0 Seccomp: 0"));
    assert_eq!(mark(&corral, &flags), "privileged");
    let script = "mkdir -p /m; mount -t tmpfs none /m && echo mounted; \
         echo x >/proc/sys/kernel/core_pattern; mknod /sda b 8 0 || echo none; cat /proc/self/uid_map";
    let said = corral.say(&["run", "--rm", flags[0], flags[1], "busybox", "sh", "-c", script]);
    let words: Vec<&str> = said.out.split_whitespace().collect();
    assert_eq!(words[..3], ["mounted", "none", "0"], "{said:?}");
    assert!(words[3].parse::<u32>().expect("an id") >= 0x4000_0000, "{said:?}");
    assert!(!fs::read_to_string("/proc/sys/kernel/core_pattern").expect("a pattern").starts_with('x'));
    let said = corral.say(&[
        "run",
        "--rm",
        "--profile",
        "agent",
        "-u",
        "1000",
        flags[0],
        flags[1],
        "busybox",
        "true",
    ]);
    assert!(said.code == 125 && said.err.contains("rule agent."), "{said:?}");
}

#[test]
fn the_hosts_root_wants_to_be_called_so() {
    let corral = Corral::new();
    for flags in [
        &["--privileged", "--confirm-privileged"][..],
        &["--security-opt", "seccomp=unconfined", "--cap-add", "ALL"][..],
    ] {
        let words = [&["run", "--rm", "--userns", "host"], flags, &["busybox", "true"]].concat();
        let said = corral.say(&words);
        assert!(said.code == 125 && said.err.contains("rule launch.host-root"), "{said:?}");
        assert!(said.err.contains("--confirm-privileged=host-root"), "{said:?}");
    }
    let flags = ["--userns", "host", "--privileged", "--confirm-privileged=host-root"];
    assert_eq!(mark(&corral, &flags), "userns=host,privileged,host-root");
    let map = inside(&corral, &flags, "cat /proc/self/uid_map");
    assert_eq!(map.split_whitespace().collect::<Vec<_>>()[..2], ["0", "0"], "{map}");
}

#[test]
fn what_cannot_be_shared_is_refused_with_its_reason() {
    let corral = Corral::new();
    let check = |words: &[&str], expect: &str| {
        let said = corral.say(&[&["run", "--rm"], words, &["busybox", "true"]].concat());
        assert!(said.code == 125 && said.err.contains(expect), "{words:?}: {said:?}");
    };
    check(&["--pid", "container:web"], "shares its user namespace too");
    check(&["--ipc", "container:web"], "shares its user namespace too");
    check(&["--ipc", "shareable"], "leave the flag out");
    check(&["--uts", "mine"], "invalid mode \"mine\" (private, host)");
    check(&["--security-opt", "apparmor=mine"], "apparmor is not set by corral");
    check(&["--confirm-privileged=yes"], "no value but host-root");
}
