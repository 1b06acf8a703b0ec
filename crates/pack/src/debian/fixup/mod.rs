//! What a working system needs beside its packages' files, and what their scripts would have done.
//!
//! The order matters: accounts before whatever has an owner, files before the linker cache. What a package
//! ships is never overwritten, `passwd` and `group` excepted.

mod alternatives;
mod files;
mod sysusers;
mod tmpfiles;

use std::path::{Path, PathBuf};

use super::accounts::Accounts;
use super::{Error, Request, content, ldcache};
use crate::tree::{Node, NodeKind, Tree};

pub(super) use files::directories;

/// A tree being finished.
struct Fixup<'a> {
    tree: &'a mut Tree,
    accounts: Accounts,
    request: &'a Request,
    /// Lines that could not be applied, each with file and reason.
    unapplied: &'a mut Vec<String>,
}

/// Finishes a tree of unpacked packages.
pub(super) fn apply(
    tree: &mut Tree,
    accounts: Accounts,
    request: &Request,
    unapplied: &mut Vec<String>,
) -> Result<(), Error> {
    let mut fixup = Fixup { tree, accounts, request, unapplied };
    sysusers::apply(&mut fixup)?;
    files::accounts(&mut fixup);
    files::system(&mut fixup);
    files::certificates(&mut fixup)?;
    alternatives::apply(&mut fixup);
    tmpfiles::apply(&mut fixup)?;
    files::declared(&mut fixup)?;
    let cache = ldcache::cache(fixup.tree, request.architecture)?;
    fixup.tree.insert("etc/ld.so.cache", Node::file(0o644, cache));
    Ok(())
}

impl Fixup<'_> {
    /// Puts a node where nothing is yet.
    fn add(&mut self, path: impl Into<PathBuf>, node: Node) {
        let path = path.into();
        if self.tree.get(&path).is_none() {
            self.tree.insert(path, node);
        }
    }

    /// Whether every directory above a path is one, or is missing.
    fn parents_are_directories(&self, path: &Path) -> bool {
        path.ancestors()
            .skip(1)
            .all(|parent| self.tree.get(parent).is_none_or(|node| matches!(node.kind, NodeKind::Directory)))
    }

    /// The configuration files `NAME.conf` of some directories: of equal names the first directory's counts,
    /// and all are read in the order of their names (sysusers.d(5), tmpfiles.d(5)).
    fn drop_ins(&self, directories: [&str; 3]) -> Result<Vec<(PathBuf, String)>, Error> {
        let mut found = std::collections::BTreeMap::new();
        for directory in directories {
            for (path, _) in self.tree.iter() {
                let ours = path.parent() == Some(Path::new(directory))
                    && path.extension().is_some_and(|extension| extension == "conf");
                if ours && let Some(name) = path.file_name() {
                    found.entry(name.to_owned()).or_insert_with(|| path.to_owned());
                }
            }
        }
        let mut files = Vec::new();
        for path in found.into_values() {
            let text = content::read(self.tree, &path)?.unwrap_or_default();
            files.push((path, String::from_utf8_lossy(&text).into_owned()));
        }
        Ok(files)
    }

    fn cannot(&mut self, file: &Path, line: &str, reason: &str) {
        self.unapplied.push(format!("/{}: `{}`: {reason}", file.display(), line.trim()));
    }
}

/// Words of a line: parted by blanks, in double or single quotes if they have some, C escapes in quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = line.trim().chars().peekable();
    while chars.peek().is_some() {
        let mut word = String::new();
        let mut quote = None;
        while let Some(c) = chars.next_if(|c| quote.is_some() || !c.is_whitespace()) {
            match c {
                '"' | '\'' if quote.is_none() => quote = Some(c),
                _ if quote == Some(c) => quote = None,
                '\\' => word.extend(chars.next().map(unescape)),
                _ => word.push(c),
            }
        }
        words.push(word);
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
    }
    words
}

fn unescape(c: char) -> char {
    match c {
        'n' => '\n',
        't' => '\t',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_words() {
        for (line, expect) in [
            (
                "u redis - \"Redis server\" /var/lib/redis",
                &["u", "redis", "-", "Redis server", "/var/lib/redis"][..],
            ),
            ("  a\t'b c'd  ", &["a", "b cd"]),
            (r#"f /x - - - - a\nb "" c"#, &["f", "/x", "-", "-", "-", "-", "a\nb", "", "c"]),
            ("", &[]),
            ("\"open", &["open"]),
        ] {
            assert_eq!(words(line), expect, "{line}");
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::debian::{Architecture, Suite};

    /// A tree of text files, run through one fix-up; answers what could not be applied.
    pub(super) fn run(
        tree: &mut Tree,
        files: &[(&str, &str)],
        fixup: impl FnOnce(&mut Fixup) -> Result<(), Error>,
    ) -> (Accounts, Vec<String>) {
        for (path, text) in files {
            tree.insert(*path, Node::file(0o644, text.as_bytes()));
        }
        tree.make_parents();
        let mut unapplied = Vec::new();
        let mut request = Request::new(Suite::Bookworm);
        request.architecture = Architecture::Amd64;
        let accounts = Accounts::new(&[]).expect("defaults");
        let mut state = Fixup { tree, accounts, request: &request, unapplied: &mut unapplied };
        fixup(&mut state).expect("fix-up");
        (state.accounts, unapplied)
    }
}
