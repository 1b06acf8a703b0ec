//! What a package ships and a base leaves out, unless the request is `complete`.
//!
//! Manuals, translations, and what only a packager, a login or an interactive shell reads; the character sets of
//! iconv(3) but those that Fedora's minimal glibc keeps; and of some packages everything but what is
//! named. Copyright files always stay. A package that was asked for by name is only relieved of
//! [`EVERYWHERE`].

use std::path::Path;

use super::Request;
use super::deb::{Member, MemberKind};

/// Left out of every package.
const EVERYWHERE: [&str; 14] = [
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/fish",
    "usr/share/gtk-doc",
    "usr/share/help",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zoneinfo/posix",
    "usr/share/zoneinfo/right",
    "usr/share/zsh",
];

/// Left out of packages that came in as a dependency or as part of every base: character sets, the texts of
/// Python's `help()`, Python's own tests. `*` is any end of a name.
const DEPENDENCIES: [&str; 5] = [
    "usr/lib/*/gconv",
    "usr/lib/python*/lib-dynload/_test*",
    "usr/lib/python*/pydoc_data",
    "usr/lib/python*/test",
    "usr/share/dict",
];

/// Kept all the same.
const CHARACTER_SETS: [&str; 10] = [
    "ANSI_X3.110.so",
    "CP1252.so",
    "ISO8859-1.so",
    "ISO8859-15.so",
    "UNICODE.so",
    "UTF-16.so",
    "UTF-32.so",
    "UTF-7.so",
    "gconv-modules",
    "gconv-modules.cache",
];

/// `(package, what is kept of it)`.
const ONLY: [(&str, &[&str]); 1] = [("libc-bin", &["etc", "usr/lib/locale"])];

/// Whether a base does without a package's file.
pub(super) fn is_left_out(package: &str, member: &Member, request: &Request) -> bool {
    let path = &member.path;
    if request.complete || is_copyright(member) {
        return false;
    }
    if EVERYWHERE.iter().any(|prefix| path.starts_with(prefix)) {
        return true;
    }
    if request.packages.iter().any(|asked| asked == package) {
        return false;
    }
    if let Some((_, kept)) = ONLY.iter().find(|(name, _)| *name == package) {
        return !kept.iter().any(|prefix| path.starts_with(prefix));
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    DEPENDENCIES.iter().any(|pattern| begins(path, pattern)) && !CHARACTER_SETS.contains(&name)
}

/// A copyright file, or a link to the documentation directory of a package that has it.
fn is_copyright(member: &Member) -> bool {
    let Ok(rest) = member.path.strip_prefix("usr/share/doc") else { return false };
    let link = matches!(member.kind, MemberKind::Symlink(_)) && rest.components().count() == 1;
    link || (rest.ends_with("copyright") && member.kind != MemberKind::Directory)
}

fn begins(path: &Path, pattern: &str) -> bool {
    let mut names = path.components().map(|name| name.as_os_str().to_str().unwrap_or_default());
    pattern.split('/').all(|wanted| {
        names.next().is_some_and(|name| match wanted.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == wanted,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::Suite;
    use super::super::deb::Owner;
    use super::*;

    #[test]
    fn leaves_out_what_a_base_can_do_without() {
        let file = || MemberKind::File { offset: 0, size: 1 };
        for (package, path, kind, expect) in [
            ("x", "usr/share/man/man1/x.1.gz", file(), true),
            ("x", "usr/share/manual", file(), false),
            ("x", "usr/share/doc/x/changelog.gz", file(), true),
            ("x", "usr/share/doc/x/copyright", file(), false),
            ("x", "usr/share/doc/x", MemberKind::Symlink("y".into()), false),
            ("x", "usr/share/doc/x", MemberKind::Directory, true),
            ("libc6", "usr/lib/x86_64-linux-gnu/gconv/BIG5.so", file(), true),
            ("libc6", "usr/lib/x86_64-linux-gnu/gconv/UTF-16.so", file(), false),
            ("libc6", "usr/lib/x86_64-linux-gnu/libc.so.6", file(), false),
            ("libx", "usr/lib/python3.13/lib-dynload/_testcapi.so", file(), true),
            ("libx", "usr/lib/python3.13/lib-dynload/_ssl.so", file(), false),
            ("libx", "usr/lib/python3.13/testing", file(), false),
            ("libc-bin", "usr/bin/ldd", file(), true),
            ("libc-bin", "usr/lib/locale/C.utf8/LC_CTYPE", file(), false),
            ("asked", "usr/lib/python3.11/pydoc_data/topics.py", file(), false),
        ] {
            let mut request = Request::new(Suite::Bookworm);
            request.packages = vec!["asked".to_owned()];
            let owner = Owner { uid: 0, gid: 0, user: String::new(), group: String::new() };
            let member = Member { path: path.into(), mode: 0o644, owner, kind };
            assert_eq!(is_left_out(package, &member, &request), expect, "{package} {path}");
            request.complete = true;
            assert!(!is_left_out(package, &member, &request), "{package} {path}");
        }
    }
}
