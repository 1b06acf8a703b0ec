//! A thousand commands on one store, many at a time: nothing is corrupted, nobody waits for ever, what was promised is
//! there, and what failed says why in one line.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use corral_tests::invariants::{self, is_clean, nothing_is_left, states_are_true, store_is_whole};
use corral_tests::{Corral, Said, text_archive};

/// Commands at one time.
const WORKERS: usize = 32;
/// Each worker goes through its script so often; the last time it leaves what it made.
const ROUNDS: usize = 2;
/// No command may take longer, however many others there are.
const PATIENCE: Duration = Duration::from_secs(100);

/// A step of a worker's script. `{}` is its own name; what every worker uses has a name without it.
struct Line {
    words: &'static str,
    /// What it may say instead of succeeding, as others are at the same thing.
    or: &'static [&'static str],
}

const fn must(words: &'static str) -> Line {
    Line { words, or: &[] }
}

const fn may(words: &'static str, or: &'static [&'static str]) -> Line {
    Line { words, or }
}

const GONE: &str = "o such container";
const BUSY: &str = "another command works on it";

const SCRIPT: &[Line] = &[
    must("run -d --name {} busybox sleep 1000"),
    may("create --name shared busybox true", &["already in use"]),
    must("exec {} true"),
    must("tag busybox {}"),
    may("rename shared other-name", &[GONE, "already in use", "is called other-name already", BUSY]),
    must("volume create {}"),
    must("run --rm -v {}:/data -v /scratch busybox touch /data/made"),
    must("commit {} made-{}"),
    must("ps -a"),
    may("rm -f shared other-name", &[GONE, BUSY]),
    may("load -i saved.tar", &[]),
    may("rmi other", &["no such image", "putting an image or a container together"]),
    must("cp saved.tar {}:/tmp/"),
    must("system prune -f"),
    must("update --pids-limit 50 {}"),
    must("images"),
    must("system repair"),
];

const END: &[Line] = &[
    must("rmi made-{}"),
    must("rmi {}"),
    must("rm -f {}"),
    must("volume rm {}"),
    must("events --since 1h --until 0s"),
];

struct Worker<'c> {
    corral: &'c Corral,
    number: usize,
    wrong: &'c Mutex<Vec<String>>,
    count: usize,
}

impl Worker<'_> {
    fn play(&mut self, lines: &[Line]) {
        for line in lines {
            let words = line.words.replace("{}", &format!("w{}", self.number));
            let said = self.run(&words);
            self.count += 1;
            let excused = || {
                let each = said.err.lines().filter(|said| !said.is_empty() && !said.contains("discarded"));
                said.code == 0 || each.into_iter().all(|said| line.or.iter().any(|or| said.contains(or)))
            };
            if !is_clean(&said) || !excused() {
                let text = format!("{words}: {} {} {}", said.code, said.out, said.err);
                self.wrong.lock().expect("nobody panics with it").push(text);
            }
        }
    }

    fn run(&self, words: &str) -> Said {
        let [out, err] = ["out", "err"].map(|end| self.corral.dir().join(format!("{}.{end}", self.number)));
        let mut child = self
            .corral
            .command(&words.split(' ').collect::<Vec<_>>())
            .stdout(Stdio::from(File::create(&out).expect("a file of ours")))
            .stderr(Stdio::from(File::create(&err).expect("a file of ours")))
            .spawn()
            .expect("corral runs");
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().expect("our child") {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().expect("our child");
                self.wrong.lock().expect("nobody panics with it").push(format!("{words}: never ends"));
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        let [stdout, stderr] = [out, err].map(|path| std::fs::read(path).expect("a file of ours"));
        Said::from(std::process::Output { status, stdout, stderr })
    }
}

#[test]
fn a_thousand_commands_on_one_store() {
    let corral = Corral::new();
    std::fs::write(corral.dir().join("other.tar"), text_archive("nobody has this")).expect("archive");
    for words in ["import other.tar other", "save -o saved.tar other", "rmi other"] {
        corral.ok(&words.split(' ').collect::<Vec<_>>());
    }
    let wrong = Mutex::new(Vec::new());
    let began = Instant::now();
    let count: usize = std::thread::scope(|scope| {
        let play = |number| {
            let mut worker = Worker { corral: &corral, number, wrong: &wrong, count: 0 };
            for round in 0..ROUNDS {
                worker.play(SCRIPT);
                if round + 1 < ROUNDS {
                    worker.play(END);
                }
            }
            worker.count
        };
        let workers: Vec<_> = (0..WORKERS).map(|number| scope.spawn(move || play(number))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker")).sum()
    });
    println!("{count} commands, {WORKERS} at a time, in {:.1} s", began.elapsed().as_secs_f64());
    let wrong = wrong.into_inner().expect("nobody panics with it");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 1000, "{count}");
    what_was_promised_is_there(&corral);
    let known: BTreeSet<String> = invariants::containers(&corral).into_iter().map(|(id, _)| id).collect();
    assert_eq!(states_are_true(&corral, &known), Vec::<String>::new());
    let ids = ["rm", "-f"].into_iter().chain(known.iter().map(String::as_str));
    corral.ok(&ids.collect::<Vec<_>>());
    let of_workers =
        |prefix: &str| (0..WORKERS).map(|number| format!("{prefix}{number}")).collect::<Vec<_>>();
    for (verb, names) in [("rmi", of_workers("made-w")), ("rmi", of_workers("w"))] {
        let words = std::iter::once(verb).chain(names.iter().map(String::as_str));
        corral.ok(&words.collect::<Vec<_>>());
    }
    corral.say(&["rmi", "other"]);
    for words in ["system prune -f --volumes", "volume prune -af", "system repair"] {
        corral.ok(&words.split(' ').collect::<Vec<_>>());
    }
    assert_eq!(nothing_is_left(&corral, &known), Vec::<String>::new());
    assert_eq!(store_is_whole(&corral), Vec::<String>::new());
}

fn what_was_promised_is_there(corral: &Corral) {
    let lines = |words: &str| -> BTreeSet<String> {
        corral.ok(&words.split(' ').collect::<Vec<_>>()).lines().map(str::to_owned).collect()
    };
    let running = lines("ps --format {{.Names}}");
    let volumes = lines("volume ls -q");
    let images = lines("images --format {{.Repository}}");
    for number in 0..WORKERS {
        let name = format!("w{number}");
        assert!(running.contains(&name) && volumes.contains(&name) && images.contains(&name), "{name}");
        assert!(images.contains(&format!("made-{name}")), "made-{name}");
        let pids = corral.ok(&["inspect", "--format", "{{.HostConfig.PidsLimit}}", &name]);
        assert_eq!(pids.trim(), "50", "{name}");
        let kept = corral.ok(&["run", "--rm", "-v", &format!("{name}:/data"), "busybox", "ls", "/data"]);
        assert_eq!(kept, "made\n", "{name}");
    }
}
