//! What a container may do, decided as pure functions of plain data.
//!
//! ```text
//! flag, label, packed ──effective_profile──▶ ProfileName ──confinement──▶ Profile (defaults)
//! what an image or project asks beyond it ──Requests, judge──▶ granted, or a Denial that names the flag
//! Profile + capabilities ──Profile::syscalls──▶ SyscallFilter ──(runtime::seccomp)──▶ BPF
//! finished Launch ──judge_launch──▶ fit to start, or a Denial
//! ```
//!
//! A security decision stands in this room or it is in the wrong place. A project's file and an image's
//! label can only narrow; the user's flag is the only thing that widens, and the finished launch is
//! judged once more, whoever wrote it. Nothing here reads a file, asks the host, or changes anything.
//!
//! ```
//! use corral_policy::{confinement, effective_profile};
//! use corral_spec::ProfileName;
//!
//! // An image packed by us asks for the weaker profile in its label: only the user's flag can do that.
//! let denial = effective_profile(None, Some("standard"), true).unwrap_err();
//! assert_eq!(denial.allow.as_deref(), Some("corral run --profile standard IMAGE"));
//! assert_eq!(effective_profile(Some(ProfileName::Standard), None, true), Ok(ProfileName::Standard));
//! assert!(confinement(ProfileName::Agent).capabilities.is_empty());
//! ```
#![forbid(unsafe_code)]

mod capability;
mod denial;
mod launch;
mod narrow;
mod profile;
mod request;
mod seccomp_file;
mod syscalls;

pub use capability::{Capability, CapabilityError, CapabilitySet};
pub use denial::Denial;
pub use launch::judge_launch;
pub use narrow::effective_profile;
pub use profile::{DefaultLimits, Profile, Tmpfs, confinement};
pub use request::{Request, Requests, judge};
pub use seccomp_file::{SeccompFile, SeccompFileError, SeccompHost};
