//! The head of a verb's help: how its words are written in Docker's manual, and its other names.

use clap::Command;

use super::manage;

/// What follows a verb and its flags.
const WORDS: &[(&str, &str)] = &[
    ("attach", "CONTAINER"),
    ("commit", "CONTAINER [REPOSITORY[:TAG]]"),
    ("container inspect", "CONTAINER [CONTAINER...]"),
    ("cp", "CONTAINER:SRC_PATH DEST_PATH|-\n       corral cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH"),
    ("create", "IMAGE|DIR [COMMAND] [ARG...]"),
    ("diff", "CONTAINER"),
    ("exec", "CONTAINER COMMAND [ARG...]"),
    ("export", "CONTAINER"),
    ("history", "IMAGE"),
    ("image inspect", "IMAGE [IMAGE...]"),
    ("images", "[REPOSITORY[:TAG]]"),
    ("import", "file|- [REPOSITORY[:TAG]]"),
    ("inspect", "NAME|ID [NAME|ID...]"),
    ("kill", "CONTAINER [CONTAINER...]"),
    ("logs", "CONTAINER"),
    ("pause", "CONTAINER [CONTAINER...]"),
    ("port", "CONTAINER [PRIVATE_PORT[/PROTO]]"),
    ("rename", "CONTAINER NEW_NAME"),
    ("restart", "CONTAINER [CONTAINER...]"),
    ("rm", "CONTAINER [CONTAINER...]"),
    ("rmi", "IMAGE [IMAGE...]"),
    ("run", "IMAGE|DIR [COMMAND] [ARG...]"),
    ("save", "IMAGE [IMAGE...]"),
    ("start", "CONTAINER [CONTAINER...]"),
    ("stats", "[CONTAINER...]"),
    ("stop", "CONTAINER [CONTAINER...]"),
    ("tag", "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]"),
    ("top", "CONTAINER [ps OPTIONS]"),
    ("unpause", "CONTAINER [CONTAINER...]"),
    ("update", "CONTAINER [CONTAINER...]"),
    ("volume create", "[VOLUME]"),
    ("volume export", "VOLUME"),
    ("volume import", "VOLUME file|-"),
    ("volume inspect", "VOLUME [VOLUME...]"),
    ("volume rm", "VOLUME [VOLUME...]"),
    ("wait", "CONTAINER [CONTAINER...]"),
];

/// The verb's definition with that head.
pub(super) fn headed(command: Command, verb: &str) -> Command {
    let mut usage = format!("corral {verb}");
    if command.get_arguments().any(|flag| flag.get_long().is_some_and(|long| long != "help")) {
        usage.push_str(" [OPTIONS]");
    }
    match WORDS.iter().find(|(known, _)| *known == verb) {
        Some((_, words)) => usage.push_str(&format!(" {words}")),
        // What takes words and is not named above is written as its definition says.
        None if command.get_positionals().next().is_some() => return command,
        None => {}
    }
    let aliases = manage::aliases(verb);
    if aliases.len() > 1 {
        usage.push_str(&format!("\n\nAliases:\n  {}", aliases.join(", ")));
    }
    command.override_usage(usage)
}
