use std::io;
use std::path::PathBuf;

use corral_spec::ErrorKind;
use corral_spec::record::ProcessName;

/// Why a container or a process in it could not be made, reached or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The launch contradicts itself or names something that cannot be.
    #[error("launch of the container: {0}")]
    Launch(String),
    /// An act on a control group failed.
    #[error("control group {}: cannot {act}: {source}", path.display())]
    Group {
        /// What was tried.
        act: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A bound was asked for that this host cannot enforce.
    #[error("the {limit} limit cannot be enforced: {reason}")]
    Limit {
        /// `memory`, `cpu` or `pids`.
        limit: &'static str,
        /// Why, and the way out.
        reason: String,
    },
    /// No control group can be made where the caller is.
    #[error(
        "no control group can be made in {}: {source}; start corral in a group that is yours (systemd-run --user --scope \
         -p Delegate=yes corral …, or docs/rootless.md), or name the weaker mode --cgroups disabled, which bounds neither \
         memory nor processor time nor tasks",
        path.display()
    )]
    NoGroups {
        /// The directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The kernel refused new namespaces.
    #[error("cannot create the container's namespaces: {0}; `corral doctor` says which one is refused")]
    Namespaces(#[source] io::Error),
    /// The kernel refused an ordinary user a user namespace.
    #[error("cannot create a user namespace: {source}; {}", crate::rootless::way_out())]
    UserNamespace {
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The user namespace did not get its map.
    #[error("cannot map container ids to host ids {host} to {last}: {source}")]
    IdMap {
        /// First host id.
        host: u32,
        /// Last host id.
        last: u64,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A host path that the container is made of cannot be used.
    #[error("{}: cannot {act}: {source}", path.display())]
    Host {
        /// What was tried.
        act: &'static str,
        /// Layer, bound path or device.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The file system under a path refuses id-mapped mounts.
    #[error(
        "{}: its file system refuses id-mapped mounts; mount it read-only (:ro) or name the weaker mode `--userns host`",
        path.display()
    )]
    IdmapRefused {
        /// Layer or bound path.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A bound path leads through a symbolic link that was not there when the container was made.
    #[error(
        "{}: a symbolic link is there now, and was not when the container was made, so it is not followed; \
         remove the link, or make the container again",
        path.display()
    )]
    Moved {
        /// The bound path.
        path: PathBuf,
    },
    /// The overlay of layers was refused.
    #[error("cannot mount the container's root file system: {source}{log}")]
    Overlay {
        /// The kernel's own words, if it had any; starts with ` (`.
        log: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A step inside the new namespaces failed.
    #[error("cannot {act}: {source}")]
    Inside {
        /// What was tried, with the path inside the container.
        act: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The program could not be executed.
    #[error("cannot execute {program:?} in the container: {source}")]
    Exec {
        /// As given; the container's `PATH` was searched if it has no slash.
        program: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The child died before it could say why.
    #[error("the container's first process ended during {act} without a message; was it killed?")]
    Died {
        /// What it was busy with.
        act: &'static str,
    },
    /// An act on a process failed.
    #[error("process {pid}: cannot {act}: {source}")]
    Process {
        /// Process id on the host.
        pid: i32,
        /// What was tried.
        act: &'static str,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The process of that name is gone; its number may belong to another one.
    #[error("the container is not running: its process {} has ended", .0.pid)]
    Gone(ProcessName),
    /// The container is frozen.
    #[error("the container is paused; `corral unpause` it first")]
    Paused,
    /// A template is gone, or not fit to be forked.
    #[error("the template of a warm start: {0}")]
    Template(String),
    /// What a visitor of the container's files said.
    #[error("{0}")]
    Visit(String),
    /// A hook of an OCI configuration failed.
    #[error("{point} hook {}: {reason}", path.display())]
    Hook {
        /// When it was to run.
        point: &'static str,
        /// The program.
        path: PathBuf,
        /// How it ended.
        reason: String,
    },
    /// Creating failed, and what was half-made could not be removed either.
    #[error("{cause}; left behind: {}", left.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    HalfMade {
        /// Why it failed.
        #[source]
        cause: Box<Error>,
        /// What the teardown met.
        left: Vec<Error>,
    },
}

impl Error {
    /// A step inside the namespaces, or between the two processes, failed.
    pub(crate) fn inside(act: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Inside { act: act.into(), source: source.into() }
    }

    /// The same failure, and what its teardown could not remove.
    pub(crate) fn with_left(self, left: Vec<Error>) -> Self {
        if left.is_empty() { self } else { Self::HalfMade { cause: Box::new(self), left } }
    }

    /// The exit code that Docker gives: 127 for a program that does not exist, 126 for one that
    /// cannot be executed, 125 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exec { source, .. } => match source.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => 127,
                _ => 126,
            },
            Self::HalfMade { cause, .. } => cause.exit_code(),
            _ => 125,
        }
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Launch(_) | Self::Visit(_) => ErrorKind::Invalid,
            Self::Moved { .. } => ErrorKind::Denied,
            Self::Limit { .. } | Self::IdmapRefused { .. } => ErrorKind::Unsupported,
            Self::Namespaces(_) | Self::UserNamespace { .. } | Self::IdMap { .. } => ErrorKind::Unsupported,
            Self::NoGroups { .. } => ErrorKind::Denied,
            Self::Host { source, .. } | Self::Group { source, .. } | Self::Overlay { source, .. } => {
                of(source)
            }
            Self::Inside { source, .. } | Self::Exec { source, .. } | Self::Process { source, .. } => {
                of(source)
            }
            Self::Gone(_) | Self::Paused | Self::Template(_) => ErrorKind::Conflict,
            Self::Died { .. } | Self::Hook { .. } => ErrorKind::Internal,
            Self::HalfMade { cause, .. } => cause.kind(),
        }
    }
}

fn of(source: &io::Error) -> ErrorKind {
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ESRCH) => ErrorKind::NotFound,
        Some(libc::EPERM | libc::EACCES | libc::EROFS) => ErrorKind::Denied,
        Some(libc::ENOSPC | libc::EDQUOT | libc::ENOMEM | libc::EAGAIN | libc::EMFILE | libc::ENFILE) => {
            ErrorKind::Unavailable
        }
        Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::ENODEV) => ErrorKind::Unsupported,
        Some(libc::EINVAL | libc::ELOOP | libc::ENAMETOOLONG | libc::EXDEV | libc::ENOEXEC) => {
            ErrorKind::Invalid
        }
        Some(libc::EBUSY | libc::EEXIST) => ErrorKind::Conflict,
        _ => ErrorKind::Internal,
    }
}
