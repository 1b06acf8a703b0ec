//! From a request to a set of packages: the newest version of each, dependencies followed, nothing
//! recommended, nothing merely essential.
//!
//! Every choice is the first that works, in an order that does not depend on time or hashing, and is
//! not taken back: single dependencies first, alternatives when everything else is chosen (so that one
//! already there is taken), real packages before providers, providers by priority and name. Debian's
//! releases are consistent, so this finds what apt finds; where it does not, the error names the way out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::index::{Index, Package};
use super::omit::is_omitted;
use super::relation::{Clause, Dependency};
use super::{Error, Request, Suite};

/// What a resolution came to.
#[derive(Debug)]
pub(super) struct Chosen {
    /// By name.
    pub(super) packages: BTreeMap<String, Rc<Package>>,
    /// Cut edges, `dependent -> dependency`.
    pub(super) omitted: BTreeSet<String>,
}

/// Chooses packages for a request from the archives of its suite.
pub(super) fn choose(indexes: &[Index], request: &Request) -> Result<Chosen, Error> {
    let mut resolver = Resolver { indexes, request, chosen: BTreeMap::new(), omitted: BTreeSet::new() };
    let roots = request.roots();
    let mut single = VecDeque::new();
    let mut several = VecDeque::new();
    for name in &roots {
        let plain = Dependency { name: name.clone(), qualifier: None, versions: None };
        let found = resolver.newest(&plain)?.ok_or_else(|| not_found(name, request.suite, None))?;
        resolver.take(found, &mut single, &mut several);
    }
    while let Some((package, clause)) = single.pop_front().or_else(|| several.pop_front()) {
        if let Some(found) = resolver.satisfy(&package, &clause, &roots)? {
            resolver.take(found, &mut single, &mut several);
        }
    }
    resolver.check_exclusions()?;
    Ok(Chosen { packages: resolver.chosen, omitted: resolver.omitted })
}

type Queue = VecDeque<(Rc<Package>, Clause)>;

struct Resolver<'a> {
    indexes: &'a [Index],
    request: &'a Request,
    chosen: BTreeMap<String, Rc<Package>>,
    omitted: BTreeSet<String>,
}

fn not_found(name: &str, suite: Suite, by: Option<&str>) -> Error {
    Error::NoPackage { name: name.to_owned(), suite: suite.codename(), by: by.map(str::to_owned) }
}

impl Resolver<'_> {
    fn take(&mut self, package: Rc<Package>, single: &mut Queue, several: &mut Queue) {
        if self.chosen.contains_key(&package.name) {
            return;
        }
        for clause in &package.depends {
            let queue = if clause.0.len() == 1 { &mut *single } else { &mut *several };
            queue.push_back((Rc::clone(&package), clause.clone()));
        }
        self.chosen.insert(package.name.clone(), package);
    }

    /// The package that a clause adds, if it needs one.
    fn satisfy(
        &mut self,
        by: &Package,
        clause: &Clause,
        roots: &[String],
    ) -> Result<Option<Rc<Package>>, Error> {
        if clause.0.iter().any(|dependency| self.is_chosen(dependency)) {
            return Ok(None);
        }
        for dependency in &clause.0 {
            let asked = roots.contains(&dependency.name);
            if !asked
                && is_omitted(&by.name, &dependency.name, &self.request.omit)
                && !self.same_source(by, dependency)?
            {
                self.omitted.insert(format!("{} -> {}", by.name, dependency.name));
                return Ok(None);
            }
        }
        for dependency in &clause.0 {
            let found = match self.newest(dependency)? {
                Some(real) => Some(real),
                None => self.provider(dependency)?,
            };
            if let Some(found) = found.filter(|found| !self.chosen.contains_key(&found.name)) {
                return Ok(Some(found));
            }
        }
        if let [only] = clause.0.as_slice()
            && only.versions.is_none()
        {
            return Err(not_found(&only.name, self.request.suite, Some(&by.name)));
        }
        let reason = match clause.0.iter().find_map(|dependency| self.chosen.get(&dependency.name)) {
            Some(other) => format!("{} {} is chosen already", other.name, other.version),
            None => format!("no version in {} fits", self.request.suite),
        };
        Err(Error::Unsatisfied { package: by.name.clone(), dependency: clause.to_string(), reason })
    }

    fn is_chosen(&self, dependency: &Dependency) -> bool {
        if let Some(package) = self.chosen.get(&dependency.name) {
            return dependency.admits(&package.version);
        }
        self.chosen.values().any(|package| provides(package, dependency))
    }

    fn same_source(&self, by: &Package, dependency: &Dependency) -> Result<bool, Error> {
        Ok(self.newest(dependency)?.is_some_and(|other| other.source == by.source))
    }

    fn lookup(&self, name: &str) -> Result<Vec<(Rc<Package>, bool)>, Error> {
        let mut all = Vec::new();
        for index in self.indexes {
            let found = index.lookup(name).map_err(|reason| Error::Malformed {
                what: "Packages",
                suite: self.request.suite.to_string(),
                reason,
            })?;
            let ours = self.request.architecture.name();
            all.extend(
                found.into_iter().filter(|(one, _)| one.architecture == ours || one.architecture == "all"),
            );
        }
        Ok(all)
    }

    /// The newest package of this name whose version will do. Of equal versions the first archive's counts.
    fn newest(&self, dependency: &Dependency) -> Result<Option<Rc<Package>>, Error> {
        let mut best: Option<Rc<Package>> = None;
        for (package, provided) in self.lookup(&dependency.name)? {
            let newer = best.as_ref().is_none_or(|best| package.version > best.version);
            if !provided && newer && dependency.admits(&package.version) {
                best = Some(package);
            }
        }
        Ok(best)
    }

    /// The preferred package that provides this name; its newest version must still do so.
    fn provider(&self, dependency: &Dependency) -> Result<Option<Rc<Package>>, Error> {
        let mut best: Option<Rc<Package>> = None;
        for (package, provided) in self.lookup(&dependency.name)? {
            if !provided || !provides(&package, dependency) {
                continue;
            }
            let itself = Dependency { name: package.name.clone(), qualifier: None, versions: None };
            let newest = self.newest(&itself)?;
            if newest.is_none_or(|newest| newest.version != package.version) {
                continue;
            }
            let order = |one: &Package| (one.rank, one.name.clone());
            if best.as_ref().is_none_or(|best| order(&package) < order(best)) {
                best = Some(package);
            }
        }
        Ok(best)
    }

    fn check_exclusions(&self) -> Result<(), Error> {
        for package in self.chosen.values() {
            for relation in package.excludes.iter().flat_map(|clause| &clause.0) {
                let hit = |other: &&Rc<Package>| {
                    other.name != package.name
                        && ((other.name == relation.name && relation.admits(&other.version))
                            || provides(other, relation))
                };
                if let Some(other) = self.chosen.values().find(hit) {
                    return Err(Error::Excluded {
                        package: package.name.clone(),
                        other: other.name.clone(),
                        relation: relation.to_string(),
                    });
                }
            }
        }
        Ok(())
    }
}

fn provides(package: &Package, dependency: &Dependency) -> bool {
    package.provides.iter().any(|provided| {
        let version = provided.versions.as_ref().map(|(_, version)| version);
        provided.name == dependency.name && dependency.admits_provided(version)
    })
}

#[cfg(test)]
mod tests {
    use super::super::index::compact;
    use super::*;

    /// Each package is `name version; Field: value; …`.
    fn archive(packages: &[&str], name: &str) -> Index {
        let mut text = String::new();
        for package in packages {
            let mut parts = package.split("; ");
            let (name, version) = parts.next().and_then(|head| head.split_once(' ')).expect("name version");
            text += &format!(
                "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}.deb\n"
            );
            text += &format!("Size: 1\nSHA256: {}\n", "0".repeat(64));
            text.extend(parts.map(|part| format!("{part}\n")));
            text.push('\n');
        }
        let file = tempfile::NamedTempFile::new().expect("temp file");
        std::fs::write(file.path(), compact(&text).concat()).expect("write");
        Index::open(file.path(), name).expect("open")
    }

    /// The archives' packages beside the ones every base has.
    fn check(packages: &[&str], updates: &[&str], expect: Result<&str, &str>) {
        let common = ["base-files 12", "ca-certificates 1", "libc-bin 2", "netbase 6"];
        let indexes =
            [archive(&[&common, packages].concat(), "bookworm"), archive(updates, "bookworm-updates")];
        let mut request = Request::new(Suite::Bookworm);
        request.architecture = super::super::Architecture::Amd64;
        request.packages = vec!["want".to_owned()];
        let got = choose(&indexes, &request).map(|chosen| {
            let common = ["base-files", "ca-certificates", "libc-bin", "netbase"];
            let names = chosen.packages.values().filter(|one| !common.contains(&one.name.as_str()));
            let mut words: Vec<_> = names.map(|one| format!("{}={}", one.name, one.version)).collect();
            words.extend(chosen.omitted);
            words.join(", ")
        });
        match (got, expect) {
            (Ok(got), Ok(expect)) => assert_eq!(got, expect, "{packages:?}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{packages:?}: {error}"),
            (got, expect) => panic!("{packages:?}: {got:?}, not {expect:?}"),
        }
    }

    #[test]
    fn follows_dependencies() {
        check(
            &["want 1; Depends: aa (>= 2), bb:any; Pre-Depends: cc", "aa 2", "bb 1", "cc 1"],
            &[],
            Ok("aa=2, bb=1, cc=1, want=1"),
        );
        check(&["want 1; Depends: aa", "aa 1; Depends: want"], &[], Ok("aa=1, want=1"));
        check(&["want 1; Recommends: aa", "aa 1"], &[], Ok("want=1"));
        check(
            &["want 1; Depends: aa"],
            &[],
            Err("package aa: not in Debian bookworm (main), but want depends on it"),
        );
        check(
            &["want 1; Depends: aa (>= 2)", "aa 1"],
            &[],
            Err("`aa (>= 2)` cannot be satisfied: no version"),
        );
        check(&[], &[], Err("package want: not in Debian bookworm"));
    }

    #[test]
    fn takes_the_newest_of_the_release() {
        check(&["want 1"], &["want 1.1"], Ok("want=1.1"));
        check(&["want 1.2"], &["want 1.1"], Ok("want=1.2"));
        check(&["want 1; Depends: aa (<< 2)", "aa 1"], &["aa 2"], Ok("aa=1, want=1"));
    }

    #[test]
    fn chooses_alternatives_and_providers() {
        check(&["want 1; Depends: aa | bb, bb", "aa 1", "bb 1"], &[], Ok("bb=1, want=1"));
        check(&["want 1; Depends: aa (>= 2) | bb", "aa 1", "bb 1"], &[], Ok("bb=1, want=1"));
        check(
            &["want 1; Depends: vv", "zz 1; Provides: vv; Priority: required", "aa 1; Provides: vv"],
            &[],
            Ok("want=1, zz=1"),
        );
        check(
            &["want 1; Depends: vv (>= 2)", "aa 1; Provides: vv", "bb 1; Provides: vv (= 3)"],
            &[],
            Ok("bb=1, want=1"),
        );
        check(&["want 1; Depends: vv", "aa 1; Provides: vv"], &["aa 2"], Err("package vv: not in"));
        check(
            &["want 1; Depends: bb, vv", "bb 1; Provides: vv", "aa 1; Provides: vv"],
            &[],
            Ok("bb=1, want=1"),
        );
    }

    #[test]
    fn reports_exclusions() {
        check(&["want 1; Depends: aa; Conflicts: aa", "aa 1"], &[], Err("package want excludes aa (`aa`)"));
        check(&["want 1; Depends: aa; Breaks: aa (<< 2)", "aa 1"], &[], Err("package want excludes aa"));
        check(&["want 1; Depends: aa; Breaks: aa (<< 2)", "aa 2"], &[], Ok("aa=2, want=1"));
        check(&["want 1; Provides: vv; Conflicts: vv"], &[], Ok("want=1"));
        check(&["want 1; Conflicts: vv; Depends: aa", "aa 1; Provides: vv"], &[], Err("excludes aa (`vv`)"));
    }

    #[test]
    fn leaves_out_what_only_scripts_need() {
        check(
            &["want 1; Depends: debconf (>= 0.5) | debconf-2.0, aa", "aa 1", "debconf 1"],
            &[],
            Ok("aa=1, want=1, want -> debconf"),
        );
        check(
            &["want 1; Source: perl; Depends: perl-base", "perl-base 5; Source: perl"],
            &[],
            Ok("perl-base=5, want=1"),
        );
        check(
            &["want 1; Depends: perl-base", "perl-base 5; Source: perl"],
            &[],
            Ok("want=1, want -> perl-base"),
        );
    }
}
