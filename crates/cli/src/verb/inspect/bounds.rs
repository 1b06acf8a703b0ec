//! The bounds of a container under Docker's keys (HostConfig). As Docker, 0 and the empty text say that there is none.

use corral_spec::record::{DiskKeeper, Launch};
use corral_spec::{DeviceKind, DeviceRule, Resources, Swap, ThrottleKind};
use corral_state::ContainerRecord;
use serde_json::{Value, json};

use super::or_null;

pub(super) fn shown(record: &ContainerRecord, launch: &Launch) -> Value {
    let limits = &launch.cgroup;
    let more = &limits.more;
    let swap = match (more.memory_swap, limits.memory) {
        (Some(Swap::Unlimited), _) => json!(-1),
        (Some(Swap::Total(bytes)), _) | (None, Some(bytes)) => json!(bytes),
        (None, None) => json!(0),
    };
    let pids = if more.pids_unlimited { json!(-1) } else { json!(limits.pids) };
    let weights = more.blkio_weight_devices.iter();
    let weights: Vec<Value> =
        weights.map(|of| json!({ "Path": of.device.path, "Weight": of.weight })).collect();
    json!({
        "Memory": limits.memory.unwrap_or(0),
        "MemorySwap": swap,
        "MemoryReservation": more.memory_reservation.unwrap_or(0),
        "MemorySwappiness": more.memory_swappiness,
        "OomKillDisable": more.oom_kill_disable,
        "OomScoreAdj": launch.process.oom_score_adj.unwrap_or(0),
        "NanoCpus": u64::from(limits.cpu_millis.unwrap_or(0)) * 1_000_000,
        "CpuShares": more.cpu_shares.unwrap_or(0),
        "CpuPeriod": more.cpu_period.unwrap_or(0),
        "CpuQuota": more.cpu_quota.unwrap_or(0),
        "CpuRealtimePeriod": more.cpu_rt_period.unwrap_or(0),
        "CpuRealtimeRuntime": more.cpu_rt_runtime.unwrap_or(0),
        "CpusetCpus": more.cpuset_cpus.as_ref().map_or(String::new(), ToString::to_string),
        "CpusetMems": more.cpuset_mems.as_ref().map_or(String::new(), ToString::to_string),
        "PidsLimit": pids,
        "BlkioWeight": more.blkio_weight.unwrap_or(0),
        "BlkioWeightDevice": weights,
        "BlkioDeviceReadBps": throttles(more, ThrottleKind::ReadBytes),
        "BlkioDeviceWriteBps": throttles(more, ThrottleKind::WriteBytes),
        "BlkioDeviceReadIOps": throttles(more, ThrottleKind::ReadOperations),
        "BlkioDeviceWriteIOps": throttles(more, ThrottleKind::WriteOperations),
        "CgroupParent": more.cgroup_parent.as_ref().map_or("", |parent| parent.as_str()),
        "DeviceCgroupRules": or_null(record.spec.limits.more.device_rules.iter().map(rule).collect::<Vec<_>>()),
        "Devices": launch.host_devices.iter().map(|device| json!({
            "PathOnHost": device.source,
            "PathInContainer": device.target,
            "CgroupPermissions": access(launch, device),
        })).collect::<Vec<_>>(),
    })
}

/// What the user asked for the writable layer.
pub(super) fn storage(spec: &corral_spec::ContainerSpec) -> Value {
    spec.limits.disk.map_or(json!({}), |size| json!({ "size": size.0.to_string() }))
}

/// Each bound on disk, and who enforces it.
pub(super) fn disk(launch: &Launch) -> Vec<Value> {
    let bound = |bound: &corral_spec::record::DiskBound| json!({ "What": bound.what, "Bytes": bound.bytes, "EnforcedBy": keeper(bound.keeper) });
    launch.disk.iter().map(bound).collect()
}

pub(super) fn keeper(keeper: DiskKeeper) -> String {
    match keeper {
        DiskKeeper::Project(project) => format!("file system, project {project}"),
        DiskKeeper::Monitor => "monitor".into(),
    }
}

/// As `--device-cgroup-rule` takes it.
fn rule(rule: &DeviceRule) -> String {
    let kind = match rule.kind {
        None => 'a',
        Some(DeviceKind::Char) => 'c',
        Some(DeviceKind::Block) => 'b',
    };
    let part = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
    format!("{kind} {}:{} {}", part(rule.major), part(rule.minor), rule.access)
}

/// The access that the rule for its number gives.
fn access(launch: &Launch, device: &corral_spec::HostDevice) -> String {
    let rules = launch.cgroup.more.device_rules.iter();
    let mut own = rules.filter(|rule| {
        (rule.kind, rule.major, rule.minor)
            == (Some(device.kind), Some(device.number.major), Some(device.number.minor))
    });
    own.next().map_or(String::new(), |rule| rule.access.to_string())
}

fn throttles(more: &Resources, kind: ThrottleKind) -> Vec<Value> {
    let of_kind = more.throttles.iter().filter(|throttle| throttle.kind == kind);
    of_kind.map(|throttle| json!({ "Path": throttle.device.path, "Rate": throttle.rate })).collect()
}
