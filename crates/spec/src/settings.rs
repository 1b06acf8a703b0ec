use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{UserPart, Weaker};

/// What few containers are asked to have beside bounds: names, groups, switches of the container's own kernel
/// namespaces, notes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `--add-host`.
    pub hosts: Vec<HostEntry>,
    /// `--dns`.
    pub dns: Vec<IpAddr>,
    /// `--dns-option`, each one word.
    pub dns_options: Vec<String>,
    /// `--dns-search`: domains; a single `.` is none at all.
    pub dns_search: Vec<String>,
    /// `--domainname`.
    pub domain: Option<String>,
    /// `--group-add`.
    pub groups: Vec<UserPart>,
    /// `--sysctl`.
    pub sysctls: Vec<Sysctl>,
    /// `--annotation`: kept and shown, without effect.
    pub annotations: Vec<(String, String)>,
    /// `--ipc none`: no shared memory at /dev/shm.
    pub no_shm: bool,
    /// `--security-opt seccomp=FILE`: the profile's text, in place of the built-in filter.
    pub seccomp: Option<String>,
    /// Walls that are taken down by name.
    pub weaker: Vec<Weaker>,
}

impl Settings {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A line of /etc/hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// A host name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

/// A text that is no setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingError(String);

/// Whether a text is a host or domain name: labels of letters, digits, `-` and `_` between dots.
pub fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

impl FromStr for HostEntry {
    type Err = SettingError;

    /// `NAME:ADDRESS` or `NAME=ADDRESS`, an IPv6 address also in brackets.
    fn from_str(text: &str) -> Result<Self, SettingError> {
        let shown: String = text.chars().take(300).collect();
        let (name, address) = text
            .split_once('=')
            .or_else(|| text.split_once(':'))
            .filter(|(name, _)| is_host_name(name))
            .ok_or_else(|| SettingError(format!("bad format for add-host: {shown:?}")))?;
        if address == "host-gateway" {
            let text = "host-gateway needs a network with a gateway, and there is none yet; give an address";
            return Err(SettingError(format!("add-host {shown:?}: {text}")));
        }
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let address =
            bare.parse().map_err(|_| SettingError(format!("invalid IP address in add-host: {address:?}")))?;
        Ok(Self { name: name.to_owned(), address })
    }
}

/// A switch of the kernel that belongs to the container's own namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(String, String)", into = "(String, String)")]
pub struct Sysctl {
    name: String,
    value: String,
}

/// Those of an IPC namespace (ipc/ipc_sysctl.c); with them everything below fs.mqueue.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

impl Sysctl {
    /// As written, with dots or slashes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether it belongs to the network namespace.
    pub fn is_network(&self) -> bool {
        self.dotted().starts_with("net.")
    }

    /// The file below /proc/sys. In the form with slashes a dot is part of a name, such as an interface's.
    pub fn path(&self) -> String {
        if self.is_slashed() { self.name.clone() } else { self.name.replace('.', "/") }
    }

    /// Whichever separator comes first is the separator (sysctl(8)).
    fn is_slashed(&self) -> bool {
        self.name.find(['.', '/']).is_some_and(|at| self.name.as_bytes()[at] == b'/')
    }

    fn dotted(&self) -> String {
        if self.is_slashed() { self.name.replace('/', ".") } else { self.name.clone() }
    }
}

impl TryFrom<(String, String)> for Sysctl {
    type Error = SettingError;

    fn try_from((name, value): (String, String)) -> Result<Self, SettingError> {
        let sysctl = Self { name, value };
        let shown: String = sysctl.name.chars().take(100).collect();
        let path = sysctl.path();
        let letters = |part: &str| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:@".contains(&b))
        };
        if !path.split('/').all(letters) || sysctl.value.contains(['\0', '\n']) {
            return Err(SettingError(format!("sysctl {shown:?}: expected NAME=VALUE")));
        }
        let dotted = sysctl.dotted();
        if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") || dotted.starts_with("net.") {
            return Ok(sysctl);
        }
        Err(SettingError(format!(
            "sysctl {shown:?} is not in a separate kernel namespace: it would change the host's; a container can have \
             net.*, fs.mqueue.* and {}",
            IPC.join(", ")
        )))
    }
}

impl From<Sysctl> for (String, String) {
    fn from(sysctl: Sysctl) -> Self {
        (sysctl.name, sysctl.value)
    }
}

impl FromStr for Sysctl {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            SettingError(format!(
                "sysctl {:?}: expected NAME=VALUE",
                text.chars().take(100).collect::<String>()
            ))
        })?;
        Self::try_from((name.to_owned(), value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_hosts() {
        let check = |text: &str| {
            text.parse::<HostEntry>().map(|entry| format!("{} {}", entry.address, entry.name)).ok()
        };
        assert_eq!(check("db:10.0.0.1").as_deref(), Some("10.0.0.1 db"));
        assert_eq!(check("db=::1").as_deref(), Some("::1 db"));
        assert_eq!(check("db:[::1]").as_deref(), Some("::1 db"));
        assert_eq!(check("my_db.local:::1").as_deref(), Some("::1 my_db.local"));
        for bad in [
            "",
            "db",
            "db:",
            "db:x",
            ":1.2.3.4",
            "a b:1.2.3.4",
            "a\n1.1.1.1 b:1.2.3.4",
            "db:host-gateway",
            "-:1.2.3.4",
        ] {
            assert_eq!(check(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_switches_of_the_containers_own_namespaces() {
        let path = |text: &str| text.parse::<Sysctl>().map(|sysctl| sysctl.path()).ok();
        assert_eq!(path("net.core.somaxconn=10").as_deref(), Some("net/core/somaxconn"));
        assert_eq!(
            path("net/ipv4/conf/eth0.1/forwarding=1").as_deref(),
            Some("net/ipv4/conf/eth0.1/forwarding")
        );
        assert_eq!(path("kernel.shmmax=1").as_deref(), Some("kernel/shmmax"));
        assert_eq!(path("fs.mqueue.msg_max=1").as_deref(), Some("fs/mqueue/msg_max"));
        for bad in [
            "kernel.core_pattern=|/x",
            "vm.swappiness=1",
            "net.core.x",
            "net..x=1",
            "net/../kernel/core_pattern=x",
            "net/./../kernel=1",
            "fs.mqueue/../x=1",
            "kernel.shmmaxx=1",
            "net.a\n=1",
            "=1",
        ] {
            assert_eq!(path(bad), None, "{bad:?}");
        }
        assert!(serde_json::from_str::<Sysctl>(r#"["kernel.hostname","x"]"#).is_err());
    }
}
