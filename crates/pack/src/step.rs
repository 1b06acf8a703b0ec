use std::path::PathBuf;

use corral_spec::Digest;

use crate::Error;

/// Runs one command in the `build` profile without network over image layers.
pub trait StepRunner {
    /// Runs the step to its end.
    ///
    /// # Errors
    /// If the container cannot be made; a command that fails is a [`StepOutcome`], not an error.
    fn run_step(&self, step: &Step) -> Result<StepOutcome, Error>;
}

/// One command of the packing that executes foreign code.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// The root file system, bottom first.
    pub layers: Vec<Digest>,
    /// The command.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Host directories to see inside.
    pub mounts: Vec<StepMount>,
    /// Working directory inside.
    pub workdir: String,
}

/// A host directory inside a [`Step`].
#[derive(Clone, Debug)]
pub struct StepMount {
    /// On the host.
    pub source: PathBuf,
    /// Inside.
    pub target: String,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// How a [`Step`] ended.
#[derive(Clone, Debug)]
pub struct StepOutcome {
    /// Exit code, 128+n for a signal.
    pub code: u8,
    /// What it wrote, bounded by the engine.
    pub stdout: Vec<u8>,
    /// What it complained.
    pub stderr: Vec<u8>,
}
