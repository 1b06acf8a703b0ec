//! What must be so whoever died: of the containers that are there, and of the machine once there are none.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{Corral, Said};

/// What is wrong.
pub type Wrong = Vec<String>;

/// The containers that are listed: identity and state.
///
/// # Panics
/// When `ps` fails.
pub fn containers(corral: &Corral) -> Vec<(String, String)> {
    let listed = corral.ok(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}"]);
    let pair = |line: &str| line.split_once(' ').map(|(id, state)| (id.to_owned(), state.to_owned()));
    listed.lines().filter_map(pair).collect()
}

/// None is said to run that does not, and none runs that is not said to.
pub fn states_are_true(corral: &Corral, known: &BTreeSet<String>) -> Wrong {
    let mut wrong = Vec::new();
    // The container of a dead command dies with it, which takes the kernel a moment.
    if !settled(|| containers(corral).iter().all(|(_, state)| state != "busy")) {
        wrong.push("a container stays busy".into());
    }
    let listed = containers(corral);
    for id in known {
        let state = listed.iter().find(|(listed, _)| listed == id).map_or("gone", |(_, state)| state);
        let lives = matches!(state, "running" | "paused" | "restarting" | "busy");
        // A container that ends by itself may do so between the two looks.
        if !lives && !settled(|| processes(id) == 0) {
            wrong.push(format!("{} is {state} and has processes", &id[..12]));
        }
        // Its monitor may be writing down how it ended.
        let says_so = || containers(corral).iter().any(|(listed, state)| listed == id && state == "running");
        if state == "running" && !settled(|| processes(id) > 0 || !says_so()) {
            wrong.push(format!("{} is {state} and has no process", &id[..12]));
        }
    }
    wrong
}

/// A command that fails says why in one line, and never by a panic.
pub fn is_clean(said: &Said) -> bool {
    let lines = said.err.lines().filter(|line| !line.is_empty()).count();
    said.code == 0 || (matches!(said.code, 1 | 125 | 126 | 127 | 137) && lines <= 2)
}

/// Nothing is left of any container, volume or half-made thing.
///
/// # Panics
/// When this machine's own files cannot be read.
pub fn nothing_is_left(corral: &Corral, known: &BTreeSet<String>) -> Wrong {
    let mut wrong = Vec::new();
    // Who takes down what a container used may be at it still.
    let gone = settled(|| known.iter().all(|id| processes(id) == 0) && monitors(corral).next().is_none());
    wrong.extend(
        known.iter().filter(|id| !gone && processes(id) > 0).map(|id| format!("processes of {}", &id[..12])),
    );
    for root in [corral.root(), corral.run_root()] {
        for dir in ["containers", "ids", "names", "volumes", "store/staging", "store/cache"] {
            entries(root.join(dir)).for_each(|name| wrong.push(format!("left in {dir}: {name}")));
        }
    }
    const ROOT: &[&str] = &["store", "containers", "ids", "names", "volumes", "volumes.lock", "journal"];
    let in_root = entries(corral.root()).filter(|name| !ROOT.contains(&&**name));
    let other = in_root.filter(|name| !name.starts_with("state.db"));
    wrong.extend(
        other
            .filter(|name| !matches!(&**name, "journal.key" | "journal.anchors"))
            .map(|name| format!("left: {name}")),
    );
    let segments = entries(corral.root().join("journal"));
    wrong.extend(segments.filter(|name| name.starts_with("new")).map(|name| format!("left: journal/{name}")));
    let groups = groups();
    wrong.extend(
        known
            .iter()
            .flat_map(|id| groups.iter().filter(|group| group.contains(&id[..12])))
            .map(|group| format!("group {group}")),
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    // A test mounts at most what is directly in its directory.
    let ours = |line: &&str| {
        let at = Path::new(line.split(' ').nth(4).unwrap_or_default());
        at.starts_with(corral.dir()) && at.parent() != Some(corral.dir())
    };
    wrong.extend(mounts.lines().filter(ours).map(|line| format!("mount {line}")));
    wrong.extend(monitors(corral).map(|line| format!("process {line}")));
    wrong.extend(held_locks(corral));
    let verified = corral.say(&["journal", "verify"]);
    if verified.code != 0 {
        wrong.push(format!("journal: {}{}", verified.out, verified.err));
    }
    if corral.root().join("state.db").exists() && !corral.ok(&["volume", "ls", "-q"]).is_empty() {
        wrong.push("a volume".into());
    }
    wrong
}

/// The locks that commands share, as far as somebody holds one.
fn held_locks(corral: &Corral) -> Wrong {
    let shared = ["volumes.lock", "names", "store/lock", "store/lease", "journal"]
        .map(|name| corral.root().join(name));
    let heads =
        entries(corral.run_root().join("journal")).map(|name| corral.run_root().join("journal").join(name));
    let is_held = |path: &std::path::PathBuf| {
        let how = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        fs::File::open(path).is_ok_and(|file| rustix::fs::flock(&file, how).is_err())
    };
    let paths = shared.into_iter().chain(heads);
    paths.filter(is_held).map(|path| format!("the lock of {} is held", path.display())).collect()
}

/// What was recorded to come to be, or to run, is recorded to be gone, or dead; perhaps twice, and never not.
///
/// # Panics
/// When `events` fails.
pub fn ends_are_recorded(corral: &Corral, known: &BTreeSet<String>) -> Wrong {
    let format = "{{.Action}} {{.Actor.ID}}";
    let words = ["events", "--since", "1h", "--until", "0s", "-f", "type=container", "--format", format];
    let events = corral.ok(&words);
    let has = |action: &str, id: &str| events.lines().any(|line| line == format!("{action} {id}"));
    let missing = |(begin, end): (&'static str, &'static str)| {
        let without = known.iter().filter(move |id| has(begin, id) && !has(end, id));
        without.map(move |id| format!("{} has a {begin} and no {end}", &id[..12])).collect::<Vec<_>>()
    };
    [("create", "destroy"), ("start", "die")].into_iter().flat_map(missing).collect()
}

/// Every name leads to an image, every image to its layers, and their bytes are what their digests say; nothing else
/// is there.
///
/// # Panics
/// When `images` or `inspect` fails.
pub fn store_is_whole(corral: &Corral) -> Wrong {
    let mut wrong = Vec::new();
    let images = corral.ok(&["images", "-aq", "--no-trunc"]);
    let images: BTreeSet<&str> = images.lines().collect();
    let mut layers = BTreeSet::new();
    for image in &images {
        let saved = corral.say(&["save", "-o", "verified.tar", image]);
        if saved.code != 0 {
            wrong.push(format!("save {image}: {}", saved.err));
        }
        let of = corral.ok(&["inspect", "--format", "{{range .RootFS.Layers}}{{println .}}{{end}}", image]);
        layers.extend(of.split_whitespace().filter_map(|layer| Some(layer.split_once(':')?.1.to_owned())));
    }
    let store = corral.root().join("store");
    let there: BTreeSet<String> = entries(store.join("layers")).collect();
    if there != layers {
        wrong.push(format!("layers {there:?}, of images {layers:?}"));
    }
    if entries(store.join("images")).count() != images.len() {
        wrong.push(format!("{} image records", entries(store.join("images")).count()));
    }
    wrong
}

fn settled(mut holds: impl FnMut() -> bool) -> bool {
    (0..400).any(|_| {
        holds() || {
            std::thread::sleep(std::time::Duration::from_millis(5));
            false
        }
    })
}

/// Names in a directory; none if there is none.
pub fn entries(dir: impl AsRef<Path>) -> impl Iterator<Item = String> {
    let found = fs::read_dir(dir).into_iter().flatten().flatten();
    found.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

fn pids() -> impl Iterator<Item = String> {
    entries("/proc").filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// How many processes are in a container's control groups.
fn processes(id: &str) -> usize {
    let group = format!("corral-{}", &id[..12]);
    // A zombie's group is that of its parent's choosing until it is waited for; it holds nothing.
    let lives = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    };
    let is_in = |pid: &str| {
        fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(&group))
    };
    pids().filter(|pid| is_in(pid) && lives(pid)).count()
}

/// The command lines of processes that work for this installation.
fn monitors(corral: &Corral) -> impl Iterator<Item = String> {
    let run = format!("CORRAL_RUN={}", corral.run_root().display());
    // A reaper's command line names a container and no place.
    let works = move |pid: &String| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|variable| variable == run.as_bytes()))
    };
    let line = |pid: String| fs::read_to_string(format!("/proc/{pid}/cmdline")).ok();
    pids().filter(works).filter_map(line).map(|line| line.replace('\0', " "))
}

/// All control groups of containers of anybody.
fn groups() -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![Path::new("/sys/fs/cgroup").to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().as_encoded_bytes().starts_with(b"corral-") {
                    found.push(entry.path().display().to_string());
                } else {
                    waiting.push(entry.path());
                }
            }
        }
    }
    found
}
