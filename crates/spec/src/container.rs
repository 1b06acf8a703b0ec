use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record::LogDriver;
use crate::{
    AbsPath, ByteSize, ContainerName, CpuCount, DeviceAccess, HealthRequest, MountRequest, Resources,
    RestartPolicy, Settings, Signal, UserSpec, VolumesFrom,
};

/// What the user asked a container to be: every flag parsed and valid by itself, image defaults and
/// profile not yet applied (`engine::plan` does that and leaves nothing undecided).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// `--name`; the engine makes one up otherwise.
    pub name: Option<ContainerName>,
    /// `--hostname`; the short id otherwise.
    pub hostname: Option<String>,
    /// `--entrypoint`.
    pub entrypoint: Entrypoint,
    /// Words after the image; empty means the image's `Cmd`.
    pub command: Vec<String>,
    /// `-e` and `--env-file`, in order; the later wins.
    pub env: Vec<EnvVar>,
    /// `-u`.
    pub user: Option<UserSpec>,
    /// `-w`.
    pub workdir: Option<AbsPath>,
    /// `-v`, `--mount`, `--tmpfs`, `--workspace`.
    pub mounts: Vec<MountRequest>,
    /// `--volumes-from`; in a record they are among the mounts.
    #[serde(default)]
    pub volumes_from: Vec<VolumesFrom>,
    /// Limits by flag; the profile fills the rest.
    pub limits: Limits,
    /// `--network`; the profile decides otherwise.
    pub network: Option<NetworkMode>,
    /// `--read-only`; a profile may add it, never take it away.
    pub read_only: bool,
    /// `--init`: a reaper as process 1.
    pub init: bool,
    /// `-t`.
    pub tty: bool,
    /// `-i`.
    pub interactive: bool,
    /// `--rm`.
    pub remove: bool,
    /// `--health-…`.
    #[serde(default, skip_serializing_if = "HealthRequest::is_empty")]
    pub health: HealthRequest,
    /// `--restart`.
    #[serde(default, skip_serializing_if = "RestartPolicy::is_no")]
    pub restart: RestartPolicy,
    /// `--stop-signal`.
    pub stop_signal: Option<Signal>,
    /// `--stop-timeout`.
    pub stop_timeout: Option<Duration>,
    /// `-l`.
    pub labels: Vec<(String, String)>,
    /// `--profile`; an image label can only narrow.
    pub profile: Option<ProfileName>,
    /// `--userns`.
    pub userns: UserNamespace,
    /// `--cap-add`, names without `CAP_`, upper case; `ALL` is allowed.
    pub cap_add: Vec<String>,
    /// `--cap-drop`, as above.
    pub cap_drop: Vec<String>,
    /// What few containers have.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
    /// `--log-driver`; local otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_driver: Option<LogDriver>,
    /// `--log-opt`, in order; the later wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_opts: Vec<(String, String)>,
}

/// How `--entrypoint` changes the image's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entrypoint {
    /// The image's.
    #[default]
    Image,
    /// `--entrypoint ""`: none.
    Reset,
    /// This program.
    Program(String),
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Non-empty, without `=` and NUL.
    pub name: String,
    /// Without NUL.
    pub value: String,
}

/// A text that is not an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid environment variable {0:?}: expected NAME=VALUE without NUL")]
pub struct EnvError(String);

impl FromStr for EnvVar {
    type Err = EnvError;

    /// Parses `NAME=VALUE`; a bare `NAME` is the caller's business (it means the host's value).
    fn from_str(text: &str) -> Result<Self, EnvError> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err(EnvError(text.split('=').next().unwrap_or_default().chars().take(80).collect())),
        }
    }
}

/// Bounds on what a container may use; none means no bound from this source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `-m`.
    pub memory: Option<ByteSize>,
    /// `--cpus`.
    pub cpus: Option<CpuCount>,
    /// `--pids-limit`.
    pub pids: Option<u32>,
    /// `--shm-size`; 64 MiB otherwise.
    pub shm: Option<ByteSize>,
    /// `--storage-opt size=`: of the writable layer.
    #[serde(default)]
    pub disk: Option<ByteSize>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--oom-score-adj`.
    #[serde(default)]
    pub oom_score_adj: Option<i16>,
    /// `--device`.
    #[serde(default)]
    pub devices: Vec<DeviceRequest>,
    /// The flags that few use.
    #[serde(default)]
    pub more: Resources,
}

/// A device as asked for: not yet looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// On the host.
    pub source: AbsPath,
    /// In the container.
    pub target: AbsPath,
    /// What may be done with it.
    pub access: DeviceAccess,
}

/// One `setrlimit(2)` limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Lower-case name without `RLIMIT_`, e.g. `nofile`.
    pub name: String,
    /// Soft limit, `u64::MAX` for unlimited.
    pub soft: u64,
    /// Hard limit, likewise.
    pub hard: u64,
}

/// What network a container sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// A namespace with nothing but loopback.
    None,
    /// The host's own namespace: a weaker mode, marked in listings.
    Host,
}

/// A named set of confinement defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProfileName {
    /// What `docker run` users expect, hardened.
    Standard,
    /// Build steps: as standard, without network unless asked.
    Build,
    /// Strict: non-root, read-only root, no capability, no network, bounded.
    Agent,
}

impl ProfileName {
    /// The name as flags and labels spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Build => "build",
            Self::Agent => "agent",
        }
    }

    /// The profile of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Standard, Self::Build, Self::Agent].into_iter().find(|profile| profile.as_str() == name)
    }
}

/// Whether the container has a user namespace of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserNamespace {
    /// Yes: root inside is nobody outside.
    #[default]
    Private,
    /// No: a weaker mode that must be named and is marked in listings.
    Host,
    /// Yes, and an ordinary user has their own id in it.
    KeepId,
}
