use clap::{Arg, ArgAction, ArgMatches, Command};

/// Flags of `docker run` and `docker create` that are known and not done: (name, short, takes a value).
const RUN: &[(&str, Option<char>, bool)] = &[
    ("add-host", None, true),
    ("annotation", None, true),
    ("attach", Some('a'), true),
    ("blkio-weight", None, true),
    ("blkio-weight-device", None, true),
    ("cgroup-parent", None, true),
    ("cgroupns", None, true),
    ("cidfile", None, true),
    ("cpu-period", None, true),
    ("cpu-quota", None, true),
    ("cpu-rt-period", None, true),
    ("cpu-rt-runtime", None, true),
    ("cpu-shares", Some('c'), true),
    ("cpuset-cpus", None, true),
    ("cpuset-mems", None, true),
    ("device", None, true),
    ("device-cgroup-rule", None, true),
    ("device-read-bps", None, true),
    ("device-read-iops", None, true),
    ("device-write-bps", None, true),
    ("device-write-iops", None, true),
    ("disable-content-trust", None, false),
    ("dns", None, true),
    ("dns-option", None, true),
    ("dns-search", None, true),
    ("domainname", None, true),
    ("expose", None, true),
    ("gpus", None, true),
    ("group-add", None, true),
    ("health-cmd", None, true),
    ("health-interval", None, true),
    ("health-retries", None, true),
    ("health-start-interval", None, true),
    ("health-start-period", None, true),
    ("health-timeout", None, true),
    ("ip", None, true),
    ("ip6", None, true),
    ("ipc", None, true),
    ("isolation", None, true),
    ("label-file", None, true),
    ("link", None, true),
    ("link-local-ip", None, true),
    ("log-driver", None, true),
    ("log-opt", None, true),
    ("mac-address", None, true),
    ("memory-reservation", None, true),
    ("memory-swap", None, true),
    ("memory-swappiness", None, true),
    ("network-alias", None, true),
    ("no-healthcheck", None, false),
    ("oom-kill-disable", None, false),
    ("oom-score-adj", None, true),
    ("pid", None, true),
    ("platform", None, true),
    ("privileged", None, false),
    ("publish", Some('p'), true),
    ("publish-all", Some('P'), false),
    ("pull", None, true),
    ("restart", None, true),
    ("runtime", None, true),
    ("security-opt", None, true),
    ("storage-opt", None, true),
    ("sysctl", None, true),
    ("use-api-socket", None, false),
    ("uts", None, true),
    ("volume-driver", None, true),
    ("volumes-from", None, true),
];

/// Adds the flags that are only there to be refused by name.
pub(crate) fn add(command: Command) -> Command {
    command.args(RUN.iter().map(|(name, short, value)| {
        let action = if *value { ArgAction::Append } else { ArgAction::SetTrue };
        let arg = Arg::new(*name).long(*name).action(action).hide(true);
        match short {
            Some(short) => arg.short(*short),
            None => arg,
        }
    }))
}

/// The first of those flags that was typed, in a command to which they were added.
pub(crate) fn used(matches: &ArgMatches) -> Option<&'static str> {
    use clap::parser::ValueSource::CommandLine;
    RUN.iter().map(|(name, ..)| *name).find(|name| matches.value_source(name) == Some(CommandLine))
}
