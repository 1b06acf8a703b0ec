//! Where `unsafe` may stand: in the system calls of `runtime`, and in the bare floor of bench/.

use crate::source::Source;

const ALLOWED: &[&str] = &["crates/runtime/src/sys/", "crates/runtime/src/sys.rs", "bench/src/floor"];

/// Crates that cannot forbid it, since a part of them needs it. The workspace's lints deny it elsewhere.
const CANNOT_FORBID: &[&str] = &["crates/runtime/src/lib.rs", "bench/src/main.rs", "bench/src/lib.rs"];

/// `unsafe` in other places, and crate roots that do not forbid it.
pub fn check(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources {
        if !ALLOWED.iter().any(|place| source.path.starts_with(place)) {
            for at in source.words("unsafe") {
                wrong.push(format!("{}:{}: unsafe outside of runtime::sys", source.path, source.line_of(at)));
            }
            for at in source.words("unsafe_code").filter(|&at| source.code[..at].ends_with("allow(")) {
                // The one line that opens the door to runtime::sys or to the floor stands at its `mod`.
                let opens = source.code[at..]
                    .lines()
                    .take(2)
                    .any(|line| line.contains("mod sys") || line.contains("mod floor"));
                if !opens || !CANNOT_FORBID.contains(&source.path.as_str()) {
                    wrong.push(format!("{}:{}: allow(unsafe_code)", source.path, source.line_of(at)));
                }
            }
        }
        let root = source.path.ends_with("src/lib.rs") || source.path.ends_with("src/main.rs");
        let library = |path: &str| path.replace("main.rs", "lib.rs");
        let has_library = source.path.ends_with("main.rs")
            && sources.iter().any(|other| other.path == library(&source.path));
        let must = root && !CANNOT_FORBID.contains(&source.path.as_str()) && !has_library;
        if must && !source.code.contains("#![forbid(unsafe_code)]") {
            wrong.push(format!("{}: lacks #![forbid(unsafe_code)]", source.path));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&[Source::new(path, text)]).len()
    }

    #[test]
    fn places() {
        assert_eq!(found("crates/runtime/src/sys/mount.rs", "unsafe { a() }"), 0);
        assert_eq!(found("crates/runtime/src/create.rs", "unsafe { a() }"), 1);
        assert_eq!(found("crates/image/src/a.rs", "// unsafe"), 0);
        assert_eq!(found("crates/image/src/a.rs", "#[allow(unsafe_code)]\nfn a() {}"), 1);
        assert_eq!(found("crates/runtime/src/lib.rs", "#[allow(unsafe_code)]\nmod sys;"), 0);
        assert_eq!(found("crates/runtime/src/lib.rs", "#[allow(unsafe_code)]\nmod other;"), 1);
    }

    #[test]
    fn roots() {
        assert_eq!(found("crates/image/src/lib.rs", "mod a;"), 1);
        assert_eq!(found("crates/image/src/lib.rs", "#![forbid(unsafe_code)]\nmod a;"), 0);
        assert_eq!(found("crates/runtime/src/lib.rs", "mod a;"), 0);
    }
}
