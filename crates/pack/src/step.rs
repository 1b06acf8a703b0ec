use corral_engine::{Engine, Step, StepOutcome};

use crate::Error;

/// Runs one command in the `build` profile, without network, over image layers.
///
/// The engine does it for real; the tests of this room do it with the host's interpreter where no
/// container can be made.
pub(crate) trait StepRunner {
    /// Runs the step to its end.
    ///
    /// # Errors
    /// If the container cannot be made; a command that fails is an outcome.
    fn run_step(&self, step: &Step) -> Result<StepOutcome, Error>;
}

impl StepRunner for Engine {
    fn run_step(&self, step: &Step) -> Result<StepOutcome, Error> {
        Ok(Self::run_step(self, step)?)
    }
}

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
