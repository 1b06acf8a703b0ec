//! Kills the process at every named step of every use-case, one at a time, and looks at what the next commands make
//! of it.
//!
//! ```text
//! a use-case, unkilled  ──▶  the steps that its command, its monitor and its reaper pass
//! for each of them:  before ── act, killed there ── ps -a: states are true, none is lost
//!                    ── the same command again: it succeeds, or says why ── the goal holds
//!                    ── rm -f, prune, repair: nothing is left, journal and store verify
//! ```
//!
//! The steps are those of the room `fault`, which a debug build has. A step that no use-case passes is a failure.

mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cases::{CASES, CLOCK, Case};
use corral_fault::Step;
use corral_tests::invariants::{self, Wrong, containers, is_clean, nothing_is_left, states_are_true};
use corral_tests::{Corral, Said};

/// How often a step is killed at that one process passes again and again: the first times.
const PASSES: u32 = 2;
/// So many segments the journal keeps.
const KEPT_SEGMENTS: usize = 16;
/// In a head of the journal: where the time of its last record is, and where its digest (`journal::head`).
const HEAD_TIME: std::ops::Range<usize> = 32..40;
const HEAD_DIGEST: usize = 104;
/// How long a monitor may take to come to a step.
const PATIENCE: Duration = Duration::from_secs(5);

/// `ROLE/STEP:N`, as a process passes it.
type Pass = String;

fn step_of(pass: &str) -> &str {
    pass.split('/').next_back().and_then(|step| step.split(':').next()).unwrap_or_default()
}

fn number_of(pass: &str) -> u32 {
    pass.rsplit(':').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// An installation for one use-case after the other.
struct Bench {
    corral: Corral,
    /// Every container that there ever was.
    known: BTreeSet<String>,
}

impl Bench {
    fn new(case: &Case) -> Self {
        let corral = Corral::empty();
        let bench = Self { corral, known: BTreeSet::new() };
        fs::write(bench.file("base.tar"), archive("busybox")).expect("archive");
        fs::write(bench.file("other.tar"), archive("nobody has this")).expect("archive");
        if !case.fresh {
            bench.corral.ok(&["import", "other.tar", "other"]);
            bench.corral.ok(&["save", "-o", "saved.tar", "other"]);
            bench.corral.ok(&["rmi", "other"]);
            bench.restore();
        }
        if case.long_journal {
            for _ in 0..KEPT_SEGMENTS {
                bench.act(CLOCK, None);
                bench.corral.ok(&["tag", "busybox", "made"]);
            }
            bench.corral.ok(&["rmi", "made"]);
        }
        bench
    }

    fn file(&self, name: &str) -> PathBuf {
        self.corral.dir().join(name)
    }

    fn restore(&self) {
        self.corral.ok(&["import", "base.tar", "busybox"]);
    }

    /// A command with orders for its steps.
    fn act(&self, words: &str, fault: Option<&str>) -> Said {
        if words == CLOCK {
            return self.set_clock_back();
        }
        let mut command = self.corral.command(&words.split(' ').collect::<Vec<_>>());
        command.env("CORRAL_FAULT_TRACE", self.file("trace"));
        fault.map(|fault| command.env("CORRAL_FAULT", fault));
        // A monitor that is killed with its client's pipe in its hands must not keep us waiting: files, not pipes.
        let [out, err] = ["out.txt", "err.txt"].map(|name| self.file(name));
        let file = |path: &PathBuf| Stdio::from(fs::File::create(path).expect("a file of ours"));
        let status = command.stdout(file(&out)).stderr(file(&err)).status().expect("corral runs");
        let [out, err] = [out, err].map(|path| fs::read(path).expect("a file of ours"));
        Said::from(std::process::Output { status, stdout: out, stderr: err })
    }

    /// The journal's last record is an hour ahead.
    fn set_clock_back(&self) -> Said {
        let path = self.corral.run_root().join("journal/0");
        let mut head = fs::read(&path).expect("the journal's head");
        let time = u64::from_le_bytes(head[HEAD_TIME].try_into().expect("eight bytes"));
        head[HEAD_TIME].copy_from_slice(&(time + 3_600_000_000_000).to_le_bytes());
        head.truncate(HEAD_DIGEST);
        let digest = corral_tests::sha256(&head);
        head.extend_from_slice(&digest[..8]);
        fs::write(&path, head).expect("the journal's head");
        Said { code: 0, out: String::new(), err: String::new() }
    }

    fn trace(&self) -> Vec<Pass> {
        let text = fs::read_to_string(self.file("trace")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The trace once nobody adds to it any more.
    fn settled_trace(&self) -> Vec<Pass> {
        let mut seen = usize::MAX;
        // What is checked for its health never is at rest.
        for _ in 0..10 {
            let trace = self.trace();
            if trace.len() == seen {
                break;
            }
            seen = trace.len();
            std::thread::sleep(Duration::from_millis(250));
        }
        self.trace()
    }

    fn forget_trace(&self) {
        ["trace", "cid", "out"].iter().for_each(|name| drop(fs::remove_file(self.file(name))));
    }

    /// What a use-case passes while it is not killed: its own steps, and before them those of what it needs.
    fn learn(&mut self, case: &Case) -> (BTreeSet<Pass>, BTreeSet<Pass>) {
        self.forget_trace();
        for words in case.before {
            let said = self.act(words, None);
            assert_eq!(said.code, 0, "{}: {words}: {}", case.name, said.err);
        }
        let before = self.settled_trace();
        let said = self.act(case.act, None);
        assert!(self.reaches(case), "{}, not killed: {} {}", case.name, said.code, said.err);
        let after = self.settled_trace()[before.len()..].to_vec();
        let chosen = after.into_iter().filter(|pass| number_of(pass) <= PASSES);
        let learned = (before.into_iter().collect(), chosen.collect());
        let wrong = self.clean(case);
        assert!(wrong.is_empty(), "{}, not killed: {wrong:?}", case.name);
        learned
    }

    /// Kills a use-case at one of its steps. None if it did not come there this time.
    fn kill_at(&mut self, case: &Case, pass: &str, passed_before: bool) -> Option<Wrong> {
        self.forget_trace();
        let is_command = pass.starts_with("command/");
        let early = (!is_command && !passed_before).then_some(pass);
        for words in case.before {
            self.act(words, early);
        }
        // A root that nothing was done in yet stays so.
        let had = if case.before.is_empty() { BTreeSet::new() } else { self.note_containers() };
        let said = self.act(case.act, Some(pass));
        let deadline = Instant::now() + if is_command { Duration::ZERO } else { PATIENCE };
        while !self.trace().iter().any(|passed| passed == pass) {
            if Instant::now() > deadline {
                self.clean(case);
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut wrong = Vec::new();
        if is_command && said.code != 137 {
            wrong.push(format!("did not die: {} {}", said.code, said.err));
        }
        let now = self.note_containers();
        if !case.removes && !now.is_superset(&had) {
            wrong.push(format!("lost: {:?}", had.difference(&now)));
        }
        // What was answered with its identity is there.
        let made = said.out.trim();
        if case.act.starts_with("run -d")
            && !case.act.contains("--rm")
            && said.code == 0
            && !now.contains(made)
        {
            wrong.push(format!("promised and lost: {made}"));
        }
        wrong.extend(states_are_true(&self.corral, &self.known));
        drop(fs::remove_file(self.file("cid")));
        let again = self.act(case.act, None);
        if !is_clean(&again) {
            wrong.push(format!("once more: {} {}{}", again.code, again.out, again.err));
        }
        if !self.reaches(case) {
            wrong.push(format!("the goal is missed: {} {}", again.code, again.err));
        }
        wrong.extend(self.clean(case));
        Some(wrong)
    }

    fn reaches(&self, case: &Case) -> bool {
        // What ends by itself needs a moment.
        (0..100).any(|_| {
            (case.goal)(&self.corral) || {
                std::thread::sleep(Duration::from_millis(10));
                false
            }
        })
    }

    fn note_containers(&mut self) -> BTreeSet<String> {
        let now: BTreeSet<String> = containers(&self.corral).into_iter().map(|(id, _)| id).collect();
        // Half-made ones too: they have a directory.
        for root in [self.corral.root(), self.corral.run_root()] {
            self.known.extend(invariants::entries(&root.join("containers")));
        }
        self.known.extend(now.iter().cloned());
        now
    }

    /// Takes everything away by ordinary commands, and looks for what they left.
    fn clean(&mut self, case: &Case) -> Wrong {
        let mut wrong = Vec::new();
        let listed = self.note_containers();
        if !listed.is_empty() {
            let words = ["rm", "-f"].into_iter().chain(listed.iter().map(String::as_str));
            let said = self.corral.say(&words.collect::<Vec<_>>());
            // One of --rm may have gone by itself; what was in its layer is told.
            let expected = |line: &&str| line.contains("o such container") || line.contains("discarded");
            let other = said.err.lines().filter(|line| !expected(line));
            wrong.extend(other.map(|line| format!("rm -f: {line}")));
        }
        for words in case.cleans().iter().chain(&["system prune -f --volumes", "system repair"]) {
            let said = self.corral.say(&words.split(' ').collect::<Vec<_>>());
            // What it names need not be there.
            if said.code != 0 && !words.starts_with("rmi") {
                wrong.push(format!("{words}: {}", said.err));
            }
        }
        wrong.extend(nothing_is_left(&self.corral, &self.known));
        wrong.extend(invariants::ends_are_recorded(&self.corral, &self.known));
        if case.images {
            wrong.extend(invariants::store_is_whole(&self.corral));
            if !case.fresh {
                self.restore();
            }
        }
        self.known.clear();
        wrong
    }
}

fn archive(text: &str) -> Vec<u8> {
    if text == "busybox" { corral_tests::busybox_archive() } else { corral_tests::text_archive(text) }
}

#[derive(Default)]
struct Found {
    reached: BTreeSet<String>,
    ran: usize,
    missed: Vec<String>,
    wrong: BTreeMap<String, Wrong>,
    seconds: Vec<(Duration, String)>,
}

fn run_case(case: &Case, found: &Mutex<Found>) {
    let began = Instant::now();
    if std::env::var_os("CORRAL_FAULT_LOUD").is_some() {
        eprintln!("begin {}", case.name);
    }
    let mut bench = Bench::new(case);
    let (before, passes) = bench.learn(case);
    for pass in &passes {
        if std::env::var_os("CORRAL_FAULT_LOUD").is_some() {
            eprintln!("{:6.1} {} / {pass}", began.elapsed().as_secs_f64(), case.name);
        }
        let mut tries = 0;
        let outcome = loop {
            if case.fresh {
                bench = Bench::new(case);
            }
            tries += 1;
            match bench.kill_at(case, pass, before.contains(pass)) {
                None if tries < 3 => {}
                outcome => break outcome,
            }
        };
        let mut found = found.lock().expect("no test panics with it");
        found.reached.insert(step_of(pass).to_owned());
        found.ran += 1;
        let what = format!("{} / {pass}", case.name);
        match outcome {
            None => found.missed.push(what),
            Some(wrong) if !wrong.is_empty() => {
                println!("{what}:\n    {}", wrong.join("\n    "));
                found.wrong.insert(what, wrong);
                // What is left would be found again by the next one.
                bench = Bench::new(case);
            }
            Some(_) => {}
        }
    }
    found.lock().expect("no test panics with it").seconds.push((began.elapsed(), case.name.to_owned()));
}

#[test]
fn whatever_is_killed_the_next_command_puts_right() {
    let only = std::env::var("CORRAL_FAULT_CASE").ok();
    let cases: Vec<&Case> =
        CASES.iter().filter(|case| only.as_ref().is_none_or(|only| case.name == *only)).collect();
    // Most of the time a command waits for the disk.
    let (next, found) = (Mutex::new(cases.iter()), Mutex::new(Found::default()));
    let workers = std::thread::available_parallelism().map_or(4, |cores| usize::from(cores) * 2).min(8);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let case = next.lock().expect("no test panics with it").next();
                    match case {
                        Some(case) => run_case(case, &found),
                        None => return,
                    }
                }
            });
        }
    });
    let found = found.into_inner().expect("no test panics with it");
    println!("{} kills: {} steps in {} use-cases", found.ran, found.reached.len(), cases.len());
    for (took, name) in &found.seconds {
        println!("  {:5.1} s  {name}", took.as_secs_f64());
    }
    println!("not reached when killed: {:?}", found.missed);
    assert!(found.wrong.is_empty(), "{} of {} kills were not put right", found.wrong.len(), found.ran);
    if only.is_none() {
        let names = Step::ALL.iter().map(|step| step.name());
        let never: Vec<&str> = names.filter(|name| !found.reached.contains(*name)).collect();
        assert!(never.is_empty(), "no use-case passes {never:?}");
    }
    assert!(found.missed.len() * 20 <= found.ran, "too many steps were not reached: {:?}", found.missed);
}

/// What is said to the engine's own processes stays among them.
#[test]
fn no_container_sees_the_orders() {
    let corral = Corral::new();
    let say = |words: &[&str]| {
        let mut command = corral.command(words);
        command.env("CORRAL_FAULT", "nobody/Nothing:1").env("CORRAL_FAULT_TRACE", corral.dir().join("trace"));
        Said::from(command.output().expect("corral runs"))
    };
    let here = say(&["run", "--rm", "busybox", "env"]);
    say(&["run", "-d", "--name", "web", "busybox", "sh", "-c", "env; sleep 1000"]);
    let inside = say(&["exec", "web", "env"]);
    corral_tests::eventually("it writes", || corral.ok(&["logs", "web"]).contains("PATH="));
    for seen in [here.out, inside.out, corral.ok(&["logs", "web"])] {
        assert!(seen.contains("PATH=") && !seen.contains("CORRAL"), "{seen}");
    }
    let trace = fs::read_to_string(corral.dir().join("trace")).expect("the steps");
    assert!(trace.contains("command/") && trace.contains("monitor/"), "{trace}");
}
