//! Which of the project's files go into the image, and as what.
//!
//! ```text
//! DIR/x      ──▶ /app/x        owner root, mode 0644 or 0755, time = epoch: whatever the host's are
//! data paths ──▶ the same place, a layer of their own below the code
//! ```
//!
//! Left out: what `.dockerignore` and the setting `exclude` name, what is never packed ([`PRUNED`]), and
//! what looks like a secret; the latter is reported, and `include` takes a path back. `.gitignore` is not
//! obeyed: models and built assets are often ignored there and needed here.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::files::open_plain;
use crate::pattern::Patterns;
use crate::scan::{Entry, EntryKind, Scan};
use crate::settings::Settings;
use crate::tree::{Content, Node, NodeKind, Tree};

/// Where the project lies in the image.
pub(crate) const APP: &str = "app";
/// A directory at the top with more bytes than this and no code in it gets its own layer.
const LARGE: u64 = 8 << 20;
/// Files up to this size are held in memory.
const SMALL: u64 = 1 << 20;

/// Files that are keys or tokens by their name.
const SECRETS: [&str; 26] = [
    ".env",
    ".env.*",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.ppk",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".dockercfg",
    ".htpasswd",
    ".vault-token",
    "credentials.json",
    "service-account*.json",
    "*.tfstate",
    "*.tfstate.backup",
    ".pgpass",
];

/// Built things that are useless in an image.
const LITTER: [&str; 7] = ["*.pyc", "*.pyo", ".DS_Store", "*.egg-info", ".coverage", "*.swp", "Thumbs.db"];

/// The chosen files.
#[derive(Debug, Default)]
pub(crate) struct Selection<'a> {
    /// For the code layer.
    pub code: Vec<&'a Entry>,
    /// For a layer each: the path at its top, and its entries.
    pub data: Vec<(String, Vec<&'a Entry>)>,
    /// Left out because they look like secrets.
    pub withheld: Vec<String>,
}

impl<'a> Selection<'a> {
    /// Chooses from the scan; `ignore` is the text of `.dockerignore`.
    ///
    /// # Errors
    /// [`Error::Project`] for an entry that an image cannot hold, or declared data that is not there.
    pub(crate) fn of(
        scan: &'a Scan,
        settings: &Settings,
        ignore: Option<&str>,
        dir: &Path,
    ) -> Result<Self, Error> {
        let rules = Rules::new(settings, ignore);
        let mut selection = Self::default();
        let mut chosen: Vec<&Entry> = Vec::new();
        for entry in &scan.entries {
            match rules.judge(scan, entry) {
                Fate::Packed => chosen.push(entry),
                Fate::LeftOut => {}
                Fate::Withheld => selection.withheld.push(entry.path.clone()),
            }
        }
        for entry in &chosen {
            check(entry).map_err(|reason| Error::Project { path: dir.join(&entry.path), reason })?;
        }
        let tops = data_tops(&chosen, settings);
        for top in &tops {
            let inside = |entry: &&&Entry| below(&entry.path, top);
            let entries: Vec<&Entry> = chosen.iter().filter(inside).copied().collect();
            if entries.is_empty() {
                let reason = "is declared as data but is not there, or is excluded".to_owned();
                return Err(Error::Project { path: dir.join(top), reason });
            }
            selection.data.push((top.clone(), entries));
        }
        chosen.retain(|entry| !tops.iter().any(|top| below(&entry.path, top)));
        // Directories that hold nothing but what was left out would be noise.
        selection.code = chosen;
        Ok(selection)
    }
}

enum Fate {
    Packed,
    LeftOut,
    Withheld,
}

struct Rules {
    exclude: Patterns,
    secrets: Patterns,
    litter: Patterns,
    include: Vec<String>,
}

impl Rules {
    fn new(settings: &Settings, ignore: Option<&str>) -> Self {
        let mut exclude = Patterns::default();
        exclude.add_file(ignore.unwrap_or_default());
        settings.exclude.iter().for_each(|rule| exclude.add(rule));
        let everywhere = |names: &[&str]| {
            let mut patterns = Patterns::default();
            names.iter().for_each(|name| patterns.add(&format!("**/{name}")));
            patterns
        };
        let mut litter = everywhere(&LITTER);
        // The lock describes the image; in it, it would make the image depend on itself.
        litter.add(crate::lock::FILE);
        // What a pack that was killed while writing the lock left.
        litter.add(&format!(".{}.*", crate::lock::FILE));
        let include = settings.include.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        Self { exclude, secrets: everywhere(&SECRETS), litter, include }
    }

    fn judge(&self, scan: &Scan, entry: &Entry) -> Fate {
        let path = entry.path.as_str();
        if self.exclude.matches(path) || self.litter.matches(path) || in_virtual_environment(scan, path) {
            return Fate::LeftOut;
        }
        let example = path.ends_with(".example") || path.ends_with(".sample") || path.ends_with(".template");
        let secret = entry.kind != EntryKind::Directory && !example && self.secrets.matches(path);
        match secret && !self.include.iter().any(|included| below(path, included)) {
            true => Fate::Withheld,
            false => Fate::Packed,
        }
    }
}

/// Below a directory that holds `pyvenv.cfg`, whatever its name is.
fn in_virtual_environment(scan: &Scan, path: &str) -> bool {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    ends.map(|end| &path[..end]).any(|above| scan.has_file(&format!("{above}/pyvenv.cfg")))
}

fn below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn check(entry: &Entry) -> Result<(), String> {
    match &entry.kind {
        EntryKind::Strange(reason) => {
            Err(format!("{reason}, which an image cannot hold: add it to `exclude` in [tool.corral]"))
        }
        EntryKind::Symlink(target) if leaves(&entry.path, target) => Err(format!(
            "is a symbolic link out of the project ({target:?}): copy the file, or exclude the link"
        )),
        _ => Ok(()),
    }
}

/// Whether a link's target lies outside the project.
fn leaves(path: &str, target: &str) -> bool {
    if target.starts_with('/') || target.is_empty() {
        return true;
    }
    let mut depth = path.matches('/').count();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if depth == 0 => return true,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

/// Declared data, and large directories at the top without code. Nested ones are one.
fn data_tops(chosen: &[&Entry], settings: &Settings) -> Vec<String> {
    let mut tops: Vec<String> =
        settings.data.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let code = |path: &str| {
        matches!(path.rsplit('.').next(), Some("py" | "js" | "mjs" | "cjs" | "ts" | "so" | "json"))
    };
    for top in chosen.iter().filter(|entry| entry.kind == EntryKind::Directory && !entry.path.contains('/')) {
        let inside: Vec<_> = chosen.iter().filter(|entry| below(&entry.path, &top.path)).collect();
        let size: u64 = inside.iter().map(|entry| entry.size).sum();
        if size > LARGE && !inside.iter().any(|entry| entry.kind == EntryKind::File && code(&entry.path)) {
            tops.push(top.path.clone());
        }
    }
    tops.sort();
    tops.dedup();
    let all = tops.clone();
    tops.retain(|top| !all.iter().any(|other| other != top && below(top, other)));
    tops
}

/// The entries below `/app`, and a hash over their paths, modes and contents.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn tree(entries: &[&Entry], dir: &Path) -> Result<(Tree, String), Error> {
    let (mut tree, mut all) = (Tree::default(), Sha256::new());
    for entry in entries {
        let target = Path::new(APP).join(&entry.path);
        let node = match &entry.kind {
            EntryKind::Directory => Node::directory(0o755),
            EntryKind::Symlink(to) => Node::symlink(to),
            EntryKind::File | EntryKind::Strange(_) => {
                let mode = if entry.executable { 0o755 } else { 0o644 };
                Node { mode, uid: 0, gid: 0, kind: NodeKind::File(content(&dir.join(&entry.path))?) }
            }
        };
        all.update(format!("{}\0{:o}\0", entry.path, node.mode));
        match &node.kind {
            NodeKind::File(content) => all.update(crate::python::hash_of(content)?),
            NodeKind::Symlink(to) => all.update(to.as_os_str().as_encoded_bytes()),
            _ => {}
        }
        tree.insert(target, node);
    }
    Ok((tree, corral_spec::Digest::from_bytes(all.finalize().into()).hex()))
}

/// Small files are read now, so that what is hashed is what is packed.
fn content(path: &Path) -> Result<Content, Error> {
    let file = open_plain(path)?;
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    if size > SMALL {
        return Ok(Content::Host { path: path.to_owned(), offset: 0, size });
    }
    let mut bytes = Vec::with_capacity(size as usize);
    std::io::Read::read_to_end(&mut std::io::Read::take(file, SMALL), &mut bytes)
        .map_err(Error::io("read", path))?;
    Ok(Content::Bytes(bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_selection(files: &[&str], settings: &Settings, expect: &str) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path().canonicalize().expect("canonical");
        for file in files {
            let (path, target) = file.split_once("->").unwrap_or((file, ""));
            std::fs::create_dir_all(root.join(path).parent().expect("parent")).expect("made");
            match target {
                "" => std::fs::write(
                    root.join(path),
                    vec![b'x'; if path.contains("big") { 9 << 20 } else { 1 }],
                ),
                _ => std::os::unix::fs::symlink(target, root.join(path)),
            }
            .expect("written");
        }
        let scan = Scan::of(&root).expect("scanned");
        let shown = match Selection::of(&scan, settings, Some("ignored\n"), &root) {
            Ok(selection) => {
                let files = |entries: &[&Entry]| -> String {
                    let files = entries.iter().filter(|entry| entry.kind != EntryKind::Directory);
                    files.map(|entry| format!("{} ", entry.path)).collect()
                };
                let data: String =
                    selection.data.iter().map(|(top, all)| format!("{top}=[{}]", files(all))).collect();
                format!("{}| {data} | {:?}", files(&selection.code), selection.withheld)
            }
            Err(error) => error.to_string(),
        };
        assert!(shown.contains(expect), "{shown:?} does not say {expect:?}");
    }

    #[test]
    fn secrets_and_litter_stay_out() {
        let files = [
            "a.py",
            ".env",
            "x/id_rsa",
            ".venv/a.py",
            "env/pyvenv.cfg",
            "env/lib/x.py",
            "a.pyc",
            "ignored/x",
            ".env.example",
            "c.pem",
            "agent.lock",
        ];
        check_selection(
            &files,
            &Settings::default(),
            ".env.example a.py |  | [\".env\", \"c.pem\", \"x/id_rsa\"]",
        );
        let settings =
            Settings { include: vec!["c.pem".into()], exclude: vec!["x".into()], ..Settings::default() };
        check_selection(&files, &settings, ".env.example a.py c.pem |  | [\".env\"]");
    }

    #[test]
    fn data_gets_its_own_layers() {
        let settings = Settings { data: vec!["models/m".into()], ..Settings::default() };
        check_selection(
            &["models/m/x", "models/m.txt", "weights/big"],
            &settings,
            "models/m.txt | models/m=[models/m/x ]weights=[weights/big ] |",
        );
        check_selection(&["code/big", "code/x.py"], &Settings::default(), "code/big code/x.py |  |");
        check_selection(&["x"], &settings, "is declared as data but is not there");
    }

    #[test]
    fn links_stay_inside() {
        check_selection(&["a/b->../c", "c"], &Settings::default(), "a/b c |");
        for bad in ["a/b->../../c", "a->/etc/passwd", "a->x/../../y"] {
            check_selection(&[bad], &Settings::default(), "out of the project");
        }
    }
}
