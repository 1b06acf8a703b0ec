//! Modules of a room that need each other: at most three in one knot.
//!
//! A module is a file or directory right below `src`; an edge is a path `crate::other` in its code. A
//! knot is a set in which each reaches each.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

const KNOT: usize = 3;

type Edges<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Every knot of more than three modules.
pub fn check(sources: &[Source]) -> Vec<String> {
    let mut rooms: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in sources {
        rooms.entry(source.room()).or_default().push(source);
    }
    let mut wrong = Vec::new();
    for (room, sources) in rooms {
        let edges = edges(&sources);
        let knots: BTreeSet<Vec<&str>> = edges.keys().map(|module| knot(&edges, module)).collect();
        let big = knots.iter().filter(|knot| knot.len() > KNOT);
        wrong.extend(
            big.map(|knot| format!("{room}: {} modules need each other: {}", knot.len(), knot.join(", "))),
        );
    }
    wrong
}

fn edges<'a>(sources: &[&'a Source]) -> Edges<'a> {
    let modules: BTreeSet<&str> = sources.iter().filter_map(|source| module(source)).collect();
    let mut edges = Edges::new();
    for source in sources {
        let Some(from) = module(source) else { continue };
        let reached = edges.entry(from).or_default();
        for (at, prefix) in source.code.match_indices("crate::") {
            let name =
                source.code[at + prefix.len()..].split(|c: char| !c.is_alphanumeric() && c != '_').next();
            reached.extend(name.and_then(|name| modules.get(name)).filter(|name| **name != from));
        }
    }
    edges
}

/// `image` for crates/a/src/image.rs and crates/a/src/image/b.rs; none for the crate's root.
fn module(source: &Source) -> Option<&str> {
    let name = source.path.split("/src/").nth(1)?.split('/').next()?;
    let name = name.strip_suffix(".rs").unwrap_or(name);
    (name != "lib" && name != "main").then_some(name)
}

fn knot<'a>(edges: &Edges<'a>, module: &'a str) -> Vec<&'a str> {
    let out = reach(edges, module);
    out.iter().copied().filter(|other| *other == module || reach(edges, other).contains(module)).collect()
}

fn reach<'a>(edges: &Edges<'a>, from: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(next) = open.pop() {
        open.extend(edges.get(next).into_iter().flatten().filter(|other| found.insert(other)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(length: usize) -> Vec<Source> {
        let file = |n: usize| {
            Source::new(format!("crates/r/src/m{n}.rs"), format!("use crate::m{}::X;", (n + 1) % length))
        };
        (0..length).map(file).collect()
    }

    #[test]
    fn rings() {
        assert_eq!(check(&ring(3)), Vec::<String>::new());
        assert_eq!(check(&ring(4)), ["r: 4 modules need each other: m0, m1, m2, m3"]);
        assert_eq!(check(&ring(4)[..3]), Vec::<String>::new());
    }
}
