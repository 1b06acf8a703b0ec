//! What happens to a host: it goes down, its clock is wrong, its disk is full.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use corral_tests::invariants::{self, is_clean, nothing_is_left, states_are_true, store_is_whole};
use corral_tests::{Corral, eventually, text_archive};

fn state(corral: &Corral, name: &str) -> String {
    corral.inspect(name)["State"]["Status"].as_str().expect("a state").to_owned()
}

fn say(corral: &Corral, words: &str) -> corral_tests::Said {
    corral.say(&words.split(' ').collect::<Vec<_>>())
}

fn known(corral: &Corral) -> BTreeSet<String> {
    invariants::containers(corral).into_iter().map(|(id, _)| id).collect()
}

/// Takes everything away and looks for the rest.
fn clean(corral: &Corral, known: &BTreeSet<String>) {
    for id in known {
        say(corral, &format!("rm -f {id}"));
    }
    for words in ["system prune -f --volumes", "volume prune -af", "system repair"] {
        let said = say(corral, words);
        assert_eq!(said.code, 0, "{words}: {}", said.err);
    }
    assert_eq!(nothing_is_left(corral, known), Vec::<String>::new());
    assert_eq!(store_is_whole(corral), Vec::<String>::new());
}

/// Ends all monitors, takes the memory away, and lets the disk say that it is of another boot.
fn reboot(corral: &Corral) {
    for (id, state) in invariants::containers(corral) {
        if !matches!(&*state, "running" | "paused") {
            continue;
        }
        let status = std::fs::read(corral.run_root().join("containers").join(&id).join("status.json"));
        let status: serde_json::Value = serde_json::from_slice(&status.expect("status")).expect("JSON");
        let pid = status["monitor"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw).expect("a process number");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
        let v1 = status["cgroup1"].as_array().into_iter().flatten();
        let groups: Vec<PathBuf> =
            v1.chain([&status["cgroup2"]]).filter_map(|group| group.as_str().map(PathBuf::from)).collect();
        // Processes that are frozen die in a boot too.
        groups.iter().for_each(|group| drop(std::fs::write(group.join("cgroup.kill"), "1")));
        let gone = |group: &PathBuf| std::fs::remove_dir(group).is_ok() || !group.exists();
        eventually("its groups are gone", || groups.iter().all(gone));
    }
    std::fs::remove_dir_all(corral.run_root()).expect("memory");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("boot");
    of_another_boot(&corral.root().join("store"), boot.trim());
}

/// Every record of the store that names this boot names another.
fn of_another_boot(dir: &Path, boot: &str) -> usize {
    let mut changed = 0;
    for entry in std::fs::read_dir(dir).expect("directory").flatten() {
        let kind = entry.file_type().expect("kind");
        if kind.is_dir() && entry.file_name() != "fs" {
            changed += of_another_boot(&entry.path(), boot);
        } else if kind.is_file()
            && let Ok(text) = std::fs::read_to_string(entry.path())
            && text.contains(boot)
        {
            let other = text.replace(boot, "00000000-0000-4000-8000-000000000000");
            std::fs::write(entry.path(), other).expect("record");
            changed += 1;
        }
    }
    changed
}

#[test]
fn a_boot_loses_what_was_in_memory_and_nothing_else() {
    let corral = Corral::new();
    for words in [
        "run -d --name plain busybox sleep 1000",
        "run -d --name frozen busybox sleep 1000",
        "pause frozen",
        "run -d --name always --restart always busybox sleep 1000",
        "create --name idle -v /data busybox true",
        "run --name over busybox true",
        "run -d --rm --name passing busybox sleep 1000",
        "volume create vol",
        "commit plain made",
    ] {
        let said = say(&corral, words);
        assert_eq!(said.code, 0, "{words}: {}", said.err);
    }
    let all = known(&corral);
    eventually("over is taken down", || {
        let id = corral.inspect("over")["Id"].as_str().expect("id").to_owned();
        !corral.run_root().join("containers").join(id).exists()
    });
    reboot(&corral);
    // The first thing that anybody does may as well be the making of one.
    assert_eq!(corral.ok(&["run", "--rm", "--name", "passing", "busybox", "echo", "up"]), "up\n");
    // Until somebody lists them they are dead, and never running.
    assert_eq!(states_are_true(&corral, &all), Vec::<String>::new());
    let states: Vec<String> =
        ["plain", "frozen", "always", "idle", "over"].map(|name| state(&corral, name)).to_vec();
    assert_eq!(states, ["exited", "exited", "exited", "created", "exited"]);
    assert_eq!(corral.inspect("plain")["State"]["ExitCode"], 137);
    assert_eq!(corral.say(&["inspect", "passing"]).code, 1, "memory only");
    corral.ok(&["system", "boot"]);
    assert_eq!(state(&corral, "always"), "running");
    corral.ok(&["start", "plain"]);
    assert_eq!(corral.ok(&["run", "--rm", "made", "echo", "whole"]), "whole\n");
    assert_eq!(corral.ok(&["volume", "ls", "-q"]).lines().filter(|name| *name == "vol").count(), 1);
    corral.ok(&["rmi", "-f", "made"]);
    clean(&corral, &all);
}

/// Records of a time that has not come yet, and of one long gone, as a clock that was set leaves them.
#[test]
fn a_clock_that_jumps_confuses_nobody() {
    const YEAR_NS: i128 = 365 * 86_400 * 1_000_000_000;
    for jump in [-20 * YEAR_NS, 20 * YEAR_NS] {
        let corral = Corral::new();
        corral.ok(&["run", "--name", "over", "busybox", "true"]);
        corral.ok(&["create", "--name", "idle", "busybox", "true"]);
        corral.ok(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]);
        let all = known(&corral);
        eventually("over is taken down", || {
            all.iter().filter(|id| corral.run_root().join("containers").join(id).exists()).count() == 1
        });
        for id in &all {
            let (data, run) =
                (corral.root().join("containers").join(id), corral.run_root().join("containers"));
            let files = ["container.json", "exit.json"].map(|name| data.join(name));
            for path in files.into_iter().chain([run.join(id).join("status.json")]) {
                set_clock(&path, jump);
            }
        }
        // Every view of them.
        for words in [
            "ps -a",
            "ps -as",
            "ps -a --filter before=web",
            "inspect over idle web",
            "stats --no-stream web",
            "top web",
            "logs -t --since 1h web",
            "events --since 1h --until 0s",
            "system df -v",
        ] {
            let said = say(&corral, words);
            assert_eq!((said.code, &*said.err), (0, ""), "{words}: {}", said.out);
        }
        assert_eq!(states_are_true(&corral, &all), Vec::<String>::new());
        let pruned = corral.ok(&["container", "prune", "-f", "--filter", "until=1h"]);
        let (old, expect) =
            (pruned.lines().filter(|line| line.len() == 64).count(), usize::from(jump < 0) * 2);
        assert_eq!(old, expect, "those of the future are not an hour old: {pruned}");
        corral.ok(&["exec", "web", "true"]);
        corral.ok(&["restart", "-t", "0", "web"]);
        corral.ok(&["stop", "-t", "0", "web"]);
        assert_eq!(state(&corral, "web"), "exited");
        clean(&corral, &all);
    }
}

fn set_clock(path: &Path, jump: i128) {
    let Ok(text) = std::fs::read(path) else { return };
    let mut record: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    for key in ["created_ns", "started_ns", "finished_ns"] {
        if let Some(moment) = record[key].as_u64().filter(|moment| *moment > 0) {
            record[key] = u64::try_from(i128::from(moment) + jump).expect("after 1970").into();
        }
    }
    std::fs::write(path, record.to_string()).expect("record");
}

/// A small file system, unmounted at the end.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).expect("directory");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(at)
            .status();
        assert!(mount.expect("mount").success(), "a tmpfs at {}", at.display());
        Self(at.to_owned())
    }

    /// Leaves so many KiB.
    fn fill(&self, leave: usize) {
        let mut fill = Command::new("dd");
        fill.args(["if=/dev/zero", "bs=1k", "status=none"])
            .arg(format!("of={}", self.0.join("fill").display()));
        fill.stderr(std::process::Stdio::null()).status().expect("dd");
        let file = std::fs::OpenOptions::new().write(true).open(self.0.join("fill")).expect("fill");
        let size = file.metadata().expect("fill").len();
        file.set_len(size.saturating_sub(leave as u64 * 1024)).expect("fill");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// How often the end of `web` is recorded.
fn died(corral: &Corral) -> usize {
    let words = "events --since 1h --until 0s -f event=die -f container=web";
    corral.ok(&words.split(' ').collect::<Vec<_>>()).lines().count()
}

/// What cannot be written is not recorded at each attempt to write it.
fn a_dead_monitor_is_recorded_once_there_is_space(corral: &Corral, small: &Small) {
    drop(std::fs::remove_file(corral.root().join("fill")));
    small.fill(0);
    let pid = corral.inspect("web")["State"]["Pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    kill_parent(pid.expect("a process number"));
    for _ in 0..5 {
        let listed = corral.ok(&["ps", "-a", "--filter", "name=web", "--format", "{{.State}}"]);
        assert_ne!(listed.trim(), "running");
    }
    assert_eq!(died(corral), 0, "the end is not on the disk yet");
}

/// Kills the process whose child this is.
fn kill_parent(pid: i32) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    let parent = parent.and_then(rustix::process::Pid::from_raw).expect("a process number");
    rustix::process::kill_process(parent, rustix::process::Signal::KILL).expect("kill");
    eventually("it is dead", || !Path::new(&format!("/proc/{pid}/exe")).exists());
}

#[test]
fn on_a_full_disk_a_command_is_done_or_says_so_and_loses_nothing() {
    if !corral_tests::has_idmapped_memory("on_a_full_disk_a_command_is_done_or_says_so_and_loses_nothing") {
        return;
    }
    let (with_image, corral) = (Corral::new(), Corral::empty());
    let image = corral.dir().join("image.tar");
    with_image.ok(&["save", "-o", image.to_str().expect("path"), "busybox"]);
    std::fs::write(corral.dir().join("other.tar"), text_archive(&"x".repeat(300_000))).expect("archive");
    let small = Small::mount(&corral.root(), "60m");
    for words in [
        "load -i image.tar",
        "create --name idle busybox true",
        "run -d --name web busybox sleep 1000",
        "run --name over busybox true",
        "volume create vol",
        "tag busybox again",
    ] {
        let said = say(&corral, words);
        assert_eq!(said.code, 0, "{words}: {}", said.err);
    }
    let mut refused = 0;
    for leave in [0, 4, 8, 16, 64, 200] {
        drop(std::fs::remove_file(corral.root().join("fill")));
        small.fill(leave);
        for words in [
            "ps -a",
            "create busybox true",
            "run --rm busybox true",
            "run -d --rm busybox true",
            "run -v /data busybox true",
            "start over",
            "exec web true",
            "import other.tar made",
            "commit web made",
            "tag busybox other",
            "rmi again",
            "tag busybox again",
            "volume create more",
            "volume rm more",
            "update --pids-limit 60 idle",
            "update --pids-limit 60 web",
            "cp other.tar idle:/tmp/",
            "rename idle still",
            "rename still idle",
            "pause web",
            "unpause web",
            "system repair",
        ] {
            let said = say(&corral, words);
            assert!(is_clean(&said), "{leave} KiB, {words}: {} {}", said.code, said.err);
            refused += usize::from(said.code != 0);
        }
        let all = known(&corral);
        assert_eq!(states_are_true(&corral, &all), Vec::<String>::new(), "{leave} KiB");
        assert_eq!(state(&corral, "web"), "running", "{leave} KiB");
    }
    assert!(refused > 20, "the disk was full: {refused}");
    a_dead_monitor_is_recorded_once_there_is_space(&corral, &small);
    std::fs::remove_file(corral.root().join("fill")).expect("space again");
    corral.ok(&["ps", "-a"]);
    let there: Vec<bool> = ["idle", "still"].map(|name| corral.say(&["inspect", name]).code == 0).to_vec();
    assert_eq!(there.iter().filter(|there| **there).count(), 1, "under one of its names: {there:?}");
    assert_eq!(state(&corral, "web"), "exited");
    assert_eq!(died(&corral), 1);
    corral.ok(&["start", "over"]);
    assert_eq!(corral.ok(&["run", "--rm", "busybox", "echo", "space"]), "space\n");
    let all = known(&corral);
    ["made", "other"].iter().for_each(|name| drop(corral.say(&["rmi", name])));
    clean(&corral, &all);
}

#[test]
fn a_run_rm_whose_cidfile_cannot_be_written_leaves_nothing() {
    let corral = Corral::new();
    let small = Small::mount(&corral.dir().join("small"), "64k");
    small.fill(0);
    for words in ["run --rm", "run -d --rm"] {
        let said = say(&corral, &format!("{words} --cidfile small/cid busybox true"));
        assert!(said.code == 125 && said.err.contains("container ID"), "{words}: {} {}", said.code, said.err);
        let left = invariants::entries(corral.run_root().join("containers")).count();
        assert_eq!((left, corral.dir().join("small/cid").exists()), (0, false), "{words}");
    }
    clean(&corral, &BTreeSet::new());
}

#[test]
fn a_restart_that_fails_to_begin_counts() {
    let corral = Corral::new();
    let gone = corral.dir().join("gone");
    std::fs::create_dir(&gone).expect("directory");
    std::os::unix::fs::chown(&gone, Some(1000), Some(1000)).expect("an ordinary user's");
    let bind = format!("{}:/d", gone.display());
    let script = "sleep 0.3; exit 1";
    corral.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--restart",
        "always",
        "-v",
        &bind,
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    std::fs::remove_dir(&gone).expect("gone");
    eventually("it gives up", || state(&corral, "web") == "exited");
    let web = corral.inspect("web");
    assert_eq!(web["RestartCount"], 1, "{web}");
    assert!(web["State"]["Error"].as_str().is_some_and(|error| error.contains("gone")), "{web}");
    clean(&corral, &known(&corral));
}

#[test]
fn a_container_that_is_renamed_while_it_runs_dies_under_its_new_name() {
    let corral = Corral::new();
    for words in ["run -d", "run -d --rm"] {
        let id = corral.ok(&format!("{words} --name old busybox sleep 1000").split(' ').collect::<Vec<_>>());
        corral.ok(&["rename", "old", "new"]);
        corral.ok(&["pause", "new"]);
        corral.ok(&["unpause", "new"]);
        corral.ok(&["kill", "new"]);
        let event = |event: &str| {
            let filter = format!("event={event}");
            let format = "{{.Actor.Attributes.name}}";
            let words = ["events", "--since", "1h", "--until", "0s", "-f", &filter, "--format", format];
            let of_it = ["-f", &format!("container={}", id.trim())];
            corral.ok(&words.into_iter().chain(of_it).collect::<Vec<_>>())
        };
        eventually("its end is recorded", || !event("die").is_empty());
        let names = ["create", "start", "rename", "pause", "unpause", "die"].map(event);
        assert_eq!(names, ["old\n", "old\n", "new\n", "new\n", "new\n", "new\n"], "{words}");
        corral.say(&["rm", "-f", "new"]);
    }
}
