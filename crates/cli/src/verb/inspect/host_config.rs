//! What ties a container to its host, under Docker's keys (HostConfig).

use std::collections::BTreeMap;

use corral_spec::record::{Launch, MountKind};
use corral_spec::{NetworkMode, RestartPolicy, Settings, Ulimit, UserNamespace, Weaker};
use corral_state::ContainerRecord;
use serde_json::{Value, json};

use super::{bounds, constant, extend, mounts, or_null};

pub(super) fn shown(record: &ContainerRecord, launch: &Launch) -> Value {
    let settings = &record.spec.settings;
    let list = |texts: Vec<String>| or_null(texts);
    let mut config = json!({
        "ContainerIDFile": record.typed.as_ref().map_or("", |typed| &typed.cidfile),
        "NetworkMode": match launch.network {
            NetworkMode::None => "none",
            NetworkMode::Host => "host",
        },
        "LogConfig": {
            "Type": launch.log.driver.as_str(),
            "Config": record.spec.log_opts.iter().cloned().collect::<BTreeMap<_, _>>(),
        },
        "ReadonlyRootfs": launch.root.read_only,
        "AutoRemove": launch.remove,
        "RestartPolicy": restart_policy(launch.restart),
        "Init": launch.process.init,
        "Binds": mounts::binds(record),
        "Tmpfs": mounts::tmpfs(record),
        "Mounts": mounts::requests(record),
        "VolumesFrom": mounts::volumes_from(&record.spec),
        "UsernsMode": match launch.confinement.userns {
            UserNamespace::Private => "private",
            UserNamespace::Host => "host",
            UserNamespace::KeepId => "keep-id",
        },
        "SecurityOpt": security(record, launch),
        "Dns": settings.dns,
        "DnsOptions": settings.dns_options,
        "DnsSearch": settings.dns_search,
        "ExtraHosts": list(settings.hosts.iter().map(|entry| format!("{}:{}", entry.name, entry.address)).collect()),
        "GroupAdd": list(settings.groups.iter().map(ToString::to_string).collect()),
        "IpcMode": mode(settings, Weaker::IpcHost, if settings.no_shm { "none" } else { "private" }),
        "PidMode": mode(settings, Weaker::PidHost, ""),
        "UTSMode": mode(settings, Weaker::UtsHost, ""),
        "CgroupnsMode": mode(settings, Weaker::CgroupHost, "private"),
        "Privileged": settings.weaker.contains(&Weaker::Privileged),
        "StorageOpt": bounds::storage(&record.spec),
        "ShmSize": shm(launch),
        "Sysctls": pairs(settings.sysctls.iter().map(|sysctl| (sysctl.name(), sysctl.value()))),
        "Annotations": pairs(settings.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()))),
        "CapAdd": list(record.spec.cap_add.iter().map(|name| capability(name)).collect()),
        "CapDrop": list(record.spec.cap_drop.iter().map(|name| capability(name)).collect()),
        "MaskedPaths": launch.masked_paths,
        "ReadonlyPaths": launch.readonly_paths,
        "Ulimits": launch.process.ulimits.iter().map(ulimit).collect::<Vec<_>>(),
    });
    extend(&mut config, bounds::shown(record, launch));
    extend(&mut config, constant(ABSENT));
    config
}

/// What does not exist here.
const ABSENT: &str = r#"{
    "PortBindings": {}, "PublishAllPorts": false, "Links": null, "VolumeDriver": "",
    "Cgroup": "", "Isolation": "", "Runtime": "corral", "ConsoleSize": [0, 0],
    "DeviceRequests": null, "CpuCount": 0, "CpuPercent": 0,
    "IOMaximumIOps": 0, "IOMaximumBandwidth": 0
}"#;

/// `host` where the host's namespace is shared.
fn mode<'t>(settings: &Settings, shared: Weaker, own: &'t str) -> &'t str {
    if settings.weaker.contains(&shared) { "host" } else { own }
}

fn capability(name: &str) -> String {
    let bare = name.to_ascii_uppercase();
    let bare = bare.strip_prefix("CAP_").unwrap_or(&bare);
    if bare == "ALL" { bare.to_owned() } else { format!("CAP_{bare}") }
}

/// What holds, whether it was asked for or not.
fn security(record: &ContainerRecord, launch: &Launch) -> Value {
    let settings = &record.spec.settings;
    let privileges = if launch.confinement.no_new_privileges { "" } else { "=false" };
    let mut options = vec![format!("no-new-privileges{privileges}")];
    match (&launch.confinement.seccomp, &settings.seccomp) {
        (None, _) => options.push("seccomp=unconfined".to_owned()),
        (_, Some(profile)) => options.push(format!("seccomp={profile}")),
        (_, None) => {}
    }
    if settings.weaker.contains(&Weaker::SystemPaths) {
        options.push("systempaths=unconfined".to_owned());
    }
    options.into()
}

/// Bytes of /dev/shm.
fn shm(launch: &Launch) -> u64 {
    let at = |target: &corral_spec::AbsPath| target.as_path().as_os_str() == "/dev/shm";
    match launch.mounts.iter().rev().find(|mount| at(&mount.target)).map(|mount| &mount.kind) {
        Some(MountKind::Tmpfs { size, .. }) => size.unwrap_or(0),
        _ => 0,
    }
}

fn ulimit(limit: &Ulimit) -> Value {
    // Docker's number for no limit.
    let number = |limit: u64| i64::try_from(limit).unwrap_or(-1);
    json!({ "Name": limit.name, "Hard": number(limit.hard), "Soft": number(limit.soft) })
}

fn restart_policy(policy: RestartPolicy) -> Value {
    let most = match policy {
        RestartPolicy::OnFailure(most) => most.unwrap_or(0),
        _ => 0,
    };
    json!({ "Name": policy.name(), "MaximumRetryCount": most })
}

fn pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<&'a str, &'a str> {
    pairs.collect()
}
