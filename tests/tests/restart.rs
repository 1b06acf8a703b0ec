//! Restart policies: who starts again, who does not, and what a boot does.

use std::path::Path;

use corral_tests::{Corral, eventually};

fn state(corral: &Corral, name: &str) -> serde_json::Value {
    corral.inspect(name)["State"].clone()
}

fn restarts(corral: &Corral, name: &str) -> u64 {
    corral.inspect(name)["RestartCount"].as_u64().expect("a count")
}

/// What a power cut leaves: no process, and an empty run directory.
fn lose_power(corral: &Corral) {
    let runs = corral.run_root().join("containers");
    let (mut monitors, mut groups) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(&runs).expect("run directory") {
        let status = std::fs::read_to_string(entry.expect("entry").path().join("status.json"));
        let status: serde_json::Value = serde_json::from_str(&status.expect("status")).expect("JSON");
        monitors.push(status["monitor"]["pid"].as_i64().expect("pid"));
        groups.extend(status["cgroup2"].as_str().map(str::to_owned));
        let v1 = status["cgroup1"].as_array().into_iter().flatten();
        groups.extend(v1.filter_map(|group| group.as_str().map(str::to_owned)));
    }
    for monitor in &monitors {
        let pid = i32::try_from(*monitor).ok().and_then(rustix::process::Pid::from_raw).expect("pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    }
    eventually("all are dead", || {
        monitors.iter().all(|pid| !Path::new(&format!("/proc/{pid}/exe")).exists())
    });
    let gone = |group: &String| std::fs::remove_dir(group).is_ok() || !Path::new(group).exists();
    eventually("control groups are lost", || groups.iter().all(gone));
    std::fs::remove_dir_all(corral.run_root()).expect("memory is lost");
}

#[test]
fn on_failure_starts_again_as_often_as_asked() {
    let corral = Corral::new();
    let script = "echo life; exit 3";
    corral.ok(&["run", "-d", "--name", "f1", "--restart", "on-failure:2", "busybox", "sh", "-c", script]);
    assert_eq!(corral.ok(&["wait", "f1"]).trim(), "3");
    let end = state(&corral, "f1");
    assert_eq!((&end["Status"], &end["ExitCode"]), (&"exited".into(), &3.into()));
    assert_eq!(restarts(&corral, "f1"), 2);
    assert_eq!(corral.ok(&["logs", "f1"]), "life\nlife\nlife\n");
    corral.ok(&["start", "f1"]);
    assert_eq!(corral.ok(&["wait", "f1"]).trim(), "3");
    assert_eq!(restarts(&corral, "f1"), 2, "a start begins to count anew");
    let policy = corral.inspect("f1")["HostConfig"]["RestartPolicy"].clone();
    assert_eq!(policy, serde_json::json!({ "Name": "on-failure", "MaximumRetryCount": 2 }));
    // Success ends it.
    corral.ok(&["run", "-d", "--name", "s1", "--restart", "on-failure", "busybox", "true"]);
    assert_eq!(corral.ok(&["wait", "s1"]).trim(), "0");
    assert_eq!(restarts(&corral, "s1"), 0);
}

#[test]
fn a_container_that_fails_at_once_waits_longer_each_time_and_can_be_stopped_meanwhile() {
    let corral = Corral::new();
    corral.ok(&["run", "-d", "--name", "r1", "--restart", "always", "busybox", "false"]);
    // Then a wait is long enough to look around in it.
    eventually("it was started five times again", || restarts(&corral, "r1") >= 5);
    eventually("it waits", || state(&corral, "r1")["Status"] == "restarting");
    let seen = state(&corral, "r1");
    assert_eq!(
        (&seen["Restarting"], &seen["Running"], &seen["ExitCode"]),
        (&true.into(), &true.into(), &1.into())
    );
    assert!(corral.ok(&["ps"]).contains("Restarting (1) "));
    let said = corral.say(&["rm", "r1"]);
    assert!(said.code == 1 && said.err.contains("restarting"), "{said:?}");
    let said = corral.say(&["exec", "r1", "true"]);
    assert!(said.code != 0, "{said:?}");
    let began = std::time::Instant::now();
    corral.ok(&["stop", "r1"]);
    assert!(began.elapsed().as_secs() < 5, "a stop does not wait for the next life");
    let end = state(&corral, "r1");
    assert_eq!((&end["Status"], &end["ExitCode"]), (&"exited".into(), &1.into()));
    let count = restarts(&corral, "r1");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!((restarts(&corral, "r1"), &state(&corral, "r1")["Status"]), (count, &"exited".into()));
    corral.ok(&["rm", "r1"]);
}

#[test]
fn who_stops_or_kills_it_is_obeyed_and_who_only_signals_is_not() {
    let corral = Corral::new();
    for verb in [&["stop", "-t", "0"][..], &["kill"]] {
        corral.ok(&["run", "-d", "--name", "k1", "--restart", "always", "busybox", "sleep", "1000"]);
        corral.ok(&[verb, &["k1"]].concat());
        eventually("it has ended", || state(&corral, "k1")["Status"] == "exited");
        std::thread::sleep(std::time::Duration::from_millis(400));
        assert_eq!(state(&corral, "k1")["Status"], "exited", "{verb:?}");
        assert_eq!(restarts(&corral, "k1"), 0, "{verb:?}: it was not even begun again");
        corral.ok(&["start", "k1"]);
        corral.ok(&["exec", "k1", "true"]);
        corral.ok(&["rm", "-f", "k1"]);
    }
    let script = "trap 'exit 1' USR1; echo ready; while :; do sleep 0.05; done";
    corral.ok(&["run", "-d", "--name", "k1", "--restart", "always", "busybox", "sh", "-c", script]);
    // Before that the signal would be ignored, as every process 1 ignores what it has no handler for.
    eventually("it listens", || corral.ok(&["logs", "k1"]).contains("ready"));
    corral.ok(&["kill", "-s", "USR1", "k1"]);
    eventually("a signal is no stop", || {
        restarts(&corral, "k1") == 1 && state(&corral, "k1")["Status"] == "running"
    });
    corral.ok(&["rm", "-f", "k1"]);
    assert_eq!(corral.ok(&["ps", "-aq"]), "");
}

#[test]
fn update_changes_the_policy_of_a_running_container() {
    let corral = Corral::new();
    let script = "trap 'exit 4' USR1; echo ready; while :; do sleep 0.05; done";
    corral.ok(&["run", "-d", "--name", "u1", "busybox", "sh", "-c", script]);
    corral.ok(&["update", "--restart", "on-failure:1", "u1"]);
    let lives = || corral.ok(&["logs", "u1"]).matches("ready").count();
    eventually("it listens", || lives() == 1);
    corral.ok(&["kill", "-s", "USR1", "u1"]);
    eventually("it runs again", || {
        restarts(&corral, "u1") == 1 && state(&corral, "u1")["Status"] == "running"
    });
    corral.ok(&["update", "--restart", "no", "u1"]);
    eventually("it listens again", || lives() == 2);
    corral.ok(&["kill", "-s", "USR1", "u1"]);
    assert_eq!(corral.ok(&["wait", "u1"]).trim(), "4");
}

#[test]
fn a_boot_starts_what_the_policy_says() {
    let corral = Corral::new();
    let run = |name: &str, policy: &str| {
        let script = "trap exit TERM; while :; do sleep 0.05; done";
        corral.ok(&["run", "-d", "--name", name, "--restart", policy, "busybox", "sh", "-c", script]);
    };
    run("always", "always");
    run("always-stopped", "always");
    run("unless", "unless-stopped");
    run("unless-stopped", "unless-stopped");
    run("failure", "on-failure");
    run("never", "no");
    corral.ok(&["stop", "-t", "0", "always-stopped", "unless-stopped"]);
    lose_power(&corral);
    let mut started: Vec<String> = corral.ok(&["system", "boot"]).lines().map(str::to_owned).collect();
    started.sort();
    assert_eq!(started, ["always", "always-stopped", "failure", "unless"]);
    corral.ok(&["ps"]);
    assert_eq!(state(&corral, "never")["Status"], "exited");
    // A polite end of the host.
    corral.ok(&["stop", "-t", "0", "unless"]);
    let halted = corral.ok(&["system", "halt"]);
    assert_eq!(halted.lines().count(), 3, "{halted}");
    let mut again: Vec<String> = corral.ok(&["system", "boot"]).lines().map(str::to_owned).collect();
    again.sort();
    assert_eq!(again, ["always", "always-stopped", "failure"], "unless was stopped by a person");
    corral.ok(&["system", "halt"]);
}

#[test]
fn a_monitor_killed_between_two_lives_leaves_an_ended_container() {
    let corral = Corral::new();
    corral.ok(&["run", "-d", "--name", "m1", "--restart", "always", "busybox", "false"]);
    eventually("it waits", || restarts(&corral, "m1") >= 2 && state(&corral, "m1")["Status"] == "restarting");
    lose_power(&corral);
    let end = state(&corral, "m1");
    assert_eq!((&end["Status"], &end["ExitCode"]), (&"exited".into(), &1.into()));
    corral.ok(&["rm", "m1"]);
}

#[test]
fn bad_policies_are_refused() {
    let corral = Corral::new();
    for (words, expect) in [
        (&["--restart", "sometimes"][..], "unknown policy 'sometimes'"),
        (&["--restart", "always:3"], "maximum retry count can only be used with 'on-failure'"),
        (&["--restart", "on-failure:x"], "must be an integer"),
        (&["--rm", "--restart", "always"], "conflicting options: cannot specify both --restart and --rm"),
    ] {
        let said = corral.say(&[&["run"][..], words, &["busybox", "true"]].concat());
        assert_eq!(said.code, 125, "{said:?}");
        assert!(said.err.contains(expect), "{said:?}");
    }
}

#[test]
fn the_unit_is_written_where_units_are() {
    let corral = Corral::empty();
    let units = corral.dir().join("units");
    std::fs::create_dir(&units).expect("directory");
    let path = corral.ok(&["system", "install", "--units", &units.display().to_string()]);
    let unit = std::fs::read_to_string(path.trim()).expect("unit");
    assert!(unit.contains("system boot\n") && unit.contains(&corral.root().display().to_string()), "{unit}");
    let said = corral.say(&["system", "install", "--units", "/nowhere"]);
    assert!(said.code == 1 && said.err.contains("corral system boot"), "{said:?}");
}
