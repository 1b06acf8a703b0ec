//! Killed at any moment: what is left, and whether the next command collects it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use corral_tests::{Corral, Said, eventually};

fn kill(pid: i64) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process number");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
}

fn alive(pid: i64) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Dead, whether or not somebody has waited for it.
fn has_ended(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|state| state.is_empty() || state.starts_with(['Z', 'X']))
}

fn count(dir: PathBuf) -> usize {
    std::fs::read_dir(dir).map_or(0, Iterator::count)
}

fn monitor(corral: &Corral, id: &str) -> i64 {
    let text = std::fs::read_to_string(corral.run_root().join("containers").join(id).join("status.json"));
    let status: serde_json::Value = serde_json::from_str(&text.expect("status")).expect("JSON");
    status["monitor"]["pid"].as_i64().expect("pid")
}

fn left(corral: &Corral) -> Vec<(std::path::PathBuf, usize)> {
    let roots = [corral.root(), corral.run_root()];
    let dirs = roots.iter().flat_map(|root| ["containers", "ids", "names"].map(|dir| root.join(dir)));
    dirs.map(|dir| (dir.clone(), count(dir))).filter(|(_, count)| *count > 0).collect()
}

fn nothing_is_left(corral: &Corral) {
    assert_eq!(left(corral), [], "left behind");
}

fn groups(id: &str) -> usize {
    let name = format!("corral-{}", &id[..12]);
    let found =
        Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", &name]).output().expect("find");
    String::from_utf8_lossy(&found.stdout).lines().count()
}

#[test]
fn a_killed_monitor_takes_its_container_with_it() {
    let corral = Corral::new();
    let id = corral.ok(&["run", "-d", "--name", "kept", "busybox", "sleep", "1000"]);
    let id = id.trim();
    let init = corral.inspect(id)["State"]["Pid"].as_i64().expect("pid");
    kill(monitor(&corral, id));
    eventually("the container is dead", || !alive(init));
    let state = corral.inspect("kept")["State"]["Status"].clone();
    assert!(state == "dead" || state == "exited", "{state}");
    corral.ok(&["ps"]);
    let state = corral.inspect("kept")["State"].clone();
    assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &137.into()));
    assert_eq!(groups(id), 0, "the next command removed its control groups");
    corral.ok(&["start", "kept"]);
    assert_eq!(corral.inspect("kept")["State"]["Status"], "running");
    corral.ok(&["rm", "-f", "kept"]);
    nothing_is_left(&corral);
}

#[test]
fn a_killed_monitor_of_a_rm_container_leaves_nothing_after_the_next_command() {
    let corral = Corral::new();
    let id = corral.ok(&["run", "-d", "--rm", "busybox", "sleep", "1000"]);
    let init = corral.inspect(id.trim())["State"]["Pid"].as_i64().expect("pid");
    kill(monitor(&corral, id.trim()));
    eventually("the container is dead", || !alive(init));
    corral.ok(&["ps"]);
    nothing_is_left(&corral);
    assert_eq!(groups(id.trim()), 0);
}

#[test]
fn a_killed_client_leaves_a_container_that_ends_by_itself() {
    let corral = Corral::new();
    let mut client = corral.spawn(&["run", "--name", "orphan", "busybox", "sh", "-c", "sleep 0.5; exit 3"]);
    eventually("it runs", || corral.say(&["inspect", "orphan"]).out.contains("\"running\""));
    client.kill().expect("kill");
    client.wait().expect("reaped");
    assert_eq!(corral.ok(&["wait", "orphan"]).trim(), "3");
    corral.ok(&["rm", "orphan"]);
    nothing_is_left(&corral);
}

#[test]
fn a_killed_run_rm_takes_its_container_with_it() {
    let corral = Corral::new();
    let mut command = corral.spawn(&["run", "--rm", "--name", "tied", "busybox", "sleep", "1000"]);
    eventually("it runs", || corral.say(&["inspect", "tied"]).out.contains("\"running\""));
    let state = corral.inspect("tied");
    let (id, init) = (state["Id"].as_str().expect("id"), state["State"]["Pid"].as_i64().expect("pid"));
    command.kill().expect("kill");
    command.wait().expect("reaped");
    eventually("the container is dead", || !alive(init));
    corral.ok(&["ps"]);
    nothing_is_left(&corral);
    assert_eq!(groups(id), 0);
}

#[test]
fn a_run_rm_whose_reader_leaves_ends_its_container() {
    let corral = Corral::new();
    let words = ["run", "--rm", "busybox", "sh", "-c", "while :; do echo y; done"];
    let mut command = corral.command(&words).stdout(Stdio::piped()).spawn().expect("corral runs");
    drop(command.stdout.take());
    let status = command.wait().expect("reaped");
    assert_eq!(status.code(), Some(128 + 13), "as a program that SIGPIPE ends");
    nothing_is_left(&corral);
}

#[test]
fn a_run_rm_answers_other_commands_as_any_container_does() {
    let corral = Corral::new();
    let mut command = corral.spawn(&[
        "run",
        "--rm",
        "--name",
        "busy",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 7' TERM; while :; do sleep 0.05; done",
    ]);
    eventually("it runs", || corral.say(&["inspect", "busy"]).out.contains("\"running\""));
    assert_eq!(corral.ok(&["exec", "busy", "echo", "in"]), "in\n");
    corral.ok(&["pause", "busy"]);
    assert_eq!(corral.inspect("busy")["State"]["Status"], "paused");
    corral.ok(&["unpause", "busy"]);
    let mut waiter = corral.command(&["wait", "busy"]).stdout(Stdio::piped()).spawn().expect("corral runs");
    eventually("somebody waits", || {
        let fd = |fd| std::fs::read_link(format!("/proc/{}/fd/{fd}", waiter.id())).unwrap_or_default();
        (3..8).any(|number| fd(number).to_string_lossy().starts_with("socket:"))
    });
    corral.ok(&["stop", "busy"]);
    assert_eq!(command.wait().expect("reaped").code(), Some(7));
    let mut code = String::new();
    std::io::Read::read_to_string(&mut waiter.stdout.take().expect("piped"), &mut code).expect("read");
    assert_eq!(code, "7\n");
    waiter.wait().expect("reaped");
    nothing_is_left(&corral);
}

#[test]
fn run_killed_at_any_moment_leaves_nothing_that_is_not_collected() {
    let corral = Corral::new();
    for round in 0..40 {
        let mut client = corral.spawn(&["run", "--rm", "busybox", "true"]);
        std::thread::sleep(Duration::from_micros(round * 400));
        // It may have ended already: then there is nothing to kill.
        drop(client.kill());
        client.wait().expect("reaped");
    }
    eventually("all are collected", || {
        corral.ok(&["ps"]);
        count(corral.run_root().join("containers")) == 0
    });
    nothing_is_left(&corral);
    assert_eq!(corral.ok(&["run", "--rm", "busybox", "echo", "fine"]), "fine\n");
}

#[test]
fn half_made_containers_of_dead_commands_are_collected() {
    let corral = Corral::new();
    let id = "ab".repeat(32);
    let dir = corral.root().join("containers").join(&id);
    std::fs::create_dir_all(dir.join("upper/deep")).expect("directory");
    std::os::unix::fs::symlink(&id, corral.root().join("ids/7")).expect("lease");
    std::os::unix::fs::symlink(&id, corral.root().join("names/ghost")).expect("lease");
    std::os::unix::fs::symlink(&id, corral.run_root().join("ids/8")).expect("lease");
    std::os::unix::fs::symlink(&id, corral.run_root().join("names/wraith")).expect("lease");
    std::fs::create_dir_all(corral.run_root().join("containers").join(&id)).expect("run directory");
    let said = corral.ok(&["system", "repair"]);
    assert!(said.starts_with("collected 1 containers"), "{said}");
    nothing_is_left(&corral);
}

#[test]
fn twenty_containers_at_once_share_nothing() {
    let corral = Corral::new();
    let children: Vec<_> = (0..20)
        .map(|number| {
            let script = format!("echo {number} > /mine; sleep 0.05; exit $(cat /mine)");
            let mut command = corral.command(&["run", "--rm", "busybox", "sh", "-c", &script]);
            (number, command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("corral runs"))
        })
        .collect();
    for (number, child) in children {
        let said = Said::from(child.wait_with_output().expect("ended"));
        assert_eq!((said.code, said.err.as_str()), (number, ""));
    }
    nothing_is_left(&corral);
}

#[test]
fn an_ended_container_is_seen_as_ended_while_it_is_collected() {
    let corral = Corral::new();
    assert_eq!(corral.say(&["run", "--name", "ended", "busybox", "sh", "-c", "exit 3"]).code, 3);
    let id = corral.inspect("ended")["Id"].as_str().expect("id").to_owned();
    let dir = corral.run_root().join("containers").join(id);
    eventually("it is collected", || !dir.exists());
    // As a collector that takes its time.
    std::fs::create_dir(&dir).expect("run directory");
    let lock = dir.join("lock");
    let mut collector =
        Command::new("flock").arg(&lock).arg("cat").stdin(Stdio::piped()).spawn().expect("flock");
    let locked =
        || !Command::new("flock").arg("-n").arg(&lock).arg("true").status().expect("flock").success();
    eventually("the lock is held", locked);
    let state = corral.inspect("ended")["State"].clone();
    drop(collector.stdin.take());
    collector.wait().expect("ended");
    assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &3.into()));
}

/// An update makes groups that the container did not have. Whenever its monitor dies, the next command finds them.
#[test]
fn a_monitor_that_dies_during_an_update_leaves_no_group() {
    let corral = Corral::new();
    for delay in [0, 1, 2, 4, 6, 10, 20] {
        let id = corral.ok(&["run", "-d", "busybox", "sleep", "1000"]);
        let id = id.trim();
        let words = ["update", "--cpus", "0.5", "--cpuset-cpus", "0", "--pids-limit", "20", id];
        let mut update = corral.spawn(&words);
        std::thread::sleep(Duration::from_millis(delay));
        let monitor = monitor(&corral, id);
        kill(monitor);
        update.wait().expect("update ends");
        // A busy machine takes its time to kill, and until its files are closed it holds the lock.
        eventually("the monitor is dead", || has_ended(monitor));
        corral.ok(&["system", "repair"]);
        assert_eq!(groups(id), 0, "after {delay} ms");
        corral.ok(&["rm", id]);
    }
    nothing_is_left(&corral);
}

#[test]
fn an_update_that_is_killed_can_be_done_again() {
    let corral = Corral::new();
    let id = corral.ok(&["run", "-d", "busybox", "sleep", "1000"]);
    let id = id.trim();
    for delay in [0, 1, 2, 4, 8] {
        let mut update = corral.spawn(&["update", "--cpus", "0.5", "--pids-limit", "20", id]);
        std::thread::sleep(Duration::from_millis(delay));
        update.kill().expect("killed");
        update.wait().expect("update ends");
    }
    corral.ok(&["update", "--cpus", "0.5", "--pids-limit", "20", id]);
    let config = &corral.inspect(id)["HostConfig"];
    assert_eq!((&config["NanoCpus"], &config["PidsLimit"]), (&500_000_000.into(), &20.into()));
    assert_eq!(corral.ok(&["exec", id, "echo", "runs"]), "runs\n", "nobody was left frozen");
}
