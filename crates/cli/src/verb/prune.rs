use crate::app::Globals;
use crate::failure::{ENGINE, Failure};
use crate::output::size;
use crate::{Words, output};

/// `corral system repair|prune`.
pub(super) fn system(globals: &Globals, words: Words) -> Result<u8, Failure> {
    match words.first().and_then(|word| word.to_str()) {
        Some("repair") => {
            let collected = globals.engine()?.collect()?;
            output::print(&format!(
                "collected {} containers of killed processes and {} stale leases\n",
                collected.containers, collected.leases
            ))?;
            Ok(0)
        }
        Some("prune") => {
            let engine = globals.engine()?;
            engine.collect()?;
            let collected = engine.collect_images()?;
            output::print(&format!(
                "removed {} layers and {} blobs\nTotal reclaimed space: {}\n",
                collected.layers.len(),
                collected.blobs,
                size(collected.bytes)
            ))?;
            Ok(0)
        }
        Some("--help" | "-h") | None => {
            output::print(
                "Usage:  corral system COMMAND\n\nCommands:\n  \
                 repair    Find what killed processes left behind and clean it up\n  \
                 prune     Remove image data that no image and no container uses\n",
            )?;
            Ok(0)
        }
        Some(other) => {
            Err(Failure::with_code(ENGINE, format!("'system {other}' is not there yet (docs/roadmap.md)")))
        }
    }
}
