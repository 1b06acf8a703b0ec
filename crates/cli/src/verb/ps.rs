use std::collections::BTreeMap;

use corral_engine::{Engine, State, View};
use corral_image::ContainerConfig;
use corral_spec::record::{Launch, Status, Warm};
use corral_spec::{HealthState, MountSource, NetworkMode, UserNamespace};

use super::ps_filter::PsFilter;
use crate::app::Globals;
use crate::failure::Failure;
use crate::filter::Filter;
use crate::listing::{Listing, to_terminal};
use crate::output::{ellipsis, moment, since_ns};
use crate::template::{Value, harmless, quoted};
use crate::{Words, output};

#[derive(Debug, clap::Args)]
struct Flags {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<Filter>,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    last: i64,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
    /// Format output: table, 'table TEMPLATE', json, or a Go template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
}

const LISTING: Listing = Listing {
    heads: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
        ("Profile", "PROFILE"),
        ("Weaker", "WEAKER"),
    ],
    table: TABLE,
    raw: "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n\
          state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\n\
          labels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n",
};
/// The name that Docker's errors give a row.
const ROW: &str = "*formatter.ContainerContext";
const TABLE: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const WITH_SIZE: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}";

/// `corral ps`.
pub(super) fn ps(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("ps", words)? else { return Ok(0) };
    if flags.quiet && !flags.format.is_empty() {
        eprintln!("WARNING: Ignoring custom format, because both --format and --quiet are set.");
    }
    let format = match flags.format.as_str() {
        _ if flags.quiet => LISTING.format("{{.ID}}")?,
        "" | "table" if flags.size => LISTING.format(WITH_SIZE)?,
        text => LISTING.format(text)?,
    };
    format.check(ROW, &LISTING)?;
    let engine = globals.engine()?;
    engine.collect_if_possible();
    let filter = PsFilter::new(&engine, &flags.filter)?;
    let limit = if flags.latest && flags.last == -1 { 1 } else { flags.last };
    let mut views = engine.list()?;
    if !flags.all && limit <= 0 && !filter.wants_all() {
        views.retain(|view| view.state.lives());
    }
    let mut kept = Vec::new();
    for view in views {
        if filter.matches(&view)? {
            kept.push(view);
        }
    }
    if limit > 0 {
        kept.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    let cells = Cells {
        engine: &engine,
        whole: flags.no_trunc,
        // As Docker's, `json` alone measures nothing, and `{{json .}}` does.
        sizes: if flags.size || (flags.format != "json" && format.mentions("Size")) {
            Sizes::All
        } else {
            Sizes::Nothing
        },
        config: ["Ports", "Labels", "Label"].iter().any(|cell| format.mentions(cell)),
        clean: to_terminal(),
    };
    let rows = kept.iter().map(|view| cells.row(view)).collect::<Result<Vec<_>, _>>()?;
    output::print(&format.rows(&rows)?)?;
    Ok(0)
}

/// The containers of `system df -v`.
pub(super) fn disk_usage(engine: &Engine, views: &[View]) -> Result<String, Failure> {
    let format = LISTING.format(
        "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
    )?;
    let cells = Cells { engine, whole: false, sizes: Sizes::Writable, config: false, clean: to_terminal() };
    let rows = views.iter().map(|view| cells.row(view)).collect::<Result<Vec<_>, _>>()?;
    format.rows(&rows)
}

/// What is measured of each container, which costs a walk through its files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sizes {
    Nothing,
    Writable,
    All,
}

/// How cells are filled.
struct Cells<'e> {
    engine: &'e Engine,
    whole: bool,
    sizes: Sizes,
    /// Whether a cell needs the image's config, which is read from the disk.
    config: bool,
    clean: bool,
}

impl Cells<'_> {
    fn row(&self, view: &View) -> Result<Value, Failure> {
        let record = &view.record;
        let text = |text: &str| if self.clean { Value::from(harmless(text)) } else { Value::from(text) };
        let cut = |text: String, most| if self.whole { text } else { ellipsis(&text, most) };
        // Its records may be gone: it is being removed.
        let launch = self.engine.launch(&record.id).ok();
        let config = if self.config { self.engine.config(record) } else { ContainerConfig::default() };
        let labels = config.labels.clone();
        let joined: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let size = match self.sizes {
            Sizes::Nothing => corral_engine::Size::default(),
            Sizes::Writable => corral_engine::Size { root: 0, ..self.engine.size(record)? },
            Sizes::All => self.engine.size(record)?,
        };
        let mounts: Vec<String> = mounts(view).map(|name| cut(name, 15)).collect();
        let volumes =
            record.spec.mounts.iter().filter(|mount| matches!(mount.source, MountSource::Volume(_))).count();
        let id = if self.whole { record.id.as_str() } else { record.id.short() };
        let created = format!("{} ago", since_ns(record.created_ns));
        let cells = vec![
            ("ID", id.into()),
            ("Names", record.name.as_str().into()),
            ("Image", text(&record.image_name)),
            ("Command", quoted(&cut(launch.as_ref().map_or_else(String::new, command), 20)).into()),
            ("CreatedAt", moment(record.created_ns).into()),
            ("RunningFor", created.into()),
            ("Ports", text(&ports(&exposed(&config)))),
            ("State", view.state.as_str().into()),
            ("Status", status(view, launch.as_ref()).into()),
            ("Size", sizes(size, record.spec.limits.disk.map(|bound| bound.0)).into()),
            ("Labels", text(&joined.join(","))),
            ("Mounts", text(&mounts.join(","))),
            ("LocalVolumes", volumes.to_string().into()),
            ("Networks", launch.as_ref().map_or("", network).into()),
            ("Platform", Value::Nil),
            ("Profile", record.profile.as_str().into()),
            ("Weaker", weaker(view, launch.as_ref()).join(",").into()),
        ];
        let labels = labels.into_iter();
        let labels = labels.map(|(key, value)| (key, if self.clean { harmless(&value) } else { value }));
        Ok(Value::row(ROW, cells, labels.collect()))
    }
}

/// The command line as Docker shows it: words with a space in quotes.
fn command(launch: &Launch) -> String {
    let word = |(at, word): (usize, &String)| {
        if at > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() }
    };
    launch.process.argv.iter().enumerate().map(word).collect::<Vec<_>>().join(" ")
}

fn sizes(size: corral_engine::Size, bound: Option<u64>) -> String {
    let bound = bound.map_or_else(String::new, |bound| format!(" of {}", output::size(bound)));
    let writable = output::size(size.writable) + &bound;
    if size.root > 0 { format!("{writable} (virtual {})", output::size(size.root)) } else { writable }
}

/// The labels of a container: its image's, and over them its own.
///
/// # Errors
/// When those of the image cannot be read, be it there.
pub(super) fn labels(engine: &Engine, view: &View) -> Result<BTreeMap<String, String>, Failure> {
    match engine.store().resolve(&view.record.image.to_string()) {
        Err(error) if error.kind() != corral_spec::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(engine.config(&view.record).labels),
    }
}

/// The ports that a configuration exposes, with their protocol.
pub(super) fn exposed(config: &ContainerConfig) -> Vec<String> {
    let whole = |port: &String| if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
    config.exposed_ports.iter().map(whole).collect()
}

/// `80-81/tcp, 90/udp`: exposed ports as Docker's client puts neighbours together.
fn ports(exposed: &[String]) -> String {
    let parse = |port: &String| {
        let (range, protocol) = port.split_once('/')?;
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse::<u16>().ok()?, last.parse::<u16>().ok()?, protocol.to_owned()))
    };
    let mut known: Vec<_> = exposed.iter().filter_map(parse).collect();
    known.sort();
    let mut open: BTreeMap<String, (u16, u16)> = BTreeMap::new();
    let mut told = Vec::new();
    let tell = |protocol: &str, (first, last): (u16, u16)| match first == last {
        true => format!("{first}/{protocol}"),
        false => format!("{first}-{last}/{protocol}"),
    };
    for (first, last, protocol) in known {
        match open.get_mut(&protocol) {
            Some(range) if u32::from(first) <= u32::from(range.1) + 1 => range.1 = range.1.max(last),
            Some(range) => told.push(tell(&protocol, std::mem::replace(range, (first, last)))),
            None => drop(open.insert(protocol, (first, last))),
        }
    }
    told.extend(open.iter().map(|(protocol, range)| tell(protocol, *range)));
    told.join(", ")
}

/// Names of volumes and paths of binds.
fn mounts(view: &View) -> impl Iterator<Item = String> {
    view.record.spec.mounts.iter().map(|mount| match &mount.source {
        MountSource::Bind(path) => path.to_string(),
        MountSource::Volume(name) | MountSource::Image(name) => name.clone(),
        MountSource::Tmpfs { .. } | MountSource::Anonymous => String::new(),
    })
}

/// The network that a container is in.
pub(super) const fn network(launch: &Launch) -> &'static str {
    match launch.network {
        NetworkMode::Host => "host",
        NetworkMode::None => "none",
    }
}

/// Modes that the user named and that weaken the confinement, and what shares memory with others: marked in every
/// listing.
pub(super) fn weaker(view: &View, launch: Option<&Launch>) -> Vec<&'static str> {
    let spec = &view.record.spec;
    let mut modes = Vec::new();
    match view.record.warm {
        Some(Warm::Template { .. }) => modes.push("template"),
        Some(Warm::Forked { .. }) => modes.push("warm"),
        None => {}
    }
    if spec.userns == UserNamespace::Host {
        modes.push("userns=host");
    }
    if launch.is_some_and(|launch| launch.cgroup.more.no_groups) {
        modes.push("cgroups=disabled");
    }
    if spec.network == Some(NetworkMode::Host) {
        modes.push("network=host");
    }
    modes.extend(spec.settings.weaker.iter().map(|wall| wall.as_str()));
    if !spec.cap_add.is_empty() {
        modes.push("cap-add");
    }
    if !spec.limits.devices.is_empty() || !spec.limits.more.device_rules.is_empty() {
        modes.push("device");
    }
    if spec.settings.seccomp.is_some() {
        modes.push("seccomp=file");
    }
    // An update changes the bounds in the launch, not what was asked at first.
    if launch.is_some_and(|launch| launch.cgroup.more.pids_unlimited && !launch.cgroup.more.no_groups) {
        modes.push("pids=unlimited");
    }
    if spec.limits.more.oom_kill_disable {
        modes.push("oom-kill-disable");
    }
    modes
}

/// Docker's words for a state of health.
fn health(status: &Status) -> &'static str {
    match status.health.as_ref().map(|health| health.state) {
        None => "",
        Some(HealthState::Starting) => " (health: starting)",
        Some(HealthState::Healthy) => " (healthy)",
        Some(HealthState::Unhealthy) => " (unhealthy)",
    }
}

/// Docker's words, and the weaker modes in brackets.
fn status(view: &View, launch: Option<&Launch>) -> String {
    let mut text = match &view.state {
        State::Created => "Created".to_owned(),
        State::Busy => "Starting".to_owned(),
        State::Running(status) => format!("Up {}{}", since_ns(status.started_ns), health(status)),
        State::Paused(status) => format!("Up {} (Paused)", since_ns(status.started_ns)),
        State::Restarting(_, exit) => {
            format!("Restarting ({}) {} ago", exit.code, since_ns(exit.finished_ns))
        }
        State::Exited(exit) => {
            let why = if exit.over_disk { " (over its bound on disk)" } else { "" };
            format!("Exited ({}) {} ago{why}", exit.code, since_ns(exit.finished_ns))
        }
        State::Dead => "Dead".to_owned(),
    };
    let weaker = weaker(view, launch);
    if !weaker.is_empty() {
        text.push_str(&format!(" [{}]", weaker.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ports_are_one() {
        let check = |exposed: &[&str], expect: &str| {
            let exposed_ports = exposed.iter().map(|port| (*port).to_owned()).collect();
            let config = ContainerConfig { exposed_ports, ..ContainerConfig::default() };
            assert_eq!(ports(&self::exposed(&config)), expect, "{exposed:?}");
        };
        check(&[], "");
        check(&["80"], "80/tcp");
        check(&["443/tcp", "80/tcp", "81/tcp", "53/udp", "82"], "80-82/tcp, 443/tcp, 53/udp");
        check(&["8000-8010/tcp", "8005/tcp", "8011/tcp"], "8000-8011/tcp");
        check(&["80/tcp", "80/udp", "65535/udp"], "80/udp, 80/tcp, 65535/udp");
        check(&["http", "99999/tcp", "-1", "80/tcp"], "80/tcp");
    }
}
