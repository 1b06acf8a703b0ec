//! Flags for names, groups, volumes, logs, kernel switches, notes and streams that few commands have; as [`crate::limit_flags`], they
//! are known only when one was typed.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use corral_spec::record::LogDriver;
use corral_spec::{ContainerId, ContainerSpec, RestartPolicy, Settings, Weaker, is_host_name};

use crate::Failure;
use crate::failure::ENGINE;
use crate::health_flags::HealthFlags;
use crate::weaker;

/// As typed.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct SettingFlags {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_name = "HOST:IP")]
    add_host: Vec<String>,
    /// Add an annotation to the container
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "STREAM")]
    attach: Vec<String>,
    /// Cgroup namespace to use: private, or host, a weaker mode
    #[arg(long, value_name = "MODE")]
    cgroupns: Option<String>,
    /// Write the container ID to the file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Skip image verification
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_content_trust: Option<bool>,
    /// Set custom DNS servers
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// Set DNS options
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Container NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Add additional groups to join
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// IPC mode to use: private or none, or host, a weaker mode
    #[arg(long, value_name = "MODE")]
    ipc: Option<String>,
    /// Read in a line delimited file of labels
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// Logging driver for the container
    #[arg(long, value_name = "NAME")]
    log_driver: Option<String>,
    /// Log driver options
    #[arg(long, value_name = "KEY=VALUE")]
    log_opt: Vec<String>,
    /// Say that a container may run with --privileged; =host-root if it has the host's user ids too
    #[arg(long, value_name = "host-root", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    confirm_privileged: Option<String>,
    /// PID namespace to use: private, or host, a weaker mode
    #[arg(long, value_name = "MODE")]
    pid: Option<String>,
    /// Take down every wall inside of the user namespace, a weaker mode; needs --confirm-privileged
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    privileged: Option<bool>,
    /// Set platform; it must be the host's
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Pull image before running: missing or never
    #[arg(long, value_name = "WHEN")]
    pull: Option<String>,
    #[command(flatten)]
    health: HealthFlags,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "POLICY")]
    restart: Option<RestartPolicy>,
    /// Security Options
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Sysctl options
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// UTS namespace to use: private, or host, a weaker mode
    #[arg(long, value_name = "MODE")]
    uts: Option<String>,
    /// Mount volumes from the specified container(s)
    #[arg(long, value_name = "CONTAINER[:ro]")]
    volumes_from: Vec<corral_spec::VolumesFrom>,
}

/// Which streams a foreground command joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

fn bad(message: impl std::fmt::Display) -> Failure {
    Failure::with_code(ENGINE, message)
}

/// Docker's form for a value that a flag cannot have.
fn argument(flag: &str, value: &str, why: impl std::fmt::Display) -> Failure {
    bad(format!("invalid argument {value:?} for \"--{flag}\" flag: {why}"))
}

impl SettingFlags {
    pub(crate) fn fill(&self, spec: &mut ContainerSpec) -> Result<(), Failure> {
        let security = weaker::security(&self.security_opt)?;
        let mut named = self.namespaces()?;
        named.extend(weaker::privileged(self.privileged, self.confirm_privileged.as_deref())?);
        named.extend(security.weaker);
        if named.contains(&Weaker::UtsHost) && (spec.hostname.is_some() || self.domainname.is_some()) {
            return Err(bad("conflicting options: hostname and the UTS mode"));
        }
        let mut labels = Vec::new();
        for file in &self.label_file {
            let text = std::fs::read_to_string(file)
                .map_err(|error| bad(format!("label file {}: {error}", file.display())))?;
            let lines =
                text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
            labels.extend(lines.map(pair));
        }
        // A flag's label wins over a file's.
        labels.append(&mut spec.labels);
        spec.labels = labels;
        spec.volumes_from.clone_from(&self.volumes_from);
        spec.log_driver =
            self.log_driver.as_deref().filter(|name| !name.is_empty()).map(log_driver).transpose()?;
        spec.log_opts = self.log_opt.iter().map(|text| log_opt(text)).collect::<Result<_, _>>()?;
        let domain = |name: &String| match is_host_name(name) {
            true => Ok(name.clone()),
            false => Err(argument("domainname", name, "it is not a domain name")),
        };
        spec.health = self.health.request()?;
        spec.restart = self.restart.unwrap_or_default();
        if spec.remove && !spec.restart.is_no() {
            return Err(bad("conflicting options: cannot specify both --restart and --rm"));
        }
        spec.settings = Settings {
            hosts: parse(&self.add_host)?,
            dns: self.dns.iter().map(|text| address(text)).collect::<Result<_, _>>()?,
            dns_options: self.dns_option.iter().map(|text| word(text)).collect::<Result<_, _>>()?,
            dns_search: self.dns_search.iter().map(|text| search(text)).collect::<Result<_, _>>()?,
            domain: self.domainname.as_ref().map(domain).transpose()?,
            groups: self.group_add.iter().map(|text| group(text)).collect::<Result<_, _>>()?,
            sysctls: parse(&self.sysctl)?,
            annotations: self.annotation.iter().map(|text| pair(text)).collect(),
            no_shm: self.ipc.as_deref() == Some("none"),
            seccomp: security.seccomp,
            weaker: named,
        };
        Ok(())
    }

    /// The namespaces of the host that are shared.
    fn namespaces(&self) -> Result<Vec<Weaker>, Failure> {
        let modes = [
            ("cgroupns", &self.cgroupns, &["private"][..], Weaker::CgroupHost),
            ("ipc", &self.ipc, &["private", "none"][..], Weaker::IpcHost),
            ("pid", &self.pid, &["private"][..], Weaker::PidHost),
            ("uts", &self.uts, &["private"][..], Weaker::UtsHost),
        ];
        let mode = |(flag, mode, own, shared): (_, &Option<String>, _, _)| {
            weaker::namespace(flag, mode.as_deref(), own, shared).transpose()
        };
        modes.into_iter().filter_map(mode).collect()
    }

    /// What is asked of the image before anything is made.
    pub(crate) fn check_image(&self, image: &str, architecture: &str) -> Result<(), Failure> {
        match self.pull.as_deref() {
            None | Some("" | "missing" | "never") => {}
            Some("always") => {
                return Err(bad(
                    "--pull always: there are no registries to pull from yet; pack or load the image",
                ));
            }
            Some(other) => {
                return Err(bad(format!(
                    "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
                )));
            }
        }
        if self.disable_content_trust == Some(false) {
            return Err(bad(
                "--disable-content-trust=false: images are not verified by content trust here; leave the flag out",
            ));
        }
        let host = corral_engine::architecture();
        let Some(platform) = self.platform.as_deref().filter(|platform| !platform.is_empty()) else {
            return Ok(());
        };
        let mut parts = platform.split('/');
        let (os, wanted) = (parts.next(), parts.next().unwrap_or(architecture));
        if os == Some("linux") && wanted == architecture && wanted == host {
            return Ok(());
        }
        Err(bad(format!(
            "image {image} was found but does not provide the specified platform ({platform}): it is for \
             linux/{architecture}, and this host is linux/{host}"
        )))
    }

    /// The streams that `-a` names; without it all, standard input if it is kept open.
    pub(crate) fn streams(&self, interactive: bool, detach: bool) -> Result<Streams, Failure> {
        if self.attach.is_empty() {
            return Ok(Streams { stdin: interactive, stdout: true, stderr: true });
        }
        if detach {
            return Err(bad("conflicting options: cannot specify both --attach and --detach"));
        }
        let mut streams = Streams { stdin: false, stdout: false, stderr: false };
        for name in &self.attach {
            match name.to_ascii_lowercase().as_str() {
                "stdin" => streams.stdin = interactive,
                "stdout" => streams.stdout = true,
                "stderr" => streams.stderr = true,
                _ => return Err(argument("attach", name, "valid streams are STDIN, STDOUT and STDERR")),
            }
        }
        Ok(streams)
    }

    /// `--cidfile`.
    pub(crate) fn cidfile(&self) -> Option<&Path> {
        self.cidfile.as_deref()
    }

    /// Takes the file of `--cidfile`, which must not be there yet.
    pub(crate) fn take_cidfile(&self) -> Result<Option<CidFile>, Failure> {
        let Some(path) = &self.cidfile else { return Ok(None) };
        match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
            Ok(file) => Ok(Some(CidFile { path: path.clone(), file, written: false })),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(bad(format!(
                "container ID file found, make sure the other container isn't running or delete {}",
                path.display()
            ))),
            Err(error) => {
                Err(bad(format!("failed to create the container ID file {}: {error}", path.display())))
            }
        }
    }
}

/// The file that will hold the id; removed if it never does.
#[derive(Debug)]
pub(crate) struct CidFile {
    path: PathBuf,
    file: std::fs::File,
    written: bool,
}

impl CidFile {
    pub(crate) fn write(mut self, id: &ContainerId) -> Result<(), Failure> {
        self.file.write_all(id.as_str().as_bytes()).map_err(|error| {
            bad(format!("failed to write the container ID to {}: {error}", self.path.display()))
        })?;
        self.written = true;
        Ok(())
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if !self.written {
            // What it was made for has failed and is told; an empty file is the least of it.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

fn parse<T: std::str::FromStr<Err = corral_spec::SettingError>>(texts: &[String]) -> Result<Vec<T>, Failure> {
    texts.iter().map(|text| text.parse().map_err(bad)).collect()
}

fn log_driver(name: &str) -> Result<LogDriver, Failure> {
    LogDriver::by_name(name).ok_or_else(|| {
        let known = LogDriver::ALL.map(LogDriver::as_str).join(", ");
        bad(format!("logger: no log driver named '{name}' is registered (there are {known})"))
    })
}

fn log_opt(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(bad(format!("invalid logging opts format: {text:?}: expected KEY=VALUE"))),
    }
}

fn pair(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.to_owned())
}

fn address(text: &str) -> Result<std::net::IpAddr, Failure> {
    text.trim().parse().map_err(|_| argument("dns", text, format!("{text} is not an ip address")))
}

fn word(text: &str) -> Result<String, Failure> {
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(argument("dns-option", text, "it is not one word"));
    }
    Ok(text.to_owned())
}

fn search(text: &str) -> Result<String, Failure> {
    if text == "." || is_host_name(text.trim_end_matches('.')) {
        return Ok(text.to_owned());
    }
    Err(argument("dns-search", text, format!("{text} is not a valid domain")))
}

fn group(text: &str) -> Result<corral_spec::UserPart, Failure> {
    let user: corral_spec::UserSpec = text.parse().map_err(|error| argument("group-add", text, error))?;
    match user.group {
        None => Ok(user.user),
        Some(_) => Err(argument("group-add", text, "one name or number")),
    }
}
