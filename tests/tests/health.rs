//! Health checks, seen from outside.

use corral_tests::{Corral, eventually};

fn health(corral: &Corral, name: &str) -> serde_json::Value {
    corral.inspect(name)["State"]["Health"].clone()
}

fn status(corral: &Corral, name: &str) -> String {
    health(corral, name)["Status"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_container_becomes_healthy_and_unhealthy_and_healthy_again() {
    let corral = Corral::new();
    corral.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--health-cmd",
        "echo looked; test -e /tmp/well",
        "--health-interval",
        "100ms",
        "--health-retries",
        "2",
        "busybox",
        "sleep",
        "1000",
    ]);
    assert_eq!(status(&corral, "web"), "starting");
    assert!(corral.ok(&["ps"]).contains("(health: starting)"));
    eventually("two failures", || status(&corral, "web") == "unhealthy");
    assert!(corral.ok(&["ps", "--filter", "health=unhealthy"]).contains("(unhealthy)"));
    corral.ok(&["exec", "web", "touch", "/tmp/well"]);
    eventually("it is well", || status(&corral, "web") == "healthy");
    assert!(corral.ok(&["ps"]).contains("(healthy)"));
    assert_eq!(corral.ok(&["ps", "-q", "--filter", "health=unhealthy"]), "");
    let seen = health(&corral, "web");
    let log = seen["Log"].as_array().expect("a log");
    let last = log.last().expect("a check");
    assert_eq!((&last["ExitCode"], &last["Output"]), (&0.into(), &"looked\n".into()));
    assert!(log.len() <= 5 && seen["FailingStreak"] == 0, "{seen}");
    corral.ok(&["exec", "web", "rm", "/tmp/well"]);
    eventually("it is ill again", || status(&corral, "web") == "unhealthy");
    let events = corral.ok(&["events", "--since", "1h", "--until", "0s", "--filter", "container=web"]);
    let told: Vec<&str> = events.lines().filter_map(|line| line.split("health_status: ").nth(1)).collect();
    let words: Vec<&str> = told.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(words, ["unhealthy", "healthy", "unhealthy"], "{events}");
    for (filter, count) in
        [("health_status", 3), ("health_status: healthy", 1), ("health_status: unhealthy", 2)]
    {
        let filter = format!("event={filter}");
        let told = corral.ok(&[
            "events",
            "--since",
            "1h",
            "--until",
            "0s",
            "-f",
            &filter,
            "--format",
            "{{.Action}}",
        ]);
        assert_eq!(told.lines().count(), count, "{filter}: {told}");
    }
    corral.ok(&["rm", "-f", "web"]);
}

#[test]
fn a_check_that_takes_too_long_is_killed_and_bounded() {
    let corral = Corral::new();
    let script = "dd if=/dev/zero bs=64k count=100 2>/dev/null | tr '\\0' x; sleep 1000";
    corral.ok(&[
        "run",
        "-d",
        "--name",
        "slow",
        "--health-cmd",
        script,
        "--health-interval",
        "100ms",
        "--health-timeout",
        "500ms",
        "--health-retries",
        "1",
        "busybox",
        "sleep",
        "1001",
    ]);
    eventually("it is unhealthy", || status(&corral, "slow") == "unhealthy");
    let log = health(&corral, "slow")["Log"].clone();
    assert_eq!(log[0]["ExitCode"], -1);
    assert_eq!(log[0]["Output"], "Health check exceeded timeout (500ms)");
    // What it had started is gone with it: a new check may be at work, an old one's sleep is not.
    eventually("at most one check's processes", || {
        let top = corral.ok(&["top", "slow"]);
        top.matches("sleep 1000").count() <= 2
    });
    let began = std::time::Instant::now();
    corral.ok(&["rm", "-f", "slow"]);
    assert!(began.elapsed().as_secs() < 5, "a check does not hold the end");
}

#[test]
fn failures_in_the_start_period_do_not_count() {
    let corral = Corral::new();
    corral.ok(&[
        "run",
        "-d",
        "--name",
        "late",
        "--health-cmd",
        "test -e /tmp/well",
        "--health-interval",
        "1h",
        "--health-retries",
        "1",
        "--health-start-period",
        "1h",
        "--health-start-interval",
        "50ms",
        "busybox",
        "sleep",
        "1000",
    ]);
    eventually("five checks", || health(&corral, "late")["Log"].as_array().is_some_and(|log| log.len() == 5));
    assert_eq!(status(&corral, "late"), "starting");
    corral.ok(&["exec", "late", "touch", "/tmp/well"]);
    eventually("the first success counts", || status(&corral, "late") == "healthy");
    corral.ok(&["rm", "-f", "late"]);
}

#[test]
fn an_images_check_is_used_changed_and_left_out() {
    let corral = Corral::new();
    let change = r#"HEALTHCHECK --interval=100ms --retries=1 CMD ["true"]"#;
    corral.ok(&["create", "--name", "base", "busybox", "true"]);
    corral.ok(&["commit", "--change", change, "base", "checked"]);
    corral.ok(&["run", "-d", "--name", "own", "checked", "sleep", "1000"]);
    eventually("the image's", || status(&corral, "own") == "healthy");
    corral.ok(&["run", "-d", "--name", "other", "--health-cmd", "exit 7", "checked", "sleep", "1000"]);
    eventually("the user's command at the image's times", || status(&corral, "other") == "unhealthy");
    assert_eq!(health(&corral, "other")["Log"][0]["ExitCode"], 7);
    corral.ok(&["run", "-d", "--name", "none", "--no-healthcheck", "checked", "sleep", "1000"]);
    assert_eq!(health(&corral, "none"), serde_json::Value::Null);
    assert_eq!(corral.ok(&["ps", "--filter", "health=none", "--format", "{{.Names}}"]), "none\n");
    // A program that is not there is a failure with a reason.
    corral.ok(&[
        "run",
        "-d",
        "--name",
        "gone",
        "--health-cmd",
        "/no/such",
        "--health-retries",
        "1",
        "checked",
        "sleep",
        "1000",
    ]);
    eventually("it fails", || status(&corral, "gone") == "unhealthy");
    corral.ok(&["rm", "-f", "own", "other", "none", "gone", "base"]);
}

#[test]
fn a_paused_container_is_not_checked_and_a_start_begins_anew() {
    let corral = Corral::new();
    corral.ok(&[
        "run",
        "-d",
        "--name",
        "idle",
        "--health-cmd",
        "true",
        "--health-interval",
        "50ms",
        "busybox",
        "sleep",
        "1000",
    ]);
    eventually("healthy", || status(&corral, "idle") == "healthy");
    corral.ok(&["pause", "idle"]);
    let count = || health(&corral, "idle")["Log"].as_array().map(|log| log.last().cloned());
    std::thread::sleep(std::time::Duration::from_millis(300));
    let before = count();
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert_eq!(count(), before, "no check while it is frozen");
    corral.ok(&["unpause", "idle"]);
    eventually("checks go on", || count() != before);
    corral.ok(&["stop", "-t", "0", "idle"]);
    corral.ok(&["start", "idle"]);
    corral.ok(&["rm", "-f", "idle"]);
}

#[test]
fn bad_checks_are_refused() {
    let corral = Corral::new();
    for (words, expect) in [
        (&["--health-interval", "soon"][..], "not a time"),
        (&["--health-interval", "1us"], "less than 1ms"),
        (&["--health-retries", "-1"], "cannot be negative"),
        (&["--no-healthcheck", "--health-cmd", "true"], "conflicts with --health-*"),
    ] {
        let said = corral.say(&[&["run", "--rm"][..], words, &["busybox", "true"]].concat());
        assert!(said.code == 125 && said.err.contains(expect), "{words:?}: {said:?}");
    }
}

/// A check that is out of time ends, and leaves none behind with each that is.
#[test]
fn a_check_is_killed_when_its_time_is_out() {
    let corral = Corral::new();
    let check = "sh -c 'sleep 997 & sleep 998' & sleep 999";
    let words = ["run", "-d", "--name", "box", "--health-interval", "100ms", "--health-timeout", "100ms"];
    corral.ok(&[&words[..], &["--health-cmd", check, "busybox", "sleep", "1000"]].concat());
    let checks = || corral.inspect("box")["State"]["Health"]["Log"].as_array().map_or(0, Vec::len);
    corral_tests::eventually("some are out of time", || checks() >= 4);
    let of_checks = || corral.ok(&["top", "box", "-eo", "args"]).matches("sleep 999").count();
    corral_tests::eventually("at most the one that runs is left", || of_checks() <= 1);
    corral.ok(&["rm", "-f", "box"]);
}

/// Each check is work of the host, and an image's author need not care.
#[test]
fn an_image_is_not_checked_more_often_than_once_a_second() {
    let corral = Corral::new();
    corral.ok(&["create", "--name", "box", "busybox", "sleep", "1000"]);
    corral.ok(&["commit", "-c", "HEALTHCHECK --interval=1ms --timeout=1s CMD true", "box", "often"]);
    corral.ok(&["run", "-d", "--name", "slow", "often"]);
    assert_eq!(corral.inspect("slow")["Config"]["Healthcheck"]["Interval"], 1_000_000_000);
    corral.ok(&["run", "-d", "--name", "quick", "--health-interval", "50ms", "often"]);
    assert_eq!(corral.inspect("quick")["Config"]["Healthcheck"]["Interval"], 50_000_000);
    corral.ok(&["rm", "-f", "slow", "quick"]);
}
