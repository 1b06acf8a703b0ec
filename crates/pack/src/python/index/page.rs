//! What an index says of one package: the simple API's page, as JSON (PEP 691) or HTML (PEP 503).

use std::collections::BTreeMap;

use serde::Deserialize;
use url::Url;

use crate::python::pin::{file_name, sha256_hex};

/// A file that an index offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its name, plain characters only.
    pub file: String,
    /// SHA-256, if the page says it: 64 lower-case hexadecimal digits.
    pub sha256: Option<String>,
    /// Where it is.
    pub url: Url,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    files: Vec<PageFile>,
}

#[derive(Deserialize)]
struct PageFile {
    url: String,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

/// The files of a page that came from `base`. What is no file's address is left out: a page may hold
/// anything, and what counts is the hash.
pub(super) fn links(text: &str, base: &Url) -> Vec<Link> {
    match text.trim_start().starts_with('{') {
        true => of_json(text, base),
        false => of_html(text, base),
    }
}

fn of_json(text: &str, base: &Url) -> Vec<Link> {
    let page: Page = serde_json::from_str(text).unwrap_or(Page { files: Vec::new() });
    let link = |file: PageFile| {
        let sha256 = file.hashes.get("sha256").and_then(|hex| sha256_hex(&format!("sha256:{hex}")));
        link(base, &file.url, sha256)
    };
    page.files.into_iter().filter_map(link).collect()
}

fn of_html(text: &str, base: &Url) -> Vec<Link> {
    let (mut links, mut base) = (Vec::new(), base.clone());
    for tag in text.split('<').skip(1) {
        let name = tag.split(|c: char| c.is_whitespace() || c == '>').next().unwrap_or_default();
        let Some(href) = attribute(&tag[name.len()..], "href") else { continue };
        if name.eq_ignore_ascii_case("base") {
            base = base.join(&href).unwrap_or(base);
        } else if name.eq_ignore_ascii_case("a") {
            let fragment = href.split_once('#').map_or("", |(_, fragment)| fragment);
            let hash = fragment.split('&').find_map(|part| part.strip_prefix("sha256="));
            let sha256 = hash.and_then(|hex| sha256_hex(&format!("sha256:{hex}")));
            links.extend(link(&base, &href, sha256));
        }
    }
    links
}

fn link(base: &Url, href: &str, sha256: Option<String>) -> Option<Link> {
    let mut url = base.join(href).ok()?;
    url.set_fragment(None);
    Some(Link { file: file_name(url.as_str())?, sha256, url })
}

/// The value of a quoted attribute of a tag whose name is cut off.
fn attribute(tag: &str, wanted: &str) -> Option<String> {
    let mut rest = tag;
    loop {
        let (before, after) = rest.split_once('=')?;
        let name = before.split_whitespace().last().unwrap_or_default();
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, more) = after[1..].split_once(quote)?;
        if before.contains('>') {
            return None;
        }
        if name.eq_ignore_ascii_case(wanted) {
            return Some(unescaped(value.trim()));
        }
        rest = more;
    }
}

/// The five characters that HTML writes by name in an attribute.
fn unescaped(text: &str) -> String {
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    named.iter().fold(text.to_owned(), |text, (name, character)| text.replace(name, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&str]) {
        let base = Url::parse("https://index.example/simple/a/").expect("an address");
        let shown = |link: &Link| {
            format!("{} {} {}", link.file, link.sha256.as_deref().map_or("-", |hex| &hex[..2]), link.url)
        };
        assert_eq!(links(text, &base).iter().map(shown).collect::<Vec<_>>(), expect, "{text}");
    }

    #[test]
    fn reads_both_forms() {
        let hex = "ab".repeat(32);
        check(
            &format!(
                "{{\"files\": [{{\"filename\": \"x\", \"url\": \"../../f/a-1.tar.gz\", \"hashes\": {{\"sha256\": \"{hex}\"}}}}, \
                 {{\"url\": \"https://f.example/\"}}]}}"
            ),
            &["a-1.tar.gz ab https://index.example/f/a-1.tar.gz"],
        );
        check(
            &format!(
                "<!DOCTYPE html><html><body><A class=\"x\"\n data-requires-python=\"&gt;=3\" HREF='a-1.zip?k=1&amp;l=2#sha256={hex}'>a</A>\
                 <a href=\"/b-2.tar.gz\">b</a><a name=\"x\">c</a><abbr href=\"no\">"
            ),
            &[
                "a-1.zip ab https://index.example/simple/a/a-1.zip?k=1&l=2",
                "b-2.tar.gz - https://index.example/b-2.tar.gz",
            ],
        );
        check(
            "<base href=\"https://f.example/d/\"><a href=\"c-3.tar.gz\">",
            &["c-3.tar.gz - https://f.example/d/c-3.tar.gz"],
        );
    }

    #[test]
    fn what_is_malformed_offers_nothing() {
        for text in [
            "",
            "{",
            "{\"files\": 1}",
            "<a href=>",
            "<a href=\"x",
            "<a href='..'>",
            "<a>href=\"x.zip\"",
            "<a =\"\"\"=>",
        ] {
            check(text, &[]);
        }
    }
}
