//! What of an image's command the interpreter is, and what its program. Pure.

use std::path::Path;

/// A Python program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// How many words of the command say it: what follows are its arguments.
    pub(super) words: usize,
    pub(super) program: Program,
    /// The interpreter and its flags; none if they stand in the script's first line.
    pub(super) interpreter: Option<Vec<String>>,
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// A file of the image.
    Script(String),
    /// `-m`.
    Module(String),
}

impl Program {
    /// As the template is told.
    pub(super) fn arguments(&self) -> [String; 2] {
        match self {
            Self::Script(path) => ["script".into(), path.clone()],
            Self::Module(name) => ["module".into(), name.clone()],
        }
    }
}

impl Entry {
    /// Takes a command apart; the reason, if it cannot be a template's.
    pub(super) fn of(command: &[String]) -> Result<Self, String> {
        let Some(first) = command.first() else { return Err("the image names no command".into()) };
        if !is_python(first) {
            if !first.starts_with('/') {
                return Err(format!(
                    "its command {first} is neither python3 nor an absolute path of a script"
                ));
            }
            let program = Program::Script(first.clone());
            return Ok(Self { words: 1, program, interpreter: None });
        }
        let mut at = 1;
        while let Some(word) = command.get(at) {
            let program = match (word.as_str(), command.get(at + 1)) {
                ("-m", Some(module)) => Program::Module(module.clone()),
                ("-X" | "-W", Some(_)) => {
                    at += 2;
                    continue;
                }
                ("-" | "-c" | "-m", _) => {
                    return Err(format!("python3 {word} has nothing that could be imported"));
                }
                (flag, _) if flag.starts_with('-') => {
                    at += 1;
                    continue;
                }
                (script, _) if script.starts_with('/') => Program::Script(script.to_owned()),
                (script, _) => return Err(format!("the script {script} is not an absolute path")),
            };
            let words = at + if matches!(program, Program::Module(_)) { 2 } else { 1 };
            return Ok(Self { words, program, interpreter: Some(command[..at].to_vec()) });
        }
        Err("its command is an interpreter without a program".into())
    }

    /// The interpreter of a script, by its first line.
    pub(super) fn of_first_line(script: &[u8]) -> Result<Vec<String>, String> {
        let line = script.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix("#!"));
        let words: Vec<String> =
            line.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
        let words = match words.first() {
            Some(env) if Path::new(env).ends_with("env") => words[1..].to_vec(),
            _ => words,
        };
        match words.first() {
            Some(program) if is_python(program) => Ok(words),
            _ => Err("its command is not a script of Python".into()),
        }
    }
}

/// python, python3, python3.13.
fn is_python(word: &str) -> bool {
    let name = Path::new(word).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix("python")
        .is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_apart() {
        let check = |command: &str, expect: Result<(usize, &str, Option<&str>), &str>| {
            let words: Vec<String> = command.split_ascii_whitespace().map(str::to_owned).collect();
            let found = Entry::of(&words);
            match (&found, expect) {
                (Ok(entry), Ok((count, program, interpreter))) => {
                    let shown = entry.interpreter.as_ref().map(|words| words.join(" "));
                    assert_eq!(
                        (entry.words, entry.program.arguments().join(" ").as_str(), shown.as_deref()),
                        (count, program, interpreter)
                    );
                }
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
                _ => panic!("{command}: {found:?}"),
            }
        };
        check("/usr/local/bin/agent serve", Ok((1, "script /usr/local/bin/agent", None)));
        check("python3 -m agent x", Ok((3, "module agent", Some("python3"))));
        check(
            "/usr/bin/python3.13 -u -X dev /app/a.py x",
            Ok((5, "script /app/a.py", Some("/usr/bin/python3.13 -u -X dev"))),
        );
        check("python3 -c pass", Err("python3 -c"));
        check("python3 a.py", Err("not an absolute path"));
        check("python3 -u", Err("without a program"));
        check("node x.js", Err("neither python3"));
        check("", Err("no command"));
    }

    #[test]
    fn first_lines_name_interpreters() {
        let check = |text: &str, expect: Option<&str>| {
            let found = Entry::of_first_line(text.as_bytes()).ok().map(|words| words.join(" "));
            assert_eq!(found.as_deref(), expect, "{text}");
        };
        check("#!/usr/bin/python3\nimport x\n", Some("/usr/bin/python3"));
        check("#!/usr/bin/env python3 \n", Some("python3"));
        check("#!/usr/bin/python3 -I\n", Some("/usr/bin/python3 -I"));
        check("#!/bin/sh\n", None);
        check("\x7fELF", None);
        check("", None);
    }
}
