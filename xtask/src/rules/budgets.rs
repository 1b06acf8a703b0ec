//! How long a file, a function and a room may be, and how many parameters a function may take.
//!
//! Lines are lines with code: blank lines, comments and tests are free.

use crate::source::Source;

const FILE: usize = 600;
const FILE_WITH_A_REASON: usize = 1_000;
const FUNCTION: usize = 60;
const FUNCTION_WITH_A_REASON: usize = 120;
const PARAMETERS: usize = 5;
const ROOM: usize = 15_000;
const SPEC: usize = 3_000;

/// Files over 600 lines of which the header does not say "over 600 lines", functions over 60 lines of
/// which the comment does not say "over 60 lines", and functions with more than five parameters.
pub fn check(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources {
        let lines = source.code_lines();
        let reason = source.header().to_lowercase().contains("over 600 lines");
        let most = if reason { FILE_WITH_A_REASON } else { FILE };
        if lines > most {
            wrong.push(format!("{}: {lines} lines of code, at most {most}", source.path));
        }
        for function in source.functions() {
            let place = format!("{}:{}: fn {}", source.path, function.line, function.name);
            let reason = source.comment_above(function.line).to_lowercase().contains("over 60 lines");
            let most = if reason { FUNCTION_WITH_A_REASON } else { FUNCTION };
            if function.lines > most {
                wrong.push(format!("{place}: {} lines of code, at most {most}", function.lines));
            }
            if function.parameters > PARAMETERS {
                wrong.push(format!(
                    "{place}: {} parameters, at most {PARAMETERS}: a struct?",
                    function.parameters
                ));
            }
        }
    }
    wrong
}

/// Rooms that should be two.
pub fn rooms(sources: &[Source]) -> Vec<String> {
    let mut lines = std::collections::BTreeMap::new();
    for source in sources.iter().filter(|source| source.path.starts_with("crates/")) {
        *lines.entry(source.room()).or_insert(0) += source.code_lines();
    }
    let most = |room: &str| if room == "spec" { SPEC } else { ROOM };
    let too_long = lines.iter().filter(|(room, lines)| **lines > most(room));
    too_long.map(|(room, lines)| format!("{room}: {lines} lines of code, at most {}", most(room))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: String) -> usize {
        check(&[Source::new("crates/a/src/b.rs", text)]).len()
    }

    #[test]
    fn long_files() {
        assert_eq!(found("x();\n".repeat(600)), 0);
        assert_eq!(found("x();\n".repeat(601)), 1);
        assert_eq!(found("// x\n\n".repeat(900)), 0);
        assert_eq!(found(format!("//! Over 600 lines: one table.\n{}", "x();\n".repeat(1_000))), 0);
        assert_eq!(found(format!("//! Over 600 lines: one table.\n{}", "x();\n".repeat(1_001))), 1);
        assert_eq!(found(format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "x();\n".repeat(900))), 0);
    }

    #[test]
    fn long_functions() {
        let function = |lines| format!("fn a() {{\n{}}}\n", "x();\n".repeat(lines));
        assert_eq!(found(function(58)), 0);
        assert_eq!(found(function(59)), 1);
        assert_eq!(found(format!("// Over 60 lines: a table.\n{}", function(118))), 0);
        assert_eq!(found(format!("// Over 60 lines: a table.\n{}", function(119))), 1);
    }

    #[test]
    fn many_parameters() {
        assert_eq!(found("fn a(&self, a: u8, b: u8, c: u8, d: u8, e: u8) {}".into()), 0);
        assert_eq!(found("fn a(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}".into()), 1);
    }

    #[test]
    fn big_rooms() {
        let room = |path: &str, lines| [Source::new(path, "x();\n".repeat(lines))];
        assert_eq!(rooms(&room("crates/spec/src/a.rs", 3_001)).len(), 1);
        assert_eq!(rooms(&room("crates/image/src/a.rs", 3_001)).len(), 0);
        assert_eq!(rooms(&room("crates/image/src/a.rs", 15_001)).len(), 1);
    }
}
