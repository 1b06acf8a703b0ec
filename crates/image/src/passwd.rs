use corral_spec::UserSpec;

use crate::Error;

/// One line of passwd(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passwd {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home directory.
    pub home: String,
}

/// One line of group(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Group name.
    pub name: String,
    /// Group id.
    pub gid: u32,
    /// Names of its members.
    pub members: Vec<String>,
}

/// Who a process is, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary group ids, sorted.
    pub groups: Vec<u32>,
    /// Home directory; `/` if unknown.
    pub home: String,
}

/// Looks a user up in the image's passwd and group, which `lookup` reads by path (`/etc/passwd`).
///
/// # Errors
/// [`Error::NoSuchUser`] for a name that is not there.
pub fn resolve_user(
    user: &UserSpec,
    lookup: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<ResolvedUser, Error> {
    let _ = lookup;
    todo!("{user:?}")
}
