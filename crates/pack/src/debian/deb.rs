//! Reading a package file (deb(5)).
//!
//! ```text
//! !<arch>\n │ debian-binary "2.0\n" │ control.tar[.gz .xz .zst] │ data.tar[.gz .xz .zst]
//! ```
//! A package is signed, and still read as if it were hostile: every path goes through one parser, devices
//! and other oddities are refused, everything has a limit. Its data.tar is kept decompressed beside
//! the .deb, so that a second assembly reads headers only and a tree can point at the members:
//!
//! ```text
//! the tar │ SHA-256 of the tar 32 │ length of the tar u64 little-endian │ magic 16
//! ```
//! The hash is checked at each opening: what a crash or a disk has spoiled is made again.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use corral_spec::Digest;
use liblzma::stream::Stream;
use sha2::{Digest as _, Sha256};

use super::cache::persist;
use super::fetch::hash;
use super::{Cache, DebFile, Error, deb822, path};

const MAGIC: &[u8; 16] = b"corral-data-01\n\0";
/// Bytes after the tar in a kept data.tar.
const TRAILER: u64 = 56;
const CONTROL_LIMIT: u64 = 32 << 20;
/// Debian's largest packages unpack to half of this.
const DATA_LIMIT: u64 = 8 << 30;
const MEMBERS_LIMIT: usize = 1_000_000;
/// xz -9 needs 65 MB to unpack.
const XZ_MEMORY: u64 = 256 << 20;

/// An opened package.
pub(super) struct Deb {
    /// The control stanza.
    control: String,
    /// `preinst`, `postinst` and `config`, if it has them.
    pub(super) scripts: Vec<Script>,
    pub(super) members: Vec<Member>,
}

/// A maintainer script's name and text.
pub(super) type Script = (&'static str, String);

/// One file of a package.
#[derive(Debug)]
pub(super) struct Member {
    /// Below the root, on a merged system.
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    pub(super) owner: Owner,
    pub(super) kind: MemberKind,
}

/// A tar entry's owner: a name, and a number for systems that lack the name.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) user: String,
    pub(super) group: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum MemberKind {
    Directory,
    /// A file whose bytes are at this offset of the kept data.tar.
    File {
        offset: u64,
        size: u64,
    },
    Symlink(PathBuf),
    /// Another member's path, folded.
    Hardlink(PathBuf),
}

impl Deb {
    /// Opens a package, making its decompressed data.tar if need be.
    pub(super) fn open(deb: &DebFile, cache: &Cache) -> Result<Self, Error> {
        let name = format!("{} {}", deb.package.name, deb.package.version);
        let bad = |reason: String| Error::Deb { package: name.clone(), reason };
        let unreadable = |source| Error::Cache { act: "read", path: deb.path.clone(), source };
        let bytes = std::fs::read(&deb.path).map_err(unreadable)?;
        let parts = Parts::parse(&bytes).map_err(|reason| bad(reason.to_owned()))?;

        let mut data = Data::open(&deb.data).ok();
        if data.is_none() {
            // The data.tar is made only from what the lock names; control.tar alone is not worth the hash.
            let found = Digest::from_bytes(Sha256::digest(&bytes).into());
            if found != deb.package.sha256 {
                let expected = deb.package.sha256.to_string();
                return Err(Error::Mismatch { what: name.clone(), expected, found: found.to_string() });
            }
            let unwritable = |source| Error::Cache { act: "write", path: deb.data.clone(), source };
            Data::make(&parts, &deb.data, cache).map_err(|error| match error {
                DataError::Package(reason) => bad(reason),
                DataError::Disk(source) => unwritable(source),
                DataError::Cache(error) => error,
            })?;
            data = Some(Data::open(&deb.data).map_err(unwritable)?);
        }
        let (control, scripts) = read_control(&parts).map_err(bad)?;
        let members = match data {
            Some(data) => data.members().map_err(bad)?,
            None => Vec::new(),
        };
        let opened = Self { control, scripts, members };
        for (field, locked) in [
            ("Package", &deb.package.name),
            ("Version", &deb.package.version),
            ("Architecture", &deb.package.architecture),
        ] {
            let found = opened.field(field).unwrap_or_default();
            if found != locked {
                return Err(bad(format!("its {field} is {found:?}, and {locked:?} is locked")));
            }
        }
        Ok(opened)
    }

    /// A field of its control file.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        deb822::stanzas(&self.control).next()?.get(name)
    }
}

/// The two tars of a package, compressed.
struct Parts<'a> {
    control: (Packing, &'a [u8]),
    data: (Packing, &'a [u8]),
}

#[derive(Clone, Copy)]
enum Packing {
    Plain,
    Gzip,
    Xz,
    Zstd,
}

impl<'a> Parts<'a> {
    /// Parses the ar archive (ar(5), the common format without long names).
    fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let mut rest = bytes.strip_prefix(b"!<arch>\n").ok_or("is not an ar archive")?;
        let (mut version, mut control, mut data) = (None, None, None);
        while !rest.is_empty() {
            let (header, after) = rest.split_at_checked(60).ok_or("is cut short")?;
            if &header[58..] != b"`\n" {
                return Err("has a malformed ar header");
            }
            let text = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).map(str::trim_end);
            let size: usize =
                text(48..58).ok().and_then(|size| size.parse().ok()).ok_or("has a malformed ar header")?;
            let (body, after) = after.split_at_checked(size).ok_or("is cut short")?;
            rest = if size % 2 == 1 { after.get(1..).unwrap_or_default() } else { after };
            let name = text(0..16).map_err(|_| "has a malformed ar header")?.trim_end_matches('/');
            let (slot, packing) = match name.split_once(".tar") {
                None if name == "debian-binary" => {
                    version = Some(body);
                    continue;
                }
                Some(("control", packing)) => (&mut control, packing),
                Some(("data", packing)) => (&mut data, packing),
                // deb(5): later members that begin with an underscore are to be ignored.
                _ if name.starts_with('_') => continue,
                _ => return Err("has a member that deb(5) does not know"),
            };
            let packing = Packing::from_suffix(packing).ok_or("is packed in a way that is not known")?;
            if slot.replace((packing, body)).is_some() {
                return Err("has a member twice");
            }
        }
        if !version.is_some_and(|version| version.starts_with(b"2.")) {
            return Err("is not of format 2");
        }
        let (control, data) = (control.ok_or("has no control.tar")?, data.ok_or("has no data.tar")?);
        Ok(Self { control, data })
    }
}

impl Packing {
    fn from_suffix(suffix: &str) -> Option<Self> {
        match suffix {
            "" => Some(Self::Plain),
            ".gz" => Some(Self::Gzip),
            ".xz" => Some(Self::Xz),
            ".zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    fn unpack<'a>(self, bytes: &'a [u8]) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Plain => Box::new(bytes),
            Self::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
            Self::Xz => {
                let stream = Stream::new_stream_decoder(XZ_MEMORY, 0).map_err(io::Error::other)?;
                Box::new(liblzma::read::XzDecoder::new_stream(bytes, stream))
            }
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(bytes)?),
        })
    }
}

/// The control stanza and the scripts that an installation would run.
fn read_control(parts: &Parts) -> Result<(String, Vec<Script>), String> {
    let text = |error: io::Error| format!("its control.tar is broken ({error})");
    let (packing, bytes) = parts.control;
    let reader = packing.unpack(bytes).map_err(text)?.take(CONTROL_LIMIT);
    let mut archive = tar::Archive::new(reader);
    let (mut control, mut scripts) = (None, Vec::new());
    for entry in archive.entries().map_err(text)? {
        let mut entry = entry.map_err(text)?;
        let name = entry.path_bytes().into_owned();
        let name = name.strip_prefix(b"./").unwrap_or(&name);
        let script = [("preinst", &b"preinst"[..]), ("postinst", b"postinst"), ("config", b"config")];
        let script = script.iter().find(|(_, known)| *known == name);
        if name != b"control" && script.is_none() {
            continue;
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(text)?;
        match script {
            Some((script, _)) => scripts.push((*script, String::from_utf8_lossy(&content).into_owned())),
            None => control = Some(String::from_utf8(content).map_err(|_| "its control file is not UTF-8")?),
        }
    }
    scripts.sort();
    Ok((control.ok_or("its control.tar has no control file")?, scripts))
}

/// A kept data.tar.
struct Data {
    file: File,
    /// Length of the tar in bytes.
    length: u64,
}

enum DataError {
    Package(String),
    Disk(io::Error),
    Cache(Error),
}

impl Data {
    /// Opens a kept data.tar and checks it.
    fn open(path: &Path) -> io::Result<Self> {
        let spoiled = || io::Error::new(io::ErrorKind::InvalidData, "not a kept data.tar");
        let file = File::open(path)?;
        let length = file.metadata()?.len().checked_sub(TRAILER).ok_or_else(spoiled)?;
        let mut trailer = [0; TRAILER as usize];
        file.read_exact_at(&mut trailer, length)?;
        let (sha256, rest) = trailer.split_at(32);
        let whole = rest.starts_with(&length.to_le_bytes()) && rest.ends_with(MAGIC);
        if !whole || hash((&file).take(length))?.as_bytes() != sha256 {
            return Err(spoiled());
        }
        (&file).rewind()?;
        Ok(Self { file, length })
    }

    /// Decompresses a package's data.tar into the cache.
    fn make(parts: &Parts, path: &Path, cache: &Cache) -> Result<(), DataError> {
        let broken = |error: io::Error| DataError::Package(format!("its data.tar is broken ({error})"));
        let mut staged = cache.stage().map_err(DataError::Cache)?;
        let (packing, bytes) = parts.data;
        let mut reader = packing.unpack(bytes).map_err(broken)?;
        let mut hash = Sha256::new();
        let (mut length, mut buffer) = (0_u64, vec![0; 256 << 10]);
        loop {
            let count = reader.read(&mut buffer).map_err(broken)?;
            if count == 0 {
                break;
            }
            length += count as u64;
            if length > DATA_LIMIT {
                return Err(DataError::Package(format!("its data.tar is larger than {DATA_LIMIT} bytes")));
            }
            hash.update(&buffer[..count]);
            staged.write_all(&buffer[..count]).map_err(DataError::Disk)?;
        }
        let trailer = [&hash.finalize()[..], &length.to_le_bytes(), MAGIC].concat();
        staged.write_all(&trailer).map_err(DataError::Disk)?;
        persist(staged, path).map_err(DataError::Cache)
    }

    /// Its members in their order, the root itself left out.
    fn members(self) -> Result<Vec<Member>, String> {
        let broken = |error: io::Error| format!("its data.tar is broken ({error})");
        let length = self.length;
        let mut archive = tar::Archive::new(self.file);
        let mut members = Vec::new();
        for entry in archive.entries_with_seek().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let name = entry.path_bytes();
            let about = |reason: &str| format!("{reason}: {:?}", String::from_utf8_lossy(&name));
            let Some(path) = path::member(&name).map_err(about)? else { continue };
            if members.len() == MEMBERS_LIMIT {
                return Err(format!("has more than {MEMBERS_LIMIT} files"));
            }
            let kind = member_kind(&entry).map_err(|reason| about(&reason))?;
            // Contents are skipped by seeking, which goes past the end without complaint.
            if entry.raw_file_position().checked_add(entry.size()).is_none_or(|end| end > length) {
                return Err(about("has a file that is cut short"));
            }
            if let (true, MemberKind::Symlink(target)) = (path::is_merged(&path), &kind) {
                if target != &PathBuf::from("usr").join(&path) {
                    return Err(about("has a link in place of a directory of the merged /usr"));
                }
                continue;
            }
            let path = path::fold(path);
            let header = entry.header();
            let id = |id: io::Result<u64>| {
                id.ok().and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX)
            };
            let (uid, gid) = (id(header.uid()), id(header.gid()));
            let (Some(uid), Some(gid)) = (uid, gid) else {
                return Err(about("has an owner that is out of range"));
            };
            let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
            let owner = Owner {
                uid,
                gid,
                user: text(header.username_bytes()),
                group: text(header.groupname_bytes()),
            };
            let mode = header.mode().map_err(broken)? & 0o7777;
            members.push(Member { path, mode, owner, kind });
        }
        Ok(members)
    }
}

fn member_kind<R: Read>(entry: &tar::Entry<R>) -> Result<MemberKind, String> {
    use tar::EntryType;
    let link = || entry.link_name_bytes().filter(|link| !link.is_empty()).ok_or("has a link without target");
    match entry.header().entry_type() {
        EntryType::Directory => Ok(MemberKind::Directory),
        EntryType::Regular | EntryType::Continuous => {
            Ok(MemberKind::File { offset: entry.raw_file_position(), size: entry.size() })
        }
        EntryType::Symlink => {
            let target = link()?;
            if target.len() >= 4096 || target.contains(&0) {
                return Err("has a symbolic link whose target is too long".to_owned());
            }
            use std::os::unix::ffi::OsStrExt as _;
            Ok(MemberKind::Symlink(PathBuf::from(std::ffi::OsStr::from_bytes(&target))))
        }
        EntryType::Link => {
            let target = path::member(&link()?)?.ok_or("has a hard link to the root")?;
            Ok(MemberKind::Hardlink(path::fold(target)))
        }
        other => Err(format!("has a file of kind {other:?}, which a package must not have")),
    }
}
