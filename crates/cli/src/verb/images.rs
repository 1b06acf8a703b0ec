use std::collections::BTreeSet;

use corral_engine::Engine;
use corral_image::ImageSummary;
use corral_spec::{Digest, ImageRef};
use serde_json::json;

use super::containers::print_lines;
use crate::app::Globals;
use crate::failure::Failure;
use crate::output::{Format, parse_rfc3339, since_ns, size, table};
use crate::{Words, output};

#[derive(Debug, clap::Args)]
struct ListFlags {
    /// Show all images (layers are not images here: the same list)
    #[arg(short, long)]
    all: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Format output: table or json
    #[arg(long, default_value = "table")]
    format: Format,
    /// Only this repository, or this tag of it
    repository: Option<String>,
}

/// `corral images`.
pub(super) fn images(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<ListFlags>("images", words)? else { return Ok(0) };
    let mut images = globals.engine()?.store().list()?;
    if let Some(wanted) = &flags.repository {
        images.retain(|image| image.reference.as_ref().is_some_and(|name| matches(name, wanted)));
    }
    let id = |image: &ImageSummary| if flags.no_trunc { image.id.to_string() } else { image.id.short() };
    if flags.quiet {
        let mut seen = BTreeSet::new();
        return print_lines(images.iter().filter(|image| seen.insert(image.id)).map(id)).map(|()| 0);
    }
    let rows: Vec<[String; 5]> = images
        .iter()
        .map(|image| {
            let name = image.reference.as_ref();
            [
                name.map_or_else(|| "<none>".into(), ImageRef::familiar_name),
                name.and_then(ImageRef::tag).unwrap_or("<none>").to_owned(),
                id(image),
                created(image.created.as_deref()),
                size(image.size),
            ]
        })
        .collect();
    if flags.format == Format::Json {
        let keys = ["Repository", "Tag", "ID", "CreatedSince", "Size"];
        print_lines(rows.iter().map(|row| {
            let object: serde_json::Map<String, serde_json::Value> =
                keys.iter().zip(row).map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
            serde_json::Value::Object(object).to_string()
        }))?;
    } else {
        let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
        output::print(&table(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], &rows))?;
    }
    Ok(0)
}

fn matches(name: &ImageRef, wanted: &str) -> bool {
    let tagged = wanted.rsplit_once(':').is_some_and(|(_, tag)| !tag.contains('/'));
    match wanted.parse::<ImageRef>() {
        Ok(wanted) if tagged => *name == wanted,
        Ok(wanted) => name.familiar_name() == wanted.familiar_name(),
        Err(_) => false,
    }
}

fn created(moment: Option<&str>) -> String {
    match moment.and_then(parse_rfc3339) {
        Some(seconds) => format!("{} ago", since_ns(seconds.saturating_mul(1_000_000_000))),
        None => "N/A".to_owned(),
    }
}

#[derive(Debug, clap::Args)]
struct RemoveFlags {
    /// Force removal of the image
    #[arg(short, long)]
    force: bool,
    /// Images
    #[arg(required = true)]
    images: Vec<String>,
}

/// `corral rmi`.
pub(super) fn rmi(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<RemoveFlags>("rmi", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    engine.collect()?;
    let mut code = 0;
    for name in &flags.images {
        match remove(&engine, name, flags.force) {
            Ok(lines) => print_lines(lines)?,
            Err(failure) => {
                failure.print();
                code = 1;
            }
        }
    }
    engine.collect_images()?;
    Ok(code)
}

fn remove(engine: &Engine, name: &str, force: bool) -> Result<Vec<String>, Failure> {
    let used = engine.images_in_use()?;
    let removed = engine.store().remove(name, force, &|id: &Digest| used.contains(id))?;
    let untagged = removed.untagged.iter().map(|name| format!("Untagged: {name}"));
    Ok(untagged.chain(removed.deleted.iter().map(|id| format!("Deleted: {id}"))).collect())
}

#[derive(Debug, clap::Args)]
struct TagFlags {
    /// Image
    source: String,
    /// New name
    target: ImageRef,
}

/// `corral tag`.
pub(super) fn tag(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<TagFlags>("tag", words)? else { return Ok(0) };
    if flags.target.digest().is_some() {
        return Err(Failure::new(format!(
            "refusing to create a tag with a digest reference: {}",
            flags.target
        )));
    }
    let engine = globals.engine()?;
    let image = engine.store().resolve(&flags.source)?;
    engine.store().tag(&image.id, &flags.target)?;
    Ok(0)
}

#[derive(Debug, clap::Args)]
struct HistoryFlags {
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// Format output: table or json
    #[arg(long, default_value = "table")]
    format: Format,
    /// Image
    image: String,
}

/// `corral history`.
pub(super) fn history(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<HistoryFlags>("history", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let image = engine.store().resolve(&flags.image)?;
    let id = if flags.no_trunc { image.id.to_string() } else { image.id.short() };
    let rows = engine.store().history(&image)?;
    let name = |at: usize| if at == 0 { id.clone() } else { "<missing>".to_owned() };
    if flags.quiet {
        print_lines((0..rows.len()).map(name))?;
    } else if flags.format == Format::Json {
        print_lines(rows.iter().enumerate().map(|(at, row)| {
            json!({
                "ID": name(at), "CreatedAt": row.created, "CreatedSince": created(row.created.as_deref()),
                "CreatedBy": row.created_by, "Size": size(row.size), "Comment": row.comment,
            })
            .to_string()
        }))?;
    } else {
        let cut = |text: &str| match text.char_indices().nth(44) {
            Some((at, _)) if !flags.no_trunc => format!("{}…", &text[..at]),
            _ => text.to_owned(),
        };
        let rows: Vec<Vec<String>> = rows
            .iter()
            .enumerate()
            .map(|(at, row)| {
                vec![
                    name(at),
                    created(row.created.as_deref()),
                    cut(&row.created_by),
                    size(row.size),
                    row.comment.clone(),
                ]
            })
            .collect();
        output::print(&table(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows))?;
    }
    Ok(0)
}
