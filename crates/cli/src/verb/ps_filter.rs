use corral_engine::{Engine, State, View};
use corral_spec::{Digest, MountSource};

use super::ps::{labels, network};
use crate::failure::Failure;
use crate::filter::{Filter, Filters, invalid};

/// There is one `isolation` on Linux, and Docker's engine does not look at the filter there.
const KNOWN: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATES: [&str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
const HEALTHS: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

/// The word that the filter knows for a container's health.
fn health(view: &View) -> &'static str {
    let health = view.state.status().and_then(|status| status.health.as_ref());
    health.map_or("none", |health| health.state.as_str())
}

/// Which containers `ps` shows, as Docker's engine decides it.
pub(super) struct PsFilter<'e> {
    engine: &'e Engine,
    filters: Filters<'e>,
    /// Exit codes; any if there is none.
    exited: Vec<i64>,
    /// Made before, and after, these moments.
    before_ns: Option<u64>,
    since_ns: Option<u64>,
    /// The layers of the images asked for; an image that is not there has no descendants.
    ancestors: Option<Vec<Vec<Digest>>>,
    exposed: Vec<PortRange>,
    /// Published ports, or tasks of a swarm, are asked for: no container has any.
    impossible: bool,
}

impl<'e> PsFilter<'e> {
    /// # Errors
    /// A filter that is not known, or whose value makes no sense; a container that is not there.
    pub(super) fn new(engine: &'e Engine, filters: &'e [Filter]) -> Result<Self, Failure> {
        let filters = Filters::new(filters, KNOWN)?;
        let mut exited = Vec::new();
        for value in filters.values("exited") {
            exited.push(value.parse().map_err(|_| invalid("exited", value))?);
        }
        one_of(&filters, "status", "state", &STATES)?;
        one_of(&filters, "health", "health", &HEALTHS)?;
        let made = |name| -> Result<Option<u64>, Failure> {
            let views = filters.values(name).map(|value| Ok(engine.look(value)?.record.created_ns));
            views.last().transpose()
        };
        let published = ranges(&filters, "publish")?;
        let is_task = filters.flag("is-task")?;
        let ancestors = filters.values("ancestor").next().is_some().then(|| {
            filters
                .values("ancestor")
                .filter_map(|name| Some(engine.store().resolve(name).ok()?.layers))
                .collect()
        });
        Ok(Self {
            engine,
            exited,
            before_ns: made("before")?,
            since_ns: made("since")?,
            ancestors,
            exposed: ranges(&filters, "expose")?,
            impossible: !published.is_empty() || is_task == Some(true),
            filters,
        })
    }

    /// Whether containers that do not run are shown without being asked for.
    pub(super) fn wants_all(&self) -> bool {
        self.filters.values("status").next().is_some()
    }

    /// Whether a container is shown.
    ///
    /// # Errors
    /// When its image cannot be read, and is asked about.
    pub(super) fn matches(&self, view: &View) -> Result<bool, Failure> {
        let record = &view.record;
        let filters = &self.filters;
        let code = match &view.state {
            State::Exited(exit) if exit.started_ns > 0 => Some(i64::from(exit.code)),
            _ => None,
        };
        let plain = !self.impossible
            // inspect writes names with a slash, and patterns such as ^/web$ are common.
            && (filters.pattern("name", record.name.as_str())
                || filters.pattern("name", &format!("/{}", record.name)))
            && filters.pattern("id", record.id.as_str())
            && filters.exact("status", &[view.state.as_str()])
            && filters.exact("health", &[health(view)])
            && self.before_ns.is_none_or(|moment| record.created_ns < moment)
            && self.since_ns.is_none_or(|moment| record.created_ns > moment)
            && (self.exited.is_empty() || code.is_some_and(|code| self.exited.contains(&code)))
            && self.mounts(view)
            && self.network(view);
        Ok(plain
            && (!filters.asks_labels() || filters.labels(&labels(self.engine, view)?))
            && self.descends(&record.image)?
            && self.exposes(&record.image)?)
    }

    fn network(&self, view: &View) -> bool {
        self.filters.values("network").next().is_none()
            || self
                .engine
                .launch(&view.record.id)
                .is_ok_and(|launch| self.filters.exact("network", &[network(&launch)]))
    }

    /// By the name of the volume, the path of the bind, or where it is mounted.
    fn mounts(&self, view: &View) -> bool {
        let mut have = Vec::new();
        for mount in &view.record.spec.mounts {
            have.push(mount.target.to_string());
            match &mount.source {
                MountSource::Bind(path) => have.push(path.to_string()),
                MountSource::Volume(name) | MountSource::Image(name) => have.push(name.clone()),
                MountSource::Tmpfs { .. } | MountSource::Anonymous => {}
            }
        }
        self.filters.exact("volume", &have.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// From one of these images, or from one that was built on it: its layers begin with theirs.
    fn descends(&self, image: &Digest) -> Result<bool, Failure> {
        let Some(ancestors) = &self.ancestors else { return Ok(true) };
        let layers = self.engine.store().resolve(&image.to_string())?.layers;
        Ok(ancestors.iter().any(|ancestor| layers.starts_with(ancestor)))
    }

    fn exposes(&self, image: &Digest) -> Result<bool, Failure> {
        if self.exposed.is_empty() {
            return Ok(true);
        }
        let config = self.engine.store().resolve(&image.to_string())?.config;
        let mut ports = config.config.exposed_ports.iter().filter_map(|port| PortRange::parse(port));
        Ok(ports.any(|port| self.exposed.iter().any(|wanted| wanted.meets(&port))))
    }
}

fn one_of(filters: &Filters<'_>, name: &str, noun: &str, known: &[&str]) -> Result<(), Failure> {
    match filters.values(name).find(|value| !known.contains(value)) {
        None => Ok(()),
        Some(value) => Err(Failure::new(format!(
            "{}: invalid value for {noun} ({value}): must be one of {}",
            invalid(name, value).message(),
            known.join(", ")
        ))),
    }
}

fn ranges(filters: &Filters<'_>, name: &str) -> Result<Vec<PortRange>, Failure> {
    let parse = |value| PortRange::parse(value).ok_or_else(|| invalid(name, value));
    filters.values(name).map(parse).collect()
}

/// `80`, `80/udp`, `8000-8080/tcp`.
#[derive(Debug, PartialEq, Eq)]
struct PortRange {
    first: u16,
    last: u16,
    protocol: String,
}

impl PortRange {
    fn parse(text: &str) -> Option<Self> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        let known = ["tcp", "udp", "sctp"].contains(&protocol);
        (known && first <= last).then(|| Self { first, last, protocol: protocol.to_owned() })
    }

    fn meets(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.first <= other.last && other.first <= self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        let range = |first, last, protocol: &str| Some(PortRange { first, last, protocol: protocol.into() });
        for (text, expect) in [
            ("80", range(80, 80, "tcp")),
            ("80/udp", range(80, 80, "udp")),
            ("8000-8080/tcp", range(8000, 8080, "tcp")),
            ("", None),
            ("80/icmp", None),
            ("90-80", None),
            ("70000", None),
        ] {
            assert_eq!(PortRange::parse(text), expect, "{text}");
        }
    }
}
