//! `requirements.txt`: hash-pinned lines become pins, anything else the input of a resolution.
//!
//! The file belongs to the project, so options in it that would redirect the client (`--index-url`,
//! `--find-links`, `--trusted-host`…) are not obeyed: the user's own configuration decides where
//! packages come from, and the hashes decide which.

use std::collections::BTreeMap;

use pep508_rs::VersionOrUrl;

use super::environment::Environment;
use super::name::normalize;
use super::pin::{Pin, PinFile, file_name, sha256_hex};
use super::tags::WheelName;
use crate::Error;

/// A parsed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// Requirement lines without their hashes, for a resolution.
    pub lines: Vec<String>,
    /// The pins that apply to the image; none if some line has no hash.
    pub pins: Option<Vec<Pin>>,
    /// Options that were not obeyed.
    pub ignored: Vec<String>,
}

/// One logical line.
struct Line {
    number: usize,
    requirement: String,
    hashes: Vec<String>,
}

/// Parses the text of `file` (its name is for messages only).
///
/// # Errors
/// [`Error::Lock`] with the line's number.
pub fn parse(file: &str, text: &str, environment: &Environment) -> Result<Requirements, Error> {
    let (mut lines, mut ignored) = (Vec::new(), Vec::new());
    for (number, logical) in logical_lines(text) {
        let fail = |reason: String| Error::lock(format!("{file} line {number}"), reason);
        if let Some(option) = logical.strip_prefix('-') {
            match option.split([' ', '=']).next().unwrap_or_default().trim_start_matches('-') {
                // The project itself, as `uv export` writes it; its code is packed from the directory.
                "e" | "editable" if matches!(logical.split_whitespace().last(), Some("." | "./")) => {}
                "r" | "requirement" | "c" | "constraint" | "e" | "editable" => {
                    return Err(fail(format!(
                        "{logical:?} is not followed: write the packages into one file"
                    )));
                }
                _ => ignored.push(logical),
            }
        } else if !matches!(logical.as_str(), "." | "./") {
            lines.push(split_hashes(number, &logical).map_err(fail)?);
        }
    }
    let pinned = !lines.is_empty() && lines.iter().all(|line| !line.hashes.is_empty());
    let pins = match pinned {
        true => Some(pins(file, &lines, environment)?),
        false => None,
    };
    Ok(Requirements { lines: lines.into_iter().map(|line| line.requirement).collect(), pins, ignored })
}

/// Lines with continuations joined and comments cut, each with the number of its first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let (mut out, mut open): (Vec<(usize, String)>, bool) = (Vec::new(), false);
    for (number, raw) in text.lines().enumerate() {
        let (body, continues) = match raw.strip_suffix('\\') {
            Some(body) => (body, true),
            None => (raw, false),
        };
        let body = without_comment(body);
        match out.last_mut() {
            Some((_, line)) if open => {
                line.push(' ');
                line.push_str(body);
            }
            _ => out.push((number + 1, body.to_owned())),
        }
        open = continues;
    }
    out.into_iter()
        .map(|(number, line)| (number, line.trim().to_owned()))
        .filter(|(_, line)| !line.is_empty())
        .collect()
}

/// A comment begins at a `#` at the start or after white space (URLs have fragments).
fn without_comment(line: &str) -> &str {
    let at =
        line.char_indices().find(|(at, c)| *c == '#' && (*at == 0 || line[..*at].ends_with([' ', '\t'])));
    at.map_or(line, |(at, _)| &line[..at])
}

fn split_hashes(number: usize, logical: &str) -> Result<Line, String> {
    let (requirement, options) = match logical.find(" --") {
        Some(at) => logical.split_at(at),
        None => (logical, ""),
    };
    let mut hashes = Vec::new();
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        let value = match word.split_once('=') {
            Some(("--hash", value)) => value,
            None if word == "--hash" => words.next().unwrap_or_default(),
            _ => return Err(format!("option {word:?} is not known here; only --hash is")),
        };
        match sha256_hex(value) {
            Some(hex) => hashes.push(hex),
            // A weaker or longer hash beside a sha256 one adds nothing.
            None if value.starts_with("sha384:") || value.starts_with("sha512:") => {}
            None => return Err(format!("{value:?} is not sha256: and 64 hexadecimal digits")),
        }
    }
    if !options.is_empty() && hashes.is_empty() {
        return Err(format!("{requirement} has no sha256 hash"));
    }
    Ok(Line { number, requirement: requirement.trim().to_owned(), hashes })
}

fn pins(file: &str, lines: &[Line], environment: &Environment) -> Result<Vec<Pin>, Error> {
    let mut pins: BTreeMap<String, Pin> = BTreeMap::new();
    for line in lines {
        let fail = |reason: String| Error::lock(format!("{file} line {}", line.number), reason);
        let Some(requirement) = environment.requirement(&line.requirement).map_err(fail)? else { continue };
        let name = normalize(requirement.name.as_ref());
        let (version, url) = match &requirement.version_or_url {
            Some(VersionOrUrl::VersionSpecifier(specifiers)) => (exact(specifiers), None),
            Some(VersionOrUrl::Url(url)) => {
                let url = url.to_string();
                (file_name(&url).and_then(|name| version_of(&name).map(str::to_owned)), Some(url))
            }
            None => (None, None),
        };
        let version = version.ok_or_else(|| {
            fail(format!(
                "{:?} is not NAME==VERSION or the address of a wheel or source distribution",
                line.requirement
            ))
        })?;
        let from_url = url.as_deref().and_then(file_name);
        let files = line.hashes.iter().map(|sha256| PinFile {
            name: from_url.clone(),
            sha256: sha256.clone(),
            url: url.clone(),
            seen: None,
        });
        let pin = Pin { name: name.clone(), version, files: files.collect() };
        if let Some(other) = pins.insert(name, pin) {
            return Err(fail(format!("{} is pinned twice for the image's Python", other.name)));
        }
    }
    Ok(pins.into_values().collect())
}

/// The version that a file's name says.
fn version_of(file: &str) -> Option<&str> {
    let of_wheel = WheelName::parse(file).map(|wheel| wheel.version);
    of_wheel.or_else(|| super::sdist::parse_name(file).map(|(_, version)| version))
}

fn exact(specifiers: &pep440_rs::VersionSpecifiers) -> Option<String> {
    let mut all = specifiers.iter();
    let only = all.next().filter(|only| {
        matches!(only.operator(), pep440_rs::Operator::Equal | pep440_rs::Operator::ExactEqual)
    })?;
    all.next().is_none().then(|| only.version().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::environment::bookworm;

    fn check(text: &str, expect: &str) {
        let shown = match parse("requirements.txt", text, &bookworm()) {
            Err(error) => error.to_string(),
            Ok(Requirements { pins: Some(pins), .. }) => {
                pins.iter().map(|pin| format!("{pin} {}; ", pin.files.len())).collect()
            }
            Ok(requirements) => format!("unpinned {:?}", requirements.lines),
        };
        assert!(shown.contains(expect), "{text:?}: {shown:?} does not say {expect:?}");
    }

    #[test]
    fn pinned_files() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        check(
            &format!("# c\nNumpy==2.1 \\\n  --hash=sha256:{a} \\\n --hash=sha256:{b} # x\n"),
            "numpy 2.1 2; ",
        );
        check(
            &format!("x==1 ; sys_platform == 'win32' --hash=sha256:{a}\ny[z]==2 --hash sha256:{b}"),
            "y 2 1; ",
        );
        check(&format!("-i https://evil\n-e .\nx==1 --hash=sha256:{a}\n"), "x 1 1; ");
        check(&format!("x @ https://h/x-3-py3-none-any.whl#frag --hash=sha256:{a}"), "x 3 1; ");
        check(&format!("x @ https://h/x-3.tar.gz --hash=sha256:{a}"), "x 3 1; ");
        check(&format!("x @ https://h/x.git --hash=sha256:{a}"), "is not NAME==VERSION");
        check(&format!("x==1 --hash=sha256:{a}\nX==2 --hash=sha256:{a}"), "line 2: x is pinned twice");
        check(&format!("x>=1 --hash=sha256:{a}"), "line 1: \"x>=1\" is not NAME==VERSION");
        check(&format!("x==1.* --hash=sha256:{a}"), "is not NAME==VERSION");
        check("x==1 --hash=sha256:12", "is not sha256:");
        check("x==1 --hash=md5:12", "is not sha256:");
        check(&format!("x==1 --hash=sha512:{a}{b}"), "no sha256 hash");
        check("x==1 --install-option=--evil", "option \"--install-option=--evil\" is not known");
        check("-r other.txt", "is not followed");
        check(&format!("x==1 ; nonsense == '1' --hash=sha256:{a}"), "line 1");
        check(&format!("../x --hash=sha256:{a}"), "line 1");
    }

    #[test]
    fn unpinned_files_are_for_resolution() {
        check("requests\nrich>=13 # nice\n", "unpinned [\"requests\", \"rich>=13\"]");
        check("", "unpinned []");
    }

    #[test]
    fn options_are_reported_not_obeyed() {
        let parsed = parse("r", "--index-url https://evil/\nx\n", &bookworm()).expect("valid");
        assert_eq!(parsed.ignored, ["--index-url https://evil/"]);
    }
}
