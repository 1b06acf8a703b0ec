//! Bounds: what was asked and what the profile says, checked as Docker checks it.

use corral_policy::Profile;
use corral_spec::record::Cgroup;
use corral_spec::{
    ContainerSpec, DeviceKind, DeviceRule, HostDevice, Limits, Resources, RestartPolicy, Swap,
};

use crate::Error;

/// Docker's smallest memory limit: less does not carry a process to its first instruction.
const LEAST_MEMORY: u64 = 6 << 20;

/// The bounds of a new container. `devices` are those it gets, in the order of the request.
pub(crate) fn cgroup(
    spec: &ContainerSpec,
    profile: &Profile,
    devices: &[HostDevice],
) -> Result<Cgroup, Error> {
    let limits = &spec.limits;
    if limits.more.no_groups {
        return without_groups(limits);
    }
    let mut more = limits.more.clone();
    for (request, device) in limits.devices.iter().zip(devices) {
        more.device_rules.push(DeviceRule {
            kind: Some(device.kind),
            major: Some(device.number.major),
            minor: Some(device.number.minor),
            access: request.access,
        });
    }
    more.devices_enforced = !more.device_rules.is_empty();
    let own_time = more.cpu_quota.is_some() || more.cpu_period.is_some();
    let cgroup = Cgroup {
        memory: limits.memory.map(|size| size.0).or(profile.limits.memory),
        // A bandwidth in the kernel's own terms takes the place of the profile's.
        cpu_millis: limits.cpus.map(|cpus| cpus.millis()).or(profile.limits.cpu_millis.filter(|_| !own_time)),
        pids: if more.pids_unlimited { None } else { Some(limits.pids.unwrap_or(profile.limits.pids)) },
        more,
    };
    check(&cgroup, limits.cpus.map(|_| processors()))?;
    Ok(cgroup)
}

/// The mode without control groups: what would be bounded by default is not, and what is asked for is refused.
fn without_groups(limits: &Limits) -> Result<Cgroup, Error> {
    let more = Resources { no_groups: true, pids_unlimited: true, ..Resources::default() };
    let asked = Resources { no_groups: true, pids_unlimited: true, ..limits.more.clone() };
    let bound = limits.memory.is_some() || limits.cpus.is_some() || limits.pids.is_some();
    if bound || asked != more || !limits.devices.is_empty() {
        return Err(Error::Invalid(
            "--cgroups disabled: a limit or a device was asked for, and nothing would hold the container to it: leave \
             one of the two out"
                .into(),
        ));
    }
    Ok(Cgroup { memory: None, cpu_millis: None, pids: None, more })
}

/// How many CPUs this host has.
pub(crate) fn processors() -> u32 {
    // Not what this process may use: a limit is judged by the machine.
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let count = online.trim().parse::<corral_spec::IdList>().map_or(0, |list| list.ids().count());
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Docker's rules, in its words. How many CPUs there are matters to who asks for some: a profile's default may be more
/// than a small host has.
pub(crate) fn check(limits: &Cgroup, processors: Option<u32>) -> Result<(), Error> {
    let more = &limits.more;
    check_memory(limits.memory, more)?;
    check_time(limits, processors)?;
    let weights = more.blkio_weight.into_iter().chain(more.blkio_weight_devices.iter().map(|of| of.weight));
    for weight in weights {
        if !(10..=1000).contains(&weight) {
            return invalid("Range of blkio weight is from 10 to 1000");
        }
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> Result<(), Error> {
    Err(Error::Invalid(message.into()))
}

fn check_memory(memory: Option<u64>, more: &Resources) -> Result<(), Error> {
    if memory.is_some_and(|bytes| bytes < LEAST_MEMORY) {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    match (memory, more.memory_swap) {
        (Some(memory), Some(Swap::Total(total))) if total < memory => {
            return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
        }
        (None, Some(Swap::Total(_))) => {
            return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
        }
        _ => {}
    }
    if more.memory_reservation.is_some_and(|bytes| bytes < LEAST_MEMORY) {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if let (Some(memory), Some(reservation)) = (memory, more.memory_reservation)
        && memory < reservation
    {
        return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if let Some(share) = more.memory_swappiness.filter(|share| *share > 100) {
        return invalid(format!("Invalid value: {share}, valid memory swappiness range is 0-100"));
    }
    if more.oom_kill_disable && memory.is_none() {
        // Without a limit the group would wait for memory that nobody frees: the host hangs, not the container.
        return invalid("OOM killer can be disabled only for a container with a memory limit: add -m");
    }
    Ok(())
}

fn check_time(limits: &Cgroup, processors: Option<u32>) -> Result<(), Error> {
    let Cgroup { cpu_millis, more, .. } = limits;
    let conflict = |what: &str| format!("Conflicting options: Nano CPUs and CPU {what} cannot both be set");
    if cpu_millis.is_some() && more.cpu_period.is_some() {
        return invalid(conflict("Period"));
    }
    if cpu_millis.is_some() && more.cpu_quota.is_some() {
        return invalid(conflict("Quota"));
    }
    if let (Some(millis), Some(processors)) = (*cpu_millis, processors.filter(|count| *count > 0))
        && u64::from(millis) > u64::from(processors) * 1000
    {
        return invalid(format!(
            "Range of CPUs is from 0.01 to {processors}.00, as there are only {processors} CPUs available"
        ));
    }
    if more.cpu_period.is_some_and(|period| !(1000..=1_000_000).contains(&period)) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if more.cpu_quota.is_some_and(|quota| quota != -1 && quota < 1000) {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if more.cpu_shares.is_some_and(|shares| !(2..=262_144).contains(&shares)) {
        return invalid("CPU shares are from 2 to 262144");
    }
    match (more.cpu_rt_period, more.cpu_rt_runtime) {
        (Some(period), Some(runtime)) if runtime > period => {
            invalid("cpu real-time runtime cannot be higher than cpu real-time period")
        }
        _ => Ok(()),
    }
}

/// What an update asks for: nothing leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct LimitChange {
    /// `-m`, bytes.
    pub memory: Option<u64>,
    /// `--cpus`, thousandths.
    pub cpu_millis: Option<u32>,
    /// `--pids-limit`.
    pub pids: Option<u32>,
    /// What few containers have.
    pub more: Resources,
    /// `--restart`: no bound, and changed by the same command.
    pub restart: Option<RestartPolicy>,
}

impl LimitChange {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        !self.has_bounds() && self.restart.is_none()
    }

    /// Whether any bound is asked.
    pub(crate) fn has_bounds(&self) -> bool {
        let Self { memory, cpu_millis, pids, more, restart: _ } = self;
        memory.is_some() || cpu_millis.is_some() || pids.is_some() || !more.is_empty()
    }

    /// The bounds after it.
    pub(crate) fn merge(&self, old: &Cgroup) -> Result<Cgroup, Error> {
        let (asked, was) = (&self.more, &old.more);
        if was.no_groups && self.has_bounds() {
            return Err(Error::Invalid(
                "it has no control group (--cgroups disabled) that would hold it to a limit".into(),
            ));
        }
        if self.cpu_millis.is_some() && (was.cpu_period.is_some() || was.cpu_quota.is_some()) {
            let what = if was.cpu_period.is_some() { "Period" } else { "Quota" };
            let text = format!(
                "Conflicting options: Nano CPUs cannot be updated as CPU {what} has already been set"
            );
            return Err(Error::Invalid(text));
        }
        for (set, what) in [(asked.cpu_period.is_some(), "Period"), (asked.cpu_quota.is_some(), "Quota")] {
            if set && old.cpu_millis.is_some() {
                let text = format!(
                    "Conflicting options: CPU {what} cannot be updated as NanoCPUs has already been set"
                );
                return Err(Error::Invalid(text));
            }
        }
        if let (Some(memory), None, Some(Swap::Total(total))) =
            (self.memory, asked.memory_swap, was.memory_swap)
            && memory > total
        {
            let text = "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at \
                        the same time";
            return Err(Error::Invalid(text.into()));
        }
        let mut more = was.clone();
        macro_rules! take {
            ($($field:ident),*) => { $(if asked.$field.is_some() { more.$field.clone_from(&asked.$field); })* };
        }
        take!(
            memory_swap,
            memory_reservation,
            cpu_shares,
            cpu_period,
            cpu_quota,
            cpu_rt_period,
            cpu_rt_runtime
        );
        take!(cpuset_cpus, cpuset_mems, blkio_weight);
        more.pids_unlimited = self.pids.is_none() && (asked.pids_unlimited || was.pids_unlimited);
        let pids = if more.pids_unlimited { None } else { self.pids.or(old.pids) };
        let new = Cgroup {
            memory: self.memory.or(old.memory),
            cpu_millis: self.cpu_millis.or(old.cpu_millis),
            pids,
            more,
        };
        check(&new, self.cpu_millis.map(|_| processors()))?;
        Ok(new)
    }
}

/// Which kind a device is, from its mode.
pub(crate) fn device_kind(mode: u32) -> Option<DeviceKind> {
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::CharacterDevice => Some(DeviceKind::Char),
        rustix::fs::FileType::BlockDevice => Some(DeviceKind::Block),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(fill: impl FnOnce(&mut Cgroup)) -> Cgroup {
        let mut limits = Cgroup { pids: Some(10), ..Cgroup::default() };
        fill(&mut limits);
        limits
    }

    fn says(limits: &Cgroup, part: &str) {
        match check(limits, Some(2)) {
            Ok(()) => assert_eq!(part, "", "{limits:?}"),
            Err(error) => {
                assert!(!part.is_empty() && error.to_string().contains(part), "{error} for {part:?}")
            }
        }
    }

    #[test]
    fn dockers_rules() {
        says(&limits(|_| {}), "");
        says(&limits(|l| l.memory = Some(1 << 20)), "Minimum memory limit allowed is 6MB");
        says(&limits(|l| l.memory = Some(6 << 20)), "");
        let swap = |memory, total| {
            limits(|l| {
                l.memory = memory;
                l.more.memory_swap = Some(Swap::Total(total));
            })
        };
        says(&swap(Some(8 << 20), 7 << 20), "Minimum memoryswap limit should be larger");
        says(&swap(Some(8 << 20), 8 << 20), "");
        says(&swap(None, 8 << 20), "You should always set the Memory limit");
        let reserved = |memory, soft| {
            limits(|l| {
                l.memory = memory;
                l.more.memory_reservation = Some(soft);
            })
        };
        says(&reserved(None, 1), "Minimum memory reservation allowed is 6MB");
        says(&reserved(Some(7 << 20), 8 << 20), "can not be less than memory reservation");
        says(&limits(|l| l.more.memory_swappiness = Some(101)), "range is 0-100");
        says(&limits(|l| l.more.oom_kill_disable = true), "add -m");
        says(&limits(|l| l.cpu_millis = Some(3000)), "there are only 2 CPUs");
        says(&limits(|l| l.cpu_millis = Some(2001)), "there are only 2 CPUs");
        assert!(check(&limits(|l| l.cpu_millis = Some(3000)), None).is_ok(), "a profile's own");
        says(&limits(|l| l.more.cpu_period = Some(999)), "CPU cfs period");
        says(&limits(|l| l.more.cpu_quota = Some(999)), "CPU cfs quota");
        says(&limits(|l| l.more.cpu_quota = Some(-1)), "");
        says(&limits(|l| l.more.cpu_shares = Some(1)), "CPU shares");
        says(&limits(|l| l.more.blkio_weight = Some(9)), "Range of blkio weight");
        let both = limits(|l| {
            l.cpu_millis = Some(1000);
            l.more.cpu_quota = Some(2000);
        });
        says(&both, "Nano CPUs and CPU Quota cannot both be set");
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name() {
        let old = limits(|l| {
            l.memory = Some(64 << 20);
            l.more.memory_swap = Some(Swap::Total(128 << 20));
            l.more.cpu_shares = Some(512);
        });
        let change = LimitChange { memory: Some(96 << 20), ..LimitChange::default() };
        let new = change.merge(&old).expect("fits");
        assert_eq!((new.memory, new.pids, new.more.cpu_shares), (Some(96 << 20), Some(10), Some(512)));
        let change = LimitChange { memory: Some(256 << 20), ..LimitChange::default() };
        let said = change.merge(&old).expect_err("over the swap limit").to_string();
        assert!(said.contains("smaller than already set memoryswap limit"), "{said}");
        let quota = LimitChange {
            more: Resources { cpu_quota: Some(5000), ..Resources::default() },
            ..LimitChange::default()
        };
        let said =
            quota.merge(&limits(|l| l.cpu_millis = Some(500))).expect_err("two bandwidths").to_string();
        assert!(said.contains("CPU Quota cannot be updated as NanoCPUs"), "{said}");
        let open = LimitChange {
            more: Resources { pids_unlimited: true, ..Resources::default() },
            ..LimitChange::default()
        };
        let new = open.merge(&old).expect("fits");
        assert_eq!((new.pids, new.more.pids_unlimited), (None, true));
        let again = LimitChange { pids: Some(5), ..LimitChange::default() }.merge(&new).expect("fits");
        assert_eq!((again.pids, again.more.pids_unlimited), (Some(5), false));
    }
}
