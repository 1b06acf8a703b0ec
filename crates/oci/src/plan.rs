//! From config.json to what the runtime takes: everything is checked here, before anything is made. What is not
//! supported is refused by its name, never left out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use corral_runtime::bundle::{Bundle, Device, Hook, IdLine, Kind, Namespace, NetDevice};
use corral_spec::AbsPath;

use crate::config::{self, Config, Linux};
use crate::{Error, labels, memory_policy, mounts, process, seccomp};

/// linux/mount.h
pub(crate) const MS_UNBINDABLE: u64 = 1 << 17;
pub(crate) const MS_PRIVATE: u64 = 1 << 18;
pub(crate) const MS_SLAVE: u64 = 1 << 19;
pub(crate) const MS_SHARED: u64 = 1 << 20;

/// The whole configuration of `id`, whose bundle is at `bundle`.
pub(crate) fn bundle(config: &Config, id: &str, bundle: &Path) -> Result<Bundle, Error> {
    version(&config.oci_version)?;
    let linux = &config.linux;
    refuse(config)?;
    let root = config.root.as_ref().ok_or_else(|| Error::Invalid("config.json has no root".to_owned()))?;
    let rootfs = bundle.join(&root.path);
    if !rootfs.is_dir() {
        return Err(Error::Invalid(format!("root.path {}: not a directory", rootfs.display())));
    }
    // Those that run later are checked now.
    let later = &config.hooks;
    hooks("prestart", &later.prestart)?;
    hooks("createRuntime", &later.create_runtime)?;
    hooks("poststart", &later.poststart)?;
    hooks("poststop", &later.poststop)?;
    let namespaces = namespaces(linux)?;
    let (uids, gids) = (lines(&linux.uid_mappings), lines(&linux.gid_mappings));
    check_namespaces(config, &namespaces, (&uids, &gids))?;
    let userns = namespaces.iter().any(|namespace| namespace.kind == Kind::User);
    let mut process =
        config.process.as_ref().map_or_else(process::none, |asked| process::of(asked, userns))?;
    process.memory_policy = memory_policy::of(linux.memory_policy.as_ref())?;
    Ok(Bundle {
        id: id.to_owned(),
        rootfs,
        read_only: root.readonly,
        mount_label: linux.mount_label.clone(),
        root_propagation: propagation(&linux.rootfs_propagation)?,
        hostname: filled(&config.hostname),
        domainname: filled(&config.domainname),
        sysctls: sysctls(linux, &namespaces)?,
        mounts: mounts::of(&config.mounts, bundle)?,
        devices: devices(linux)?,
        net_devices: net_devices(linux, &namespaces)?,
        masked: paths(&linux.masked_paths)?,
        readonly: paths(&linux.readonly_paths)?,
        time_offsets: time_offsets(linux)?,
        create_container: hooks("createContainer", &config.hooks.create_container)?,
        start_container: hooks("startContainer", &config.hooks.start_container)?,
        no_pivot: false,
        stage: PathBuf::new(),
        process,
        seccomp: linux.seccomp.as_ref().map(seccomp::compile).transpose()?.flatten(),
        personality: linux.personality.as_ref().map(personality).transpose()?,
        namespaces,
        uids,
        gids,
    })
}

fn version(text: &str) -> Result<(), Error> {
    let mut parts = text.split(['.', '-', '+']);
    let numbers: Vec<Option<u32>> = (0..3).map(|_| parts.next().and_then(|part| part.parse().ok())).collect();
    match numbers.as_slice() {
        [Some(1), Some(_), Some(_)] => Ok(()),
        _ => Err(Error::Invalid(format!("ociVersion {text:?}: this runtime reads versions 1.x"))),
    }
}

fn refuse(config: &Config) -> Result<(), Error> {
    let linux = &config.linux;
    let asked = [
        (linux.intel_rdt.is_some(), "linux.intelRdt", "this runtime does not manage cache allocation"),
        (
            !linux.mount_label.is_empty() && !labels::has_selinux(),
            "linux.mountLabel",
            "this host's kernel does not enforce SELinux; leave it out",
        ),
    ];
    match asked.into_iter().find(|(asked, ..)| *asked) {
        Some((_, what, reason)) => Err(Error::unsupported(what, reason)),
        None => Ok(()),
    }
}

fn filled(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

pub(crate) fn path(text: &str) -> Result<AbsPath, Error> {
    AbsPath::new(text).map_err(|error| Error::Invalid(error.to_string()))
}

fn paths(texts: &[String]) -> Result<Vec<AbsPath>, Error> {
    texts.iter().map(|text| path(text)).collect()
}

pub(crate) fn lines(maps: &[config::IdMapping]) -> Vec<IdLine> {
    maps.iter().map(|map| IdLine(map.container, map.host, map.size)).collect()
}

fn namespaces(linux: &Linux) -> Result<Vec<Namespace>, Error> {
    let mut found: Vec<Namespace> = Vec::new();
    for namespace in &linux.namespaces {
        let kind = match namespace.kind.as_str() {
            "user" => Kind::User,
            "mount" => Kind::Mount,
            "pid" => Kind::Pid,
            "network" => Kind::Network,
            "ipc" => Kind::Ipc,
            "uts" => Kind::Uts,
            "cgroup" => Kind::Cgroup,
            "time" => Kind::Time,
            other => return Err(Error::Invalid(format!("namespace {other:?} does not exist"))),
        };
        if found.iter().any(|known| known.kind == kind) {
            return Err(Error::Invalid(format!("malformed spec file: duplicated ns {:?}", namespace.kind)));
        }
        let path = (!namespace.path.is_empty()).then(|| PathBuf::from(&namespace.path));
        if path.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err(Error::Invalid(format!("the path of the {} namespace is relative", namespace.kind)));
        }
        found.push(Namespace { kind, path });
    }
    Ok(found)
}

/// What needs a namespace of the container's own would change the host without it.
fn check_namespaces(
    config: &Config,
    namespaces: &[Namespace],
    (uids, gids): (&[IdLine], &[IdLine]),
) -> Result<(), Error> {
    let find = |kind| namespaces.iter().find(|namespace| namespace.kind == kind);
    let invalid = |text: &str| Err(Error::Invalid(text.to_owned()));
    let named = filled(&config.hostname).is_some() || filled(&config.domainname).is_some();
    if named && find(Kind::Uts).is_none() {
        return invalid("unable to set hostname without a private UTS namespace");
    }
    match find(Kind::User) {
        Some(Namespace { path: None, .. }) if uids.is_empty() || gids.is_empty() => {
            return invalid(
                "user namespaces enabled, but no user mapping found: set uidMappings and gidMappings",
            );
        }
        None if !uids.is_empty() || !gids.is_empty() => {
            return invalid(
                "user namespace mappings specified, but user namespace isn't enabled in the config",
            );
        }
        _ => {}
    }
    match find(Kind::Time) {
        Some(Namespace { path: Some(_), .. }) if !config.linux.time_offsets.is_empty() => {
            invalid("time offsets cannot be set in a time namespace that is joined")
        }
        None if !config.linux.time_offsets.is_empty() => {
            invalid("time namespace offsets specified, but time namespace isn't enabled in the config")
        }
        _ => Ok(()),
    }
}

fn propagation(text: &str) -> Result<Option<u64>, Error> {
    Ok(Some(match text {
        "" => return Ok(None),
        "shared" | "rshared" => MS_SHARED,
        "slave" | "rslave" => MS_SLAVE,
        "private" | "rprivate" => MS_PRIVATE,
        "unbindable" | "runbindable" => MS_UNBINDABLE,
        other => return Err(Error::Invalid(format!("rootfsPropagation={other} is not supported"))),
    }))
}

/// Only what belongs to a namespace of the container: anything else would be the host's.
fn sysctls(linux: &Linux, namespaces: &[Namespace]) -> Result<Vec<(String, String)>, Error> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let mut found = Vec::new();
    for (name, value) in &linux.sysctl {
        let dotted = name.replace('/', ".");
        let kind = match dotted.as_str() {
            "kernel.domainname" => Some(Kind::Uts),
            "kernel.hostname" => {
                return Err(Error::Invalid(format!("sysctl {name:?} is not allowed: set hostname instead")));
            }
            name if IPC.contains(&name) || name.starts_with("fs.mqueue.") => Some(Kind::Ipc),
            name if name.starts_with("net.") => Some(Kind::Network),
            name if name.starts_with("user.") => Some(Kind::User),
            _ => None,
        };
        let own = kind.and_then(|kind| namespaces.iter().find(|namespace| namespace.kind == kind));
        if own.is_none_or(is_hosts) {
            return Err(Error::Invalid(format!("sysctl {name:?} is not in a separate kernel namespace")));
        }
        let path = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
        if path.split('/').any(|part| part.is_empty() || part == "..") {
            return Err(Error::Invalid(format!("sysctl {name:?} is not a name")));
        }
        found.push((path, value.clone()));
    }
    Ok(found)
}

/// A namespace that is joined and is the caller's.
fn is_hosts(namespace: &Namespace) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Some(path) = &namespace.path else { return false };
    let name = match namespace.kind {
        Kind::Network => "net",
        Kind::Ipc => "ipc",
        Kind::Uts => "uts",
        Kind::User => "user",
        _ => return false,
    };
    let number = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    number(path) == number(&Path::new("/proc/self/ns").join(name))
}

/// Runtime specification, config-linux.md, "Default Devices".
const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

fn devices(linux: &Linux) -> Result<Vec<Device>, Error> {
    let mut found = Vec::new();
    for device in &linux.devices {
        let fail = |reason: &str| Error::Invalid(format!("device {}: {reason}", device.path));
        let kind = match device.kind.as_str() {
            "c" | "u" => 'c',
            "b" => 'b',
            "p" => 'p',
            other => return Err(fail(&format!("type {other:?} is none of c, b, u, p"))),
        };
        let number = |number: Option<i64>| match (number, kind) {
            (None, 'p') => Ok(0),
            (None, _) => Err(fail("major and minor are required")),
            (Some(number), _) => u32::try_from(number).map_err(|_| fail("a number is out of range")),
        };
        found.push(Device {
            path: path(&device.path)?,
            kind,
            major: number(device.major)?,
            minor: number(device.minor)?,
            mode: device.file_mode.unwrap_or(0o666) & 0o7777,
            uid: device.uid.unwrap_or(0),
            gid: device.gid.unwrap_or(0),
        });
    }
    for (text, major, minor) in DEFAULT_DEVICES {
        let path = path(text)?;
        if !found.iter().any(|device| device.path == path) {
            found.push(Device { path, kind: 'c', major, minor, mode: 0o666, uid: 0, gid: 0 });
        }
    }
    Ok(found)
}

/// linux.netDevices, which need a network namespace to go to.
fn net_devices(linux: &Linux, namespaces: &[Namespace]) -> Result<Vec<NetDevice>, Error> {
    let own = namespaces.iter().find(|namespace| namespace.kind == Kind::Network);
    if !linux.net_devices.is_empty() && own.is_none_or(is_hosts) {
        return Err(Error::Invalid(
            "linux.netDevices needs a network namespace of the container's own".to_owned(),
        ));
    }
    // As the kernel's dev_valid_name().
    let fine = |name: &str| {
        let odd = |c: char| c == '/' || c == ':' || c.is_whitespace();
        !matches!(name, "" | "." | "..") && name.len() < 16 && !name.contains(odd)
    };
    let mut found: Vec<NetDevice> = Vec::new();
    for (name, device) in &linux.net_devices {
        let inside = if device.name.is_empty() { name } else { &device.name };
        if let Some(bad) = [name, inside].into_iter().find(|name| !fine(name)) {
            return Err(Error::Invalid(format!("linux.netDevices: {bad:?} is no name of a device")));
        }
        if found.iter().any(|known| known.inside == *inside) {
            return Err(Error::Invalid(format!("linux.netDevices: two devices are to be {inside:?}")));
        }
        found.push(NetDevice { name: name.clone(), inside: inside.clone() });
    }
    Ok(found)
}

pub(crate) fn hooks(point: &'static str, hooks: &[config::Hook]) -> Result<Vec<Hook>, Error> {
    let one = |hook: &config::Hook| {
        let path = PathBuf::from(&hook.path);
        if !path.is_absolute() {
            return Err(Error::Invalid(format!("{point} hook {:?}: its path must be absolute", hook.path)));
        }
        let timeout = match hook.timeout {
            None => None,
            Some(seconds) if seconds > 0 => Some(Duration::from_secs(seconds.unsigned_abs())),
            Some(_) => {
                return Err(Error::Invalid(format!(
                    "{point} hook {:?}: its timeout must be above zero",
                    hook.path
                )));
            }
        };
        Ok(Hook { point, path, args: hook.args.clone(), env: hook.env.clone(), timeout })
    };
    hooks.iter().map(one).collect()
}

fn time_offsets(linux: &Linux) -> Result<Vec<String>, Error> {
    let one = |(clock, offset): (&String, &config::TimeOffset)| match clock.as_str() {
        "monotonic" | "boottime" => Ok(format!("{clock} {} {}", offset.secs, offset.nanosecs)),
        other => Err(Error::Invalid(format!("timeOffsets: {other:?} is neither monotonic nor boottime"))),
    };
    linux.time_offsets.iter().map(one).collect()
}

fn personality(asked: &config::Personality) -> Result<u32, Error> {
    if !asked.flags.is_empty() {
        return Err(Error::unsupported("linux.personality.flags", "the specification has none"));
    }
    match asked.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => Err(Error::Invalid(format!("personality domain {other:?} is neither LINUX nor LINUX32"))),
    }
}
