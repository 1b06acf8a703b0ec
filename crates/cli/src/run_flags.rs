use std::path::{Path, PathBuf};
use std::time::Duration;

use corral_spec::{
    AbsPath, ContainerSpec, Entrypoint, EnvVar, Limits, MountRequest, MountSource, NetworkMode, ProfileName,
    RestartPolicy, Ulimit, UserNamespace,
};

use corral_engine::Warmth;

use crate::Failure;
use crate::failure::ENGINE;
use crate::limit_flags::LimitFlags;
use crate::setting_flags::SettingFlags;

/// The flags of `run` and `create`, as typed.
#[derive(Debug, clap::Args)]
pub(crate) struct RunFlags {
    /// Run container in background and print container ID
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Automatically remove the container when it exits
    #[arg(long)]
    pub(crate) rm: bool,
    /// Assign a name to the container
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Container host name
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Bind mount a host path or volume
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:ro]")]
    pub(crate) volume: Vec<String>,
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "type=…,source=…,target=…")]
    pub(crate) mount: Vec<String>,
    /// Mount a tmpfs directory
    #[arg(long, value_name = "TARGET[:size=…]")]
    pub(crate) tmpfs: Vec<String>,
    /// Give the container a host directory at /workspace, read-only unless `:rw`
    #[arg(long, value_name = "DIR[:rw]")]
    workspace: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long)]
    user: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Number of CPUs
    #[arg(long, value_name = "DECIMAL")]
    cpus: Option<String>,
    /// Tune container pids limit
    #[arg(long, value_name = "N")]
    pids_limit: Option<i64>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<corral_spec::ByteSize>,
    /// Ulimit options
    #[arg(long, value_name = "TYPE=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    read_only: bool,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Connect a container to a network: none or host
    #[arg(long, visible_alias = "net", value_name = "MODE")]
    network: Option<String>,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// Signal to stop the container
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<corral_spec::Signal>,
    /// Timeout (in seconds) to stop a container
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<i64>,
    /// Set meta data on a container
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Add Linux capabilities
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "NAME")]
    cap_drop: Vec<String>,
    /// Confinement: standard, build or agent
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// User namespace: `keep-id` gives an ordinary user their own id inside, `host` is a weaker mode without one
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,
    /// Proxy received signals to the process
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) sig_proxy: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Suppress the progress of packing
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// What few commands have; filled by [`WithMore`].
    #[arg(skip)]
    more: MoreFlags,
    /// Image, or a directory to pack first (begins with / or ./ or ../, or is .), then the command and its
    /// arguments: flags end where the image begins
    #[arg(required = true, value_names = ["IMAGE", "COMMAND"], num_args = 1..)]
    words: Vec<String>,
}

/// The flags that the quick parser does not know.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct MoreFlags {
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    settings: SettingFlags,
    /// Fork the program from the image's template: auto, always or never
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    warm: Option<Warm>,
}

/// `--warm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Warm {
    /// If there is one that can stand for it.
    Auto,
    /// Or not at all.
    Always,
    /// Never.
    Never,
}

/// All flags.
#[derive(Debug, clap::Args)]
pub(crate) struct WithMore {
    #[command(flatten)]
    flags: RunFlags,
    #[command(flatten)]
    more: MoreFlags,
}

impl WithMore {
    pub(crate) fn joined(self) -> RunFlags {
        RunFlags { more: self.more, ..self.flags }
    }
}

fn bad(message: impl std::fmt::Display) -> Failure {
    Failure::with_code(ENGINE, message)
}

impl RunFlags {
    /// The image's name, or a directory.
    pub(crate) fn image(&self) -> &str {
        // At least one word: `required` above.
        self.words.first().map_or("", String::as_str)
    }

    /// The flags as a valid request.
    pub(crate) fn spec(&self) -> Result<ContainerSpec, Failure> {
        let mut spec = ContainerSpec {
            name: said(&self.name).map(name).transpose()?,
            hostname: said(&self.hostname).map(hostname).transpose()?,
            entrypoint: match self.entrypoint.as_deref() {
                None => Entrypoint::Image,
                Some("") => Entrypoint::Reset,
                Some(program) => Entrypoint::Program(program.to_owned()),
            },
            command: self.words.iter().skip(1).cloned().collect(),
            env: env(&self.env_file, &self.env)?,
            user: said(&self.user).map(str::parse).transpose().map_err(bad)?,
            workdir: said(&self.workdir).map(AbsPath::new).transpose().map_err(bad)?,
            mounts: self.mounts()?,
            limits: self.limits()?,
            network: self.network.as_deref().map(network).transpose()?,
            read_only: self.read_only,
            init: self.init,
            tty: self.tty,
            interactive: self.interactive,
            remove: self.rm,
            health: corral_spec::HealthRequest::default(),
            restart: RestartPolicy::No,
            stop_signal: self.stop_signal,
            // Never is what a negative one means.
            stop_timeout: self
                .stop_timeout
                .map(|seconds| Duration::from_secs(seconds.try_into().unwrap_or(NEVER))),
            labels: self.label.iter().map(|label| key_value(label)).collect(),
            profile: self.profile.as_deref().map(profile).transpose()?,
            userns: match self.userns.as_deref() {
                None | Some("" | "private" | "auto") => UserNamespace::Private,
                Some("host") => UserNamespace::Host,
                Some("keep-id") => UserNamespace::KeepId,
                Some(other) => {
                    return Err(bad(format!("--userns {other}: only private, keep-id and host are there")));
                }
            },
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            ..ContainerSpec::default()
        };
        self.more.settings.fill(&mut spec)?;
        Ok(spec)
    }

    /// Whether the container is forked from a template.
    pub(crate) fn warmth(&self) -> Warmth<'static> {
        match self.more.warm {
            None | Some(Warm::Auto) => Warmth::IfPossible,
            Some(Warm::Always) => Warmth::Needed,
            Some(Warm::Never) => Warmth::Cold,
        }
    }

    /// The flags for names, notes and streams.
    pub(crate) fn settings(&self) -> &SettingFlags {
        &self.more.settings
    }

    fn mounts(&self) -> Result<Vec<MountRequest>, Failure> {
        let cwd = || std::env::current_dir().map_err(|error| bad(format!("current directory: {error}")));
        let mut mounts = Vec::new();
        for text in &self.volume {
            mounts.push(MountRequest::parse_volume(text, &cwd()?).map_err(bad)?);
        }
        for text in &self.mount {
            mounts.push(MountRequest::parse_mount(text, &cwd()?).map_err(bad)?);
        }
        for text in &self.tmpfs {
            mounts.push(MountRequest::parse_tmpfs(text).map_err(bad)?);
        }
        if let Some(text) = &self.workspace {
            mounts.push(workspace(text, &cwd()?)?);
        }
        Ok(mounts)
    }

    fn limits(&self) -> Result<Limits, Failure> {
        let (pids, pids_unlimited) = pids_limit(self.pids_limit)?;
        let ulimits = self.ulimit.iter().map(|text| ulimit(text)).collect::<Result<_, _>>()?;
        let mut limits = Limits {
            memory: bound("memory", &self.memory)?,
            cpus: bound("cpus", &self.cpus)?,
            pids,
            shm: self.shm_size,
            ulimits,
            ..Limits::default()
        };
        self.more.limits.fill(&mut limits)?;
        limits.more.pids_unlimited = pids_unlimited;
        Ok(limits)
    }
}

/// The number of tasks, and whether it is unbounded by name: -1 and 0, as with Docker.
pub(crate) fn pids_limit(flag: Option<i64>) -> Result<(Option<u32>, bool), Failure> {
    match flag {
        None => Ok((None, false)),
        Some(-1 | 0) => Ok((None, true)),
        Some(limit) => match u32::try_from(limit) {
            Ok(limit) => Ok((Some(limit), false)),
            Err(_) => Err(bad(format!("--pids-limit {limit}: not a number of tasks"))),
        },
    }
}

/// The variables of files and flags, in this order: the later wins.
pub(crate) fn env(files: &[PathBuf], words: &[String]) -> Result<Vec<EnvVar>, Failure> {
    let mut env = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file)
            .map_err(|error| bad(format!("env file {}: {error}", file.display())))?;
        for line in text.lines().map(str::trim_start) {
            if !line.is_empty() && !line.starts_with('#') {
                env.extend(variable(line)?);
            }
        }
    }
    for word in words {
        env.extend(variable(word)?);
    }
    Ok(env)
}

fn variable(word: &str) -> Result<Option<EnvVar>, Failure> {
    if word.contains('=') {
        return word.parse().map(Some).map_err(bad);
    }
    // A bare name takes the caller's value, and nothing if there is none (docker run -e NAME).
    match std::env::var(word) {
        Ok(value) => Ok(Some(EnvVar { name: word.to_owned(), value })),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(bad(format!("environment variable {word}: {error}"))),
    }
}

fn workspace(text: &str, cwd: &Path) -> Result<MountRequest, Failure> {
    let (dir, read_only) = match text.strip_suffix(":rw") {
        Some(dir) => (dir, false),
        None => (text.strip_suffix(":ro").unwrap_or(text), true),
    };
    let dir =
        std::fs::canonicalize(cwd.join(dir)).map_err(|error| bad(format!("workspace {dir}: {error}")))?;
    if !dir.is_dir() {
        return Err(bad(format!("workspace {}: not a directory", dir.display())));
    }
    Ok(MountRequest {
        source: MountSource::Bind(AbsPath::new(dir).map_err(bad)?),
        target: AbsPath::new("/workspace").map_err(bad)?,
        read_only,
        options: corral_spec::SourceOptions::default(),
    })
}

/// A year of seconds thrice over.
const NEVER: u64 = 100_000_000;

/// The value of a flag; an empty one, as wrappers write it, is none.
fn said(flag: &Option<String>) -> Option<&str> {
    flag.as_deref().filter(|text| !text.is_empty())
}

/// A limit; none is what 0 says.
fn bound<T: std::str::FromStr<Err: std::fmt::Display>>(
    flag: &str,
    value: &Option<String>,
) -> Result<Option<T>, Failure> {
    let said = said(value).filter(|text| *text != "0");
    said.map(|text| text.parse().map_err(|error| bad(format!("--{flag} {text}: {error}")))).transpose()
}

/// `inspect` writes a slash before it.
fn name(text: &str) -> Result<corral_spec::ContainerName, Failure> {
    text.strip_prefix('/').unwrap_or(text).parse().map_err(bad)
}

fn hostname(name: &str) -> Result<String, Failure> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(known);
    // 64 bytes is the kernel's bound (uname(2)).
    if name.len() <= 64 && name.split('.').all(label) {
        Ok(name.to_owned())
    } else {
        Err(bad(format!("invalid hostname {name:?}")))
    }
}

fn network(mode: &str) -> Result<NetworkMode, Failure> {
    match mode {
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        _ => Err(bad(format!("--network {mode}: only none and host are there yet (see docs/roadmap.md)"))),
    }
}

fn profile(name: &str) -> Result<ProfileName, Failure> {
    ProfileName::by_name(name).ok_or_else(|| bad(format!("no such profile: {name} (standard, build, agent)")))
}

fn key_value(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.to_owned())
}

fn ulimit(text: &str) -> Result<Ulimit, Failure> {
    let fail = || bad(format!("--ulimit {text}: expected TYPE=SOFT[:HARD], numbers or unlimited"));
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        _ => text.parse().map_err(|_| fail()),
    };
    let (name, limits) = text.split_once('=').ok_or_else(fail)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(bad(format!("--ulimit {text}: the soft limit is above the hard one")));
    }
    Ok(Ulimit { name: name.to_ascii_lowercase(), soft, hard })
}
