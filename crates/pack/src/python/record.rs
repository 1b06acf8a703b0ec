//! RECORD: the list of a wheel's files, as CSV rows of path, hash and size (PEP 376, PEP 427).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::base64::{Alphabet, decode, encode};
use crate::tree::{Content, Node, NodeKind};

/// What a row says of a file's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hash {
    /// Nothing: RECORD itself and its signatures.
    None,
    /// Its SHA-256.
    Sha256([u8; 32]),
}

/// A row of an installed RECORD.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    path: String,
    hash: String,
}

impl Row {
    /// The row of a file of the tree, with its hash and size.
    ///
    /// # Errors
    /// [`Error::Io`] if staged contents cannot be read.
    pub fn of(path: &Path, node: &Node, site: &Path) -> Result<Self, Error> {
        let hash = match &node.kind {
            NodeKind::File(content) => {
                format!("sha256={},{}", encode(&hash_of(content)?, Alphabet::UrlSafe), node.size())
            }
            _ => ",".to_owned(),
        };
        Ok(Self { path: relative(path, site), hash })
    }

    /// The row of a file that is not hashed: bytecode, RECORD itself.
    pub fn unhashed(path: &Path, site: &Path) -> Self {
        Self { path: relative(path, site), hash: ",".to_owned() }
    }
}

/// SHA-256 of a file on its way into a layer.
///
/// # Errors
/// [`Error::Io`].
pub fn hash_of(content: &Content) -> Result<[u8; 32], Error> {
    let (path, mut at, mut left) = match content {
        Content::Bytes(bytes) => return Ok(Sha256::digest(bytes).into()),
        Content::Host { path, offset, size } => (path, *offset, *size),
    };
    let (file, mut hash) = (File::open(path).map_err(Error::io("read", path))?, Sha256::new());
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = match file.read_at(&mut buffer[..want], at) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            other => other,
        }
        .map_err(Error::io("read", path))?;
        hash.update(&buffer[..got]);
        (at, left) = (at + got as u64, left - got as u64);
    }
    Ok(hash.finalize().into())
}

/// The path as seen from the packages' directory, with `..` where it lies outside.
fn relative(path: &Path, site: &Path) -> String {
    if let Ok(inside) = path.strip_prefix(site) {
        return inside.to_string_lossy().into_owned();
    }
    let shared = path.components().zip(site.components()).take_while(|(a, b)| a == b).count();
    let up = "../".repeat(site.components().count() - shared);
    let rest: PathBuf = path.components().skip(shared).collect();
    format!("{up}{}", rest.display())
}

/// The file's text; rows are put in order.
pub fn write(rows: &mut [Row]) -> String {
    rows.sort_unstable();
    rows.iter().map(|row| format!("{},{}\n", quoted(&row.path), row.hash)).collect()
}

fn quoted(path: &str) -> String {
    match path.contains([',', '"']) {
        true => format!("\"{}\"", path.replace('"', "\"\"")),
        false => path.to_owned(),
    }
}

/// Parses a wheel's RECORD. Hash algorithms other than SHA-256 are refused: nobody makes them.
///
/// # Errors
/// A reason naming the line.
pub fn parse(text: &str) -> Result<BTreeMap<String, Hash>, String> {
    let mut rows = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let fail = |reason: &str| format!("line {}: {reason}", number + 1);
        let (path, rest) = split_path(line).ok_or_else(|| fail("not PATH,HASH,SIZE"))?;
        let hash = rest.split(',').next().unwrap_or_default().trim();
        let hash = match hash.split_once('=') {
            None if hash.is_empty() => Hash::None,
            Some(("sha256", encoded)) => {
                Hash::Sha256(decode(encoded, Alphabet::UrlSafe).ok_or_else(|| fail("the hash is malformed"))?)
            }
            _ => return Err(fail("only sha256 is known")),
        };
        if rows.insert(path, hash).is_some() {
            return Err(fail("the path is there twice"));
        }
    }
    Ok(rows)
}

/// The first CSV field and what follows its comma.
fn split_path(line: &str) -> Option<(String, &str)> {
    let Some(mut rest) = line.strip_prefix('"') else {
        let (path, rest) = line.split_once(',')?;
        return Some((path.to_owned(), rest));
    };
    let mut path = String::new();
    loop {
        let (before, after) = rest.split_once('"')?;
        path.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                path.push('"');
                rest = more;
            }
            None => return Some((path, after.strip_prefix(',')?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_rows() {
        let encoded = encode(&Sha256::digest(b"x"), Alphabet::UrlSafe);
        let rows = parse(&format!("a/b.py,sha256={encoded},1\n\"c,\"\"d\",sha256={encoded},1\nR,,\n"))
            .expect("valid");
        assert_eq!(rows.keys().map(String::as_str).collect::<Vec<_>>(), ["R", "a/b.py", "c,\"d"]);
        for bad in ["a", "a,md5=xx,1", "a,sha256=xx,1", "\"a,b", "R,,\nR,,"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_outside_the_packages_climb() {
        let site = Path::new("usr/local/lib/python3.11/dist-packages");
        assert_eq!(relative(Path::new("usr/local/bin/x"), site), "../../../bin/x");
        assert_eq!(relative(&site.join("a/b"), site), "a/b");
    }
}
