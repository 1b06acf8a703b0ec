//! Links between the pages of this repository lead somewhere.

use std::path::Path;

/// Relative links in Markdown whose target is not there, as `exists` says. Code blocks are passed over.
pub fn check(files: impl Iterator<Item = (String, String)>, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in files.filter(|(path, _)| path.ends_with(".md")) {
        let directory = Path::new(&path).parent().unwrap_or(Path::new(""));
        for target in links(&text) {
            let file = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if !outside && !file.is_empty() && !exists(&directory.join(file)) {
                wrong.push(format!("{path}: {target} is not there"));
            }
        }
    }
    wrong
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    let lines = text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence && !line.starts_with("    ")
    });
    lines.flat_map(|line| line.split("](").skip(1).filter_map(|rest| rest.split(')').next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let check = |text: &str| {
            let file = ("docs/a.md".to_owned(), text.to_owned());
            check([file].into_iter(), |path| {
                path == Path::new("docs/b.md") || path == Path::new("docs/../README.md")
            })
        };
        assert_eq!(
            check("[b](b.md) [c](b.md#part) [d](#here) [e](../README.md) [f](https://x.y/z)"),
            Vec::<String>::new()
        );
        assert_eq!(check("see [b](c.md)"), ["docs/a.md: c.md is not there"]);
        assert_eq!(check("```\n[b](c.md)\n```\n    [b](c.md)\n"), Vec::<String>::new());
    }
}
