use std::path::{Path, PathBuf};

use corral_engine::Engine;
use corral_pack::{PackOptions, Packed, Progress};
use corral_spec::ImageRef;
use serde_json::json;

use crate::app::Globals;
use crate::failure::Failure;
use crate::output::{Format, size};
use crate::{Words, output};

#[derive(Debug, clap::Args)]
struct Flags {
    /// Name and optionally a tag (format: name:tag)
    #[arg(short, long, value_name = "NAME:TAG")]
    tag: Option<ImageRef>,
    /// Debian suite of the base: bookworm or trixie
    #[arg(long)]
    suite: Option<String>,
    /// Debian package to add
    #[arg(long = "package", value_name = "NAME")]
    packages: Vec<String>,
    /// Base URL of the Debian mirror
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Keyring that the mirror's signatures are checked against
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Move the lock to the newest versions that the project allows
    #[arg(long)]
    upgrade: bool,
    /// Take a release whose validity has ended, as archives of a past day need
    #[arg(long)]
    allow_expired: bool,
    /// How many downloads and compilations at once
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
    /// Only print the image's id
    #[arg(short, long)]
    quiet: bool,
    /// Format of the report: table or json
    #[arg(long, default_value = "table")]
    format: Format,
    /// The project's directory
    directory: PathBuf,
}

/// `corral pack`.
pub(super) fn pack(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("pack", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let options = PackOptions {
        tag: flags.tag.clone(),
        suite: flags.suite.clone(),
        packages: flags.packages.clone(),
        mirror: flags.mirror.clone(),
        keyring: flags.keyring.clone(),
        upgrade: flags.upgrade,
        allow_expired: flags.allow_expired,
        jobs: flags.jobs.unwrap_or_else(jobs).max(1),
        ..options(&engine, &flags.directory)?
    };
    let packed = with_progress(&engine, &options, flags.quiet)?;
    match flags.format {
        _ if flags.quiet => output::print(&format!("{}\n", packed.image))?,
        Format::Json => output::print(&format!("{}\n", report(&packed)))?,
        Format::Table => output::print(&text(&packed))?,
    }
    Ok(0)
}

/// The packing that `run DIR` does first; its talk goes to standard error.
pub(super) fn pack_for_run(engine: &Engine, dir: &Path, quiet: bool) -> Result<Packed, Failure> {
    let packed = with_progress(engine, &options(engine, dir)?, quiet)?;
    if !quiet && !packed.unchanged {
        eprint!("{}", text(&packed));
    }
    Ok(packed)
}

fn options(engine: &Engine, dir: &Path) -> Result<PackOptions, Failure> {
    let dir =
        std::fs::canonicalize(dir).map_err(|error| Failure::new(format!("{}: {error}", dir.display())))?;
    let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => Some(text.parse().map_err(|_| {
            Failure::new(format!("SOURCE_DATE_EPOCH={text:?}: expected whole seconds since 1970"))
        })?),
        Err(_) => None,
    };
    let mut options = PackOptions::new(dir, engine.layout().root().join("cache"));
    options.epoch = epoch;
    options.jobs = jobs();
    Ok(options)
}

fn jobs() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

fn with_progress(engine: &Engine, options: &PackOptions, quiet: bool) -> Result<Packed, Failure> {
    let bar = crate::progress::Bar::new(quiet);
    let packed = corral_pack::pack(engine, engine.store(), options, &|event| show(&bar, event));
    bar.finish();
    Ok(packed?)
}

fn show(bar: &crate::progress::Bar, event: Progress) {
    match event {
        Progress::Phase(name) => bar.phase(&name),
        Progress::Count { done, total } => bar.count(done, total),
        Progress::Layer { name, bytes, cached } => {
            bar.line(&format!("{} {name} ({})", if cached { "kept  " } else { "layer " }, size(bytes)));
        }
        Progress::Warning(text) => bar.line(&format!("note: {text}")),
    }
}

fn text(packed: &Packed) -> String {
    let mut text = String::new();
    for script in &packed.skipped_scripts {
        text.push_str(&format!("not run: {script}\n"));
    }
    for path in &packed.withheld {
        text.push_str(&format!("left out: {path}\n"));
    }
    for request in &packed.requests {
        text.push_str(&format!("asks: {request}\n"));
    }
    let total: u64 = packed.layers.iter().map(|layer| layer.bytes).sum();
    let state = if packed.unchanged { "unchanged" } else { "packed" };
    text.push_str(&format!("{state} {} ({}) {}\n", packed.reference, size(total), packed.image));
    text
}

fn report(packed: &Packed) -> serde_json::Value {
    json!({
        "Image": packed.image,
        "Reference": packed.reference.to_string(),
        "Unchanged": packed.unchanged,
        "LockWritten": packed.lock_written,
        "Layers": packed.layers.iter().map(|layer| json!({
            "Name": layer.name, "DiffID": layer.diff_id, "Bytes": layer.bytes, "Cached": layer.cached,
        })).collect::<Vec<_>>(),
        "SkippedScripts": packed.skipped_scripts,
        "Requests": packed.requests,
        "Withheld": packed.withheld,
    })
}
