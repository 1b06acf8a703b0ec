use corral_engine::Engine;
use corral_state::Volume;

use crate::app::Globals;
use crate::failure::Failure;
use crate::filter::{Filter, Filters};
use crate::listing::Listing;
use crate::template::Value;
use crate::{Words, output};

#[derive(Debug, clap::Args)]
struct Flags {
    /// Provide filter values (e.g. "dangling=true")
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<Filter>,
    /// Format output: table, 'table TEMPLATE', json, or a Go template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Only display volume names
    #[arg(short, long)]
    quiet: bool,
}

pub(super) const LISTING: Listing = Listing {
    heads: &[
        ("Name", "VOLUME NAME"),
        ("Group", "GROUP"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Availability", "AVAILABILITY"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
    table: "{{.Driver}}\t{{.Name}}",
    raw: "name: {{.Name}}\ndriver: {{.Driver}}\n",
};

/// `corral volume ls`.
pub(super) fn list(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("volume ls", words)? else { return Ok(0) };
    let format = match flags.format.as_str() {
        "" | "table" if flags.quiet => LISTING.format("{{.Name}}")?,
        "raw" if flags.quiet => LISTING.format("name: {{.Name}}")?,
        text => LISTING.format(text)?,
    };
    let engine = globals.engine()?;
    let rows: Vec<Value> = filtered(&engine, &flags.filter)?
        .iter()
        .map(|volume| row(&engine, volume, "N/A".into(), "N/A".into()))
        .collect::<Result<_, _>>()?;
    output::print(&format.rows(&rows)?)?;
    Ok(0)
}

/// A volume's cells. How many containers use it and how large it is cost a look at all of them.
pub(super) fn row(engine: &Engine, volume: &Volume, links: String, size: String) -> Result<Value, Failure> {
    let labels = volume.labels.clone();
    let cells = vec![
        ("Name", volume.name.as_str().into()),
        ("Group", "N/A".into()),
        ("Driver", "local".into()),
        ("Scope", "local".into()),
        ("Availability", "N/A".into()),
        ("Mountpoint", engine.mountpoint(volume)?.display().to_string().into()),
        (
            "Labels",
            labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",").into(),
        ),
        ("Links", links.into()),
        ("Size", size.into()),
        ("Status", "N/A".into()),
    ];
    Ok(Value::row("*formatter.volumeContext", cells, labels))
}

fn filtered(engine: &Engine, filters: &[Filter]) -> Result<Vec<Volume>, Failure> {
    let filters = Filters::new(filters, &["dangling", "driver", "label", "name"])?;
    let mut volumes = engine.volumes()?;
    if let Some(dangling) = filters.flag("dangling")? {
        let users = engine.volume_users()?;
        volumes.retain(|volume| users.contains_key(&volume.name) != dangling);
    }
    volumes.retain(|volume| {
        filters.exact("driver", &["local"])
            && filters.pattern("name", &volume.name)
            && filters.labels(&volume.labels)
    });
    Ok(volumes)
}
