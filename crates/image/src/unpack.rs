use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use corral_spec::Digest;

use crate::header::padding;
use crate::layer::Meta;
use crate::member::{Member, MemberKind};
use crate::source::Source;
use crate::sparse::SparseFile;
use crate::split::SplitWriter;
use crate::tree::{Repeats, Tree};
use crate::writer::create_headers;
use crate::{Error, LayerInfo, Store};

/// What an archive may cost before it is refused as a bomb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Entries in one layer.
    pub entries: u64,
    /// Uncompressed bytes of one layer.
    pub bytes: u64,
    /// How many times larger than its compressed form a layer may be, checked beyond 1 GiB.
    pub ratio: u64,
}

impl Default for UnpackLimits {
    /// Room for layers of model weights; the ratio stops gigabytes of zeros in a few megabytes.
    fn default() -> Self {
        Self { entries: 4_000_000, bytes: 64 << 30, ratio: 100 }
    }
}

impl Store {
    /// Unpacks a layer tar, plain, gzip or zstd (told by its first bytes), into the store.
    ///
    /// Directories that the archive leaves out are made for root with mode 0755; a path that comes twice is
    /// what it was last. Owners, modes, times and the attributes `security.capability`, `user.*` and
    /// POSIX ACLs are applied.
    ///
    /// # Errors
    /// [`Error::Entry`] naming an entry that is unsafe or cannot be stored; [`Error::Limit`];
    /// [`Error::DigestMismatch`] if the uncompressed tar is not `expect`; else what reading or writing gives.
    pub fn unpack_layer(
        &self,
        reader: impl Read,
        expect: Option<&Digest>,
        limits: &UnpackLimits,
    ) -> Result<LayerInfo, Error> {
        let _lease = self.lease()?;
        let staging = self.staging()?;
        let layer = staging.path().join("layer");
        let mut unpack = Unpack {
            source: Source::new(reader, limits, true)?,
            tree: Tree::create(&layer, Repeats::Replace)?,
            split: create_headers(&layer)?,
            headers: &layer,
            files: 0,
            content: 0,
        };
        unpack.run(limits.entries)?;
        let Unpack { source, tree, split, files, content, .. } = unpack;
        split.finish().map_err(|e| Error::io("write", &layer, e))?;
        let (diff_id, size) = source.digest();
        if let Some(expect) = expect.filter(|expect| **expect != diff_id) {
            return Err(Error::DigestMismatch { what: "layer".into(), expect: *expect, got: diff_id });
        }
        let info = LayerInfo { diff_id, size, content, files };
        self.publish_layer(&staging, &Meta::new(&info, tree.finish()?))?;
        Ok(info)
    }
}

struct Unpack<'r> {
    source: Source<'r>,
    tree: Tree,
    split: SplitWriter,
    headers: &'r Path,
    files: u64,
    content: u64,
}

impl Unpack<'_> {
    fn run(&mut self, limit: u64) -> Result<(), Error> {
        let mut raw = Vec::new();
        loop {
            let member = self.source.member(&mut raw)?;
            self.keep(&raw)?;
            let Some(member) = member else { break };
            self.files += 1;
            if self.files > limit {
                return Err(Error::Limit { what: "entries", limit });
            }
            self.place(member)?;
        }
        if self.files == 0 && raw.is_empty() {
            return Err(Error::Archive("it is empty".into()));
        }
        Ok(())
    }

    fn keep(&mut self, raw: &[u8]) -> Result<(), Error> {
        self.split.raw(raw).map_err(|e| Error::io("write", self.headers, e))
    }

    fn place(&mut self, member: Member) -> Result<(), Error> {
        let Member { path, kind, size, attributes } = member;
        let name = path.file_name().unwrap_or_default().as_bytes();
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return self.whiteout(&path, hidden, size, &kind);
        }
        match kind {
            MemberKind::File => {
                let file = self.tree.file(&path, attributes.mode)?;
                self.contents(&path, file, size).and_then(|file| self.tree.seal(&path, &file, &attributes))
            }
            MemberKind::Directory => self.tree.directory(&path, attributes),
            MemberKind::Symlink(target) => self.tree.symlink(&path, &target, &attributes),
            MemberKind::Hardlink(target) => self.tree.hardlink(&path, &target),
            MemberKind::Fifo => self.tree.fifo(&path, &attributes),
            MemberKind::Device(true, 0, 0) => self.tree.whiteout(&path),
            MemberKind::Device(_, major, minor) => Err(Error::entry(
                &path,
                format!(
                    "device node {major}:{minor}: devices come from the runtime, leave it out of the image"
                ),
            )),
        }
    }

    fn contents(&mut self, path: &Path, file: std::fs::File, size: u64) -> Result<std::fs::File, Error> {
        let mut left = size;
        let mut sparse = SparseFile::new(&file);
        let fail = |e| Error::io("write", self.tree.show(path), e);
        while left > 0 {
            let chunk = self.source.chunk(left)?;
            sparse.write(chunk).map_err(fail)?;
            left -= chunk.len() as u64;
        }
        sparse.finish().map_err(fail)?;
        self.content += size;
        if size > 0 {
            self.split.file(path, size).map_err(|e| Error::io("write", self.headers, e))?;
        }
        let mut pad = Vec::new();
        self.source.append(padding(size) as u64, &mut pad)?;
        self.keep(&pad)?;
        Ok(file)
    }

    /// `.wh.NAME` hides NAME, `.wh..wh..opq` all that lower layers have in its directory (OCI image-spec,
    /// "layer.md": whiteouts).
    fn whiteout(&mut self, path: &Path, hidden: &[u8], size: u64, kind: &MemberKind) -> Result<(), Error> {
        let refuse = |reason: &str| Err(Error::entry(path, reason));
        if size > 0 || *kind == MemberKind::Directory {
            return refuse("a deletion mark with contents");
        }
        let dir = path.parent().unwrap_or(Path::new(""));
        match hidden {
            b".wh..opq" => self.tree.opaque(dir),
            b"" | b"." | b".." => refuse("a deletion mark that names nothing"),
            hidden if hidden.starts_with(b".wh.") => {
                refuse("a mark of aufs: export the image with a newer tool")
            }
            hidden => self.tree.whiteout(&dir.join(std::ffi::OsStr::from_bytes(hidden))),
        }
    }
}
