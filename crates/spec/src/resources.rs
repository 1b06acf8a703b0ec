use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{AbsPath, QuantityError};

/// Bounds that few containers have, the same in what was asked and in what is launched. Nothing here means: the
/// kernel's default, and the controller is not used for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// `--memory-swap`: memory and swap together. Without it a container with a memory limit gets no swap.
    pub memory_swap: Option<Swap>,
    /// `--memory-reservation`, bytes: what the kernel tries to leave it under pressure.
    pub memory_reservation: Option<u64>,
    /// `--memory-swappiness`, 0 to 100; cgroup v1 only.
    pub memory_swappiness: Option<u8>,
    /// `--oom-kill-disable`: processes over the limit wait instead of being killed; cgroup v1 only.
    pub oom_kill_disable: bool,
    /// `--cpu-shares`, 2 to 262144; 1024 is the kernel's default.
    pub cpu_shares: Option<u64>,
    /// `--cpu-period`, microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpu-quota`, microseconds in each period; -1 is unbounded.
    pub cpu_quota: Option<i64>,
    /// `--cpu-rt-period`, microseconds; cgroup v1 only.
    pub cpu_rt_period: Option<u64>,
    /// `--cpu-rt-runtime`, microseconds; cgroup v1 only.
    pub cpu_rt_runtime: Option<u64>,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: Option<IdList>,
    /// `--cpuset-mems`.
    pub cpuset_mems: Option<IdList>,
    /// `--pids-limit -1`: the number of tasks is unbounded, by name.
    pub pids_unlimited: bool,
    /// `--blkio-weight`, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// `--blkio-weight-device`.
    pub blkio_weight_devices: Vec<DeviceWeight>,
    /// `--device-read-bps` and its three sisters.
    pub throttles: Vec<Throttle>,
    /// `--device-cgroup-rule`, and the access of each `--device`.
    pub device_rules: Vec<DeviceRule>,
    /// Whether anything but the profile's own devices and `device_rules` is refused by the kernel, which is so as
    /// soon as one device was asked for.
    pub devices_enforced: bool,
    /// `--cgroups disabled`: there is no group, and so no bound, by name.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_groups: bool,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<CgroupParent>,
}

impl Resources {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Memory and swap together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Swap {
    /// `-1`: as much swap as the host has.
    Unlimited,
    /// Bytes.
    Total(u64),
}

/// A list of CPUs or memory nodes in the kernel's list format (cpuset(7)): `0-3,7`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdList(String);

/// The kernel's own bound on CPUs (NR_CPUS).
const MOST_IDS: u32 = 8192;

impl IdList {
    /// The numbers, in the order of the list.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.0.split(',').filter_map(range).flatten()
    }
}

/// First and last of one member of the list.
fn range(text: &str) -> Option<std::ops::RangeInclusive<u32>> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().filter(|number| *number < MOST_IDS)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}

impl FromStr for IdList {
    type Err = ResourceError;

    fn from_str(text: &str) -> Result<Self, ResourceError> {
        if text.split(',').all(|part| range(part).is_some()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ResourceError::new(text, "a list such as 0-3 or 0,2"))
        }
    }
}

impl TryFrom<String> for IdList {
    type Error = ResourceError;

    fn try_from(text: String) -> Result<Self, ResourceError> {
        text.parse()
    }
}

impl From<IdList> for String {
    fn from(list: IdList) -> Self {
        list.0
    }
}

impl fmt::Display for IdList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Character or block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// `c`.
    Char,
    /// `b`.
    Block,
}

impl DeviceKind {
    /// As the devices controller and mknod(1) spell it.
    pub const fn letter(self) -> char {
        match self {
            Self::Char => 'c',
            Self::Block => 'b',
        }
    }
}

/// The number of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// What may be done with a device: read, write, make a node of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAccess {
    /// `r`
    pub read: bool,
    /// `w`
    pub write: bool,
    /// `m`
    pub mknod: bool,
}

impl DeviceAccess {
    /// `rwm`.
    pub const ALL: Self = Self { read: true, write: true, mknod: true };
}

impl FromStr for DeviceAccess {
    type Err = ResourceError;

    fn from_str(text: &str) -> Result<Self, ResourceError> {
        let count = |letter: char| text.chars().filter(|&c| c == letter).count();
        let (r, w, m) = (count('r'), count('w'), count('m'));
        if text.is_empty() || r + w + m != text.chars().count() || [r, w, m].iter().any(|&n| n > 1) {
            return Err(ResourceError::new(text, "letters of rwm, each at most once"));
        }
        Ok(Self { read: r == 1, write: w == 1, mknod: m == 1 })
    }
}

impl fmt::Display for DeviceAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (has, letter) in [(self.read, "r"), (self.write, "w"), (self.mknod, "m")] {
            if has {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// One allowed use of devices, as `--device-cgroup-rule` writes it: `c 1:3 rwm`, `b *:* r`, `a *:* m`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// None is both kinds (`a`).
    pub kind: Option<DeviceKind>,
    /// None is any (`*`).
    pub major: Option<u32>,
    /// None is any (`*`).
    pub minor: Option<u32>,
    /// What is allowed.
    pub access: DeviceAccess,
}

impl FromStr for DeviceRule {
    type Err = ResourceError;

    fn from_str(text: &str) -> Result<Self, ResourceError> {
        let fail = || ResourceError::new(text, "a rule such as 'c 1:3 rwm' or 'b *:* r'");
        let mut words = text.split(' ');
        let (Some(kind), Some(number), Some(access), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(fail());
        };
        let part = |text: &str| match text {
            "*" => Ok(None),
            _ if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().map(Some).map_err(|_| fail()),
            _ => Err(fail()),
        };
        let (major, minor) = number.split_once(':').ok_or_else(fail)?;
        let kind = match kind {
            "a" => None,
            "c" => Some(DeviceKind::Char),
            "b" => Some(DeviceKind::Block),
            _ => return Err(fail()),
        };
        let access = access.parse().map_err(|_| fail())?;
        Ok(Self { kind, major: part(major)?, minor: part(minor)?, access })
    }
}

/// A device of the host that a container has (`--device`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDevice {
    /// Its node on the host.
    pub source: PathBuf,
    /// Its node in the container, below /dev.
    pub target: AbsPath,
    /// What `source` was when the container was made.
    pub kind: DeviceKind,
    /// Likewise: a host where it is another one by now does not start the container.
    pub number: DeviceNumber,
    /// Permission bits of the host's node.
    pub mode: u32,
    /// Its owner, whose number in the container is the same.
    pub uid: u32,
    /// Its group, likewise.
    pub gid: u32,
}

/// A device by its path, and the weight of its I/O.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWeight {
    /// A block device.
    pub device: BlockDevice,
    /// 10 to 1000.
    pub weight: u16,
}

/// A block device of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDevice {
    /// As it was asked for.
    pub path: PathBuf,
    /// Found when the container was made.
    pub number: Option<DeviceNumber>,
}

/// A bound on the I/O with one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// A block device.
    pub device: BlockDevice,
    /// What is counted.
    pub kind: ThrottleKind,
    /// Bytes or operations a second; 0 is no bound.
    pub rate: u64,
}

/// What a [`Throttle`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThrottleKind {
    /// `--device-read-bps`.
    ReadBytes,
    /// `--device-write-bps`.
    WriteBytes,
    /// `--device-read-iops`.
    ReadOperations,
    /// `--device-write-iops`.
    WriteOperations,
}

/// A group under which the container's groups go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CgroupParent(String);

impl CgroupParent {
    /// The path; it begins with `/` if it counts from the hierarchy's root, else from the caller's own group.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CgroupParent {
    type Err = ResourceError;

    fn from_str(text: &str) -> Result<Self, ResourceError> {
        // The kernel takes no name with a newline, and its own files begin with a controller's name and a dot: a
        // group of such a name could hide behind them.
        let name = |name: &str| {
            !name.is_empty()
                && name.len() <= 255
                && name != "."
                && name != ".."
                && !name.starts_with("cgroup.")
                && !name.bytes().any(|b| b.is_ascii_control())
        };
        let names = text.strip_prefix('/').unwrap_or(text);
        if names.split('/').all(name) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ResourceError::new(text, "a path of group names, without . and .."))
        }
    }
}

impl TryFrom<String> for CgroupParent {
    type Error = ResourceError;

    fn try_from(text: String) -> Result<Self, ResourceError> {
        text.parse()
    }
}

impl From<CgroupParent> for String {
    fn from(parent: CgroupParent) -> Self {
        parent.0
    }
}

/// Why a text does not describe a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: expected {form}")]
pub struct ResourceError {
    text: String,
    form: &'static str,
}

impl ResourceError {
    fn new(text: &str, form: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), form }
    }
}

impl FromStr for Swap {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        if text == "-1" {
            return Ok(Self::Unlimited);
        }
        Ok(Self::Total(text.parse::<crate::ByteSize>()?.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_ids() {
        let ids = |text: &str| text.parse::<IdList>().map(|list| list.ids().collect::<Vec<_>>()).ok();
        assert_eq!(ids("0"), Some(vec![0]));
        assert_eq!(ids("0-2,7"), Some(vec![0, 1, 2, 7]));
        for bad in ["", ",", "0,", "3-1", "-1", "a", "0-", "9999999999", "8192", "0 1", "+1", "0\n"] {
            assert_eq!(ids(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn device_rules() {
        let rule: DeviceRule = "c 1:* rm".parse().expect("a rule");
        let access = DeviceAccess { read: true, write: false, mknod: true };
        assert_eq!(rule, DeviceRule { kind: Some(DeviceKind::Char), major: Some(1), minor: None, access });
        assert_eq!(rule.access.to_string(), "rm");
        for bad in
            ["", "c", "c 1:3", "x 1:3 r", "c 1 r", "c 1:3 rr", "c 1:3 x", "c 1:3 ", "c  1:3 r", "c -1:3 r"]
        {
            assert!(bad.parse::<DeviceRule>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn parents_do_not_climb() {
        for good in ["a", "/a", "a/b.slice", "/a/b"] {
            assert!(good.parse::<CgroupParent>().is_ok(), "{good}");
        }
        for bad in ["", "/", "..", "a/../b", "a//b", "/./a", "a\nb", "a/", "cgroup.procs"] {
            assert!(bad.parse::<CgroupParent>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn swap() {
        assert_eq!("-1".parse(), Ok(Swap::Unlimited));
        assert_eq!("1k".parse(), Ok(Swap::Total(1024)));
        assert!("-2".parse::<Swap>().is_err());
    }
}
