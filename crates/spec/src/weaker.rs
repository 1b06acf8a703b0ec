use serde::{Deserialize, Serialize};

/// A mode that takes a wall of a container down. It is there only if the user named it, marked wherever the container is
/// listed, and judged with the finished launch. (`--userns host`, `--network host`, `--cap-add`, devices and filters of
/// one's own have records of their own.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Weaker {
    /// `--privileged`: every wall inside of the user namespace.
    Privileged,
    /// `--confirm-privileged=host-root`: the above may be without a user namespace of its own.
    HostRoot,
    /// `--pid host`.
    PidHost,
    /// `--ipc host`.
    IpcHost,
    /// `--uts host`.
    UtsHost,
    /// `--cgroupns host`.
    CgroupHost,
    /// `--security-opt seccomp=unconfined`.
    Unfiltered,
    /// `--security-opt no-new-privileges=false`: programs with a setuid bit count.
    NewPrivileges,
    /// `--security-opt systempaths=unconfined`: nothing of /proc and /sys is covered.
    SystemPaths,
}

impl Weaker {
    /// As listings mark it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::HostRoot => "host-root",
            Self::PidHost => "pid=host",
            Self::IpcHost => "ipc=host",
            Self::UtsHost => "uts=host",
            Self::CgroupHost => "cgroupns=host",
            Self::Unfiltered => "seccomp=unconfined",
            Self::NewPrivileges => "new-privileges",
            Self::SystemPaths => "systempaths=unconfined",
        }
    }

    /// Whether this mode is among those that were named, by itself or as a part of `--privileged`.
    pub fn is_in(self, named: &[Self]) -> bool {
        let part = matches!(self, Self::Unfiltered | Self::NewPrivileges | Self::SystemPaths);
        named.contains(&self) || (part && named.contains(&Self::Privileged))
    }
}
