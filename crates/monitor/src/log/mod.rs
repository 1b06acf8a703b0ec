//! What a container wrote, with time and stream, in the form that its log driver says: `local`, drawn here, Docker's
//! `json-file` ([`json`], [`jsonfile`]), systemd's `journald`, or `none`.
//!
//! ```text
//! CONTAINER_DIR/log/current      appended by the monitor alone, one writev per read of a stream
//! CONTAINER_DIR/log/1 … N        earlier files, 1 the youngest; renamed upwards when `current` is full
//!
//!  0             8         9        10            14
//! ┌─────────────┬─────────┬────────┬─────────────┬───────────────────────┐
//! │ time u64 LE │stream u8│flags u8│ len u32 LE  │ bytes, len ≤ 65536    │  record
//! └─────────────┴─────────┴────────┴─────────────┴───────────────────────┘
//!   ns since 1970  1 out    1: no newline at the end: the line goes on in this stream's next record
//!                  2 err
//! ```
//!
//! A record is what one read brought, not a line: a program that writes a gigabyte without a newline
//! costs 64 KiB of memory, and a chatty one a record per 64 KiB. [`Reader`] makes whole lines of them
//! again.
//!
//! A record that was not wholly written (the monitor was killed, the disk was full) can only be the last of a
//! file. A reader ignores it; a writer that opens the file again cuts it off. Nothing is fsynced: after a
//! power failure the log ends earlier.

mod filter;
mod journald;
mod json;
mod jsonfile;
mod lines;
mod reader;
mod record;
mod sink;
mod tail;
#[cfg(test)]
mod tests;
mod watch;
mod writer;

pub use filter::TerminalFilter;
pub use reader::{Entry, Follow, ReadOptions, Reader};
pub use record::Stream;
pub(crate) use sink::Sink;
use writer::Writer;

/// The directory in the container's directory.
const DIRECTORY: &str = "log";
/// The file that is appended to.
const CURRENT: &str = "current";
