use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::header::padding;
use crate::member::MemberKind;
use crate::source::Source;
use crate::{EntryHead, EntryKind, Error, Sink, UnpackLimits};

/// Reads a tar stream, plain, gzip or zstd, entry by entry. What is unsafe in an archive (absolute paths, `..`,
/// device nodes, sparse files) is an error that names the entry.
pub struct ArchiveReader<'r> {
    source: Source<'r>,
    /// Bytes of the current entry's contents that are still to come, and of the padding behind them.
    left: u64,
    padding: u64,
    raw: Vec<u8>,
}

impl<'r> ArchiveReader<'r> {
    /// An archive of any size: whoever named it wants all of it.
    ///
    /// # Errors
    /// [`Error::Archive`] for a compression that is not known, or what reading gives.
    pub fn new(reader: impl Read + 'r) -> Result<Self, Error> {
        let limits = UnpackLimits { entries: u64::MAX, bytes: u64::MAX, ..UnpackLimits::default() };
        Ok(Self { source: Source::new(reader, &limits, false)?, left: 0, padding: 0, raw: Vec::new() })
    }

    /// The next entry; its contents are read from `self` before the next call, or passed over.
    ///
    /// # Errors
    /// [`Error::Entry`], [`Error::Archive`], or what reading gives.
    pub fn next_entry(&mut self) -> Result<Option<EntryHead>, Error> {
        // Not their sum: a size of all ones would wrap around.
        self.source.skip(std::mem::take(&mut self.left))?;
        self.source.skip(std::mem::take(&mut self.padding))?;
        let Some(member) = self.source.member(&mut self.raw)? else { return Ok(None) };
        let kind = match member.kind {
            MemberKind::File => EntryKind::File { size: member.size },
            MemberKind::Directory => EntryKind::Directory,
            MemberKind::Symlink(target) => EntryKind::Symlink { target },
            MemberKind::Hardlink(target) => EntryKind::Hardlink { target },
            MemberKind::Fifo => EntryKind::Fifo,
            MemberKind::Device(_, major, minor) => {
                let reason =
                    format!("device node {major}:{minor}: devices come from the runtime, leave it out");
                return Err(Error::entry(&member.path, reason));
            }
        };
        (self.left, self.padding) = (member.size, padding(member.size) as u64);
        let attributes = member.attributes;
        Ok(Some(EntryHead {
            path: member.path,
            kind,
            mode: attributes.mode,
            uid: attributes.uid,
            gid: attributes.gid,
            mtime: attributes.mtime.0,
            xattrs: attributes.xattrs,
        }))
    }

    /// Hands every entry on, with its path (and its hard link's) as `rename` has it. Says how many there were.
    ///
    /// # Errors
    /// As [`ArchiveReader::next_entry`] and the sink's.
    pub fn pour(&mut self, sink: &mut dyn Sink, rename: &dyn Fn(&Path) -> PathBuf) -> Result<u64, Error> {
        match self.next_entry()? {
            Some(first) => self.resume(first, sink, rename),
            None => Ok(0),
        }
    }

    /// As [`ArchiveReader::pour`], after the first entry was looked at.
    ///
    /// # Errors
    /// As there.
    pub fn resume(
        &mut self,
        first: EntryHead,
        sink: &mut dyn Sink,
        rename: &dyn Fn(&Path) -> PathBuf,
    ) -> Result<u64, Error> {
        let (mut count, mut next) = (0, Some(first));
        while let Some(mut head) = next {
            head.path = rename(&head.path);
            if let EntryKind::Hardlink { target } = &mut head.kind {
                *target = rename(target);
            }
            sink.put(&head, self)?;
            count += 1;
            next = self.next_entry()?;
        }
        Ok(count)
    }
}

impl Read for ArchiveReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = self.left.min(buffer.len() as u64);
        if want == 0 {
            return Ok(0);
        }
        let chunk = self.source.chunk(want).map_err(io::Error::other)?;
        buffer[..chunk.len()].copy_from_slice(chunk);
        self.left -= chunk.len() as u64;
        Ok(chunk.len())
    }
}
