use std::collections::{BTreeMap, BTreeSet};

use corral_engine::{Engine, State, View};
use corral_image::Image;
use corral_spec::record::{Launch, LogDriver};
use corral_spec::{Health, HealthResult, HealthStatus, RestartPolicy, Settings, Weaker};
use corral_state::{ContainerRecord, Volume};
use serde_json::{Value, json};

use super::mounts;
use crate::Words;
use crate::app::Globals;
use crate::failure::Failure;
use crate::listing::to_terminal;
use crate::output::{self, rfc3339};
use crate::template::{self, Template};

mod bounds;

#[derive(Debug, clap::Args)]
struct Flags {
    /// Format output: json, or a Go template
    #[arg(short, long, default_value = "", hide_default_value = true)]
    format: String,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of the given type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// Containers, images and volumes
    #[arg(required = true)]
    names: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct PlainFlags {
    /// Format output: json, or a Go template
    #[arg(short, long, default_value = "", hide_default_value = true)]
    format: String,
    /// Names
    #[arg(required = true)]
    names: Vec<String>,
}

/// What can be inspected, in the order in which a name is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Container,
    Image,
    Volume,
}

const KINDS: [Kind; 3] = [Kind::Container, Kind::Image, Kind::Volume];
/// What Docker can inspect beside these.
const PLANNED: [&str; 7] = ["config", "network", "node", "plugin", "secret", "service", "task"];

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = KINDS.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| match PLANNED.contains(&text) {
            true => "it is known and not supported yet".into(),
            false => "unknown type: it must be one of container, image, volume".into(),
        })
    }
}

/// `corral inspect`: a JSON array of what was found, with Docker's keys, or what a template makes of each.
pub(super) fn inspect(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("inspect", words)? else { return Ok(0) };
    let shape = Shape::new(&flags.format)?;
    let engine = globals.engine()?;
    show(&shape, &flags.names, |name| {
        let (kind, value) = look(&engine, name, flags.kind, flags.size)?;
        if flags.size && kind != Kind::Container {
            eprintln!("WARNING: --size ignored for {}", kind.as_str());
        }
        Ok((kind, value))
    })
}

/// `corral container inspect`.
pub(super) fn containers(globals: &Globals, words: Words) -> Result<u8, Failure> {
    inspect(globals, of_kind(Kind::Container, words))
}

/// `corral image inspect`.
pub(super) fn images(globals: &Globals, words: Words) -> Result<u8, Failure> {
    plain("image inspect", Kind::Image, globals, words)
}

/// `corral volume inspect`.
pub(super) fn volumes(globals: &Globals, words: Words) -> Result<u8, Failure> {
    plain("volume inspect", Kind::Volume, globals, words)
}

fn of_kind(kind: Kind, words: Words) -> Words {
    if super::describe::is_question(&words) {
        return words;
    }
    [format!("--type={}", kind.as_str()).into()].into_iter().chain(words).collect()
}

fn plain(verb: &'static str, kind: Kind, globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<PlainFlags>(verb, words)? else { return Ok(0) };
    let shape = Shape::new(&flags.format)?;
    let engine = globals.engine()?;
    show(&shape, &flags.names, |name| look(&engine, name, Some(kind), false))
}

/// How what was found is printed.
enum Shape {
    Indented,
    Compact,
    Template(Template),
}

impl Shape {
    fn new(format: &str) -> Result<Self, Failure> {
        match format {
            "" => Ok(Self::Indented),
            "json" => Ok(Self::Compact),
            text => Template::of_documents("", text)
                .map(Self::Template)
                .map_err(|error| Failure::with_code(64, format!("template parsing error: {error}"))),
        }
    }
}

/// Prints what is found of each name; 1 if something is not, or the template does not fit it.
fn show(
    shape: &Shape,
    names: &[String],
    mut look: impl FnMut(&str) -> Result<(Kind, Value), Failure>,
) -> Result<u8, Failure> {
    // JSON has no control characters.
    let clean = matches!(shape, Shape::Template(_)) && to_terminal();
    let (mut parts, mut code) = (Vec::new(), 0);
    for name in names {
        let part = look(name).and_then(|(kind, value)| {
            let value = template::Value::document(kind.as_str(), &value, clean);
            let mut text = String::new();
            match shape {
                Shape::Indented => value.indented(1, &mut text),
                Shape::Compact => value.json(false, &mut text),
                Shape::Template(template) => {
                    text = template
                        .execute(&value)
                        .map_err(|error| Failure::new(format!("template parsing error: {error}")))?;
                }
            }
            Ok(text)
        });
        match part {
            Ok(part) => parts.push(part),
            Err(failure) => {
                failure.print();
                code = 1;
            }
        }
    }
    output::print(&match shape {
        Shape::Template(_) => parts.join("\n") + "\n",
        Shape::Compact => format!("[{}]\n", parts.join(",")),
        Shape::Indented if parts.is_empty() => "[]\n".into(),
        Shape::Indented => format!("[\n    {}\n]\n", parts.join(",\n    ")),
    })?;
    Ok(code)
}

fn look(engine: &Engine, name: &str, kind: Option<Kind>, size: bool) -> Result<(Kind, Value), Failure> {
    for candidate in KINDS.into_iter().filter(|candidate| kind.is_none_or(|kind| kind == *candidate)) {
        let missing = match candidate {
            Kind::Container => match engine.look(name) {
                Ok(view) => return Ok((candidate, container(engine, &view, size)?)),
                Err(error @ corral_engine::Error::NoContainer(_)) => Failure::from(error),
                Err(error) => return Err(error.into()),
            },
            Kind::Image => match engine.store().resolve(name) {
                Ok(image) => return Ok((candidate, image_value(engine, &image)?)),
                Err(error) if error.kind() == corral_spec::ErrorKind::NotFound => Failure::from(error),
                Err(error) => return Err(error.into()),
            },
            Kind::Volume => match engine.find_volume(name) {
                Ok(volume) => return Ok((candidate, volume_value(engine, &volume)?)),
                Err(corral_engine::Error::NoVolume(_)) => Failure::new(format!("get {name}: no such volume")),
                Err(error) => return Err(error.into()),
            },
        };
        if kind.is_some() {
            return Err(missing);
        }
    }
    Err(Failure::new(format!("no such object: {name}")))
}

fn volume_value(engine: &Engine, volume: &Volume) -> Result<Value, Failure> {
    // Go writes an empty map as `null` here.
    let or_null = |map: &BTreeMap<String, String>| if map.is_empty() { Value::Null } else { json!(map) };
    let mut value = json!({
        "CreatedAt": rfc3339(volume.created_ns.max(0) as u64 / 1_000_000_000 * 1_000_000_000),
        "Driver": "local",
        "Labels": or_null(&volume.labels),
        "Mountpoint": engine.mountpoint(volume)?,
        "Name": volume.name,
        "Options": or_null(&volume.options),
        "Scope": "local",
    });
    if let Some((bytes, keeper)) = engine.bound_of_volume(&volume.name)? {
        value["Status"] = json!({ "Bound": bytes, "EnforcedBy": bounds::keeper(keeper) });
    }
    Ok(value)
}

fn container(engine: &Engine, view: &View, size: bool) -> Result<Value, Failure> {
    let record = &view.record;
    let launch = engine.launch(&record.id)?;
    let mut value = json!({
        "Id": record.id,
        "Created": rfc3339(record.created_ns),
        "Path": launch.process.argv.first(),
        "Args": launch.process.argv.get(1..),
        "State": state(&view.state),
        "Image": record.image,
        "Name": format!("/{}", record.name),
        "LogPath": log_path(engine, &launch),
        "Config": {
            "Hostname": launch.hostname,
            "Domainname": launch.kernel.domain.as_deref().unwrap_or_default(),
            "User": format!("{}:{}", launch.process.uid, launch.process.gid),
            "Env": launch.process.env,
            "Cmd": record.spec.command,
            "Image": record.image_name,
            "WorkingDir": launch.process.workdir,
            "Tty": launch.process.tty,
            "OpenStdin": launch.process.stdin,
            "Labels": record.spec.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            "StopSignal": launch.stop_signal.to_string(),
            "StopTimeout": launch.stop_timeout_ms / 1000,
            "Healthcheck": launch.health.as_ref().map(healthcheck),
        },
        "RestartCount": restarts(&view.state),
        "HostConfig": host_config(record, &launch),
        "Mounts": mounts::mounts(&record.spec, &launch),
        "Corral": {
            "Profile": record.profile.as_str(),
            "FirstHostId": record.host_ids,
            "Capabilities": corral_policy::CapabilitySet::from_numbers(&launch.confinement.capabilities)
                .map(|set| set.to_string()).unwrap_or_default(),
            "NoNewPrivileges": launch.confinement.no_new_privileges,
            "SeccompInstructions": launch.confinement.seccomp.as_ref().map(Vec::len),
            "Cgroups": cgroups(&launch, view),
            "Disk": bounds::disk(&launch),
            "Weaker": super::ps::weaker(view, Some(&launch)),
        },
        "Driver": "overlay",
        "Platform": "linux",
        "NetworkSettings": { "Ports": {}, "Networks": {} },
    });
    if size {
        let size = engine.size(record)?;
        value["SizeRw"] = size.writable.into();
        value["SizeRootFs"] = size.root.into();
    }
    Ok(value)
}

fn host_config(record: &ContainerRecord, launch: &Launch) -> Value {
    let settings = &record.spec.settings;
    let mut config = json!({
        "NetworkMode": match launch.network {
            corral_spec::NetworkMode::None => "none",
            corral_spec::NetworkMode::Host => "host",
        },
        "LogConfig": {
            "Type": launch.log.driver.as_str(),
            "Config": record.spec.log_opts.iter().cloned().collect::<BTreeMap<_, _>>(),
        },
        "ReadonlyRootfs": launch.root.read_only,
        "AutoRemove": launch.remove,
        "RestartPolicy": restart_policy(launch.restart),
        "Init": launch.process.init,
        "Binds": mounts::binds(&record.spec),
        "VolumesFrom": mounts::volumes_from(&record.spec),
        "UsernsMode": if launch.ids.is_some() { "private" } else { "host" },
        "Dns": settings.dns,
        "DnsOptions": settings.dns_options,
        "DnsSearch": settings.dns_search,
        "ExtraHosts": settings.hosts.iter().map(|entry| format!("{}:{}", entry.name, entry.address)).collect::<Vec<_>>(),
        "GroupAdd": settings.groups.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "IpcMode": mode(settings, Weaker::IpcHost, if settings.no_shm { "none" } else { "private" }),
        "PidMode": mode(settings, Weaker::PidHost, ""),
        "UTSMode": mode(settings, Weaker::UtsHost, ""),
        "CgroupnsMode": mode(settings, Weaker::CgroupHost, "private"),
        "Privileged": settings.weaker.contains(&Weaker::Privileged),
        "SecurityOpt": security(settings),
        "Sysctls": pairs(settings.sysctls.iter().map(|sysctl| (sysctl.name(), sysctl.value()))),
        "Annotations": pairs(settings.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()))),
        "CapAdd": record.spec.cap_add,
        "CapDrop": record.spec.cap_drop,
        "StorageOpt": bounds::storage(&record.spec),
        "MaskedPaths": launch.masked_paths,
        "ReadonlyPaths": launch.readonly_paths,
    });
    if let (Value::Object(config), Value::Object(bounds)) = (&mut config, bounds::shown(launch)) {
        config.extend(bounds);
    }
    config
}

/// `host` where the host's namespace is shared.
fn mode<'t>(settings: &Settings, shared: Weaker, own: &'t str) -> &'t str {
    if settings.weaker.contains(&shared) { "host" } else { own }
}

/// As Docker, `null` if nothing was asked.
fn security(settings: &Settings) -> Value {
    let named = [
        (Weaker::Unfiltered, "seccomp=unconfined"),
        (Weaker::NewPrivileges, "no-new-privileges=false"),
        (Weaker::SystemPaths, "systempaths=unconfined"),
    ];
    let options: Vec<&str> =
        named.iter().filter(|(wall, _)| settings.weaker.contains(wall)).map(|named| named.1).collect();
    if options.is_empty() { Value::Null } else { json!(options) }
}

/// As Docker keeps it: times in nanoseconds.
fn healthcheck(health: &Health) -> Value {
    let words = std::iter::once("CMD").chain(health.argv.iter().map(String::as_str)).collect::<Vec<_>>();
    json!({
        "Test": words,
        "Interval": health.interval_ms * 1_000_000,
        "Timeout": health.timeout_ms * 1_000_000,
        "StartPeriod": health.start_period_ms * 1_000_000,
        "StartInterval": health.start_interval_ms * 1_000_000,
        "Retries": health.retries,
    })
}

fn restart_policy(policy: RestartPolicy) -> Value {
    let most = match policy {
        RestartPolicy::OnFailure(most) => most.unwrap_or(0),
        _ => 0,
    };
    json!({ "Name": policy.name(), "MaximumRetryCount": most })
}

fn restarts(state: &State) -> u32 {
    match state {
        State::Exited(exit) => exit.restarts,
        State::Running(status) | State::Paused(status) | State::Restarting(status, _) => status.restarts,
        State::Created | State::Busy | State::Dead => 0,
    }
}

fn pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<&'a str, &'a str> {
    pairs.collect()
}

/// Where the log is; empty for what is not kept in files of ours.
fn log_path(engine: &Engine, launch: &Launch) -> String {
    let dir = engine.layout().container(&launch.id);
    match launch.log.driver {
        LogDriver::JsonFile => dir.join(format!("{}-json.log", launch.id)).display().to_string(),
        LogDriver::Local => dir.join("log/current").display().to_string(),
        LogDriver::Journald | LogDriver::None => String::new(),
    }
}

fn cgroups(_: &Launch, view: &View) -> Value {
    match view.state.status() {
        Some(status) => json!({ "v2": status.cgroup2, "v1": status.cgroup1 }),
        None => Value::Null,
    }
}

fn state(state: &State) -> Value {
    let (pid, started) = state.status().map_or((0, 0), |status| (status.init.pid, status.started_ns));
    let exit = match state {
        State::Exited(exit) | State::Restarting(_, exit) => Some(exit),
        _ => None,
    };
    let mut value = json!({
        "Status": state.as_str(),
        // As with Docker, a container between two lives counts as running.
        "Running": state.lives(),
        "Paused": matches!(state, State::Paused(_)),
        "Restarting": matches!(state, State::Restarting(..)),
        "OOMKilled": exit.is_some_and(|exit| exit.oom_killed),
        "OOMKills": exit.map_or(0, |exit| exit.oom_kills),
        "OverDisk": exit.is_some_and(|exit| exit.over_disk),
        "Dead": matches!(state, State::Dead),
        "Pid": pid,
        "ExitCode": exit.map_or(0, |exit| exit.code),
        "Error": exit.map_or("", |exit| exit.error.as_str()),
        "StartedAt": rfc3339(exit.map_or(started, |exit| exit.started_ns)),
        "FinishedAt": rfc3339(exit.map_or(0, |exit| exit.finished_ns)),
    });
    if let Some(health) = state.status().and_then(|status| status.health.as_ref()) {
        value["Health"] = self::health(health);
    }
    value
}

fn health(health: &HealthStatus) -> Value {
    let check = |check: &HealthResult| {
        json!({
            "Start": rfc3339(check.started_ns),
            "End": rfc3339(check.ended_ns),
            "ExitCode": check.code,
            "Output": check.output,
        })
    };
    json!({
        "Status": health.state.as_str(),
        "FailingStreak": health.failing,
        "Log": health.checks.iter().map(check).collect::<Vec<_>>(),
    })
}

fn image_value(engine: &Engine, image: &Image) -> Result<Value, Failure> {
    let config = &image.config;
    let names = image.references(engine.store())?;
    let digests: BTreeSet<String> = image.manifest.map_or_else(BTreeSet::new, |manifest| {
        names.iter().map(|name| format!("{}@{manifest}", name.familiar_name())).collect()
    });
    Ok(json!({
        "Id": image.id,
        "RepoTags": names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "RepoDigests": digests,
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": engine.image_size(&image.id)?,
        "Config": config.config,
        "RootFS": { "Type": "layers", "Layers": image.layers },
    }))
}
