//! "Nothing has changed since": answered from the directory's entries alone.
//!
//! ```text
//! CACHE/unchanged/HEX     HEX = hash of every entry's path, size, inode and times, the options and this
//!                         program's version; contents: the image's digest
//! ```

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use corral_image::Store;
use corral_spec::Digest;
use sha2::{Digest as _, Sha256};

use crate::files::write_atomic;
use crate::scan::Scan;
use crate::{Error, PackOptions};

/// Raise it when the same project gives another image.
const VERSION: u32 = 1;
/// Two changes within one tick of the file system's clock have the same time; a tick is at most 10 ms on
/// Linux, and times in whole seconds or two are told by their zeros.
const TICK: Duration = Duration::from_millis(20);
const COARSE_TICK: Duration = Duration::from_secs(2);

/// Where the answer for a scanned directory is kept.
pub(crate) fn place(options: &PackOptions, scan: &Scan) -> PathBuf {
    let mut hash = Sha256::new();
    hash.update(scan.fingerprint(|_| true).as_bytes());
    hash.update(format!(
        "{VERSION} {} {:?} {:?} {:?} {:?} {:?}",
        env!("CARGO_PKG_VERSION"),
        options.directory,
        options.suite,
        options.packages,
        options.keyring,
        options.epoch,
    ));
    let key = Digest::from_bytes(hash.finalize().into());
    options.cache.join("unchanged").join(key.hex())
}

/// The image that the directory gave when it was as it is now.
pub(crate) fn find(options: &PackOptions, store: &Store, scan: &Scan) -> Option<Digest> {
    if options.upgrade {
        return None;
    }
    let text = std::fs::read_to_string(place(options, scan)).ok()?;
    let image: Digest = text.trim().parse().ok()?;
    store.resolve(&image.to_string()).ok().map(|image| image.id)
}

/// Remembers the image, if the directory is certain to be what was packed.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn remember(options: &PackOptions, before: &Scan, image: &Digest) -> Result<(), Error> {
    let after = Scan::of(&options.directory)?;
    let but_lock = |scan: &Scan| scan.fingerprint(|entry| entry.path != crate::lock::FILE);
    if but_lock(before) != but_lock(&after) || !settled(before) {
        return Ok(());
    }
    let place = place(options, &after);
    if let Some(dir) = place.parent() {
        std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    }
    write_atomic(&place, format!("{image}\n").as_bytes())
}

/// Whether the newest change was long enough ago that one after it would be seen.
fn settled(scan: &Scan) -> bool {
    let newest = SystemTime::UNIX_EPOCH + Duration::from_nanos(scan.newest);
    let tick = if scan.newest.is_multiple_of(1_000_000_000) { COARSE_TICK } else { TICK };
    SystemTime::now().duration_since(newest).is_ok_and(|age| age > tick)
}
