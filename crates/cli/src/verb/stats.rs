use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use corral_engine::{Engine, Sample, View};
use corral_spec::ContainerId;

use crate::app::Globals;
use crate::failure::Failure;
use crate::listing::Listing;
use crate::output::print;
use crate::template::Value;
use crate::{Words, output};

/// Between two looks: a percentage of processor time is over this long.
const INTERVAL: Duration = Duration::from_secs(1);
/// What is not known.
const NONE: &str = "--";

#[derive(Debug, clap::Args)]
struct Flags {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Format output: table, 'table TEMPLATE', json, or a Go template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Containers
    containers: Vec<String>,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    block_io: String,
    cpu_perc: String,
    container: String,
    id: String,
    mem_perc: String,
    mem_usage: String,
    name: String,
    net_io: String,
    pids: String,
}

impl Row {
    /// Under the names that Docker's templates use.
    fn cells(self) -> Value {
        let cells = vec![
            ("BlockIO", self.block_io.into()),
            ("CPUPerc", self.cpu_perc.into()),
            ("Container", self.container.into()),
            ("ID", self.id.into()),
            ("MemPerc", self.mem_perc.into()),
            ("MemUsage", self.mem_usage.into()),
            ("Name", self.name.into()),
            ("NetIO", self.net_io.into()),
            ("PIDs", self.pids.into()),
        ];
        Value::row("*container.statsContext", cells, BTreeMap::new())
    }
}

const LISTING: Listing = Listing {
    heads: &[
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    raw: "",
};

/// What a percentage needs of the look before.
#[derive(Clone, Copy)]
struct Before {
    at: Instant,
    cpu_ns: Option<u64>,
}

/// `corral stats`.
pub(super) fn stats(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("stats", words)? else { return Ok(0) };
    let format = LISTING.format(&flags.format)?;
    let engine = globals.engine()?;
    let mut before = BTreeMap::new();
    look(&engine, &flags, &mut before)?;
    let clear = format.is_table() && !flags.no_stream && std::io::stdout().is_terminal();
    loop {
        std::thread::sleep(INTERVAL);
        let rows = look(&engine, &flags, &mut before)?;
        let mut text = format.rows(&rows.into_iter().map(Row::cells).collect::<Vec<_>>())?;
        if clear {
            // Home, each line to its end, and what the look before left below.
            text = format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"));
        }
        print(&text)?;
        if flags.no_stream {
            return Ok(0);
        }
    }
}

/// Those that were named, or all; a named one that is not there is an error.
fn views(engine: &Engine, flags: &Flags) -> Result<Vec<(String, View)>, Failure> {
    if flags.containers.is_empty() {
        let mut views = engine.list()?;
        views.retain(|view| flags.all || view.state.status().is_some());
        return Ok(views.into_iter().map(|view| (view.record.id.short().to_owned(), view)).collect());
    }
    let named = |name: &String| Ok((name.clone(), engine.look(name)?));
    flags.containers.iter().map(named).collect()
}

fn look(
    engine: &Engine,
    flags: &Flags,
    before: &mut BTreeMap<ContainerId, Before>,
) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (named, view) in views(engine, flags)? {
        let sample = engine.sample(&view.record.id)?;
        let now = Before { at: Instant::now(), cpu_ns: sample.and_then(|sample| sample.usage.cpu_ns) };
        let last = before.insert(view.record.id.clone(), now);
        let id = view.record.id.to_string();
        let id = if flags.no_trunc { id } else { view.record.id.short().to_owned() };
        rows.push(row(named, id, view.record.name.to_string(), sample, cpu_share(last, now)));
    }
    Ok(rows)
}

/// Hundredths of one CPU, times the CPUs in use: 150 is one and a half.
fn cpu_share(last: Option<Before>, now: Before) -> Option<f64> {
    let last = last?;
    let used = now.cpu_ns?.checked_sub(last.cpu_ns?)? as f64;
    let passed = now.at.duration_since(last.at).as_nanos() as f64;
    (passed > 0.0).then(|| used * 100.0 / passed)
}

fn row(container: String, id: String, name: String, sample: Option<Sample>, cpu: Option<f64>) -> Row {
    let unknown = || NONE.to_owned();
    let percent = |share: f64| format!("{share:.2}%");
    let pair = |(first, second): (u64, u64)| format!("{} / {}", output::size(first), output::size(second));
    let Some(Sample { usage, memory_limit, network }) = sample else {
        let both = format!("{NONE} / {NONE}");
        return Row {
            block_io: unknown(),
            cpu_perc: unknown(),
            container,
            id,
            mem_perc: unknown(),
            mem_usage: both,
            name,
            net_io: unknown(),
            pids: unknown(),
        };
    };
    let memory = |bytes: Option<u64>| bytes.map_or_else(unknown, binary_size);
    Row {
        block_io: usage.read.zip(usage.written).map_or_else(unknown, pair),
        cpu_perc: cpu.map_or_else(unknown, percent),
        container,
        id,
        mem_perc: usage
            .memory
            .zip(memory_limit.filter(|limit| *limit > 0))
            .map_or_else(unknown, |(used, limit)| percent(used as f64 * 100.0 / limit as f64)),
        mem_usage: format!("{} / {}", memory(usage.memory), memory(memory_limit)),
        name,
        net_io: network.map_or_else(unknown, pair),
        pids: usage.tasks.map_or_else(unknown, |tasks| tasks.to_string()),
    }
}

/// `1.945GiB`, as Docker prints memory: powers of 1024, four significant digits.
fn binary_size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    let whole = if value >= 1.0 { value.log10().floor() as usize + 1 } else { 1 };
    let text = format!("{value:.*}", 4_usize.saturating_sub(whole));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_units() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1536, "1.5KiB"),
            (884_736, "864KiB"),
            (2_088_370_176, "1.945GiB"),
            (67_108_864, "64MiB"),
        ] {
            assert_eq!(binary_size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        let row = |sample, cpu| row("web".into(), "0123".into(), "web".into(), sample, cpu);
        let stopped = row(None, Some(7.0));
        assert_eq!((stopped.cpu_perc.as_str(), stopped.mem_usage.as_str()), ("--", "-- / --"));
        let usage = corral_runtime::Usage { memory: Some(1 << 20), tasks: Some(3), ..Default::default() };
        let some = row(Some(Sample { usage, memory_limit: Some(4 << 20), network: None }), None);
        let json = LISTING.format("json").and_then(|format| format.rows(&[some.cells()])).expect("JSON");
        assert_eq!(
            json.trim_end(),
            r#"{"BlockIO":"--","CPUPerc":"--","Container":"web","ID":"0123","MemPerc":"25.00%","MemUsage":"1MiB / 4MiB","Name":"web","NetIO":"--","PIDs":"3"}"#
        );
        let at = Instant::now();
        let before = Before { at, cpu_ns: Some(0) };
        let now = Before { at: at + Duration::from_secs(2), cpu_ns: Some(3_000_000_000) };
        assert_eq!(cpu_share(Some(before), now), Some(150.0));
        assert_eq!(cpu_share(None, now), None);
        assert_eq!(cpu_share(Some(now), before), None, "a container that started again");
    }
}
