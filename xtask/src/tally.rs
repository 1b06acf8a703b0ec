//! Counts tests from what test programs print.
//!
//! A test that cannot run on this machine prints `SKIP: NAME: REASON` and returns. The harness calls
//! that a pass; here it is counted apart, once for each name, so that nothing is skipped in silence.

use std::collections::BTreeMap;
use std::fmt;

/// How many tests held, failed and were skipped, and why.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    held: usize,
    failed: usize,
    /// Tests that said that they cannot run, which the harness counts as held: reason by name.
    skipped: BTreeMap<String, String>,
    /// Tests that nothing started: reason by name.
    not_run: BTreeMap<String, String>,
}

impl Tally {
    /// Takes in one line of a test program's output.
    pub fn read(&mut self, line: &str) {
        let line = line.trim();
        if let Some(skip) = line.strip_prefix("SKIP: ") {
            let (name, reason) = skip.split_once(": ").unwrap_or((skip, "no reason given"));
            self.skipped.insert(name.into(), reason.into());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            // test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s
            self.held += count(result, "passed");
            self.failed += count(result, "failed");
            for _ in 0..count(result, "ignored") {
                self.not_run(&format!("ignored test {}", self.not_run.len() + 1), "marked to be ignored");
            }
        } else if let Some(ran) = line.strip_prefix("Ran ") {
            // Python's unittest: "Ran 30 tests in 8.9s", then "OK" or "FAILED (failures=2, errors=1)".
            self.held += number(ran);
        } else if let Some(failed) = line.strip_prefix("FAILED (") {
            let failed = failed.split(['=', ',', ')']).filter_map(|part| part.parse::<usize>().ok()).sum();
            self.failed += failed;
            self.held = self.held.saturating_sub(failed);
        }
    }

    /// Counts a test, or a whole program of tests, that was not started.
    pub fn not_run(&mut self, name: &str, reason: &str) {
        self.not_run.insert(name.into(), reason.into());
    }

    /// Counts a test program that ended badly without saying how.
    pub fn broken(&mut self) {
        self.failed += 1;
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// What was skipped and why, by name.
    pub fn skips(&self) -> impl Iterator<Item = (&String, &String)> {
        self.skipped.iter().chain(&self.not_run)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.held.saturating_sub(self.skipped.len());
        write!(f, "{passed} passed, {} failed, {} skipped", self.failed, self.skips().count())
    }
}

/// The number before `word` in "3 passed; 0 failed".
fn count(result: &str, word: &str) -> usize {
    let mut words = result.split([' ', ';']).filter(|part| !part.is_empty()).peekable();
    while let Some(part) = words.next() {
        if words.peek() == Some(&word) {
            return part.parse().unwrap_or(0);
        }
    }
    0
}

fn number(text: &str) -> usize {
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &str, expect: &str) {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        assert_eq!(tally.to_string(), expect, "{output}");
    }

    #[test]
    fn counts() {
        check("", "0 passed, 0 failed, 0 skipped");
        check("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured", "3 passed, 0 failed, 0 skipped");
        check(
            "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured\ntest result: ok. 4 passed; 0 failed; 0 ignored",
            "7 passed, 2 failed, 1 skipped",
        );
        check("Ran 30 tests in 8.910s\n\nOK", "30 passed, 0 failed, 0 skipped");
        check("Ran 30 tests in 8.910s\n\nFAILED (failures=2, errors=1)", "27 passed, 3 failed, 0 skipped");
        check("Ran 1 test in 0.1s", "1 passed, 0 failed, 0 skipped");
    }

    #[test]
    fn a_skip_is_no_pass_and_counts_once() {
        let skipped = "SKIP: limits::v1: no cgroup v1\n  SKIP: limits::v1: no cgroup v1\n";
        check(
            &format!("{skipped}test result: ok. 3 passed; 0 failed; 0 ignored"),
            "2 passed, 0 failed, 1 skipped",
        );
    }
}
