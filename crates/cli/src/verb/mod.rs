//! The verbs, one file a group. Each parses its own words and answers an exit code.

mod attach;
mod boot;
mod commit;
mod completion;
mod containers;
mod describe;
mod doctor;
mod events;
pub(crate) mod exec;
mod files;
mod image_list;
mod images;
pub(crate) mod inner;
mod inspect;
mod journal;
mod logs;
mod manage;
pub(crate) mod oci;
mod pack;
mod prune;
mod ps;
mod ps_filter;
mod rename;
mod run;
mod stats;
mod stop;
mod system;
mod top;
mod transfer;
mod update;
mod usage;
mod volume;
mod volume_list;
mod warm;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, FromArgMatches};

use crate::app::Globals;
use crate::failure::{ENGINE, Failure};
use crate::words::{FlagsEnd, Misread, rewrite};
use crate::{Words, output, unsupported};

const ABOUT: &str = "Pack, run and confine AI agents and their tools in containers";

type Act = fn(&Globals, Words) -> Result<u8, Failure>;

/// Name, one line of help, what to call.
const VERBS: &[(&str, &str, Act)] = &[
    (
        "attach",
        "Attach local standard input, output, and error streams to a running container",
        attach::attach,
    ),
    ("commit", "Create a new image from a container's changes", commit::commit),
    ("completion", "Print the completion script of a shell", completion::completion),
    ("cp", "Copy files/folders between a container and the local filesystem", files::cp),
    ("create", "Create a new container", run::create),
    ("diff", "Inspect changes to files or directories on a container's filesystem", files::diff),
    (
        "doctor",
        "Try every kernel primitive in use, and say what is missing and how to get it",
        doctor::doctor,
    ),
    ("events", "Get real time events from the journal", events::events),
    ("exec", "Execute a command in a running container", exec::exec),
    ("export", "Export a container's filesystem as a tar archive", files::export),
    ("history", "Show the history of an image", image_list::history),
    ("images", "List images", image_list::images),
    ("import", "Import the contents from a tarball to create a filesystem image", transfer::import),
    ("info", "Display system-wide information", system::info),
    ("inspect", "Return low-level information on containers and images", inspect::inspect),
    ("journal", "Show, follow and verify the record of what happened", journal::journal),
    ("kill", "Kill one or more running containers", stop::kill),
    ("load", "Load an image from a tar archive or STDIN", transfer::load),
    ("logs", "Fetch the logs of a container", logs::logs),
    ("oci", "Run OCI bundles with the command line of runc", oci::oci),
    ("pack", "Make an image from a project directory", pack::pack),
    ("pause", "Pause all processes within one or more containers", stop::pause),
    ("port", "List port mappings or a specific mapping for the container", rename::port),
    ("ps", "List containers", ps::ps),
    ("rename", "Rename a container", rename::rename),
    ("restart", "Restart one or more containers", stop::restart),
    ("rm", "Remove one or more containers", containers::rm),
    ("rmi", "Remove one or more images", images::rmi),
    ("run", "Create and run a new container from an image or a project directory", run::run),
    ("save", "Save one or more images to a tar archive (streamed to STDOUT by default)", transfer::save),
    ("start", "Start one or more stopped containers", containers::start),
    ("stats", "Display a live stream of container(s) resource usage statistics", stats::stats),
    ("stop", "Stop one or more running containers", stop::stop),
    ("tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE", images::tag),
    ("top", "Display the running processes of a container", top::top),
    ("unpause", "Unpause all processes within one or more containers", stop::unpause),
    ("update", "Update configuration of one or more containers", update::update),
    ("version", "Show the version", system::version),
    ("wait", "Block until one or more containers stop, then print their exit codes", containers::wait),
    ("warm", "Keep a template of a Python agent, imports done, from which runs are forked", warm::warm),
];

/// Docker's verbs that are known and not there yet: refused by name, never taken for something else.
const PLANNED: &[&str] = &[
    "build",
    "builder",
    "buildx",
    "compose",
    "config",
    "context",
    "login",
    "logout",
    "manifest",
    "network",
    "plugin",
    "pull",
    "push",
    "search",
    "secret",
    "service",
    "stack",
    "swarm",
    "trust",
    "up",
    "down",
    "mcp",
    "policy",
    "budget",
    "workspace",
    "sbom",
    "scan",
    "sign",
    "verify",
    "lock",
    "serve",
    "dashboard",
    "deploy",
    "approve",
];

/// Finds the verb among the words and runs it.
pub(crate) fn dispatch(first: Option<OsString>, rest: Words) -> Result<u8, Failure> {
    let mut globals = Globals::default();
    let mut words = first.into_iter().chain(rest);
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        let (flag, value) = text.split_once('=').map_or((&*text, None), |(flag, value)| (flag, Some(value)));
        match flag {
            "--root" | "--run-root" => {
                let value = value.map(OsString::from).or_else(|| words.next());
                let value =
                    value.ok_or_else(|| Failure::with_code(ENGINE, format!("{flag} needs a directory")))?;
                let place = if flag == "--root" { &mut globals.root } else { &mut globals.run };
                *place = Some(PathBuf::from(value));
            }
            "--version" | "-v" => return version(),
            // There is no daemon that would say more, or that could be elsewhere.
            "--debug" | "-D" | "--tls=false" => {}
            "--log-level" | "-l" if value.is_some() || words.next().is_some() => {}
            "--help" | "-h" | "help" => return help(words.next()),
            _ if flag.starts_with('-') => {
                return Err(Failure::with_code(
                    ENGINE,
                    format!("unknown flag: {flag}\nSee 'corral --help'."),
                ));
            }
            verb => return act(&globals, verb, words.collect()),
        }
    }
    help(None)
}

fn act(globals: &Globals, verb: &str, words: Words) -> Result<u8, Failure> {
    match verb {
        "__complete" => return completion::complete(globals, &words),
        "__man" => return describe::overview().map(|()| 0),
        _ => {}
    }
    if let Some((_, _, act)) = VERBS.iter().find(|(name, ..)| *name == verb) {
        return act(globals, words);
    }
    if let Some(outcome) = manage::act(globals, verb, &words) {
        return outcome;
    }
    if PLANNED.contains(&verb) {
        return Err(Failure::with_code(
            ENGINE,
            format!("'{verb}' is not there yet (docs/roadmap.md says what is)"),
        ));
    }
    Err(Failure::new(format!("'{verb}' is not a corral command.\nSee 'corral --help'.")))
}

fn help(verb: Option<OsString>) -> Result<u8, Failure> {
    if let Some(verb) = verb {
        return act(&Globals::default(), &verb.to_string_lossy(), vec!["--help".into()]);
    }
    let mut text = format!("{ABOUT}.\n\nUsage:  corral [--root DIR] [--run-root DIR] COMMAND\n\nCommands:\n");
    for (name, about, _) in VERBS {
        text.push_str(&format!("  {name:<9} {about}\n"));
    }
    text.push_str("\nManagement Commands:\n");
    for (name, about) in manage::groups() {
        text.push_str(&format!("  {name:<9} {about}\n"));
    }
    text.push_str("\nRun 'corral COMMAND --help' for more information on a command.\n");
    output::print(&text)?;
    Ok(0)
}

fn version() -> Result<u8, Failure> {
    output::print(&format!("corral version {}\n", env!("CARGO_PKG_VERSION")))?;
    Ok(0)
}

/// The words of a verb as its flags; none if they were a call for help, which has been answered then.
pub(crate) fn parse<T: Args + FromArgMatches>(
    verb: &'static str,
    words: Words,
) -> Result<Option<T>, Failure> {
    parse_until(FlagsEnd::Never, verb, &words)
}

/// The same of a verb whose flags end elsewhere.
fn parse_until<T: Args + FromArgMatches>(
    end: FlagsEnd,
    verb: &'static str,
    words: &Words,
) -> Result<Option<T>, Failure> {
    let command = built::<T>(verb, words);
    match rewrite(&command, words, end) {
        _ if let Some(answer) = describe::asked(words) => answer(command).map(|()| None),
        Ok(words) => matches(verb, command, words),
        Err(Misread::Unknown(flag)) => Err(unsupported::refusal(verb, &flag)),
        Err(Misread::Wrong(why)) => Err(Failure::usage(verb, why)),
    }
}

fn matches<T: FromArgMatches>(
    verb: &'static str,
    mut command: clap::Command,
    words: Words,
) -> Result<Option<T>, Failure> {
    let parsed = command.try_get_matches_from_mut(words).and_then(|found| T::from_arg_matches(&found));
    parsed.map(Some).or_else(|error| answer(verb, &command, &error).map(|()| None))
}

/// A verb's definition, with the head of its help where that is asked for. Its flags' type has a comment of its own,
/// which is not about the verb.
fn built<T: Args>(verb: &'static str, words: &Words) -> clap::Command {
    let command = command(verb);
    let about = command.get_about().cloned().unwrap_or_default();
    let command = T::augment_args(command).about(about);
    if words.iter().any(|word| word == "--help") { usage::headed(command, verb) } else { command }
}

fn command(verb: &'static str) -> clap::Command {
    let about = VERBS.iter().find(|(name, ..)| *name == verb).map(|(_, about, _)| *about);
    let about = about.or_else(|| manage::about(verb)).unwrap_or_default();
    clap::Command::new(verb)
        .bin_name(format!("corral {verb}"))
        .about(about)
        .no_binary_name(true)
        // -h is the host name in run and create, as Docker has it.
        .disable_help_flag(true)
        .arg(clap::Arg::new("help").long("help").help("Print usage").action(clap::ArgAction::Help))
}

/// Prints the help that was asked for, or tells what is wrong with the words.
fn answer(verb: &str, command: &clap::Command, error: &clap::Error) -> Result<(), Failure> {
    use clap::error::ErrorKind;
    let text = error.to_string();
    match error.kind() {
        ErrorKind::DisplayHelp => output::print(&text),
        ErrorKind::MissingRequiredArgument | ErrorKind::TooFewValues | ErrorKind::UnknownArgument => {
            Err(Failure::names(verb, &how_many(command)))
        }
        _ => {
            let line = text.lines().next().unwrap_or_default();
            Err(Failure::usage(verb, line.strip_prefix("error: ").unwrap_or(line)))
        }
    }
}

/// How many words beside its flags a verb takes, in Docker's words.
fn how_many(command: &clap::Command) -> String {
    let mut counts = (0, Some(0_usize));
    for name in command.get_positionals() {
        let range = name.get_num_args().unwrap_or_else(|| 1.into());
        counts.0 += if name.is_required_set() { range.min_values().max(1) } else { 0 };
        let most = match name.get_action() {
            clap::ArgAction::Append => usize::MAX,
            _ => range.max_values(),
        };
        counts.1 = counts.1.filter(|_| most != usize::MAX).map(|sum| sum + most);
    }
    let many = |count| if count == 1 { "1 argument".to_owned() } else { format!("{count} arguments") };
    match counts {
        (_, Some(0)) => "accepts no arguments".to_owned(),
        (least, Some(most)) if least == most => format!("requires {}", many(least)),
        (0, Some(most)) => format!("requires at most {}", many(most)),
        (least, Some(most)) => format!("requires at least {least} and at most {}", many(most)),
        (least, None) => format!("requires at least {}", many(least)),
    }
}

/// Does the same to each name, prints the name of each success, and answers 1 if one failed: how Docker's
/// verbs for several containers behave.
pub(crate) fn for_each(
    names: &[String],
    mut act: impl FnMut(&str) -> Result<String, Failure>,
) -> Result<u8, Failure> {
    let mut code = 0;
    for name in names {
        match act(name) {
            Ok(line) => output::print(&format!("{line}\n"))?,
            Err(failure) => {
                failure.print();
                code = 1;
            }
        }
    }
    Ok(code)
}
