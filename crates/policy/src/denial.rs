use corral_spec::ErrorKind;
use serde::{Deserialize, Serialize};

/// A "no" that says which rule, why, and what would allow it: text for a person, fields for an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{cause} (rule {rule}){}", way_out(.allow.as_deref()))]
pub struct Denial {
    /// Stable name of the rule, such as `agent.user`; docs/confinement.md lists them.
    pub rule: String,
    /// What was asked and why it is refused, in one line.
    pub cause: String,
    /// The command or flags that would allow it; none if nothing does.
    pub allow: Option<String>,
}

impl Denial {
    pub(crate) fn new(rule: &str, cause: impl Into<String>, allow: impl Into<String>) -> Self {
        Self { rule: rule.to_owned(), cause: cause.into(), allow: Some(allow.into()) }
    }

    pub(crate) fn never(rule: &str, cause: impl Into<String>) -> Self {
        Self { rule: rule.to_owned(), cause: cause.into(), allow: None }
    }

    /// Always [`ErrorKind::Denied`].
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Denied
    }
}

fn way_out(allow: Option<&str>) -> String {
    allow.map_or_else(|| "; no flag allows it".to_owned(), |allow| format!("; to allow it: {allow}"))
}
