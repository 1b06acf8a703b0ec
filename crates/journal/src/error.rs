use std::io;
use std::path::{Path, PathBuf};

use corral_spec::ErrorKind;

/// Why the journal could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("journal: cannot {act} {}: {source}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// No space to record it, so it must not happen.
    #[error(
        "no space left for the journal in {}: what cannot be recorded is not done; free space there and try again",
        .0.display()
    )]
    Full(PathBuf),
    /// Every lane is held by a process that does not go on.
    #[error("journal: all lanes in {} are held by other processes; is one of them stopped?", .0.display())]
    Busy(PathBuf),
    /// The key that everything is verified with is gone or has another length.
    #[error("journal: {} {reason}: nothing can be verified", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A document of anchors is not one, or not by the holder of the key.
    #[error("journal: {}: {reason}", path.display())]
    Anchors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    pub(crate) fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { act, path, source }
    }

    pub(crate) fn os(act: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = path.to_owned();
        move |errno| Self::Io { act, path, source: errno.into() }
    }

    /// The sort of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Io { .. } | Self::Full(_) | Self::Busy(_) => ErrorKind::Unavailable,
            Self::Key { .. } | Self::Anchors { .. } => ErrorKind::Denied,
        }
    }
}
