use corral_spec::seccomp::SyscallFilter;
use corral_spec::{NetworkMode, ProfileName};

use crate::{Capability, CapabilitySet, syscalls};

/// The defaults of a profile: what a container gets when neither flag nor image says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Which one.
    pub name: ProfileName,
    /// Bounding set; a process that is not root inside has an empty effective set.
    pub capabilities: CapabilitySet,
    /// no_new_privs: true in every profile.
    pub no_new_privileges: bool,
    /// Covered where they exist.
    pub masked_paths: &'static [&'static str],
    /// Made read-only where they exist.
    pub readonly_paths: &'static [&'static str],
    /// The only device nodes.
    pub devices: &'static [&'static str],
    /// Bounds when no flag gives another.
    pub limits: DefaultLimits,
    /// Whether the root file system is read-only; a flag may add it, never take it away.
    pub read_only_root: bool,
    /// Writable memory of a read-only container.
    pub tmpfs: &'static [Tmpfs],
    /// Network when no flag says otherwise.
    pub network: NetworkMode,
}

/// Bounds that hold when no flag gives another; none is unbounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultLimits {
    /// Bytes, memory file systems included.
    pub memory: Option<u64>,
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u32>,
    /// Tasks: processes and threads.
    pub pids: u32,
    /// Bytes of /dev/shm.
    pub shm: u64,
}

/// A memory file system of a profile, always nosuid and nodev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tmpfs {
    /// Mount point.
    pub target: &'static str,
    /// Bytes at most.
    pub size: u64,
    /// Permission bits of its root.
    pub mode: u32,
}

const MIB: u64 = 1 << 20;

/// Docker's fourteen without MKNOD (a user namespace cannot make device nodes anyway), NET_RAW (ARP and
/// ND spoofing, packet sockets; ping works through ping sockets) and AUDIT_WRITE (needs the initial user
/// namespace). These eleven let apt, nginx and Postgres drop from root to their own users.
const ROOT_INSIDE: CapabilitySet = CapabilitySet::of(&[
    Capability::CHOWN,
    Capability::DAC_OVERRIDE,
    Capability::FOWNER,
    Capability::FSETID,
    Capability::KILL,
    Capability::SETGID,
    Capability::SETUID,
    Capability::SETPCAP,
    Capability::NET_BIND_SERVICE,
    Capability::SYS_CHROOT,
    Capability::SETFCAP,
]);

/// What tells of the host or its other tenants, or acts on it, in files that a user namespace alone leaves
/// readable: Docker's list. The tracing, security and BPF file systems that a host mounts below /sys are not
/// there to be covered: sysfs is a mount of its own, without what lies on the host's.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Switches of the whole kernel (core_pattern, binfmt_misc, sysrq, modprobe).
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const DEVICES: &[&str] = &["/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"];

/// Sizes bound an accident; the bytes count against the memory limit too. Executable, because just-in-time
/// compilers and unpacked wheels run from /tmp.
const AGENT_TMPFS: &[Tmpfs] = &[
    Tmpfs { target: "/run", size: 16 * MIB, mode: 0o1777 },
    Tmpfs { target: "/tmp", size: 512 * MIB, mode: 0o1777 },
    Tmpfs { target: "/var/tmp", size: 64 * MIB, mode: 0o1777 },
];

/// The defaults of a profile.
///
/// Numbers: 4096 tasks stop a fork bomb a host survives (the kernel's own default is 32,768 for all
/// together) and leave room for every server we know. An agent has 512, enough for a headless browser
/// (about 150) beside a parallel build; 2 GiB, an embedding model or a browser or a compiler, though not all
/// at once; two CPUs, so that a runaway loop leaves the laptop usable.
pub const fn confinement(name: ProfileName) -> Profile {
    let standard = Profile {
        name,
        capabilities: ROOT_INSIDE,
        no_new_privileges: true,
        masked_paths: MASKED,
        readonly_paths: READ_ONLY,
        devices: DEVICES,
        limits: DefaultLimits { memory: None, cpu_millis: None, pids: 4096, shm: 64 * MIB },
        read_only_root: false,
        tmpfs: &[],
        network: NetworkMode::None,
    };
    match name {
        ProfileName::Standard | ProfileName::Build => standard,
        ProfileName::Agent => Profile {
            capabilities: CapabilitySet::EMPTY,
            limits: DefaultLimits {
                memory: Some(2048 * MIB),
                cpu_millis: Some(2000),
                pids: 512,
                shm: 64 * MIB,
            },
            read_only_root: true,
            tmpfs: AGENT_TMPFS,
            ..standard
        },
    }
}

impl Profile {
    /// The system call filter for processes with these capabilities in the bounding set (the profile's own,
    /// adjusted by `--cap-add` and `--cap-drop`).
    pub fn syscalls(&self, capabilities: CapabilitySet) -> SyscallFilter {
        syscalls::filter(matches!(self.name, ProfileName::Agent), capabilities)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_spec::AbsPath;

    #[test]
    fn an_agent_is_standard_made_narrower() {
        let (standard, agent) = (confinement(ProfileName::Standard), confinement(ProfileName::Agent));
        assert!(agent.capabilities.without(standard.capabilities).is_empty());
        assert!(agent.limits.pids < standard.limits.pids);
        let (wide, narrow) = (standard.syscalls(standard.capabilities), agent.syscalls(agent.capabilities));
        for rule in &narrow.rules {
            assert!(
                wide.rules.iter().any(|known| known.name == rule.name),
                "{} only for an agent",
                rule.name
            );
        }
        assert!(narrow.rules.len() < wide.rules.len());
    }

    #[test]
    fn paths_are_normal_and_sorted() {
        for list in [MASKED, READ_ONLY, DEVICES] {
            assert!(list.is_sorted());
            for path in list {
                assert_eq!(AbsPath::new(path).expect("valid").to_string(), *path);
            }
        }
    }
}
