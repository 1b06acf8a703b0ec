//! linux.resources as the files of control groups, v1 and v2. A value of 0 that the specification gives no meaning is
//! "not set", as Go's writers of configurations leave it.

use corral_runtime::bundle::{DeviceAct, Value};
use corral_spec::{DeviceAccess, DeviceKind, DeviceRule};

use crate::Error;
use crate::config::{BlockIo, Cpu, DeviceCgroup, Memory, Resources, Throttle, WeightDevice};

/// Every value, to be written in this order.
pub(crate) fn values(resources: &Resources) -> Result<Vec<Value>, Error> {
    let mut found = Values::default();
    memory(&mut found, &resources.memory)?;
    cpu(&mut found, &resources.cpu);
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit).filter(|&limit| limit != 0) {
        let text = if limit < 0 { "max".to_owned() } else { limit.to_string() };
        found.both("pids.limit", "pids", "pids.max", &text);
    }
    block_io(&mut found, &resources.block_io);
    for page in &resources.hugepage_limits {
        let (v1, v2) =
            (format!("hugetlb.{}.limit_in_bytes", page.page_size), format!("hugetlb.{}.max", page.page_size));
        let limit = page.limit.to_string();
        found.add("hugepageLimits", "hugetlb", Some((&v1, limit.clone())), Some((&v2, limit)));
    }
    if let Some(class) = resources.network.class {
        found.add("network.classID", "net_cls", Some(("net_cls.classid", class.to_string())), None);
    }
    for priority in &resources.network.priorities {
        let line = format!("{} {}", priority.name, priority.priority);
        found.add("network.priorities", "net_prio", Some(("net_prio.ifpriomap", line)), None);
    }
    for (device, limits) in &resources.rdma {
        let part =
            |name: &str, value: Option<u32>| value.map_or(String::new(), |value| format!(" {name}={value}"));
        let line = format!(
            "{device}{}{}",
            part("hca_handle", limits.hca_handles),
            part("hca_object", limits.hca_objects)
        );
        found.both("rdma", "rdma", "rdma.max", &line);
    }
    for (file, text) in &resources.unified {
        if file.contains('/') || !file.contains('.') {
            return Err(Error::Invalid(format!("resources.unified {file:?} is not the name of a file")));
        }
        let controller = file.split('.').next().unwrap_or_default().to_owned();
        found.0.push(Value { name: "unified", controller, v1: None, v2: Some((file.clone(), text.clone())) });
    }
    Ok(found.0)
}

#[derive(Default)]
struct Values(Vec<Value>);

impl Values {
    fn add(
        &mut self,
        name: &'static str,
        controller: &str,
        v1: Option<(&str, String)>,
        v2: Option<(&str, String)>,
    ) {
        let own = |(file, text): (&str, String)| (file.to_owned(), text);
        self.0.push(Value { name, controller: controller.to_owned(), v1: v1.map(own), v2: v2.map(own) });
    }

    /// The same file in both versions.
    fn both(&mut self, name: &'static str, controller: &str, file: &str, text: &str) {
        self.add(name, controller, Some((file, text.to_owned())), Some((file, text.to_owned())));
    }
}

fn max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn memory(found: &mut Values, memory: &Memory) -> Result<(), Error> {
    let set = |value: Option<i64>| value.filter(|&value| value != 0);
    if memory.check_before_update == Some(true) {
        return Err(Error::unsupported("memory.checkBeforeUpdate", "the kernel refuses or reclaims"));
    }
    if let Some(limit) = set(memory.limit) {
        let v1 = ("memory.limit_in_bytes", limit.to_string());
        found.add("memory.limit", "memory", Some(v1), Some(("memory.max", max(limit))));
    }
    if let Some(swap) = set(memory.swap) {
        let limit = set(memory.limit).unwrap_or(0);
        if swap > 0 && limit > 0 && swap < limit {
            return Err(Error::Invalid(
                "memory.swap is memory and swap together: it cannot be below memory.limit".into(),
            ));
        }
        let alone = if swap < 0 { "max".to_owned() } else { (swap - limit.max(0)).to_string() };
        let v1 = ("memory.memsw.limit_in_bytes", swap.to_string());
        found.add("memory.swap", "memory", Some(v1), Some(("memory.swap.max", alone)));
    }
    if let Some(reservation) = set(memory.reservation) {
        let v1 = ("memory.soft_limit_in_bytes", reservation.to_string());
        found.add("memory.reservation", "memory", Some(v1), Some(("memory.low", max(reservation))));
    }
    if let Some(kernel) = set(memory.kernel) {
        found.add("memory.kernel", "memory", Some(("memory.kmem.limit_in_bytes", kernel.to_string())), None);
    }
    if let Some(kernel) = set(memory.kernel_tcp) {
        found.add(
            "memory.kernelTCP",
            "memory",
            Some(("memory.kmem.tcp.limit_in_bytes", kernel.to_string())),
            None,
        );
    }
    if let Some(swappiness) = memory.swappiness {
        found.add("memory.swappiness", "memory", Some(("memory.swappiness", swappiness.to_string())), None);
    }
    if memory.disable_oom_killer == Some(true) {
        found.add("memory.disableOOMKiller", "memory", Some(("memory.oom_control", "1".to_owned())), None);
    }
    if memory.use_hierarchy == Some(false) {
        found.add("memory.useHierarchy", "memory", Some(("memory.use_hierarchy", "0".to_owned())), None);
    }
    Ok(())
}

fn cpu(found: &mut Values, cpu: &Cpu) {
    let set = |value: Option<u64>| value.filter(|&value| value != 0);
    if let Some(shares) = set(cpu.shares) {
        // 2..=262144 to 1..=10000, as everybody does.
        let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
        found.add(
            "cpu.shares",
            "cpu",
            Some(("cpu.shares", shares.to_string())),
            Some(("cpu.weight", weight.to_string())),
        );
    }
    let (period, quota) = (set(cpu.period), cpu.quota.filter(|&quota| quota != 0));
    if let Some(period) = period {
        let v2 = format!("{} {period}", quota.map_or("max".to_owned(), max));
        found.add(
            "cpu.period",
            "cpu",
            Some(("cpu.cfs_period_us", period.to_string())),
            Some(("cpu.max", v2)),
        );
    }
    if let Some(quota) = quota {
        let v2 = period.map_or_else(|| max(quota), |period| format!("{} {period}", max(quota)));
        found.add("cpu.quota", "cpu", Some(("cpu.cfs_quota_us", quota.to_string())), Some(("cpu.max", v2)));
    }
    if let Some(burst) = cpu.burst {
        let burst = burst.to_string();
        found.add(
            "cpu.burst",
            "cpu",
            Some(("cpu.cfs_burst_us", burst.clone())),
            Some(("cpu.max.burst", burst)),
        );
    }
    if let Some(period) = set(cpu.realtime_period) {
        found.add("cpu.realtimePeriod", "cpu", Some(("cpu.rt_period_us", period.to_string())), None);
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|&runtime| runtime != 0) {
        found.add("cpu.realtimeRuntime", "cpu", Some(("cpu.rt_runtime_us", runtime.to_string())), None);
    }
    for (name, file, list) in [("cpu.cpus", "cpuset.cpus", &cpu.cpus), ("cpu.mems", "cpuset.mems", &cpu.mems)]
    {
        if !list.is_empty() {
            found.both(name, "cpuset", file, list);
        }
    }
    if let Some(idle) = cpu.idle {
        found.both("cpu.idle", "cpu", "cpu.idle", &idle.to_string());
    }
}

fn block_io(found: &mut Values, io: &BlockIo) {
    let set = |weight: Option<u16>| weight.filter(|&weight| weight != 0);
    // 10..=1000 to 1..=10000.
    let wide = |weight: u16| 1 + (u64::from(weight).clamp(10, 1000) - 10) * 9999 / 990;
    if let Some(weight) = set(io.weight) {
        let v1 = ("blkio.bfq.weight", weight.to_string());
        found.add("blockIO.weight", BLKIO, Some(v1), Some(("io.weight", wide(weight).to_string())));
    }
    // Only the CFQ scheduler, gone since Linux 5.0, had leaves: where its file is missing the error names it.
    if let Some(weight) = set(io.leaf_weight) {
        found.add("blockIO.leafWeight", BLKIO, Some(("blkio.leaf_weight", weight.to_string())), None);
    }
    for WeightDevice { major, minor, weight, leaf_weight } in &io.weight_device {
        let line = |weight: &dyn std::fmt::Display| format!("{major}:{minor} {weight}");
        if let Some(weight) = set(*weight) {
            let v1 = ("blkio.bfq.weight_device", line(&weight));
            let v2 = ("io.weight", line(&wide(weight)));
            found.add("blockIO.weightDevice", BLKIO, Some(v1), Some(v2));
        }
        if let Some(weight) = set(*leaf_weight) {
            let v1 = ("blkio.leaf_weight_device", line(&weight));
            found.add("blockIO.weightDevice.leafWeight", BLKIO, Some(v1), None);
        }
    }
    let throttles: [(&str, &str, &Vec<Throttle>); 4] = [
        ("read_bps_device", "rbps", &io.throttle_read_bps_device),
        ("write_bps_device", "wbps", &io.throttle_write_bps_device),
        ("read_iops_device", "riops", &io.throttle_read_iops_device),
        ("write_iops_device", "wiops", &io.throttle_write_iops_device),
    ];
    for (v1, v2, list) in throttles {
        for Throttle { major, minor, rate } in list {
            let v1 = format!("blkio.throttle.{v1}");
            let line = Some((v1.as_str(), format!("{major}:{minor} {rate}")));
            found.add(
                "blockIO.throttle",
                BLKIO,
                line,
                Some(("io.max", format!("{major}:{minor} {v2}={rate}"))),
            );
        }
    }
}

/// The v1 name; a host without that hierarchy is asked by file.
const BLKIO: &str = "blkio";

/// Device rules in order, and then those of the devices that every container has.
pub(crate) fn devices(rules: &[DeviceCgroup]) -> Result<Vec<DeviceAct>, Error> {
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    let mut acts = rules.iter().map(device).collect::<Result<Vec<_>, _>>()?;
    let kind = Some(DeviceKind::Char);
    let own = corral_runtime::OWN_DEVICES.map(|(major, minor)| DeviceRule {
        kind,
        major: Some(major),
        minor,
        access: DeviceAccess::ALL,
    });
    acts.extend(own.map(|rule| DeviceAct { allow: true, rule }));
    // To make a node is not to open it.
    let access = DeviceAccess { read: false, write: false, mknod: true };
    let make = DeviceRule { kind: None, major: None, minor: None, access };
    acts.push(DeviceAct { allow: true, rule: make });
    Ok(acts)
}

fn device(rule: &DeviceCgroup) -> Result<DeviceAct, Error> {
    let fail = |reason: String| Error::Invalid(format!("linux.resources.devices: {reason}"));
    let kind = match rule.kind.as_str() {
        "" | "a" => None,
        "c" => Some(DeviceKind::Char),
        "b" => Some(DeviceKind::Block),
        other => return Err(fail(format!("type {other:?} is none of a, b, c"))),
    };
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => {
            u32::try_from(number).map(Some).map_err(|_| fail(format!("number {number} is out of range")))
        }
    };
    let access = match rule.access.as_str() {
        "" => DeviceAccess::ALL,
        text => text.parse().map_err(|_| fail(format!("access {text:?} is not made of r, w, m")))?,
    };
    Ok(DeviceAct {
        allow: rule.allow,
        rule: DeviceRule { kind, major: number(rule.major)?, minor: number(rule.minor)?, access },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, v1: &[(&str, &str)], v2: &[(&str, &str)]) {
        let resources: Resources = serde_json::from_str(json).unwrap();
        let values = values(&resources).unwrap();
        let pick = |of: fn(&Value) -> &Option<(String, String)>| -> Vec<(String, String)> {
            values.iter().filter_map(|value| of(value).clone()).collect()
        };
        let own = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect()
        };
        assert_eq!(pick(|value| &value.v1), own(v1), "{json}");
        assert_eq!(pick(|value| &value.v2), own(v2), "{json}");
    }

    #[test]
    fn values_as_the_kernel_spells_them() {
        check("{}", &[], &[]);
        check(
            r#"{"memory":{"limit":100,"swap":300,"disableOOMKiller":false}}"#,
            &[("memory.limit_in_bytes", "100"), ("memory.memsw.limit_in_bytes", "300")],
            &[("memory.max", "100"), ("memory.swap.max", "200")],
        );
        check(
            r#"{"cpu":{"shares":1024,"quota":50000,"period":100000}}"#,
            &[("cpu.shares", "1024"), ("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000")],
            &[("cpu.weight", "39"), ("cpu.max", "50000 100000"), ("cpu.max", "50000 100000")],
        );
        check(r#"{"pids":{"limit":-1}}"#, &[("pids.max", "max")], &[("pids.max", "max")]);
        check(
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":7}]}}"#,
            &[("blkio.throttle.read_bps_device", "8:0 7")],
            &[("io.max", "8:0 rbps=7")],
        );
        check(
            r#"{"blockIO":{"weight":10,"leafWeight":5,"weightDevice":[{"major":8,"minor":1,"weight":1000,"leafWeight":6}]}}"#,
            &[
                ("blkio.bfq.weight", "10"),
                ("blkio.leaf_weight", "5"),
                ("blkio.bfq.weight_device", "8:1 1000"),
                ("blkio.leaf_weight_device", "8:1 6"),
            ],
            &[("io.weight", "1"), ("io.weight", "8:1 10000")],
        );
        check(r#"{"unified":{"memory.high":"5"}}"#, &[], &[("memory.high", "5")]);
        check(
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":9}]}"#,
            &[("hugetlb.2MB.limit_in_bytes", "9")],
            &[("hugetlb.2MB.max", "9")],
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for json in [r#"{"memory":{"limit":300,"swap":100}}"#, r#"{"unified":{"../x":"1"}}"#] {
            assert!(values(&serde_json::from_str(json).unwrap()).is_err(), "{json}");
        }
        let rule = |json: &str| devices(&[serde_json::from_str(json).unwrap()]);
        assert!(rule(r#"{"allow":true,"type":"x"}"#).is_err());
        assert!(rule(r#"{"allow":true,"access":"rq"}"#).is_err());
        assert_eq!(rule(r#"{"allow":false,"access":"rwm"}"#).unwrap().len(), 11);
    }
}
