//! `/etc/ld.so.cache`, as glibc's ldconfig writes it by default (`struct cache_file_new` in glibc's
//! sysdeps/generic/dl-cache.h):
//!
//! ```text
//! "glibc-ld.so.cache" "1.1" │ entries u32 │ bytes of strings u32 │ 2 = little-endian u8 │ zero 19
//! entry: flags u32 │ soname at u32 │ path at u32 │ zero u32 │ hwcap u64
//! strings, each ended by NUL; offsets count from the beginning of the file
//! ```
//! Entries are in descending order of [`compare`], by which ld.so searches. Hardware-specific
//! subdirectories (`glibc-hwcaps`) are left to ld.so's own search: no package of a base has them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::content::{self, Bytes};
use super::{Architecture, Error, elf};
use crate::tree::{Content, NodeKind, Tree};

const HEADER: usize = 48;
const ENTRY: usize = 24;

/// One library of the cache: what programs ask for, and where it is.
type Library = (String, String);

/// The cache of a tree.
pub(super) fn cache(tree: &Tree, architecture: Architecture) -> Result<Vec<u8>, Error> {
    let mut libraries = Vec::new();
    for directory in directories(tree, architecture)? {
        libraries.extend(scan(tree, &directory, architecture)?);
    }
    Ok(write(libraries, architecture))
}

/// The directories of `/etc/ld.so.conf.d`, then Debian's defaults, each once.
fn directories(tree: &Tree, architecture: Architecture) -> Result<Vec<PathBuf>, Error> {
    let configured = Path::new("etc/ld.so.conf.d");
    let mut all = Vec::new();
    for (path, _) in tree.iter() {
        if path.parent() == Some(configured) && path.extension().is_some_and(|extension| extension == "conf")
        {
            let text = content::read(tree, path)?.unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines = text.lines().filter_map(|line| line.split('#').next()?.trim().strip_prefix('/'));
            all.extend(
                lines.filter_map(|line| super::path::parse(line.trim_end_matches('/').as_bytes()).ok()),
            );
        }
    }
    let multiarch = architecture.multiarch();
    all.push(PathBuf::from("usr/local/lib"));
    all.push(Path::new("usr/local/lib").join(multiarch));
    all.push(Path::new("usr/lib").join(multiarch));
    all.push(PathBuf::from("usr/lib"));
    let mut seen = HashSet::new();
    Ok(all.into_iter().map(super::path::fold).filter(|path| seen.insert(path.clone())).collect())
}

/// The libraries of one directory: a soname's path is the link of that name if there is one.
fn scan(tree: &Tree, directory: &Path, architecture: Architecture) -> Result<Vec<Library>, Error> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (path, node) in tree.iter() {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let library = (name.starts_with("lib") || name.starts_with("ld-")) && name.contains(".so");
        if !library || path.parent() != Some(directory) {
            continue;
        }
        let Some(content) = file(tree, path, &node.kind) else { continue };
        let Some(soname) = elf::soname(&Bytes::open(content)?, architecture) else { continue };
        let place = |name: &str| format!("/{}", directory.join(name).display());
        let linked = tree.get(&directory.join(&soname)).is_some();
        found.entry(soname.clone()).or_insert_with(|| place(if linked { &soname } else { name }));
    }
    Ok(found.into_iter().collect())
}

/// The file that a library's path leads to: itself, or by links within its directory.
fn file<'a>(tree: &'a Tree, path: &Path, kind: &'a NodeKind) -> Option<&'a Content> {
    match kind {
        NodeKind::File(content) => Some(content),
        NodeKind::Hardlink(target) => match &tree.get(target)?.kind {
            NodeKind::File(content) => Some(content),
            _ => None,
        },
        NodeKind::Symlink(target) if target.components().count() == 1 => {
            match &tree.get(&path.with_file_name(target))?.kind {
                NodeKind::File(content) => Some(content),
                _ => None,
            }
        }
        NodeKind::Symlink(_) | NodeKind::Directory => None,
    }
}

fn write(mut libraries: Vec<Library>, architecture: Architecture) -> Vec<u8> {
    // FLAG_ELF_LIBC6 with FLAG_X8664_LIB64 or FLAG_AARCH64_LIB64.
    let flags: u32 = match architecture {
        Architecture::Amd64 => 0x0303,
        Architecture::Arm64 => 0x0a03,
    };
    // Stable: of two directories with the same soname the first stays first.
    libraries.sort_by(|a, b| compare(b.0.as_bytes(), a.0.as_bytes()));
    let strings_at = HEADER + libraries.len() * ENTRY;
    let (mut entries, mut strings) = (Vec::new(), Vec::new());
    for (soname, path) in &libraries {
        let mut add = |text: &str| {
            let at = (strings_at + strings.len()) as u32;
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            at
        };
        let (soname, path) = (add(soname), add(path));
        for word in [flags, soname, path, 0, 0, 0] {
            entries.extend_from_slice(&word.to_le_bytes());
        }
    }
    let mut cache = b"glibc-ld.so.cache1.1".to_vec();
    cache.extend_from_slice(&(libraries.len() as u32).to_le_bytes());
    cache.extend_from_slice(&(strings.len() as u32).to_le_bytes());
    cache.push(2);
    cache.resize(HEADER, 0);
    cache.extend_from_slice(&entries);
    cache.extend_from_slice(&strings);
    cache
}

/// glibc's `_dl_cache_libcmp`: runs of digits by value, and any digit after any other character.
fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        match (a.first(), b.first()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => match (x.is_ascii_digit(), y.is_ascii_digit()) {
                (true, false) => return Ordering::Greater,
                (false, true) => return Ordering::Less,
                (false, false) if x != y => return x.cmp(y),
                (false, false) => (a, b) = (&a[1..], &b[1..]),
                (true, true) => {
                    let ((x, a_rest), (y, b_rest)) = (number(a), number(b));
                    if x != y {
                        return x.cmp(&y);
                    }
                    (a, b) = (a_rest, b_rest);
                }
            },
        }
    }
}

/// The number that a text begins with, and the rest.
fn number(text: &[u8]) -> (u64, &[u8]) {
    let end = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let value =
        text[..end].iter().fold(0_u64, |value, b| value.wrapping_mul(10).wrapping_add(u64::from(b - b'0')));
    (value, &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_glibc() {
        for (a, order, b) in [
            ("libc.so.6", Ordering::Equal, "libc.so.6"),
            ("libx.so.9", Ordering::Less, "libx.so.10"),
            ("liba.so", Ordering::Less, "liba.so.1"),
            ("lib1.so", Ordering::Greater, "liba.so"),
            ("libA.so", Ordering::Less, "liba.so"),
        ] {
            assert_eq!(compare(a.as_bytes(), b.as_bytes()), order, "{a} {b}");
            assert_eq!(compare(b.as_bytes(), a.as_bytes()), order.reverse(), "{b} {a}");
        }
    }

    /// glibc's own reader is the judge.
    #[test]
    fn ldconfig_reads_the_cache() {
        let library = |name: &str| (name.to_owned(), format!("/usr/lib/x86_64-linux-gnu/{name}"));
        let names = ["libc.so.6", "libz.so.1", "libssl.so.3", "libx.so.9", "libx.so.10"];
        let cache = write(names.iter().map(|name| library(name)).collect(), Architecture::Amd64);
        let file = tempfile::NamedTempFile::new().expect("temp file");
        std::fs::write(file.path(), &cache).expect("write");
        let ldconfig = Path::new("/sbin/ldconfig");
        if !ldconfig.exists() {
            println!(
                "SKIP: debian::ldcache::tests::ldconfig_reads_the_cache: this host has no /sbin/ldconfig"
            );
            return;
        }
        let output =
            std::process::Command::new(ldconfig).arg("-p").arg("-C").arg(file.path()).output().expect("run");
        let text = String::from_utf8_lossy(&output.stdout);
        let shown: Vec<&str> = text.lines().skip(1).take(names.len()).map(str::trim).collect();
        let expect: Vec<String> = ["libz.so.1", "libx.so.10", "libx.so.9", "libssl.so.3", "libc.so.6"]
            .iter()
            .map(|name| format!("{name} (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/{name}"))
            .collect();
        assert_eq!(shown, expect, "{text}{}", String::from_utf8_lossy(&output.stderr));
    }
}
