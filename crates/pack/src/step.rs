use std::fs::File;

use corral_engine::StepOutcome;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::Error;

/// The outcome's output if it succeeded.
///
/// # Errors
/// [`Error::Step`] with the last lines that the command wrote.
pub(crate) fn succeed(name: &str, outcome: StepOutcome) -> Result<Vec<u8>, Error> {
    if outcome.code == 0 {
        return Ok(outcome.stdout);
    }
    Err(Error::Step { step: name.to_owned(), code: outcome.code, stderr: last_lines(&outcome.stderr) })
}

/// The end of a program's complaint as one line, without control characters.
pub(crate) fn last_lines(bytes: &[u8]) -> String {
    tail(bytes, 4, 1000)
}

/// The same of a build, whose cause stands some lines above its end.
pub(crate) fn last_lines_of_build(bytes: &[u8]) -> String {
    tail(bytes, 20, 3000)
}

fn tail(bytes: &[u8], lines: usize, characters: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let all: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let joined = all[all.len().saturating_sub(lines)..].join("; ");
    let plain: Vec<char> = joined.chars().filter(|c| !c.is_control()).collect();
    plain[plain.len().saturating_sub(characters)..].iter().collect()
}

/// A file that a step left in the directory `out`, opened without following links; none if there is none.
///
/// # Errors
/// [`Error::Io`]; [`Error::Archive`] if it is not a plain file of at most `limit` bytes.
pub(crate) fn open_output(out: &File, name: &str, limit: u64) -> Result<Option<File>, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = match rustix::fs::openat2(out, name, flags, Mode::empty(), resolve) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(Error::io("read what a step wrote:", name)(errno.into())),
    };
    let metadata = file.metadata().map_err(Error::io("read", name))?;
    match metadata.is_file() && metadata.len() <= limit {
        true => Ok(Some(file)),
        false => Err(Error::archive(name, "the step did not leave a plain file of bounded size")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_ends_with_its_cause() {
        for (text, expect) in [
            ("", ""),
            ("a\n\n  b\x1b[31m\r\n", "a; b[31m"),
            ("1\n2\n3\n4\n5\n", "4; 5"),
            ("a long line before\nthe cause", "; the cause"),
        ] {
            assert_eq!(tail(text.as_bytes(), 2, 11), expect, "{text:?}");
        }
    }
}
