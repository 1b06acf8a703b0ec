//! The files of an image archive, wherever they are: taken from a tar as it streams by, or in a directory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use corral_spec::{Digest, ErrorKind};
use rustix::fs::{Mode, OFlags, openat2};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::header::{BLOCK, padding};
use crate::member::MemberKind;
use crate::source::{Form, Source};
use crate::store::SMALL;
use crate::tree::CONFINED;
use crate::{Error, LayerInfo, Store, UnpackLimits};

/// Documents and names of one archive, which are kept in memory, together.
const DOCUMENTS: u64 = 64 << 20;
/// Files in one archive: images have dozens of layers.
const FILES: u64 = 100_000;

pub(crate) enum Bundle {
    Streamed(HashMap<String, Item>),
    Directory(File, UnpackLimits),
}

/// A file of a streamed archive. Layers are unpacked when they come by, since nothing is read twice; whether
/// they are wanted, and what their blob's name promised, is known at the end.
pub(crate) enum Item {
    Document(Vec<u8>),
    Layer(LayerInfo),
    /// Looks like a layer and is none: an error only if an image wants it.
    Bad(Error),
    /// docker's archives link equal layers.
    Link(String),
    Other,
}

impl Bundle {
    /// Reads a whole archive, unpacking what looks like a layer.
    pub(crate) fn stream(store: &Store, reader: impl Read, limits: &UnpackLimits) -> Result<Self, Error> {
        // The whole is bounded by its parts: each layer, all documents, the number of files.
        let outer = UnpackLimits { bytes: u64::MAX, ..*limits };
        let mut source = Source::new(reader, &outer, false)?;
        let mut items = HashMap::new();
        let mut documents = 0;
        let mut raw = Vec::new();
        while let Some(member) = source.member(&mut raw)? {
            if items.len() as u64 >= FILES {
                return Err(Error::Limit { what: "files", limit: FILES });
            }
            let name = member.path.to_string_lossy().into_owned();
            let item = match member.kind {
                MemberKind::File => item(store, &mut source, &name, member.size, limits)?,
                MemberKind::Symlink(target) => Item::Link(join(&member.path, &target)),
                MemberKind::Hardlink(target) => Item::Link(target.to_string_lossy().into_owned()),
                _ => continue,
            };
            documents += name.len() as u64;
            documents += match &item {
                Item::Document(bytes) => bytes.len() as u64,
                Item::Link(target) => target.len() as u64,
                Item::Layer(_) | Item::Bad(_) | Item::Other => 0,
            };
            if documents > DOCUMENTS {
                return Err(Error::Limit { what: "bytes of names and documents", limit: DOCUMENTS });
            }
            items.insert(name, item);
        }
        Ok(Self::Streamed(items))
    }

    pub(crate) fn directory(dir: &Path, limits: &UnpackLimits) -> Result<Self, Error> {
        let file = File::open(dir).map_err(|e| Error::io("open", dir, e))?;
        Ok(Self::Directory(file, *limits))
    }

    /// A document by its path; none if there is no such file.
    pub(crate) fn document(&mut self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Self::Streamed(items) => {
                let path = resolve(items, path);
                match items.get(&path) {
                    None => Ok(None),
                    Some(Item::Document(bytes)) => Ok(Some(bytes.clone())),
                    Some(_) => Err(refusal(items, &path, "not a JSON document")),
                }
            }
            Self::Directory(dir, _) => {
                let Some(file) = open(dir, path)? else { return Ok(None) };
                let mut bytes = Vec::new();
                file.take(SMALL + 1).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, e))?;
                if bytes.len() as u64 > SMALL {
                    return Err(Error::entry(path, "a document larger than 8 MiB"));
                }
                Ok(Some(bytes))
            }
        }
    }

    /// A layer by its path, which must have this diffID.
    pub(crate) fn layer(&mut self, store: &Store, path: &str, diff_id: &Digest) -> Result<(), Error> {
        let got = match self {
            Self::Streamed(items) => {
                let path = resolve(items, path);
                match items.get(&path) {
                    Some(Item::Layer(info)) => info.diff_id,
                    Some(_) => return Err(refusal(items, &path, "not a layer")),
                    // Layers may be left out of an archive for a store that has them.
                    None if store.has_layer(diff_id) => *diff_id,
                    None => return Err(Error::entry(path, "a layer that the archive does not have")),
                }
            }
            Self::Directory(..) if store.has_layer(diff_id) => *diff_id,
            Self::Directory(dir, limits) => {
                let file = open(dir, path)?
                    .ok_or_else(|| Error::entry(path, "a layer that the directory does not have"))?;
                store.unpack_layer(file, Some(diff_id), limits)?.diff_id
            }
        };
        if got == *diff_id {
            return Ok(());
        }
        Err(Error::DigestMismatch { what: format!("layer {path}"), expect: *diff_id, got })
    }
}

fn open(dir: &File, path: &str) -> Result<Option<File>, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match openat2(dir, path, flags, Mode::empty(), CONFINED) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("open", path, errno)),
    }
}

/// Sorts a file out by its first block.
fn item(
    store: &Store,
    source: &mut Source<'_>,
    name: &str,
    size: u64,
    limits: &UnpackLimits,
) -> Result<Item, Error> {
    let promised = name.strip_prefix("blobs/sha256/").and_then(|hex| Digest::from_hex(hex).ok());
    let mut reader = Contents { source, left: size, hasher: promised.map(|_| Sha256::new()) };
    let mut first = Vec::new();
    let fail = |source| Error::Stream { act: "cannot read the archive", source };
    (&mut reader).take(BLOCK as u64).read_to_end(&mut first).map_err(fail).map_err(Error::unwrapped)?;
    let found = match kind(&first) {
        Kind::Document if size <= SMALL => {
            reader.read_to_end(&mut first).map_err(fail).map_err(Error::unwrapped)?;
            Item::Document(first)
        }
        Kind::Layer => match store.unpack_layer(Cursor::new(first).chain(&mut reader), None, limits) {
            Ok(info) => Item::Layer(info),
            Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Denied) => Item::Bad(error),
            Err(error) => return Err(error),
        },
        Kind::Document | Kind::Other => Item::Other,
    };
    let got = reader.finish()?;
    source.skip(padding(size) as u64)?;
    match promised {
        Some(expect) if got != Some(expect) => Ok(Item::Bad(Error::DigestMismatch {
            what: format!("archive entry {name}"),
            expect,
            got: got.unwrap_or(expect),
        })),
        _ => Ok(found),
    }
}

enum Kind {
    Document,
    Layer,
    Other,
}

fn kind(first: &[u8]) -> Kind {
    match (Form::of(first), first.iter().find(|b| !b.is_ascii_whitespace())) {
        (Form::Gzip | Form::Zstd, _) => Kind::Layer,
        (_, Some(b'{' | b'[')) => Kind::Document,
        // An empty tar begins with its end.
        _ if first == [0; BLOCK] || first.get(257..262) == Some(b"ustar") => Kind::Layer,
        _ => Kind::Other,
    }
}

/// The contents of one entry of the outer archive.
struct Contents<'s, 'r> {
    source: &'s mut Source<'r>,
    left: u64,
    hasher: Option<Sha256>,
}

impl Contents<'_, '_> {
    /// Reads what nobody wanted, and gives the digest of all.
    fn finish(mut self) -> Result<Option<Digest>, Error> {
        while self.left > 0 {
            let chunk = self.source.chunk(self.left)?;
            self.left -= chunk.len() as u64;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(chunk);
            }
        }
        Ok(self.hasher.map(|hasher| Digest::from_bytes(hasher.finalize().into())))
    }
}

impl Read for Contents<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let chunk = self.source.chunk(self.left.min(buffer.len() as u64)).map_err(io::Error::other)?;
        buffer[..chunk.len()].copy_from_slice(chunk);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(chunk);
        }
        self.left -= chunk.len() as u64;
        Ok(chunk.len())
    }
}

/// Where a link in the archive points, as a path of the archive; it never leaves it.
fn join(link: &Path, target: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in link.parent().into_iter().chain([target]).flat_map(Path::components) {
        match part {
            std::path::Component::ParentDir => {
                parts.pop();
            }
            std::path::Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    parts.join("/")
}

fn resolve(items: &HashMap<String, Item>, path: &str) -> String {
    let mut path = path.trim_start_matches("./").to_owned();
    for _ in 0..8 {
        match items.get(&path) {
            Some(Item::Link(target)) => path = target.clone(),
            _ => break,
        }
    }
    path
}

/// What was wrong with the file when it came by, else `reason`.
fn refusal(items: &mut HashMap<String, Item>, path: &str, reason: &str) -> Error {
    match items.remove(path) {
        Some(Item::Bad(error)) => error,
        _ => Error::entry(path, reason),
    }
}
