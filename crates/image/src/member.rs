//! Reading tar headers, hostile ones. One `Member` is what one entry says after pax and GNU extensions; its
//! path is clean and relative, or there is an error that names it.
//!
//! Where readers of tar differ, this one does as Go's archive/tar, with which images are made, or refuses.
//! The `tar` crate does not hand out padding and trailers, which a re-made tar needs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::header::{BLOCK, is_clean, padding};
use crate::source::Source;
use crate::tree::Attributes;

/// Longest pax header or GNU long name; a path has 4095 bytes, an attribute 64 KiB.
const EXTENSION: u64 = 1 << 20;
/// All headers of one entry: they are held in memory until it is known.
const HEADERS: u64 = 2 << 20;
/// Longest value of an extended attribute (XATTR_SIZE_MAX, linux/limits.h).
pub(crate) const XATTR: usize = 64 << 10;
/// Longest run of bytes after the end marker: tar pads to 10 KiB, tapes to more.
const TRAILER: usize = 1 << 20;

/// One entry of an archive, without its contents.
#[derive(Debug)]
pub(crate) struct Member {
    /// Clean and relative; empty for the root.
    pub path: PathBuf,
    pub kind: MemberKind,
    /// Bytes of contents that follow in the stream; only files have any.
    pub size: u64,
    pub attributes: Attributes,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    File,
    Directory,
    Symlink(PathBuf),
    Hardlink(PathBuf),
    Fifo,
    /// Whether a character device, major and minor number.
    Device(bool, u64, u64),
}

/// What extension headers say of the next entry.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: std::collections::BTreeMap<String, Vec<u8>>,
    /// Type flags seen: each may come once.
    seen: Vec<u8>,
}

impl Source<'_> {
    /// The next entry. `raw` receives the exact bytes of its headers or, at the end, of the trailer.
    pub(crate) fn member(&mut self, raw: &mut Vec<u8>) -> Result<Option<Member>, Error> {
        raw.clear();
        let mut extensions = Extensions::default();
        loop {
            let Some(block) = self.block()? else { return end(&extensions) };
            raw.extend_from_slice(&block);
            if block == [0; BLOCK] {
                self.trailer(raw)?;
                return end(&extensions);
            }
            let header = Header::verified(&block)?;
            match header.flag() {
                flag @ (b'x' | b'g' | b'L' | b'K') => {
                    let data = self.extension(&header, raw)?;
                    extensions.take(flag, &data).map_err(|reason| Error::entry(header.name(), reason))?;
                }
                _ => return header.member(extensions).map(Some),
            }
        }
    }

    fn extension(&mut self, header: &Header<'_>, raw: &mut Vec<u8>) -> Result<Vec<u8>, Error> {
        let size = header.size().map_err(|reason| Error::entry(header.name(), reason))?;
        if size > EXTENSION {
            return Err(Error::entry(header.name(), format!("an extension header of {size} bytes")));
        }
        let at = raw.len();
        if at as u64 + size > HEADERS {
            let reason = format!("more than {HEADERS} bytes of headers for one entry");
            return Err(Error::entry(header.name(), reason));
        }
        self.append(size + padding(size) as u64, raw)?;
        Ok(raw[at..at + size as usize].to_vec())
    }

    /// After one zero block comes another, or nothing; what follows is kept as it is.
    fn trailer(&mut self, raw: &mut Vec<u8>) -> Result<(), Error> {
        let at = raw.len();
        self.rest(TRAILER, raw)?;
        let second = &raw[at..raw.len().min(at + BLOCK)];
        if second.iter().any(|b| *b != 0) {
            return Err(Error::Archive("there are entries after an empty block".into()));
        }
        Ok(())
    }
}

fn end(extensions: &Extensions) -> Result<Option<Member>, Error> {
    if extensions.seen.iter().all(|flag| *flag == b'g') {
        return Ok(None);
    }
    Err(Error::Archive("it ends after an extension header: it is truncated".into()))
}

impl Extensions {
    fn take(&mut self, flag: u8, data: &[u8]) -> Result<(), String> {
        if self.seen.contains(&flag) {
            return Err("two extension headers of one kind for one entry".into());
        }
        self.seen.push(flag);
        match flag {
            b'x' => self.pax(data),
            // What a global header changes for all that follows, readers do not agree on.
            b'g' => match records(data)?.iter().find(|(key, _)| *key != "comment") {
                Some((key, _)) => Err(format!("a global pax header with {key:?} is not supported")),
                None => Ok(()),
            },
            flag => {
                let name = data.split(|b| *b == 0).next().unwrap_or_default().to_vec();
                let slot = if flag == b'L' { &mut self.path } else { &mut self.link };
                if slot.replace(name).is_some() {
                    return Err("both a pax and a GNU long name".into());
                }
                Ok(())
            }
        }
    }

    fn pax(&mut self, data: &[u8]) -> Result<(), String> {
        for (key, value) in records(data)? {
            let text = || std::str::from_utf8(value).map_err(|_| format!("pax {key} is not a number"));
            let number =
                || text()?.parse::<u64>().map_err(|_| format!("pax {key} is not a number: {:?}", text()));
            match key {
                // An empty value takes the record back.
                _ if value.is_empty() && !key.starts_with("SCHILY.xattr.") => {}
                "path" if self.path.is_some() && self.seen.contains(&b'L') => {
                    return Err("both a pax and a GNU long name".into());
                }
                "linkpath" if self.link.is_some() && self.seen.contains(&b'K') => {
                    return Err("both a pax and a GNU long name".into());
                }
                "path" => self.path = Some(value.to_vec()),
                "linkpath" => self.link = Some(value.to_vec()),
                "size" => self.size = Some(number()?),
                "uid" => self.uid = Some(number()?),
                "gid" => self.gid = Some(number()?),
                "mtime" => {
                    self.mtime = Some(time(text()?).ok_or_else(|| format!("pax mtime {:?}", text()))?);
                }
                key if key.starts_with("GNU.sparse.") => {
                    return Err("sparse files are not supported: make the archive without --sparse".into());
                }
                key => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                        if value.len() > XATTR {
                            return Err(format!("its attribute {name:?} is longer than 64 KiB"));
                        }
                        self.xattrs.insert(name.to_owned(), value.to_vec());
                    }
                }
            }
        }
        Ok(())
    }
}

/// `LENGTH KEY=VALUE\n`, again and again; values may hold any byte.
fn records(mut data: &[u8]) -> Result<Vec<(&str, &[u8])>, String> {
    let bad = || "a damaged pax header".to_owned();
    let mut found = Vec::new();
    while !data.is_empty() {
        let space = data.iter().take(20).position(|b| *b == b' ').ok_or_else(bad)?;
        let length = std::str::from_utf8(&data[..space]).ok().and_then(|text| text.parse::<usize>().ok());
        let length = length.filter(|length| *length > space + 1 && *length <= data.len()).ok_or_else(bad)?;
        let record = data[space + 1..length].strip_suffix(b"\n").ok_or_else(bad)?;
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
        let key = std::str::from_utf8(&record[..equals]).map_err(|_| bad())?;
        if key.is_empty() || key.contains('\0') {
            return Err(bad());
        }
        found.push((key, &record[equals + 1..]));
        data = &data[length..];
    }
    Ok(found)
}

/// `[-]SECONDS[.FRACTION]`
fn time(text: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    match (whole.starts_with('-'), nanos) {
        (true, 1..) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos)),
        _ => Some((seconds, nanos)),
    }
}

struct Header<'b>(&'b [u8; BLOCK]);

impl<'b> Header<'b> {
    fn verified(block: &'b [u8; BLOCK]) -> Result<Self, Error> {
        let field = 148..156;
        let sum = |as_number: fn(u8) -> i64| -> i64 {
            let bytes = block.iter().enumerate();
            bytes.map(|(at, b)| if field.contains(&at) { 32 } else { as_number(*b) }).sum()
        };
        let written = number(&block[field.clone()]);
        // Some old tars summed signed bytes.
        if written != Some(sum(i64::from)) && written != Some(sum(|b| i64::from(b as i8))) {
            return Err(Error::Archive("a header has a wrong checksum: it is damaged or not a tar".into()));
        }
        Ok(Self(block))
    }

    fn flag(&self) -> u8 {
        self.0[156]
    }

    fn text(&self, from: usize, length: usize) -> &'b [u8] {
        self.0[from..from + length].split(|b| *b == 0).next().unwrap_or_default()
    }

    /// ustar's prefix and name; GNU's own format has times where ustar has the prefix.
    fn raw_name(&self) -> Vec<u8> {
        let name = self.text(0, 100);
        let prefix = match (&self.0[257..263], &self.0[508..]) {
            (b"ustar\0", b"tar\0") => self.text(345, 131),
            (b"ustar\0", _) => self.text(345, 155),
            _ => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    fn name(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.raw_name()))
    }

    fn size(&self) -> Result<u64, String> {
        self.field(124, 12, "size")
    }

    fn field(&self, from: usize, length: usize, what: &str) -> Result<u64, String> {
        number(&self.0[from..from + length])
            .and_then(|value| u64::try_from(value).ok())
            .ok_or_else(|| format!("its {what} is not a number"))
    }

    fn member(&self, extensions: Extensions) -> Result<Member, Error> {
        let name = extensions.path.clone().unwrap_or_else(|| self.raw_name());
        let shown = PathBuf::from(OsStr::from_bytes(&name));
        self.build(&name, extensions).map_err(|reason| Error::entry(&shown, reason))
    }

    fn build(&self, name: &[u8], extensions: Extensions) -> Result<Member, String> {
        let path = clean(name)?;
        let size = extensions.size.map_or_else(|| self.size(), Ok)?;
        let link = extensions.link.unwrap_or_else(|| self.text(157, 100).to_vec());
        let kind = match self.flag() {
            b'0' | 0 | b'7' if name.ends_with(b"/") && size == 0 => MemberKind::Directory,
            b'0' | 0 | b'7' => MemberKind::File,
            b'1' => MemberKind::Hardlink(
                clean(&link).map_err(|reason| format!("its hard link target: {reason}"))?,
            ),
            b'2' => MemberKind::Symlink(symlink_target(link)?),
            flag @ (b'3' | b'4') => MemberKind::Device(
                flag == b'3',
                self.field(329, 8, "device number")?,
                self.field(337, 8, "device number")?,
            ),
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            b'S' => return Err("sparse files are not supported: make the archive without --sparse".into()),
            flag => return Err(format!("type {:?} is not supported", flag as char)),
        };
        if path.as_os_str().is_empty() && kind != MemberKind::Directory {
            return Err("the layer's root can only be a directory".into());
        }
        let mtime = number(&self.0[136..148]).ok_or("its time is not a number")?;
        let attributes = Attributes {
            mode: (self.field(100, 8, "mode")? & 0o7777) as u32,
            uid: id(extensions.uid.map_or_else(|| self.field(108, 8, "owner"), Ok)?)?,
            gid: id(extensions.gid.map_or_else(|| self.field(116, 8, "group"), Ok)?)?,
            mtime: extensions.mtime.unwrap_or((mtime, 0)),
            xattrs: extensions.xattrs,
        };
        // Go's reader takes no contents for other kinds, whatever their size field says.
        let size = if kind == MemberKind::File { size } else { 0 };
        Ok(Member { path, kind, size, attributes })
    }
}

fn id(value: u64) -> Result<u32, String> {
    // u32::MAX is the kernel's "no id".
    u32::try_from(value)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| format!("owner {value} is no valid id"))
}

/// `./a//b/` is `a/b`; absolute paths and `..` are refused.
fn clean(name: &[u8]) -> Result<PathBuf, String> {
    if name.starts_with(b"/") {
        return Err("an absolute path: layers have relative ones".into());
    }
    let parts: Vec<&[u8]> = name.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.contains(&&b".."[..]) {
        return Err("a path with \"..\"".into());
    }
    let path = PathBuf::from(OsStr::from_bytes(&parts.join(&b'/')));
    if parts.is_empty() || is_clean(&path) {
        return Ok(path);
    }
    Err("a name is longer than 255 bytes, the path longer than 4095, or there is a NUL in it".into())
}

fn symlink_target(link: Vec<u8>) -> Result<PathBuf, String> {
    if link.is_empty() || link.len() > 4095 || link.contains(&0) {
        return Err("its target is empty, longer than 4095 bytes, or has a NUL".into());
    }
    Ok(Path::new(OsStr::from_bytes(&link)).to_path_buf())
}

/// Octal digits between spaces and NULs, or GNU's big-endian binary with the top bit set.
fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let mut value: i128 = i128::from(field[0] & 0x3f) - if negative { 0x40 } else { 0 };
        for byte in &field[1..] {
            value = value << 8 | i128::from(*byte);
        }
        return i64::try_from(value).ok();
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if text.is_empty() {
        return Some(0);
    }
    text.bytes().all(|b| matches!(b, b'0'..=b'7')).then(|| i64::from_str_radix(text, 8).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers() {
        let check = |field: &[u8], expect| assert_eq!(number(field), expect, "{field:?}");
        check(b"0000644\0", Some(0o644));
        check(b"  644 \0\0", Some(0o644));
        check(b"\0\0\0\0", Some(0));
        check(b"00 644\0", None);
        check(b"0000648\0", None);
        check(b"-000001\0", None);
        check(&[0x80, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0], Some(2 << 56));
        check(&[0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], Some(1 << 32));
        check(&[0xff; 12], Some(-1));
        check(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], None);
    }

    #[test]
    fn reads_pax_records() {
        let check = |data: &[u8], expect: Option<usize>| {
            assert_eq!(records(data).ok().map(|found| found.len()), expect, "{data:?}");
        };
        check(b"", Some(0));
        check(b"9 path=a\n", Some(1));
        check(b"9 path=\n\n9 path=b\n", Some(2));
        for bad in
            ["9 path=a", "8 path=a\n", "99 path=a\n", "x path=a\n", "9 patha\n", "-9 path=a\n", "6 =ab\n"]
        {
            check(bad.as_bytes(), None);
        }
        assert_eq!(time("12.5"), Some((12, 500_000_000)));
        assert_eq!(time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time("1.x"), None);
    }

    #[test]
    fn cleans_paths() {
        let check = |name: &str, expect: Option<&str>| {
            assert_eq!(clean(name.as_bytes()).ok(), expect.map(PathBuf::from), "{name}");
        };
        check("./", Some(""));
        check("./a//b/./c/", Some("a/b/c"));
        check("a..b/...", Some("a..b/..."));
        for bad in ["/", "/a", "..", "a/..", "a/../b", "./../a"] {
            check(bad, None);
        }
        check(&"n".repeat(256), None);
    }
}
