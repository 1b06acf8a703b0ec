use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use corral_spec::Digest;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::gc::Lease;
use crate::header::{self, BLOCK};
use crate::layer::Meta;
use crate::sparse::SparseFile;
use crate::split::SplitWriter;
use crate::staging::Staging;
use crate::tree::{Attributes, Repeats, Tree};
use crate::{EntryHead, EntryKind, Error, LayerInfo, Sink, Store};

/// From this size on it is worth asking the file system to share blocks.
const SHARE: u64 = 64 << 10;

/// Writes one layer: files to staging and, at the same time, the canonical tar into the digest.
///
/// Entries come parents first, each path once. Dropped without [`LayerWriter::finish`], nothing remains.
pub struct LayerWriter<'s> {
    store: &'s Store,
    staging: Staging,
    tree: Tree,
    split: SplitWriter,
    tar: Tar,
    content: u64,
    files: u64,
    header: Vec<u8>,
    buffer: Vec<u8>,
    /// False once the file system refused to share blocks.
    sharing: bool,
    // Until the layer stands in `layers/` and its caller can hold a lease of its own.
    _lease: Lease,
}

/// The tar that is hashed and never written.
struct Tar {
    hasher: Sha256,
    size: u64,
}

impl Tar {
    fn write(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
    }
}

impl Store {
    /// Starts a layer.
    ///
    /// # Errors
    /// What creating the staging directory gives.
    pub fn layer_writer(&self) -> Result<LayerWriter<'_>, Error> {
        let lease = self.lease()?;
        let staging = self.staging()?;
        let layer = staging.path().join("layer");
        let tree = Tree::create(&layer, Repeats::Refuse)?;
        let split = create_headers(&layer)?;
        Ok(LayerWriter {
            store: self,
            staging,
            tree,
            split,
            tar: Tar { hasher: Sha256::new(), size: 0 },
            content: 0,
            files: 0,
            header: Vec::with_capacity(4 * BLOCK),
            buffer: vec![0; 256 << 10],
            sharing: true,
            _lease: lease,
        })
    }
}

pub(crate) fn create_headers(layer: &Path) -> Result<SplitWriter, Error> {
    let path = layer.join("headers");
    File::create_new(&path).and_then(SplitWriter::new).map_err(|e| Error::io("create", path, e))
}

impl LayerWriter<'_> {
    /// Adds an entry. `data` is read for files only, exactly as many bytes as the head says.
    ///
    /// # Errors
    /// [`Error::Entry`] for a path that is unsafe, repeated, or whose parent is missing, or when `data`
    /// ends early; else what writing gives.
    pub fn append(&mut self, head: &EntryHead, mut data: impl Read) -> Result<(), Error> {
        self.head(head)?;
        match &head.kind {
            EntryKind::File { size } => {
                let file = self.tree.file(&head.path, head.mode)?;
                self.fill(head, &file, *size, &mut data)?;
                self.contents_end(head, &file, *size)
            }
            _ => self.other(head),
        }
    }

    /// Adds a regular file whose contents are the host file's from `offset` on, as many bytes as the head
    /// says; shares the blocks where the file system can.
    ///
    /// # Errors
    /// As [`LayerWriter::append`], and [`Error::Entry`] if the head is not a file's.
    pub fn append_file(
        &mut self,
        head: &EntryHead,
        source: BorrowedFd<'_>,
        offset: u64,
    ) -> Result<(), Error> {
        let EntryKind::File { size } = head.kind else {
            return Err(Error::entry(&head.path, "contents were given for something that is not a file"));
        };
        self.head(head)?;
        let file = self.tree.file(&head.path, head.mode)?;
        if self.sharing && offset == 0 && size >= SHARE && self.share(&file, source, size)? {
            // Hashed from the copy: the source may change under us, the copy cannot.
            let mut copy = FdAt { file: file.as_fd(), offset: 0 };
            self.hash(head, size, &mut copy)?;
        } else {
            let mut source = FdAt { file: source, offset };
            self.fill(head, &file, size, &mut source)?;
        }
        self.contents_end(head, &file, size)
    }

    /// Ends the tar and makes the layer visible; if it is stored already, this copy is dropped.
    ///
    /// # Errors
    /// What writing gives.
    pub fn finish(mut self) -> Result<LayerInfo, Error> {
        let end = [0; 2 * BLOCK];
        self.tar.write(&end);
        let fail = |e: io::Error| Error::io("write", self.store.sub("staging"), e);
        self.split.raw(&end).and_then(|()| self.split.finish()).map_err(fail)?;
        let shadowed = self.tree.finish()?;
        let info = LayerInfo {
            diff_id: Digest::from_bytes(self.tar.hasher.finalize().into()),
            size: self.tar.size,
            content: self.content,
            files: self.files,
        };
        self.store.publish_layer(&self.staging, &Meta::new(&info, shadowed))?;
        Ok(info)
    }

    fn head(&mut self, head: &EntryHead) -> Result<(), Error> {
        if head.path.file_name().is_some_and(|name| name.as_bytes().starts_with(b".wh.")) {
            let reason = "names that begin with .wh. mean deletions in layers: rename the file";
            return Err(Error::entry(&head.path, reason));
        }
        self.header.clear();
        header::encode(head, &mut self.header)?;
        self.tar.write(&self.header);
        self.split.raw(&self.header).map_err(|e| Error::io("write", self.staging.path(), e))?;
        self.files += 1;
        Ok(())
    }

    fn other(&mut self, head: &EntryHead) -> Result<(), Error> {
        let attributes = attributes(head);
        match &head.kind {
            EntryKind::Directory => self.tree.directory(&head.path, attributes),
            EntryKind::Symlink { target } => self.tree.symlink(&head.path, target, &attributes),
            EntryKind::Hardlink { target } => self.tree.hardlink(&head.path, target),
            EntryKind::Fifo => self.tree.fifo(&head.path, &attributes),
            EntryKind::Whiteout => self.tree.whiteout(&head.path),
            EntryKind::Opaque => self.tree.opaque(&head.path),
            EntryKind::File { .. } => Ok(()),
        }
    }

    /// Copies `size` bytes into the file and the digest.
    fn fill(&mut self, head: &EntryHead, file: &File, size: u64, data: &mut dyn Read) -> Result<(), Error> {
        let mut left = size;
        let mut sparse = SparseFile::new(file);
        let fail = |e| Error::io("write", self.tree.show(&head.path), e);
        while left > 0 {
            let got = read_some(&mut self.buffer, left, data, head)?;
            self.tar.write(&self.buffer[..got]);
            sparse.write(&self.buffer[..got]).map_err(fail)?;
            left -= got as u64;
        }
        sparse.finish().map_err(fail)
    }

    fn hash(&mut self, head: &EntryHead, size: u64, data: &mut dyn Read) -> Result<(), Error> {
        let mut left = size;
        while left > 0 {
            let got = read_some(&mut self.buffer, left, data, head)?;
            self.tar.write(&self.buffer[..got]);
            left -= got as u64;
        }
        Ok(())
    }

    /// Padding, attributes, and the place in `headers`.
    fn contents_end(&mut self, head: &EntryHead, file: &File, size: u64) -> Result<(), Error> {
        let pad = &[0; BLOCK][..header::padding(size)];
        self.tar.write(pad);
        self.content += size;
        let kept = match size {
            0 => Ok(()),
            _ => self.split.file(&head.path, size).and_then(|()| self.split.raw(pad)),
        };
        kept.map_err(|e| Error::io("write", self.staging.path(), e))?;
        self.tree.seal(&head.path, file, &attributes(head))
    }

    /// Lets `file` share the blocks of `source`; false if the file system cannot or the length differs.
    fn share(&mut self, file: &File, source: BorrowedFd<'_>, size: u64) -> Result<bool, Error> {
        let fail = |e: Errno| Error::io("write", self.staging.path(), e);
        if rustix::fs::fstat(source).map_err(fail)?.st_size as u64 != size {
            return Ok(false);
        }
        match rustix::fs::ioctl_ficlone(file, source) {
            // The source may have grown in between.
            Ok(()) => rustix::fs::ftruncate(file, size).map(|()| true).map_err(fail),
            Err(Errno::NOSPC) => Err(fail(Errno::NOSPC)),
            Err(_) => {
                self.sharing = false;
                Ok(false)
            }
        }
    }
}

impl Sink for LayerWriter<'_> {
    fn put(&mut self, head: &EntryHead, contents: &mut dyn Read) -> Result<(), Error> {
        self.append(head, contents)
    }
}

pub(crate) fn attributes(head: &EntryHead) -> Attributes {
    Attributes {
        mode: head.mode,
        uid: head.uid,
        gid: head.gid,
        mtime: (head.mtime, 0),
        xattrs: head.xattrs.clone(),
    }
}

pub(crate) fn read_some(
    buffer: &mut [u8],
    left: u64,
    data: &mut dyn Read,
    head: &EntryHead,
) -> Result<usize, Error> {
    let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    loop {
        match data.read(&mut buffer[..want]) {
            Ok(0) => return Err(Error::entry(&head.path, format!("its contents end {left} bytes early"))),
            Ok(got) => return Ok(got),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("read the contents of", &head.path, e)),
        }
    }
}

/// Reads a file without moving its offset, which may be shared.
struct FdAt<'f> {
    file: BorrowedFd<'f>,
    offset: u64,
}

impl Read for FdAt<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = rustix::io::pread(self.file, buffer, self.offset)?;
        self.offset += got as u64;
        Ok(got)
    }
}
