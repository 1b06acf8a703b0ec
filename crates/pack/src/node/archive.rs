//! An npm archive (tar in gzip, everything below one directory) into a tree.

use std::io::Read;
use std::path::{Path, PathBuf};

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

/// Unpacks the archive at `path` below `target`, without its top directory. npm installs plain files only,
/// and so does this: links and devices are an error.
///
/// # Errors
/// [`Error::Archive`] naming what is malformed or hostile; [`Error::Io`].
pub(super) fn unpack(path: &Path, target: &Path, stage: &Stage) -> Result<Tree, Error> {
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
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Directory | EntryType::XGlobalHeader => continue,
            kind => return Err(bad(format!("it holds an entry of kind {kind:?}; packages are plain files"))),
        }
        let name = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| bad("a name is not UTF-8".into()))?;
        let inside = name.trim_start_matches("./").split_once('/').map(|(_, inside)| inside.to_owned());
        let inside = inside
            .filter(|inside| is_safe(inside))
            .ok_or_else(|| bad(format!("it holds the unsafe path {name:?}")))?;
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
        let place: PathBuf = target.join(&inside);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn check(entries: &[(&str, EntryType)], expect: &str) {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
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
        let shown = match unpack(&root.join("p.tgz"), Path::new("app/node_modules/p"), &stage) {
            Ok(tree) => tree.iter().map(|(path, _)| format!("{} ", path.display())).collect(),
            Err(error) => error.to_string(),
        };
        assert!(shown.contains(expect), "{shown:?} does not say {expect:?}");
    }

    #[test]
    fn plain_files_only() {
        let file = EntryType::Regular;
        check(&[("package/a/b.js", file), ("package/", EntryType::Directory)], "app/node_modules/p/a/b.js ");
        check(&[("other/x", file)], "app/node_modules/p/x ");
        check(&[("package/../../x", file)], "unsafe path");
        check(&[("/etc/passwd", file)], "app/node_modules/p/etc/passwd");
        check(&[("x", file)], "unsafe path");
        check(&[("package/l", EntryType::Symlink)], "Symlink");
        check(&[("package/l", EntryType::Link)], "Link");
        check(&[("package/d", EntryType::Char)], "Char");
        check(&[("package/a", file), ("package/a/b", file)], "below a file");
    }
}
