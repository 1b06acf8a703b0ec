//! The one thing read from apt.conf(5): the http proxy.

use std::fs;
use std::path::{Path, PathBuf};

/// `Acquire::http::Proxy` of `apt.conf.d/*` and `apt.conf`; the later setting wins.
pub(super) fn proxy(apt: &Path) -> Option<String> {
    let mut paths: Vec<PathBuf> = fs::read_dir(apt.join("apt.conf.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths.push(apt.join("apt.conf"));
    let text: String = paths.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    proxy_in(&text).filter(|proxy| !proxy.is_empty() && proxy != "DIRECT")
}

fn proxy_in(text: &str) -> Option<String> {
    let mut scopes: Vec<String> = Vec::new();
    let mut name = String::new();
    let mut found = None;
    for token in tokens(text) {
        match token.as_str() {
            "{" => scopes.push(std::mem::take(&mut name)),
            "}" => {
                scopes.pop();
                name.clear();
            }
            ";" => name.clear(),
            value if value.starts_with('"') => {
                let full = scopes.iter().chain([&name]).filter(|part| !part.is_empty());
                let full = full.map(String::as_str).collect::<Vec<_>>().join("::");
                if full.eq_ignore_ascii_case("Acquire::http::Proxy") {
                    found = Some(value.trim_matches('"').to_owned());
                }
            }
            word => name = word.to_owned(),
        }
    }
    found
}

/// Words, quoted texts, `{`, `}` and `;`, without the three kinds of comments.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' => rest[1..].find('"').map_or(rest.len(), |at| at + 2),
            '{' | '}' | ';' => 1,
            _ => rest[first.len_utf8()..]
                .find(|c: char| c.is_whitespace() || "{};\"".contains(c))
                .map_or(rest.len(), |at| at + first.len_utf8()),
        };
        let (token, after) = rest.split_at(end);
        if first != '#' && !token.starts_with("//") && !token.starts_with("/*") {
            tokens.push(token.to_owned());
        }
        rest = after.trim_start();
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_proxy() {
        for (text, expect) in [
            ("Acquire::http::Proxy \"http://p:1\";", Some("http://p:1")),
            ("// Acquire::http::Proxy \"http://p:1\";\n# Acquire::http::Proxy \"x\";\n/* \" */", None),
            (
                "Acquire { Retries \"3\"; http { Timeout \"9\"; Proxy \"http://n:2\"; }; };",
                Some("http://n:2"),
            ),
            ("Acquire::http { Proxy \"a\"; }; Acquire::HTTP::proxy \"b\";", Some("b")),
            ("Acquire::https::Proxy \"c\"; Acquire::http::Proxy::host \"DIRECT\";", None),
            ("APT { NeverAutoRemove { \"^linux.*\"; }; }; Acquire::http::Proxy \"d", Some("d")),
            ("", None),
        ] {
            assert_eq!(proxy_in(text).as_deref(), expect, "{text}");
        }
    }
}
