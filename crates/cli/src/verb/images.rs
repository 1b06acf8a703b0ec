use corral_engine::Engine;
use corral_spec::ImageRef;

use super::containers::print_lines;
use crate::Words;
use crate::app::Globals;
use crate::failure::Failure;

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
    engine.collect_if_possible();
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
    let removed = engine.remove_image(name, force)?;
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
    globals.engine()?.tag(&flags.source, &flags.target)?;
    Ok(0)
}
