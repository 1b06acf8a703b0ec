//! A verb's flags for other readers than a person: a shell that completes them, and the manual.
//!
//! `corral run __flags` and `corral run __man` are answered where `--help` is, from the same definition. No image,
//! container or volume can be called so: their names begin with a letter or a digit.

use clap::Command;

use super::{VERBS, manage};
use crate::failure::Failure;
use crate::{Words, output};

/// Asks for one flag a line: `--flag`, TAB, its help.
pub(super) const FLAGS: &str = "__flags";
/// Asks for the manual page, in roff.
pub(super) const MAN: &str = "__man";

/// Whether the words of a verb are one of these questions, or a call for help.
pub(super) fn is_question(words: &Words) -> bool {
    words.iter().any(|word| word == "--help") || asked(words).is_some()
}

/// The question that the words are.
pub(super) fn asked(words: &Words) -> Option<fn(Command) -> Result<(), Failure>> {
    match words.as_slice() {
        [word] if word == FLAGS => Some(flags),
        [word] if word == MAN => Some(man),
        _ => None,
    }
}

fn flags(command: Command) -> Result<(), Failure> {
    let mut text = String::new();
    for flag in command.get_arguments() {
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        if let Some(long) = flag.get_long() {
            text.push_str(&format!("--{long}\t{}\n", help.lines().next().unwrap_or_default()));
        }
    }
    output::print(&text)
}

/// The manual page of all.
pub(super) fn overview() -> Result<(), Failure> {
    let verbs = VERBS.iter().map(|(name, about, _)| (*name, *about)).chain(manage::groups());
    let command = Command::new("corral").bin_name("corral").about(super::ABOUT).disable_help_flag(true);
    man(command.subcommands(verbs.map(|(name, about)| Command::new(name).about(about))))
}

fn man(command: Command) -> Result<(), Failure> {
    let name = command.get_bin_name().unwrap_or_default().replace(' ', "-");
    let mut page = Vec::new();
    clap_mangen::Man::new(command.display_name(name.clone()))
        .title(name)
        .render(&mut page)
        .map_err(|error| Failure::new(format!("the manual page: {error}")))?;
    output::print(&String::from_utf8_lossy(&page))
}
