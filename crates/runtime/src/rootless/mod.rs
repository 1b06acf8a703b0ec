//! The user namespace in which an ordinary user's commands and containers live.
//!
//! ```text
//! initial namespace      corral (uid 1000) ── fork ─▶ newuidmap, newgidmap: the user's ranges, checked by them
//!                            │ unshare, or setns to where the user's other commands are
//! the user's namespace   0 = 1000, 1 … = 100000 …      corral, monitors: root here, and nobody more outside
//!                            │ clone3
//! a container's          0 = 0, 1 = 1, …               the same ids (or keep-id: one of them is the user's own)
//! ```
//!
//! There is at most one for each run directory: a process in a second one would have no power over the containers of
//! the first. `RUN/namespace/PID`, locked by a process as long as it lives, says who is there (`members.rs`).
//!
//! Helpers get no environment, and are called by absolute path. Nothing here runs for a caller who is root.

mod enter;
mod members;
mod subids;
mod switches;

pub use enter::{Entered, Member, Shared, enter, register, why_single};
pub use switches::way_out;
