use std::path::{Path, PathBuf};

/// Reads a file such as `/etc/passwd` as a container of these layers would see it, at most `limit` bytes.
/// None if it is not there, is not a regular file, is larger, or cannot be read.
pub fn read_file(layers_topmost_first: &[PathBuf], path: &Path, limit: u64) -> Option<Vec<u8>> {
    todo!("{layers_topmost_first:?} {path:?} {limit}")
}
