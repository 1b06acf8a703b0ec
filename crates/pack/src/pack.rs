use corral_engine::Engine;
use corral_image::Store;

use crate::{Error, PackOptions, Packed, Progress};

/// Packs a directory into an image of the store and names it. Foreign code runs only in steps of the engine.
///
/// # Errors
/// See [`Error`]. Nothing half-made is left that the next command does not collect.
pub fn pack(
    engine: &Engine,
    store: &Store,
    options: &PackOptions,
    progress: &dyn Fn(Progress),
) -> Result<Packed, Error> {
    let _ = (engine, store, progress);
    Err(Error::Project { path: options.directory.clone(), reason: "not written yet".into() })
}
