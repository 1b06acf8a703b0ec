//! tmpfiles.d(5): the directories, files and links that packages ask for at boot.
//!
//! Applied once, to the image: `d` and its kin, `f`, `L`, `z`. Ages are meaningless here. Removals and
//! exclusions have nothing to act on. What is left (devices, attributes, copies) is named.

use std::path::Path;

use super::{Fixup, words};
use crate::debian::{Error, path};
use crate::tree::{Node, NodeKind};

const DIRECTORIES: [&str; 3] = ["etc/tmpfiles.d", "run/tmpfiles.d", "usr/lib/tmpfiles.d"];

/// Applies the lines of all packages.
pub(super) fn apply(fixup: &mut Fixup) -> Result<(), Error> {
    for (file, text) in fixup.drop_ins(DIRECTORIES)? {
        let meant =
            text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
        for line in meant {
            if let Err(reason) = one(fixup, line) {
                fixup.cannot(&file, line, &reason);
            }
        }
    }
    Ok(())
}

fn one(fixup: &mut Fixup, line: &str) -> Result<(), String> {
    let fields = words(line);
    let field =
        |at: usize| fields.get(at).map(String::as_str).filter(|text| !text.is_empty() && *text != "-");
    let kind = fields.first().map(String::as_str).unwrap_or_default();
    let (letter, modifiers) = kind.split_at_checked(1).ok_or("no kind")?;
    if matches!(letter, "r" | "R" | "x" | "X") {
        return Ok(());
    }
    if !modifiers.chars().all(|c| matches!(c, '+' | '!' | '-' | '=' | '~' | '^' | '$')) {
        return Err("not a kind that tmpfiles.d(5) knows".to_owned());
    }
    let place = field(1).and_then(|text| text.strip_prefix('/')).ok_or("no absolute path")?;
    if place.contains(['%', '*', '?', '[']) || fields.iter().skip(6).any(|text| text.contains('%')) {
        return Err("specifiers and patterns are not supported".to_owned());
    }
    let place = path::fold(path::parse(place.trim_end_matches('/').as_bytes()).map_err(str::to_owned)?);
    if !fixup.parents_are_directories(&place) {
        return Err("a file or link is in its way".to_owned());
    }
    let mut node = Node::directory(0o755);
    node.uid = owner(field(3), |name| fixup.accounts.uid_of(name))?;
    node.gid = owner(field(4), |name| fixup.accounts.gid_of(name))?;
    let mode = field(2).map(|text| text.trim_start_matches(['~', ':']));
    let mode =
        mode.map(|text| u32::from_str_radix(text, 8).map_err(|_| "the mode is not octal")).transpose()?;
    let mode = mode.map(|mode| mode & 0o7777);
    // The seventh field is the rest of the line.
    let argument =
        fields.get(6..).map(|words| words.join(" ")).filter(|text| !text.is_empty() && text != "-");
    match letter {
        "d" | "D" | "v" | "q" | "Q" => directory(fixup, &place, Node { mode: mode.unwrap_or(0o755), ..node }),
        "e" | "z" => {
            adjust(fixup, &place, mode, &node);
            Ok(())
        }
        "f" | "F" => {
            let kind = Node::file(0, argument.unwrap_or_default().into_bytes()).kind;
            put(
                fixup,
                &place,
                Node { mode: mode.unwrap_or(0o644), kind, ..node },
                modifiers.contains('+') || letter == "F",
            )
        }
        "L" => {
            let factory = || format!("/usr/share/factory/{}", place.display());
            let link = Node::symlink(argument.unwrap_or_else(factory));
            put(fixup, &place, link, modifiers.contains('+'))
        }
        _ => Err("this kind is not supported".to_owned()),
    }
}

fn owner(name: Option<&str>, find: impl Fn(&str) -> Option<u32>) -> Result<u32, String> {
    let Some(name) = name.map(|name| name.trim_start_matches(':')) else { return Ok(0) };
    find(name).ok_or_else(|| format!("no user or group {name}: declare it in `users`"))
}

fn directory(fixup: &mut Fixup, place: &Path, node: Node) -> Result<(), String> {
    match fixup.tree.get(place).map(|there| &there.kind) {
        None | Some(NodeKind::Directory) => {
            fixup.tree.insert(place, node);
            Ok(())
        }
        Some(_) => Err("a file or link is in its way".to_owned()),
    }
}

/// Sets mode and owner of what is there already.
fn adjust(fixup: &mut Fixup, place: &Path, mode: Option<u32>, like: &Node) {
    if let Some(there) = fixup.tree.get(place).cloned() {
        let mode = mode.unwrap_or(there.mode);
        fixup.tree.insert(place, Node { mode, uid: like.uid, gid: like.gid, kind: there.kind });
    }
}

fn put(fixup: &mut Fixup, place: &Path, node: Node, replace: bool) -> Result<(), String> {
    match fixup.tree.get(place).map(|there| &there.kind) {
        Some(NodeKind::Directory) => Err("a directory is in its way".to_owned()),
        Some(_) if !replace => Ok(()),
        _ => {
            fixup.tree.insert(place, node);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::run;
    use super::*;
    use crate::tree::Tree;

    fn check(line: &str, place: &str, expect: Option<(u32, u32, u32)>, unapplied: &str) {
        let mut tree = Tree::default();
        tree.insert("usr/link", Node::symlink("/etc"));
        let (_, lines) = run(&mut tree, &[("usr/lib/tmpfiles.d/x.conf", line), ("etc/there", "old")], apply);
        let node = tree.get(Path::new(place)).map(|node| (node.mode, node.uid, node.gid));
        assert_eq!(node, expect, "{line}");
        assert!(lines.join("\n").contains(unapplied), "{line}: {lines:?}");
        assert_eq!(lines.is_empty(), unapplied.is_empty(), "{line}: {lines:?}");
    }

    #[test]
    fn applies_lines() {
        check("d /run/x 2755 www-data adm -", "run/x", Some((0o2755, 33, 4)), "");
        check("d /var/run/x", "run/x", Some((0o755, 0, 0)), "");
        check("D! /srv/a/b 0700 - - 10d", "srv/a/b", Some((0o700, 0, 0)), "");
        check("f /etc/new 600 - - - some text", "etc/new", Some((0o600, 0, 0)), "");
        check("f /etc/there 600", "etc/there", Some((0o644, 0, 0)), "");
        check("z /etc/there 0640 root adm", "etc/there", Some((0o640, 0, 4)), "");
        check("L /etc/mtab - - - - ../proc/self/mounts", "etc/mtab", Some((0o777, 0, 0)), "");
        check("r! /etc/there\n# x\n", "etc/there", Some((0o644, 0, 0)), "");
    }

    #[test]
    fn names_what_it_cannot_apply() {
        check("d /run/x 755 redis redis", "run/x", None, "no user or group redis");
        check("d /run/../etc/x", "etc/x", None, "`..`");
        check("d relative", "relative", None, "no absolute path");
        check("d /run/%b", "run/%b", None, "specifiers");
        check("d /usr/link/x", "usr/link/x", None, "in its way");
        check("d /etc/there", "etc/there", Some((0o644, 0, 0)), "in its way");
        check("c /dev/fuse 0600 - - - 10:229", "dev/fuse", None, "not supported");
        check("d /x 99", "x", None, "octal");
    }
}
