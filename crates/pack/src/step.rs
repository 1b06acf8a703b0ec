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
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(4)..].join("; ");
    tail.chars().filter(|c| !c.is_control()).take(1000).collect()
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
