use std::path::PathBuf;

use corral_engine::Engine;
use corral_state::Layout;

use crate::Failure;

const ROOT: &str = "/var/lib/corral";
const RUN: &str = "/run/corral";

/// What the flags before the verb decide.
#[derive(Debug, Default)]
pub(crate) struct Globals {
    /// `--root`.
    pub(crate) root: Option<PathBuf>,
    /// `--run-root`.
    pub(crate) run: Option<PathBuf>,
}

impl Globals {
    /// Where everything is: flags, then `CORRAL_ROOT` and `CORRAL_RUN`, then the system's places.
    pub(crate) fn layout(&self) -> Layout {
        let pick = |flag: &Option<PathBuf>, variable: &str, default: &str| {
            let path = flag
                .clone()
                .or_else(|| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from))
                .unwrap_or_else(|| PathBuf::from(default));
            // The monitor runs in another directory.
            std::path::absolute(&path).unwrap_or(path)
        };
        Layout::new(pick(&self.root, "CORRAL_ROOT", ROOT), pick(&self.run, "CORRAL_RUN", RUN))
    }

    /// The engine over these directories.
    pub(crate) fn engine(&self) -> Result<Engine, Failure> {
        if !rustix::process::geteuid().is_root() {
            return Err(Failure::new("rootless mode is not there yet: run corral as root (sudo corral …)"));
        }
        Ok(Engine::open(self.layout())?)
    }
}
