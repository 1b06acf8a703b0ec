//! Unpacked bytes on their way into a layer, outside any hostile name.
//!
//! ```text
//! STAGE/0  STAGE/1  STAGE/2 …   contents over 64 KiB, named by number; smaller ones stay in memory
//! ```

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Error;
use crate::tree::Content;
use crate::work::WorkDir;

/// Contents at most this long are kept in memory.
const SMALL: u64 = 64 << 10;

/// Takes a file's bytes, piece by piece.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Error>;

/// A place for unpacked file contents.
pub struct Stage {
    dir: WorkDir,
    next: AtomicU64,
}

impl Stage {
    /// An empty stage in the pack cache.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn new(cache: &Path) -> Result<Self, Error> {
        Ok(Self { dir: WorkDir::new(cache)?, next: AtomicU64::new(0) })
    }

    /// Keeps `size` bytes that `fill` hands to its sink.
    ///
    /// # Errors
    /// [`Error::Io`], or what `fill` returned.
    pub fn keep(
        &self,
        size: u64,
        fill: &mut dyn FnMut(Sink<'_>) -> Result<(), Error>,
    ) -> Result<Content, Error> {
        if size <= SMALL {
            let mut bytes = Vec::with_capacity(size as usize);
            fill(&mut |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
            return Ok(Content::Bytes(bytes.into()));
        }
        let path = self.dir.path().join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let mut file = File::create_new(&path).map_err(Error::io("create", &path))?;
        fill(&mut |piece| file.write_all(piece).map_err(Error::io("write", &path)))?;
        Ok(Content::Host { path, offset: 0, size })
    }
}
