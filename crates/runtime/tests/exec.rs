//! A second process in a running container.

mod support;

use std::fs;

use corral_runtime::ControlGroup;
use corral_spec::NetworkMode;
use corral_spec::record::{Cgroup, Process};
use support::{Bench, Ran, eventually, path, process};

fn json(process: &Process) -> String {
    serde_json::to_string(process).unwrap()
}

fn exec(bench: &Bench, process: &Process) -> Ran {
    bench.act("exec", &[&json(process)])
}

fn namespaces() -> String {
    let names = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
    names.map(|name| format!("link /proc/1/ns/{name} -- link /proc/self/ns/{name}")).join(" -- ")
}

#[test]
fn it_is_in_the_same_namespaces_and_as_confined() {
    let bench = Bench::new("sleep 60");
    let lines = exec(&bench, &process(&namespaces())).lines();
    for pair in lines.chunks(2) {
        assert_eq!(pair[0], pair[1]);
    }
    assert_eq!(lines.len(), 14);
    let mut user = process(
        "status CapPrm -- status CapBnd -- status NoNewPrivs -- status Uid -- status NSpid -- cwd -- list /proc/self/fd -- read /proc/1/environ",
    );
    user.uid = 1000;
    user.workdir = path("/etc");
    let (zero, caps) = ("0000000000000000", format!("{:016x}", 0b100_1111_1011_u32));
    let lines = exec(&bench, &user).lines();
    let expect = [zero, &caps, "1", "1000 1000 1000 1000", "2", "/etc", "[0 1 2 3]", "errno 13"];
    assert_eq!(lines, expect);
}

#[test]
fn in_the_weaker_modes_too() {
    let mut bench = Bench::new("sleep 60");
    bench.launch.network = NetworkMode::Host;
    // A process that joins has a Landlock domain of its own, and may not look into the first one's.
    let same = |lines: &[String]| lines.chunks(2).all(|pair| pair[0] == pair[1] || pair[0] == "errno 13");
    let host = fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    let lines = exec(&bench, &process(&namespaces())).lines();
    assert!(same(&lines) && lines.contains(&host), "{lines:?}");
    bench.launch.ids = None;
    let lines = exec(&bench, &process(&namespaces())).lines();
    assert!(same(&lines) && lines.contains(&host), "{lines:?}");
    // Our reaper has the monitor's memory: nobody inside looks at it, not even root.
    bench.launch.process.init = true;
    let lines = exec(&bench, &process("status NSpid -- link /proc/1/exe -- read /proc/1/environ")).lines();
    assert_eq!(lines, ["3", "errno 13", "errno 13"]);
}

#[test]
fn codes_and_refusals() {
    let bench = Bench::new("sleep 60");
    let check = |process: Process, code: i32, error: &str| {
        let ran = exec(&bench, &process);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.err.contains(error), "{ran:?}");
    };
    check(process("exit 9"), 9, "");
    check(process("kill 15"), 143, "");
    check(Process { argv: vec!["nothing".into()], ..process("") }, 127, "nothing");
    check(Process { argv: vec!["/etc/motd".into()], ..process("") }, 126, "motd");
    check(Process { workdir: path("/nowhere"), ..process("exit 0") }, 125, "/nowhere");
    for number in 3..12 {
        let workdir = path(&format!("/proc/self/fd/{number}"));
        check(Process { workdir, ..process("exit 0") }, 125, "working directory");
    }
}

#[test]
fn a_terminal() {
    let bench = Bench::new("sleep 60");
    let lines = exec(&bench, &Process { tty: true, ..process("tty -- link /proc/self/fd/1") }).lines();
    assert_eq!(lines, ["tty true", "/dev/pts/0"]);
}

#[test]
fn limits_hold_for_it_too() {
    let mut bench = Bench::new("sleep 60");
    bench.launch.cgroup = Cgroup { pids: Some(16), memory: Some(64 << 20), ..Cgroup::default() };
    let lines = exec(&bench, &process("fork 100")).lines();
    let forked: usize = lines[0].strip_suffix(" forked").unwrap().parse().unwrap();
    assert!((3..16).contains(&forked), "{lines:?}");
    assert_eq!(exec(&bench, &process("eat 200")).code, 137);
}

#[test]
fn it_dies_with_its_parent_and_not_the_container() {
    let bench = Bench::new("sleep 60");
    let (mut monitor, status) = bench.hold();
    let words = "write /etc/joined 1 -- sleep 50";
    let mut joined = bench
        .command("join")
        .args([bench.dir.join("status.json").to_str().unwrap(), &json(&process(words))])
        .spawn()
        .unwrap();
    eventually("the second process", || bench.dir.join("writable/upper/etc/joined").exists());
    joined.kill().unwrap();
    joined.wait().unwrap();
    let group = status.cgroup2.as_ref().or(status.cgroup1.first()).unwrap();
    let procs = group.join("cgroup.procs");
    eventually("its end", || fs::read_to_string(&procs).unwrap().lines().count() == 1);
    assert!(monitor.try_wait().unwrap().is_none());
    let group = ControlGroup::open(status.cgroup2.as_deref(), &status.cgroup1);
    group.freeze().unwrap();
    let file = bench.dir.join("status.json");
    let join = || bench.act("join", &[file.to_str().unwrap(), &json(&process("exit 0"))]);
    let paused = join();
    assert!(paused.code == 125 && paused.err.contains("paused"), "{paused:?}");
    group.thaw().unwrap();
    assert_eq!(join().code, 0);
    group.kill().unwrap();
    monitor.wait().unwrap();
    let gone = join();
    assert!(gone.code == 125 && gone.err.contains("not running"), "{gone:?}");
}
