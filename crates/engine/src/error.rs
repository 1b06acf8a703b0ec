use std::path::PathBuf;

use corral_spec::ErrorKind;

/// Why a use-case failed. The message is one line for people: the thing, the cause, the way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image store.
    #[error(transparent)]
    Image(#[from] corral_image::Error),
    /// The state on disk.
    #[error(transparent)]
    State(#[from] corral_state::Error),
    /// The runtime core.
    #[error(transparent)]
    Runtime(#[from] corral_runtime::Error),
    /// It cannot be recorded.
    #[error(transparent)]
    Journal(#[from] corral_journal::Error),
    /// A rule of the profile forbids it.
    #[error(transparent)]
    Denied(#[from] corral_policy::Denial),
    /// No container goes by that name.
    #[error("no such container: {0}")]
    NoContainer(String),
    /// No volume goes by that name.
    #[error("no such volume: {0}")]
    NoVolume(String),
    /// A volume that is to be removed is needed.
    #[error("volume {name} is in use - [{by}]: remove that container first")]
    VolumeInUse {
        /// The volume.
        name: String,
        /// The container's id.
        by: String,
    },
    /// More than one container's id begins so.
    #[error("{0:?} is ambiguous: give more digits of the id")]
    Ambiguous(String),
    /// The container is in a state that forbids the act.
    #[error("container {name} is {state}: {way_out}")]
    WrongState {
        /// Name as listed.
        name: String,
        /// Its state.
        state: &'static str,
        /// What the user can do.
        way_out: &'static str,
    },
    /// Neither the image nor the command line says what to run.
    #[error("no command specified: image {0} has neither Entrypoint nor Cmd; name a command after the image")]
    NoCommand(String),
    /// The image is for another processor.
    #[error("image {image} is for {found}, this host is {host}: pull or pack it for linux/{host}")]
    Architecture {
        /// The image.
        image: String,
        /// Its architecture.
        found: String,
        /// The host's.
        host: &'static str,
    },
    /// A bind mount cannot be given to the container as asked.
    #[error("mount {}: {reason}", path.display())]
    Mount {
        /// The host path.
        path: PathBuf,
        /// Cause and way out.
        reason: String,
    },
    /// A system call of a use-case failed.
    #[error("cannot {act}: {source}")]
    Io {
        /// What was tried.
        act: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The request contradicts itself or the host.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    pub(crate) fn io(act: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let act = act.into();
        move |source| Self::Io { act, source }
    }

    /// The sort of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Image(error) => error.kind(),
            Self::State(error) => error.kind(),
            Self::Runtime(error) => error.kind(),
            Self::Journal(error) => error.kind(),
            Self::Denied(_) => ErrorKind::Denied,
            Self::NoContainer(_) | Self::NoVolume(_) => ErrorKind::NotFound,
            Self::WrongState { .. } | Self::VolumeInUse { .. } => ErrorKind::Conflict,
            Self::Architecture { .. } => ErrorKind::Unsupported,
            Self::Io { .. } => ErrorKind::Internal,
            Self::Ambiguous(_) | Self::NoCommand(_) | Self::Mount { .. } | Self::Invalid(_) => {
                ErrorKind::Invalid
            }
        }
    }
}
