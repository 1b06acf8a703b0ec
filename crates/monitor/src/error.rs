use std::io;
use std::path::PathBuf;

use corral_spec::ErrorKind;

use crate::protocol::Broken;

/// Why a monitor, its log or a client of it could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the container could not be read or written.
    #[error("{}: cannot {act}: {source}", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A record does not parse, or is of a later generation.
    #[error("{}: not a record of this version: {reason}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// Another monitor holds the run directory.
    #[error("{}: the container is running: another monitor holds its lock", .0.display())]
    Locked(PathBuf),
    /// This process could not be set up as a monitor.
    #[error("cannot {act} for the monitor: {source}")]
    Setup {
        /// What was tried.
        act: &'static str,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The container could not be created.
    #[error(transparent)]
    Runtime(#[from] corral_runtime::Error),
    /// It cannot be recorded.
    #[error(transparent)]
    Journal(#[from] corral_journal::Error),
    /// No monitor answers: the container is not running.
    #[error("{}: the container is not running: {source}", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// What was read could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
    /// The connection to the monitor failed.
    #[error("cannot {act}: {source}")]
    Connection {
        /// What was tried.
        act: &'static str,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The monitor is gone without a last word; the container died with it.
    #[error("the container's monitor ended without a word; the container was killed with it")]
    MonitorGone,
    /// The other side does not speak this protocol.
    #[error("the container's monitor sent {0}; is it of another version?")]
    Protocol(#[from] Broken),
    /// The monitor did not carry out a request.
    #[error("{0}")]
    Refused(String),
    /// A terminal could not be read or set.
    #[error("cannot {act} the terminal: {source}")]
    Terminal {
        /// What was tried.
        act: &'static str,
        /// Cause.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                ErrorKind::Unavailable
            }
            Self::Record { .. } => ErrorKind::Invalid,
            Self::Locked(_) | Self::NotRunning { .. } | Self::Refused(_) => ErrorKind::Conflict,
            Self::Runtime(error) => error.kind(),
            Self::Journal(error) => error.kind(),
            Self::File { .. }
            | Self::Setup { .. }
            | Self::Output(_)
            | Self::Connection { .. }
            | Self::MonitorGone
            | Self::Protocol(_)
            | Self::Terminal { .. } => ErrorKind::Internal,
        }
    }

    /// The exit code of a container that did not start for this reason: Docker's 125, 126 or 127.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Runtime(error) => error.exit_code(),
            _ => 125,
        }
    }

    pub(crate) fn file(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { act, path, source }
    }
}
