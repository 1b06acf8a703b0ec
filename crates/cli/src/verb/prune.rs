use std::io::{BufRead, Write};

use corral_engine::{Engine, Pruned, View};
use corral_image::ImageSummary;

use super::image_list::created_ns;
use super::ps::labels;
use crate::app::Globals;
use crate::failure::Failure;
use crate::filter::{Filter, Filters};
use crate::output::size4;
use crate::{Words, output};

/// `corral system repair`.
pub(super) fn repair(globals: &Globals, words: Words) -> Result<u8, Failure> {
    #[derive(Debug, clap::Args)]
    struct Flags {}
    let Some(Flags {}) = super::parse::<Flags>("system repair", words)? else { return Ok(0) };
    let collected = globals.engine()?.repair()?;
    output::print(&format!(
        "collected {} containers of killed processes and {} stale leases\n",
        collected.containers, collected.leases
    ))?;
    Ok(0)
}

#[derive(Debug, clap::Args)]
struct ContainerFlags {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// `corral container prune`.
pub(super) fn containers(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<ContainerFlags>("container prune", words)? else { return Ok(0) };
    let wanted = Wanted::new(&flags.filter, UNTIL)?;
    if !flags.force && !confirmed("WARNING! This will remove all stopped containers.")? {
        return Ok(0);
    }
    let engine = globals.engine()?;
    let pruned = engine.prune_containers(&|view| wanted.container(&engine, view))?;
    report(&[("Deleted Containers:", pruned)])
}

#[derive(Debug, clap::Args)]
struct AllFlags {
    /// Remove all unused ones, not just those without a name
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "label=<label>")
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// `corral image prune`.
pub(super) fn images(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<AllFlags>("image prune", words)? else { return Ok(0) };
    let wanted = Wanted::new(&flags.filter, &["dangling", "label", "label!", "until"])?;
    let all = flags.all || wanted.filters.flag("dangling")? == Some(false);
    let warning = if all {
        "WARNING! This will remove all images without at least one container associated to them."
    } else {
        "WARNING! This will remove all dangling images."
    };
    if !flags.force && !confirmed(warning)? {
        return Ok(0);
    }
    let engine = globals.engine()?;
    let mut pruned = engine.prune_images(all, &|image| wanted.image(image))?;
    if flags.filter.is_empty() {
        let layers = engine.prune_layers()?;
        pruned.lines.extend(layers.lines.iter().map(|layer| format!("deleted: {layer}")));
        pruned.bytes += layers.bytes;
    }
    report(&[("Deleted Images:", pruned)])
}

/// `corral volume prune`.
pub(super) fn volumes(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<AllFlags>("volume prune", words)? else { return Ok(0) };
    let wanted = Wanted::new(&flags.filter, &["all", "label", "label!"])?;
    let all = match (flags.all, wanted.filters.flag("all")?) {
        (true, Some(_)) => {
            return Err(Failure::new("conflicting options: cannot specify both --all and --filter all=1"));
        }
        (all, filter) => all || filter == Some(true),
    };
    let warning = if all {
        "WARNING! This will remove all local volumes not used by at least one container."
    } else {
        "WARNING! This will remove anonymous local volumes not used by at least one container."
    };
    if !flags.force && !confirmed(warning)? {
        return Ok(0);
    }
    let pruned = globals.engine()?.prune_volumes(all, &|volume| wanted.filters.labels(&volume.labels))?;
    report(&[("Deleted Volumes:", pruned)])
}

#[derive(Debug, clap::Args)]
struct SystemFlags {
    /// Remove all unused images not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "label=<key>=<value>")
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Prune anonymous volumes
    #[arg(long)]
    volumes: bool,
}

/// `corral system prune`.
pub(super) fn system(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<SystemFlags>("system prune", words)? else { return Ok(0) };
    let wanted = Wanted::new(&flags.filter, UNTIL)?;
    if flags.volumes && wanted.filters.values("until").next().is_some() {
        return Err(Failure::new("ERROR: The \"until\" filter is not supported with \"--volumes\""));
    }
    if !flags.force && !confirmed(&warning(&flags, &wanted))? {
        return Ok(0);
    }
    let engine = globals.engine()?;
    let mut parts =
        vec![("Deleted Containers:", engine.prune_containers(&|view| wanted.container(&engine, view))?)];
    if flags.volumes {
        let volumes = engine.prune_volumes(false, &|volume| wanted.filters.labels(&volume.labels))?;
        parts.push(("Deleted Volumes:", volumes));
    }
    parts.push(("Deleted Images:", engine.prune_images(flags.all, &|image| wanted.image(image))?));
    parts.push(("Deleted build cache objects:", engine.prune_layers()?));
    report(&parts)
}

fn warning(flags: &SystemFlags, wanted: &Wanted<'_>) -> String {
    let mut lines = vec!["all stopped containers", "all networks not used by at least one container"];
    if flags.volumes {
        lines.push("all anonymous volumes not used by at least one container");
    }
    lines.push(if flags.all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    });
    lines.push(if flags.all { "all build cache" } else { "unused build cache" });
    let mut text = String::from("WARNING! This will remove:");
    for line in lines {
        text.push_str(&format!("\n  - {line}"));
    }
    let mut filters: Vec<String> = ["label", "label!", "until"]
        .into_iter()
        .flat_map(|name| wanted.filters.values(name).map(move |value| format!("{name}={value}")))
        .collect();
    filters.sort();
    if !filters.is_empty() {
        text.push_str("\n\n  Items to be pruned will be filtered with:");
        for filter in filters {
            text.push_str(&format!("\n  - {filter}"));
        }
    }
    text.push('\n');
    text
}

const UNTIL: &[&str] = &["label", "label!", "until"];

/// What filters leave to be pruned.
struct Wanted<'f> {
    filters: Filters<'f>,
    until_ns: Option<u64>,
}

impl<'f> Wanted<'f> {
    fn new(filters: &'f [Filter], known: &[&str]) -> Result<Self, Failure> {
        let filters = Filters::new(filters, known)?;
        let mut moments = filters.values("until").map(crate::moment::moment);
        let until_ns = moments.next().transpose()?;
        if moments.next().is_some() {
            return Err(Failure::new("more than one until filter specified"));
        }
        drop(moments);
        Ok(Self { filters, until_ns })
    }

    /// One whose labels cannot be read stays.
    fn container(&self, engine: &Engine, view: &View) -> bool {
        self.until_ns.is_none_or(|until| view.record.created_ns < until)
            && (!self.filters.asks_labels()
                || labels(engine, view).is_ok_and(|labels| self.filters.labels(&labels)))
    }

    fn image(&self, image: &ImageSummary) -> bool {
        let made = created_ns(image.created.as_deref()).unwrap_or(0);
        self.until_ns.is_none_or(|until| made < until) && self.filters.labels(&image.labels)
    }
}

/// Asks, and takes only a yes for one.
fn confirmed(warning: &str) -> Result<bool, Failure> {
    output::print(&format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

fn report(parts: &[(&str, Pruned)]) -> Result<u8, Failure> {
    let mut text = String::new();
    for (head, pruned) in parts {
        if !pruned.lines.is_empty() {
            text.push_str(&format!("{head}\n{}\n\n", pruned.lines.join("\n")));
        }
    }
    let bytes = parts.iter().map(|(_, pruned)| pruned.bytes).sum();
    text.push_str(&format!("Total reclaimed space: {}\n", size4(bytes)));
    output::print(&text)?;
    Ok(0)
}
