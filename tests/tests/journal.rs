//! The journal and its projection `events`: what happened stands there, nothing else does, and tampering shows.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use corral_tests::{Corral, eventually};

/// `TYPE ACTION` of each event, without what belongs to the making of the fixture.
fn events(corral: &Corral, filters: &[&str]) -> Vec<String> {
    let mut words = vec!["events", "--since", "1h", "--until", "0s"];
    filters.iter().for_each(|filter| words.extend(["--filter", filter]));
    let words_of = |line: &str| line.split(' ').skip(1).take(2).collect::<Vec<_>>().join(" ");
    corral.ok(&words).lines().map(words_of).filter(|line| line != "image import").collect()
}

fn segment(corral: &Corral) -> PathBuf {
    corral.root().join("journal/0.00000001")
}

#[test]
fn a_life_is_recorded_as_docker_records_it() {
    let corral = Corral::new();
    corral.ok(&["run", "--rm", "--name", "short", "-l", "tier=x", "busybox", "true"]);
    let life = ["create", "attach", "start", "die", "destroy"].map(|word| format!("container {word}"));
    eventually("destroy", || events(&corral, &["container=short"]).len() == 5);
    assert_eq!(events(&corral, &["container=short"]), life);
    assert_eq!(events(&corral, &["label=tier=x", "event=die"]), ["container die"]);
    let id = corral.ok(&["run", "-d", "--name", "web", "-v", "data:/data", "busybox", "sleep", "1000"]);
    corral.ok(&["exec", "web", "true"]);
    corral.ok(&["pause", "web"]);
    corral.ok(&["unpause", "web"]);
    corral.ok(&["stop", "-t", "0", "web"]);
    corral.ok(&["rm", "web"]);
    corral.ok(&["volume", "rm", "data"]);
    let lived = [
        "create",
        "start",
        "exec_create:",
        "exec_start:",
        "exec_die",
        "pause",
        "unpause",
        "kill",
        "kill",
        "die",
        "stop",
        "destroy",
    ];
    let short = id.trim().get(..12).expect("id");
    let found = events(&corral, &[&format!("container={short}")]);
    assert_eq!(found, lived.map(|word| format!("container {word}")));
    assert_eq!(
        events(&corral, &["volume=data"]),
        ["create", "mount", "unmount", "destroy"].map(|word| format!("volume {word}"))
    );
    let json = corral.ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "-f",
        "event=die",
        "-f",
        "container=web",
        "--format",
        "json",
    ]);
    let die: serde_json::Value = serde_json::from_str(&json).expect("one line of JSON");
    assert_eq!(die["Actor"]["Attributes"]["exitCode"], "137");
    assert_eq!((&die["from"], &die["status"]), (&"busybox".into(), &"die".into()));
    assert!(corral.ok(&["journal", "verify"]).starts_with("good "));
    assert_eq!(corral.say(&["events", "-f", "foo=bar"]).err, "corral: invalid filter 'foo'\n");
    assert_eq!(corral.say(&["events", "--since", "nonsense"]).code, 1);
}

/// What is done to a container's files and its description stands there too, and later runs go by the new name.
#[test]
fn acts_on_a_container_are_recorded() {
    let corral = Corral::new();
    corral.ok(&["create", "--name", "old", "busybox", "true"]);
    corral.ok(&["rename", "old", "new"]);
    corral.ok(&["update", "-m", "64m", "new"]);
    corral.ok(&["cp", "new:/etc/hosts", "hosts"]);
    corral.ok(&["cp", "hosts", "new:/tmp"]);
    corral.ok(&["commit", "new", "made"]);
    corral.ok(&["export", "-o", "all.tar", "new"]);
    corral.ok(&["start", "-a", "new"]);
    let found = events(&corral, &["container=new"]);
    let acts =
        ["rename", "update", "archive-path", "extract-to-dir", "commit", "export", "attach", "start", "die"];
    assert_eq!(found, acts.map(|word| format!("container {word}")));
    let template = "{{.Actor.Attributes.oldName}} {{.From}}";
    let words = ["events", "--since", "1h", "--until", "0s", "-f", "event=rename", "--format", template];
    assert_eq!(corral.ok(&words), "/old busybox\n");
    assert_eq!(corral.say(&["events", "--format", "{{"]).code, 64);
}

#[test]
fn events_follows_without_a_daemon() {
    let corral = Corral::new();
    let mut command = corral.command(&["events", "-f", "type=container"]);
    let mut follower = command.stdout(Stdio::piped()).spawn().expect("corral runs");
    let mut lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
    // It says nothing when it listens: the first container that it sees tells.
    let (seen, met) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        while let Some(Ok(line)) = lines.next() {
            if seen.send(line).is_err() {
                return;
            }
        }
    });
    let mut runs = 0;
    let first = loop {
        corral.ok(&["run", "--rm", "busybox", "true"]);
        runs += 1;
        match met.recv_timeout(Duration::from_millis(300)) {
            Ok(line) => break line,
            Err(_) => assert!(runs < 20, "events showed nothing"),
        }
    };
    assert!(first.contains(" container "), "{first}");
    corral.ok(&["run", "--rm", "--name", "last", "busybox", "true"]);
    let mut rest = String::new();
    while !(rest.contains("container destroy") && rest.contains("name=last")) {
        rest = met.recv_timeout(Duration::from_secs(10)).expect("the destruction of the last one");
    }
    follower.kill().expect("kill");
    follower.wait().expect("ended");
    reader.join().expect("reader");
}

#[test]
fn what_is_secret_is_not_recorded_and_what_is_hostile_is_one_line() {
    let corral = Corral::new();
    let hostile = "x\n{\"seq\":1}\n2026-01-01T00:00:00.000000000Z container die 0 (forged=1)\u{1b}[2J";
    let label = format!("note={hostile}");
    corral.ok(&["run", "--rm", "-e", "TOKEN=hunter2-in-run", "-l", &label, "busybox", "true"]);
    corral.ok(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]);
    corral.ok(&["exec", "-e", "TOKEN=hunter2-in-exec", "web", "true"]);
    for file in std::fs::read_dir(corral.root().join("journal")).expect("journal") {
        let bytes = std::fs::read(file.expect("entry").path()).expect("segment");
        assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));
    }
    let text = corral.ok(&["events", "--since", "1h", "--until", "0s"]);
    assert!(
        !text.contains('\u{1b}')
            && text
                .lines()
                .all(|line| !line.contains(" container die 0 (forged=1)") || line.contains("note="))
    );
    assert!(corral.ok(&["journal", "verify"]).starts_with("good "));
}

#[test]
fn what_a_rule_forbids_stands_in_the_journal() {
    let corral = Corral::new();
    let said =
        corral.say(&["run", "--rm", "--profile", "agent", "--cap-add", "SYS_ADMIN", "busybox", "true"]);
    assert_eq!(said.code, 125, "{}", said.err);
    let text = corral.ok(&["events", "--since", "1h", "--until", "0s", "-f", "type=daemon"]);
    assert!(text.contains(" daemon refuse busybox (reason="), "{text}");
    assert!(text.contains("refused=container create"), "{text}");
}

/// G8: delete, edit, truncate.
#[test]
fn tampering_is_loud() {
    type Tamper = fn(&Path);
    let tampers: [(&str, Tamper); 4] = [
        ("edited", |path| {
            let text = std::fs::read_to_string(path).expect("text");
            std::fs::write(path, text.replacen("\"exitCode\":\"0\"", "\"exitCode\":\"1\"", 1))
                .expect("write");
        }),
        ("cut", |path| {
            let text = std::fs::read_to_string(path).expect("text");
            let end = text.trim_end().rfind('\n').expect("lines") + 1;
            std::fs::write(path, &text[..end]).expect("write");
        }),
        ("a record removed", |path| {
            let text = std::fs::read_to_string(path).expect("text");
            let lines: Vec<_> = text.split_inclusive('\n').enumerate().filter(|(at, _)| *at != 3).collect();
            std::fs::write(path, lines.iter().map(|(_, line)| *line).collect::<String>()).expect("write");
        }),
        ("removed", |path| std::fs::remove_file(path).expect("remove")),
    ];
    for (name, tamper) in tampers {
        let corral = Corral::new();
        corral.ok(&["run", "--rm", "busybox", "true"]);
        eventually("its end", || events(&corral, &["event=destroy"]).len() == 1);
        assert_eq!(corral.say(&["journal", "verify"]).code, 0);
        tamper(&segment(&corral));
        for recorded_on in [false, true] {
            let said = corral.say(&["journal", "verify"]);
            assert_eq!(said.code, 1, "{name}, recorded on: {recorded_on}: {}", said.out);
            assert!(said.out.contains("WRONG") && said.out.contains("BAD"), "{name}: {}", said.out);
            assert!(said.err.contains("not as it was written"), "{}", said.err);
            corral.ok(&["run", "--rm", "busybox", "true"]);
        }
    }
}

#[test]
fn anchors_kept_elsewhere_tell_of_a_journal_that_was_made_anew() {
    let corral = Corral::new();
    corral.ok(&["run", "--rm", "busybox", "true"]);
    let kept = corral.dir().join("kept.json");
    std::fs::write(&kept, corral.ok(&["journal", "anchors"])).expect("write");
    let check = || corral.say(&["journal", "verify", "--anchors", kept.to_str().expect("path")]);
    assert_eq!(check().code, 0, "{}", check().err);
    // Everything but the key, by someone who may.
    for gone in [corral.root().join("journal"), corral.run_root().join("journal")] {
        std::fs::remove_dir_all(gone).expect("remove");
    }
    std::fs::remove_file(corral.root().join("journal.anchors")).expect("remove");
    corral.ok(&["run", "--rm", "busybox", "true"]);
    assert_eq!(check().code, 1, "{}", check().out);
    std::fs::write(&kept, "{}").expect("write");
    assert_eq!(check().code, 1);
}

#[test]
fn commands_killed_at_any_moment_leave_a_journal_that_verifies() {
    let corral = Corral::new();
    for round in 0..40 {
        let mut client = corral.spawn(&["run", "--rm", "busybox", "true"]);
        std::thread::sleep(Duration::from_micros(round * 500));
        drop(client.kill());
        client.wait().expect("reaped");
        let said = corral.say(&["journal", "verify"]);
        assert_eq!(said.code, 0, "round {round}: {}", said.out);
    }
}

/// A file system that is full, unmounted at the end.
struct Small(PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// H6: the work stops, recording does not.
#[test]
fn a_full_disk_stops_the_work_and_not_the_record() {
    if !corral_tests::has_idmapped_memory("a_full_disk_stops_the_work_and_not_the_record") {
        return;
    }
    let (with_image, corral) = (Corral::new(), Corral::empty());
    let image = corral.dir().join("image.tar");
    with_image.ok(&["save", "-o", image.to_str().expect("path"), "busybox"]);
    std::fs::create_dir(corral.root()).expect("root");
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=40m", "none"]).arg(corral.root()).status();
    assert!(mount.expect("mount").success(), "a tmpfs at {}", corral.root().display());
    let _small = Small(corral.root());
    corral.ok(&["load", "-i", image.to_str().expect("path")]);
    corral.ok(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]);
    let fill = Command::new("dd")
        .args(["if=/dev/zero", "bs=4k", "status=none"])
        .arg(format!("of={}", corral.root().join("fill").display()))
        .stderr(Stdio::null())
        .status()
        .expect("dd");
    assert!(!fill.success(), "the file system is full");
    // What was reserved ahead is used up first; each of these is recorded or refused.
    let (mut done, mut refused) = (0, String::new());
    for _ in 0..2000 {
        let said = corral.say(&["exec", "web", "true"]);
        if said.code != 0 {
            refused = said.err;
            break;
        }
        done += 1;
    }
    assert!(
        refused.contains("no space left for the journal") && refused.contains("free space"),
        "{done}: {refused}"
    );
    let refusals = events(&corral, &["type=daemon"]);
    assert!(!refusals.is_empty() && refusals.iter().all(|line| line == "daemon refuse"), "{refusals:?}");
    let before = events(&corral, &["container=web", "event=die"]).len();
    corral.say(&["kill", "web"]);
    eventually("the end is recorded", || events(&corral, &["container=web", "event=die"]).len() > before);
    assert_eq!(events(&corral, &["event=kill"]), ["container kill"]);
    assert!(corral.ok(&["journal", "verify"]).starts_with("good "));
    std::fs::remove_file(corral.root().join("fill")).expect("space again");
    corral.ok(&["run", "--rm", "busybox", "true"]);
    assert!(corral.ok(&["journal", "verify"]).starts_with("good "));
}

#[test]
fn events_follow_each_other() {
    let corral = Corral::new();
    corral.ok(&["run", "-d", "--name", "web", "-v", "data:/data", "busybox", "sleep", "1000"]);
    corral.ok(&["top", "web"]);
    corral.ok(&["run", "--rm", "busybox", "true"]);
    let words = ["events", "--since", "1h", "--until", "0s", "--format", "{{.TimeNano}} {{.Action}}"];
    let told = corral.ok(&words);
    let times: Vec<u64> = told.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
    assert!(times.len() > 8 && times.windows(2).all(|pair| pair[0] < pair[1]), "{told}");
    assert_eq!(events(&corral, &["event=top"]), ["container top"]);
    assert_eq!(events(&corral, &["container=web"]), ["container create", "container start", "container top"]);
}
