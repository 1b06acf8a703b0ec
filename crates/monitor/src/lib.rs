//! One process per container: creates it, carries its streams, records its end.
#![forbid(unsafe_code)]

pub mod client;
mod error;
pub mod protocol;

use std::ffi::OsString;
use std::path::PathBuf;

use corral_spec::ContainerId;

pub use error::Error;

/// The socket in the run directory.
const SOCKET: &str = "attach.sock";

/// What `corral __monitor` was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Holds `launch.json`; gets `exit.json` and `log/`.
    pub container_dir: PathBuf,
    /// Gets `status.json`, `attach.sock`, `lock`; must exist, with mode 0700.
    pub run_dir: PathBuf,
    /// The descriptor of the initial client's socket, by convention 3.
    pub client: Option<i32>,
}

impl Invocation {
    /// Parses what follows `__monitor`: `CONTAINER_DIR RUN_DIR [--client FD]`.
    pub fn parse(_words: impl IntoIterator<Item = OsString>) -> Option<Self> {
        todo!()
    }
}

/// What the process does after the monitor has done its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// Exit with this code.
    Exit(u8),
    /// Execute `/proc/self/exe __reap ID` in place.
    Reap(ContainerId),
}

/// Is the monitor of a container from creation to end. Call it first thing in `main`, with nothing open:
/// every descriptor from 3 on, other than the client's, is closed.
pub fn run(_invocation: &Invocation) -> After {
    todo!()
}
