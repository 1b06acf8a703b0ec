//! One container from its creation to its removal, as a user of Docker would do it.

use corral_tests::{Corral, eventually};

#[test]
fn run_answers_the_programs_output_and_code() {
    let corral = Corral::new();
    let said = corral.say(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (7, "out\n", "err\n"));
    assert_eq!(corral.ok(&["ps", "-aq"]), "", "--rm leaves nothing");
}

#[test]
fn exit_codes_are_dockers() {
    let corral = Corral::new();
    let code = |words: &[&str]| corral.say(&[&["run", "--rm"], words].concat()).code;
    assert_eq!(code(&["busybox", "true"]), 0);
    assert_eq!(code(&["busybox", "no-such-program"]), 127);
    assert_eq!(code(&["busybox", "/etc/passwd"]), 126);
    assert_eq!(code(&["no-such-image", "true"]), 125);
    assert_eq!(code(&["--no-such-flag", "busybox", "true"]), 125);
    assert_eq!(code(&["--privileged", "busybox", "true"]), 125);
    assert_eq!(code(&["--init", "busybox", "sh", "-c", "kill -9 $$"]), 137);
    assert_eq!(code(&["busybox"]), 125, "an image without a command");
    assert_eq!(corral.ok(&["ps", "-aq"]), "", "failures leave nothing either");
}

#[test]
fn flags_end_where_the_image_begins() {
    let corral = Corral::new();
    let said =
        corral.say(&["run", "--rm", "--entrypoint", "sh", "busybox", "-c", "echo $0 $1", "--name", "-p"]);
    assert_eq!((said.code, said.out.as_str()), (0, "--name -p\n"), "{said:?}");
}

#[test]
fn a_detached_container_is_listed_logged_stopped_and_removed() {
    let corral = Corral::new();
    let id = corral.ok(&["run", "-d", "--name", "web", "busybox", "sh", "-c", "echo ready; sleep 1000"]);
    assert_eq!(id.trim().len(), 64);
    let listing = corral.ok(&["ps"]);
    let mut lines = listing.lines();
    let head: Vec<&str> =
        lines.next().expect("head").split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(head, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    let row = lines.next().expect("row");
    assert!(row.starts_with(&id[..12]) && row.contains("Up ") && row.ends_with("web"), "{row}");
    eventually("the log has the line", || corral.ok(&["logs", "web"]) == "ready\n");
    assert_eq!(corral.say(&["rm", "web"]).code, 1, "a running container is not removed");
    assert_eq!(corral.ok(&["stop", "-t", "0", "web"]), "web\n");
    assert_eq!(corral.inspect("web")["State"]["Status"], "exited");
    assert_eq!(corral.ok(&["wait", "web"]), "137\n");
    assert_eq!(corral.ok(&["logs", "web"]), "ready\n", "logs outlive the process");
    assert_eq!(corral.ok(&["rm", "web"]), "web\n");
    assert_eq!(corral.ok(&["ps", "-aq"]), "");
}

#[test]
fn stop_gives_grace_and_a_handled_signal_its_own_code() {
    let corral = Corral::new();
    let script = "trap 'exit 3' TERM; echo up; while true; do sleep 0.05; done";
    corral.ok(&["run", "-d", "--name", "polite", "busybox", "sh", "-c", script]);
    eventually("the trap is set", || corral.ok(&["logs", "polite"]) == "up\n");
    corral.ok(&["stop", "polite"]);
    assert_eq!(corral.inspect("polite")["State"]["ExitCode"], 3);
}

#[test]
fn a_stopped_container_starts_again_with_its_files() {
    let corral = Corral::new();
    let script = "echo line >> /kept; cat /kept";
    assert_eq!(corral.ok(&["run", "--name", "again", "busybox", "sh", "-c", script]), "line\n");
    assert_eq!(corral.ok(&["start", "-a", "again"]), "line\nline\n");
}

#[test]
fn names_are_unique_and_ids_may_be_shortened() {
    let corral = Corral::new();
    let id = corral.ok(&["create", "--name", "one", "busybox", "true"]);
    let said = corral.say(&["create", "--name", "one", "busybox", "true"]);
    assert_eq!(said.code, 125);
    assert!(said.err.contains("already in use"), "{}", said.err);
    assert_eq!(corral.inspect(&id[..6])["Id"], id.trim());
    assert_eq!(corral.inspect("one")["State"]["Status"], "created");
}

#[test]
fn a_created_rm_container_waits_for_its_start_and_is_gone_after_it() {
    let corral = Corral::new();
    corral.ok(&["create", "--rm", "--name", "once", "busybox", "echo", "ran"]);
    corral.ok(&["system", "repair"]);
    assert_eq!(corral.inspect("once")["State"]["Status"], "created");
    assert_eq!(corral.ok(&["start", "-a", "once"]), "ran\n");
    assert_eq!(corral.say(&["inspect", "once"]).code, 1);
    assert_eq!(corral.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_read_only_container_starts_again_and_again() {
    let corral = Corral::new();
    let script = "touch /x || echo refused; cat /etc/hostname";
    corral.ok(&[
        "create",
        "--read-only",
        "--name",
        "again",
        "--hostname",
        "box",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    for _ in 0..2 {
        let said = corral.say(&["start", "-a", "again"]);
        assert_eq!((said.code, said.out.as_str()), (0, "refused\nbox\n"), "{said:?}");
    }
}

#[test]
fn a_container_that_ends_while_it_is_stopped_or_removed_is_no_error() {
    let corral = Corral::new();
    for round in 0..20 {
        let name = format!("short{round}");
        let sleep = format!("0.0{}", 20 + round);
        corral.ok(&["run", "-d", "--name", &name, "busybox", "sleep", &sleep]);
        match round % 2 {
            0 => corral.ok(&["rm", "-f", &name]),
            _ => corral.ok(&["stop", "-t", "0", &name]),
        };
    }
}

#[test]
fn passing_and_lasting_containers_are_listed_together_and_share_no_name() {
    let corral = Corral::new();
    let passing = corral.ok(&["run", "-d", "--rm", "--name", "web", "busybox", "sleep", "100"]);
    let lasting = corral.ok(&["run", "-d", "--name", "db", "busybox", "sleep", "100"]);
    let listed = corral.ok(&["ps", "-q", "--no-trunc"]);
    assert!(listed.contains(passing.trim()) && listed.contains(lasting.trim()), "{listed}");
    for name in ["web", "db"] {
        for rm in
            [&["create", "--name", name, "busybox"][..], &["run", "--rm", "--name", name, "busybox", "true"]]
        {
            let said = corral.say(rm);
            assert_eq!(said.code, 125, "{rm:?}");
            assert!(said.err.contains("already in use"), "{}", said.err);
        }
    }
    corral.ok(&["kill", "web", "db"]);
}

#[test]
fn exec_joins_the_container() {
    let corral = Corral::new();
    corral.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--hostname",
        "inside",
        "-e",
        "A=1",
        "busybox",
        "sleep",
        "1000",
    ]);
    assert_eq!(corral.ok(&["exec", "box", "hostname"]), "inside\n");
    assert_eq!(corral.ok(&["exec", "-e", "B=2", "box", "sh", "-c", "echo $A$B"]), "12\n");
    assert_eq!(
        corral.ok(&["exec", "-u", "agent", "-w", "/tmp", "box", "sh", "-c", "id -u; pwd"]),
        "1000\n/tmp\n"
    );
    assert_eq!(corral.say(&["exec", "box", "sh", "-c", "exit 9"]).code, 9);
    assert_eq!(corral.say(&["exec", "box", "nope"]).code, 127);
    let said = corral.feed(&["exec", "-i", "box", "wc", "-c"], &vec![b'x'; 1 << 20]);
    assert_eq!(said.out.trim(), (1 << 20).to_string(), "{}", said.err);
    corral.ok(&["exec", "-d", "box", "touch", "/tmp/made"]);
    eventually("the detached process ran", || corral.say(&["exec", "box", "stat", "/tmp/made"]).code == 0);
}

#[test]
fn stdin_reaches_the_program_and_its_end_too() {
    let corral = Corral::new();
    let input = "a line\n".repeat(10_000);
    let said = corral.feed(&["run", "-i", "--rm", "busybox", "cat"], input.as_bytes());
    assert_eq!((said.code, said.out.len()), (0, input.len()));
    let said = corral.feed(&["run", "--rm", "busybox", "cat"], b"not for the container");
    assert_eq!((said.code, said.out.as_str()), (0, ""), "without -i nothing is forwarded");
}

#[test]
fn attach_shows_what_comes_and_its_code() {
    let corral = Corral::new();
    corral.ok(&[
        "run",
        "-d",
        "-i",
        "--name",
        "echo",
        "busybox",
        "sh",
        "-c",
        "read line; echo got $line; exit 5",
    ]);
    let said = corral.feed(&["attach", "echo"], b"hello\n");
    assert_eq!((said.code, said.out.as_str()), (5, "got hello\n"), "{}", said.err);
}

#[test]
fn pause_freezes_and_unpause_thaws() {
    let corral = Corral::new();
    let script = "i=0; while true; do i=$((i+1)); echo $i; sleep 0.01; done";
    corral.ok(&["run", "-d", "--name", "clock", "busybox", "sh", "-c", script]);
    corral.ok(&["pause", "clock"]);
    assert_eq!(corral.inspect("clock")["State"]["Paused"], true);
    let lines = || corral.ok(&["logs", "clock"]).lines().count();
    std::thread::sleep(std::time::Duration::from_millis(100));
    let before = lines();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(lines(), before, "a frozen container writes nothing");
    assert_eq!(corral.say(&["exec", "clock", "true"]).code, 1, "no exec into a frozen container");
    corral.ok(&["unpause", "clock"]);
    eventually("it goes on", || lines() > before);
    corral.ok(&["pause", "clock"]);
    corral.ok(&["rm", "-f", "clock"]);
}

#[test]
fn the_memory_limit_kills_the_container_and_says_so() {
    let corral = Corral::new();
    let fill = ["dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=60"];
    let said = corral.say(&[&["run", "--name", "greedy", "-m", "32m", "busybox"], &fill[..]].concat());
    assert_eq!(said.code, 137, "{said:?}");
    let state = corral.inspect("greedy")["State"].clone();
    assert_eq!((&state["OOMKilled"], &state["ExitCode"]), (&true.into(), &137.into()));
    let said = corral.say(&[&["run", "--rm", "-m", "128m", "busybox"], &fill[..]].concat());
    assert_eq!(said.code, 0, "the same fits into more memory: {said:?}");
}

#[test]
fn the_task_limit_stops_a_fork_bomb() {
    let corral = Corral::new();
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait";
    let said = corral.say(&["run", "--rm", "--pids-limit", "5", "busybox", "sh", "-c", script]);
    assert!(said.err.contains("can't fork"), "{said:?}");
    let said = corral.say(&["run", "--rm", "--pids-limit", "20", "busybox", "sh", "-c", script]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}

#[test]
fn a_volume_outlives_its_container() {
    let corral = Corral::new();
    corral.ok(&["run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/file"]);
    assert_eq!(corral.ok(&["run", "--rm", "-v", "data:/data:ro", "busybox", "cat", "/data/file"]), "kept\n");
    assert_ne!(corral.say(&["run", "--rm", "-v", "data:/data:ro", "busybox", "touch", "/data/x"]).code, 0);
    assert_eq!(corral.ok(&["volume", "ls", "-q"]), "data\n");
    assert_eq!(corral.ok(&["volume", "rm", "data"]), "data\n");
}

#[test]
fn the_environment_is_what_was_asked_and_nothing_of_the_callers() {
    let corral = Corral::new();
    std::fs::write(corral.dir().join("env"), "# comment\nFROM_FILE=1\nBOTH=file\n").expect("env file");
    let mut command = corral.command(&[
        "run",
        "--rm",
        "--env-file",
        "env",
        "-e",
        "BOTH=flag",
        "-e",
        "PASSED",
        "busybox",
        "env",
    ]);
    let output =
        command.env("PASSED", "yes").env("SECRET_OF_THE_CALLER", "no").output().expect("corral runs");
    let text = String::from_utf8_lossy(&output.stdout);
    for line in ["FROM_FILE=1", "BOTH=flag", "PASSED=yes", "HOME=/root"] {
        assert!(text.lines().any(|have| have == line), "{line} in {text}");
    }
    assert!(!text.contains("SECRET_OF_THE_CALLER"));
}

/// What an older build has made.
#[test]
fn a_launch_of_the_first_generation_still_runs() {
    let corral = Corral::new();
    let id = corral.ok(&["create", "busybox", "echo", "still"]);
    let launch = corral.root().join("containers").join(id.trim()).join("launch.json");
    let text = std::fs::read_to_string(&launch).expect("a launch");
    let old = text.replacen("\"generation\":2", "\"generation\":1", 1);
    assert_ne!(old, text, "it is the second");
    std::fs::write(&launch, old).expect("write");
    assert_eq!(corral.ok(&["start", "-a", id.trim()]), "still\n");
}

/// What scripts do without asking first.
#[test]
fn what_is_so_already_is_no_failure_and_what_cannot_run_has_dockers_code() {
    let corral = Corral::new();
    corral.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let pid = corral.inspect("box")["State"]["Pid"].clone();
    assert_eq!(corral.ok(&["start", "box"]), "box\n");
    assert_eq!(corral.inspect("box")["State"]["Pid"], pid, "it was left alone");
    corral.ok(&["pause", "box"]);
    assert_eq!(corral.say(&["start", "box"]).code, 1, "a paused one is not running");
    corral.ok(&["unpause", "box"]);
    assert_eq!(corral.say(&["exec", "-w", "/nope", "box", "true"]).code, 126);
    assert_eq!(corral.say(&["exec", "-w", "/proc/self/fd/7", "box", "true"]).code, 126);
    assert_eq!(corral.say(&["exec", "box", "/nope"]).code, 127);
    corral.ok(&["rm", "-f", "box"]);
}
