//! `corral oci`: runc's command line. Also what a binary named `runc` or `corral-oci` is.
//!
//! Errors go to standard error and, as runc's, to the file that `--log` names: clients read them there.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use corral_oci::{Create, Exec, Limits, Runtime};

use crate::app::Globals;
use crate::failure::Failure;
use crate::{Words, output};

/// OCI runtime
#[derive(Parser)]
#[command(
    name = "corral oci",
    no_binary_name = true,
    disable_help_subcommand = true,
    args_override_self = true
)]
struct Line {
    /// Directory for the state of containers
    #[arg(long, default_value = "/run/corral-oci")]
    root: PathBuf,
    /// File to which errors are appended
    #[arg(long)]
    log: Option<PathBuf>,
    /// Format of that file: text or json
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
    /// Also write the words that were typed to that file
    #[arg(long)]
    debug: bool,
    /// Drop AppArmor and SELinux labels where the kernel runs no such module, instead of refusing them
    #[arg(long)]
    ignore_labels: bool,
    /// Groups are made by systemd
    #[arg(long)]
    systemd_cgroup: bool,
    /// Print the version
    #[arg(long, short = 'v')]
    version: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Create a container
    Create(Making),
    /// Start a created container
    Start { id: String },
    /// Create and start a container
    Run {
        #[command(flatten)]
        making: Making,
        /// Return as soon as it runs
        #[arg(long, short = 'd')]
        detach: bool,
        /// Keep the container after its end
        #[arg(long)]
        keep: bool,
    },
    /// Print the state of a container
    State { id: String },
    /// Send a signal to a container
    Kill {
        /// To all of its processes
        #[arg(long, short = 'a')]
        all: bool,
        id: String,
        #[arg(default_value = "TERM")]
        signal: String,
    },
    /// Delete a stopped container
    Delete {
        /// In any state, and if it is not there
        #[arg(long, short = 'f')]
        force: bool,
        id: String,
    },
    /// Execute a process in a container
    Exec(Executing),
    /// Suspend all processes of a container
    Pause { id: String },
    /// Resume all processes of a container
    Resume { id: String },
    /// List the processes of a container
    Ps {
        /// table or json
        #[arg(long, short = 'f', default_value = "table", value_parser = ["table", "json"])]
        format: String,
        id: String,
        /// Options of ps(1), for the table
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// List containers
    List {
        /// table or json
        #[arg(long, short = 'f', default_value = "table", value_parser = ["table", "json"])]
        format: String,
        /// Only their names
        #[arg(long, short = 'q')]
        quiet: bool,
    },
    /// Change the limits of a container
    Update(Updating),
    /// Print what a container uses
    Events {
        /// Once
        #[arg(long)]
        stats: bool,
        /// How often, such as 5s or 100ms
        #[arg(long, default_value = "5s")]
        interval: String,
        id: String,
    },
    /// Print what this runtime supports
    Features,
    /// Write a config.json to begin with
    Spec {
        /// Directory to write it to
        #[arg(long, short = 'b', default_value = ".")]
        bundle: PathBuf,
        /// For a user who is not root
        #[arg(long)]
        rootless: bool,
    },
}

#[derive(Args)]
struct Making {
    /// Directory of the bundle
    #[arg(long, short = 'b', default_value = ".")]
    bundle: PathBuf,
    /// Socket that receives the terminal
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// File for the number of the first process
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// Use chroot(2) instead of pivot_root(2)
    #[arg(long)]
    no_pivot: bool,
    /// Keep the session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// Number of further descriptors that the program keeps
    #[arg(long, default_value_t = 0)]
    preserve_fds: u32,
    id: String,
}

#[derive(Args)]
struct Executing {
    /// File with the process
    #[arg(long, short = 'p')]
    process: Option<PathBuf>,
    /// Working directory
    #[arg(long)]
    cwd: Option<String>,
    /// Environment variables
    #[arg(long, short = 'e')]
    env: Vec<String>,
    /// With a terminal
    #[arg(long, short = 't')]
    tty: bool,
    /// UID[:GID]
    #[arg(long, short = 'u')]
    user: Option<String>,
    /// Further groups
    #[arg(long, short = 'g')]
    additional_gids: Vec<u32>,
    /// Further capabilities
    #[arg(long, short = 'c')]
    cap: Vec<String>,
    /// Set no_new_privs
    #[arg(long)]
    no_new_privs: bool,
    /// Return as soon as it runs
    #[arg(long, short = 'd')]
    detach: bool,
    /// File for the number of the process
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// Socket that receives the terminal
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// Number of further descriptors that the program keeps
    #[arg(long, default_value_t = 0)]
    preserve_fds: u32,
    /// Also in a paused container
    #[arg(long)]
    ignore_paused: bool,
    id: String,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

#[derive(Args)]
struct Updating {
    /// File with linux.resources, - for standard input
    #[arg(long, short = 'r')]
    resources: Option<PathBuf>,
    /// Memory in bytes
    #[arg(long, allow_negative_numbers = true)]
    memory: Option<i64>,
    /// Soft limit in bytes
    #[arg(long, allow_negative_numbers = true)]
    memory_reservation: Option<i64>,
    /// Memory and swap in bytes
    #[arg(long, allow_negative_numbers = true)]
    memory_swap: Option<i64>,
    /// Relative weight
    #[arg(long, alias = "cpu-share")]
    cpu_shares: Option<u64>,
    /// Microseconds
    #[arg(long)]
    cpu_period: Option<u64>,
    /// Microseconds in each period
    #[arg(long, allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// CPUs
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// Memory nodes
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// Tasks
    #[arg(long, allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Relative weight
    #[arg(long)]
    blkio_weight: Option<u16>,
    id: String,
}

/// The verb of `corral`.
pub(crate) fn oci(_: &Globals, words: Words) -> Result<u8, Failure> {
    run(words)
}

/// runc's command line.
pub(crate) fn run(words: Words) -> Result<u8, Failure> {
    let line = match Line::try_parse_from(words) {
        Ok(line) => line,
        Err(error) if !error.use_stderr() => return output::print(&error.to_string()).map(|()| 0),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            return Err(Failure::new(first.strip_prefix("error: ").unwrap_or(first)));
        }
    };
    if line.version {
        let text = format!("corral oci version {}\nspec: 1.3.0\n", env!("CARGO_PKG_VERSION"));
        return output::print(&text).map(|()| 0);
    }
    if let (Some(path), true) = (&line.log, line.debug) {
        let words = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
        log(path, line.log_format == "json", ("debug", &words))
            .map_err(|error| Failure::new(format!("--log {}: {error}", path.display())))?;
    }
    let done = act(&line);
    if let (Err(failure), Some(path)) = (&done, &line.log) {
        // What cannot be logged still stands on standard error.
        let _ = log(path, line.log_format == "json", ("error", failure.message()));
    }
    done
}

fn log(path: &PathBuf, json: bool, (level, message): (&str, &str)) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    let time = corral_oci::now();
    let text = match json {
        true => serde_json::json!({"level": level, "msg": message, "time": time}).to_string(),
        false => format!("time={time:?} level={level} msg={message:?}"),
    };
    writeln!(file, "{text}")
}

fn act(line: &Line) -> Result<u8, Failure> {
    let runtime = Runtime { root: line.root.clone(), ignore_labels: line.ignore_labels };
    let Some(verb) = &line.verb else { return run(vec!["--help".into()]) };
    if line.systemd_cgroup && matches!(verb, Verb::Create(_) | Verb::Run { .. }) {
        return Err(Failure::new(
            "--systemd-cgroup is not supported: groups are made in the cgroup file system; configure the cgroupfs driver",
        ));
    }
    if matches!(verb, Verb::Create(_) | Verb::Run { .. } | Verb::Exec(_)) {
        out_of_reach()?;
    }
    let done = |()| 0;
    Ok(match verb {
        Verb::Create(making) => runtime.create(&making.id, &making.options()).map(done)?,
        Verb::Start { id } => runtime.start(id).map(done)?,
        Verb::Run { making, detach, keep } => runtime.run(&making.id, &making.options(), *detach, *keep)?,
        Verb::State { id } => show(&runtime.state(id)?)?,
        Verb::Kill { all, id, signal } => {
            let signal = signal.parse().map_err(|_| Failure::new(format!("unknown signal {signal:?}")))?;
            runtime.kill(id, signal, *all).map(done)?
        }
        Verb::Delete { force, id } => runtime.delete(id, *force).map(done)?,
        // runc's code, which tells what the runtime could not from what the program answered.
        Verb::Exec(executing) => runtime
            .exec(&executing.id, &executing.options()?)
            .map_err(|error| Failure::with_code(255, error))?,
        Verb::Pause { id } => runtime.pause(id).map(done)?,
        Verb::Resume { id } => runtime.resume(id).map(done)?,
        Verb::Ps { format, id, options } => processes(&runtime.processes(id)?, format == "json", options)?,
        Verb::List { format, quiet } => list(&runtime, format == "json", *quiet)?,
        Verb::Update(updating) => runtime.update(&updating.id, &updating.limits()).map(done)?,
        Verb::Events { stats, interval, id } => events(&runtime, id, *stats, interval)?,
        Verb::Features => show(&corral_oci::features())?,
        Verb::Spec { bundle, rootless } => spec(bundle, *rootless)?,
    })
}

/// Begins again as a program that no container can write to. Comes back if this one is such.
fn out_of_reach() -> Result<(), Failure> {
    let Some(program) = corral_runtime::read_only_program().map_err(Failure::new)? else { return Ok(()) };
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let path = format!("/proc/self/fd/{}", program.as_raw_fd());
    let error = std::process::Command::new(&path).arg0(name).args(words).exec();
    Err(Failure::new(format!("cannot execute this program through a read-only mount: {error}")))
}

fn show(value: &serde_json::Value) -> Result<u8, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::new)?;
    output::print(&format!("{text}\n")).map(|()| 0)
}

fn list(runtime: &Runtime, json: bool, quiet: bool) -> Result<u8, Failure> {
    let all = runtime.list()?;
    if json && !quiet {
        return output::print(&format!("{}\n", serde_json::Value::from(all))).map(|()| 0);
    }
    let field = |state: &serde_json::Value, name: &str| match &state[name] {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let names: &[&str] = if quiet { &["id"] } else { &["id", "pid", "status", "bundle", "created"] };
    let header = names.iter().map(|name| name.to_uppercase()).collect::<Vec<String>>();
    let rows = all.iter().map(|state| names.iter().map(|name| field(state, name)).collect());
    let rows: Vec<Vec<String>> =
        if quiet { rows.collect() } else { std::iter::once(header).chain(rows).collect() };
    output::print(&columns(&rows)).map(|()| 0)
}

/// Columns as wide as what is in them, two spaces apart.
fn columns(rows: &[Vec<String>]) -> String {
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(String::len).max().unwrap_or(0) + 2;
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(at, cell)| format!("{cell:<0$}", width(at)));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}

fn processes(pids: &[i32], json: bool, options: &[String]) -> Result<u8, Failure> {
    if json {
        return output::print(&format!("{}\n", serde_json::json!(pids))).map(|()| 0);
    }
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() { &default } else { options };
    let ps = std::process::Command::new("ps").args(options).output();
    let ps = ps.map_err(|error| Failure::new(format!("the table needs ps(1): {error}; -f json does not")))?;
    if !ps.status.success() {
        return Err(Failure::new(format!("ps: {}", String::from_utf8_lossy(&ps.stderr).trim())));
    }
    let table = String::from_utf8_lossy(&ps.stdout);
    let mut lines = table.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Failure::new("what ps prints has no column PID"))?;
    let of_container = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    };
    let found = std::iter::once(header).chain(lines.filter(of_container));
    output::print(&found.map(|line| format!("{line}\n")).collect::<String>()).map(|()| 0)
}

/// As Go spells a time: `5s`, `100ms`, `1m`.
fn duration(text: &str) -> Option<std::time::Duration> {
    let units = [("ms", 1.0), ("s", 1000.0), ("m", 60_000.0)];
    let found = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let millis = found.and_then(|(number, factor)| Some(number.parse::<f64>().ok()? * factor))?;
    (1.0..=1e12).contains(&millis).then(|| std::time::Duration::from_millis(millis as u64))
}

fn events(runtime: &Runtime, id: &str, once: bool, interval: &str) -> Result<u8, Failure> {
    let interval = duration(interval)
        .ok_or_else(|| Failure::new(format!("--interval {interval:?} is not a time such as 5s or 100ms")))?;
    loop {
        match runtime.statistics(id)? {
            Some(event) => output::print(&format!("{event}\n"))?,
            None if once => return Err(Failure::new("container is not running")),
            None => return Ok(0),
        }
        if once {
            return Ok(0);
        }
        std::thread::sleep(interval);
    }
}

fn spec(bundle: &std::path::Path, rootless: bool) -> Result<u8, Failure> {
    let path = bundle.join("config.json");
    let text = serde_json::to_string_pretty(&corral_oci::template(rootless)).map_err(Failure::new)?;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    file.and_then(|mut file| writeln!(file, "{text}"))
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    Ok(0)
}

impl Making {
    fn options(&self) -> Create {
        Create {
            bundle: self.bundle.clone(),
            console_socket: self.console_socket.clone(),
            pid_file: self.pid_file.clone(),
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            preserve_fds: self.preserve_fds,
        }
    }
}

impl Executing {
    fn options(&self) -> Result<Exec, Failure> {
        if self.process.is_some() != self.args.is_empty() {
            return Err(Failure::new("exec needs either --process FILE or a command"));
        }
        Ok(Exec {
            process: self.process.clone(),
            args: self.args.clone(),
            cwd: self.cwd.clone(),
            env: self.env.clone(),
            tty: self.tty,
            user: self.user.clone(),
            additional_gids: self.additional_gids.clone(),
            caps: self.cap.clone(),
            no_new_privs: self.no_new_privs,
            detach: self.detach,
            pid_file: self.pid_file.clone(),
            console_socket: self.console_socket.clone(),
            preserve_fds: self.preserve_fds,
            ignore_paused: self.ignore_paused,
        })
    }
}

impl Updating {
    fn limits(&self) -> Limits {
        Limits {
            resources: self.resources.clone(),
            memory: self.memory,
            memory_reservation: self.memory_reservation,
            memory_swap: self.memory_swap,
            cpu_shares: self.cpu_shares,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids_limit: self.pids_limit,
            blkio_weight: self.blkio_weight,
        }
    }
}
