//! A container's mounts as Docker's `inspect` has them.

use corral_spec::record::{Launch, Mount, MountKind};
use corral_spec::{ContainerSpec, MountRequest, MountSource};
use serde_json::{Value, json};

/// What the user, the image or another container asked for; the engine's own mounts are not their business.
pub(super) fn mounts(spec: &ContainerSpec, launch: &Launch) -> Vec<Value> {
    let of = |request: &MountRequest| {
        let made = launch.mounts.iter().rev().find(|mount| mount.target == request.target);
        mount(request, made)
    };
    spec.mounts.iter().map(of).collect()
}

fn mount(request: &MountRequest, made: Option<&Mount>) -> Value {
    let source = match made.map(|mount| &mount.kind) {
        Some(MountKind::Bind { source, subpath, .. }) => match subpath {
            Some(subpath) => source.join(subpath).display().to_string(),
            None => source.display().to_string(),
        },
        _ => String::new(),
    };
    let (kind, source, propagation) = match &request.source {
        MountSource::Bind(_) => ("bind", source, "rprivate"),
        MountSource::Tmpfs { .. } => ("tmpfs", String::new(), ""),
        MountSource::Image(name) => ("image", name.clone(), ""),
        MountSource::Volume(_) | MountSource::Anonymous => ("volume", source, ""),
    };
    let mut value = json!({
        "Type": kind,
        "Source": source,
        "Destination": request.target.to_string(),
        "Mode": if request.read_only { "ro" } else { "" },
        "RW": !request.read_only,
        "Propagation": propagation,
    });
    if let MountSource::Volume(name) = &request.source {
        value["Name"] = json!(name);
        value["Driver"] = json!("local");
    }
    value
}

/// `SOURCE:TARGET[:ro]` of bound paths and named volumes.
pub(super) fn binds(spec: &ContainerSpec) -> Value {
    let one = |mount: &MountRequest| {
        let source = match &mount.source {
            MountSource::Bind(path) => path.to_string(),
            MountSource::Volume(name) if !mount.options.anonymous => name.clone(),
            _ => return None,
        };
        Some(format!("{source}:{}{}", mount.target, if mount.read_only { ":ro" } else { "" }))
    };
    or_null(spec.mounts.iter().filter_map(one).collect())
}

/// `CONTAINER[:ro]`.
pub(super) fn volumes_from(spec: &ContainerSpec) -> Value {
    let mode = |read_only| if read_only { ":ro" } else { "" };
    or_null(
        spec.volumes_from.iter().map(|from| format!("{}{}", from.container, mode(from.read_only))).collect(),
    )
}

/// Go writes an empty list as `null` here.
fn or_null(words: Vec<String>) -> Value {
    if words.is_empty() { Value::Null } else { json!(words) }
}
