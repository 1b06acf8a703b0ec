use corral_engine::{State, View};
use corral_spec::{NetworkMode, UserNamespace};
use serde_json::json;

use super::containers::print_lines;
use crate::app::Globals;
use crate::failure::Failure;
use crate::output::{Format, rfc3339, since_ns, table};
use crate::{Words, output};

#[derive(Debug, clap::Args)]
struct Flags {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Format output: table or json
    #[arg(long, default_value = "table")]
    format: Format,
}

/// `corral ps`.
pub(super) fn ps(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("ps", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    engine.collect()?;
    let last = if flags.latest { Some(1) } else { flags.last };
    let mut views = engine.list()?;
    if !flags.all && last.is_none() {
        views.retain(|view| view.state.status().is_some());
    }
    views.truncate(last.unwrap_or(usize::MAX));
    let id = |view: &View| {
        let id = &view.record.id;
        if flags.no_trunc { id.to_string() } else { id.short().to_owned() }
    };
    if flags.quiet {
        print_lines(views.iter().map(id))?;
    } else if flags.format == Format::Json {
        print_lines(views.iter().map(|view| row(view, id(view)).to_string()))?;
    } else {
        let head = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
        let rows: Vec<Vec<String>> = views
            .iter()
            .map(|view| {
                vec![
                    id(view),
                    view.record.image_name.clone(),
                    command(&engine, view, flags.no_trunc),
                    format!("{} ago", since_ns(view.record.created_ns)),
                    status(view),
                    String::new(),
                    view.record.name.to_string(),
                ]
            })
            .collect();
        output::print(&table(&head, &rows))?;
    }
    Ok(0)
}

fn row(view: &View, id: String) -> serde_json::Value {
    let record = &view.record;
    json!({
        "ID": id,
        "Image": record.image_name,
        "Names": record.name,
        "State": view.state.as_str(),
        "Status": status(view),
        "CreatedAt": rfc3339(record.created_ns),
        "RunningFor": format!("{} ago", since_ns(record.created_ns)),
        "Profile": record.profile.as_str(),
        "Weaker": weaker(view),
        "Labels": record.spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","),
    })
}

/// Modes that the user named and that weaken the confinement: marked in every listing.
fn weaker(view: &View) -> Vec<&'static str> {
    let spec = &view.record.spec;
    let mut modes = Vec::new();
    if spec.userns == UserNamespace::Host {
        modes.push("userns=host");
    }
    if spec.network == Some(NetworkMode::Host) {
        modes.push("network=host");
    }
    if !spec.cap_add.is_empty() {
        modes.push("cap-add");
    }
    if !spec.limits.devices.is_empty() || !spec.limits.more.device_rules.is_empty() {
        modes.push("device");
    }
    if spec.limits.more.pids_unlimited {
        modes.push("pids=unlimited");
    }
    if spec.limits.more.oom_kill_disable {
        modes.push("oom-kill-disable");
    }
    modes
}

fn command(engine: &corral_engine::Engine, view: &View, whole: bool) -> String {
    let argv = engine.command(&view.record.id).unwrap_or_default().join(" ");
    if whole || argv.chars().count() <= 20 {
        return format!("{argv:?}");
    }
    let start: String = argv.chars().take(19).collect();
    format!("\"{}…\"", start.escape_debug())
}

/// Docker's words, and the weaker modes in brackets.
fn status(view: &View) -> String {
    let mut text = match &view.state {
        State::Created => "Created".to_owned(),
        State::Busy => "Starting".to_owned(),
        State::Running(status) => format!("Up {}", since_ns(status.started_ns)),
        State::Paused(status) => format!("Up {} (Paused)", since_ns(status.started_ns)),
        State::Exited(exit) => format!("Exited ({}) {} ago", exit.code, since_ns(exit.finished_ns)),
        State::Dead => "Dead".to_owned(),
    };
    let weaker = weaker(view);
    if !weaker.is_empty() {
        text.push_str(&format!(" [{}]", weaker.join(", ")));
    }
    text
}
