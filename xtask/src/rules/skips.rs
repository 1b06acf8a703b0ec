//! A test that does not run is counted: nothing is ignored, and a skip is said in the one form that
//! `cargo xtask test` counts, `SKIP: name: reason`.

/// Ignored tests, and skips that are said in another form. Takes every Rust file, tests above all.
pub fn check(files: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in files.filter(|(path, _)| path.ends_with(".rs") && !path.ends_with("rules/skips.rs")) {
        for (number, line) in text.lines().map(str::trim).enumerate() {
            let said = line.contains("print") && ["\"skip", "\"Skip"].iter().any(|word| line.contains(word));
            if line.starts_with("#[ignore") || (said && !path.starts_with("xtask")) {
                wrong.push(format!(
                    "{path}:{}: a skip that is not counted: print `SKIP: name: reason`",
                    number + 1
                ));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips() {
        let found = |text: &str| check([("tests/a.rs".to_owned(), text.to_owned())].into_iter()).len();
        assert_eq!(found("#[test]\n#[ignore]\nfn a() {}"), 1);
        assert_eq!(found("#[ignore = \"slow\"]"), 1);
        assert_eq!(found("println!(\"skipped: needs root\");"), 1);
        assert_eq!(found("println!(\"SKIP: a::b: needs root\");"), 0);
        assert_eq!(found("lines.skip(1); // skipped"), 0);
    }
}
