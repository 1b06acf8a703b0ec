use std::io::{Read, Write};

use crate::header::{self, BLOCK};
use crate::writer::read_some;
use crate::{EntryHead, EntryKind, Error, Sink};

/// Writes a canonical tar: the same entries give the same bytes.
pub struct ArchiveWriter<W> {
    out: W,
    header: Vec<u8>,
    buffer: Vec<u8>,
}

impl<W: Write> ArchiveWriter<W> {
    /// An archive that goes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, header: Vec::with_capacity(4 * BLOCK), buffer: vec![0; 128 << 10] }
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// What writing gives.
    pub fn finish(mut self) -> Result<(), Error> {
        self.out.write_all(&[0; 2 * BLOCK]).and_then(|()| self.out.flush()).map_err(broken)
    }
}

impl<W: Write> Sink for ArchiveWriter<W> {
    fn put(&mut self, head: &EntryHead, contents: &mut dyn Read) -> Result<(), Error> {
        self.header.clear();
        header::encode(head, &mut self.header)?;
        self.out.write_all(&self.header).map_err(broken)?;
        let EntryKind::File { size } = head.kind else { return Ok(()) };
        let mut left = size;
        while left > 0 {
            let got = read_some(&mut self.buffer, left, contents, head)?;
            self.out.write_all(&self.buffer[..got]).map_err(broken)?;
            left -= got as u64;
        }
        self.out.write_all(&[0; BLOCK][..header::padding(size)]).map_err(broken)
    }
}

fn broken(source: std::io::Error) -> Error {
    Error::Stream { act: "cannot write the archive", source }
}
