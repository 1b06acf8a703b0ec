//! Patterns of files that are not packed: the rules of `.dockerignore`.
//!
//! `*` and `?` stop at `/`, `**` does not, `[a-z]` is a class, a leading `!` takes back, the last rule that
//! matches wins, and what matches a directory matches what is below it. Patterns are anchored at the
//! project's root: `**/*.log` is needed for every `*.log`.

/// A list of rules in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patterns {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    parts: Vec<String>,
    take_back: bool,
}

impl Patterns {
    /// Adds the rules of a `.dockerignore` file.
    pub(crate) fn add_file(&mut self, text: &str) {
        for line in text.trim_start_matches('\u{feff}').lines().filter(|line| !line.starts_with('#')) {
            self.add(line);
        }
    }

    /// Adds one rule; an empty one is nothing.
    pub(crate) fn add(&mut self, rule: &str) {
        let rule = rule.trim();
        let (rule, take_back) = match rule.strip_prefix('!') {
            Some(rest) => (rest.trim(), true),
            None => (rule, false),
        };
        let parts: Vec<String> =
            rule.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect();
        if !parts.is_empty() {
            self.rules.push(Rule { parts, take_back });
        }
    }

    /// Whether the path, or a directory above it, is left out.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        let mut out = false;
        for rule in &self.rules {
            if rule.take_back == out && (1..=parts.len()).any(|depth| matches(&rule.parts, &parts[..depth])) {
                out = !rule.take_back;
            }
        }
        out
    }
}

fn matches(pattern: &[String], parts: &[&str]) -> bool {
    match pattern.split_first() {
        None => parts.is_empty(),
        Some((first, rest)) if first == "**" => {
            (0..=parts.len()).any(|skip| matches(rest, &parts[skip..]) && !(rest.is_empty() && skip == 0))
        }
        Some((first, rest)) => parts.split_first().is_some_and(|(part, parts)| {
            part_matches(first.as_bytes(), part.as_bytes()) && matches(rest, parts)
        }),
    }
}

/// Go's filepath.Match within one path part, in linear time but for the classes.
fn part_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    loop {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            None if t == text.len() => return true,
            Some(_) if t < text.len() => one(&pattern[p..], text[t]),
            _ => None,
        };
        match (step, star) {
            (Some(length), _) => (p, t) = (p + length, t + 1),
            (None, Some((after, from))) if from < text.len() => {
                star = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// Length of the pattern element at the front if it matches the byte.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', ..] => class(pattern, byte),
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = matches!(pattern.get(1), Some(b'^' | b'!'));
    let mut at = 1 + usize::from(negated);
    let (start, mut hit) = (at, false);
    while pattern.get(at).is_some_and(|b| *b != b']' || at == start) {
        let low = pattern[at];
        let high = match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(high)) if *high != b']' => {
                at += 2;
                *high
            }
            _ => low,
        };
        hit |= (low..=high).contains(&byte);
        at += 1;
    }
    (at < pattern.len() && hit != negated).then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &str, path: &str, expect: bool) {
        let mut patterns = Patterns::default();
        patterns.add_file(rules);
        assert_eq!(patterns.matches(path), expect, "{rules:?} {path}");
    }

    #[test]
    fn the_rules_of_dockerignore() {
        check("*.log", "a.log", true);
        check("*.log", "d/a.log", false);
        check("**/*.log", "d/e/a.log", true);
        check("**/*.log", "a.log", true);
        check("/tests/", "tests/x/y.py", true);
        check("tests", "testsuite", false);
        check("a/**", "a/b", true);
        check("a/**", "a", false);
        check("a/*/c", "a/b/c", true);
        check("a/*/c", "a/b/d/c", false);
        check("*\n!keep.txt", "keep.txt", false);
        check("*\n!keep.txt\nkeep*", "keep.txt", true);
        check("# c\n\n!x", "x", false);
        check("[a-c]?.t[!x]t", "bz.tyt", true);
        check("[a-c]?.t[!x]t", "bz.txt", false);
        check("[", "[", false);
        check("\\*", "*", true);
        check("\\*", "a", false);
        check("*a*b*c", "xxaxxbxxc", true);
        check("*a*b*c", "xxaxxbxx", false);
    }

    #[test]
    fn is_not_slowed_down_by_stars() {
        let begin = std::time::Instant::now();
        check(&"*a".repeat(60), &"a".repeat(5000), true);
        check(&format!("{}b", "*a".repeat(60)), &"a".repeat(5000), false);
        assert!(begin.elapsed().as_secs() < 5);
    }
}
