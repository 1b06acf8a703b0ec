use std::ffi::OsStr;

use super::containers::print_lines;
use crate::app::Globals;
use crate::failure::{ENGINE, Failure};
use crate::output::{rfc3339, table};
use crate::{Words, output};

#[derive(Debug, clap::Args)]
struct ListFlags {
    /// Only display volume names
    #[arg(short, long)]
    quiet: bool,
    /// Format output: table or json
    #[arg(long, default_value = "table")]
    format: output::Format,
}

#[derive(Debug, clap::Args)]
struct NameFlags {
    /// Volumes
    #[arg(required = true)]
    volumes: Vec<String>,
}

/// `corral volume ls|create|rm`.
pub(super) fn volume(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let (verb, rest) =
        words.split_first().map_or((None, Vec::new()), |(verb, rest)| (verb.to_str(), rest.to_vec()));
    let engine = || globals.engine();
    match verb {
        Some("ls" | "list") => list(globals, rest),
        Some("rm" | "remove") => {
            let Some(flags) = super::parse::<NameFlags>("volume", rest)? else { return Ok(0) };
            let engine = engine()?;
            super::for_each(&flags.volumes, |name| {
                engine.remove_volume(name)?;
                Ok(name.to_owned())
            })
        }
        Some("create") => {
            let Some(flags) = super::parse::<NameFlags>("volume", rest)? else { return Ok(0) };
            let engine = engine()?;
            super::for_each(&flags.volumes, |name| {
                name.parse::<corral_spec::ContainerName>()
                    .map_err(|_| Failure::new(format!("invalid volume name {name:?}")))?;
                engine.volume(name)?;
                Ok(name.to_owned())
            })
        }
        Some("--help" | "-h") | None => {
            output::print(
                "Manage volumes\n\nUsage:  corral volume COMMAND\n\nCommands:\n  create    Create volumes\n  ls        List volumes\n  rm        Remove volumes\n",
            )?;
            Ok(0)
        }
        Some(other) => {
            let known = ["inspect", "prune", "update"].map(OsStr::new).contains(&OsStr::new(other));
            let why = if known {
                "is not there yet (docs/roadmap.md says what is)"
            } else {
                "is not a corral volume command"
            };
            Err(Failure::with_code(ENGINE, format!("'volume {other}' {why}")))
        }
    }
}

fn list(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<ListFlags>("volume", words)? else { return Ok(0) };
    let volumes = globals.engine()?.volumes()?;
    if flags.quiet {
        print_lines(volumes.into_iter().map(|volume| volume.name))?;
    } else if flags.format == output::Format::Json {
        print_lines(volumes.into_iter().map(|volume| {
            let created = rfc3339(volume.created_ns.max(0) as u64);
            serde_json::json!({ "Name": volume.name, "Driver": "local", "CreatedAt": created }).to_string()
        }))?;
    } else {
        let rows: Vec<Vec<String>> =
            volumes.into_iter().map(|volume| vec!["local".into(), volume.name]).collect();
        output::print(&table(&["DRIVER", "VOLUME NAME"], &rows))?;
    }
    Ok(0)
}
