//! One process tree from a resolved [`Launch`](corral_spec::record::Launch): namespaces, control groups,
//! mounts, capabilities, seccomp, signals, exec.
//!
//! ```text
//! parent (the monitor)                          child (the container's first process)
//! ────────────────────                          ─────────────────────────────────────
//! control group(s)
//! clone3 ─ NEWUSER NEWNS NEWPID … INTO_CGROUP ─▶ joins v1 groups, cuts propagation
//! uid_map, gid_map
//! layers (idmapped clones) → overlay             (blocks)
//! binds, devices: detached mounts
//! SCM_RIGHTS ─────────────── mounts ───────────▶ attaches all below the new root (openat2),
//!                                                proc, sysfs, devpts …, pivot_root, masks
//! Created    ◀── ready (and the pty master) ───  ids, capabilities, working directory
//!  .start() ─────────────────── go ────────────▶ seccomp, execve
//! Running   ◀───────── end of file, or errno ──
//! ```
//!
//! Nothing is ever mounted in the host's mount namespace: a detached mount dies with its last
//! descriptor, so `kill -9` of the parent leaks none. The first process dies with its parent
//! (PR_SET_PDEATHSIG), the pid namespace with its first process; what a dead parent leaves behind is an
//! empty control group directory, which [`ControlGroup::open`] and [`ControlGroup::remove`] collect.
//!
//! The runtime adds no default: what is mounted, masked, limited or filtered stands in the launch.
//! What cannot be enforced is an error, never skipped. It writes no file outside the control group
//! file systems and the container's own mounts, starts no thread, and runs no host program.
//!
//! The caller must be single-threaded when it calls [`create`], [`exec`] or [`visit`]: the child continues on a
//! copy of the caller's memory.

mod attach;
pub mod bundle;
mod caller;
mod cgroup;
mod channel;
mod check;
mod confine;
mod create;
mod detached;
mod error;
mod exec;
mod idmap;
mod init;
mod inside;
mod kernel_file;
mod measure;
mod overlay;
mod own_program;
pub mod probe;
mod process;
mod program;
pub mod quota;
pub mod rootless;
mod running;
pub mod seccomp;
mod sys;
mod terminal;
mod tree;
mod visit;
pub mod warm;

pub use caller::process_name;
pub use cgroup::{ControlGroup, OWN_DEVICES, Update, Usage};
pub use check::Check;
pub use create::{Created, Io, create};
pub use error::Error;
pub use exec::exec;
pub use measure::{Count, Measure, used_around};
pub use own_program::read_only_program;
pub use process::find_process;
pub use running::{Exec, ExitState, Running};
pub use sys::{memory, signal};
pub use visit::{Scope, Visit, visit};
