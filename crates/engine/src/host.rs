use std::time::{SystemTime, UNIX_EPOCH};

use corral_policy::CapabilitySet;
use corral_spec::{ContainerId, ContainerSpec, NetworkMode, UserNamespace, Weaker};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::Error;
use crate::plan::HostFacts;

/// Nanoseconds since the epoch.
pub(crate) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Bytes from the kernel's random number generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())
            .map_err(|errno| Error::io("read random numbers")(errno.into()))?;
    }
    Ok(bytes)
}

/// The capabilities of this process.
pub(crate) fn capabilities() -> Result<CapabilitySet, Error> {
    let own = rustix::thread::capabilities(None)
        .map_err(|errno| Error::io("ask for the own capabilities")(errno.into()))?;
    let held = |number: &u8| own.permitted.bits() >> number & 1 == 1;
    let known: Vec<u8> = CapabilitySet::ALL.numbers().into_iter().filter(held).collect();
    CapabilitySet::from_numbers(&known).map_err(|error| Error::Invalid(error.to_string()))
}

/// What the host is called.
pub(crate) fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub(crate) fn new_id() -> Result<ContainerId, Error> {
    random().map(ContainerId::from_random)
}

/// The host's processor as OCI images name it (GOARCH).
pub const fn architecture() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "amd64"
    } else if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        std::env::consts::ARCH
    }
}

/// The hard limit of open files that this process passes on.
pub(crate) fn max_files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// The host's resolver configuration; empty where there is none.
pub(crate) fn resolv_conf() -> String {
    std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
}

/// The kernel's release.
pub(crate) fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

impl HostFacts {
    /// Looks at the host.
    pub(crate) fn of(spec: &ContainerSpec) -> Result<Self, Error> {
        Ok(Self {
            kernel: spec.settings.seccomp.as_ref().map(|_| kernel()).unwrap_or_default(),
            max_files: max_files(),
            own_capabilities: (spec.userns == UserNamespace::Host).then(capabilities).transpose()?,
            host_name: Weaker::UtsHost.is_in(&spec.settings.weaker).then(name),
            // Only what shares the host's network can use its name servers.
            resolv_conf: (spec.network == Some(NetworkMode::Host)).then(resolv_conf),
        })
    }
}
