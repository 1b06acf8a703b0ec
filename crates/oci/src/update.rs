//! `update`: other limits for a container that is there.

use std::fs;
use std::path::PathBuf;

use corral_runtime::bundle;

use crate::config::{Pids, Resources};
use crate::state::{Container, Status};
use crate::{Error, Runtime, resources};

/// What `update` is told; none leaves a limit as it is.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// A file with linux.resources.
    pub resources: Option<PathBuf>,
    /// Bytes; -1 is none.
    pub memory: Option<i64>,
    /// Bytes of the soft limit.
    pub memory_reservation: Option<i64>,
    /// Bytes of memory and swap together; -1 is none.
    pub memory_swap: Option<i64>,
    /// Relative weight.
    pub cpu_shares: Option<u64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// Microseconds in each period.
    pub cpu_quota: Option<i64>,
    /// CPUs.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    pub cpuset_mems: Option<String>,
    /// Tasks; -1 is none.
    pub pids_limit: Option<i64>,
    /// Relative weight of block input and output.
    pub blkio_weight: Option<u16>,
}

impl Runtime {
    /// Writes the new limits.
    ///
    /// # Errors
    /// [`Error::State`] if the container has stopped; what the host cannot enforce.
    pub fn update(&self, id: &str, limits: &Limits) -> Result<(), Error> {
        let (container, _lock) = Container::find_locked(&self.root, id)?;
        if container.status()? == Status::Stopped {
            return Err(Error::State("container not running".to_owned()));
        }
        let mut asked: Resources = match &limits.resources {
            Some(path) => {
                let read = if path.as_os_str() == "-" {
                    std::io::read_to_string(std::io::stdin())
                } else {
                    fs::read_to_string(path)
                };
                let text = read.map_err(Error::file("read", path))?;
                serde_json::from_str(&text).map_err(|source| Error::Json { path: path.clone(), source })?
            }
            None => Resources::default(),
        };
        let (memory, cpu) = (&mut asked.memory, &mut asked.cpu);
        memory.limit = limits.memory.or(memory.limit);
        memory.reservation = limits.memory_reservation.or(memory.reservation);
        memory.swap = limits.memory_swap.or(memory.swap);
        cpu.shares = limits.cpu_shares.or(cpu.shares);
        cpu.period = limits.cpu_period.or(cpu.period);
        cpu.quota = limits.cpu_quota.or(cpu.quota);
        cpu.cpus = limits.cpuset_cpus.clone().unwrap_or(std::mem::take(&mut cpu.cpus));
        cpu.mems = limits.cpuset_mems.clone().unwrap_or(std::mem::take(&mut cpu.mems));
        asked.block_io.weight = limits.blkio_weight.or(asked.block_io.weight);
        if let Some(limit) = limits.pids_limit {
            asked.pids = Some(Pids { limit: Some(limit) });
        }
        let group = container.record.group();
        bundle::write(&group, &resources::values(&asked)?)?;
        let devices = resources::devices(&asked.devices)?;
        if devices.is_empty() { Ok(()) } else { Ok(bundle::enforce_devices(&group, &devices)?) }
    }
}
