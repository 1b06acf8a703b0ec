//! Measures Corral against a floor and against its peers: `cargo xtask bench [--only NAME] [--runs N]`.
//!
//! Everything that a figure is compared with runs in the same minute and in turns with it, because on a
//! busy machine only ratios mean something. The floor is programs/floor.c: what the kernel's part of a
//! container costs; programs/confined.c adds what the kernel does to confine it. CPU time is that of the whole
//! process tree (programs/measure.c).
//!
//! ```text
//! target/bench/            all of it may be removed
//!     true floor confined measure lines   compiled from programs/
//!     fixture/             a root file system with /true, /pause and /lines
//!     corral/              CORRAL_ROOT of the measured binary
//!     scratch/             the floor's upper directories
//! /run/corral-bench/       CORRAL_RUN of the measured binary
//! ```

#![forbid(unsafe_code)]

mod binary;
mod detached;
mod exec;
mod figure;
mod fixture;
mod logs;
mod measure;
mod monitor;
mod pack;
mod peers;
mod release;
mod start;
mod syscalls;
mod throughput;
mod warm;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use figure::Figure;
use fixture::Fixture;

/// A benchmark: its name, what it measures, and the function that does it.
type Benchmark = (&'static str, &'static str, fn(&Fixture, usize) -> Result<Vec<Figure>>);

const BENCHMARKS: &[Benchmark] = &[
    ("start", "run --rm of a static true against the floor and the peers", start::run),
    ("syscalls", "system calls of the same, by process", syscalls::run),
    ("detached", "run -d of a static true against the floor, and stop", detached::run),
    ("throughput", "a hundred containers, eight at a time, against the floor", throughput::run),
    ("exec", "exec into a running container against nsenter", exec::run),
    ("logs", "a million lines through the log, and back", logs::run),
    ("monitor", "memory of the monitors of idle containers", monitor::run),
    ("binary", "size and start of the binary", binary::run),
    ("pack", "pack examples/librarian again", pack::run),
    ("warm", "a Python agent forked from a template, against a cold start", warm::run),
    ("release", "a clean release build (only when named)", release::run),
];

/// What takes minutes and disturbs the others.
const ONLY_WHEN_NAMED: &[&str] = &["release"];

/// What was typed.
struct Arguments {
    runs: usize,
    only: Vec<String>,
    json: bool,
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| bench(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Arguments> {
    let mut arguments = Arguments { runs: 20, only: Vec::new(), json: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => arguments.json = true,
            "--runs" => {
                let number = words.next().context("--runs wants a number")?;
                arguments.runs =
                    number.parse().ok().filter(|&n| n > 0).context("--runs wants a number from 1")?;
            }
            "--only" => {
                let name = words.next().context("--only wants a name")?;
                if !BENCHMARKS.iter().any(|benchmark| benchmark.0 == name) {
                    bail!("no benchmark {name}");
                }
                arguments.only.push(name);
            }
            _ => {
                let names = BENCHMARKS
                    .iter()
                    .map(|(name, what, _)| format!("  {name:10}{what}\n"))
                    .collect::<String>();
                bail!("usage: cargo xtask bench [--runs N] [--only NAME]... [--json]\n{names}");
            }
        }
    }
    Ok(arguments)
}

fn bench(arguments: &Arguments) -> Result<()> {
    let fixture = Fixture::prepare()?;
    let mut figures = Vec::new();
    for (name, what, run) in BENCHMARKS {
        let named = arguments.only.iter().any(|only| only == name);
        if !named && (!arguments.only.is_empty() || ONLY_WHEN_NAMED.contains(name)) {
            continue;
        }
        eprintln!("\n{name}: {what}");
        match run(&fixture, arguments.runs) {
            Ok(found) => figures.extend(found),
            Err(error) => figures.push(Figure::failed(name, &format!("{error:#}"))),
        }
    }
    if arguments.json {
        println!("{:#}", serde_json::Value::from_iter(figures.iter().map(Figure::json)));
    } else {
        println!("\n{}", figure::table(&figures));
    }
    Ok(())
}
