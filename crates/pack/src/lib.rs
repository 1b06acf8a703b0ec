//! Room `pack`: a directory with an agent in it becomes a minimal OCI image, without Dockerfile, base
//! image, registry or running container.
//!
//! ```text
//!  DIR ──project::Project::detect──▶ Project (kind, settings, pins)
//!   │                                   │            agent.lock ◀──▶ lock::Lock
//!   │        debian::{resolve,fetch,assemble} ──────▶ layer 1   the base
//!   │        python:: pins → wheels → trees + .pyc ─▶ layers    one a wheel over 1 MB, the rest in one
//!   │        node::   package-lock → node_modules ──▶ layer
//!   ├── declared data and model directories ────────▶ layers
//!   └── code ───────────────────────────────────────▶ layer     last: it changes most
//!                                                       │
//!                              assemble::config ────────┴──▶ image::Store: image, tag
//! ```
//!
//! Every layer is a [`tree::Tree`] written in canonical order with owner, mode and time fixed, so the same
//! input gives the same config digest on any machine. Each has a cache key made of what went in, so a
//! rebuild writes only what changed; a fingerprint of the project's directory entries answers "nothing
//! changed" without reading a file.
//!
//! What this room will not do: run project or package code on the host (steps run through `engine` in
//! the `build` profile, without network), run maintainer scripts, trust a project's package-manager
//! configuration, or pack what looks like a key.
#![forbid(unsafe_code)]

mod base;
mod base64;
mod build_base;
mod client;
mod code;
mod config;
pub mod debian;
mod elf;
mod entrypoint;
mod error;
mod files;
mod http;
mod layers;
mod lock;
mod manifest;
mod node;
mod options;
mod output;
mod pack;
mod pattern;
mod project;
mod python;
mod report;
mod request;
mod scan;
mod settings;
mod step;
mod tarball;
mod tools;
mod tree;
mod unchanged;
mod work;

pub use error::Error;
pub use options::{PackOptions, Progress};
pub use pack::pack;
pub use report::{LayerReport, Packed};
