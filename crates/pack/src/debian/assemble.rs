//! From package files to a tree: unpacked in memory, merged in the lock's order, fixed up.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::accounts::Accounts;
use super::deb::{Deb, MemberKind};
use super::trim::is_left_out;
use super::version::Version;
use super::{Base, Cache, DebFile, Error, Origin, Request, content, fixup, relation, scripts};
use crate::tree::{Content, Node, NodeKind, Tree};

/// Unpacks packages into a tree and does what their scripts would have done, as far as declared.
///
/// # Errors
/// [`Error::Deb`] for a malformed or hostile package, [`Error::FileConflict`] for two packages with the
/// same file, [`Error::Account`] for a declared user or directory that cannot be.
pub fn assemble(debs: &[DebFile], request: &Request, cache: &Cache) -> Result<Base, Error> {
    let opened = open_all(debs, cache)?;
    let accounts = Accounts::new(&request.users)?;
    let mut merge = Merge { debs, opened: &opened, request, tree: Tree::default(), from: BTreeMap::new() };
    fixup::directories(&mut merge.tree, request.architecture);
    for package in 0..opened.len() {
        merge.add(package, &accounts)?;
    }
    let Merge { mut tree, from, .. } = merge;
    let mut unapplied = Vec::new();
    fixup::apply(&mut tree, accounts, request, &mut unapplied)?;
    tree.make_parents();
    check_parents(&tree, &from, debs)?;

    let mut origins: Vec<Origin> =
        debs.iter().map(|deb| Origin { package: deb.package.clone(), files: Vec::new() }).collect();
    for (path, package) in from {
        origins[package].files.push(path);
    }
    let skipped_scripts =
        debs.iter().zip(&opened).flat_map(|(deb, opened)| scripts::skipped(&deb.package.name, opened));
    Ok(Base { tree, skipped_scripts: skipped_scripts.collect(), unapplied, origins })
}

/// Opens all packages, as many at once as there are processors, the largest first.
fn open_all(debs: &[DebFile], cache: &Cache) -> Result<Vec<Deb>, Error> {
    let mut order: Vec<usize> = (0..debs.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(debs[*index].package.size));
    let slots: Vec<Mutex<Option<Result<Deb, Error>>>> = debs.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let opened = Deb::open(&debs[*index], cache);
            *slots[*index].lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(opened);
        }
    };
    std::thread::scope(|scope| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 1..processors.min(debs.len()) {
            scope.spawn(work);
        }
        work();
    });
    // Every slot is filled: the counter went past the last of them.
    slots
        .into_iter()
        .filter_map(|slot| slot.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
        .collect()
}

struct Merge<'a> {
    debs: &'a [DebFile],
    opened: &'a [Deb],
    request: &'a Request,
    tree: Tree,
    /// Which package each file, link and no directory came from.
    from: BTreeMap<PathBuf, usize>,
}

impl Merge<'_> {
    fn add(&mut self, package: usize, accounts: &Accounts) -> Result<(), Error> {
        let mut files: HashMap<&Path, Content> = HashMap::new();
        let deb = &self.debs[package];
        let opened = &self.opened[package];
        for member in &opened.members {
            let kind = match &member.kind {
                MemberKind::Directory => NodeKind::Directory,
                MemberKind::Symlink(target) => NodeKind::Symlink(target.clone()),
                MemberKind::File { offset, size } => {
                    let content = Content::Host { path: deb.data.clone(), offset: *offset, size: *size };
                    files.insert(&member.path, content.clone());
                    NodeKind::File(content)
                }
                MemberKind::Hardlink(target) => {
                    let content = files.get(target.as_path()).cloned().ok_or_else(|| Error::Deb {
                        package: self.name(package),
                        reason: format!("has a hard link to a file that it does not have: {:?}", member.path),
                    })?;
                    files.insert(&member.path, content.clone());
                    // The other name may be left out, or lose to another package.
                    match self.from.get(target) {
                        Some(owner) if *owner == package => NodeKind::Hardlink(target.clone()),
                        _ => NodeKind::File(content),
                    }
                }
            };
            if !is_left_out(&deb.package.name, member, self.request) {
                let owner = &member.owner;
                let uid = accounts.uid(&owner.user).unwrap_or(owner.uid);
                let gid = accounts.gid(&owner.group).unwrap_or(owner.gid);
                self.place(package, &member.path, Node { mode: member.mode, uid, gid, kind })?;
            }
        }
        Ok(())
    }

    fn name(&self, package: usize) -> String {
        format!("{} {}", self.debs[package].package.name, self.debs[package].package.version)
    }

    fn place(&mut self, package: usize, path: &Path, node: Node) -> Result<(), Error> {
        let is_directory = matches!(node.kind, NodeKind::Directory);
        let Some(there) = self.tree.get(path) else {
            self.tree.insert(path, node);
            if !is_directory {
                self.from.insert(path.to_owned(), package);
            }
            return Ok(());
        };
        match (&there.kind, self.from.get(path).copied()) {
            // As with dpkg, the first package's directory counts; and old packages ship /var/run as one.
            (NodeKind::Directory, _) if is_directory => Ok(()),
            (NodeKind::Symlink(_), None) if is_directory || matches!(node.kind, NodeKind::Symlink(_)) => {
                Ok(())
            }
            (_, Some(other)) if other != package && !is_directory => {
                if same(there, &node)? || self.replaces(other, package) {
                    return Ok(());
                }
                if self.replaces(package, other) {
                    self.tree.insert(path, node);
                    self.from.insert(path.to_owned(), package);
                    return Ok(());
                }
                Err(self.conflict(path, other, package))
            }
            (_, Some(other)) if other != package => Err(self.conflict(path, other, package)),
            _ => {
                Err(Error::Deb { package: self.name(package), reason: format!("has {path:?} in two kinds") })
            }
        }
    }

    fn conflict(&self, path: &Path, first: usize, second: usize) -> Error {
        Error::FileConflict { path: path.to_owned(), first: self.name(first), second: self.name(second) }
    }

    /// Whether a package declares that its files take the place of another's (Policy 7.6.1).
    fn replaces(&self, package: usize, other: usize) -> bool {
        let other = &self.debs[other].package;
        let relations = relation::parse(self.opened[package].field("Replaces").unwrap_or_default());
        let Some(version) = Version::parse(&other.version) else { return false };
        relations
            .unwrap_or_default()
            .iter()
            .flat_map(|clause| &clause.0)
            .any(|relation| relation.name == other.name && relation.admits(&version))
    }
}

fn same(a: &Node, b: &Node) -> Result<bool, Error> {
    let kind = match (&a.kind, &b.kind) {
        (NodeKind::File(x), NodeKind::File(y)) => content::same(x, y)?,
        (NodeKind::Symlink(x), NodeKind::Symlink(y)) => x == y,
        _ => false,
    };
    Ok(kind && (a.mode, a.uid, a.gid) == (b.mode, b.uid, b.gid))
}

/// Nothing may lie below a link or a file: where it would end up depends on what the link says.
fn check_parents(tree: &Tree, from: &BTreeMap<PathBuf, usize>, debs: &[DebFile]) -> Result<(), Error> {
    for (path, _) in tree.iter() {
        let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else { continue };
        if tree.get(parent).is_some_and(|node| matches!(node.kind, NodeKind::Directory)) {
            continue;
        }
        let name = |path: &Path| {
            from.get(path).map_or("this version", |package| debs[*package].package.name.as_str())
        };
        return Err(Error::FileConflict {
            path: parent.to_owned(),
            first: format!("{} (not as a directory)", name(parent)),
            second: format!("{} (as one)", name(path)),
        });
    }
    Ok(())
}
