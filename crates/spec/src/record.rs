//! The versioned types that go to disk or to another process, as JSON.
//!
//! ```text
//! engine::plan ──Launch──▶ CONTAINER_DIR/launch.json ──▶ monitor ──▶ runtime::create
//!                          RUN_DIR/status.json  ◀── monitor (atomic rename): Status
//!                          CONTAINER_DIR/exit.json ◀── monitor (atomic rename): Exit
//! ```
//!
//! A [`Launch`] leaves nothing undecided: the runtime applies it and adds no default of its own. The
//! newer side adapts to the older record: every record carries [`GENERATION`], and a changed record
//! means a new generation and a fixture of the old one in `tests/`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    AbsPath, ContainerId, Health, HealthStatus, HostDevice, NetworkMode, Resources, RestartPolicy, Signal,
    Sysctl, Ulimit, UserNamespace, Weaker,
};

/// The version of all records written by this build.
pub const GENERATION: u32 = 2;

/// Everything the runtime must know to create a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// [`GENERATION`] of the writer.
    pub generation: u32,
    /// Identity.
    pub id: ContainerId,
    /// UTS host name.
    pub hostname: String,
    /// Switches of the container's own namespaces.
    #[serde(default, skip_serializing_if = "Kernel::is_empty")]
    pub kernel: Kernel,
    /// The root file system.
    pub root: Root,
    /// Mounted in this order after the root, before pivot_root.
    pub mounts: Vec<Mount>,
    /// Host device nodes bound into the container's /dev (paths such as `/dev/null`, the same on both sides).
    pub devices: Vec<AbsPath>,
    /// Further devices of the host that were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_devices: Vec<HostDevice>,
    /// Symbolic links made in the container's root before pivot_root: (path, target). Only inside
    /// file systems mounted by this launch (`/dev/fd` and the like).
    pub links: Vec<(AbsPath, String)>,
    /// Covered by an empty read-only file or directory where they exist.
    pub masked_paths: Vec<AbsPath>,
    /// Made read-only where they exist.
    pub readonly_paths: Vec<AbsPath>,
    /// The user namespace: none is `--userns host`.
    pub ids: Option<IdMap>,
    /// Of an ordinary user's container: which of its ids is the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Own>,
    /// Network namespace.
    pub network: NetworkMode,
    /// Resource bounds.
    pub cgroup: Cgroup,
    /// The first process.
    pub process: Process,
    /// What every process of the container, exec'd ones too, is bound by.
    pub confinement: Confinement,
    /// How the log is kept.
    pub log: Log,
    /// First signal of a stop.
    pub stop_signal: Signal,
    /// Milliseconds between the stop signal and SIGKILL.
    pub stop_timeout_ms: u64,
    /// Whether the container disappears at its end.
    pub remove: bool,
    /// How its health is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Whether its monitor starts it again.
    #[serde(default, skip_serializing_if = "RestartPolicy::is_no")]
    pub restart: RestartPolicy,
    /// Where what happens to it is recorded; none for what is not recorded, as by a version without a journal.
    #[serde(default)]
    pub journal: Option<Journaled>,
    /// Bounds on what it may keep on disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disk: Vec<DiskBound>,
    /// Its part in warm starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<Warm>,
}

/// A bound on the files below some directories of the host's, which count together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskBound {
    /// What they are, for people.
    pub what: String,
    /// On one file system.
    pub dirs: Vec<PathBuf>,
    /// Most bytes on the disk.
    pub bytes: u64,
    /// Who enforces it.
    pub keeper: DiskKeeper,
}

/// Who enforces a [`DiskBound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskKeeper {
    /// The file system: the hard limit of this project (quotactl(2)).
    Project(u32),
    /// The container's monitor, which measures and ends the container.
    Monitor,
}

/// A container's part in warm starts (docs/warm.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Warm {
    /// Containers are forked from its process.
    Template {
        /// Host ids that its user namespace maps to themselves, around its own: those of the containers.
        window: IdMap,
    },
    /// Its program is forked from a template's process.
    Forked {
        /// The template's run directory.
        template: PathBuf,
        /// The user id of the template's process, inside.
        uid: u32,
        /// Its group id.
        gid: u32,
        /// How many words of the arguments name the program that the template has imported.
        entry: usize,
    },
}

/// What a template's imports did, in its run directory as `warm.json` once they are done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The variables of the environment that they looked at; none: all of them.
    pub variables: Option<Vec<String>>,
}

/// What the monitor needs to record events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journaled {
    /// The lasting directory.
    pub root: PathBuf,
    /// The directory that ends with the boot.
    pub run: PathBuf,
    /// Attributes of each of the container's events, as Docker has them: its labels, its image, its name.
    pub attributes: Vec<(String, String)>,
    /// Named volumes that it has mounted.
    #[serde(default)]
    pub volumes: Vec<JournaledVolume>,
}

/// A mount of a named volume, for its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournaledVolume {
    /// Its name.
    pub name: String,
    /// Where it is mounted.
    pub target: AbsPath,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// What the container's own namespaces are told before its program starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kernel {
    /// UTS domain name.
    pub domain: Option<String>,
    /// Written below /proc/sys, in order.
    pub sysctls: Vec<Sysctl>,
}

impl Kernel {
    /// Whether nothing is told.
    pub fn is_empty(&self) -> bool {
        self.domain.is_none() && self.sysctls.is_empty()
    }
}

/// An overlay of image layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Unpacked layer directories, topmost first; never empty.
    pub lowers: Vec<PathBuf>,
    /// The writable layer: a directory that holds `upper` and `work`.
    pub writable: PathBuf,
    /// Overlay option `volatile`: no sync of the writable layer, which is thrown away at the end anyway.
    pub volatile: bool,
    /// Remount the finished root read-only.
    pub read_only: bool,
}

/// One mount below the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Mount point inside the container; made if missing (a file for a bound file, else a directory).
    pub target: AbsPath,
    /// What is mounted.
    pub kind: MountKind,
    /// MOUNT_ATTR_RDONLY.
    pub read_only: bool,
    /// MOUNT_ATTR_NOEXEC. `nosuid` and `nodev` are always on.
    pub no_exec: bool,
}

/// What a [`Mount`] mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// procfs of the container's pid namespace.
    Proc,
    /// sysfs of the container's network namespace.
    Sysfs,
    /// A fresh devpts instance (`newinstance,ptmxmode=0666,mode=0620,gid=5`).
    Devpts,
    /// POSIX message queues.
    Mqueue,
    /// A cgroup2 view of the container's own subtree.
    Cgroup2,
    /// Memory.
    Tmpfs {
        /// Bytes; none means the kernel's default of half the memory.
        size: Option<u64>,
        /// Permission bits of its root.
        mode: u32,
        /// User and group of its root, inside; root without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<(u32, u32)>,
    },
    /// A small file of the container's own memory: it takes its room from the memory mounted at /dev, which comes
    /// before it.
    File {
        /// What it holds at first.
        text: String,
    },
    /// A file or directory of the host, recursively.
    Bind {
        /// Host path, opened without following a final symlink swap (O_PATH once, then used by fd).
        source: PathBuf,
        /// How owners are translated.
        ids: BindIds,
        /// Only this path below it, looked up when it is mounted: a container may have written there, so links
        /// lead nowhere outside of the source.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subpath: Option<PathBuf>,
    },
    /// Directories of image layers as one, never writable.
    Layers {
        /// Topmost first.
        lowers: Vec<PathBuf>,
        /// A directory that holds an empty `upper` and `work`, which overlayfs wants.
        scratch: PathBuf,
    },
}

/// How the owners of a bound directory appear inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindIds {
    /// As they are: only for `--userns host` or read-only mounts that asked for it.
    Unmapped,
    /// As image layers: host id n appears as container id n. For directories of ours.
    Container,
    /// The host owner `uid:gid` appears as the container ids `to_uid:to_gid`; every other container id is
    /// stored as its shifted host id; host root is not mapped.
    Owner {
        /// Owner on the host; never 0.
        uid: u32,
        /// Group on the host; 0 is not mapped (files keep nobody's group inside).
        gid: u32,
        /// User id inside.
        to_uid: u32,
        /// Group id inside.
        to_gid: u32,
    },
}

/// The container ids that are ids 0 of the user's namespace. Those have their place, and all others are themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in a process")]
pub struct Own {
    pub uid: u32,
    pub gid: u32,
}

/// A user namespace: container ids 0 to `count`-1 are host ids `host` and up, users and groups alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// First host id.
    pub host: u32,
    /// How many.
    pub count: u32,
}

/// Bounds enforced by control groups. `None` means unbounded, and the controller is not used at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Bytes of memory; swap is not available beyond it, unless `more` says so.
    pub memory: Option<u64>,
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u32>,
    /// Tasks.
    pub pids: Option<u32>,
    /// What few containers have.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub more: Resources,
}

/// A process of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments; the program is looked up in the container's `PATH` if it has no slash.
    pub argv: Vec<String>,
    /// `NAME=VALUE`, complete: nothing is inherited.
    pub env: Vec<String>,
    /// Working directory; made if missing, as Docker does.
    pub workdir: AbsPath,
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Supplementary group ids inside.
    pub groups: Vec<u32>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether standard input is kept open (`-i`); /dev/null otherwise.
    pub stdin: bool,
    /// Whether process 1 is our reaper with this process as its child (`--init`).
    pub init: bool,
    /// setrlimit(2), soft and hard already decided.
    pub ulimits: Vec<Ulimit>,
    /// What the kernel adds to its readiness to be killed when the host's memory ends, -1000 to 1000; none leaves the
    /// caller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i16>,
}

/// The part of a launch that binds each process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Capability numbers in bounding, permitted and effective set of a process that runs as root
    /// inside; a non-root process has an empty effective and permitted set, as with Docker.
    pub capabilities: Vec<u8>,
    /// no_new_privs.
    pub no_new_privileges: bool,
    /// The seccomp filter as classic BPF, none for an explicitly unconfined container.
    pub seccomp: Option<Vec<BpfInstruction>>,
    /// Whether the filter is the user's own, in place of the profile's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_seccomp: bool,
    /// Walls that the user has taken down by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weaker: Vec<Weaker>,
    /// Marks a weaker mode in listings.
    pub userns: UserNamespace,
}

/// `struct sock_filter` (linux/filter.h): code, jt, jf, k.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BpfInstruction(pub u16, pub u8, pub u8, pub u32);

impl Confinement {
    /// Whether a wall is down.
    pub fn is_without(&self, wall: Weaker) -> bool {
        wall.is_in(&self.weaker)
    }
}

/// How standard output and error are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// In which form, and where.
    #[serde(default)]
    pub driver: LogDriver,
    /// Bytes after which a log file is rotated; 0 means no log is kept.
    pub max_size: u64,
    /// How many rotated files are kept beside the current one.
    pub max_files: u32,
    /// What is written beside each line: `attrs` of json-file, fields of journald.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(String, String)>,
}

/// The form of a log, by Docker's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogDriver {
    /// Compact binary files.
    #[default]
    Local,
    /// Docker's own files of JSON lines.
    JsonFile,
    /// systemd's journal.
    Journald,
    /// Nowhere.
    None,
}

impl LogDriver {
    /// All that there are.
    pub const ALL: [Self; 4] = [Self::Local, Self::JsonFile, Self::Journald, Self::None];

    /// The name as flags spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::JsonFile => "json-file",
            Self::Journald => "journald",
            Self::None => "none",
        }
    }

    /// The driver of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|driver| driver.as_str() == name)
    }
}

/// What the monitor says of a running container; rewritten on each change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`GENERATION`] of the writer.
    pub generation: u32,
    /// Process id of the monitor, and its start time in clock ticks since boot (proc(5), stat field 22), which
    /// together name it even after the number was used again.
    pub monitor: ProcessName,
    /// The container's first process, likewise.
    pub init: ProcessName,
    /// When the program was executed: nanoseconds since the epoch.
    pub started_ns: u64,
    /// Whether the container is frozen.
    pub paused: bool,
    /// It has ended and is to be started again: `exit.json` says how, `init` and the groups are those of the last run.
    #[serde(default)]
    pub restarting: bool,
    /// How often its monitor has started it again.
    #[serde(default)]
    pub restarts: u32,
    /// What checks have found out, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthStatus>,
    /// The container's cgroup2 directory (`cgroup.kill`, `cgroup.freeze`), if the host has cgroup2.
    pub cgroup2: Option<PathBuf>,
    /// Its cgroup v1 directories, one a controller in use.
    pub cgroup1: Vec<PathBuf>,
}

/// A process number and the start time that makes it unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessName {
    /// Process id in the host's pid namespace.
    pub pid: i32,
    /// Clock ticks since boot.
    pub start_ticks: u64,
}

/// How a container ended; written once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// [`GENERATION`] of the writer.
    pub generation: u32,
    /// As Docker's: the program's code, 128 + signal, 125 not created, 126 not executable, 127 not found.
    pub code: u8,
    /// Whether the kernel killed a process of it for memory.
    pub oom_killed: bool,
    /// How many it killed so.
    #[serde(default)]
    pub oom_kills: u64,
    /// How often its monitor had started it again.
    #[serde(default)]
    pub restarts: u32,
    /// Whether its monitor ended it for a bound on its disk, which `error` names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over_disk: bool,
    /// Why it did not start, or was ended, for people; empty otherwise.
    pub error: String,
    /// Nanoseconds since the epoch; 0 if it never started.
    pub started_ns: u64,
    /// Nanoseconds since the epoch.
    pub finished_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of builds that knew fewer bounds.
    #[test]
    fn what_was_not_known_then_is_not_asked() {
        let cgroup: Cgroup = serde_json::from_str(r#"{"memory":1,"cpu_millis":null,"pids":7}"#).expect("old");
        assert_eq!(cgroup, Cgroup { memory: Some(1), pids: Some(7), ..Cgroup::default() });
        let plain = serde_json::to_string(&cgroup).expect("JSON");
        assert_eq!(
            plain, r#"{"memory":1,"cpu_millis":null,"pids":7}"#,
            "and a plain container's did not grow"
        );
        let exit =
            r#"{"generation":1,"code":0,"oom_killed":false,"error":"","started_ns":1,"finished_ns":2}"#;
        assert_eq!(serde_json::from_str::<Exit>(exit).expect("old").oom_kills, 0);
        let limits = r#"{"memory":null,"cpus":null,"pids":3,"shm":null,"ulimits":[]}"#;
        assert_eq!(serde_json::from_str::<crate::Limits>(limits).expect("old").pids, Some(3));
        let some = r#"{"memory_swap":{"Total":5},"cpuset_cpus":"0-1"}"#;
        let some: Resources = serde_json::from_str(some).expect("a record");
        assert!(!some.is_empty() && some.cpu_shares.is_none());
        assert!(serde_json::from_str::<Resources>(r#"{"cpuset_cpus":"x"}"#).is_err());
    }

    #[test]
    fn a_mount_of_generation_1_is_read() {
        let old = r#"{"target":"/d","kind":{"Bind":{"source":"/s","ids":"Container"}},"read_only":true,"no_exec":false}"#;
        let mount: Mount = serde_json::from_str(old).expect("an old record");
        let kind = MountKind::Bind { source: "/s".into(), ids: BindIds::Container, subpath: None };
        assert_eq!(mount.kind, kind);
        assert_eq!(serde_json::to_string(&mount).expect("json"), old, "and written as before");
    }

    /// What this generation had at first: fields that came later are not there.
    #[test]
    fn earlier_records_of_this_generation_are_read() {
        let log: Log = serde_json::from_str(r#"{"max_size":33554432,"max_files":3}"#).expect("a log");
        assert_eq!(log, Log { max_size: 32 << 20, max_files: 3, ..Log::default() });
        let journal = r#"{"root":"/r","run":"/n","attributes":[["name","web"]]}"#;
        let journal: Journaled = serde_json::from_str(journal).expect("a journal's place");
        assert!(journal.volumes.is_empty());
    }

    #[test]
    fn drivers_go_by_their_names() {
        for driver in LogDriver::ALL {
            assert_eq!(LogDriver::by_name(driver.as_str()), Some(driver));
        }
        assert_eq!(LogDriver::by_name("syslog"), None);
    }
}
