use corral_spec::ErrorKind;

/// Why a base could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a release this version knows.
    #[error("suite {name:?}: not known; use bookworm or trixie")]
    Suite {
        /// As given.
        name: String,
    },
}

impl Error {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Suite { .. } => ErrorKind::Invalid,
        }
    }
}
