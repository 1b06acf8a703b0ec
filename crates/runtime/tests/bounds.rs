//! Limits: enforced, or refused.

mod support;

use corral_spec::record::Cgroup;
use corral_spec::{NetworkMode, Ulimit};
use support::Bench;

#[test]
fn tasks_are_bounded() {
    let mut bench = Bench::new("fork 100");
    bench.launch.cgroup = Cgroup { pids: Some(20), ..Cgroup::default() };
    let lines = bench.lines();
    let forked: usize = lines[0].strip_suffix(" forked").unwrap().parse().unwrap();
    assert!((5..20).contains(&forked), "{lines:?}");
}

#[test]
fn memory_is_bounded_and_the_kill_is_told() {
    let mut bench = Bench::new("eat 200");
    bench.launch.cgroup = Cgroup { memory: Some(64 << 20), ..Cgroup::default() };
    let ran = bench.run();
    assert_eq!((ran.code, ran.err.as_str()), (137, "oom\n"), "{ran:?}");
    let mut small = Bench::new("eat 20");
    small.launch.cgroup = bench.launch.cgroup.clone();
    assert_eq!(small.lines(), [format!("ate {}", 20 << 20)]);
}

#[test]
fn every_process_of_the_container_is_in_its_groups() {
    let mut bench = Bench::new("sleep 60");
    bench.launch.cgroup =
        Cgroup { memory: Some(1 << 28), cpu_millis: Some(1500), pids: Some(64), ..Cgroup::default() };
    let (mut parent, status) = bench.hold();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", status.init.pid)).unwrap();
    let name = bench.group_name();
    // A controller is in a v1 hierarchy or else in cgroup2, whose line names none.
    let line = |wanted: &str| {
        groups
            .lines()
            .find(|line| line.split(':').nth(1).is_some_and(|list| list.split(',').any(|c| c == wanted)))
    };
    let inside = |controller: &str| {
        line(controller).or(line("")).is_some_and(|line| line.ends_with(&format!("/{name}")))
    };
    for controller in ["memory", "cpu", "pids"] {
        assert!(inside(controller), "{controller}: {groups}");
    }
    corral_runtime::ControlGroup::open(status.cgroup2.as_deref(), &status.cgroup1).kill().unwrap();
    parent.wait().unwrap();
}

#[test]
fn ulimits_are_exact() {
    let mut bench = Bench::new("read /proc/self/limits");
    bench.launch.process.ulimits.push(Ulimit { name: "nofile".into(), soft: 100, hard: 200 });
    bench.launch.process.ulimits.push(Ulimit { name: "core".into(), soft: 0, hard: 0 });
    let lines: Vec<_> =
        bench.lines().iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(lines.contains(&"Max open files 100 200 files".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"Max core file size 0 0 bytes".to_owned()), "{lines:#?}");
    bench.launch.process.ulimits = vec![Ulimit { name: "sorrow".into(), soft: 1, hard: 1 }];
    assert!(bench.run().err.contains("no resource limit named \"sorrow\""));
}

#[test]
fn no_route_out_but_loopback() {
    let bench = Bench::new("list /sys/class/net -- dial -- read /proc/net/route");
    let lines = bench.lines();
    assert!(lines[0].contains("lo") && !lines[0].contains("eth"), "{lines:?}");
    assert_eq!(lines[1], "connected");
    assert_eq!(lines.len(), 3, "a header and no route: {lines:?}");
    let mut host = Bench::new("link /proc/self/ns/net");
    host.launch.network = NetworkMode::Host;
    assert_eq!(host.lines(), [std::fs::read_link("/proc/self/ns/net").unwrap().display().to_string()]);
}
