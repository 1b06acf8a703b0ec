//! The user's index settings, as pip tells them: `pip config list`, and its own default out of its help.

use std::path::PathBuf;

/// What pip would ask, and how.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Config {
    /// Base addresses of indexes, the preferred one first. They may carry a user and a password.
    pub indexes: Vec<String>,
    /// Directories, files and pages with links to packages.
    pub links: Vec<String>,
    /// `--proxy`.
    pub proxy: Option<String>,
    /// `--cert`.
    pub roots: Option<PathBuf>,
}

impl Config {
    /// Reads what `pip config list` printed; `default` is the index of a pip that is not configured.
    ///
    /// Of one key, the environment wins over the section of the command, and that over `global`.
    pub(super) fn parse(listed: &str, default: Option<&str>) -> Self {
        let value = |key: &str| value(listed, key);
        let words = |key: &str| -> Vec<String> {
            value(key).iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect()
        };
        let alone =
            value("no-index").is_some_and(|text| matches!(text.as_str(), "1" | "true" | "yes" | "on"));
        let mut indexes: Vec<String> =
            value("index-url").or_else(|| default.map(str::to_owned)).into_iter().collect();
        indexes.extend(words("extra-index-url"));
        if alone {
            indexes.clear();
        }
        let plain = |key: &str| value(key).filter(|text| !text.is_empty());
        Self {
            indexes,
            // Seen from where this process runs, a relative place could be in the project.
            links: words("find-links")
                .into_iter()
                .filter(|place| place.starts_with('/') || place.contains("://"))
                .collect(),
            proxy: plain("proxy"),
            roots: plain("cert").map(PathBuf::from),
        }
    }
}

/// Whether what `pip config list` printed sets an index for [`Config::parse`]; another command's does not count.
pub(super) fn names_index(listed: &str) -> bool {
    value(listed, "index-url").is_some()
}

fn value(listed: &str, key: &str) -> Option<String> {
    [":env:", "download", "global"].iter().find_map(|section| {
        listed.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            let (of, own) = name.rsplit_once('.')?;
            (of == *section && own == key).then(|| unquoted(value))
        })
    })
}

/// The index of a pip that is not configured, out of the help of its `download`.
pub(super) fn default_index(help: &str) -> Option<String> {
    let (_, after) = help.split_once("--index-url")?;
    let (_, after) = after.split_once("(default")?;
    let (address, _) = after.split_once(')')?;
    let address: String = address.split_whitespace().collect();
    address.starts_with("http").then_some(address)
}

/// A text as Python's repr() shows it.
fn unquoted(shown: &str) -> String {
    let shown = shown.trim();
    let inner =
        shown.strip_prefix(['\'', '"']).and_then(|rest| rest.strip_suffix(['\'', '"'])).unwrap_or(shown);
    let (mut out, mut characters) = (String::new(), inner.chars());
    while let Some(c) = characters.next() {
        match (c, if c == '\\' { characters.next() } else { None }) {
            ('\\', Some('n' | 't' | 'r')) => out.push(' '),
            ('\\', Some(escaped)) => out.push(escaped),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listed: &str, indexes: &[&str], links: &[&str]) {
        let config = Config::parse(listed, Some("https://default.example/simple"));
        assert_eq!(
            (&config.indexes[..], &config.links[..]),
            (
                &indexes.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()[..],
                &links.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()[..],
            ),
            "{listed}"
        );
    }

    #[test]
    fn the_nearest_setting_wins() {
        check("", &["https://default.example/simple"], &[]);
        check(
            "global.index-url='https://u:p=1@a/s'\nglobal.extra-index-url='\\nhttps://b\\nhttps://c'\n",
            &["https://u:p=1@a/s", "https://b", "https://c"],
            &[],
        );
        check(
            ":env:.index-url='https://e'\ndownload.index-url='https://d'\nglobal.index-url='https://g'",
            &["https://e"],
            &[],
        );
        check(
            "download.index-url='https://d'\nglobal.index-url='https://g'\ninstall.index-url='https://i'",
            &["https://d"],
            &[],
        );
        check(":env:.find-links='/w https://l x'\nglobal.no-index='true'", &[], &["/w", "https://l"]);
        let config = Config::parse("global.cert='/etc/c.pem'\nglobal.proxy=\"http://p'\"\n", None);
        assert_eq!((config.roots, config.proxy), (Some("/etc/c.pem".into()), Some("http://p'".into())));
        assert!(config.indexes.is_empty());
    }

    #[test]
    fn the_default_is_in_the_help() {
        for (listed, expect) in [
            ("global.index-url='https://g'", true),
            ("install.index-url='https://i'\nglobal.extra-index-url='https://x'", false),
            ("", false),
        ] {
            assert_eq!(names_index(listed), expect, "{listed}");
        }
        let help = "  -i, --index-url <url>  Base URL of the index\n      (default\n      https://i.example/simple). This\n  --no-index";
        assert_eq!(default_index(help).as_deref(), Some("https://i.example/simple"));
        assert_eq!(default_index("--index-url <url> Base URL (default none)"), None);
        assert_eq!(default_index(""), None);
    }
}
