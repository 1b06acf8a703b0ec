use super::{Act, VERBS, boot, inspect, prune, system, volume, volume_list};
use crate::app::Globals;
use crate::failure::Failure;
use crate::{Words, output};

/// A management command and what it manages.
struct Group {
    name: &'static str,
    about: &'static str,
    /// The top verbs that are its commands too, under the same name.
    verbs: &'static [&'static str],
    commands: &'static [Command],
}

/// A command that is a top verb under another name, or that there is only in its group.
struct Command {
    names: &'static [&'static str],
    what: What,
}

enum What {
    Verb(&'static str),
    Own(&'static str, Act),
}

const fn verb(names: &'static [&'static str], verb: &'static str) -> Command {
    Command { names, what: What::Verb(verb) }
}

const fn own(names: &'static [&'static str], about: &'static str, act: Act) -> Command {
    Command { names, what: What::Own(about, act) }
}

const GROUPS: &[Group] = &[
    Group {
        name: "container",
        about: "Manage containers",
        verbs: &[
            "attach", "commit", "cp", "create", "diff", "exec", "export", "kill", "logs", "pause", "port",
            "rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause", "update", "wait",
        ],
        commands: &[
            own(&["inspect"], "Display detailed information on one or more containers", inspect::containers),
            verb(&["ls", "list", "ps"], "ps"),
            own(&["prune"], "Remove all stopped containers", prune::containers),
            verb(&["remove"], "rm"),
        ],
    },
    Group {
        name: "image",
        about: "Manage images",
        verbs: &["build", "history", "import", "load", "pull", "push", "save", "tag"],
        commands: &[
            own(&["inspect"], "Display detailed information on one or more images", inspect::images),
            verb(&["ls", "list"], "images"),
            own(&["prune"], "Remove unused images", prune::images),
            verb(&["rm", "remove"], "rmi"),
        ],
    },
    Group {
        name: "system",
        about: "Repair what killed commands left, and remove unused data",
        verbs: &["events", "info"],
        commands: &[
            own(&["boot"], "Start the containers that restart with the host", boot::boot),
            own(&["df"], "Show disk usage", system::df),
            own(&["halt"], "Stop all containers, those that restart with the host until it does", boot::halt),
            own(
                &["install"],
                "Have systemd start containers at boot that restart with the host",
                boot::install,
            ),
            own(&["prune"], "Remove unused data", prune::system),
            own(&["repair"], "Find what killed processes left behind and clean it up", prune::repair),
        ],
    },
    Group {
        name: "volume",
        about: "Manage volumes",
        verbs: &[],
        commands: &[
            own(&["create"], "Create a volume", volume::create),
            own(&["export"], "Write a volume's files as a tar archive", volume::export),
            own(&["import"], "Unpack a tar archive into a volume", volume::import),
            own(&["inspect"], "Display detailed information on one or more volumes", inspect::volumes),
            own(&["ls", "list"], "List volumes", volume_list::list),
            own(&["prune"], "Remove unused local volumes", prune::volumes),
            own(&["rm", "remove"], "Remove one or more volumes", volume::remove),
        ],
    },
];

/// The management commands and what they are for.
pub(super) fn groups() -> impl Iterator<Item = (&'static str, &'static str)> {
    GROUPS.iter().map(|group| (group.name, group.about))
}

/// The line of help of a command that there is only in a group, such as `volume ls`.
pub(super) fn about(verb: &str) -> Option<&'static str> {
    let (group, name) = verb.split_once(' ')?;
    let group = GROUPS.iter().find(|known| known.name == group)?;
    match &group.commands.iter().find(|command| command.names.contains(&name))?.what {
        What::Own(about, _) => Some(about),
        What::Verb(_) => None,
    }
}

/// All names of a verb, as Docker's help lists them.
pub(super) fn aliases(verb: &str) -> Vec<String> {
    let mut names = Vec::new();
    for group in GROUPS {
        let own = |name: &&str| format!("corral {} {name}", group.name);
        names.extend(group.verbs.iter().filter(|known| **known == verb).map(own));
        let same = |command: &&Command| match command.what {
            What::Verb(known) => known == verb,
            What::Own(..) => verb
                .split_once(' ')
                .is_some_and(|(of, name)| of == group.name && command.names.contains(&name)),
        };
        names.extend(group.commands.iter().filter(same).flat_map(|command| command.names).map(own));
    }
    if !verb.contains(' ') {
        names.push(format!("corral {verb}"));
    }
    names
}

/// Runs a management command; none if there is none of this name.
pub(super) fn act(globals: &Globals, name: &str, words: &Words) -> Option<Result<u8, Failure>> {
    let group = GROUPS.iter().find(|group| group.name == name)?;
    let Some((first, rest)) = words.split_first() else { return Some(help(group)) };
    let first = first.to_string_lossy();
    let command = group.commands.iter().find(|command| command.names.contains(&&*first));
    Some(match (command.map(|command| &command.what), &*first) {
        (Some(What::Own(_, act)), _) => act(globals, rest.to_vec()),
        (Some(What::Verb(verb)), _) => super::act(globals, verb, rest.to_vec()),
        (None, "--help" | "-h") => help(group),
        (None, verb) if group.verbs.contains(&verb) => super::act(globals, verb, rest.to_vec()),
        (None, flag) if flag.starts_with('-') => Err(Failure::usage(name, format!("unknown flag: {flag}"))),
        (None, other) => {
            Err(Failure::new(format!("unknown command: corral {name} {other}\nSee 'corral {name} --help'.")))
        }
    })
}

/// The commands of a group, each with its line of help; none if there is no group of this name.
pub(super) fn commands(name: &str) -> Option<Vec<(&'static str, &'static str)>> {
    GROUPS.iter().find(|group| group.name == name).map(commands_of)
}

fn commands_of(group: &Group) -> Vec<(&'static str, &'static str)> {
    // What is planned is refused by name, and not advertised.
    let of_verb = |verb: &str| VERBS.iter().find(|(known, ..)| *known == verb).map(|(_, about, _)| *about);
    let mut commands: Vec<(&str, &str)> =
        group.verbs.iter().filter_map(|verb| Some((*verb, of_verb(verb)?))).collect();
    commands.extend(group.commands.iter().filter_map(|command| match command.what {
        _ if command.names == ["remove"] => None,
        What::Verb(verb) => Some((command.names[0], of_verb(verb)?)),
        What::Own(about, _) => Some((command.names[0], about)),
    }));
    commands.sort_unstable();
    commands
}

fn help(group: &Group) -> Result<u8, Failure> {
    let commands = commands_of(group);
    let mut text = format!("Usage:  corral {} COMMAND\n\n{}\n\nCommands:\n", group.name, group.about);
    for (name, about) in commands {
        text.push_str(&format!("  {name:<9} {about}\n"));
    }
    text.push_str(&format!(
        "\nRun 'corral {} COMMAND --help' for more information on a command.\n",
        group.name
    ));
    output::print(&text)?;
    Ok(0)
}
