use corral_engine::StepOutcome;

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
