//! Starting, ending, and what is left.

mod support;

use corral_runtime::ControlGroup;
use corral_spec::record::Cgroup;
use support::{Bench, eventually, ran};

#[test]
fn exit_codes_are_docker_s() {
    let check = |argv: &[&str], code: i32, error: &str| {
        let mut bench = Bench::new("exit 0");
        bench.launch.process.argv = argv.iter().map(|word| (*word).to_owned()).collect();
        let ran = bench.run();
        assert_eq!(ran.code, code, "{argv:?}: {ran:?}");
        assert!(ran.err.contains(error), "{argv:?}: {ran:?}");
    };
    check(&["/bin/probe", "exit", "0"], 0, "");
    check(&["probe", "exit", "42"], 42, "");
    check(&["/bin/nothing"], 127, "No such file");
    check(&["nothing"], 127, "No such file");
    check(&["/etc/motd"], 126, "Permission denied");
    check(&["/etc"], 126, "Permission denied");
    check(&[], 125, "no program");
}

#[test]
fn a_file_that_is_no_program_is_126() {
    use std::os::unix::fs::PermissionsExt;
    let mut bench = Bench::new("exit 0");
    let text = bench.layer().join("bin/text");
    std::fs::write(&text, "not a program\n").unwrap();
    std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o755)).unwrap();
    bench.launch.process.argv = vec!["text".into()];
    let ran = bench.run();
    assert_eq!(ran.code, 126, "{ran:?}");
    assert!(ran.err.contains("Exec format error"), "{ran:?}");
}

#[test]
fn init_forwards_reaps_and_ends_as_the_program_ends() {
    for (words, code) in [("exit 7", 7), ("kill 15", 143), ("kill 9", 137)] {
        let mut bench = Bench::new(words);
        bench.launch.process.init = true;
        assert_eq!(bench.run().code, code, "{words}");
    }
    let mut bench = Bench::new("orphan -- status NSpid");
    bench.launch.process.init = true;
    assert_eq!(bench.lines(), ["left", "0 zombies", "2"]);
    let mut missing = Bench::new("exit 0");
    missing.launch.process.init = true;
    missing.launch.process.argv = vec!["nothing".into()];
    assert_eq!(missing.run().code, 127);
}

#[test]
fn init_passes_signals_on() {
    let mut bench = Bench::new("trap USR1");
    bench.launch.process.init = true;
    let (child, status) = bench.hold();
    let out = || std::fs::read_to_string(bench.dir.join("out")).unwrap();
    eventually("the program traps", || out().contains("ready"));
    let init = rustix::process::Pid::from_raw(status.init.pid).unwrap();
    rustix::process::kill_process(init, rustix::process::Signal::USR1).unwrap();
    let ended = ran(child.wait_with_output().unwrap());
    assert_eq!((ended.code, out().as_str()), (0, "ready\ngot SIGUSR1\n"));
}

#[test]
fn the_container_dies_with_its_parent() {
    let bench = Bench::new("sleep 60");
    let (mut parent, status) = bench.hold();
    parent.kill().unwrap();
    parent.wait().unwrap();
    let proc = format!("/proc/{}", status.init.pid);
    eventually("the container's end", || !std::path::Path::new(&proc).exists());
    assert!(!bench.groups_left().is_empty(), "a dead parent cannot remove them");
    let group = ControlGroup::open(status.cgroup2.as_deref(), &status.cgroup1);
    group.kill().unwrap();
    assert!(group.remove().is_empty());
    assert!(group.remove().is_empty(), "a second time is no error");
}

#[test]
fn a_container_that_is_never_started_leaves_nothing() {
    let mut bench = Bench::new("exit 0");
    bench.launch.cgroup =
        Cgroup { memory: Some(1 << 26), pids: Some(50), cpu_millis: Some(500), ..Cgroup::default() };
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(bench.act("drop", &[]).code, 0);
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
    assert_eq!(bench.groups_left(), [] as [std::path::PathBuf; 0]);
}

#[test]
fn failures_on_the_way_leave_nothing_and_name_the_cause() {
    let check = |spoil: fn(&mut Bench), expect: &str| {
        let mut bench = Bench::new("exit 0");
        spoil(&mut bench);
        let ran = bench.run();
        assert_eq!(ran.code, 125, "{ran:?}");
        assert!(ran.err.contains(expect), "expected {expect:?}: {ran:?}");
        assert!(bench.groups_left().is_empty());
    };
    check(|bench| bench.launch.root.lowers = vec!["/nowhere".into()], "/nowhere: cannot open");
    check(|bench| bench.launch.root.lowers.clear(), "no layers");
    check(|bench| bench.launch.devices.push(support::path("/etc/passwd")), "not the character device");
    check(
        |bench| bench.launch.ids = Some(corral_spec::record::IdMap { host: 0, count: 10 }),
        "cannot be mapped",
    );
    check(
        |bench| std::fs::remove_dir(bench.dir.join("writable/work")).unwrap(),
        "writable/work: cannot open",
    );
    check(
        |bench| {
            let ulimit = corral_spec::Ulimit { name: "nofile".into(), soft: 1 << 40, hard: 1 << 40 };
            bench.launch.process.ulimits.push(ulimit);
        },
        "nofile",
    );
}

#[test]
fn freeze_and_thaw() {
    let bench = Bench::new("sleep 60");
    let (mut parent, status) = bench.hold();
    let group = ControlGroup::open(status.cgroup2.as_deref(), &status.cgroup1);
    assert!(!group.frozen().unwrap());
    group.freeze().unwrap();
    assert!(group.frozen().unwrap());
    group.thaw().unwrap();
    assert!(!group.frozen().unwrap());
    group.kill().unwrap();
    assert_eq!(parent.wait().unwrap().code(), Some(137));
}

#[test]
fn a_frozen_container_can_be_killed() {
    let bench = Bench::new("sleep 60");
    let (mut parent, status) = bench.hold();
    let group = ControlGroup::open(status.cgroup2.as_deref(), &status.cgroup1);
    group.freeze().unwrap();
    group.kill().unwrap();
    assert_eq!(parent.wait().unwrap().code(), Some(137));
}
