use crate::failure::{ENGINE, Failure};

/// A flag's long name and its short one.
type Flag = (&'static str, Option<char>);

/// Flags of `docker run` and `docker create` that are known and not done, by their long and short names.
const RUN: &[Flag] = &[
    ("cpu-count", None),
    ("cpu-percent", None),
    ("expose", None),
    ("gpus", None),
    ("io-maxbandwidth", None),
    ("io-maxiops", None),
    ("ip", None),
    ("ip6", None),
    ("isolation", None),
    ("kernel-memory", None),
    ("link", None),
    ("link-local-ip", None),
    ("mac-address", None),
    ("network-alias", None),
    ("publish", Some('p')),
    ("publish-all", Some('P')),
    ("runtime", None),
    ("use-api-socket", None),
    ("volume-driver", None),
];

/// The same of Docker's other verbs.
const OTHERS: &[(&str, &[Flag])] = &[
    ("exec", &[("detach-keys", None), ("privileged", None)]),
    ("history", &[("platform", None)]),
    ("image inspect", &[("platform", None)]),
    ("images", &[("tree", None)]),
    ("import", &[("platform", None)]),
    ("load", &[("platform", None)]),
    ("logs", &[("details", None)]),
    ("rm", &[("link", Some('l'))]),
    ("rmi", &[("no-prune", None), ("platform", None)]),
    ("save", &[("platform", None)]),
    ("start", &[("checkpoint", None), ("checkpoint-dir", None)]),
    // Of clients of 2020.
    ("version", &[("kubeconfig", None)]),
    (
        "volume create",
        &[
            ("availability", None),
            ("driver", Some('d')),
            ("group", None),
            ("label", None),
            ("limit-bytes", None),
            ("opt", Some('o')),
            ("required-bytes", None),
            ("scope", None),
            ("secret", None),
            ("sharing", None),
            ("topology-preferred", None),
            ("topology-required", None),
            ("type", None),
        ],
    ),
    ("volume ls", &[("cluster", None)]),
];

/// Why a flag that a verb does not have is refused: `--name` or `-n`. Building these flags would cost each start more
/// than parsing those that are there.
pub(crate) fn refusal(verb: &str, flag: &str) -> Failure {
    let flags = match verb {
        "run" | "create" => RUN,
        _ => OTHERS.iter().find(|(known, _)| *known == verb).map_or(&[][..], |(_, flags)| *flags),
    };
    let known = match flag.strip_prefix("--") {
        Some(long) => flags.iter().find(|(name, _)| *name == long),
        None => flags.iter().find(|(_, short)| short.is_some_and(|short| flag == format!("-{short}"))),
    };
    match known {
        Some((name, _)) => Failure::with_code(
            ENGINE,
            format!("--{name} is known and not supported yet; leave it out or see docs/roadmap.md"),
        ),
        None => Failure::usage(verb, format!("unknown flag: {flag}")),
    }
}
