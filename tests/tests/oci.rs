//! `corral oci`: its life and its errors; and its clients, each the real one. What holds inside a container, clause by
//! clause: oci_clauses.rs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corral_tests::bundle::{World, is_root, push};
use corral_tests::{Said, binary, eventually};
use serde_json::{Value, json};

/// Change, and what the error names.
type Refusal = (fn(&mut Value), &'static str);

#[test]
fn what_makes_no_sense_or_is_not_supported_is_refused_by_name() {
    if !is_root("what_makes_no_sense_or_is_not_supported_is_refused_by_name") {
        return;
    }
    let world = World::new();
    let rows: &[Refusal] = &[
        (|c| c["ociVersion"] = json!("2.0.0"), "ociVersion"),
        (|c| c["process"]["cwd"] = json!("tmp"), "process.cwd"),
        (|c| c["process"]["args"] = json!([]), "process.args"),
        (|c| c["process"]["args"] = json!(["nonesuch"]), "executable file not found in $PATH"),
        (|c| c["process"]["apparmorProfile"] = json!("x"), "apparmor"),
        (|c| push(c, "/linux/namespaces", json!({"type": "pid"})), "duplicated ns"),
        (|c| c["linux"]["sysctl"] = json!({"kernel.panic": "1"}), "not in a separate kernel namespace"),
        (|c| c["linux"]["intelRdt"] = json!({}), "linux.intelRdt"),
        (
            |c| push(c, "/mounts", json!({"destination": "/x", "type": "tmpfs", "options": ["remount"]})),
            "remount",
        ),
        (|c| push(c, "/mounts", json!({"destination": "/x/../y", "type": "tmpfs"})), ".."),
        (|c| c["linux"]["resources"]["memory"] = json!({"limit": 9_000_000, "swap": 1}), "memory.swap"),
        (|c| c["linux"]["cgroupsPath"] = json!("/../x"), "cgroupsPath"),
        (
            |c| c["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]}),
            "createRuntime hook /bin/false",
        ),
        (
            |c| {
                c["hooks"] =
                    json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "9"], "timeout": 1}]});
            },
            "took longer than 1s",
        ),
        (|c| c["hooks"] = json!({"poststart": [{"path": "true"}]}), "must be absolute"),
    ];
    for (change, expect) in rows {
        world.configure("true", change);
        let said = world.say(&["run", "bad"]);
        assert!(said.code != 0 && said.err.contains(expect), "{expect}: {} {}", said.code, said.err);
        assert_eq!(world.say(&["list", "-q"]).out, "", "{expect}");
    }
    let clash = world.command(&["--systemd-cgroup", "create", "x"]).output().unwrap();
    assert!(String::from_utf8_lossy(&clash.stderr).contains("--systemd-cgroup is not supported"));
}

#[test]
fn kill_and_delete_in_every_state() {
    if !is_root("kill_and_delete_in_every_state") {
        return;
    }
    let world = World::new();
    let refused = |words: &[&str], expect: &str| {
        let said = world.say(words);
        assert!(said.code == 1 && said.err.contains(expect), "{words:?}: {} {}", said.code, said.err);
    };
    for words in [["state", "c"], ["start", "c"], ["kill", "c"], ["delete", "c"], ["pause", "c"]] {
        refused(&words, "does not exist");
    }
    assert_eq!(world.say(&["delete", "--force", "c"]).code, 0);
    world.configure("trap 'exit 3' TERM; while true; do sleep 0.05; done", |_| {});
    let pid_file = world.dir().join("pid");
    let create = ["create", "c", "--bundle", ".", "--pid-file", pid_file.to_str().unwrap()];
    let said = world.quietly(&create);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(world.status("c"), "created");
    refused(&["delete", "c"], "not stopped: created");
    let pid = fs::read_to_string(&pid_file).unwrap();
    assert!(world.say(&["state", "c"]).out.contains(&format!("\"pid\": {pid}")));
    refused(&["create", "c"], "already exists");
    assert_eq!(world.say(&["kill", "c", "TERM"]).code, 0);
    eventually("a created container ends", || world.status("c") == "stopped");
    refused(&["kill", "c"], "container not running");
    refused(&["start", "c"], "has stopped");
    assert_eq!(world.say(&["delete", "c"]).code, 0);

    assert_eq!(world.quietly(&create).code, 0);
    assert_eq!(world.say(&["start", "c"]).code, 0);
    assert_eq!(world.status("c"), "running");
    refused(&["start", "c"], "already running");
    refused(&["delete", "c"], "not stopped: running");
    assert_eq!(world.say(&["exec", "c", "sh", "-c", "exit 9"]).code, 9);
    assert_eq!(
        world.say(&["exec", "-e", "A=1", "--cwd", "/tmp", "c", "sh", "-c", "echo $A; pwd"]).out,
        "1\n/tmp\n"
    );
    assert_eq!(world.say(&["pause", "c"]).code, 0);
    assert_eq!(world.status("c"), "paused");
    let said = world.say(&["exec", "c", "true"]);
    assert!(said.code == 255 && said.err.contains("paused"), "{} {}", said.code, said.err);
    assert_eq!(world.say(&["resume", "c"]).code, 0);
    refused(&["resume", "c"], "not paused");
    assert_eq!(world.say(&["kill", "c", "15"]).code, 0);
    eventually("it ends", || world.status("c") == "stopped");
    assert_eq!(world.say(&["exec", "c", "true"]).code, 255, "runc's code for what the runtime could not");
    assert_eq!(world.say(&["delete", "c"]).code, 0);

    assert_eq!(world.quietly(&["run", "-d", "c"]).code, 0);
    assert_eq!(world.say(&["pause", "c"]).code, 0);
    assert_eq!(world.say(&["delete", "-f", "c"]).code, 0);
    refused(&["state", "c"], "does not exist");
}

#[test]
fn a_container_without_a_process_is_created_and_not_started() {
    if !is_root("a_container_without_a_process_is_created_and_not_started") {
        return;
    }
    let world = World::new();
    world.configure("", |config| drop(config.as_object_mut().unwrap().remove("process")));
    let said = world.quietly(&["create", "c"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let said = world.say(&["start", "c"]);
    assert!(said.code == 1 && said.err.contains("no process"), "{}", said.err);
    assert_eq!(world.status("c"), "created");
    assert_eq!(world.say(&["delete", "--force", "c"]).code, 0);
}

#[test]
fn a_mount_namespace_that_is_not_its_own_is_left_as_it_was() {
    if !is_root("a_mount_namespace_that_is_not_its_own_is_left_as_it_was") {
        return;
    }
    let world = World::new();
    let mut other = Command::new("unshare").args(["--mount", "sleep", "60"]).spawn().unwrap();
    let path = format!("/proc/{}/ns/mnt", other.id());
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    eventually("it has a mount namespace", || fs::read_link(&path).is_ok_and(|found| found != own));
    let mounts = |pid: &str| fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    for (namespace, pid) in
        [(None, "self".to_owned()), (Some(json!({"type": "mount", "path": path})), other.id().to_string())]
    {
        let before = mounts(&pid);
        world.configure("cat /proc/self/mountinfo >/tmp/seen; sleep 60", |config| {
            let list = config["linux"]["namespaces"].as_array_mut().unwrap();
            list.retain(|kind| kind["type"] != "mount");
            list.extend(namespace.clone());
            config["root"]["readonly"] = json!(false);
        });
        let said = world.quietly(&["run", "-d", "m"]);
        assert_eq!(said.code, 0, "{}", said.err);
        let seen = world.rootfs().join("tmp/seen");
        eventually("it looks", || fs::read_to_string(&seen).is_ok_and(|text| text.contains(" /dev/pts ")));
        let held = world.dir().join("state/m/root/proc").display().to_string();
        assert!(mounts(&pid).contains(&held), "in the namespace that was named");
        assert_eq!(world.say(&["exec", "m", "sh", "-c", "ls /tmp; ls -d /usr /var"]).out, "seen\n");
        assert_eq!(world.say(&["delete", "-f", "m"]).code, 0);
        assert_eq!(mounts(&pid), before);
        assert!(world.rootfs().join("bin/busybox").exists());
        fs::remove_file(seen).unwrap();
    }
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn without_a_pivot_no_kernel_files_of_the_host_are_left_behind() {
    if !is_root("without_a_pivot_no_kernel_files_of_the_host_are_left_behind") {
        return;
    }
    let world = World::new();
    std::os::unix::fs::symlink("busybox", world.rootfs().join("bin/unshare")).unwrap();
    // A user namespace may mount proc only where one is seen whole; the container's own is masked.
    let script = "cat /proc/1/comm; unshare -mrpf mount -t proc none /proc && echo bare";
    for flags in [&["run", "--no-pivot", "n"][..], &["run", "n"]] {
        world.configure(script, |config| {
            let all = json!(["CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_SETFCAP"]);
            config["process"]["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
        });
        let said = world.say(flags);
        assert_eq!((said.code, said.out.as_str()), (1, "sh\n"), "{flags:?} {}", said.err);
    }
    assert!(fs::read_dir("/proc/self").is_ok() && fs::read_dir("/sys/class").is_ok());
}

/// `ip` in a network namespace of the test's own, in which `corral oci` is then run too.
fn ip(words: &str) -> String {
    format!("ip {words} || exit 99; ")
}

#[test]
fn network_devices_move_with_their_addresses() {
    let test = "network_devices_move_with_their_addresses";
    if !is_root(test) {
        return;
    }
    if Command::new("ip").arg("-V").output().is_err() {
        println!("SKIP: oci::{test}: ip(8) is not installed");
        return;
    }
    let world = World::new();
    std::os::unix::fs::symlink("busybox", world.rootfs().join("bin/ip")).unwrap();
    let set_up = [
        "link add va type veth peer name vb",
        "link set va mtu 1400",
        "addr add 192.0.2.7/24 dev va",
        "addr add 2001:db8::7/64 dev va nodad",
        "link set va up",
    ]
    .map(ip)
    .concat();
    let run = |devices: Value| {
        world.configure("ip addr show dev eth7; ip link show dev lo >/dev/null", |config| {
            config["linux"]["netDevices"] = devices.clone();
        });
        let script =
            format!("{set_up} \"$0\" oci --root state run net; echo code $?; ip -o link show va | wc -l");
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", &script]).arg(binary()).current_dir(world.dir());
        Said::from(command.output().unwrap())
    };
    let said = run(json!({"va": {"name": "eth7"}}));
    if said.err.contains("RTNETLINK answers: Operation not supported") {
        println!("SKIP: network_devices_move_with_their_addresses: this kernel has no veth");
        return;
    }
    for part in ["mtu 1400", "inet 192.0.2.7/24", "inet6 2001:db8::7/64", "UP", "code 0\n0\n"] {
        assert!(said.out.contains(part), "{part}: {} {}", said.out, said.err);
    }
    for (devices, expect) in [
        (json!({"none": {}}), "No such device"),
        (json!({"va": {"name": "lo"}}), "File exists"),
        (json!({"va": {"name": "a/b"}}), "no name of a device"),
        (json!({"va": {"name": "x"}, "vb": {"name": "x"}}), "two devices"),
    ] {
        let said = run(devices);
        assert!(said.err.contains(expect) && said.out.ends_with("code 1\n1\n"), "{} {}", said.out, said.err);
    }
}

#[test]
fn each_process_under_a_listener_hands_over_its_own() {
    use std::io::Read;
    if !is_root("each_process_under_a_listener_hands_over_its_own") {
        return;
    }
    let world = World::new();
    let path = world.dir().join("listener");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    world.configure("sleep 60", |config| {
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
            "listenerMetadata": "mine", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]});
        config["root"]["readonly"] = json!(false);
    });
    let heard = std::thread::spawn(move || {
        [(); 2].map(|()| {
            let mut text = String::new();
            // The descriptor is dropped: nobody listens, and what was asked about gets ENOSYS.
            socket.accept().unwrap().0.read_to_string(&mut text).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()
        })
    });
    let said = world.quietly(&["run", "-d", "n"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let said = world.say(&["exec", "n", "mkdir", "/tmp/x"]);
    assert!(said.code == 1 && said.err.contains("Function not implemented"), "{} {}", said.code, said.err);
    let [first, second] = heard.join().unwrap();
    for state in [&first, &second] {
        assert_eq!((&state["fds"], &state["metadata"]), (&json!(["seccompFd"]), &json!("mine")));
        assert_eq!(state["state"]["pid"], first["pid"]);
    }
    assert_ne!(first["pid"], second["pid"]);
    assert_eq!(second["state"]["status"], "running");
}

/// A program that makes the i386 call `number` and exits with what it got, its sign turned.
fn i386_call(number: u8) -> Vec<u8> {
    const CODE_AT: u64 = 0x40_0000 + 120;
    // mov eax, N; int 0x80; neg eax; mov edi, eax; mov eax, 60; syscall
    let code = [0xb8, number, 0, 0, 0, 0xcd, 0x80, 0xf7, 0xd8, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [CODE_AT, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x05\0\0\0");
    let length = 120 + code.len() as u64;
    for word in [0, 0x40_0000, 0x40_0000, length, length, 4096] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

#[test]
fn calls_of_32_bit_programs_are_judged_if_the_profile_lists_them() {
    use std::os::unix::fs::PermissionsExt;
    let test = "calls_of_32_bit_programs_are_judged_if_the_profile_lists_them";
    if !is_root(test) {
        return;
    }
    if !cfg!(target_arch = "x86_64") {
        println!("SKIP: oci::{test}: needs an x86-64 processor");
        return;
    }
    let world = World::new();
    // getuid and getgid, numbers 24 and 47 there.
    for (name, number) in [("uid", 24), ("gid", 47)] {
        let path = world.rootfs().join("bin").join(name);
        fs::write(&path, i386_call(number)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let run = |architectures: Value| {
        world.configure("uid; echo $?; gid; echo $?", |config| {
            config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures,
                "syscalls": [{"names": ["getuid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]});
        });
        world.say(&["run", "i"]).out
    };
    assert_eq!(run(json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"])), "28\n0\n");
    assert_eq!(run(json!(["SCMP_ARCH_X86_64"])), "159\n159\n", "an ABI that is not listed ends by SIGSYS");
}

#[test]
fn hooks_run_in_the_order_of_the_specification() {
    if !is_root("hooks_run_in_the_order_of_the_specification") {
        return;
    }
    let world = World::new();
    let seen = world.dir().join("seen");
    let points = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    world.configure("true", |config| {
        for point in points {
            let script = format!("echo {point} $(grep -o '\"status\":\"[a-z]*' | cut -d'\"' -f4) >>{}", seen.display());
            let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], "timeout": 20});
            config["hooks"][point] = json!([hook]);
        }
        config["root"]["readonly"] = json!(false);
        let script = "echo inside >/tmp/hook";
        config["hooks"]["startContainer"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    });
    let said = world.say(&["run", "h"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let expect = "prestart created\ncreateRuntime created\ncreateContainer created\npoststart running\npoststop stopped\n";
    assert_eq!(fs::read_to_string(seen).unwrap(), expect);
    assert_eq!(fs::read_to_string(world.rootfs().join("tmp/hook")).unwrap(), "inside\n");
}

#[test]
fn descriptors_are_kept_as_asked() {
    if !is_root("descriptors_are_kept_as_asked") {
        return;
    }
    let world = World::new();
    fs::write(world.dir().join("note"), "kept\n").unwrap();
    world.configure("cat <&3; ls /proc/self/fd | grep -c '^[4-9]'", |_| {});
    let script = "exec \"$0\" oci --root state run p --preserve-fds 1 3<note 7</dev/null";
    let said =
        Command::new("sh").args(["-c", script]).arg(binary()).current_dir(world.dir()).output().unwrap();
    let said = Said::from(said);
    // ls itself has the directory open.
    assert_eq!(said.out, "kept\n1\n", "{}", said.err);
    let said = world.say(&["run", "--preserve-fds", "5", "p"]);
    assert!(said.code == 1 && said.err.contains("is not open"), "{}", said.err);
}

/// Labels of a module that the kernel does not run are refused, unless that is said to be all right.
#[test]
fn labels_of_no_module_are_dropped_only_when_asked() {
    if !is_root("labels_of_no_module_are_dropped_only_when_asked") {
        return;
    }
    if Path::new("/sys/fs/selinux/enforce").exists() {
        println!("SKIP: labels_of_no_module_are_dropped_only_when_asked: this kernel enforces SELinux");
        return;
    }
    let world = World::new();
    world.configure("echo ran", |config| {
        config["linux"]["mountLabel"] = "system_u:object_r:container_file_t:s0".into();
        config["process"]["selinuxLabel"] = "system_u:system_r:container_t:s0".into();
    });
    let said = world.say(&["run", "l1"]);
    assert!(said.code == 1 && said.err.contains("SELinux"), "{said:?}");
    let said = world.say(&["--ignore-labels", "run", "l2"]);
    assert_eq!((said.code, said.out.as_str()), (0, "ran\n"), "{said:?}");
}

/// B13, CVE-2019-5736: what makes a container is the program that it sees until its own begins.
#[test]
fn the_program_that_makes_a_container_cannot_be_written_to_from_inside() {
    if !is_root("the_program_that_makes_a_container_cannot_be_written_to_from_inside") {
        return;
    }
    let world = World::new();
    world.configure("sleep 1000", |_| {});
    assert_eq!(world.quietly(&["create", "--bundle", world.dir().to_str().expect("text"), "c1"]).code, 0);
    let state: Value = serde_json::from_str(&world.say(&["state", "c1"]).out).expect("state");
    let program = format!("/proc/{}/exe", state["pid"]);
    let length = |path: &Path| fs::metadata(path).expect("program").len();
    assert_eq!(length(program.as_ref()), length(&binary()), "it is still the one that made it");
    // As the attack does: kept until it runs no more, since a running program is busy.
    use rustix::fs::{Mode, OFlags, open};
    let kept = open(&program, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("program");
    world.say(&["delete", "--force", "c1"]);
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&kept));
    corral_tests::eventually("writing is refused", || {
        let refused = open(&again, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).expect_err("written to");
        // Other tests run it too.
        assert!([rustix::io::Errno::ROFS, rustix::io::Errno::TXTBSY].contains(&refused), "{refused}");
        refused == rustix::io::Errno::ROFS
    });
}

#[test]
fn a_create_that_is_killed_leaves_nothing_that_delete_cannot_collect() {
    if !is_root("a_create_that_is_killed_leaves_nothing_that_delete_cannot_collect") {
        return;
    }
    let world = World::new();
    let name = format!("corral-oci-killed-{}", std::process::id());
    world.configure("true", |config| {
        config["linux"]["cgroupsPath"] = json!(format!("/{name}"));
        let hook = json!({"path": "/bin/sleep", "args": ["sleep", "1"]});
        config["hooks"]["createRuntime"] = json!([hook]);
    });
    let mut create = world.command(&["create", "k"]).stderr(Stdio::null()).spawn().unwrap();
    let processes = || world.say(&["ps", "-f", "json", "k"]).out;
    eventually("it is being created", || {
        world.say(&["state", "k"]).out.contains("creating")
            && processes().contains(|c: char| c.is_ascii_digit())
    });
    create.kill().unwrap();
    create.wait().unwrap();
    eventually("its process has ended", || processes() == "[]\n");
    assert_eq!(world.status("k"), "stopped");
    assert_eq!(world.say(&["delete", "k"]).code, 0);
    assert_eq!(world.say(&["list", "-q"]).out, "");
    let found = Command::new("find").args(["/sys/fs/cgroup", "-name", &name]).output().unwrap();
    assert_eq!(Said::from(found).out, "");
}

#[test]
fn limits_are_in_the_groups_that_the_path_names() {
    if !is_root("limits_are_in_the_groups_that_the_path_names") {
        return;
    }
    let world = World::new();
    let name = format!("corral-oci-{}", std::process::id());
    world.configure("sleep 60", |config| {
        config["linux"]["cgroupsPath"] = json!(format!("/{name}"));
        config["linux"]["resources"] = json!({"pids": {"limit": 33}});
    });
    let said = world.quietly(&["run", "-d", "l"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let homes = ["/sys/fs/cgroup", "/sys/fs/cgroup/pids"];
    let file =
        homes.iter().map(|home| Path::new(home).join(&name).join("pids.max")).find(|path| path.exists());
    let file = file.expect("a pids controller");
    assert_eq!(fs::read_to_string(&file).unwrap(), "33\n");
    assert_eq!(world.say(&["update", "l", "--pids-limit", "44"]).code, 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "44\n");
    assert!(world.say(&["events", "--stats", "l"]).out.contains("\"type\":\"stats\""));
    assert_eq!(world.say(&["delete", "-f", "l"]).code, 0);
    assert!(!file.exists());
}

/// A link to the binary under the name by which clients call it.
fn as_runc(world: &World) -> PathBuf {
    let link = world.dir().join("runc");
    std::os::unix::fs::symlink(binary(), &link).unwrap();
    link
}

fn has(test: &str, program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|said| said.status.success());
    if !found {
        println!("SKIP: oci::{test}: {program} is not installed");
    }
    found
}

/// A daemon that ends with the test.
struct Daemon(std::process::Child);

impl Daemon {
    fn start(command: &mut Command, log: &Path, socket: &Path) -> Self {
        let log = fs::File::create(log).unwrap();
        let child =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let daemon = Self(child);
        eventually("the daemon listens", || socket.exists());
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        drop(self.0.wait());
    }
}

#[test]
fn containerd_runs_a_container_on_it() {
    let test = "containerd_runs_a_container_on_it";
    if !is_root(test) || !has(test, "containerd") {
        return;
    }
    let world = World::new();
    let (runc, socket, config) = (as_runc(&world), world.dir().join("c.sock"), world.dir().join("c.toml"));
    let text = format!(
        "version = 2\nroot = \"{0}/croot\"\nstate = \"{0}/cstate\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = \"{0}/c.sock\"\n",
        world.dir().display()
    );
    fs::write(&config, text).unwrap();
    let _daemon =
        Daemon::start(Command::new("containerd").arg("-c").arg(&config), &world.dir().join("log"), &socket);
    let mut ctr = Command::new("ctr");
    ctr.arg("-a").arg(&socket).args(["run", "--rm", "--runtime", "io.containerd.runc.v2", "--runc-binary"]);
    ctr.arg(runc).arg("--rootfs").arg(world.rootfs()).args(["one", "sh", "-c", "echo hello; exit 7"]);
    let said = Said::from(ctr.output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (7, "hello\n"), "{}", said.err);
}

#[test]
fn docker_runs_a_container_on_it() {
    let test = "docker_runs_a_container_on_it";
    if !is_root(test) || !has(test, "dockerd") || !has(test, "docker") {
        return;
    }
    let world = World::new();
    let dir = world.dir().display().to_string();
    let (socket, text) = (world.dir().join("d.sock"), format!("unix://{dir}/d.sock"));
    let mut dockerd = Command::new("dockerd");
    dockerd.args(["--storage-driver", "vfs", "--bridge", "none", "--iptables=false", "-H", &text]);
    dockerd.args(["--data-root", &format!("{dir}/data"), "--exec-root", &format!("{dir}/exec")]);
    dockerd.args(["--pidfile", &format!("{dir}/d.pid"), "--add-runtime"]);
    dockerd.arg(format!("corral={}", as_runc(&world).display()));
    let _daemon = Daemon::start(&mut dockerd, &world.dir().join("log"), &socket);
    let docker =
        |words: &[&str]| Said::from(Command::new("docker").args(["-H", &text]).args(words).output().unwrap());
    eventually("the daemon answers", || docker(&["version"]).code == 0);
    let tar = world.dir().join("image.tar");
    let packed =
        Command::new("tar").arg("-C").arg(world.rootfs()).arg("-cf").arg(&tar).arg(".").status().unwrap();
    assert!(packed.success());
    let said = docker(&["import", tar.to_str().unwrap(), "box"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let run = ["run", "--rm", "--runtime", "corral", "--network", "none", "box"];
    let said = docker(&[&run[..], &["sh", "-c", "echo hello; exit 7"]].concat());
    assert_eq!((said.code, said.out.as_str()), (7, "hello\n"), "{}", said.err);
    let said = docker(&[&run[..], &["nonesuch"]].concat());
    assert_eq!(said.code, 127, "{}", said.err);
}

#[test]
fn podman_runs_a_container_on_it() {
    let test = "podman_runs_a_container_on_it";
    if !is_root(test) || !has(test, "podman") || !has(test, "conmon") {
        return;
    }
    let world = World::new();
    let mut podman = Command::new("podman");
    podman.arg("--root").arg(world.dir().join("p")).arg("--runroot").arg(world.dir().join("r"));
    podman.args(["--cgroup-manager", "cgroupfs", "--runtime"]).arg(as_runc(&world));
    // Its own default of open files is above what some hosts allow.
    podman.args([
        "run",
        "--rm",
        "-t",
        "--network",
        "none",
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1024:1024",
    ]);
    // The terminal comes back over a console socket.
    podman.arg("--rootfs").arg(world.rootfs()).args(["sh", "-c", "test -t 1 && echo hello; exit 7"]);
    let said = Said::from(podman.output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (7, "hello\r\n"), "{}", said.err);
}
