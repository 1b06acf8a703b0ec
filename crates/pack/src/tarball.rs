//! A package's archive (tar in gzip, everything below one directory) into a tree: npm's packages and Python's
//! source distributions.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use tar::EntryType;

use crate::Error;
use crate::files::open_plain;
use crate::python::{Stage, is_safe};
use crate::tree::{Node, NodeKind, Tree};

/// Uncompressed bytes of one archive.
const MAX_BYTES: u64 = 8 << 30;
/// Entries of one archive.
const MAX_ENTRIES: usize = 200_000;

/// What is done about links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// They are an error, as for npm, which installs plain files only.
    Refused,
    /// They may point at what is in the same archive (PEP 721).
    Inside,
}

/// Unpacks the archive at `path` below `target`, without its top directory. Devices are an error.
///
/// # Errors
/// [`Error::Archive`] naming what is malformed or hostile; [`Error::Io`].
pub(crate) fn unpack(path: &Path, target: &Path, stage: &Stage, links: Links) -> Result<Tree, Error> {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bad = |reason: String| Error::archive(&file, reason);
    let mut archive = tar::Archive::new(GzDecoder::new(open_plain(path)?));
    let (mut tree, mut total, mut count) = (Tree::default(), 0_u64, 0);
    for entry in archive.entries().map_err(|error| bad(error.to_string()))? {
        let mut entry = entry.map_err(|error| bad(error.to_string()))?;
        count += 1;
        total = total.saturating_add(entry.size());
        if count > MAX_ENTRIES || total > MAX_BYTES {
            return Err(bad("it is larger than any package".into()));
        }
        let kind = entry.header().entry_type();
        match kind {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Directory | EntryType::XGlobalHeader => continue,
            EntryType::Symlink | EntryType::Link if links == Links::Inside => {}
            kind => return Err(bad(format!("it holds an entry of kind {kind:?}; packages are plain files"))),
        }
        let inside = inside(&entry.path_bytes()).map_err(bad)?;
        let place: PathBuf = target.join(&inside);
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            let aim = entry.link_name_bytes().unwrap_or_default();
            let node = match kind {
                EntryType::Symlink => symlink_inside(&inside, &aim).map_err(bad)?,
                _ => self::inside(&aim)
                    .ok()
                    .and_then(|other| tree.get(&target.join(other)).cloned())
                    .ok_or_else(|| bad(format!("{inside} is a hard link to what is not before it")))?,
            };
            tree.insert(place, node);
            continue;
        }
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
        let content = stage.keep(entry.size(), &mut |sink| {
            let mut buffer = vec![0; 64 << 10];
            loop {
                match entry.read(&mut buffer).map_err(|error| bad(format!("{inside}: {error}")))? {
                    0 => return Ok(()),
                    got => sink(&buffer[..got])?,
                }
            }
        })?;
        let mode = if executable { 0o755 } else { 0o644 };
        // A later entry of the same name wins, as it does for npm.
        tree.insert(place, Node { mode, uid: 0, gid: 0, kind: NodeKind::File(content) });
    }
    let below = tree.iter().find(|(path, _)| path.ancestors().skip(1).any(|above| tree.get(above).is_some()));
    match below.map(|(path, _)| path.display().to_string()) {
        Some(path) => Err(bad(format!("{path} lies below a file"))),
        None => Ok(tree),
    }
}

/// A member's path below the archive's top directory.
fn inside(name: &[u8]) -> Result<String, String> {
    let name = std::str::from_utf8(name).map_err(|_| "a name is not UTF-8".to_owned())?;
    let inside = name.trim_start_matches("./").split_once('/').map(|(_, inside)| inside);
    match inside.filter(|inside| is_safe(inside)) {
        Some(inside) => Ok(inside.to_owned()),
        None => Err(format!("it holds the unsafe path {name:?}")),
    }
}

/// The symbolic link `link` of a package, if what it names lies in that package as it is written.
pub(crate) fn symlink_inside(link: &str, aim: &[u8]) -> Result<Node, String> {
    let text =
        std::str::from_utf8(aim).ok().filter(|aim| !aim.is_empty() && !aim.chars().any(char::is_control));
    let text = text.ok_or_else(|| format!("{link} is a link to what is no path"))?;
    let mut depth = link.matches('/').count();
    for part in Path::new(text).components() {
        let deeper = match part {
            Component::Normal(_) => Some(depth + 1),
            Component::CurDir => Some(depth),
            Component::ParentDir => depth.checked_sub(1),
            Component::RootDir | Component::Prefix(_) => None,
        };
        depth = deeper.ok_or_else(|| format!("{link} is a link to {text:?}, out of the package"))?;
    }
    Ok(Node::symlink(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    type Entry<'a> = (&'a str, EntryType, &'a str);

    fn check(links: Links, entries: &[Entry<'_>], expect: &str) {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, aim) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_old_mut().linkname[..aim.len()].copy_from_slice(aim.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(if *kind == EntryType::Regular { 2 } else { 0 });
            header.set_mode(0o644);
            header.set_cksum();
            builder
                .append(&header, &b"xx"[..if *kind == EntryType::Regular { 2 } else { 0 }])
                .expect("appended");
        }
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&builder.into_inner().expect("tar")).expect("compressed");
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path().canonicalize().expect("canonical");
        std::fs::write(root.join("p.tgz"), gzip.finish().expect("compressed")).expect("written");
        let stage = Stage::new(&root).expect("stage");
        let shown = match unpack(&root.join("p.tgz"), Path::new("app/node_modules/p"), &stage, links) {
            Ok(tree) => tree.iter().map(|(path, _)| format!("{} ", path.display())).collect(),
            Err(error) => error.to_string(),
        };
        assert!(shown.contains(expect), "{shown:?} does not say {expect:?}");
    }

    #[test]
    fn plain_files_only() {
        let check = |entries: &[(&str, EntryType)], expect: &str| {
            let entries: Vec<Entry<'_>> = entries.iter().map(|(name, kind)| (*name, *kind, "")).collect();
            check(Links::Refused, &entries, expect);
        };
        let file = EntryType::Regular;
        check(&[("package/a/b.js", file), ("package/", EntryType::Directory)], "app/node_modules/p/a/b.js ");
        check(&[("other/x", file)], "app/node_modules/p/x ");
        check(&[("package/../../x", file)], "unsafe path");
        check(&[("package/..", file)], "unsafe path");
        check(&[("/etc/passwd", file)], "app/node_modules/p/etc/passwd");
        check(&[("x", file)], "unsafe path");
        check(&[("package/l", EntryType::Symlink)], "Symlink");
        check(&[("package/l", EntryType::Link)], "Link");
        check(&[("package/d", EntryType::Char)], "Char");
        check(&[("package/a", file), ("package/a/b", file)], "below a file");
    }

    #[test]
    fn links_stay_inside() {
        let (file, symlink, link) = (EntryType::Regular, EntryType::Symlink, EntryType::Link);
        let check = |entries: &[Entry<'_>], expect: &str| check(Links::Inside, entries, expect);
        check(&[("p/a/l", symlink, "../b")], "app/node_modules/p/a/l ");
        check(&[("p/x", file, ""), ("p/l", link, "p/x")], "app/node_modules/p/l ");
        check(&[("p/l", symlink, "../b")], "out of the package");
        check(&[("p/a/l", symlink, "../../b")], "out of the package");
        check(&[("p/l", symlink, "/etc/passwd")], "out of the package");
        check(&[("p/l", symlink, "")], "no path");
        check(&[("p/l", link, "p/none")], "not before it");
        check(&[("p/l", link, "p/../../etc/passwd")], "not before it");
        check(&[("p/l", symlink, "b"), ("p/l/x", file, "")], "below a file");
        check(&[("p/d", EntryType::Block, "")], "Block");
    }
}
