//! Words that must not stand in code: what is unfinished, what hides a reason, what belongs elsewhere.

use crate::source::Source;

/// What is searched, and why it is wrong.
const FORBIDDEN: &[(&str, &str)] = &[
    ("todo!", "unfinished"),
    ("unimplemented!", "unfinished"),
    ("dbg!", "left over"),
    (".unwrap()", "give the error on, or say with expect why there is none"),
    ("#[allow(clippy::too_many_arguments)]", "take a struct"),
];

/// Where code may be asynchronous. Everything else blocks, or returns a descriptor to wait on: setns,
/// unshare and fork want one thread, and SQLite and mounts block anyway.
const ASYNC: &[&str] = &["crates/broker/", "crates/mcp/", "crates/api/", "crates/cli/src/serve"];

/// Every place where one stands.
pub fn check(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources {
        for (word, reason) in FORBIDDEN {
            for (at, _) in source.code.match_indices(word) {
                wrong.push(format!("{}:{}: {word}: {reason}", source.path, source.line_of(at)));
            }
        }
        if !ASYNC.iter().any(|room| source.path.starts_with(room)) {
            for word in ["async", "await", "block_on", "tokio"] {
                for at in source.words(word) {
                    wrong.push(format!(
                        "{}:{}: {word} in a room that blocks",
                        source.path,
                        source.line_of(at)
                    ));
                }
            }
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
    fn words() {
        for bad in ["fn a() { todo!() }", "x.unwrap();", "dbg!(x)", "#[allow(clippy::too_many_arguments)]"] {
            assert_eq!(found("crates/a/src/b.rs", bad), 1, "{bad}");
        }
        for good in ["// todo!", "\"todo!\"", "x.unwrap_or(0)", "#[cfg(test)]\nmod tests { x.unwrap(); }"] {
            assert_eq!(found("crates/a/src/b.rs", good), 0, "{good}");
        }
    }

    #[test]
    fn async_rooms() {
        assert_eq!(found("crates/engine/src/a.rs", "async fn a() { b.await }"), 2);
        assert_eq!(found("crates/broker/src/a.rs", "async fn a() { b.await }"), 0);
        assert_eq!(found("crates/engine/src/a.rs", "fn is_async() {}"), 0);
    }
}
