use std::io;
use std::path::{Path, PathBuf};

use corral_spec::{Digest, ErrorKind};
use rustix::io::Errno;

/// Why an act of the image store failed. Each message is one line: the thing, the cause, the way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk is full (ENOSPC, EDQUOT).
    #[error("store {path}: no space left on the device: free some, or name another place with --root", path = .path.display())]
    NoSpace {
        /// Where the write failed.
        path: PathBuf,
    },
    /// Where a copy goes, the disk is full (ENOSPC, EDQUOT).
    #[error("{path}: no space left on the device that it is copied to: free some and copy again")]
    Full {
        /// Relative to what is copied; shortened. It was not made.
        path: String,
    },
    /// The store lies on a read-only file system (EROFS).
    #[error("store {path}: the file system is read-only: remount it, or name another place with --root", path = .path.display())]
    ReadOnly {
        /// Where the write failed.
        path: PathBuf,
    },
    /// An ordinary user's namespace has too few ids.
    #[error(
        "{path}: its owner has no id in your user namespace; get more by /etc/subuid and /etc/subgid (corral doctor \
         says how)",
        path = .path.display()
    )]
    NoId {
        /// The file.
        path: PathBuf,
    },
    /// Any other failure of the operating system.
    #[error("cannot {act} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried, as a verb: `open`, `create`.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Reading an archive handed in by the caller, or writing one for it, failed.
    #[error("{act}: {source}")]
    Stream {
        /// What was going on.
        act: &'static str,
        /// What the stream said.
        #[source]
        source: io::Error,
    },
    /// No image answers to the name.
    #[error("no such image: {0} (`corral images` lists those there are)")]
    NoSuchImage(String),
    /// More than one image begins with the id.
    #[error("image id {0} is ambiguous: {1} images begin with it, give more digits")]
    AmbiguousId(String, usize),
    /// A layer is not in the store.
    #[error("layer {0} is not in the store: load or pack its image again")]
    NoSuchLayer(Digest),
    /// An archive entry that cannot be stored faithfully or safely.
    #[error("archive entry {entry:?}: {reason}")]
    Entry {
        /// The entry's name as the archive spells it, shortened.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that cannot be copied, from or to where it lies.
    #[error("{path}: {reason}")]
    Place {
        /// Relative to what is copied; shortened.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// An archive that is damaged or not of a known form.
    #[error("archive: {0}")]
    Archive(String),
    /// More than the limits allow.
    #[error("archive: more than {limit} {what}: refused as a decompression bomb")]
    Limit {
        /// `bytes`, `entries`, or how often larger than its compressed form.
        what: &'static str,
        /// The bound that was passed.
        limit: u64,
    },
    /// Content does not have the digest it should have.
    #[error("{what}: digest is {got}, expected {expect}")]
    DigestMismatch {
        /// Of what.
        what: String,
        /// The digest that was promised.
        expect: Digest,
        /// The digest of what is there.
        got: Digest,
    },
    /// An image config that cannot be understood.
    #[error("image config {id}: {reason}")]
    Config {
        /// The image.
        id: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the store does not have the form it should have.
    #[error("store file {path} is damaged ({reason}): remove it and load or pack the image again", path = .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// A name that cannot be used for this act.
    #[error("image name {name}: {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// The image cannot be removed as asked.
    #[error("cannot remove image {name}: {reason}")]
    Busy {
        /// As the caller spelled it.
        name: String,
        /// What holds it and how to go on.
        reason: String,
    },
    /// A `--change` instruction that cannot be applied.
    #[error("invalid --change {text:?}: {reason}")]
    Change {
        /// The instruction.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A user or group name that the image does not know.
    #[error("no {what} {name:?} in the image's {file}: name one that is there, or give a number")]
    NoSuchUser {
        /// `user` or `group`.
        what: &'static str,
        /// The name looked for.
        name: String,
        /// `/etc/passwd` or `/etc/group`.
        file: &'static str,
    },
}

impl Error {
    /// An operating-system error with what was tried on which path; a full or read-only disk becomes its
    /// own variant, since the way out differs.
    pub(crate) fn io(act: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.as_ref().to_path_buf(), source.into());
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::NoSpace { path },
            Some(Errno::ROFS) => Self::ReadOnly { path },
            Some(Errno::OVERFLOW) => Self::NoId { path },
            _ => Self::Io { act, path, source },
        }
    }

    /// An archive entry refused for `reason`; its name is shortened and made printable by `{:?}`.
    pub(crate) fn entry(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Entry { entry: shortened(path.as_ref()), reason: reason.into() }
    }

    /// A file of a copy refused for `reason`.
    pub(crate) fn place(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Place { path: shortened(path.as_ref()), reason: reason.into() }
    }

    /// No room for a file of a copy.
    pub(crate) fn full(path: &Path) -> Self {
        Self::Full { path: shortened(path) }
    }

    /// The error of this room that a stream of this room was given to carry, instead of its wrapping.
    pub(crate) fn unwrapped(self) -> Self {
        match self {
            Self::Stream { act, source } => match source.downcast::<Self>() {
                Ok(inner) => inner,
                Err(source) => Self::Stream { act, source },
            },
            error => error,
        }
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSpace { .. } | Self::Full { .. } | Self::ReadOnly { .. } => ErrorKind::Unavailable,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            Self::Io { .. } | Self::Stream { .. } | Self::Damaged { .. } => ErrorKind::Internal,
            Self::NoSuchImage(_) | Self::NoSuchLayer(_) | Self::NoSuchUser { .. } => ErrorKind::NotFound,
            Self::AmbiguousId(..) | Self::Busy { .. } => ErrorKind::Conflict,
            Self::DigestMismatch { .. } => ErrorKind::Denied,
            Self::NoId { .. } => ErrorKind::Unsupported,
            Self::Entry { .. }
            | Self::Place { .. }
            | Self::Archive(_)
            | Self::Limit { .. }
            | Self::Config { .. }
            | Self::Name { .. }
            | Self::Change { .. } => ErrorKind::Invalid,
        }
    }
}

fn shortened(path: &Path) -> String {
    path.to_string_lossy().chars().take(200).collect()
}
