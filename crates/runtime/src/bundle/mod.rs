//! A container as an OCI configuration says it: the same primitives as for a
//! [`Launch`](corral_spec::record::Launch), another order, and not one default.
//!
//! ```text
//! corral oci create                go-between                     the container's first process
//! ─────────────────                ──────────                     ─────────────────────────────
//! control groups, limits
//! clone3(INTO_CGROUP) ────────────▶ joins v1 groups
//!                                   setns of the given paths
//!                                   clone3(PARENT, NEW…) ───────▶ (child of `create`)
//!   ◀──────────────────── PID ───── ends
//! id maps, rlimits, oom score
//! detached binds ── MOUNTS ─────────────────────────────────────▶ root, mounts, devices, masks
//!   ◀─────────────────────────────────────────────── READY ───── waits
//! prestart, createRuntime hooks
//!   ── GO ──────────────────────────────────────────────────────▶ createContainer hooks, pivot_root,
//!                                                                 streams, credentials, directory
//!   ◀─────────────────────────── READY, terminal ───────────────  listens on a socket
//! ends; its child is now the nearest subreaper's
//! corral oci start ── connects, GO ─────────────────────────────▶ startContainer hooks, seccomp, execve
//!   ◀────────────────────────────── end of file, or why not ────
//! ```
//!
//! Nothing is mounted in the host's mount namespace. Until `create` has answered, the first process ends
//! when `create` does: it reads the end of file. After that it belongs to whoever started `create`.

mod cgroup;
mod create;
mod devices;
mod exec;
mod hook;
mod inside;
mod mounts;
mod netdev;
mod privileges;
pub mod seccomp;
mod wait;

use std::path::PathBuf;

use corral_spec::record::{BpfInstruction, ProcessName};
use corral_spec::{AbsPath, DeviceRule, Signal, Ulimit};

use crate::Error;

pub use cgroup::{Value, enforce_devices, locate, make, write};
pub use create::{Ready, Setting, create};
pub use exec::{Joined, exec};
pub use hook::Hook;
pub use netdev::NetDevice;
pub use wait::{Released, listen, release};

/// A configuration, read, checked, and not yet acted on.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The container's name, for its session keyring.
    pub id: String,
    /// Directory that becomes the root.
    pub rootfs: PathBuf,
    /// root.readonly.
    pub read_only: bool,
    /// linux.mountLabel.
    pub mount_label: String,
    /// linux.rootfsPropagation as an MS_* bit.
    pub root_propagation: Option<u64>,
    /// hostname.
    pub hostname: Option<String>,
    /// domainname.
    pub domainname: Option<String>,
    /// linux.namespaces; a kind that is missing is the caller's.
    pub namespaces: Vec<Namespace>,
    /// linux.uidMappings.
    pub uids: Vec<IdLine>,
    /// linux.gidMappings.
    pub gids: Vec<IdLine>,
    /// linux.timeOffsets as lines of /proc/self/timens_offsets.
    pub time_offsets: Vec<String>,
    /// mounts, in order.
    pub mounts: Vec<Mount>,
    /// linux.devices, and those that every container has.
    pub devices: Vec<Device>,
    /// linux.netDevices.
    pub net_devices: Vec<NetDevice>,
    /// linux.maskedPaths.
    pub masked: Vec<AbsPath>,
    /// linux.readonlyPaths.
    pub readonly: Vec<AbsPath>,
    /// linux.sysctl: path below /proc/sys, and value.
    pub sysctls: Vec<(String, String)>,
    /// hooks.createContainer.
    pub create_container: Vec<Hook>,
    /// hooks.startContainer.
    pub start_container: Vec<Hook>,
    /// Whether the root is changed by chroot(2) instead of pivot_root(2) (`--no-pivot`).
    pub no_pivot: bool,
    /// An empty directory on which the root is mounted in a mount namespace that is not the container's own. Whoever
    /// removes it takes down all of the container's mounts, in whichever namespace they are (rmdir(2) on Linux).
    pub stage: PathBuf,
    /// process.
    pub process: Process,
    /// linux.seccomp.
    pub seccomp: Option<Filter>,
    /// linux.personality.
    pub personality: Option<u32>,
}

/// A namespace to make, or to join by a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Which one.
    pub kind: Kind,
    /// The one to join.
    pub path: Option<PathBuf>,
}

/// Kinds of namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// user_namespaces(7)
    User,
    /// mount_namespaces(7)
    Mount,
    /// pid_namespaces(7)
    Pid,
    /// network_namespaces(7)
    Network,
    /// ipc_namespaces(7)
    Ipc,
    /// uts_namespaces(7)
    Uts,
    /// cgroup_namespaces(7)
    Cgroup,
    /// time_namespaces(7)
    Time,
}

/// One line of an id map: first id inside, first id outside, how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdLine(pub u32, pub u32, pub u32);

/// One of the mounts.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Where.
    pub target: AbsPath,
    /// What.
    pub source: Source,
    /// MS_* propagation bits to give it, each with whether also what is below.
    pub propagation: Vec<(u64, bool)>,
    /// MOUNT_ATTR_* to set and to clear on everything below, too.
    pub recursive: (u64, u64),
}

/// What is mounted.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file or directory of the host.
    Bind {
        /// Which.
        path: PathBuf,
        /// With what is mounted below.
        recursive: bool,
        /// MOUNT_ATTR_* to set and to clear.
        attr: (u64, u64),
        /// Whether owners are translated.
        ids: MountIds,
    },
    /// A file system.
    Fs {
        /// Its type.
        fstype: String,
        /// Its source.
        source: String,
        /// MS_*.
        flags: u64,
        /// Its own options.
        data: String,
    },
    /// The container's view of its control groups.
    Cgroup {
        /// MS_*.
        flags: u64,
    },
}

/// How the owners of a bind mount are translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountIds {
    /// Not at all.
    Plain,
    /// As in the container's user namespace.
    Container {
        /// Also what is mounted below.
        recursive: bool,
    },
    /// By maps of its own: users and groups.
    Own {
        /// Also what is mounted below.
        recursive: bool,
        /// uidMappings.
        uids: Vec<IdLine>,
        /// gidMappings.
        gids: Vec<IdLine>,
    },
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where.
    pub path: AbsPath,
    /// `c`, `b` or `p`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner inside.
    pub uid: u32,
    /// Group inside.
    pub gid: u32,
}

/// A process to start.
#[derive(Clone, Debug)]
pub struct Process {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment, complete.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: AbsPath,
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// Whether it has a terminal, and the terminal's size in columns and rows.
    pub terminal: Option<Option<(u16, u16)>>,
    /// Capabilities.
    pub capabilities: Capabilities,
    /// rlimits.
    pub rlimits: Vec<Ulimit>,
    /// no_new_privs.
    pub no_new_privileges: bool,
    /// oomScoreAdj.
    pub oom_score_adj: Option<i32>,
    /// ioPriority: class and level.
    pub io_priority: Option<(u32, u32)>,
    /// scheduler.
    pub scheduler: Option<Scheduler>,
    /// linux.memoryPolicy, which every process of the container gets.
    pub memory_policy: Option<MemoryPolicy>,
    /// What AppArmor or SELinux is told before it starts its program.
    pub labels: Vec<Label>,
    /// Descriptors from 3 on that it keeps.
    pub preserve_fds: u32,
    /// Whether it keeps the caller's session keyring.
    pub no_new_keyring: bool,
}

/// set_mempolicy(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// MPOL_*, with MPOL_F_*.
    pub mode: u32,
    /// One bit a node, 64 a word.
    pub nodes: Vec<u64>,
}

/// Under what a security module runs the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The file of /proc/self/attr.
    pub file: &'static str,
    /// What is written there.
    pub text: String,
}

/// The five sets, one bit a capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// bounding
    pub bounding: u64,
    /// effective
    pub effective: u64,
    /// inheritable
    pub inheritable: u64,
    /// permitted
    pub permitted: u64,
    /// ambient
    pub ambient: u64,
}

/// sched_setattr(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduler {
    /// SCHED_*
    pub policy: u32,
    /// SCHED_FLAG_*
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Static priority.
    pub priority: u32,
    /// Nanoseconds.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// A seccomp filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The program.
    pub program: Vec<BpfInstruction>,
    /// SECCOMP_FILTER_FLAG_*.
    pub flags: u64,
}

/// Rules about devices, in order; the last that matches holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceAct {
    /// Whether it allows.
    pub allow: bool,
    /// What.
    pub rule: DeviceRule,
}

/// Sends a signal to exactly this process.
///
/// # Errors
/// [`Error::Gone`] if it has ended; [`Error::Process`].
pub fn signal(name: &ProcessName, signal: Signal) -> Result<(), Error> {
    use std::os::fd::AsFd;
    let fail = |source| Error::Process { pid: name.pid, act: "signal it", source };
    let pidfd = crate::find_process(name).map_err(fail)?.ok_or(Error::Gone(*name))?;
    match crate::sys::pidfd_kill(pidfd.as_fd(), signal.number()) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(Error::Gone(*name)),
        sent => sent.map_err(fail),
    }
}

impl Bundle {
    /// The namespace of this kind, if it is not the caller's.
    pub fn namespace(&self, kind: Kind) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.kind == kind)
    }

    /// Whether the process's namespace of mounts has a root that is not the container's.
    pub(crate) fn is_staged(&self) -> bool {
        !self.is_new(Kind::Mount)
    }

    /// Whether a new one of this kind is made.
    pub fn is_new(&self, kind: Kind) -> bool {
        self.namespace(kind).is_some_and(|namespace| namespace.path.is_none())
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 8] =
        [Self::User, Self::Mount, Self::Pid, Self::Network, Self::Ipc, Self::Uts, Self::Cgroup, Self::Time];

    /// CLONE_NEW*.
    pub(crate) const fn flag(self) -> libc::c_int {
        match self {
            Self::User => libc::CLONE_NEWUSER,
            Self::Mount => libc::CLONE_NEWNS,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Network => libc::CLONE_NEWNET,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Time => libc::CLONE_NEWTIME,
        }
    }
}
