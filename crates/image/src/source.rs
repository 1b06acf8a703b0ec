//! An archive as a stream: decompressed by its first bytes, bounded, hashed, cut into tar's blocks.

use std::cell::Cell;
use std::io::{self, Chain, Cursor, Read};
use std::rc::Rc;

use corral_spec::Digest;
use sha2::{Digest as _, Sha256};

use crate::header::BLOCK;
use crate::{Error, UnpackLimits};

/// Below so many bytes no ratio is suspicious: a small archive of equal files is not a bomb.
const RATIO_FLOOR: u64 = 1 << 30;

/// A tar stream.
pub(crate) struct Source<'r> {
    inner: Box<dyn Read + 'r>,
    /// Bytes taken in before decompression.
    compressed: Rc<Cell<u64>>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    total: u64,
    hasher: Option<Sha256>,
    limits: UnpackLimits,
}

/// What the first bytes of an archive tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Gzip,
    Zstd,
    /// Tar, or what else the caller can read.
    Plain,
    /// Compressed in a way that no image format allows.
    Foreign(&'static str),
}

impl Form {
    pub(crate) fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', ..] => Self::Foreign("xz"),
            [b'B', b'Z', b'h', ..] => Self::Foreign("bzip2"),
            _ => Self::Plain,
        }
    }
}

impl<'r> Source<'r> {
    /// `hashed`: whether [`Source::digest`] will be asked for.
    pub(crate) fn new(reader: impl Read + 'r, limits: &UnpackLimits, hashed: bool) -> Result<Self, Error> {
        let compressed = Rc::new(Cell::new(0));
        let mut counted = Counted { inner: reader, count: Rc::clone(&compressed) };
        let mut first = Vec::with_capacity(8);
        (&mut counted).take(6).read_to_end(&mut first).map_err(broken)?;
        let form = Form::of(&first);
        let whole: Chain<Cursor<Vec<u8>>, _> = Cursor::new(first).chain(counted);
        let inner: Box<dyn Read + 'r> = match form {
            Form::Plain => Box::new(whole),
            Form::Gzip => Box::new(flate2::read::MultiGzDecoder::new(whole)),
            Form::Zstd => Box::new(zstd::Decoder::new(whole).map_err(broken)?),
            Form::Foreign(name) => {
                return Err(Error::Archive(format!("it is compressed with {name}: use gzip, zstd or none")));
            }
        };
        Ok(Self {
            inner,
            compressed,
            buffer: vec![0; 256 << 10],
            start: 0,
            end: 0,
            total: 0,
            hasher: hashed.then(Sha256::new),
            limits: *limits,
        })
    }

    /// The next block; none if the stream ends here.
    pub(crate) fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            if self.start == self.end && self.fill()? == 0 {
                return if filled == 0 { Ok(None) } else { Err(truncated()) };
            }
            let take = (self.end - self.start).min(BLOCK - filled);
            block[filled..filled + take].copy_from_slice(&self.buffer[self.start..self.start + take]);
            self.start += take;
            filled += take;
        }
        Ok(Some(block))
    }

    /// At least one and at most `max` bytes; an error at the end of the stream.
    pub(crate) fn chunk(&mut self, max: u64) -> Result<&[u8], Error> {
        if self.start == self.end && self.fill()? == 0 {
            return Err(truncated());
        }
        let take = (self.end - self.start).min(usize::try_from(max).unwrap_or(usize::MAX));
        self.start += take;
        Ok(&self.buffer[self.start - take..self.start])
    }

    /// Appends `count` bytes to `out`.
    pub(crate) fn append(&mut self, count: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut left = count;
        while left > 0 {
            let chunk = self.chunk(left)?;
            out.extend_from_slice(chunk);
            left -= chunk.len() as u64;
        }
        Ok(())
    }

    /// Passes over `count` bytes.
    pub(crate) fn skip(&mut self, count: u64) -> Result<(), Error> {
        let mut left = count;
        while left > 0 {
            left -= self.chunk(left)?.len() as u64;
        }
        Ok(())
    }

    /// Appends what is left to `out`, refusing more than `max` bytes.
    pub(crate) fn rest(&mut self, max: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let limit = out.len() + max;
        loop {
            out.extend_from_slice(&self.buffer[self.start..self.end]);
            self.start = self.end;
            if out.len() > limit {
                return Err(Error::Limit { what: "bytes after its end", limit: max as u64 });
            }
            if self.fill()? == 0 {
                return Ok(());
            }
        }
    }

    /// Digest and length of all that was read, which is the whole stream once it has ended.
    pub(crate) fn digest(self) -> (Digest, u64) {
        let hash = self.hasher.unwrap_or_default().finalize();
        (Digest::from_bytes(hash.into()), self.total)
    }

    fn fill(&mut self) -> Result<usize, Error> {
        let got = loop {
            match self.inner.read(&mut self.buffer) {
                Ok(got) => break got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(broken(e)),
            }
        };
        (self.start, self.end) = (0, got);
        self.total += got as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&self.buffer[..got]);
        }
        let UnpackLimits { bytes, ratio, .. } = self.limits;
        if self.total > bytes {
            return Err(Error::Limit { what: "bytes", limit: bytes });
        }
        if self.total > RATIO_FLOOR && self.total / self.compressed.get().max(1) > ratio {
            return Err(Error::Limit { what: "times its compressed size", limit: ratio });
        }
        Ok(got)
    }
}

struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.count.set(self.count.get() + got as u64);
        Ok(got)
    }
}

fn broken(source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => truncated(),
        _ => Error::Stream { act: "cannot read the archive", source }.unwrapped(),
    }
}

fn truncated() -> Error {
    Error::Archive("it ends in the middle: it is truncated, fetch or save it again".into())
}
