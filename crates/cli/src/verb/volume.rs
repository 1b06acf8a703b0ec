use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corral_engine::VolumeRequest;

use super::transfer::{open, to_file, to_stdout};
use crate::app::Globals;
use crate::failure::{ENGINE, Failure};
use crate::{Words, output};

#[derive(Debug, clap::Args)]
struct CreateFlags {
    /// Specify volume driver name
    #[arg(short, long, default_value = "local")]
    driver: String,
    /// Set metadata for a volume
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Name of the volume
    volume: Option<String>,
}

/// `corral volume create`.
pub(super) fn create(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<CreateFlags>("volume create", words)? else { return Ok(0) };
    if flags.driver != "local" {
        return Err(Failure::new(format!("no such volume driver: {} (only local is there)", flags.driver)));
    }
    let request =
        VolumeRequest { name: flags.volume, labels: pairs(&flags.label), options: pairs(&flags.opt) };
    let volume = globals.engine()?.create_volume(request)?;
    output::print(&format!("{}\n", volume.name))?;
    Ok(0)
}

fn pairs(words: &[String]) -> BTreeMap<String, String> {
    let pair = |word: &String| {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        (key.to_owned(), value.to_owned())
    };
    words.iter().map(pair).collect()
}

#[derive(Debug, clap::Args)]
struct RemoveFlags {
    /// Force the removal of one or more volumes
    #[arg(short, long)]
    force: bool,
    /// Volumes
    #[arg(required = true)]
    volumes: Vec<String>,
}

/// `corral volume rm`.
pub(super) fn remove(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<RemoveFlags>("volume rm", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    super::for_each(&flags.volumes, |name| {
        match engine.remove_volume(name) {
            Err(corral_engine::Error::NoVolume(_)) if flags.force => {}
            removed => removed?,
        }
        Ok(name.to_owned())
    })
}

#[derive(Debug, clap::Args)]
struct ExportFlags {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Volume
    volume: String,
}

/// `corral volume export`.
pub(super) fn export(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<ExportFlags>("volume export", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    // Before a file is made.
    engine.find_volume(&flags.volume)?;
    match &flags.output {
        Some(path) => to_file(path, |out| Ok(engine.export_volume(&flags.volume, out)?)),
        None => to_stdout("export", |out| Ok(engine.export_volume(&flags.volume, out)?)),
    }
}

#[derive(Debug, clap::Args)]
struct ImportFlags {
    /// Volume; made if it is not there
    volume: String,
    /// A tar archive, or - for standard input
    file: PathBuf,
}

/// `corral volume import`.
pub(super) fn import(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<ImportFlags>("volume import", words)? else { return Ok(0) };
    if flags.volume.is_empty() {
        return Err(Failure::with_code(ENGINE, "the volume's name is missing"));
    }
    let file = (flags.file != Path::new("-")).then_some(flags.file.as_path());
    let mut archive = open(file, "import")?;
    globals.engine()?.import_volume(&flags.volume, &mut archive)?;
    Ok(0)
}
