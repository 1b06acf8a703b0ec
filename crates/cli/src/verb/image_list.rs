use std::collections::{BTreeMap, BTreeSet};

use corral_engine::Engine;
use corral_image::ImageSummary;
use corral_spec::{Digest, ImageRef};

use crate::app::Globals;
use crate::failure::Failure;
use crate::filter::{Filter, Filters, glob, invalid};
use crate::listing::{Listing, to_terminal};
use crate::output::{moment, parse_rfc3339, since_ns, size, size4};
use crate::template::{Value, harmless};
use crate::{Words, output};

#[derive(Debug, clap::Args)]
struct Flags {
    /// Show all images (layers are not images here: the same list)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<Filter>,
    /// Format output: table, 'table TEMPLATE', json, or a Go template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// Only this repository, or this tag of it
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: Option<String>,
}

const HEADS: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];
pub(super) const LISTING: Listing = Listing {
    heads: HEADS,
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}",
    raw: "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\n\
          virtual_size: {{.Size}}\n",
};
const WITH_DIGESTS: Listing = Listing {
    heads: HEADS,
    table: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t\
            {{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}",
    raw: "repository: {{.Repository}}\ntag: {{.Tag}}\ndigest: {{.Digest}}\nimage_id: {{.ID}}\n\
          created_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n",
};
const FILTERS: &[&str] = &["before", "dangling", "label", "label!", "reference", "since", "until"];

/// `corral images`.
pub(super) fn images(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("images", words)? else { return Ok(0) };
    let listing = if flags.digests { &WITH_DIGESTS } else { &LISTING };
    let format = match flags.format.as_str() {
        "" | "table" if flags.quiet => listing.format("{{.ID}}")?,
        "raw" if flags.quiet => listing.format("image_id: {{.ID}}")?,
        text if flags.digests && text.starts_with("table ") && !text.contains("{{.Digest}}") => {
            listing.format(&format!("{text}\t{{{{.Digest}}}}"))?
        }
        text => listing.format(text)?,
    };
    let engine = globals.engine()?;
    let mut list = filtered(&engine, &flags.filter)?;
    if let Some(pattern) = &flags.repository {
        let mut kept = Vec::new();
        for image in list {
            if is_called(&image, pattern)? {
                kept.push(image);
            }
        }
        list = kept;
    }
    if flags.quiet {
        // A name more is no other image.
        let mut seen = BTreeSet::new();
        list.retain(|image| seen.insert(image.id));
    }
    let rows: Vec<Value> = list.iter().map(|image| row(image, flags.no_trunc, to_terminal(), &[])).collect();
    output::print(&format.rows(&rows)?)?;
    Ok(0)
}

/// An image's cells; more of them stand in for those that a listing does not know.
pub(super) fn row(image: &ImageSummary, whole: bool, clean: bool, more: &[(&'static str, String)]) -> Value {
    let name = image.reference.as_ref();
    let nothing = || "<none>".to_owned();
    let created_ns = created_ns(image.created.as_deref());
    let text = |text: String| Value::from(if clean { harmless(&text) } else { text });
    let mut cells = vec![
        ("ID", Value::from(if whole { image.id.to_string() } else { image.id.short() })),
        ("Repository", name.map_or_else(nothing, ImageRef::familiar_name).into()),
        ("Tag", name.and_then(ImageRef::tag).map_or_else(nothing, str::to_owned).into()),
        ("Digest", name.and(image.manifest).map_or_else(nothing, |manifest| manifest.to_string()).into()),
        ("CreatedSince", created_ns.map_or_else(String::new, |ns| format!("{} ago", since_ns(ns))).into()),
        ("CreatedAt", created_ns.map_or_else(|| "N/A".to_owned(), moment).into()),
        ("Size", size(image.size).into()),
        ("Containers", "N/A".into()),
        ("VirtualSize", size4(image.size).into()),
        ("SharedSize", "N/A".into()),
        ("UniqueSize", "N/A".into()),
    ];
    for (name, value) in more {
        if let Some(cell) = cells.iter_mut().find(|(known, _)| known == name) {
            cell.1 = text(value.clone());
        }
    }
    Value::row("*formatter.imageContext", cells, BTreeMap::new())
}

/// A moment of a config in nanoseconds.
pub(super) fn created_ns(moment: Option<&str>) -> Option<u64> {
    Some(parse_rfc3339(moment?)?.saturating_mul(1_000_000_000))
}

/// The images that filters leave.
fn filtered(engine: &Engine, filters: &[Filter]) -> Result<Vec<ImageSummary>, Failure> {
    let filters = Filters::new(filters, FILTERS)?;
    let dangling = filters.flag("dangling")?;
    let made = |name| -> Result<Option<u64>, Failure> {
        let images = filters.values(name).map(|value| -> Result<u64, Failure> {
            let image = engine.store().resolve(value)?;
            created_ns(image.config.created.as_deref()).ok_or_else(|| {
                Failure::new(format!("{}: it does not say when it was made", invalid(name, value).message()))
            })
        });
        images.last().transpose()
    };
    let until = filters.values("until").map(crate::moment::moment).collect::<Result<Vec<_>, _>>()?;
    let before_ns = made("before")?.into_iter().chain(until).min();
    let since_ns = made("since")?;
    let mut kept = Vec::new();
    for image in engine.store().list()? {
        // Who does not say when he was made is as old as anything.
        let made = created_ns(image.created.as_deref()).unwrap_or(0);
        let mut matches = dangling.is_none_or(|dangling| dangling == image.reference.is_none())
            && filters.labels(&image.labels)
            && before_ns.is_none_or(|moment| made < moment)
            && since_ns.is_none_or(|moment| made > moment);
        if matches && filters.values("reference").next().is_some() {
            let called = filters.values("reference").map(|pattern| is_called(&image, pattern));
            matches = called.collect::<Result<Vec<_>, _>>()?.contains(&true);
        }
        if matches {
            kept.push(image);
        }
    }
    Ok(kept)
}

/// Whether an image's name matches a pattern, with its tag or without.
fn is_called(image: &ImageSummary, pattern: &str) -> Result<bool, Failure> {
    let Some(name) = &image.reference else { return Ok(false) };
    // What is no pattern may be spelled in full: docker.io/library/busybox.
    if let Ok(wanted) = pattern.parse::<ImageRef>() {
        let tagged = pattern.rsplit_once(':').is_some_and(|(_, tag)| !tag.contains('/'));
        if let Some(digest) = wanted.digest() {
            return Ok(image.manifest == Some(*digest) && name.familiar_name() == wanted.familiar_name());
        }
        return Ok(if tagged { *name == wanted } else { name.familiar_name() == wanted.familiar_name() });
    }
    Ok(glob(pattern, &name.to_string())? || glob(pattern, &name.familiar_name())?)
}

#[derive(Debug, clap::Args)]
struct HistoryFlags {
    /// Format output: table, 'table TEMPLATE', json, or a Go template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// Image
    image: String,
}

const HISTORY_HEADS: &[(&str, &str)] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

/// `corral history`.
pub(super) fn history(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<HistoryFlags>("history", words)? else { return Ok(0) };
    let table = if flags.human {
        "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
    } else {
        "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
    };
    let listing = Listing { heads: HISTORY_HEADS, table, raw: "" };
    let format = match flags.format.as_str() {
        "" | "table" if flags.quiet => listing.format("{{.ID}}")?,
        text => listing.format(text)?,
    };
    let engine = globals.engine()?;
    let image = engine.store().resolve(&flags.image)?;
    let clean = to_terminal();
    let text = |text: String| Value::from(if clean { harmless(&text) } else { text });
    let rows: Vec<Value> = engine
        .store()
        .history(&image)?
        .into_iter()
        .enumerate()
        .map(|(at, step)| {
            let id = |id: &Digest| if flags.no_trunc { id.to_string() } else { id.short() };
            let id = if at == 0 { id(&image.id) } else { "<missing>".to_owned() };
            let made = created_ns(step.created.as_deref());
            let at = made.map_or_else(String::new, |ns| output::local(ns, output::rfc3339));
            // Nothing was built before 2000: such a moment stands for none.
            let since = match made {
                _ if !flags.human => at.clone(),
                Some(ns) if ns > 946_684_800_000_000_000 => format!("{} ago", since_ns(ns)),
                _ => String::new(),
            };
            let by = step.created_by.replace('\t', " ");
            let by = if flags.no_trunc { by } else { output::ellipsis(&by, 45) };
            let cells = vec![
                ("ID", id.into()),
                ("CreatedSince", since.into()),
                ("CreatedAt", at.into()),
                ("CreatedBy", text(by)),
                ("Size", if flags.human { size(step.size) } else { step.size.to_string() }.into()),
                ("Comment", text(step.comment)),
            ];
            Value::row("*image.historyContext", cells, BTreeMap::new())
        })
        .collect();
    output::print(&format.rows(&rows)?)?;
    Ok(0)
}
