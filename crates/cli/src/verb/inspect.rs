use corral_engine::{Engine, State, View};
use corral_image::Image;
use corral_spec::record::{Launch, Mount, MountKind};
use corral_state::ContainerRecord;
use serde_json::{Value, json};

use crate::app::Globals;
use crate::failure::Failure;
use crate::output::rfc3339;
use crate::{Words, output};

mod bounds;

#[derive(Debug, clap::Args)]
struct Flags {
    /// Only json is there yet, and it is the default
    #[arg(short, long)]
    format: Option<output::Format>,
    /// Only inspect objects of the given type: container or image
    #[arg(long = "type", value_parser = ["container", "image"])]
    kind: Option<String>,
    /// Containers and images
    #[arg(required = true)]
    names: Vec<String>,
}

/// `corral inspect`: a JSON array of what was found, with Docker's keys.
pub(super) fn inspect(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("inspect", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let (mut found, mut code) = (Vec::new(), 0);
    for name in &flags.names {
        match look(&engine, name, flags.kind.as_deref()) {
            Ok(value) => found.push(value),
            Err(failure) => {
                failure.print();
                code = 1;
            }
        }
    }
    let text = serde_json::to_string_pretty(&found).map_err(Failure::new)?;
    output::print(&format!("{text}\n"))?;
    Ok(code)
}

fn look(engine: &Engine, name: &str, kind: Option<&str>) -> Result<Value, Failure> {
    if kind != Some("image") {
        match engine.look(name) {
            Ok(view) => return container(engine, &view),
            Err(corral_engine::Error::NoContainer(_)) if kind.is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    match engine.store().resolve(name) {
        Ok(image) => image_value(engine, &image),
        Err(error) if kind.is_none() && error.kind() == corral_spec::ErrorKind::NotFound => {
            Err(Failure::new(format!("no such object: {name}")))
        }
        Err(error) => Err(error.into()),
    }
}

fn container(engine: &Engine, view: &View) -> Result<Value, Failure> {
    let record = &view.record;
    let launch = engine.launch(&record.id)?;
    Ok(json!({
        "Id": record.id,
        "Created": rfc3339(record.created_ns),
        "Path": launch.process.argv.first(),
        "Args": launch.process.argv.get(1..),
        "State": state(&view.state),
        "Image": record.image,
        "Name": format!("/{}", record.name),
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
            "Labels": record.spec.labels.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "StopSignal": launch.stop_signal.to_string(),
            "StopTimeout": launch.stop_timeout_ms / 1000,
        },
        "HostConfig": host_config(record, &launch),
        "Mounts": launch.mounts.iter().filter_map(mount).collect::<Vec<_>>(),
        "Corral": {
            "Profile": record.profile.as_str(),
            "FirstHostId": record.host_ids,
            "Capabilities": corral_policy::CapabilitySet::from_numbers(&launch.confinement.capabilities)
                .map(|set| set.to_string()).unwrap_or_default(),
            "NoNewPrivileges": launch.confinement.no_new_privileges,
            "SeccompInstructions": launch.confinement.seccomp.as_ref().map(Vec::len),
            "Cgroups": cgroups(&launch, view),
        },
    }))
}

fn host_config(record: &ContainerRecord, launch: &Launch) -> Value {
    let settings = &record.spec.settings;
    let mut config = json!({
        "NetworkMode": match launch.network {
            corral_spec::NetworkMode::None => "none",
            corral_spec::NetworkMode::Host => "host",
        },
        "ReadonlyRootfs": launch.root.read_only,
        "AutoRemove": launch.remove,
        "Init": launch.process.init,
        "UsernsMode": if launch.ids.is_some() { "private" } else { "host" },
        "Dns": settings.dns,
        "DnsOptions": settings.dns_options,
        "DnsSearch": settings.dns_search,
        "ExtraHosts": settings.hosts.iter().map(|entry| format!("{}:{}", entry.name, entry.address)).collect::<Vec<_>>(),
        "GroupAdd": settings.groups.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "IpcMode": if settings.no_shm { "none" } else { "private" },
        "Sysctls": pairs(settings.sysctls.iter().map(|sysctl| (sysctl.name(), sysctl.value()))),
        "Annotations": pairs(settings.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()))),
        "CapAdd": record.spec.cap_add,
        "CapDrop": record.spec.cap_drop,
        "MaskedPaths": launch.masked_paths,
        "ReadonlyPaths": launch.readonly_paths,
    });
    if let (Value::Object(config), Value::Object(bounds)) = (&mut config, bounds::shown(launch)) {
        config.extend(bounds);
    }
    config
}

fn pairs<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> std::collections::BTreeMap<&'a str, &'a str> {
    pairs.collect()
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
        State::Exited(exit) => Some(exit),
        _ => None,
    };
    json!({
        "Status": state.as_str(),
        "Running": state.status().is_some(),
        "Paused": matches!(state, State::Paused(_)),
        "Restarting": false,
        "OOMKilled": exit.is_some_and(|exit| exit.oom_killed),
        "OOMKills": exit.map_or(0, |exit| exit.oom_kills),
        "Dead": matches!(state, State::Dead),
        "Pid": pid,
        "ExitCode": exit.map_or(0, |exit| exit.code),
        "Error": exit.map_or("", |exit| exit.error.as_str()),
        "StartedAt": rfc3339(exit.map_or(started, |exit| exit.started_ns)),
        "FinishedAt": rfc3339(exit.map_or(0, |exit| exit.finished_ns)),
    })
}

/// Binds of the user's; the engine's own are not his business.
fn mount(mount: &Mount) -> Option<Value> {
    let target = mount.target.to_string();
    let (kind, source) = match &mount.kind {
        MountKind::Bind { source, .. } => ("bind", source.display().to_string()),
        MountKind::Tmpfs { .. } if !target.starts_with("/dev") => ("tmpfs", String::new()),
        _ => return None,
    };
    Some(json!({ "Type": kind, "Source": source, "Destination": target, "RW": !mount.read_only }))
}

fn image_value(engine: &Engine, image: &Image) -> Result<Value, Failure> {
    let config = &image.config;
    let mut size = 0;
    for layer in &image.layers {
        size += engine.store().layer_size(layer)?;
    }
    Ok(json!({
        "Id": image.id,
        "RepoTags": image.references(engine.store())?.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "RepoDigests": [],
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": size,
        "Config": config.config,
        "RootFS": { "Type": "layers", "Layers": image.layers },
    }))
}
