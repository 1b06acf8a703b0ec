//! The nouns of Corral: what a container, an image name, a mount or a digest *is*.
//!
//! Parsing and validation live here; nothing here does input or output. A value of one of these
//! types is valid by construction: hostile text becomes a typed value once, at the edge, and no room
//! below looks at the text again. [`record`] holds the few versioned types that go to disk or to
//! another process.
//!
//! This crate does not decide policy (`policy`), does not know the kernel (`runtime`), and takes in
//! no type that only one room uses.
#![forbid(unsafe_code)]

mod container;
mod digest;
mod error_kind;
mod health;
mod id;
mod image_ref;
mod mount;
mod quantity;
pub mod record;
mod resources;
mod restart;
pub mod seccomp;
mod settings;
mod signal;
mod user;
mod weaker;

pub use container::{
    ContainerSpec, DeviceRequest, Entrypoint, EnvError, EnvVar, Limits, NetworkMode, ProfileName, Ulimit,
    UserNamespace,
};
pub use digest::{Digest, DigestError};
pub use error_kind::ErrorKind;
pub use health::{Health, HealthRequest, HealthResult, HealthState, HealthStatus};
pub use id::{ContainerId, ContainerName, IdError};
pub use image_ref::{ImageRef, ImageRefError};
pub use mount::{AbsPath, MountError, MountRequest, MountSource, SourceOptions, VolumesFrom};
pub use quantity::{ByteSize, CpuCount, QuantityError, duration_ns};
pub use resources::{
    BlockDevice, CgroupParent, DeviceAccess, DeviceKind, DeviceNumber, DeviceRule, DeviceWeight, HostDevice,
    IdList, ResourceError, Resources, Swap, Throttle, ThrottleKind,
};
pub use restart::{RestartError, RestartPolicy};
pub use settings::{HostEntry, SettingError, Settings, Sysctl, is_host_name};
pub use signal::{Signal, SignalError};
pub use user::{UserError, UserPart, UserSpec};
pub use weaker::Weaker;
