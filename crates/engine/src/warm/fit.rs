//! Whether a container can be what a template has prepared. Pure: what differs is a reason for a cold start.

use std::path::Path;

use corral_spec::record::{Imported, Launch, Mount};
use corral_spec::{NetworkMode, Ulimit};

use super::entry::{Entry, Program};

/// Variables that are read by what no template can watch: the interpreter at its start, the dynamic linker, libraries.
const READ_EARLY: [&str; 13] = [
    "PYTHON",
    "LD_",
    "GLIBC_",
    "MALLOC_",
    "LC_",
    "LANG",
    "TZ",
    "OMP_",
    "OPENBLAS_",
    "GOTO_",
    "MKL_",
    "BLIS_",
    "NUMEXPR_",
];
/// Where an image keeps what is imported.
const CODE: [&str; 6] = ["/app", "/usr", "/lib", "/lib64", "/bin", "/opt"];

/// The reason why `launch` is not what `template` has prepared, if there is one.
pub(super) fn obstacle(
    launch: &Launch,
    template: &Launch,
    imported: &Imported,
    entry: &Entry,
) -> Option<String> {
    let same_words = launch.process.argv.get(..entry.words);
    let (ours, theirs) = (&launch.confinement, &template.confinement);
    if launch.root.lowers != template.root.lowers {
        return Some("the image is not the template's any more".into());
    }
    if launch.process.tty {
        return Some("a program with a terminal (-t) is not forked".into());
    }
    if same_words != Some(&entry_words(template, entry)) {
        return Some("another command than the image's is run".into());
    }
    if launch.network != NetworkMode::None || launch.ids.is_none() {
        return Some("the host's network or user namespace is used".into());
    }
    if ours.capabilities != theirs.capabilities
        || ours.no_new_privileges != theirs.no_new_privileges
        || ours.seccomp != theirs.seccomp
    {
        return Some("its system calls are filtered in another way than the template's".into());
    }
    if matches!(entry.program, Program::Module(_)) && launch.process.workdir != template.process.workdir {
        return Some("python3 -m looks for its module in the working directory, and that is another".into());
    }
    let covered = |mount: &&Mount| covers_code(mount) && !template.mounts.contains(mount);
    if let Some(mount) = launch.mounts.iter().find(covered) {
        return Some(format!("the mount at {} may hold other code than what was imported", mount.target));
    }
    let below = |limit: &&Ulimit| {
        let theirs = template.process.ulimits.iter().find(|theirs| theirs.name == limit.name);
        theirs.is_some_and(|theirs| theirs.hard < limit.hard)
    };
    if let Some(limit) = launch.process.ulimits.iter().find(below) {
        return Some(format!("the limit {} is above the template's", limit.name));
    }
    variable(launch, template, imported)
        .map(|name| format!("the imports depend on the variable {name}, which has another value here"))
}

/// A template's arguments end with the command that it stands for.
fn entry_words(template: &Launch, entry: &Entry) -> Vec<String> {
    let start = template.process.argv.iter().position(|word| word == super::STANDS_FOR);
    let words = start.map(|start| &template.process.argv[start + 1..]).unwrap_or_default();
    words.iter().take(entry.words).cloned().collect()
}

fn covers_code(mount: &Mount) -> bool {
    let target = mount.target.as_path();
    CODE.map(Path::new).iter().any(|code| target.starts_with(code) || code.starts_with(target))
}

/// A variable that the imports may have read, and that differs.
fn variable(launch: &Launch, template: &Launch, imported: &Imported) -> Option<String> {
    let value = |launch: &'_ Launch, name: &str| {
        let found =
            launch.process.env.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
        found.map(str::to_owned)
    };
    let names = |launch: &'_ Launch| {
        let names = launch.process.env.iter().filter_map(|entry| entry.split_once('='));
        names.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let early = |name: &String| READ_EARLY.iter().any(|start| name.starts_with(start));
    let all: Vec<String> = names(launch).into_iter().chain(names(template)).collect();
    let read: Vec<String> = match &imported.variables {
        Some(read) => all.into_iter().filter(early).chain(read.iter().cloned()).collect(),
        // Whoever lists them all seldom means the one that is new in each container.
        None => all.into_iter().filter(|name| name != "HOSTNAME").collect(),
    };
    read.into_iter().find(|name| value(launch, name) != value(template, name))
}
