//! A reader for the zip files that wheels are: central directory, stored and deflated members.
//!
//! ```text
//! [local header|name|extra|data]…  [central entry: name, sizes, crc, mode, offset]…  [end record]
//!                                   └─ the only list that is believed; a local header must repeat its name
//! ```
//!
//! Everything in the file is hostile: names are checked before anything else is, no two members may
//! share bytes (the overlap trick of zip bombs), and no member may grow beyond the size it declares.
//! Encryption, split archives and other compression methods are refused.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::{Crc, read::DeflateDecoder};

use crate::Error;

const END: u32 = 0x0605_4b50;
const END64_LOCATOR: u32 = 0x0706_4b50;
const END64: u32 = 0x0606_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;

/// More members than this are a bomb, not a wheel: the largest known wheels have about 20,000.
const MAX_MEMBERS: u64 = 200_000;
/// Uncompressed bytes of one archive: the largest known wheels unpack to about 4 GiB.
const MAX_BYTES: u64 = 32 << 30;
/// Bytes of the central directory.
const MAX_DIRECTORY: u64 = 64 << 20;

/// An open archive whose member names are safe relative paths, each of them once.
pub struct Zip {
    file: File,
    name: String,
    members: Vec<Member>,
}

/// One file of the archive; directory entries are not kept.
#[derive(Clone, Debug)]
pub struct Member {
    /// Relative path with `/` between parts: no empty part, no `.`, no `..`, no backslash, no control character.
    pub name: String,
    /// Uncompressed bytes, as declared; reading more or fewer is an error.
    pub size: u64,
    /// Whether the archive marks it as executable.
    pub executable: bool,
    crc: u32,
    packed: u64,
    deflated: bool,
    header: u64,
}

impl Zip {
    /// Opens the archive and reads its directory.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Archive`] naming what is malformed or hostile.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = File::open(path).map_err(Error::io("read", path))?;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        let mut zip = Self { file, name, members: Vec::new() };
        let (offset, size, count) = zip.find_directory(length)?;
        if count > MAX_MEMBERS
            || size > MAX_DIRECTORY
            || offset.checked_add(size).is_none_or(|end| end > length)
        {
            return Err(zip.bad("its directory is out of bounds"));
        }
        let directory = zip.bytes_at(offset, size as usize)?;
        zip.members = zip.read_directory(&directory, count)?;
        zip.check_names()?;
        zip.check_overlap(offset)?;
        Ok(zip)
    }

    /// The files, in the order of the directory.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Passes the member's bytes to `sink`, piece by piece, and checks length and CRC.
    ///
    /// # Errors
    /// [`Error::Archive`] if the data does not agree with the directory, or what `sink` returned.
    pub fn read(
        &self,
        member: &Member,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let raw = Section { file: &self.file, at: self.data_offset(member)?, left: member.packed };
        let mut reader: Box<dyn Read> =
            if member.deflated { Box::new(DeflateDecoder::new(raw)) } else { Box::new(raw) };
        let (mut crc, mut left, mut buffer) = (Crc::new(), member.size, vec![0; 64 << 10]);
        loop {
            let got = reader
                .read(&mut buffer)
                .map_err(|error| self.bad(&format!("{} cannot be unpacked: {error}", member.name)))?;
            if got == 0 {
                break;
            }
            if got as u64 > left {
                return Err(self.bad(&format!("{} is longer than it says", member.name)));
            }
            left -= got as u64;
            crc.update(&buffer[..got]);
            sink(&buffer[..got])?;
        }
        if left > 0 || crc.sum() != member.crc {
            return Err(self.bad(&format!("{} is damaged", member.name)));
        }
        Ok(())
    }

    /// The whole member, which must not be larger than `limit` bytes.
    ///
    /// # Errors
    /// As [`Zip::read`].
    pub fn bytes(&self, member: &Member, limit: u64) -> Result<Vec<u8>, Error> {
        if member.size > limit {
            return Err(self.bad(&format!("{} is larger than {limit} bytes", member.name)));
        }
        let mut bytes = Vec::with_capacity(member.size as usize);
        self.read(member, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// An error about this archive.
    pub fn bad(&self, reason: &str) -> Error {
        Error::archive(&self.name, reason)
    }

    fn bytes_at(&self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.bad("it is cut off"),
            _ => self.bad(&format!("cannot be read: {error}")),
        })?;
        Ok(bytes)
    }

    /// Offset, length and entry count of the central directory.
    fn find_directory(&self, length: u64) -> Result<(u64, u64, u64), Error> {
        let tail_length = length.min(22 + 65_535);
        let tail_offset = length - tail_length;
        let tail = self.bytes_at(tail_offset, tail_length as usize)?;
        // The comment must reach exactly to the end, or two readers could see two directories.
        let end = (0..tail.len().saturating_sub(21))
            .rev()
            .find(|at| u32_at(&tail, *at) == END && at + 22 + u16_at(&tail, at + 20) as usize == tail.len())
            .ok_or_else(|| self.bad("it is not a zip file, or is cut off"))?;
        if u16_at(&tail, end + 4) != 0 || u16_at(&tail, end + 6) != 0 {
            return Err(self.bad("it is split into several files"));
        }
        let (count, size, offset) = (
            u64::from(u16_at(&tail, end + 10)),
            u64::from(u32_at(&tail, end + 12)),
            u64::from(u32_at(&tail, end + 16)),
        );
        if count != 0xffff && size != 0xffff_ffff && offset != 0xffff_ffff {
            return Ok((offset, size, count));
        }
        let locator = (tail_offset + end as u64)
            .checked_sub(20)
            .ok_or_else(|| self.bad("its zip64 record is missing"))?;
        let locator = self.bytes_at(locator, 20)?;
        if u32_at(&locator, 0) != END64_LOCATOR {
            return Ok((offset, size, count));
        }
        let record = self.bytes_at(u64_at(&locator, 8), 56)?;
        if u32_at(&record, 0) != END64 {
            return Err(self.bad("its zip64 record is damaged"));
        }
        Ok((u64_at(&record, 48), u64_at(&record, 40), u64_at(&record, 32)))
    }

    fn read_directory(&self, directory: &[u8], count: u64) -> Result<Vec<Member>, Error> {
        let (mut members, mut at, mut total) = (Vec::new(), 0, 0_u64);
        for _ in 0..count {
            let entry = directory
                .get(at..at + 46)
                .filter(|entry| u32_at(entry, 0) == CENTRAL)
                .ok_or_else(|| self.bad("its directory is damaged"))?;
            let lengths = [28, 30, 32].map(|field| u16_at(entry, field) as usize);
            let rest = directory
                .get(at + 46..at + 46 + lengths.iter().sum::<usize>())
                .ok_or_else(|| self.bad("its directory is damaged"))?;
            at += 46 + rest.len();
            let name = std::str::from_utf8(&rest[..lengths[0]])
                .map_err(|_| self.bad("a member's name is not UTF-8"))?;
            if name.ends_with('/') {
                self.check_name(name.trim_end_matches('/'))?;
                continue;
            }
            let member = self.member(entry, name, &rest[lengths[0]..lengths[0] + lengths[1]])?;
            total = total.saturating_add(member.size);
            members.push(member);
        }
        if total > MAX_BYTES {
            return Err(self.bad(&format!("it unpacks to {total} bytes, more than {MAX_BYTES}")));
        }
        Ok(members)
    }

    fn member(&self, entry: &[u8], name: &str, extra: &[u8]) -> Result<Member, Error> {
        self.check_name(name)?;
        let (flags, method) = (u16_at(entry, 8), u16_at(entry, 10));
        if flags & 0x2041 != 0 {
            return Err(self.bad(&format!("{name} is encrypted")));
        }
        if method != 0 && method != 8 {
            return Err(self.bad(&format!("{name} is compressed by method {method}; only deflate is known")));
        }
        let mut wide = [24, 20, 42].map(|field| u64::from(u32_at(entry, field)));
        // Zip64 extra field: 8 bytes for each of the three that is saturated, in this order.
        let mut large = extra_field(extra, 1).unwrap_or_default();
        for value in wide.iter_mut().filter(|value| **value == 0xffff_ffff) {
            let Some((eight, rest)) = large.split_at_checked(8) else { break };
            (*value, large) = (u64_at(eight, 0), rest);
        }
        let [size, packed, header] = wide;
        if method == 0 && size != packed {
            return Err(self.bad(&format!("{name} has two sizes")));
        }
        // Upper byte of "version made by" 3: the upper half of the attributes is a Unix mode.
        let mode = if entry[5] == 3 { u32_at(entry, 38) >> 16 } else { 0 };
        if mode & 0o170_000 == 0o120_000 {
            return Err(self.bad(&format!("{name} is a symbolic link, which a wheel cannot hold")));
        }
        Ok(Member {
            name: name.to_owned(),
            size,
            executable: mode & 0o111 != 0,
            crc: u32_at(entry, 16),
            packed,
            deflated: method == 8,
            header,
        })
    }

    fn check_name(&self, name: &str) -> Result<(), Error> {
        match is_safe(name) {
            true => Ok(()),
            false => Err(self
                .bad(&format!("it holds the unsafe path {:?}", name.chars().take(120).collect::<String>()))),
        }
    }

    /// No name twice, and none that is both a file and a directory of another.
    fn check_names(&self) -> Result<(), Error> {
        let mut seen = HashSet::new();
        for member in &self.members {
            if !seen.insert(member.name.as_str()) {
                return Err(self.bad(&format!("it holds {} twice", member.name)));
            }
        }
        let inside_file = self
            .members
            .iter()
            .find(|member| member.name.match_indices('/').any(|(at, _)| seen.contains(&member.name[..at])));
        match inside_file {
            Some(member) => Err(self.bad(&format!("{} lies below a file", member.name))),
            None => Ok(()),
        }
    }

    fn check_overlap(&self, directory: u64) -> Result<(), Error> {
        let mut spans: Vec<_> = self
            .members
            .iter()
            .map(|member| (member.header, member.header.saturating_add(30).saturating_add(member.packed)))
            .collect();
        spans.sort_unstable();
        let ends = spans.iter().skip(1).map(|span| span.0).chain([directory]);
        match spans.iter().zip(ends).any(|(span, next)| span.1 > next) {
            true => Err(self.bad("its members overlap")),
            false => Ok(()),
        }
    }

    fn data_offset(&self, member: &Member) -> Result<u64, Error> {
        let header = self.bytes_at(member.header, 30)?;
        let name_length = u16_at(&header, 26) as usize;
        if u32_at(&header, 0) != LOCAL || name_length != member.name.len() {
            return Err(self.bad(&format!("{} has a false header", member.name)));
        }
        if self.bytes_at(member.header + 30, name_length)? != member.name.as_bytes() {
            return Err(self.bad(&format!("{} has another name in its header", member.name)));
        }
        Ok(member.header + 30 + name_length as u64 + u64::from(u16_at(&header, 28)))
    }
}

/// A relative path that stays where it is put.
pub fn is_safe(name: &str) -> bool {
    name.len() <= 4096
        && !name.chars().any(|c| c == '\\' || c.is_control())
        && name.split('/').all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
}

fn extra_field(mut extra: &[u8], id: u16) -> Option<&[u8]> {
    while extra.len() >= 4 {
        let length = u16_at(extra, 2) as usize;
        let body = extra.get(4..4 + length)?;
        if u16_at(extra, 0) == id {
            return Some(body);
        }
        extra = &extra[4 + length..];
    }
    None
}

/// Callers have checked the length: every record is read whole before its fields are.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// A range of the file, read at its own position.
struct Section<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let got = self.file.read_at(&mut buffer[..want], self.at)?;
        self.at += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::zip_writer::{ZipFile, write};

    fn open(bytes: &[u8]) -> Result<Zip, Error> {
        let file = tempfile::Builder::new().suffix(".whl").tempfile().expect("temporary file");
        std::fs::write(file.path(), bytes).expect("written");
        Zip::open(file.path())
    }

    fn check(bytes: &[u8], expect: &str) {
        let outcome = open(bytes).and_then(|zip| {
            zip.members()
                .iter()
                .map(|member| zip.bytes(member, 1 << 20).map(|b| b.len()))
                .collect::<Result<Vec<_>, _>>()
        });
        let text = match outcome {
            Ok(lengths) => format!("{lengths:?}"),
            Err(error) => error.to_string(),
        };
        assert!(text.contains(expect), "{text:?} does not say {expect:?}");
    }

    #[test]
    fn reads_stored_and_deflated_members() {
        let zip = write(&[ZipFile::stored("a/b.txt", b"hello"), ZipFile::deflated("c", &[7; 100_000])]);
        check(&zip, "[5, 100000]");
        check(&write(&[ZipFile::stored("dir/", b""), ZipFile::stored("dir/x", b"1")]), "[1]");
    }

    #[test]
    fn refuses_hostile_names() {
        for name in ["../x", "a/../x", "/etc/x", "a//b", "./a", "a\\b", "a\nb", "..", ""] {
            check(&write(&[ZipFile::stored(name, b"x")]), "unsafe path");
        }
        check(&write(&[ZipFile::stored("a", b"1"), ZipFile::stored("a", b"2")]), "twice");
        check(&write(&[ZipFile::stored("a", b"1"), ZipFile::stored("a/b", b"2")]), "below a file");
        check(
            &write(&[ZipFile { mode: 0o120_777, ..ZipFile::stored("l", b"/etc/passwd") }]),
            "symbolic link",
        );
    }

    #[test]
    fn refuses_what_does_not_agree_with_itself() {
        let good = write(&[ZipFile::deflated("name", &[7; 1000])]);
        check(&good[..good.len() - 3], "not a zip file");
        check(b"", "not a zip file");
        check(&good[10..], "");
        let flip = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            bytes
        };
        check(&flip(31), "another name");
        let central = good.windows(4).position(|w| w == CENTRAL.to_le_bytes()).expect("central entry");
        check(&flip(central + 16), "damaged");
        check(&flip(central + 8), "encrypted");
        check(&flip(central + 10), "method 9");
        check(&flip(central + 24), "");
        check(&flip(central + 46), "another name");
        check(&flip(central + 28), "damaged");
    }

    /// Every single-bit change of a small archive is read without panic.
    #[test]
    fn survives_every_flipped_bit() {
        let good = write(&[ZipFile::stored("a", b"xyz"), ZipFile::deflated("b/c", &[1; 300])]);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(zip) = open(&bytes) {
                for member in zip.members() {
                    let outcome = zip.bytes(member, 1 << 20);
                    assert!(outcome.is_err() || is_safe(&member.name));
                }
            }
        }
    }
}
