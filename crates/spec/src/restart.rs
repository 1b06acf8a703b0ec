use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whether a container that ended is started again (`--restart`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// It stays as it is.
    #[default]
    No,
    /// After a code other than 0, at most so many times in a row; none is without end.
    OnFailure(Option<u32>),
    /// Whatever it ended with, and after a boot even if somebody had stopped it.
    Always,
    /// Whatever it ended with, unless somebody has stopped it.
    UnlessStopped,
}

impl RestartPolicy {
    /// Whether a container starts again that nobody stopped, that ended with `code` and was started again `restarts`
    /// times before.
    pub fn applies(self, code: u8, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure(most) => code != 0 && most.is_none_or(|most| restarts < most),
            Self::Always | Self::UnlessStopped => true,
        }
    }

    /// Docker's word for it, without the number.
    pub const fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure(_) => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// Whether it is the one that does nothing.
    pub fn is_no(&self) -> bool {
        *self == Self::No
    }
}

/// A text that is no restart policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestartError {
    /// No policy has this name.
    #[error(
        "invalid restart policy: unknown policy '{0}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
    )]
    Unknown(String),
    /// What follows the colon is no count.
    #[error("invalid restart policy format: maximum retry count must be an integer")]
    Count,
    /// A count where none has a meaning.
    #[error("invalid restart policy: maximum retry count can only be used with 'on-failure'")]
    Counted,
}

impl FromStr for RestartPolicy {
    type Err = RestartError;

    fn from_str(text: &str) -> Result<Self, RestartError> {
        let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
        let count = count.map(|count| count.parse::<u32>().map_err(|_| RestartError::Count)).transpose()?;
        let policy = match name {
            "" | "no" => Self::No,
            // Zero is Docker's way of saying that there is no bound.
            "on-failure" => return Ok(Self::OnFailure(count.filter(|&count| count > 0))),
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            other => return Err(RestartError::Unknown(other.to_owned())),
        };
        if count.is_some() { Err(RestartError::Counted) } else { Ok(policy) }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnFailure(Some(most)) => write!(f, "on-failure:{most}"),
            policy => f.write_str(policy.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_parsed_as_docker_does() {
        let check = |text: &str, expect: RestartPolicy| {
            let parsed: RestartPolicy = text.parse().expect(text);
            assert_eq!(parsed, expect);
            assert_eq!(parsed.to_string().parse(), Ok(expect), "{text}");
        };
        check("", RestartPolicy::No);
        check("no", RestartPolicy::No);
        check("always", RestartPolicy::Always);
        check("unless-stopped", RestartPolicy::UnlessStopped);
        check("on-failure", RestartPolicy::OnFailure(None));
        check("on-failure:0", RestartPolicy::OnFailure(None));
        check("on-failure:3", RestartPolicy::OnFailure(Some(3)));
        for (text, error) in [
            ("sometimes", RestartError::Unknown("sometimes".into())),
            ("on-failure:x", RestartError::Count),
            ("on-failure:-1", RestartError::Count),
            ("always:3", RestartError::Counted),
        ] {
            assert_eq!(text.parse::<RestartPolicy>(), Err(error), "{text}");
        }
    }

    #[test]
    fn who_starts_again() {
        for (policy, code, restarts, expect) in [
            (RestartPolicy::No, 1, 0, false),
            (RestartPolicy::OnFailure(None), 1, 1000, true),
            (RestartPolicy::OnFailure(None), 0, 0, false),
            (RestartPolicy::OnFailure(Some(2)), 1, 1, true),
            (RestartPolicy::OnFailure(Some(2)), 1, 2, false),
            (RestartPolicy::Always, 0, 7, true),
            (RestartPolicy::UnlessStopped, 0, 7, true),
        ] {
            assert_eq!(policy.applies(code, restarts), expect, "{policy} {code} {restarts}");
        }
    }
}
