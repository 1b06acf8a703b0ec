//! What each controller is asked for, and what has to be written for it: pure.
//!
//! | flag | cgroup v1 | cgroup v2 |
//! |---|---|---|
//! | memory | memory.limit_in_bytes | memory.max |
//! | memory-swap (total) | memory.memsw.limit_in_bytes | memory.swap.max = total - memory |
//! | memory-reservation | memory.soft_limit_in_bytes | memory.low |
//! | memory-swappiness, oom-kill-disable, cpu-rt-… | as named | refused: cgroup2 has none |
//! | cpus, cpu-period, cpu-quota | cpu.cfs_period_us, cpu.cfs_quota_us | cpu.max |
//! | cpu-shares | cpu.shares | cpu.weight |
//! | cpuset-cpus, cpuset-mems | cpuset.cpus, cpuset.mems (both, or nobody can enter) | those that are asked |
//! | pids-limit | pids.max | pids.max |
//! | blkio-weight | blkio.bfq.weight, blkio.weight | io.bfq.weight, io.weight |
//! | device-read-bps … | blkio.throttle.… | io.max |
//! | device… | devices.deny, devices.allow | a BPF program (devices.rs) |
//!
//! Sources: Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst.

use corral_spec::record::Cgroup;
use corral_spec::{Resources, Swap, Throttle, ThrottleKind};

use super::devices;
use crate::Error;

/// CPU bandwidth period in microseconds: the kernel's and Docker's default.
const PERIOD: u64 = 100_000;

/// What one controller is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound<'l> {
    Memory(&'l Cgroup),
    Cpu(&'l Cgroup),
    Cpuset(&'l Resources),
    /// None is unbounded, by name.
    Pids(Option<u32>),
    Io(&'l Resources),
    Devices(&'l Resources),
}

/// A control file, and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// Of these files the first that is there; no text means what the group above has.
    pub(super) choices: Vec<(&'static str, Option<String>)>,
    /// The flag, for messages.
    pub(super) limit: &'static str,
    /// Whether the file may be missing while the host has no swap.
    pub(super) swap: bool,
}

impl Value {
    fn new(limit: &'static str, file: &'static str, text: impl ToString) -> Self {
        Self { choices: vec![(file, Some(text.to_string()))], limit, swap: false }
    }

    /// Whether it is the memory controller's.
    pub(super) fn is_memory(&self) -> bool {
        self.choices.iter().any(|(file, _)| file.starts_with("memory."))
    }
}

impl<'l> Bound<'l> {
    /// What a launch asks for.
    pub(super) fn of(limits: &'l Cgroup) -> Vec<Self> {
        let Cgroup { memory, cpu_millis, pids, more } = limits;
        let mut bounds = Vec::new();
        if memory.is_some()
            || more.memory_swap.is_some()
            || more.memory_reservation.is_some()
            || more.memory_swappiness.is_some()
            || more.oom_kill_disable
        {
            bounds.push(Self::Memory(limits));
        }
        if cpu_millis.is_some()
            || more.cpu_shares.is_some()
            || more.cpu_period.is_some()
            || more.cpu_quota.is_some()
            || more.cpu_rt_period.is_some()
            || more.cpu_rt_runtime.is_some()
        {
            bounds.push(Self::Cpu(limits));
        }
        if more.cpuset_cpus.is_some() || more.cpuset_mems.is_some() {
            bounds.push(Self::Cpuset(more));
        }
        if pids.is_some() || more.pids_unlimited {
            bounds.push(Self::Pids(*pids));
        }
        if more.blkio_weight.is_some() || !more.blkio_weight_devices.is_empty() || !more.throttles.is_empty()
        {
            bounds.push(Self::Io(more));
        }
        if more.devices_enforced {
            bounds.push(Self::Devices(more));
        }
        bounds
    }

    /// The controller's name in cgroup v1.
    pub(super) fn v1_controller(self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Cpu(_) => "cpu",
            Self::Cpuset(_) => "cpuset",
            Self::Pids(_) => "pids",
            Self::Io(_) => "blkio",
            Self::Devices(_) => "devices",
        }
    }

    /// The controller's name in cgroup v2, which has a program where v1 has the devices controller.
    pub(super) fn v2_controller(self) -> Option<&'static str> {
        match self {
            Self::Io(_) => Some("io"),
            Self::Devices(_) => None,
            other => Some(other.v1_controller()),
        }
    }

    /// cgroup v2 files.
    pub(super) fn v2(self) -> Result<Vec<Value>, Error> {
        match self {
            Self::Memory(limits) => memory_v2(limits),
            Self::Cpu(limits) => cpu_v2(limits),
            Self::Cpuset(more) => Ok(cpuset(more, false)),
            Self::Pids(tasks) => Ok(vec![pids(tasks)]),
            Self::Io(more) => io_v2(more),
            Self::Devices(_) => Ok(Vec::new()),
        }
    }

    /// cgroup v1 files.
    pub(super) fn v1(self) -> Result<Vec<Value>, Error> {
        match self {
            Self::Memory(limits) => Ok(memory_v1(limits)),
            Self::Cpu(limits) => Ok(cpu_v1(limits)),
            Self::Cpuset(more) => Ok(cpuset(more, true)),
            Self::Pids(tasks) => Ok(vec![pids(tasks)]),
            Self::Io(more) => io_v1(more),
            Self::Devices(more) => {
                let allow = devices::allowed(&more.device_rules);
                let allow =
                    allow.iter().map(|rule| Value::new("device", "devices.allow", devices::line(rule)));
                Ok(std::iter::once(Value::new("device", "devices.deny", "a")).chain(allow).collect())
            }
        }
    }
}

/// A flag that cgroup2 has nothing for.
fn only_v1(limit: &'static str, asked: bool) -> Result<(), Error> {
    if !asked {
        return Ok(());
    }
    let reason = "cgroup2 has nothing of the kind, and cgroup v1 does not offer the controller here; leave the flag out"
        .to_owned();
    Err(Error::Limit { limit, reason })
}

fn swap_value(file: &'static str, text: String) -> Value {
    Value { swap: true, ..Value::new("memory-swap", file, text) }
}

fn memory_v1(limits: &Cgroup) -> Vec<Value> {
    let more = &limits.more;
    let mut values = Vec::new();
    values.extend(limits.memory.map(|bytes| Value::new("memory", "memory.limit_in_bytes", bytes)));
    let total = match (more.memory_swap, limits.memory) {
        (Some(Swap::Unlimited), _) => Some("-1".to_owned()),
        (Some(Swap::Total(bytes)), _) | (None, Some(bytes)) => Some(bytes.to_string()),
        (None, None) => None,
    };
    values.extend(total.map(|text| swap_value("memory.memsw.limit_in_bytes", text)));
    let soft = more.memory_reservation;
    values.extend(soft.map(|bytes| Value::new("memory-reservation", "memory.soft_limit_in_bytes", bytes)));
    let swappiness = more.memory_swappiness;
    values.extend(swappiness.map(|share| Value::new("memory-swappiness", "memory.swappiness", share)));
    if more.oom_kill_disable {
        values.push(Value::new("oom-kill-disable", "memory.oom_control", 1));
    }
    values
}

fn memory_v2(limits: &Cgroup) -> Result<Vec<Value>, Error> {
    let more = &limits.more;
    only_v1("memory-swappiness", more.memory_swappiness.is_some())?;
    only_v1("oom-kill-disable", more.oom_kill_disable)?;
    let mut values = Vec::new();
    values.extend(limits.memory.map(|bytes| Value::new("memory", "memory.max", bytes)));
    // v1 counts memory and swap together, v2 swap alone.
    let swap = match (more.memory_swap, limits.memory) {
        (Some(Swap::Unlimited), _) => Some("max".to_owned()),
        (Some(Swap::Total(total)), memory) => Some(total.saturating_sub(memory.unwrap_or(0)).to_string()),
        (None, Some(_)) => Some("0".to_owned()),
        (None, None) => None,
    };
    values.extend(swap.map(|text| swap_value("memory.swap.max", text)));
    let low = more.memory_reservation;
    values.extend(low.map(|bytes| Value::new("memory-reservation", "memory.low", bytes)));
    Ok(values)
}

/// Microseconds of processor time in a period; -1 is unbounded.
fn quota(limits: &Cgroup) -> Option<i64> {
    let cpus = || limits.cpu_millis.map(|millis| (u64::from(millis) * PERIOD / 1000) as i64);
    limits.more.cpu_quota.or_else(cpus)
}

/// The flag that a bandwidth comes from.
fn bandwidth(limits: &Cgroup) -> &'static str {
    if limits.cpu_millis.is_some() { "cpus" } else { "cpu-quota" }
}

fn cpu_v1(limits: &Cgroup) -> Vec<Value> {
    let more = &limits.more;
    let mut values = Vec::new();
    let quota = quota(limits);
    let period = more.cpu_period.or(quota.map(|_| PERIOD));
    values.extend(period.map(|period| Value::new("cpu-period", "cpu.cfs_period_us", period)));
    values.extend(quota.map(|quota| Value::new(bandwidth(limits), "cpu.cfs_quota_us", quota)));
    values.extend(more.cpu_shares.map(|shares| Value::new("cpu-shares", "cpu.shares", shares)));
    let (period, runtime) = (more.cpu_rt_period, more.cpu_rt_runtime);
    values.extend(period.map(|time| Value::new("cpu-rt-period", "cpu.rt_period_us", time)));
    values.extend(runtime.map(|time| Value::new("cpu-rt-runtime", "cpu.rt_runtime_us", time)));
    values
}

fn cpu_v2(limits: &Cgroup) -> Result<Vec<Value>, Error> {
    let more = &limits.more;
    only_v1("cpu-rt-period", more.cpu_rt_period.is_some())?;
    only_v1("cpu-rt-runtime", more.cpu_rt_runtime.is_some())?;
    let mut values = Vec::new();
    let quota = quota(limits);
    if quota.is_some() || more.cpu_period.is_some() {
        let text = quota.filter(|&quota| quota > 0).map_or("max".to_owned(), |quota| quota.to_string());
        let period = more.cpu_period.unwrap_or(PERIOD);
        values.push(Value::new(bandwidth(limits), "cpu.max", format!("{text} {period}")));
    }
    values.extend(
        more.cpu_shares.map(|shares| Value::new("cpu-shares", "cpu.weight", weight_of_shares(shares))),
    );
    Ok(values)
}

/// From shares, 2 to 262144 with 1024 as default, to a weight, 1 to 10000 with 100 as default. The curve goes through
/// the three pairs (crun's and runc's since 2025), where a straight line gives a container with the default shares
/// half of what one without the flag has.
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    // Exact powers come out a hair above themselves.
    ((10f64.powf(exponent) - 1e-9).ceil() as u64).clamp(1, 10_000)
}

fn cpuset(more: &Resources, v1: bool) -> Vec<Value> {
    let files = [
        ("cpuset-cpus", "cpuset.cpus", &more.cpuset_cpus),
        ("cpuset-mems", "cpuset.mems", &more.cpuset_mems),
    ];
    let wanted = files.into_iter().filter(|(.., list)| v1 || list.is_some());
    wanted
        .map(|(limit, file, list)| Value {
            choices: vec![(file, list.as_ref().map(ToString::to_string))],
            limit,
            swap: false,
        })
        .collect()
}

fn pids(tasks: Option<u32>) -> Value {
    Value::new("pids", "pids.max", tasks.map_or("max".to_owned(), |tasks| tasks.to_string()))
}

fn either(limit: &'static str, choices: [(&'static str, String); 2]) -> Value {
    Value {
        choices: choices.into_iter().map(|(file, text)| (file, Some(text))).collect(),
        limit,
        swap: false,
    }
}

/// The number that was found for a block device.
fn number(device: &corral_spec::BlockDevice) -> Result<String, Error> {
    match device.number {
        Some(number) => Ok(number.to_string()),
        None => Err(Error::Launch(format!("{} was not looked at", device.path.display()))),
    }
}

fn io_v1(more: &Resources) -> Result<Vec<Value>, Error> {
    let mut values = Vec::new();
    values.extend(more.blkio_weight.map(|weight| {
        let files = ["blkio.bfq.weight", "blkio.weight"];
        either("blkio-weight", files.map(|file| (file, weight.to_string())))
    }));
    for device in &more.blkio_weight_devices {
        let text = format!("{} {}", number(&device.device)?, device.weight);
        let files = ["blkio.bfq.weight_device", "blkio.weight_device"];
        values.push(either("blkio-weight-device", files.map(|file| (file, text.clone()))));
    }
    for throttle in &more.throttles {
        let (limit, file, _) = throttle_files(throttle.kind);
        values.push(Value::new(limit, file, format!("{} {}", number(&throttle.device)?, throttle.rate)));
    }
    Ok(values)
}

fn io_v2(more: &Resources) -> Result<Vec<Value>, Error> {
    // 10 to 1000 becomes 1 to 10000 (runc and crun).
    let converted = |weight: u16| 1 + (u64::from(weight) - 10) * 9999 / 990;
    let mut values = Vec::new();
    values.extend(more.blkio_weight.map(|weight| {
        let files = [("io.bfq.weight", weight.to_string()), ("io.weight", converted(weight).to_string())];
        either("blkio-weight", files)
    }));
    for device in &more.blkio_weight_devices {
        let number = number(&device.device)?;
        let plain = format!("{number} {}", device.weight);
        let files =
            [("io.bfq.weight", plain), ("io.weight", format!("{number} {}", converted(device.weight)))];
        values.push(either("blkio-weight-device", files));
    }
    for Throttle { device, kind, rate } in &more.throttles {
        let (limit, _, key) = throttle_files(*kind);
        let rate = if *rate == 0 { "max".to_owned() } else { rate.to_string() };
        values.push(Value::new(limit, "io.max", format!("{} {key}={rate}", number(device)?)));
    }
    Ok(values)
}

/// The flag, the v1 file and the v2 key.
fn throttle_files(kind: ThrottleKind) -> (&'static str, &'static str, &'static str) {
    match kind {
        ThrottleKind::ReadBytes => ("device-read-bps", "blkio.throttle.read_bps_device", "rbps"),
        ThrottleKind::WriteBytes => ("device-write-bps", "blkio.throttle.write_bps_device", "wbps"),
        ThrottleKind::ReadOperations => ("device-read-iops", "blkio.throttle.read_iops_device", "riops"),
        ThrottleKind::WriteOperations => ("device-write-iops", "blkio.throttle.write_iops_device", "wiops"),
    }
}

#[cfg(test)]
mod tests {
    use corral_spec::{BlockDevice, DeviceNumber, DeviceWeight};

    use super::*;

    fn shown(values: &[Value]) -> Vec<String> {
        let choice = |(file, text): &(&str, Option<String>)| match text {
            Some(text) => format!("{file}={text}"),
            None => format!("{file}=<above>"),
        };
        values.iter().map(|v| v.choices.iter().map(choice).collect::<Vec<_>>().join("|")).collect()
    }

    fn check(limits: Cgroup, v1: &[&str], v2: Option<&[&str]>) {
        let bounds = Bound::of(&limits);
        let first: Vec<_> = bounds.iter().flat_map(|bound| bound.v1().unwrap()).collect();
        assert_eq!(shown(&first), v1);
        let second: Result<Vec<_>, _> = bounds.iter().map(|bound| bound.v2()).collect();
        match (second, v2) {
            (Ok(values), Some(v2)) => {
                assert_eq!(shown(&values.into_iter().flatten().collect::<Vec<_>>()), v2);
            }
            (Err(Error::Limit { .. }), None) => {}
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    fn more(fill: impl FnOnce(&mut Resources)) -> Cgroup {
        let mut limits = Cgroup::default();
        fill(&mut limits.more);
        limits
    }

    #[test]
    fn memory_and_swap() {
        let memory = |swap| Cgroup { memory: Some(100), ..more(|more| more.memory_swap = swap) };
        check(
            memory(None),
            &["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=100"],
            Some(&["memory.max=100", "memory.swap.max=0"]),
        );
        check(
            memory(Some(Swap::Total(150))),
            &["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=150"],
            Some(&["memory.max=100", "memory.swap.max=50"]),
        );
        check(
            memory(Some(Swap::Unlimited)),
            &["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=-1"],
            Some(&["memory.max=100", "memory.swap.max=max"]),
        );
        check(
            more(|more| more.memory_reservation = Some(7)),
            &["memory.soft_limit_in_bytes=7"],
            Some(&["memory.low=7"]),
        );
        check(more(|more| more.memory_swappiness = Some(60)), &["memory.swappiness=60"], None);
        check(more(|more| more.oom_kill_disable = true), &["memory.oom_control=1"], None);
    }

    #[test]
    fn processor_time() {
        check(
            Cgroup { cpu_millis: Some(1500), ..Cgroup::default() },
            &["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=150000"],
            Some(&["cpu.max=150000 100000"]),
        );
        let quota = |quota, period| {
            more(|more| {
                more.cpu_quota = quota;
                more.cpu_period = period;
            })
        };
        check(
            quota(Some(20_000), Some(50_000)),
            &["cpu.cfs_period_us=50000", "cpu.cfs_quota_us=20000"],
            Some(&["cpu.max=20000 50000"]),
        );
        check(
            quota(Some(-1), None),
            &["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=-1"],
            Some(&["cpu.max=max 100000"]),
        );
        check(quota(None, Some(50_000)), &["cpu.cfs_period_us=50000"], Some(&["cpu.max=max 50000"]));
        check(more(|more| more.cpu_shares = Some(1024)), &["cpu.shares=1024"], Some(&["cpu.weight=100"]));
        check(more(|more| more.cpu_rt_runtime = Some(5)), &["cpu.rt_runtime_us=5"], None);
        for (shares, weight) in [(2, 1), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000)] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn sets_of_processors() {
        check(
            more(|more| more.cpuset_cpus = "0-1".parse().ok()),
            &["cpuset.cpus=0-1", "cpuset.mems=<above>"],
            Some(&["cpuset.cpus=0-1"]),
        );
        check(
            more(|more| more.cpuset_mems = "0".parse().ok()),
            &["cpuset.cpus=<above>", "cpuset.mems=0"],
            Some(&["cpuset.mems=0"]),
        );
    }

    #[test]
    fn tasks() {
        let bounded = Cgroup { pids: Some(9), ..Cgroup::default() };
        check(bounded, &["pids.max=9"], Some(&["pids.max=9"]));
        check(more(|more| more.pids_unlimited = true), &["pids.max=max"], Some(&["pids.max=max"]));
        check(Cgroup::default(), &[], Some(&[]));
    }

    #[test]
    fn input_and_output() {
        let number = Some(DeviceNumber { major: 8, minor: 16 });
        let device = BlockDevice { path: "/dev/sdb".into(), number };
        let throttle = |kind, rate| Throttle { device: device.clone(), kind, rate };
        check(
            more(|more| {
                more.blkio_weight = Some(1000);
                more.blkio_weight_devices = vec![DeviceWeight { device: device.clone(), weight: 10 }];
            }),
            &[
                "blkio.bfq.weight=1000|blkio.weight=1000",
                "blkio.bfq.weight_device=8:16 10|blkio.weight_device=8:16 10",
            ],
            Some(&["io.bfq.weight=1000|io.weight=10000", "io.bfq.weight=8:16 10|io.weight=8:16 1"]),
        );
        check(
            more(|more| {
                more.throttles = vec![
                    throttle(ThrottleKind::ReadBytes, 1 << 20),
                    throttle(ThrottleKind::WriteOperations, 0),
                ];
            }),
            &["blkio.throttle.read_bps_device=8:16 1048576", "blkio.throttle.write_iops_device=8:16 0"],
            Some(&["io.max=8:16 rbps=1048576", "io.max=8:16 wiops=max"]),
        );
        let blind = BlockDevice { path: "/dev/sdb".into(), number: None };
        let limits =
            more(|more| more.blkio_weight_devices = vec![DeviceWeight { device: blind, weight: 10 }]);
        assert!(Bound::of(&limits)[0].v1().is_err());
    }

    #[test]
    fn devices_are_denied_before_some_are_allowed() {
        let limits = more(|more| {
            more.devices_enforced = true;
            more.device_rules = vec!["b 8:0 r".parse().unwrap()];
        });
        let values = Bound::of(&limits)[0].v1().unwrap();
        let shown = shown(&values);
        assert_eq!(shown[0], "devices.deny=a");
        assert!(shown.contains(&"devices.allow=c 1:3 rwm".to_owned()));
        assert_eq!(shown.last().map(String::as_str), Some("devices.allow=b 8:0 r"));
        assert_eq!(Bound::of(&limits)[0].v2_controller(), None);
    }
}
