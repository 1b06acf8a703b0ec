use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Who a process runs as: `user[:group]`, each a name or a number (OCI image config `User`,
/// `docker run -u`). Names are looked up in the image's passwd and group, numbers are not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSpec {
    /// The user.
    pub user: UserPart,
    /// The group; without it the user's own group of the image's passwd, else 0.
    pub group: Option<UserPart>,
}

/// One half of a [`UserSpec`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserPart {
    /// A numeric id inside the container.
    Id(u32),
    /// A name to look up in the image.
    Name(String),
}

/// A text that is not `user[:group]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid user {0:?}: expected USER[:GROUP], each a name or a number below 4294967295")]
pub struct UserError(String);

impl UserPart {
    fn parse(text: &str) -> Option<Self> {
        if text.bytes().all(|b| b.is_ascii_digit()) {
            // u32::MAX is the kernel's "no id" (-1).
            return text.parse().ok().filter(|id| *id != u32::MAX).map(Self::Id);
        }
        let plain = text.len() <= 256 && !text.chars().any(|c| c.is_control() || matches!(c, ':' | '/'));
        plain.then(|| Self::Name(text.to_owned()))
    }
}

impl FromStr for UserSpec {
    type Err = UserError;

    fn from_str(text: &str) -> Result<Self, UserError> {
        let fail = || UserError(text.chars().take(80).collect());
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        if user.is_empty() || group == Some("") {
            return Err(fail());
        }
        let part = |text| UserPart::parse(text).ok_or_else(fail);
        Ok(Self { user: part(user)?, group: group.map(part).transpose()? })
    }
}

impl fmt::Display for UserPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for UserSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.user.fmt(f)?;
        match &self.group {
            Some(group) => write!(f, ":{group}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_both_halves() {
        for good in ["0", "1000:1000", "agent", "agent:65532"] {
            assert_eq!(good.parse::<UserSpec>().map(|user| user.to_string()).as_deref(), Ok(good));
        }
        for bad in ["", ":", "a:", ":b", "4294967295", "a:b:c", "a/b", "a\n"] {
            assert!(bad.parse::<UserSpec>().is_err(), "{bad}");
        }
    }
}
