//! Directories and files that every system has, and that no package ships.

use std::path::Path;

use super::Fixup;
use crate::debian::{Architecture, Error, content};
use crate::tree::{Content, Node, NodeKind, Tree};

/// `(path, mode)`.
const DIRECTORIES: [(&str, u32); 13] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("run/lock", 0o1777),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/tmp", 0o1777),
    ("workspace", 0o755),
];
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
/// What glibc would do without the file, save for `dns` coming before `files`.
const NSSWITCH: &str = "passwd: files\ngroup: files\nshadow: files\ngshadow: files\n\nhosts: files dns\n\
                        networks: files\n\nprotocols: files\nservices: files\nethers: files\nrpc: files\n";
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
const LD_SO_CONF: &str = "include /etc/ld.so.conf.d/*.conf\n";

/// Lays out what packages are unpacked into: the links of a merged `/usr` must be there before them.
pub(in crate::debian) fn directories(tree: &mut Tree, architecture: Architecture) {
    for (path, mode) in DIRECTORIES {
        tree.insert(path, Node::directory(mode));
    }
    let lib64 = (architecture == Architecture::Amd64).then_some("lib64");
    for name in ["bin", "sbin", "lib"].into_iter().chain(lib64) {
        tree.insert(name, Node::symlink(format!("usr/{name}")));
        tree.insert(format!("usr/{name}"), Node::directory(0o755));
    }
    tree.insert("var/run", Node::symlink("/run"));
    tree.insert("var/lock", Node::symlink("/run/lock"));
}

/// `/etc/passwd`, `/etc/group`, and the home of `agent`.
pub(super) fn accounts(fixup: &mut Fixup) {
    let (passwd, group) = (fixup.accounts.passwd(), fixup.accounts.group());
    fixup.tree.insert("etc/passwd", Node::file(0o644, passwd.into_bytes()));
    fixup.tree.insert("etc/group", Node::file(0o644, group.into_bytes()));
    if let (Some(uid), Some(gid)) = (fixup.accounts.uid("agent"), fixup.accounts.gid("agent")) {
        fixup.add("home/agent", Node { uid, gid, ..Node::directory(0o755) });
    }
}

/// Files that installers and first boots write. `hostname`, `hosts` and `resolv.conf` are there to be
/// mounted over.
pub(super) fn system(fixup: &mut Fixup) {
    for (path, text) in [
        ("etc/nsswitch.conf", NSSWITCH),
        ("etc/hosts", HOSTS),
        ("etc/hostname", "localhost\n"),
        ("etc/resolv.conf", ""),
        ("etc/ld.so.conf", LD_SO_CONF),
    ] {
        fixup.add(path, Node::file(0o644, text.as_bytes()));
    }
    fixup.add("etc/mtab", Node::symlink("../proc/self/mounts"));
    if fixup.tree.get(Path::new("usr/share/zoneinfo/Etc/UTC")).is_some() {
        fixup.add("etc/localtime", Node::symlink("/usr/share/zoneinfo/Etc/UTC"));
        fixup.add("etc/timezone", Node::file(0o644, b"Etc/UTC\n".as_slice()));
    }
    if fixup.request.python {
        let interpreter = format!("python{}", fixup.request.suite.python_version());
        fixup.add("usr/bin/python3", Node::symlink(interpreter));
    }
}

/// The bundle that update-ca-certificates(8) makes of ca-certificates' files, and the names by which
/// OpenSSL finds it. Certificates are one file each there, so all of them are trusted.
pub(super) fn certificates(fixup: &mut Fixup) -> Result<(), Error> {
    let mut bundle = Vec::new();
    for (path, node) in fixup.tree.iter() {
        let certificate = path.starts_with("usr/share/ca-certificates")
            && path.extension().is_some_and(|extension| extension == "crt");
        if let (true, NodeKind::File(file)) = (certificate, &node.kind) {
            let text = content::whole(file)?.unwrap_or_default();
            bundle.extend_from_slice(&text);
            if !text.ends_with(b"\n") {
                bundle.push(b'\n');
            }
        }
    }
    if !bundle.is_empty() {
        fixup.add(
            BUNDLE,
            Node { kind: NodeKind::File(Content::Bytes(bundle.into())), ..Node::directory(0o644) },
        );
        fixup.add("usr/lib/ssl/cert.pem", Node::symlink(format!("/{BUNDLE}")));
        fixup.add("usr/lib/ssl/certs", Node::symlink("/etc/ssl/certs"));
    }
    Ok(())
}

/// The directories that the project declares; one that exists is given the declared owner and mode.
pub(super) fn declared(fixup: &mut Fixup) -> Result<(), Error> {
    for directory in &fixup.request.directories {
        let fail = |reason: String| Error::Account {
            what: format!("directory /{}", directory.path.display()),
            reason,
        };
        let path = crate::debian::path::fold(directory.path.clone());
        let user = |name: &str| fail(format!("no user or group {name}: declare it in `users`"));
        let uid = fixup.accounts.uid_of(&directory.user).ok_or_else(|| user(&directory.user))?;
        let gid = fixup.accounts.gid_of(&directory.group).ok_or_else(|| user(&directory.group))?;
        let there = fixup.tree.get(&path).is_none_or(|node| matches!(node.kind, NodeKind::Directory));
        if !there || !fixup.parents_are_directories(&path) {
            return Err(fail("a file or link is in its way".to_owned()));
        }
        fixup.tree.insert(path, Node { uid, gid, ..Node::directory(directory.mode) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::run;
    use super::*;

    #[test]
    fn bundles_certificates() {
        let mut tree = Tree::default();
        run(
            &mut tree,
            &[
                ("usr/share/ca-certificates/mozilla/B.crt", "b"),
                ("usr/share/ca-certificates/mozilla/A.crt", "a\n"),
                ("usr/share/ca-certificates/README", "no"),
            ],
            certificates,
        );
        assert_eq!(content::read(&tree, Path::new(BUNDLE)).expect("read").as_deref(), Some(&b"a\nb\n"[..]));
        assert!(tree.get(Path::new("usr/lib/ssl/cert.pem")).is_some());
    }

    #[test]
    fn never_overwrites_what_a_package_ships() {
        let mut tree = Tree::default();
        run(&mut tree, &[("etc/hosts", "mine")], |fixup| {
            system(fixup);
            Ok(())
        });
        assert_eq!(
            content::read(&tree, Path::new("etc/hosts")).expect("read").as_deref(),
            Some(&b"mine"[..])
        );
        assert!(tree.get(Path::new("etc/nsswitch.conf")).is_some());
    }
}
