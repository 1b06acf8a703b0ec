//! The words of a verb as Docker's client reads them (pflag), written so that the parser reads the same.
//!
//! ```text
//! -itw/tmp --rm --rm=false -e=A=1 image -x   ──▶   -i -t --workdir=/tmp --env=A=1 -- image -x
//! ```
//!
//! A flag's value may follow it or be attached to it, with and without `=`; a flag that is said twice counts the last
//! time, unless it collects; a switch takes `=true` and `=false`. What begins with `-` behind the image of `run` is its
//! program's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, ArgAction, Command};

use crate::Words;

/// Where flags end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlagsEnd {
    /// At `--`.
    Never,
    /// Where the first other word begins: what follows is another program's.
    AtName,
}

/// Words that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Misread {
    /// A flag that the verb does not have, as typed.
    Unknown(String),
    /// What is wrong, for a person.
    Wrong(String),
}

/// Reads the words and writes them for the parser.
///
/// # Errors
/// [`Misread`]; what a value has to be is the parser's to judge.
pub(crate) fn rewrite(command: &Command, words: &[OsString], end: FlagsEnd) -> Result<Words, Misread> {
    let mut reading = Reading { command, flags: Vec::new(), names: Words::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_bytes() {
            b"--" => reading.names.extend(words.by_ref().cloned()),
            [b'-', b'-', long @ ..] => reading.long(long, &mut words)?,
            [b'-', letters @ ..] if !letters.is_empty() => reading.short(letters, &mut words)?,
            _ => {
                reading.names.push(word.clone());
                if end == FlagsEnd::AtName {
                    reading.names.extend(words.by_ref().cloned());
                }
            }
        }
    }
    Ok(reading.written())
}

type Rest<'w> = std::slice::Iter<'w, OsString>;

struct Reading<'c> {
    command: &'c Command,
    /// Each flag with its value, none for a switch, and whether an earlier one of its kind stays.
    flags: Vec<(&'c Arg, Option<OsString>)>,
    names: Words,
}

impl<'c> Reading<'c> {
    fn long(&mut self, text: &[u8], rest: &mut Rest<'_>) -> Result<(), Misread> {
        let (name, value) = split(text);
        let typed = String::from_utf8_lossy(name).into_owned();
        let found = self.command.get_arguments().find(|arg| {
            arg.get_long() == Some(&typed)
                || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&typed.as_str()))
        });
        let arg = found.ok_or_else(|| Misread::Unknown(format!("--{typed}")))?;
        self.add(arg, &format!("--{typed}"), value.map(OsStr::from_bytes), rest)
    }

    fn short(&mut self, mut letters: &[u8], rest: &mut Rest<'_>) -> Result<(), Misread> {
        while let Some((&letter, behind)) = letters.split_first() {
            let typed = format!("-{}", char::from(letter));
            let has = |arg: &&Arg| arg.get_short() == Some(char::from(letter));
            let found = self.command.get_arguments().find(has);
            // Every verb's help, where the letter is not taken.
            let help = || self.command.get_arguments().find(|arg| letter == b'h' && arg.get_id() == "help");
            let arg = found.or_else(help).ok_or_else(|| Misread::Unknown(typed.clone()))?;
            let attached = match behind {
                [b'=', value @ ..] => Some(value),
                value if takes_value(arg) && !value.is_empty() => Some(value),
                _ => None,
            };
            self.add(arg, &typed, attached.map(OsStr::from_bytes), rest)?;
            letters = if attached.is_some() { &[] } else { behind };
        }
        Ok(())
    }

    fn add(
        &mut self,
        arg: &'c Arg,
        typed: &str,
        attached: Option<&OsStr>,
        rest: &mut Rest<'_>,
    ) -> Result<(), Misread> {
        if !matches!(arg.get_action(), ArgAction::Append | ArgAction::Count) {
            self.flags.retain(|(earlier, _)| earlier.get_id() != arg.get_id());
        }
        let value = match attached {
            Some(value) if !takes_value(arg) => match switched(value) {
                Some(true) => None,
                Some(false) => return Ok(()),
                None => {
                    let value = value.to_string_lossy();
                    return Err(Misread::Wrong(format!(
                        "invalid argument \"{value}\" for \"{typed}\" flag: it is true or false"
                    )));
                }
            },
            Some(value) => Some(value.to_owned()),
            None if takes_value(arg) && !arg.is_require_equals_set() => {
                let next =
                    rest.next().ok_or_else(|| Misread::Wrong(format!("flag needs an argument: {typed}")))?;
                Some(next.clone())
            }
            None => None,
        };
        self.flags.push((arg, value));
        Ok(())
    }

    fn written(self) -> Words {
        let mut words = Words::with_capacity(self.flags.len() + 1 + self.names.len());
        for (arg, value) in self.flags {
            let long = arg.get_long().map(|long| format!("--{long}"));
            let mut word =
                long.unwrap_or_else(|| format!("-{}", arg.get_short().unwrap_or('?'))).into_bytes();
            if let Some(value) = value {
                word.push(b'=');
                word.extend_from_slice(value.as_bytes());
            }
            words.push(OsString::from_vec(word));
        }
        if !self.names.is_empty() {
            words.push("--".into());
            words.extend(self.names);
        }
        words
    }
}

/// A switch whose value may be left out says how many it takes.
fn takes_value(arg: &Arg) -> bool {
    arg.get_num_args().map_or_else(|| arg.get_action().takes_values(), |values| values.takes_values())
}

fn split(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b'=') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// strconv.ParseBool, which pflag asks.
fn switched(value: &OsStr) -> Option<bool> {
    match value.as_bytes() {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command::new("run")
            .disable_help_flag(true)
            .arg(Arg::new("help").long("help").action(ArgAction::Help))
            .arg(Arg::new("env").short('e').long("env").action(ArgAction::Append))
            .arg(Arg::new("rm").long("rm").action(ArgAction::SetTrue))
            .arg(Arg::new("interactive").short('i').long("interactive").action(ArgAction::SetTrue))
            .arg(Arg::new("tty").short('t').long("tty").action(ArgAction::SetTrue))
            .arg(Arg::new("workdir").short('w').long("workdir"))
            .arg(Arg::new("network").long("network").visible_alias("net"))
            .arg(Arg::new("proxy").long("sig-proxy").num_args(0..=1).require_equals(true))
            .arg(Arg::new("words").num_args(1..))
    }

    #[track_caller]
    fn check(end: FlagsEnd, typed: &str, expected: Result<&str, Misread>) {
        let words: Vec<OsString> = typed.split(' ').map(OsString::from).collect();
        let found = rewrite(&command(), &words, end);
        let text = |words: Words| words.join(OsStr::new(" ")).into_string().expect("text");
        assert_eq!(found.map(text), expected.map(str::to_owned), "{typed}");
    }

    #[test]
    fn what_pflag_reads() {
        let unknown = |flag: &str| Err(Misread::Unknown(flag.to_owned()));
        let wrong = |text: &str| Err(Misread::Wrong(text.to_owned()));
        for (typed, expected) in [
            ("image", Ok("-- image")),
            ("-itw/tmp --rm image -x --rm", Ok("--interactive --tty --workdir=/tmp --rm -- image -x --rm")),
            ("-eA=1 -e=B=2 -e C=3 --env D image", Ok("--env=A=1 --env=B=2 --env=C=3 --env=D -- image")),
            ("-i=true -t=0 image", Ok("--interactive -- image")),
            ("--rm --rm=false image", Ok("-- image")),
            ("-w a -w b --net none --network host image", Ok("--workdir=b --network=host -- image")),
            ("-w -1 -- -image", Ok("--workdir=-1 -- -image")),
            ("--sig-proxy image", Ok("--sig-proxy -- image")),
            ("--sig-proxy=false image", Ok("--sig-proxy=false -- image")),
            ("- x", Ok("-- - x")),
            ("-h", Ok("--help")),
            ("-itp 80:80 image", unknown("-p")),
            ("--gpus=all image", unknown("--gpus")),
            ("--workdir", wrong("flag needs an argument: --workdir")),
            ("-iw", wrong("flag needs an argument: -w")),
            ("--rm=maybe image", wrong("invalid argument \"maybe\" for \"--rm\" flag: it is true or false")),
        ] {
            check(FlagsEnd::AtName, typed, expected);
        }
        check(FlagsEnd::Never, "a -i b --rm -- -c", Ok("--interactive --rm -- a b -c"));
    }
}
