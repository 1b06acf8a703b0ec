//! Where things are on disk, who may touch them, and the few facts that want a database.
//!
//! ```text
//! ROOT (/var/lib/corral, mode 0700)            RUN (/run/corral, mode 0700, gone after a reboot)
//! ├── store/            room `image`           ├── containers/ID/
//! ├── containers/ID/                           │   ├── lock         held by whoever works on ID,
//! │   ├── (records)                            │   │                and by its monitor for life
//! │   ├── log/            monitor              │   ├── status.json  monitor
//! │   └── upper/, work/   of the overlay       │   ├── attach.sock  monitor
//! │                                            │   ├── (records)
//! ├── ids/SLOT          symlink to ID:         │   └── upper/, work/  of a read-only root
//! │                     a lease of 65,536      ├── ids/SLOT
//! │                     host ids               └── names/NAME
//! ├── names/NAME        symlink to ID:
//! │                     a lease of a name
//! ├── volumes/NAME/     data of a volume; .size-NAME beside it: the bytes of its bound
//! ├── volumes.lock      held while volumes are made, filled, removed, or taken by a new container
//! └── state.db          SQLite: volumes, grants
//!
//! records   container.json          last written: a container exists when this file does
//!           removed.json            the same while it is removed from disk: whose end is to be recorded
//!           volumes.json            while it is made: the volumes without a name that go if it does not come to be
//!           launch.json             what the monitor runs
//!           started                 marker: it was started at least once
//!           exit.json               how it ended (monitor)
//! ```
//!
//! The records and leases of a container that may outlive the boot are below ROOT ([`Life::Lasting`]), those
//! of `run --rm` below RUN ([`Life::Passing`]): nobody wants them after its end, and a disk makes their
//! making and removal dearer than the container itself.
//!
//! One writer per fact. Leases are made after the container's first directory and removed before its last, so
//! a lease that points at nothing is always stale. Everything about one container changes only under its lock,
//! which the kernel drops when the holder dies: what a killed process left is found by trying the lock.
//! SQLite holds what many commands share and query; it is not opened on the way of `run`.
#![forbid(unsafe_code)]

mod container;
mod db;
mod error;
mod layout;
mod lease;
mod lock;
mod remove_tree;
mod rename;
mod tree_size;
mod write_file;

pub use container::{ContainerRecord, Typed};
pub use db::{Database, Grant, Volume};
pub use error::Error;
pub use layout::{Layout, Life};
pub use lease::{ID_RANGE, IdSlot};
pub use lock::ContainerLock;
pub use remove_tree::remove_tree;
pub use tree_size::{TreeSize, tree_size};
pub use write_file::{Staged, read_record, stage_record, write_record};
