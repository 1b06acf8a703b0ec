/// What sort of failure an error is. Every room's error answers `kind()`; the command line maps it to
/// an exit code and a hint, the HTTP API to a status, each in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The named thing does not exist.
    NotFound,
    /// The thing exists already, or is in a state that forbids the act.
    Conflict,
    /// The input is malformed or contradicts itself.
    Invalid,
    /// A rule forbids it, or a signature or hash does not match.
    Denied,
    /// A resource is missing for now: disk space, a mirror, a lock.
    Unavailable,
    /// This host or this version cannot do it.
    Unsupported,
    /// A defect, or an environment that broke a promise.
    Internal,
}
