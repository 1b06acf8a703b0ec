//! Taking a tar apart and putting it together again: everything that is not file contents is kept in a
//! layer's `headers`, the contents only once, in `fs/`.
//!
//! ```text
//! headers = zstd( part* )
//! part    = 0x01 length:u32 bytes        verbatim tar bytes: headers, padding, trailer
//!         | 0x02 length:u32 path size:u64   here come `size` bytes of this file (relative to fs/)
//! ```
//! Numbers are little-endian. The result is checked against the diffID whenever a tar is re-made, so a
//! damaged `headers` cannot pass for the layer.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const RAW: u8 = 1;
const FILE: u8 = 2;
/// Raw parts are cut at this length, so a reader needs no more memory.
const PART: usize = 64 << 10;

/// Writes `headers`.
pub(crate) struct SplitWriter {
    out: zstd::Encoder<'static, BufWriter<File>>,
    raw: Vec<u8>,
}

impl SplitWriter {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        // Level 1: headers are so repetitive that higher levels gain nothing that is worth the time.
        Ok(Self { out: zstd::Encoder::new(BufWriter::new(file), 1)?, raw: Vec::with_capacity(PART) })
    }

    /// Verbatim bytes of the tar.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.raw.extend_from_slice(bytes);
        if self.raw.len() >= PART { self.flush_raw() } else { Ok(()) }
    }

    /// The place of a file's contents.
    pub(crate) fn file(&mut self, path: &Path, size: u64) -> io::Result<()> {
        self.flush_raw()?;
        let path = path.as_os_str().as_bytes();
        self.out.write_all(&[FILE])?;
        self.out.write_all(&(path.len() as u32).to_le_bytes())?;
        self.out.write_all(path)?;
        self.out.write_all(&size.to_le_bytes())
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush_raw()?;
        self.out.finish()?.flush()
    }

    fn flush_raw(&mut self) -> io::Result<()> {
        for part in self.raw.chunks(PART) {
            self.out.write_all(&[RAW])?;
            self.out.write_all(&(part.len() as u32).to_le_bytes())?;
            self.out.write_all(part)?;
        }
        self.raw.clear();
        Ok(())
    }
}

/// Reads `headers`.
pub(crate) struct SplitReader {
    input: zstd::Decoder<'static, io::BufReader<File>>,
}

/// One piece of the tar.
pub(crate) enum Part {
    Raw(Vec<u8>),
    File { path: PathBuf, size: u64 },
}

impl SplitReader {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        Ok(Self { input: zstd::Decoder::new(file)? })
    }

    /// The next piece; none at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Part>> {
        let mut tag = [0];
        if self.input.read(&mut tag)? == 0 {
            return Ok(None);
        }
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > PART {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a part is too long"));
        }
        let mut bytes = vec![0; length];
        self.input.read_exact(&mut bytes)?;
        match tag[0] {
            RAW => Ok(Some(Part::Raw(bytes))),
            FILE => {
                let mut size = [0; 8];
                self.input.read_exact(&mut size)?;
                let path = PathBuf::from(OsStr::from_bytes(&bytes));
                Ok(Some(Part::File { path, size: u64::from_le_bytes(size) }))
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a part is of unknown kind")),
        }
    }
}
