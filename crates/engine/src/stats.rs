use corral_runtime::{ControlGroup, Usage};
use corral_spec::record::Status;
use corral_spec::{ContainerId, NetworkMode};

use crate::{Engine, Error};

/// What a container uses at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Of its control groups and processes.
    pub usage: Usage,
    /// Its memory limit, or the host's memory.
    pub memory_limit: Option<u64>,
    /// Bytes received and sent by its network interfaces but the loopback; none with the host's network, whose
    /// numbers are not the container's.
    pub network: Option<(u64, u64)>,
}

impl Engine {
    /// Reads what a container uses; none if it does not run.
    ///
    /// # Errors
    /// When its records or groups cannot be read.
    pub fn sample(&self, id: &ContainerId) -> Result<Option<Sample>, Error> {
        let Some(view) = self.view(id)? else { return Ok(None) };
        let Some(status) = view.state.status() else { return Ok(None) };
        let launch = match self.launch(id) {
            Err(Error::NoContainer(_)) => return Ok(None),
            launch => launch?,
        };
        let group = ControlGroup::of(status);
        let network = match launch.network {
            NetworkMode::None => network(status),
            NetworkMode::Host => None,
        };
        let usage = group.usage()?;
        // A container that ended meanwhile has no numbers, and its groups read as nothing.
        if usage == Usage::default() {
            return Ok(None);
        }
        Ok(Some(Sample { usage, memory_limit: launch.cgroup.memory.or_else(host_memory), network }))
    }
}

fn network(status: &Status) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{}/net/dev", status.init.pid)).ok()?;
    // The number may have been given to another process since.
    corral_runtime::find_process(&status.init).ok()??;
    Some(interfaces(&text))
}

/// /proc/net/dev: two lines of head, then a name and sixteen numbers, the received bytes first, the sent ninth.
fn interfaces(text: &str) -> (u64, u64) {
    text.lines().skip(2).filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo").fold(
        (0, 0),
        |(received, sent), (_, numbers)| {
            let mut numbers = numbers.split_ascii_whitespace().map(|number| number.parse().unwrap_or(0));
            let (first, ninth): (u64, u64) = (numbers.next().unwrap_or(0), numbers.nth(7).unwrap_or(0));
            (received.saturating_add(first), sent.saturating_add(ninth))
        },
    )
}

fn host_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_does_not_count() {
        let text = "Inter-|   Receive |  Transmit\n face |bytes packets\n\
                        lo:     100 1 0 0 0 0 0 0      100 1 0 0 0 0 0 0\n\
                      eth0: 1000 7 0 0 0 0 0 0  20 2 0 0 0 0 0 0\n  eth1:5 0 0 0 0 0 0 0 6 0 0 0 0 0 0 0\n";
        assert_eq!(interfaces(text), (1005, 26));
        assert_eq!(interfaces(""), (0, 0));
    }
}
