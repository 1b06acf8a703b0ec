use std::io;
use std::path::PathBuf;

use corral_spec::ErrorKind;

use crate::debian;

/// Why a directory was not packed. Each message is one line: the thing, the cause, the way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Debian base could not be built.
    #[error(transparent)]
    Debian(#[from] debian::Error),
    /// The store refused a layer or an image.
    #[error(transparent)]
    Image(#[from] corral_image::Error),
    /// A confined step could not be run.
    #[error(transparent)]
    Engine(#[from] corral_engine::Error),
    /// A file or directory could not be read or written.
    #[error("cannot {act} {}: {source}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `create`.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The directory holds no project that can be packed.
    #[error("{}: {reason}", path.display())]
    Project {
        /// The directory or the file in it.
        path: PathBuf,
        /// What is wrong and the way out.
        reason: String,
    },
    /// A lock, requirements or manifest file is malformed, or does not cover the project.
    #[error("{file}: {reason}")]
    Lock {
        /// File name, with line where known.
        file: String,
        /// What is wrong and the way out.
        reason: String,
    },
    /// A downloaded file is not what the lock says.
    #[error(
        "{file}: sha256 is {found}, the lock says {expected}; it was not used: fetch it again, or run `corral pack --upgrade` if the change is meant"
    )]
    Hash {
        /// File name.
        file: String,
        /// Hexadecimal digest of what came.
        found: String,
        /// Hexadecimal digest that was asked for.
        expected: String,
    },
    /// A wheel, npm package or archive is malformed or hostile.
    #[error("{file}: {reason}")]
    Archive {
        /// File name.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A package client (pip, uv, npm) is missing or failed.
    #[error("{client}: {reason}")]
    Client {
        /// The program.
        client: String,
        /// What it said, and the way out.
        reason: String,
    },
    /// Something this version does not do.
    #[error("{what} is not supported: {way_out}")]
    Unsupported {
        /// The thing.
        what: String,
        /// What to do instead.
        way_out: String,
    },
    /// A confined build step failed.
    #[error("build step {step:?} failed with exit code {code}: {stderr}")]
    Step {
        /// What it was doing.
        step: String,
        /// Its exit code.
        code: u8,
        /// The last lines it wrote.
        stderr: String,
    },
    /// A package's own code, run confined, did not give what it is there for.
    #[error("{package}: {act} failed: {said}; {way_out}")]
    Package {
        /// The package, with its version.
        package: String,
        /// `building its wheel from source`, `its install script`.
        act: String,
        /// The last lines that it wrote.
        said: String,
        /// What to do.
        way_out: String,
    },
}

impl Error {
    pub(crate) fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { act, path, source }
    }

    pub(crate) fn archive(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Archive { file: file.into(), reason: reason.into() }
    }

    pub(crate) fn lock(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Lock { file: file.into(), reason: reason.into() }
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Debian(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Engine(error) => error.kind(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                io::ErrorKind::StorageFull | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Unavailable,
                _ => ErrorKind::Internal,
            },
            Self::Project { .. } | Self::Lock { .. } | Self::Archive { .. } => ErrorKind::Invalid,
            Self::Hash { .. } => ErrorKind::Denied,
            Self::Client { .. } => ErrorKind::Unavailable,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Step { .. } => ErrorKind::Internal,
            Self::Package { .. } => ErrorKind::Invalid,
        }
    }
}
