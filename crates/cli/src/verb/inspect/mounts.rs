//! A container's mounts as Docker's `inspect` has them: what is mounted, and in which words it was asked for.

use std::collections::BTreeMap;

use corral_spec::record::{Launch, Mount, MountKind};
use corral_spec::{ContainerSpec, MountRequest, MountSource};
use corral_state::ContainerRecord;
use serde_json::{Value, json};

use super::or_null;

/// Which flag a mount came from. They stand in the record in this order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flag {
    Volume,
    Mount,
    Tmpfs,
    /// `--workspace`, another container, the image.
    Other,
}

/// The mounts of a container, and where each came from; a record of an older version does not say.
fn asked(record: &ContainerRecord) -> impl Iterator<Item = (Flag, &MountRequest)> {
    let counts = record.typed.as_ref().map(|typed| typed.mounts);
    record.spec.mounts.iter().enumerate().map(move |(at, mount)| {
        let flag = match (counts, &mount.source) {
            (Some([volumes, ..]), _) if at < volumes => Flag::Volume,
            (Some([volumes, mounts, _]), _) if at < volumes + mounts => Flag::Mount,
            (Some(counts), _) if at < counts.iter().sum() => Flag::Tmpfs,
            (Some(_), _) => Flag::Other,
            (None, MountSource::Tmpfs { .. }) => Flag::Tmpfs,
            (None, MountSource::Image(_)) => Flag::Mount,
            (None, _) => Flag::Volume,
        };
        (flag, mount)
    })
}

/// What the user, the image or another container asked for; the engine's own mounts are not their business, and those
/// of `--tmpfs` stand elsewhere.
pub(super) fn mounts(record: &ContainerRecord, launch: &Launch) -> Vec<Value> {
    let of = |request: &MountRequest| {
        let made = launch.mounts.iter().rev().find(|mount| mount.target == request.target);
        mount(request, made)
    };
    asked(record).filter(|(flag, _)| *flag != Flag::Tmpfs).map(|(_, request)| of(request)).collect()
}

fn mount(request: &MountRequest, made: Option<&Mount>) -> Value {
    let source = match made.map(|mount| &mount.kind) {
        Some(MountKind::Bind { source, subpath, .. }) => match subpath {
            Some(subpath) => source.join(subpath).display().to_string(),
            None => source.display().to_string(),
        },
        _ => String::new(),
    };
    let (source, propagation) = match &request.source {
        MountSource::Bind(_) => (source, "rprivate"),
        MountSource::Tmpfs { .. } => (String::new(), ""),
        MountSource::Image(name) => (name.clone(), ""),
        MountSource::Volume(_) | MountSource::Anonymous => (source, ""),
    };
    let mut value = json!({
        "Type": kind(&request.source),
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

const fn kind(source: &MountSource) -> &'static str {
    match source {
        MountSource::Bind(_) => "bind",
        MountSource::Tmpfs { .. } => "tmpfs",
        MountSource::Image(_) => "image",
        MountSource::Volume(_) | MountSource::Anonymous => "volume",
    }
}

/// `SOURCE:TARGET[:ro]` of each `-v` that has a source.
pub(super) fn binds(record: &ContainerRecord) -> Value {
    let one = |mount: &MountRequest| {
        let source = match &mount.source {
            MountSource::Bind(path) => path.to_string(),
            MountSource::Volume(name) if !mount.options.anonymous => name.clone(),
            _ => return None,
        };
        Some(format!("{source}:{}{}", mount.target, if mount.read_only { ":ro" } else { "" }))
    };
    let volumes = asked(record).filter(|(flag, _)| *flag == Flag::Volume);
    or_null(volumes.filter_map(|(_, mount)| one(mount)).collect::<Vec<_>>())
}

/// Where a volume without a name is mounted.
pub(super) fn anonymous(record: &ContainerRecord) -> Vec<String> {
    let unnamed = asked(record).filter(|(flag, mount)| *flag == Flag::Volume && mount.options.anonymous);
    unnamed.map(|(_, mount)| mount.target.to_string()).collect()
}

/// Each `--tmpfs`: where, and with which options.
pub(super) fn tmpfs(record: &ContainerRecord) -> BTreeMap<String, String> {
    let options = |mount: &MountRequest| {
        let mut words = Vec::new();
        if let MountSource::Tmpfs { size, mode } = &mount.source {
            words.extend(size.map(|size| format!("size={}", size.0)));
            words.extend(mode.map(|mode| format!("mode={mode:o}")));
        }
        words.extend(mount.read_only.then(|| "ro".to_owned()));
        words.join(",")
    };
    let flags = asked(record).filter(|(flag, _)| *flag == Flag::Tmpfs);
    flags.map(|(_, mount)| (mount.target.to_string(), options(mount))).collect()
}

/// Each `--mount`, in the words of Docker's API.
pub(super) fn requests(record: &ContainerRecord) -> Vec<Value> {
    asked(record).filter(|(flag, _)| *flag == Flag::Mount).map(|(_, mount)| request(mount)).collect()
}

fn request(mount: &MountRequest) -> Value {
    let mut value = json!({ "Type": kind(&mount.source), "Target": mount.target.to_string() });
    match &mount.source {
        MountSource::Bind(path) => value["Source"] = json!(path.to_string()),
        MountSource::Volume(name) if !mount.options.anonymous => value["Source"] = json!(name),
        MountSource::Image(name) => value["Source"] = json!(name),
        MountSource::Volume(_) | MountSource::Anonymous => {}
        MountSource::Tmpfs { size, mode } => {
            let mut options = serde_json::Map::new();
            options.extend(size.map(|size| ("SizeBytes".to_owned(), json!(size.0))));
            options.extend(mode.map(|mode| ("Mode".to_owned(), json!(mode))));
            if !options.is_empty() {
                value["TmpfsOptions"] = Value::Object(options);
            }
        }
    }
    if mount.read_only {
        value["ReadOnly"] = json!(true);
    }
    let subpath = mount.options.subpath.as_ref().map(|path| path.relative().display().to_string());
    let mut options = serde_json::Map::new();
    if mount.options.no_copy {
        options.insert("NoCopy".into(), json!(true));
    }
    options.extend(subpath.map(|path| ("Subpath".to_owned(), json!(path))));
    if !options.is_empty() {
        let key =
            if matches!(mount.source, MountSource::Image(_)) { "ImageOptions" } else { "VolumeOptions" };
        value[key] = Value::Object(options);
    }
    value
}

/// `CONTAINER[:ro]`.
pub(super) fn volumes_from(spec: &ContainerSpec) -> Value {
    let mode = |read_only| if read_only { ":ro" } else { "" };
    let from = spec.volumes_from.iter().map(|from| format!("{}{}", from.container, mode(from.read_only)));
    or_null(from.collect::<Vec<_>>())
}
