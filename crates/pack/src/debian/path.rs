//! The one parser of paths that come from a package or a setting.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

const PATH_MAX: usize = 4096;
const NAME_MAX: usize = 255;

/// Directories of old that are links into `/usr` on a merged system (Debian's usrmerge).
pub(super) const MERGED: [&str; 5] = ["bin", "sbin", "lib", "lib64", "lib32"];

/// A path below the root, without leading slash, made of ordinary names only.
///
/// The error is what is wrong with it.
pub(super) fn parse(bytes: &[u8]) -> Result<PathBuf, &'static str> {
    if bytes.is_empty() || bytes.len() >= PATH_MAX {
        return Err("a path is empty or too long");
    }
    for name in bytes.split(|b| *b == b'/') {
        match name {
            b"" | b"." | b".." => return Err("a path is absolute or has an empty name, `.` or `..` in it"),
            _ if name.len() > NAME_MAX => return Err("a path has a name that is too long"),
            _ if name.iter().any(|b| *b < b' ' || *b == 0x7f) => {
                return Err("a path has a control character in it");
            }
            _ => {}
        }
    }
    Ok(PathBuf::from(OsStr::from_bytes(bytes)))
}

/// The path of a package's member: `./` before and `/` after are taken off. `None` for the root itself.
pub(super) fn member(bytes: &[u8]) -> Result<Option<PathBuf>, &'static str> {
    let bytes = bytes.strip_prefix(b"./").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
    if bytes.is_empty() || bytes == b"." {
        return Ok(None);
    }
    parse(bytes).map(Some)
}

/// Whether a path is one of [`MERGED`].
pub(super) fn is_merged(path: &Path) -> bool {
    MERGED.iter().any(|old| path == Path::new(old))
}

/// Where a path is on a merged system: `lib/x` is `usr/lib/x`, `var/run/x` is `run/x`.
pub(super) fn fold(path: PathBuf) -> PathBuf {
    for (old, new) in [("var/run", "run"), ("var/lock", "run/lock")] {
        if let Ok(rest) = path.strip_prefix(old)
            && !rest.as_os_str().is_empty()
        {
            return PathBuf::from(new).join(rest);
        }
    }
    let first = path.components().next().map(|part| part.as_os_str().to_owned()).unwrap_or_default();
    if MERGED.iter().any(|old| first == *old) { PathBuf::from("usr").join(path) } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &[u8], expect: Option<&str>) {
        let got =
            member(text).map(|path| path.map(|path| fold(path).display().to_string()).unwrap_or_default());
        assert_eq!(got.ok().as_deref(), expect, "{:?}", String::from_utf8_lossy(text));
    }

    #[test]
    fn accepts_ordinary_paths() {
        check(b"./", Some(""));
        check(b"./usr/bin/x", Some("usr/bin/x"));
        check(b"usr/", Some("usr"));
        check(b"./lib/x.so", Some("usr/lib/x.so"));
        check(b"./lib64/", Some("usr/lib64"));
        check(b"./library/x", Some("library/x"));
        check(b"./var/run/x", Some("run/x"));
        check(b"./var/run", Some("var/run"));
        check(b"./a/...", Some("a/..."));
        check(&[b'/'; 2], None);
    }

    #[test]
    fn refuses_hostile_paths() {
        for bad in [
            &b"/etc/passwd"[..],
            b"./../etc",
            b"a/../../b",
            b"./a/..",
            b"a//b",
            b"./a/./b",
            b"a\0b",
            b"a\nb",
            b"..",
            b".//etc",
            &[b'x'; 300],
            &b"x/".repeat(3000),
        ] {
            check(bad, None);
        }
    }
}
