use std::collections::BTreeMap;
use std::path::PathBuf;

/// One entry of a layer, without its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// Relative path inside the image, no `.` or `..`: `usr/bin/python3`.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, set-id and sticky bits included (07777).
    pub mode: u32,
    /// Owner inside the image.
    pub uid: u32,
    /// Group inside the image.
    pub gid: u32,
    /// Modification time in whole seconds since the epoch.
    pub mtime: i64,
    /// Extended attributes, e.g. `security.capability`.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What an [`EntryHead`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of so many bytes.
    File {
        /// Length of the contents.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Stored verbatim, never followed.
        target: PathBuf,
    },
    /// Another name of a file that came earlier in the same layer.
    Hardlink {
        /// Path of that entry, relative as [`EntryHead::path`].
        target: PathBuf,
    },
    /// A named pipe.
    Fifo,
    /// Hides what lower layers have at this path.
    Whiteout,
    /// Hides all that lower layers have in this directory, which came earlier in the same layer.
    Opaque,
}

impl EntryHead {
    /// A root-owned entry without extended attributes, time 0.
    pub fn new(path: impl Into<PathBuf>, kind: EntryKind, mode: u32) -> Self {
        Self { path: path.into(), kind, mode, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() }
    }
}
