//! Reading a tree's files while it is being assembled.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::Error;
use crate::tree::{Content, Node, NodeKind, Tree};

/// Configuration files and certificates are far below; a package cannot make us read more.
const TEXT_LIMIT: u64 = 4 << 20;

/// A file's bytes, at any offset.
pub(super) enum Bytes<'a> {
    Memory(&'a [u8]),
    File { file: File, offset: u64, size: u64 },
}

impl<'a> Bytes<'a> {
    pub(super) fn open(content: &'a Content) -> Result<Self, Error> {
        match content {
            Content::Bytes(bytes) => Ok(Self::Memory(bytes)),
            Content::Host { path, offset, size } => {
                let failed = |source| Error::Cache { act: "read", path: path.clone(), source };
                Ok(Self::File { file: File::open(path).map_err(failed)?, offset: *offset, size: *size })
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }

    /// The bytes of a range; `None` if it reaches past the end or cannot be read.
    pub(super) fn range(&self, at: u64, length: u64) -> Option<Vec<u8>> {
        let end = at.checked_add(length).filter(|end| *end <= self.len())?;
        match self {
            Self::Memory(bytes) => Some(bytes[at as usize..end as usize].to_vec()),
            Self::File { file, offset, .. } => {
                let mut bytes = vec![0; usize::try_from(length).ok()?];
                file.read_exact_at(&mut bytes, offset + at).ok()?;
                Some(bytes)
            }
        }
    }
}

/// A file's bytes; `None` if the path is not a file or a very large one.
pub(super) fn read(tree: &Tree, path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let Some(Node { kind: NodeKind::File(content), .. }) = tree.get(path) else { return Ok(None) };
    whole(content)
}

/// The bytes of a not very large file.
pub(super) fn whole(content: &Content) -> Result<Option<Vec<u8>>, Error> {
    let bytes = Bytes::open(content)?;
    if bytes.len() > TEXT_LIMIT {
        return Ok(None);
    }
    match (bytes.range(0, bytes.len()), content) {
        (None, Content::Host { path, .. }) => {
            let source = io::Error::from(io::ErrorKind::UnexpectedEof);
            Err(Error::Cache { act: "read", path: path.clone(), source })
        }
        (bytes, _) => Ok(bytes),
    }
}

/// Whether two files have the same bytes.
pub(super) fn same(a: &Content, b: &Content) -> Result<bool, Error> {
    const STEP: u64 = 1 << 20;
    let (a, b) = (Bytes::open(a)?, Bytes::open(b)?);
    if a.len() != b.len() {
        return Ok(false);
    }
    let mut at = 0;
    while at < a.len() {
        let length = STEP.min(a.len() - at);
        match (a.range(at, length), b.range(at, length)) {
            (Some(x), Some(y)) if x == y => at += length,
            _ => return Ok(false),
        }
    }
    Ok(true)
}
