//! Canonical tar headers: the same entry gives the same bytes on any machine.
//!
//! POSIX ustar; a pax header comes before it only where ustar cannot say it (long or non-ASCII names,
//! 8 GiB and more, ids above 2097151, extended attributes). No user names, whole seconds, devices 0.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::{EntryHead, EntryKind, Error};

pub(crate) const BLOCK: usize = 512;

/// Zero bytes that fill the last block of `size` bytes of contents.
pub(crate) fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

/// Appends the header blocks of an entry to `out`.
pub(crate) fn encode(head: &EntryHead, out: &mut Vec<u8>) -> Result<(), Error> {
    let name = entry_name(head)?;
    let link: &[u8] = match &head.kind {
        EntryKind::Symlink { target } | EntryKind::Hardlink { target } => target.as_os_str().as_bytes(),
        _ => b"",
    };
    let (size, flag, mode) = match &head.kind {
        EntryKind::File { size } => (*size, b'0', head.mode),
        EntryKind::Hardlink { .. } => (0, b'1', head.mode),
        EntryKind::Symlink { .. } => (0, b'2', head.mode),
        EntryKind::Directory => (0, b'5', head.mode),
        EntryKind::Fifo => (0, b'6', head.mode),
        EntryKind::Whiteout | EntryKind::Opaque => (0, b'0', 0),
    };
    let mut pax = Pax::default();
    let place = ustar_name(&name);
    if place.is_none() {
        pax.add("path", &name);
    }
    if link.len() > 100 || !plain(link) {
        pax.add("linkpath", link);
    }
    let fields = Fields {
        size: pax.number("size", size, 11),
        uid: pax.number("uid", head.uid.into(), 7),
        gid: pax.number("gid", head.gid.into(), 7),
        mtime: pax.time(head.mtime),
        mode: mode & 0o7777,
        flag,
    };
    for (key, value) in &head.xattrs {
        if key.is_empty() || key.contains(['=', '\0']) {
            return Err(Error::entry(&head.path, format!("invalid extended attribute {key:?}")));
        }
        pax.add(&format!("SCHILY.xattr.{key}"), value);
    }
    if !pax.records.is_empty() {
        let own = Fields { size: pax.records.len() as u64, flag: b'x', ..Fields::default() };
        out.extend_from_slice(&own.block((b"", b"././@PaxHeader"), b""));
        out.extend_from_slice(&pax.records);
        out.resize(out.len() + padding(pax.records.len() as u64), 0);
    }
    // Readers that know pax never look at this name; it is cut, not invented.
    let cut = &name[..name.len().min(100)];
    out.extend_from_slice(&fields.block(place.unwrap_or((b"", cut)), &link[..link.len().min(100)]));
    Ok(())
}

/// Whether `path` is relative, without `.`, `..`, empty components or NUL, and of a length that Linux takes.
pub(crate) fn is_clean(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.len() < 4096
        && !bytes.contains(&0)
        && bytes.split(|b| *b == b'/').all(|name| !matches!(name, b"" | b"." | b"..") && name.len() <= 255)
}

fn entry_name(head: &EntryHead) -> Result<Vec<u8>, Error> {
    let bad = |reason: &str| Error::entry(&head.path, reason);
    let root = head.path.as_os_str().is_empty();
    if !root && !is_clean(&head.path) {
        return Err(bad("not a clean relative path"));
    }
    let last = head.path.file_name().unwrap_or_default().as_bytes();
    let path = head.path.as_os_str().as_bytes();
    Ok(match &head.kind {
        EntryKind::Directory if root => b"./".to_vec(),
        EntryKind::Directory => [path, b"/"].concat(),
        EntryKind::Opaque if root => b".wh..wh..opq".to_vec(),
        EntryKind::Opaque => [path, b"/.wh..wh..opq"].concat(),
        _ if root => return Err(bad("the layer's root can only be a directory")),
        EntryKind::Whiteout => {
            let dir = &path[..path.len() - last.len()];
            [dir, b".wh.", last].concat()
        }
        EntryKind::Hardlink { target } if !is_clean(target) => {
            return Err(bad("its hard link target is not a clean relative path"));
        }
        EntryKind::Symlink { target } if target.as_os_str().is_empty() || target.as_os_str().len() > 4095 => {
            return Err(bad("its target is empty or longer than 4095 bytes"));
        }
        EntryKind::Symlink { target } if target.as_os_str().as_bytes().contains(&0) => {
            return Err(bad("its target has a NUL byte"));
        }
        _ => path.to_vec(),
    })
}

/// ustar's prefix and name, if the name fits: at most 155 + 100 bytes, cut at a slash.
fn ustar_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if !plain(name) {
        return None;
    }
    if name.len() <= 100 {
        return Some((b"", name));
    }
    let cut = (0..name.len() - 1).find(|at| name[*at] == b'/' && name.len() - at - 1 <= 100)?;
    (cut <= 155 && cut > 0).then(|| (&name[..cut], &name[cut + 1..]))
}

fn plain(text: &[u8]) -> bool {
    text.is_ascii()
}

#[derive(Default)]
struct Fields {
    size: u64,
    uid: u64,
    gid: u64,
    mtime: u64,
    mode: u32,
    flag: u8,
}

impl Fields {
    fn block(&self, (prefix, name): (&[u8], &[u8]), link: &[u8]) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..name.len()].copy_from_slice(name);
        octal(&mut block[100..107], self.mode.into());
        octal(&mut block[108..115], self.uid);
        octal(&mut block[116..123], self.gid);
        octal(&mut block[124..135], self.size);
        octal(&mut block[136..147], self.mtime);
        block[156] = self.flag;
        block[157..157 + link.len()].copy_from_slice(link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..336], 0);
        octal(&mut block[337..344], 0);
        block[345..345 + prefix.len()].copy_from_slice(prefix);
        block[148..156].fill(b' ');
        let sum = block.iter().map(|b| u64::from(*b)).sum();
        octal(&mut block[148..154], sum);
        block[154] = 0;
        block
    }
}

/// Right-aligned octal digits that fill `field`.
fn octal(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}

#[derive(Default)]
struct Pax {
    records: Vec<u8>,
}

impl Pax {
    /// `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
    fn add(&mut self, key: &str, value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.records.extend_from_slice(format!("{length} {key}=").as_bytes());
        self.records.extend_from_slice(value);
        self.records.push(b'\n');
    }

    /// The value for the ustar field of so many octal digits, or 0 there and the value here.
    fn number(&mut self, key: &str, value: u64, digits: u32) -> u64 {
        if value >> (3 * digits) == 0 {
            return value;
        }
        self.add(key, value.to_string().as_bytes());
        0
    }

    fn time(&mut self, seconds: i64) -> u64 {
        match u64::try_from(seconds) {
            Ok(seconds) => self.number("mtime", seconds, 11),
            Err(_) => {
                self.add("mtime", seconds.to_string().as_bytes());
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &EntryHead, expect: Option<(&str, usize)>) {
        let mut out = Vec::new();
        let result = encode(head, &mut out).ok().map(|()| {
            let block = &out[out.len() - BLOCK..];
            let header = tar::Header::from_byte_slice(block);
            let sum: u32 = block
                .iter()
                .enumerate()
                .map(|(at, b)| if (148..156).contains(&at) { 32 } else { u32::from(*b) })
                .sum();
            assert_eq!(header.cksum().expect("checksum"), sum);
            (String::from_utf8_lossy(&header.path_bytes()).into_owned(), out.len() / BLOCK)
        });
        assert_eq!(result, expect.map(|(name, blocks)| (name.to_owned(), blocks)), "{:?}", head.path);
    }

    #[test]
    fn encodes_each_kind_of_entry() {
        let long = format!("{}/{}", "d".repeat(120), "f".repeat(90));
        let longer = "x/".repeat(130) + "end";
        let at = |path: &str, kind| EntryHead::new(path, kind, 0o644);
        check(&at("", EntryKind::Directory), Some(("./", 1)));
        check(&at("usr/bin", EntryKind::Directory), Some(("usr/bin/", 1)));
        check(&at("a", EntryKind::File { size: 3 }), Some(("a", 1)));
        check(&at("d/a", EntryKind::Whiteout), Some(("d/.wh.a", 1)));
        check(&at("d", EntryKind::Opaque), Some(("d/.wh..wh..opq", 1)));
        check(&at(&long, EntryKind::Fifo), Some((&long, 1)));
        check(&at(&longer, EntryKind::Fifo), Some((&longer[..100], 3)));
        check(&at("big", EntryKind::File { size: 8 << 30 }), Some(("big", 3)));
        check(&EntryHead { uid: 3_000_000, ..at("u", EntryKind::Directory) }, Some(("u/", 3)));
        check(&EntryHead { mtime: -1, ..at("u", EntryKind::Directory) }, Some(("u/", 3)));
        for bad in ["/a", "../a", "a/../b", "a//b", "./a", "a/", "a\0"] {
            check(&at(bad, EntryKind::File { size: 0 }), None);
        }
        check(&at("", EntryKind::File { size: 0 }), None);
        check(&at("l", EntryKind::Hardlink { target: "../x".into() }), None);
        check(&at("l", EntryKind::Symlink { target: "../../x".into() }), Some(("l", 1)));
    }

    #[test]
    fn pax_lengths_count_themselves() {
        for size in [0, 1, 84, 85, 86, 87, 88, 89, 90, 91, 983, 984, 985, 986, 987] {
            let mut pax = Pax::default();
            pax.add("key", &vec![b'v'; size]);
            let text = String::from_utf8(pax.records).expect("ascii");
            let (length, _) = text.split_once(' ').expect("space");
            assert_eq!(length.parse(), Ok(text.len()));
        }
    }
}
