//! Where things are on disk, who may touch them, and the few facts that want a database.
//!
//! ```text
//! ROOT (/var/lib/corral, mode 0700)            RUN (/run/corral, mode 0700, gone after a reboot)
//! ├── store/            room `image`           └── containers/ID/
//! ├── containers/ID/                               ├── lock         held by whoever works on ID,
//! │   ├── container.json  last written: a              │                and by its monitor for life
//! │   │                   container exists             ├── status.json  monitor
//! │   │                   when this file does          ├── attach.sock  monitor
//! │   ├── launch.json     what the monitor runs        └── writable/    layer of a read-only root
//! │   ├── started         marker: began, and not yet ended
//! │   ├── exit.json       how it ended (monitor)
//! │   ├── log/            monitor
//! │   └── writable/       upper and work of the overlay
//! ├── ids/SLOT          symlink to ID: lease of 65,536 host ids
//! ├── names/NAME        symlink to ID: lease of a name
//! ├── volumes/NAME/     data of a named volume
//! └── state.db          SQLite: volumes, grants
//! ```
//!
//! One writer per fact. Leases are made after `containers/ID` and removed before it, so a lease that
//! points at nothing is always stale. Everything about one container changes only under its lock, which the
//! kernel drops when the holder dies: what a killed process left is found by trying the lock.
//! SQLite holds what many commands share and query; it is not opened on the way of `run`.
#![forbid(unsafe_code)]

mod container;
mod db;
mod error;
mod layout;
mod lease;
mod lock;
mod remove_tree;
mod write_file;

pub use container::ContainerRecord;
pub use db::{Database, Grant, Volume};
pub use error::Error;
pub use layout::Layout;
pub use lease::{ID_RANGE, IdSlot};
pub use lock::ContainerLock;
pub use remove_tree::remove_tree;
pub use write_file::{read_record, write_record};
