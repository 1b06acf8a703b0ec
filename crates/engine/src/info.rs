use std::path::Path;

use crate::{Engine, Error, State};

/// What there is to say of an installation and its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Containers that run, are paused, and neither.
    pub running: usize,
    /// Frozen ones.
    pub paused: usize,
    /// All others.
    pub stopped: usize,
    /// Images, each counted once.
    pub images: usize,
    /// `1`, or `2` where cgroup2 alone is mounted.
    pub cgroup_version: &'static str,
    /// Whether cgroup2 is mounted beside v1 controllers.
    pub cgroup_hybrid: bool,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution's name, empty where it does not say.
    pub os: String,
    /// As `uname -m` prints it.
    pub machine: String,
    /// The host's name.
    pub name: String,
    /// Processors that this process may use.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory: u64,
}

impl Engine {
    /// Looks around.
    ///
    /// # Errors
    /// When a record or the store cannot be read.
    pub fn info(&self) -> Result<Info, Error> {
        let mut info = Info { images: self.image_count()?, ..host() };
        for view in self.list()? {
            *match view.state {
                State::Running(_) => &mut info.running,
                State::Paused(_) => &mut info.paused,
                _ => &mut info.stopped,
            } += 1;
        }
        Ok(info)
    }

    fn image_count(&self) -> Result<usize, Error> {
        let images = self.store.list()?.into_iter().map(|image| image.id);
        Ok(images.collect::<std::collections::BTreeSet<_>>().len())
    }
}

fn host() -> Info {
    let cgroup2 = |path: &str| {
        Path::new(path).join("cgroup.procs").exists() && Path::new(path).join("cgroup.controllers").exists()
    };
    let pure = cgroup2("/sys/fs/cgroup");
    let name = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let system = rustix::system::sysinfo();
    Info {
        cgroup_version: if pure { "2" } else { "1" },
        cgroup_hybrid: !pure && cgroup2("/sys/fs/cgroup/unified"),
        kernel: text(name.release()),
        machine: text(name.machine()),
        name: text(name.nodename()),
        os: std::fs::read_to_string("/etc/os-release").map(|text| pretty_name(&text)).unwrap_or_default(),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        memory: (system.totalram as u64).saturating_mul(system.mem_unit.into()),
        ..Info::default()
    }
}

/// `PRETTY_NAME="…"` of os-release(5).
fn pretty_name(text: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default();
    value.trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_says_its_name() {
        for (text, expect) in [
            ("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", "Debian GNU/Linux 12 (bookworm)"),
            ("PRETTY_NAME='Alpine'", "Alpine"),
            ("NAME=x", ""),
        ] {
            assert_eq!(pretty_name(text), expect);
        }
    }

    #[test]
    fn the_host_has_a_kernel_and_memory() {
        let host = host();
        assert!(host.kernel.starts_with(|c: char| c.is_ascii_digit()), "{host:?}");
        assert!(host.memory > 1 << 20 && host.cpus > 0, "{host:?}");
    }
}
