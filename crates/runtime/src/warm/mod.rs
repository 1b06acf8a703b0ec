//! Warm starts: a container's program is not executed but forked, from a template that has its imports done.
//!
//! ```text
//! template's monitor                    container's monitor
//! ───────────────────                   ───────────────────
//! Template::capture: stopped for ever
//!    ◀── which process? ─────────────── Nursery::find
//!                                       spawn (spawn.rs): in the template's user and pid namespace, make those of the
//!                                         container; its first process sets it up as always (inside.rs)
//!    ◀── descriptors, ids ───────────── join: streams, namespaces, control groups
//!    fork (template.rs)
//!    ─── process n ───────────────────▶ look::at_program: is it what the launch says, in everything?
//!    ◀── go ───────────────────────────
//!    released                           the program says its number inside; the first process watches it, as `--init`
//! ```
//!
//! docs/warm.md says what that keeps apart, and what it does not.

mod join;
mod look;
mod spawn;
mod template;
mod tracee;

pub use join::is_ready;
pub(crate) use join::{Joining, Nursery};
pub(crate) use spawn::spawn;
pub use template::{Template, refuse};

/// The socket in a template's run directory.
pub const SOCKET: &str = "warm.sock";

/// What is handed to a template at least: what is to run, where it says its number, three streams, seven namespaces. The
/// entrances of control groups follow.
const FIXED: usize = 12;
