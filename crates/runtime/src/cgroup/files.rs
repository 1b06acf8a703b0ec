//! Reading and writing the files of one group.

use std::path::{Path, PathBuf};

use crate::{Error, kernel_file};

/// Writes, with the path in the error.
pub(super) fn set(path: PathBuf, value: &str) -> Result<(), Error> {
    kernel_file::write(&path, value).map_err(|source| Error::Group { act: "write", path, source })
}

/// Reads a small file.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    kernel_file::read(path).map_err(|source| Error::Group { act: "read", path: path.to_owned(), source })
}

/// The number after `key` in a file of `key number` lines.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
