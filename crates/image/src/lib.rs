//! The content-addressed image store: layers, configs, tags; no daemon, no database, many processes.
//!
//! ```text
//! ROOT/store/                       0700, made whole by one rename
//!   lock                            flock, exclusive, short: changes of images/ and refs/
//!   lease                           flock, shared by whoever is at work, exclusive by a sweep
//!   blobs/sha256/HEX                config, manifest and index bytes, verbatim
//!   images/HEX                      one small record per image; the name is the config digest = image id
//!   refs/REGISTRY/REPOSITORY/TAG    image id and manifest digest, two lines
//!   layers/HEX/                     HEX = diffID: sha256 over the uncompressed tar
//!       fs/                         the unpacked tree, whiteouts as overlayfs wants them
//!       headers                     zstd: tar headers and padding, to re-make the exact tar
//!       shadow/N                    contents that a later entry of the same tar replaced
//!       meta.json                   sizes and counts
//!       synced                      present: on disk for good; absent: trusted within the same boot only
//!   cache/KIND/HEX                  a build step's key → the layer it gave
//!   staging/NAME/                   half-made things; the maker holds a flock on the directory
//! ```
//!
//! Everything becomes visible by one rename out of `staging/`, so a process may die anywhere: what it
//! left lies in `staging/` with its lock gone, and the next command that writes collects it. The full
//! rules (who writes what, power loss, gc beside writers) are in docs/store.md.
//!
//! A path from an archive or an image is resolved only through `openat2` below the tree it belongs to.
//! This room fetches nothing from a network, mounts nothing and starts no process.
#![forbid(unsafe_code)]

mod archive;
mod bundle;
mod cache;
mod change;
mod changes;
mod commit;
mod config;
mod entry;
mod error;
mod gc;
mod header;
mod history;
mod image;
mod import;
mod layer;
mod list;
mod load;
mod lookup;
mod manifest;
mod member;
mod memory;
mod passwd;
mod refs;
mod remove;
mod save;
mod source;
mod sparse;
mod split;
mod staging;
mod store;
mod tree;
mod unpack;
mod usage;
mod writer;

pub use archive::{
    ArchiveReader, ArchiveWriter, Found, Owners, Sink, TreeWriter, Upper, Walk, copy_union, union_paths,
};
pub use changes::{Change, ChangeKind, Changes, changes};
pub use commit::Commit;
pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use entry::{EntryHead, EntryKind};
pub use error::Error;
pub use gc::{Collected, Lease};
pub use history::HistoryRow;
pub use image::Image;
pub use layer::LayerInfo;
pub use list::ImageSummary;
pub use load::Loaded;
pub use lookup::read_file;
pub use passwd::{Group, Passwd, ResolvedUser, resolve_user};
pub use remove::Removed;
pub use save::SaveFormat;
pub use store::Store;
pub use unpack::UnpackLimits;
pub use usage::LayerUse;
pub use writer::LayerWriter;
