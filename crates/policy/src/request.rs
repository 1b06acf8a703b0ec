use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use corral_spec::{AbsPath, ByteSize, CpuCount, NetworkMode, ProfileName};

use crate::{Capability, Denial, Profile};

/// One thing that an image's label or a project's file asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Request {
    /// To run under a profile.
    Profile(ProfileName),
    /// A file or directory of the host.
    Mount {
        /// On the host.
        source: AbsPath,
        /// Inside.
        target: AbsPath,
        /// Whether writing is not asked for.
        read_only: bool,
    },
    /// A connection to a host name, lower case.
    Host(String),
    /// Bytes of memory.
    Memory(ByteSize),
    /// Processor time.
    Cpus(CpuCount),
    /// Tasks.
    Pids(u32),
    /// The host's network.
    HostNetwork,
    /// A capability.
    Capability(Capability),
}

/// What an image or project asks beyond its profile: a set, so that order and repetition in the source
/// do not make it another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests(BTreeSet<Request>);

impl Request {
    /// Whether the profile grants it anyway. A smaller limit narrows and is always within.
    fn within(&self, profile: &Profile) -> bool {
        match self {
            Self::Profile(asked) => *asked >= profile.name,
            Self::Mount { .. } | Self::Host(_) => false,
            Self::Memory(asked) => profile.limits.memory.is_none_or(|most| asked.0 <= most),
            Self::Cpus(asked) => profile.limits.cpu_millis.is_none_or(|most| asked.millis() <= most),
            Self::Pids(asked) => *asked <= profile.limits.pids,
            Self::HostNetwork => profile.network == NetworkMode::Host,
            Self::Capability(asked) => profile.capabilities.contains(*asked),
        }
    }

    /// The flag by which a user grants it; none where this version has no such flag.
    fn flag(&self) -> Option<String> {
        Some(match self {
            Self::Profile(profile) => format!("--profile {}", profile.as_str()),
            Self::Mount { source, target, read_only } => {
                format!("-v {}", quoted(&format!("{source}:{target}{}", if *read_only { ":ro" } else { "" })))
            }
            Self::Host(_) => return None,
            Self::Memory(size) => format!("-m {size}"),
            Self::Cpus(cpus) => format!("--cpus {cpus}"),
            Self::Pids(pids) => format!("--pids-limit {pids}"),
            Self::HostNetwork => "--network host".to_owned(),
            Self::Capability(capability) => format!("--cap-add {capability}"),
        })
    }
}

impl fmt::Display for Request {
    /// One line; names from outside are quoted, so that none can forge a second line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile(profile) => write!(f, "profile {}", profile.as_str()),
            Self::Mount { source, target, read_only } => {
                let mode = if *read_only { "ro" } else { "rw" };
                write!(f, "mount {mode} {:?} {:?}", source.to_string(), target.to_string())
            }
            Self::Host(name) => write!(f, "host {name:?}"),
            Self::Memory(size) => write!(f, "memory {size}"),
            Self::Cpus(cpus) => write!(f, "cpus {cpus}"),
            Self::Pids(pids) => write!(f, "pids {pids}"),
            Self::HostNetwork => write!(f, "network host"),
            Self::Capability(capability) => write!(f, "capability {capability}"),
        }
    }
}

impl Requests {
    /// Keeps what goes beyond the profile.
    pub fn beyond(profile: &Profile, asks: impl IntoIterator<Item = Request>) -> Self {
        Self(asks.into_iter().filter(|ask| !ask.within(profile)).collect())
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In canonical order.
    pub fn iter(&self) -> impl Iterator<Item = &Request> {
        self.0.iter()
    }

    /// The text that a grant pins by its hash: a version line, then one request a line in fixed order.
    pub fn canonical(&self) -> String {
        let mut text = String::from("corral requests 1\n");
        for request in &self.0 {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{request}");
        }
        text
    }

    fn flags(&self) -> Option<String> {
        self.0.iter().map(Request::flag).collect::<Option<Vec<_>>>().map(|flags| flags.join(" "))
    }
}

/// Judges requests against the canonical text granted before, if any. A changed set is refused as a
/// whole, also when it only shrank: what was read and granted is what is run.
///
/// # Errors
/// The difference as a diff, and the flags that would allow this set for one run.
pub fn judge(requests: &Requests, granted: Option<&str>) -> Result<(), Denial> {
    let text = requests.canonical();
    if requests.is_empty() || granted == Some(text.as_str()) {
        return Ok(());
    }
    let before: BTreeSet<&str> = granted.unwrap_or_default().lines().skip(1).collect();
    let now: BTreeSet<&str> = text.lines().skip(1).collect();
    let added = now.difference(&before).map(|line| format!("+ {line}"));
    let removed = before.difference(&now).map(|line| format!("- {line}"));
    let diff = added.chain(removed).collect::<Vec<_>>().join("; ");
    let (rule, what) = match granted {
        None => ("request.not-granted", "the image or project asks for more than its profile"),
        Some(_) => ("request.changed", "what the image or project asks for has changed since it was granted"),
    };
    let cause = format!("{what}: {diff}");
    Err(match requests.flags() {
        Some(flags) => Denial::new(rule, cause, format!("corral run {flags} IMAGE")),
        None => {
            Denial::never(rule, format!("{cause}; connections to hosts are not available in this version"))
        }
    })
}

/// For a shell, in single quotes where it matters.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:,@+".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confinement;

    fn agent(asks: Vec<Request>) -> Requests {
        Requests::beyond(&confinement(ProfileName::Agent), asks)
    }

    fn mount(source: &str, read_only: bool) -> Request {
        let path = |text: &str| AbsPath::new(text).expect("absolute");
        Request::Mount { source: path(source), target: path("/data"), read_only }
    }

    fn check(asks: Vec<Request>, granted: Option<&str>, expect: &str) {
        let said = judge(&agent(asks), granted).map_or_else(|denial| denial.to_string(), |()| "fine".into());
        assert_eq!(said, expect);
    }

    #[test]
    fn what_narrows_is_no_request() {
        let narrow = vec![
            Request::Memory(ByteSize(1 << 20)),
            Request::Cpus(CpuCount::from_millis(2000)),
            Request::Pids(512),
            Request::Profile(ProfileName::Agent),
        ];
        assert!(agent(narrow).is_empty());
        check(vec![], None, "fine");
    }

    #[test]
    fn the_canonical_text_does_not_depend_on_order() {
        let (a, b) = (mount("/a", true), Request::Host("api.example".into()));
        let one = agent(vec![a.clone(), b.clone(), a.clone()]);
        assert_eq!(one, agent(vec![b, a]));
        assert_eq!(one.canonical(), "corral requests 1\nmount ro \"/a\" \"/data\"\nhost \"api.example\"\n");
        assert_eq!(agent(vec![mount("/a\nhost b", true)]).canonical().lines().count(), 2);
    }

    #[test]
    fn requests_are_refused_until_granted_and_again_when_changed() {
        let asks = vec![Request::Memory(ByteSize(8 << 30)), mount("/my data", false)];
        check(
            asks.clone(),
            None,
            "the image or project asks for more than its profile: + memory 8589934592; \
             + mount rw \"/my data\" \"/data\" (rule request.not-granted); \
             to allow it: corral run -v '/my data:/data' -m 8589934592 IMAGE",
        );
        let granted = agent(asks.clone()).canonical();
        check(asks, Some(&granted), "fine");
        check(
            vec![mount("/my data", false)],
            Some(&granted),
            "what the image or project asks for has changed since it was granted: - memory 8589934592 \
             (rule request.changed); to allow it: corral run -v '/my data:/data' IMAGE",
        );
        check(
            vec![Request::Host("api.example".into())],
            None,
            "the image or project asks for more than its profile: + host \"api.example\"; \
             connections to hosts are not available in this version (rule request.not-granted); \
             no flag allows it",
        );
    }
}
