//! A parsed `Packages` file, in a form that answers a name without reading the rest.
//!
//! ```text
//! magic 16 │ rows u32 │ names u32 │ row × rows │ names │ records …
//!            row: name at u32, name length u32, record at u64, record length u32, kind u32
//! ```
//! Little-endian. Rows are sorted by name, then by place in the Packages file. A name is a package's own
//! (kind 0) or one it provides (kind 1). A record is the package's stanza with the fields that a resolver
//! reads. The file is named by the hash of the InRelease that vouched for it, and written whole or not at
//! all; a wrong one costs a failed download later, as every .deb is checked against the lock.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;

use corral_spec::Digest;

use super::deb822::{self, Stanza};
use super::relation::{self, Clause, Dependency, Relation};
use super::version::Version;

const MAGIC: &[u8; 16] = b"corral-index-01\n";
const HEADER: usize = 24;
const ROW: usize = 24;
const FIELDS: [&str; 13] = [
    "Package",
    "Source",
    "Version",
    "Architecture",
    "Priority",
    "Pre-Depends",
    "Depends",
    "Provides",
    "Conflicts",
    "Breaks",
    "Filename",
    "Size",
    "SHA256",
];

/// The compact form of a `Packages` text, in parts to be written one after the other.
pub(super) fn compact(packages: &str) -> [Vec<u8>; 4] {
    let mut rows: Vec<(&str, u64, u32, u32)> = Vec::new();
    let mut records = Vec::with_capacity(packages.len() / 2);
    for stanza in deb822::stanzas(packages) {
        let start = records.len();
        let (mut name, mut provides) = ("", "");
        for (field, value) in stanza.fields() {
            if !FIELDS.contains(&field) {
                continue;
            }
            match field {
                "Package" => name = value,
                "Provides" => provides = value,
                _ => {}
            }
            records.extend_from_slice(field.as_bytes());
            records.extend_from_slice(b": ");
            records.extend_from_slice(value.as_bytes());
            records.push(b'\n');
        }
        let length = (records.len() - start) as u32;
        rows.push((name, start as u64, length, 0));
        let provided =
            provides.split(',').map(|part| part.split(['(', ':']).next().unwrap_or_default().trim());
        for name in provided.filter(|name| !name.is_empty()) {
            rows.push((name, start as u64, length, 1));
        }
    }
    // Stable, so that versions of one name stay in the archive's order.
    rows.sort_by_key(|row| row.0);
    let mut names = Vec::new();
    let mut table = Vec::with_capacity(rows.len() * ROW);
    let mut last = ("", 0_u32);
    for (name, record, length, kind) in &rows {
        if *name != last.0 {
            last = (name, names.len() as u32);
            names.extend_from_slice(name.as_bytes());
        }
        table.extend_from_slice(&last.1.to_le_bytes());
        table.extend_from_slice(&(name.len() as u32).to_le_bytes());
        table.extend_from_slice(&record.to_le_bytes());
        table.extend_from_slice(&length.to_le_bytes());
        table.extend_from_slice(&kind.to_le_bytes());
    }
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    header.extend_from_slice(&(names.len() as u32).to_le_bytes());
    [header, table, names, records]
}

/// A package as an archive offers it.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) architecture: String,
    /// The source package it was built from.
    pub(super) source: String,
    /// Policy 2.5: 0 for `required` to 4 for `optional` and everything else.
    pub(super) rank: u8,
    /// `Pre-Depends` and `Depends`.
    pub(super) depends: Vec<Clause>,
    pub(super) provides: Vec<Dependency>,
    /// `Conflicts` and `Breaks`.
    pub(super) excludes: Vec<Clause>,
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) sha256: Digest,
    /// The archive that offers it, for example `bookworm-updates`.
    pub(super) archive: String,
}

/// An open index.
#[derive(Debug)]
pub(super) struct Index {
    archive: String,
    file: File,
    rows: Vec<u8>,
    names: Vec<u8>,
    records: u64,
    read: RefCell<HashMap<u64, Rc<Package>>>,
}

impl Index {
    /// Opens what [`compact`] made.
    pub(super) fn open(path: &Path, archive: &str) -> io::Result<Self> {
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "not an index");
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0)?;
        let (rows, names) = (u64::from(word(&header, 16)) * ROW as u64, u64::from(word(&header, 20)));
        let records = HEADER as u64 + rows + names;
        if &header[..16] != MAGIC || records > length {
            return Err(broken());
        }
        let read = |size: u64, at: u64| -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; usize::try_from(size).map_err(|_| broken())?];
            file.read_exact_at(&mut bytes, at)?;
            Ok(bytes)
        };
        let (rows, names) = (read(rows, HEADER as u64)?, read(names, HEADER as u64 + rows)?);
        Ok(Self { archive: archive.to_owned(), file, rows, names, records, read: RefCell::default() })
    }

    /// The packages of this name, and those that provide it: `(package, provides)`.
    pub(super) fn lookup(&self, name: &str) -> Result<Vec<(Rc<Package>, bool)>, String> {
        let count = self.rows.len() / ROW;
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = (low + high) / 2;
            if self.name(middle) < name.as_bytes() { low = middle + 1 } else { high = middle }
        }
        (low..count)
            .take_while(|row| self.name(*row) == name.as_bytes())
            .map(|row| self.package(row))
            .collect()
    }

    fn name(&self, row: usize) -> &[u8] {
        let (at, length) = (word(&self.rows, row * ROW), word(&self.rows, row * ROW + 4));
        self.names.get(at as usize..at as usize + length as usize).unwrap_or_default()
    }

    fn package(&self, row: usize) -> Result<(Rc<Package>, bool), String> {
        let at =
            u64::from(word(&self.rows, row * ROW + 8)) | u64::from(word(&self.rows, row * ROW + 12)) << 32;
        let provides = word(&self.rows, row * ROW + 20) == 1;
        if let Some(known) = self.read.borrow().get(&at) {
            return Ok((Rc::clone(known), provides));
        }
        let mut bytes = vec![0; word(&self.rows, row * ROW + 16) as usize];
        self.file.read_exact_at(&mut bytes, self.records + at).map_err(|error| error.to_string())?;
        let text = String::from_utf8(bytes).map_err(|_| "has text that is not UTF-8".to_owned())?;
        let stanza = deb822::stanzas(&text).next().ok_or("has an empty record")?;
        let package = Rc::new(parse(stanza, &self.archive)?);
        self.read.borrow_mut().insert(at, Rc::clone(&package));
        Ok((package, provides))
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
}

/// Reads a stanza of a Packages file; the error names the package and what is wrong with it.
fn parse(stanza: Stanza, archive: &str) -> Result<Package, String> {
    let name =
        stanza.get("Package").filter(|name| relation::is_name(name)).ok_or("has a stanza without name")?;
    let bad = |what: &str| format!("has package {name} with {what}");
    let get = |field: &str| stanza.get(field).ok_or_else(|| bad(&format!("no {field}")));
    let relations = |field: &str| {
        relation::parse(stanza.get(field).unwrap_or_default())
            .map_err(|part| bad(&format!("a malformed {field}: {part:?}")))
    };
    let version = Version::parse(get("Version")?).ok_or_else(|| bad("a malformed Version"))?;
    let architecture = get("Architecture")?;
    if !architecture.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(bad("a malformed Architecture"));
    }
    let path = get("Filename")?;
    if !is_pool_path(path) {
        return Err(bad("a malformed Filename"));
    }
    let mut depends = relations("Pre-Depends")?;
    depends.append(&mut relations("Depends")?);
    let mut excludes = relations("Conflicts")?;
    excludes.append(&mut relations("Breaks")?);
    let provides: Vec<Dependency> = relations("Provides")?.into_iter().flat_map(|clause| clause.0).collect();
    if provides.iter().any(|one| one.versions.as_ref().is_some_and(|(sign, _)| *sign != Relation::Equal)) {
        return Err(bad("a malformed Provides"));
    }
    Ok(Package {
        name: name.to_owned(),
        version,
        architecture: architecture.to_owned(),
        source: stanza.get("Source").and_then(|text| text.split(' ').next()).unwrap_or(name).to_owned(),
        rank: rank(stanza.get("Priority").unwrap_or_default()),
        depends,
        provides,
        excludes,
        path: path.to_owned(),
        size: get("Size")?.parse().map_err(|_| bad("a malformed Size"))?,
        sha256: Digest::from_hex(get("SHA256")?).map_err(|_| bad("a malformed SHA256"))?,
        archive: archive.to_owned(),
    })
}

/// Whether a text can be a package's path on a mirror.
pub(super) fn is_pool_path(path: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(|b| b.is_ascii_graphic());
    path.split('/').all(plain) && !path.contains(['?', '#', '\\'])
}

fn rank(priority: &str) -> u8 {
    match priority {
        "required" => 0,
        "important" => 1,
        "standard" => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGES: &str = "Package: mawk\nVersion: 1.3-1\nArchitecture: amd64\nProvides: awk, awk-api (= 2)\n\
        Description: x\nFilename: pool/m/mawk.deb\nSize: 5\n\
        SHA256: 0000000000000000000000000000000000000000000000000000000000000001\n\n\
        Package: gawk\nSource: gawk-src (1)\nVersion: 1:5\nArchitecture: amd64\nProvides: awk\nDepends: libc6 (>= 2),\n mawk\n\
        Priority: required\nFilename: pool/g/gawk.deb\nSize: 6\n\
        SHA256: 0000000000000000000000000000000000000000000000000000000000000002\n\n\
        Package: bad-one\nVersion: 1\nArchitecture: amd64\nFilename: ../x\nSize: 1\n\
        SHA256: 0000000000000000000000000000000000000000000000000000000000000003\n";

    fn index() -> Index {
        let file = tempfile::NamedTempFile::new().expect("temp file");
        std::fs::write(file.path(), compact(PACKAGES).concat()).expect("write");
        Index::open(file.path(), "bookworm").expect("open")
    }

    #[test]
    fn answers_names_and_provided_names() {
        let index = index();
        let names = |name: &str| -> Vec<(String, bool)> {
            let found = index.lookup(name).expect(name);
            found.iter().map(|(package, provides)| (package.name.clone(), *provides)).collect()
        };
        assert_eq!(names("awk"), [("mawk".to_owned(), true), ("gawk".to_owned(), true)]);
        assert_eq!(names("gawk"), [("gawk".to_owned(), false)]);
        assert_eq!(names("awk-api"), [("mawk".to_owned(), true)]);
        for absent in ["", "a", "zz", "libc6"] {
            assert_eq!(names(absent), [], "{absent:?}");
        }
        let gawk = Rc::clone(&index.lookup("gawk").expect("gawk")[0].0);
        assert_eq!((gawk.source.as_str(), gawk.rank, gawk.size), ("gawk-src", 0, 6));
        let depends: Vec<_> = gawk.depends.iter().map(Clause::to_string).collect();
        assert_eq!(depends, ["libc6 (>= 2)", "mawk"]);
    }

    #[test]
    fn refuses_what_it_did_not_write() {
        assert!(index().lookup("bad-one").expect_err("path").contains("malformed Filename"));
        let file = tempfile::NamedTempFile::new().expect("temp file");
        let whole = compact(PACKAGES).concat();
        for broken in [&whole[..10], &whole[..60], b"0123456789abcdef\0\0\0\0\0\0\0\0"] {
            std::fs::write(file.path(), broken).expect("write");
            assert!(Index::open(file.path(), "bookworm").is_err(), "{} bytes", broken.len());
        }
    }
}
