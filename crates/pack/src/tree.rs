//! A file tree on its way into an image layer: paths in canonical order, each with its metadata and
//! where its bytes are. What is on disk belongs to others; a tree only points at it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Paths below the image's root, without leading slash, in byte order (which puts a directory before
/// what is in it). The same tree gives the same layer digest on any machine.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<PathBuf, Node>,
}

/// One file, directory or link.
#[derive(Clone, Debug)]
pub struct Node {
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u32,
    /// Owner inside the image.
    pub uid: u32,
    /// Group inside the image.
    pub gid: u32,
    /// What it is.
    pub kind: NodeKind,
}

/// What a [`Node`] is.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link with its target as written.
    Symlink(PathBuf),
    /// A hard link to another path of the same tree.
    Hardlink(PathBuf),
}

/// Where a file's bytes are.
#[derive(Clone, Debug)]
pub enum Content {
    /// In memory.
    Bytes(Arc<[u8]>),
    /// In a file of the host that does not change while the tree lives.
    Host {
        /// Its path.
        path: PathBuf,
        /// Offset of the first byte, so that members of a plain tar need no copy.
        offset: u64,
        /// Length in bytes.
        size: u64,
    },
}

impl Tree {
    /// Puts a node in place, replacing what was there. Missing parents are not made: see [`Tree::make_parents`].
    pub fn insert(&mut self, path: impl Into<PathBuf>, node: Node) -> Option<Node> {
        self.nodes.insert(path.into(), node)
    }

    /// Takes a node out; what is below a directory stays.
    pub fn remove(&mut self, path: &Path) -> Option<Node> {
        self.nodes.remove(path)
    }

    /// The node at a path.
    pub fn get(&self, path: &Path) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// All nodes in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_path(), node))
    }

    /// All nodes in canonical order, by value.
    pub fn into_nodes(self) -> impl Iterator<Item = (PathBuf, Node)> {
        self.nodes.into_iter()
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Makes every missing parent directory of every node: root-owned, mode 0755.
    pub fn make_parents(&mut self) {
        let missing: Vec<PathBuf> = self
            .nodes
            .keys()
            .flat_map(|path| path.ancestors().skip(1))
            .filter(|parent| !parent.as_os_str().is_empty() && !self.nodes.contains_key(*parent))
            .map(Path::to_path_buf)
            .collect();
        for path in missing {
            self.nodes.insert(path, Node::directory(0o755));
        }
    }

    /// Sum of all file sizes in bytes; hard links count once.
    pub fn file_bytes(&self) -> u64 {
        self.nodes.values().map(Node::size).sum()
    }
}

impl Node {
    /// A root-owned directory.
    pub fn directory(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0, kind: NodeKind::Directory }
    }

    /// A root-owned file with these bytes.
    pub fn file(mode: u32, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { mode, uid: 0, gid: 0, kind: NodeKind::File(Content::Bytes(bytes.into())) }
    }

    /// A root-owned symbolic link.
    pub fn symlink(target: impl Into<PathBuf>) -> Self {
        Self { mode: 0o777, uid: 0, gid: 0, kind: NodeKind::Symlink(target.into()) }
    }

    /// The file's length in bytes, 0 for everything else.
    pub fn size(&self) -> u64 {
        match &self.kind {
            NodeKind::File(Content::Bytes(bytes)) => bytes.len() as u64,
            NodeKind::File(Content::Host { size, .. }) => *size,
            _ => 0,
        }
    }
}
