use std::path::PathBuf;
use std::sync::OnceLock;

use corral_engine::{Engine, Ground};
use corral_state::Layout;

use crate::{Failure, user};

const ROOT: &str = "/var/lib/corral";
const RUN: &str = "/run/corral";

/// What the flags before the verb decide.
#[derive(Debug, Default)]
pub(crate) struct Globals {
    /// `--root`.
    pub(crate) root: Option<PathBuf>,
    /// `--run-root`.
    pub(crate) run: Option<PathBuf>,
    /// Found once: in an ordinary user's namespace this process is root.
    euid: OnceLock<u32>,
    layout: OnceLock<Layout>,
    ground: OnceLock<Ground>,
}

impl Globals {
    /// Where everything is: flags, then `CORRAL_ROOT` and `CORRAL_RUN`, then the system's places or the user's.
    pub(crate) fn layout(&self) -> Result<Layout, Failure> {
        if let Some(layout) = self.layout.get() {
            return Ok(layout.clone());
        }
        let named = |flag: &Option<PathBuf>, variable: &str| {
            flag.clone()
                .or_else(|| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from))
        };
        let (root, run) = (named(&self.root, "CORRAL_ROOT"), named(&self.run, "CORRAL_RUN"));
        let (root, run) = match (root, run) {
            (Some(root), Some(run)) => (root, run),
            (root, run) => {
                let usual = if self.euid() == 0 {
                    [ROOT, RUN].map(PathBuf::from)
                } else {
                    user::directories(self.euid())?
                };
                let [usual_root, usual_run] = usual;
                (root.unwrap_or(usual_root), run.unwrap_or(usual_run))
            }
        };
        // The monitor runs in another directory.
        let [root, run] = [root, run].map(|path| std::path::absolute(&path).unwrap_or(path));
        Ok(self.layout.get_or_init(|| Layout::new(root, run)).clone())
    }

    fn euid(&self) -> u32 {
        *self.euid.get_or_init(|| rustix::process::geteuid().as_raw())
    }

    /// The engine over these directories.
    pub(crate) fn engine(&self) -> Result<Engine, Failure> {
        let layout = self.layout()?;
        let ground = match self.ground.get() {
            Some(ground) => *ground,
            None => {
                let found = user::ground(self.euid(), layout.root(), layout.run_root())?;
                *self.ground.get_or_init(|| found)
            }
        };
        Ok(Engine::open(layout, ground)?)
    }
}
