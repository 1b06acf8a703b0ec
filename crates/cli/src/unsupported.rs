use crate::failure::{ENGINE, Failure};

/// Flags of `docker run` and `docker create` that are known and not done, by their long and short names.
const RUN: &[(&str, Option<char>)] = &[
    ("expose", None),
    ("gpus", None),
    ("health-cmd", None),
    ("health-interval", None),
    ("health-retries", None),
    ("health-start-interval", None),
    ("health-start-period", None),
    ("health-timeout", None),
    ("ip", None),
    ("ip6", None),
    ("isolation", None),
    ("link", None),
    ("link-local-ip", None),
    ("log-driver", None),
    ("log-opt", None),
    ("mac-address", None),
    ("network-alias", None),
    ("no-healthcheck", None),
    ("privileged", None),
    ("publish", Some('p')),
    ("publish-all", Some('P')),
    ("restart", None),
    ("runtime", None),
    ("storage-opt", None),
    ("use-api-socket", None),
    ("volume-driver", None),
    ("volumes-from", None),
];

/// Why what was typed where the image's name belongs, a word that begins with a dash, is refused. The parser knows
/// none of these flags.
pub(crate) fn refusal(verb: &str, typed: &str) -> Failure {
    let flag = typed.split('=').next().unwrap_or(typed);
    let known = match flag.strip_prefix("--") {
        Some(long) => RUN.iter().find(|(name, _)| *name == long),
        // The first of a cluster such as -itp that is not there.
        None => flag.chars().find_map(|typed| RUN.iter().find(|(_, short)| *short == Some(typed))),
    };
    match known {
        Some((name, _)) => Failure::with_code(
            ENGINE,
            format!("--{name} is known and not supported yet; leave it out or see docs/roadmap.md"),
        ),
        None => Failure::usage(verb, format!("unknown flag: {flag}")),
    }
}
