//! Log drivers: what is in their files, and what `logs` makes of it.

use std::path::PathBuf;
use std::process::Stdio;

use corral_tests::{Corral, eventually};

fn json_file(corral: &Corral, name: &str) -> PathBuf {
    PathBuf::from(corral.inspect(name)["LogPath"].as_str().expect("a path"))
}

fn lines(path: &PathBuf) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).expect("log");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn a_json_file_is_what_docker_writes() {
    let corral = Corral::new();
    let script = "printf '<one>\\n'; echo two >&2; sleep 0.1; printf 'a\\ttab \"q\" \\377\\n'; printf tail";
    corral.ok(&[
        "run",
        "--name",
        "web",
        "--log-driver",
        "json-file",
        "--log-opt",
        "labels=tier,none",
        "--log-opt",
        "env=COLOR",
        "-l",
        "tier=front end",
        "-e",
        "COLOR=red",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let path = json_file(&corral, "web");
    let id = corral.inspect("web")["Id"].as_str().expect("id").to_owned();
    assert_eq!(path, corral.root().join("containers").join(&id).join(format!("{id}-json.log")));
    let text = std::fs::read_to_string(&path).expect("log");
    let of = |start: &str| {
        text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {text}"))
    };
    let one = of(
        r#"{"log":"\u003cone\u003e\n","stream":"stdout","attrs":{"COLOR":"red","tier":"front end"},"time":"20"#,
    );
    assert!(one.ends_with("Z\"}"), "{one}");
    of(r#"{"log":"two\n","stream":"stderr","attrs":{"#);
    of(r#"{"log":"a\u0009tab \"q\" \ufffd\n","#);
    of(r#"{"log":"tail","stream":"stdout","#);
    let said = corral.say(&["logs", "web"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("<one>\na\ttab \"q\" \u{fffd}\ntail", "two\n"));
    let detailed = corral.ok(&["logs", "--details", "web"]);
    assert!(detailed.starts_with("COLOR=red,tier=front+end <one>\n"), "{detailed}");
    let stamped = corral.ok(&["logs", "-t", "--tail", "1", "web"]);
    let (stamp, rest) = stamped.split_once(' ').expect("a stamp");
    assert_eq!((stamp.len(), rest), ("2026-11-21T23:22:05.000000007Z".len(), "tail"));
    let since = lines(&path).last().expect("lines")["time"].as_str().expect("time").to_owned();
    assert_eq!(corral.ok(&["logs", "--since", &since, "web"]), "tail");
    let config = corral.inspect("web")["HostConfig"]["LogConfig"].clone();
    assert_eq!(config["Type"], "json-file");
    assert_eq!(config["Config"]["labels"], "tier,none");
}

#[test]
fn a_json_file_is_rotated_as_docker_does() {
    let corral = Corral::new();
    corral.ok(&[
        "run",
        "--name",
        "web",
        "--log-driver",
        "json-file",
        "--log-opt",
        "max-size=10k",
        "--log-opt",
        "max-file=3",
        "busybox",
        "seq",
        "1000",
    ]);
    let path = json_file(&corral, "web");
    let rotated = |number: u32| PathBuf::from(format!("{}.{number}", path.display()));
    assert!(rotated(1).exists() && rotated(2).exists() && !rotated(3).exists());
    for file in [rotated(1), rotated(2)] {
        let size = file.metadata().expect("file").len();
        assert!((10_000..10_100).contains(&size), "{size}: left once it has reached its size");
    }
    let all = corral.ok(&["logs", "web"]);
    let numbers: Vec<u32> = all.lines().map(|line| line.parse().expect("number")).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "in order, none missing");
    assert_eq!((numbers.last(), numbers.len() > 200), (Some(&1000), true));
    assert_eq!(corral.ok(&["logs", "-n", "150", "web"]).lines().next(), Some("851"));
    corral.ok(&["start", "-a", "web"]);
    assert_eq!(corral.ok(&["logs", "-n", "1", "web"]), "1000\n");
    corral.ok(&["rm", "web"]);
    corral.ok(&[
        "run",
        "--name",
        "one",
        "--log-driver",
        "json-file",
        "--log-opt",
        "max-size=1k",
        "busybox",
        "seq",
        "500",
    ]);
    let path = json_file(&corral, "one");
    assert!(!PathBuf::from(format!("{}.1", path.display())).exists());
    assert!(corral.ok(&["logs", "one"]).ends_with("499\n500\n"));
}

#[test]
fn followers_of_a_json_file_see_all_of_it() {
    let corral = Corral::new();
    let script =
        "for i in $(seq 300); do echo $i; done; sleep 0.3; for i in $(seq 301 600); do echo $i; done";
    corral.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--log-driver",
        "json-file",
        "--log-opt",
        "max-size=5k",
        "--log-opt",
        "max-file=50",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let followed = corral.ok(&["logs", "-f", "web"]);
    let expect: String = (1..=600).map(|number| format!("{number}\n")).collect();
    assert_eq!(followed, expect);
}

#[test]
fn a_million_lines_are_kept_in_order_by_each_driver() {
    let corral = Corral::new();
    let expect: String = (1..=1_000_000).map(|number| format!("{number}\n")).collect();
    for driver in ["local", "json-file"] {
        // Nobody reads while it writes, then somebody does.
        let name = format!("m-{driver}");
        corral.ok(&[
            "run",
            "-d",
            "--name",
            &name,
            "--log-driver",
            driver,
            "--log-opt",
            "max-size=1g",
            "busybox",
            "seq",
            "1000000",
        ]);
        assert_eq!(corral.ok(&["wait", &name]), "0\n");
        let read = corral.ok(&["logs", &name]);
        assert!(read == expect, "{driver}: {} of {} bytes", read.len(), expect.len());
    }
}

#[test]
fn a_reader_that_stops_does_not_stop_the_writer() {
    let corral = Corral::new();
    corral.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--log-driver",
        "json-file",
        "busybox",
        "sh",
        "-c",
        "sleep 0.3; seq 200000",
    ]);
    let mut follower = corral.command(&["logs", "-f", "web"]);
    let mut follower = follower.stdout(Stdio::piped()).spawn().expect("corral runs");
    eventually("it has ended", || corral.inspect("web")["State"]["Status"] == "exited");
    follower.kill().expect("kill");
    follower.wait().expect("ended");
    assert_eq!(corral.ok(&["logs", "-n", "1", "web"]), "200000\n");
}

#[test]
fn drivers_that_keep_nothing_to_read_say_so() {
    let corral = Corral::new();
    corral.ok(&["run", "--name", "web", "--log-driver", "none", "busybox", "echo", "x"]);
    let said = corral.say(&["logs", "web"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("configured logging driver does not support reading"), "{}", said.err);
    for (words, expect) in [
        (&["--log-driver", "fluentd"][..], "logger: no log driver named 'fluentd' is registered"),
        (&["--log-opt", "foo=1"], "unknown log opt 'foo' for local log driver"),
        (
            &["--log-driver", "none", "--log-opt", "max-size=1m"],
            "unknown log opt 'max-size' for none log driver",
        ),
        (&["--log-opt", "max-size=zero"], "invalid value for max-size"),
        (&["--log-opt", "max-size"], "expected KEY=VALUE"),
    ] {
        let words: Vec<_> = [&["run", "--rm"], words, &["busybox", "true"]].concat();
        let said = corral.say(&words);
        assert_eq!(said.code, 125, "{}", said.err);
        assert!(said.err.contains(expect), "{}", said.err);
    }
    if PathBuf::from("/run/systemd/journal/socket").exists() {
        println!("SKIP: drivers_that_keep_nothing_to_read_say_so: journald is here, so it is not refused");
        return;
    }
    let said = corral.say(&["run", "--rm", "--log-driver", "journald", "busybox", "true"]);
    assert_eq!(said.code, 125);
    assert!(said.err.contains("journald is not enabled on this host"), "{}", said.err);
}

#[test]
fn local_rotates_by_the_options_too() {
    let corral = Corral::new();
    corral.ok(&[
        "run",
        "--name",
        "web",
        "--log-opt",
        "max-size=4k",
        "--log-opt",
        "max-file=2",
        "busybox",
        "sh",
        "-c",
        "for i in 1 2 3 4; do seq 1000; sleep 0.05; done",
    ]);
    let dir =
        corral.root().join("containers").join(corral.inspect("web")["Id"].as_str().expect("id")).join("log");
    let mut names: Vec<_> =
        std::fs::read_dir(dir).expect("log").map(|entry| entry.expect("entry").file_name()).collect();
    names.sort();
    assert_eq!(names, ["1", "current"]);
    assert!(corral.ok(&["logs", "web"]).ends_with("999\n1000\n"));
}

#[test]
fn moments_and_counts_are_dockers() {
    let corral = Corral::new();
    corral.ok(&["run", "--name", "told", "busybox", "sh", "-c", "echo one; echo two"]);
    let today = corral.ok(&["logs", "-t", "told"]).get(..13).expect("an hour").to_owned();
    let logs = |words: &[&str]| corral.ok(&[&["logs"], words, &["told"]].concat());
    for words in [
        &["--tail", "-1"][..],
        &["--tail=-7"],
        &["-n", "-1"],
        &["--tail", "all"],
        &["--since", &today],
        &["--since", "1.5h"],
        &["--since", "1d"],
        &["--until", "10us"],
    ] {
        assert_eq!(logs(words), "one\ntwo\n", "{words:?}");
    }
    assert_eq!(logs(&["--tail", "1"]), "two\n");
    assert_eq!(logs(&["--until", &today]), "");
    assert_eq!(logs(&["--until", "0.5h"]), "");
    assert_eq!(corral.say(&["logs", "--tail", "some", "told"]).code, 1);
}
