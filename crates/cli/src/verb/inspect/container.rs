//! A container as Docker's `inspect` has it: its keys, and under them what this container has; empty where a thing does
//! not exist here.

use corral_engine::{Engine, State, View};
use corral_image::ContainerConfig;
use corral_spec::record::{Launch, LogDriver, Root};
use corral_spec::{Health, HealthResult, HealthStatus};
use corral_state::ContainerRecord;
use serde_json::{Value, json};

use super::{bounds, constant, extend, host_config, mounts};
use crate::failure::Failure;
use crate::output::rfc3339;
use crate::verb::ps::{network, weaker};

pub(super) fn shown(engine: &Engine, view: &View, size: bool) -> Result<Value, Failure> {
    let record = &view.record;
    let launch = engine.launch(&record.id)?;
    let config = engine.config(record);
    let mut value = json!({
        "Id": record.id,
        "Created": rfc3339(record.created_ns),
        "Path": launch.process.argv.first(),
        "Args": launch.process.argv.get(1..),
        "State": state(&view.state),
        "Image": record.image,
        "LogPath": log_path(engine, &launch),
        "Name": format!("/{}", record.name),
        "RestartCount": restarts(&view.state),
        "HostConfig": host_config::shown(record, &launch),
        "GraphDriver": graph(&launch.root),
        "Mounts": mounts::mounts(record, &launch),
        "Config": self::config(record, &launch, &config),
        "NetworkSettings": network_settings(&launch),
        "Corral": {
            "Profile": record.profile.as_str(),
            "FirstHostId": record.host_ids,
            "Capabilities": corral_policy::CapabilitySet::from_numbers(&launch.confinement.capabilities)
                .map(|set| set.to_string()).unwrap_or_default(),
            "NoNewPrivileges": launch.confinement.no_new_privileges,
            "SeccompInstructions": launch.confinement.seccomp.as_ref().map(Vec::len),
            "Cgroups": cgroups(view),
            "Disk": bounds::disk(&launch),
            "Weaker": weaker(view, Some(&launch)),
        },
    });
    extend(&mut value, constant(ABSENT));
    if size {
        let size = engine.size(record)?;
        value["SizeRw"] = size.writable.into();
        value["SizeRootFs"] = size.root.into();
    }
    Ok(value)
}

/// What was asked, and what the image says where nothing was.
fn config(record: &ContainerRecord, launch: &Launch, config: &ContainerConfig) -> Value {
    let spec = &record.spec;
    let [stdin, stdout, stderr] = record.typed.as_ref().map_or([false; 3], |typed| typed.attached);
    let mut value = super::config(config, mounts::anonymous(record));
    value["Hostname"] = json!(launch.hostname);
    value["Domainname"] = json!(launch.kernel.domain.as_deref().unwrap_or_default());
    value["AttachStdin"] = stdin.into();
    value["AttachStdout"] = stdout.into();
    value["AttachStderr"] = stderr.into();
    value["Tty"] = launch.process.tty.into();
    value["OpenStdin"] = launch.process.stdin.into();
    value["StdinOnce"] = (launch.process.stdin && stdin).into();
    value["Env"] = json!(env(record, config));
    value["Image"] = json!(record.image_name);
    value["WorkingDir"] = launch_workdir(launch, config).into();
    value["Labels"] = json!(config.labels);
    if let Some(timeout) = spec.stop_timeout {
        value["StopTimeout"] = timeout.as_secs().into();
    }
    match &launch.health {
        Some(health) => value["Healthcheck"] = healthcheck(record, config, health),
        None if spec.health.none => value["Healthcheck"] = json!({ "Test": ["NONE"] }),
        None => {}
    }
    value
}

/// Empty unless somebody chose one.
fn launch_workdir(launch: &Launch, config: &ContainerConfig) -> String {
    if config.working_dir.is_empty() { String::new() } else { launch.process.workdir.to_string() }
}

/// What was given, then what the image has beside it; what the engine adds is no part of the configuration.
fn env(record: &ContainerRecord, config: &ContainerConfig) -> Vec<String> {
    let given = |entry: &String| {
        let name = entry.split('=').next().unwrap_or_default();
        record.spec.env.iter().any(|variable| variable.name == name)
    };
    let (mut env, image): (Vec<String>, Vec<String>) = config.env.iter().cloned().partition(given);
    env.extend(image);
    env
}

/// The times as they are in force, in nanoseconds; the command in Docker's form.
fn healthcheck(record: &ContainerRecord, config: &ContainerConfig, health: &Health) -> Value {
    let test = match (&record.spec.health.command, &config.healthcheck) {
        (Some(command), _) => vec!["CMD-SHELL".to_owned(), command.clone()],
        (None, Some(image)) => image.test.clone(),
        // The image is gone.
        (None, None) => std::iter::once("CMD".to_owned()).chain(health.argv.iter().cloned()).collect(),
    };
    json!({
        "Test": test,
        "Interval": health.interval_ms * 1_000_000,
        "Timeout": health.timeout_ms * 1_000_000,
        "StartPeriod": health.start_period_ms * 1_000_000,
        "StartInterval": health.start_interval_ms * 1_000_000,
        "Retries": health.retries,
    })
}

/// Where the files are; the whole is mounted nowhere on the host.
fn graph(root: &Root) -> Value {
    let lowers: Vec<String> = root.lowers.iter().map(|layer| layer.display().to_string()).collect();
    json!({
        "Name": "overlay",
        "Data": {
            "LowerDir": lowers.join(":"),
            "MergedDir": "",
            "UpperDir": root.writable.join("upper"),
            "WorkDir": root.writable.join("work"),
        },
    })
}

/// There are no addresses and no published ports.
fn network_settings(launch: &Launch) -> Value {
    let mut value = constant(NETWORK_SETTINGS);
    value["Networks"][network(launch)] = constant(ENDPOINT);
    value
}

const NETWORK_SETTINGS: &str = r#"{
    "Bridge": "", "SandboxID": "", "SandboxKey": "", "Ports": {}, "HairpinMode": false, "LinkLocalIPv6Address": "",
    "LinkLocalIPv6PrefixLen": 0, "SecondaryIPAddresses": null, "SecondaryIPv6Addresses": null, "EndpointID": "",
    "Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "IPAddress": "", "IPPrefixLen": 0,
    "IPv6Gateway": "", "MacAddress": "", "Networks": {}
}"#;
const ENDPOINT: &str = r#"{
    "IPAMConfig": null, "Links": null, "Aliases": null, "MacAddress": "", "DriverOpts": null, "GwPriority": 0,
    "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "",
    "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null
}"#;
/// The files of /etc are in the container's own memory; labels and AppArmor are not used.
const ABSENT: &str = r#"{
    "ResolvConfPath": "", "HostnamePath": "", "HostsPath": "", "Driver": "overlay", "Platform": "linux",
    "MountLabel": "", "ProcessLabel": "", "AppArmorProfile": "", "ExecIDs": null
}"#;

fn restarts(state: &State) -> u32 {
    match state {
        State::Exited(exit) => exit.restarts,
        State::Running(status) | State::Paused(status) | State::Restarting(status, _) => status.restarts,
        State::Created | State::Busy | State::Dead => 0,
    }
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

fn cgroups(view: &View) -> Value {
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
        "StartedAt": happened(exit.map_or(started, |exit| exit.started_ns)),
        "FinishedAt": happened(exit.map_or(0, |exit| exit.finished_ns)),
    });
    if let Some(health) = state.status().and_then(|status| status.health.as_ref()) {
        value["Health"] = self::health(health);
    }
    value
}

/// A moment; Go's zero time for what never happened.
fn happened(ns: u64) -> String {
    if ns == 0 { "0001-01-01T00:00:00Z".into() } else { rfc3339(ns) }
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
