/// A distribution's name in its one normal form (PEP 503): lower case, runs of `-`, `_` and `.` as one `-`.
pub fn normalize(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' => {
                if !out.ends_with('-') {
                    out.push('-');
                }
            }
            c => out.push(c.to_ascii_lowercase()),
        }
    }
    out
}

/// Whether a text can be a distribution's name (PEP 508).
pub fn is_name(name: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    name.len() <= 200
        && edge(name.bytes().next())
        && edge(name.bytes().last())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expect) in [("Foo.Bar", "foo-bar"), ("a__b--c", "a-b-c"), ("x", "x")] {
            assert_eq!(normalize(name), expect);
        }
        for bad in ["", "-a", "a-", "a b", "a/b", "ä", "--index-url=x"] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(is_name("zope.interface"));
    }
}
