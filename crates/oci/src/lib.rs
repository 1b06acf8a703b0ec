//! `corral oci`: the OCI runtime's command line on the room `runtime`.
//!
//! A configuration is obeyed exactly: this room adds no namespace, filter or limit of its own, and refuses by name
//! what it does not support. What is on disk is drawn in `state.rs`, what is in flight in
//! [`corral_runtime::bundle`]. Containers of `corral run` are no business of this room, nor the reverse.
//!
//! Each verb is a method of [`Runtime`]. Errors are in the words that clients of runc look for.
#![forbid(unsafe_code)]

mod config;
mod console;
mod create;
mod error;
mod exec;
mod features;
mod foreground;
mod labels;
mod lifecycle;
mod memory_policy;
mod mounts;
mod plan;
mod process;
mod report;
mod resources;
mod seccomp;
mod state;
mod update;

use std::path::PathBuf;

pub use create::Create;
pub use error::Error;
pub use exec::Exec;
pub use features::{features, template};
pub use report::now;
pub use update::Limits;

/// One state directory and what is done in it.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// `--root`.
    pub root: PathBuf,
    /// `--ignore-labels`, a weaker mode: labels for a security module that the kernel does not run are dropped and not
    /// refused.
    pub ignore_labels: bool,
}
