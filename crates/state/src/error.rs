use std::path::{Path, PathBuf};

use corral_spec::ErrorKind;

/// What went wrong with the state on disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {act} {}: {source}{}", path.display(), hint(source))]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A record does not parse.
    #[error("{} is damaged: {reason}; remove the container with `corral rm -f`", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A record of a newer version.
    #[error("{} was written by a newer corral (generation {found}, this one knows {known}): upgrade corral", path.display())]
    Generation {
        /// The file.
        path: PathBuf,
        /// The record's generation.
        found: u32,
        /// The newest that this build reads.
        known: u32,
    },
    /// The name is taken.
    #[error(
        "the container name {name:?} is already in use by container {by}: remove (or rename) that container to be able to reuse that name"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The holder's id.
        by: String,
    },
    /// Another command works on the container, or it runs.
    #[error("container {0} is busy: another command works on it")]
    Busy(String),
    /// No range of user ids is free.
    #[error("all {0} ranges of user ids are leased: remove containers with `corral rm`")]
    NoIds(u32),
    /// SQLite failed.
    #[error("state database {}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
}

impl Error {
    pub(crate) fn io(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { act, path, source }
    }

    /// The sort of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Io { .. } | Self::NoIds(_) => ErrorKind::Unavailable,
            Self::Damaged { .. } | Self::Database { .. } => ErrorKind::Internal,
            Self::Generation { .. } => ErrorKind::Unsupported,
            Self::NameTaken { .. } | Self::Busy(_) => ErrorKind::Conflict,
        }
    }
}

fn hint(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::ReadOnlyFilesystem => {
            " (the state directory must be writable: choose another with --root or CORRAL_ROOT)"
        }
        std::io::ErrorKind::StorageFull => {
            " (free space, or choose another place with --root or CORRAL_ROOT)"
        }
        std::io::ErrorKind::PermissionDenied => {
            " (it must be yours: choose another with --root and --run-root)"
        }
        _ => "",
    }
}
