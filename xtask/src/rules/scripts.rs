//! Shell scripts stay short: what needs more is a verb of xtask.

const LINES: usize = 50;

/// Scripts of more than 50 lines, by their ending or by their first line.
pub fn check(files: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let long = files.filter(|(path, text)| is_script(path, text) && text.lines().count() > LINES);
    long.map(|(path, text)| format!("{path}: {} lines, at most {LINES}", text.lines().count())).collect()
}

fn is_script(path: &str, text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    path.ends_with(".sh") || (first.starts_with("#!") && first.ends_with("sh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts() {
        let found = |path: &str, text: String| check([(path.to_owned(), text)].into_iter()).len();
        assert_eq!(found("a.sh", "x\n".repeat(50)), 0);
        assert_eq!(found("a.sh", "x\n".repeat(51)), 1);
        assert_eq!(found("run", format!("#!/bin/bash\n{}", "x\n".repeat(50))), 1);
        assert_eq!(found("run.py", format!("#!/usr/bin/python3\n{}", "x\n".repeat(50))), 0);
    }
}
