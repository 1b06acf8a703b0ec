//! Flags for bounds and devices that few commands have. `run` and `create` know them only when one was typed
//! (`verb::run::parse`): building them would cost each start more than parsing its own.

use std::path::PathBuf;

use corral_spec::{
    AbsPath, BlockDevice, ByteSize, CgroupParent, DeviceAccess, DeviceRequest, DeviceRule, DeviceWeight,
    IdList, Limits, Resources, Swap, Throttle, ThrottleKind,
};

use crate::Failure;
use crate::failure::ENGINE;

/// The bounds that `run`, `create` and `update` share. As with Docker, 0 means that nothing is asked.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct BoundFlags {
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<i64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_quota: Option<i64>,
    /// Limit CPU real-time period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_period: Option<i64>,
    /// Limit CPU real-time runtime in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_runtime: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short = 'c', long, value_name = "SHARES")]
    cpu_shares: Option<i64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Memory soft limit
    #[arg(long, value_name = "BYTES")]
    memory_reservation: Option<ByteSize>,
    /// Swap limit equal to memory plus swap: -1 to enable unlimited swap
    #[arg(long, value_name = "BYTES")]
    memory_swap: Option<Swap>,
}

/// Those that only a new container can have.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct LimitFlags {
    #[command(flatten)]
    bounds: BoundFlags,
    /// Block IO weight (relative device weight)
    #[arg(long, value_name = "DEVICE:WEIGHT")]
    blkio_weight_device: Vec<String>,
    /// Whether the container has control groups: `disabled` is a weaker mode in which nothing is bounded
    #[arg(long, value_name = "MODE")]
    cgroups: Option<String>,
    /// Optional parent cgroup for the container
    #[arg(long, value_name = "GROUP")]
    cgroup_parent: Option<String>,
    /// Add a host device to the container
    #[arg(long, value_name = "HOST[:CONTAINER[:rwm]]")]
    device: Vec<String>,
    /// Add a rule to the cgroup allowed devices list
    #[arg(long, value_name = "RULE")]
    device_cgroup_rule: Vec<String>,
    /// Limit read rate (bytes per second) from a device
    #[arg(long, value_name = "DEVICE:BYTES")]
    device_read_bps: Vec<String>,
    /// Limit read rate (IO per second) from a device
    #[arg(long, value_name = "DEVICE:NUMBER")]
    device_read_iops: Vec<String>,
    /// Limit write rate (bytes per second) to a device
    #[arg(long, value_name = "DEVICE:BYTES")]
    device_write_bps: Vec<String>,
    /// Limit write rate (IO per second) to a device
    #[arg(long, value_name = "DEVICE:NUMBER")]
    device_write_iops: Vec<String>,
    /// Tune container memory swappiness (0 to 100)
    #[arg(long, value_name = "SHARE")]
    memory_swappiness: Option<i64>,
    /// Disable OOM Killer
    #[arg(long)]
    oom_kill_disable: bool,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, value_name = "SCORE")]
    oom_score_adj: Option<i64>,
    /// Storage driver options for the container: size=BYTES bounds its writable layer
    #[arg(long, value_name = "size=BYTES")]
    storage_opt: Vec<String>,
}

fn bad(message: impl std::fmt::Display) -> Failure {
    Failure::with_code(ENGINE, message)
}

/// A flag's number; 0 is none.
fn number(flag: &str, value: Option<i64>) -> Result<Option<u64>, Failure> {
    value
        .filter(|value| *value != 0)
        .map(|value| u64::try_from(value).map_err(|_| bad(format!("invalid --{flag} {value}: less than 0"))))
        .transpose()
}

impl BoundFlags {
    pub(crate) fn fill(&self, more: &mut Resources) -> Result<(), Failure> {
        let list = |text: &Option<String>, what: &str| {
            let text = text.as_ref().filter(|text| !text.is_empty());
            let parse = |text: &String| {
                text.parse::<IdList>().map_err(|_| bad(format!("Invalid value {text} for cpuset {what}")))
            };
            text.map(parse).transpose()
        };
        more.blkio_weight = self.blkio_weight.filter(|weight| *weight != 0);
        more.cpu_period = number("cpu-period", self.cpu_period)?;
        // Below 0 it is no bound, whichever number it is.
        more.cpu_quota = self.cpu_quota.filter(|quota| *quota != 0).map(|quota| quota.max(-1));
        more.cpu_rt_period = number("cpu-rt-period", self.cpu_rt_period)?;
        more.cpu_rt_runtime = number("cpu-rt-runtime", self.cpu_rt_runtime)?;
        more.cpu_shares = number("cpu-shares", self.cpu_shares)?;
        more.cpuset_cpus = list(&self.cpuset_cpus, "cpus")?;
        more.cpuset_mems = list(&self.cpuset_mems, "mems")?;
        more.memory_reservation = self.memory_reservation.map(|size| size.0).filter(|bytes| *bytes != 0);
        more.memory_swap = self.memory_swap.filter(|swap| *swap != Swap::Total(0));
        Ok(())
    }
}

impl LimitFlags {
    pub(crate) fn fill(&self, limits: &mut Limits) -> Result<(), Failure> {
        let more = &mut limits.more;
        self.bounds.fill(more)?;
        for text in &self.blkio_weight_device {
            let (path, weight) = split_device(text)?;
            let weight = weight.parse().map_err(|_| bad(format!("bad format: {text}")))?;
            more.blkio_weight_devices.push(DeviceWeight { device: block(path), weight });
        }
        self.throttles(more)?;
        more.device_rules = self
            .device_cgroup_rule
            .iter()
            .map(|text| text.parse().map_err(|_| bad(format!("invalid device cgroup format '{text}'"))))
            .collect::<Result<Vec<DeviceRule>, _>>()?;
        let parent = |text: &String| text.parse().map_err(|error| bad(format!("--cgroup-parent {error}")));
        more.cgroup_parent =
            self.cgroup_parent.as_ref().map(parent).transpose()?.map(|parent: CgroupParent| parent);
        more.memory_swappiness = match self.memory_swappiness {
            None | Some(-1) => None,
            Some(share) => Some(u8::try_from(share).ok().filter(|share| *share <= 100).ok_or_else(|| {
                bad(format!("Invalid value: {share}, valid memory swappiness range is 0-100"))
            })?),
        };
        more.oom_kill_disable = self.oom_kill_disable;
        more.no_groups = match self.cgroups.as_deref() {
            None | Some("enabled") => false,
            Some("disabled") => true,
            Some(mode) => return Err(bad(format!("--cgroups {mode}: expected enabled or disabled"))),
        };
        limits.oom_score_adj = match self.oom_score_adj {
            None | Some(0) => None,
            Some(score) if (-1000..=1000).contains(&score) => Some(score as i16),
            Some(score) => {
                return Err(bad(format!("Invalid value {score}, range for oom score adj is [-1000, 1000]")));
            }
        };
        limits.devices = self.device.iter().map(|text| device(text)).collect::<Result<_, _>>()?;
        limits.disk = self.disk()?;
        Ok(())
    }

    /// The bound on the writable layer; of several the last.
    fn disk(&self) -> Result<Option<ByteSize>, Failure> {
        let size = |option: &String| match option.split_once('=') {
            Some(("size", size)) => {
                size.parse().map_err(|error| bad(format!("--storage-opt {option}: {error}")))
            }
            _ => Err(bad(format!("--storage-opt {option}: unknown option (size=BYTES)"))),
        };
        Ok(self.storage_opt.iter().map(size).collect::<Result<Vec<_>, _>>()?.pop())
    }

    fn throttles(&self, more: &mut Resources) -> Result<(), Failure> {
        for (texts, kind) in [
            (&self.device_read_bps, ThrottleKind::ReadBytes),
            (&self.device_write_bps, ThrottleKind::WriteBytes),
            (&self.device_read_iops, ThrottleKind::ReadOperations),
            (&self.device_write_iops, ThrottleKind::WriteOperations),
        ] {
            for text in texts {
                let (path, rate) = split_device(text)?;
                let rate = match kind {
                    ThrottleKind::ReadBytes | ThrottleKind::WriteBytes => {
                        rate.parse::<ByteSize>().map(|size| size.0).ok()
                    }
                    ThrottleKind::ReadOperations | ThrottleKind::WriteOperations => rate.parse().ok(),
                };
                let rate = rate.ok_or_else(|| {
                    bad(format!(
                        "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. \
                         Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
                    ))
                })?;
                more.throttles.push(Throttle { device: block(path), kind, rate });
            }
        }
        Ok(())
    }
}

fn block(path: &str) -> BlockDevice {
    BlockDevice { path: PathBuf::from(path), number: None }
}

fn split_device(text: &str) -> Result<(&str, &str), Failure> {
    match text.split_once(':') {
        Some((path, rest)) if path.starts_with("/dev/") && !rest.is_empty() => Ok((path, rest)),
        Some((path, _)) if !path.starts_with("/dev/") => {
            Err(bad(format!("bad format for device path: {text}")))
        }
        _ => Err(bad(format!("bad format: {text}"))),
    }
}

/// `HOST[:CONTAINER[:rwm]]`, and `HOST:rwm`, as Docker reads them.
fn device(text: &str) -> Result<DeviceRequest, Failure> {
    let path = |path: &str| AbsPath::new(path).map_err(|error| bad(format!("--device {text}: {error}")));
    let parts: Vec<&str> = text.split(':').collect();
    let access =
        |mode: &str| mode.parse::<DeviceAccess>().map_err(|_| bad(format!("bad mode specified: {mode}")));
    let (source, target, access) = match parts[..] {
        [source] if !source.starts_with('/') && source.contains('=') => {
            let text = "devices by CDI name are not there yet; give the paths of the nodes";
            return Err(bad(format!("--device {source}: {text}")));
        }
        [source] => (source, source, DeviceAccess::ALL),
        [source, mode] if mode.parse::<DeviceAccess>().is_ok() => (source, source, access(mode)?),
        [source, target] => (source, target, DeviceAccess::ALL),
        [source, target, mode] => (source, target, access(mode)?),
        _ => return Err(bad(format!("invalid device specification: {text}"))),
    };
    Ok(DeviceRequest { source: path(source)?, target: path(target)?, access })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_as_docker_reads_them() {
        let check = |text: &str, expect: &str| {
            let said = match device(text) {
                Ok(found) => format!("{} {} {}", found.source, found.target, found.access),
                Err(failure) => failure.message().to_owned(),
            };
            assert!(said.contains(expect), "{text}: {said}");
        };
        check("/dev/kvm", "/dev/kvm /dev/kvm rwm");
        check("/dev/kvm:r", "/dev/kvm /dev/kvm r");
        check("/dev/sda:/dev/xvda", "/dev/sda /dev/xvda rwm");
        check("/dev/sda:/dev/xvda:rw", "/dev/sda /dev/xvda rw");
        check("/dev/sda:/dev/xvda:x", "bad mode specified: x");
        check("/dev/sda:/dev/xvda:", "bad mode specified: ");
        check("/dev/a:/dev/b:r:w", "invalid device specification");
        check("vendor.com/gpu=0", "CDI");
        check("sda", "must be absolute");
        check("/dev/../etc", "must be absolute");
    }
}
