use std::io;
use std::path::{Path, PathBuf};

use corral_spec::ErrorKind;

/// Why a verb of the OCI runtime did not do what was asked. The words are those that clients of runc look for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No container has the name.
    #[error("container {0:?} does not exist: container does not exist")]
    Missing(String),
    /// A container has the name already.
    #[error("container with given ID already exists: {0}")]
    Exists(String),
    /// The container's state forbids the act.
    #[error("{0}")]
    State(String),
    /// config.json or another input makes no sense, or asks for what is not supported.
    #[error("{0}")]
    Invalid(String),
    /// What this host or this runtime cannot do.
    #[error("{what} is not supported: {reason}")]
    Unsupported {
        /// The field or flag.
        what: String,
        /// Why, or the way out.
        reason: String,
    },
    /// A file could not be used.
    #[error("{}: cannot {act}: {source}", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// Which one.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A JSON file is no such thing.
    #[error("{}: {source}", path.display())]
    Json {
        /// Which one.
        path: PathBuf,
        /// Cause.
        #[source]
        source: serde_json::Error,
    },
    /// The program cannot be executed; in runc's words, from which clients tell exit codes.
    #[error("unable to start container process: exec: {0}")]
    Program(String),
    /// The runtime failed.
    #[error(transparent)]
    Runtime(corral_runtime::Error),
}

impl Error {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing(_) => ErrorKind::NotFound,
            Self::Exists(_) | Self::State(_) => ErrorKind::Conflict,
            Self::Invalid(_) | Self::Json { .. } => ErrorKind::Invalid,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::File { .. } => ErrorKind::Internal,
            Self::Program(_) => ErrorKind::Invalid,
            Self::Runtime(error) => error.kind(),
        }
    }

    pub(crate) fn file(act: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::File { act, path, source }
    }

    pub(crate) fn unsupported(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), reason: reason.into() }
    }
}

impl From<corral_runtime::Error> for Error {
    fn from(error: corral_runtime::Error) -> Self {
        match &error {
            corral_runtime::Error::Exec { program, source } => Self::Program(match source.kind() {
                io::ErrorKind::NotFound if !program.contains('/') => {
                    format!("{program:?}: executable file not found in $PATH")
                }
                io::ErrorKind::NotFound => format!("{program:?}: stat {program}: no such file or directory"),
                io::ErrorKind::PermissionDenied => format!("{program:?}: permission denied"),
                _ => format!("{program:?}: {source}"),
            }),
            _ => Self::Runtime(error),
        }
    }
}
