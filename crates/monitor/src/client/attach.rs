use corral_spec::Signal;

use super::{Client, DetachKeys};
use crate::Error;

/// How a person (or a pipe) is joined to a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Forward our standard input.
    pub stdin: bool,
    /// The container has a terminal: ours is set raw, its size is followed, keys can detach.
    pub tty: bool,
    /// Forward signals to the container (not with `tty`, where keys do that).
    pub sig_proxy: bool,
    /// What detaches, with `tty`.
    pub detach_keys: DetachKeys,
}

/// How an attachment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The container ended.
    Exited {
        /// As `record::Exit::code`.
        code: u8,
        /// Whether the kernel killed it for memory.
        oom_killed: bool,
    },
    /// The detach keys were typed; the container runs on.
    Detached,
    /// The container did not start.
    Failed {
        /// 125, 126 or 127.
        code: u8,
        /// One line for people.
        message: String,
    },
    /// This signal asked us to end, and was not ours to forward; the container runs on. Exit with 128 + its
    /// number.
    Interrupted(Signal),
}

/// Joins our standard streams to the container until one of them ends it. Blocks. The terminal is as
/// before on every return.
///
/// # Errors
/// [`Error::MonitorGone`] when the monitor was killed, [`Error::Connection`], [`Error::Protocol`],
/// [`Error::Terminal`].
pub fn attach_terminal(client: Client, options: &AttachOptions) -> Result<Outcome, Error> {
    let _ = (client, options);
    todo!()
}
