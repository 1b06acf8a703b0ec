//! Reads Rust source just well enough to count it: no parser, so that it compiles in a moment.
//!
//! `mask` blanks what is not code. Everything else counts lines and matches brackets in what is left:
//!
//! ```text
//! let a = "x{"; // {        let a = "__";
//! /* fn */ fn b() {}                 fn b() {}
//! ```

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One file of source, as written and as code alone.
pub struct Source {
    /// Where it is, from the root of the checkout.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Its text with comments blanked, the inside of strings replaced by `_`, and test modules blanked.
    /// Same length and same line breaks as `text`.
    pub code: String,
}

/// A function as the rules see it.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its `fn`, from 1.
    pub line: usize,
    /// Lines with code from `fn` to the closing brace; 0 for a declaration.
    pub lines: usize,
    /// Parameters without `self`.
    pub parameters: usize,
}

impl Source {
    /// Takes in a file's text.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Source {
        let text = text.into();
        let code = without_tests(mask(&text));
        Source { path: path.into(), text, code }
    }

    /// The top directory below `crates/`, or the first component: `engine`, `xtask`.
    pub fn room(&self) -> &str {
        let path = self.path.strip_prefix("crates/").unwrap_or(&self.path);
        path.split('/').next().unwrap_or(path)
    }

    /// The number of lines with code.
    pub fn code_lines(&self) -> usize {
        count_lines(&self.code)
    }

    /// The lines of the header: the `//!` comment that opens the file.
    pub fn header(&self) -> String {
        self.text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n")
    }

    /// The comment that stands right above a line (from 1), attributes between them passed over.
    pub fn comment_above(&self, line: usize) -> String {
        let lines: Vec<&str> = self.text.lines().take(line.saturating_sub(1)).collect();
        let above = lines.iter().rev().map(|line| line.trim());
        above
            .take_while(|line| line.starts_with("//") || line.starts_with("#["))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The line (from 1) of a byte of the text.
    pub fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    /// Where a word stands in the code, whole words only.
    pub fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
    }

    /// Every function with a name, nested ones too.
    pub fn functions(&self) -> Vec<Function> {
        self.words("fn").filter_map(|at| self.function(at)).collect()
    }

    fn function(&self, at: usize) -> Option<Function> {
        let rest = self.code[at + 2..].trim_start();
        let name: String = rest.chars().take_while(|&c| is_word(c)).collect();
        if name.is_empty() {
            return None; // a function pointer's type
        }
        let after_name = self.code.len() - rest.len() + name.len();
        let open = after_name + generics_end(&self.code[after_name..]);
        let parameters = bracketed(&self.code, open)?;
        let count = count_parameters(&self.code[parameters.clone()]);
        let tail = parameters.end + 1 + outside_brackets(&self.code[parameters.end + 1..])?;
        let lines = match bracketed(&self.code, tail) {
            Some(body) => count_lines(&self.code[line_start(&self.code, at)..body.end + 1]),
            None => 0,
        };
        Some(Function { name, line: self.line_of(at), lines, parameters: count })
    }
}

/// Every Rust file of the rooms, of xtask and of bench; files of tests are left out.
pub fn all(root: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    for directory in ["crates", "xtask", "bench"] {
        walk(&root.join(directory), &mut files);
    }
    files.retain(|path| {
        let test =
            path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs");
        path.extension().is_some_and(|extension| extension == "rs") && !test
    });
    files.sort();
    files
        .iter()
        .filter_map(|path| {
            let name = path.strip_prefix(root).ok()?.to_str()?.to_owned();
            Some(Source::new(name, fs::read_to_string(path).ok()?))
        })
        .collect()
}

/// Every file under a directory, but for what is generated or not ours.
pub fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir()
            && !["target", ".git", "__pycache__", "node_modules"].iter().any(|skip| name == *skip)
        {
            walk(&entry.path(), found);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn line_start(code: &str, at: usize) -> usize {
    code[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

fn count_lines(code: &str) -> usize {
    code.lines().filter(|line| !line.trim().is_empty()).count()
}

/// The end of `<…>` at the start of `code`, or 0; an arrow's `>` closes nothing.
fn generics_end(code: &str) -> usize {
    if !code.starts_with('<') {
        return 0;
    }
    let mut depth = 0usize;
    let mut before = ' ';
    for (at, c) in code.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if before != '-' && before != '=' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
        before = c;
    }
    0
}

/// The inside of the bracket that opens at `at`, if one does and it is closed.
fn bracketed(code: &str, at: usize) -> Option<Range<usize>> {
    let mut depth = 0usize;
    for (offset, c) in code[at..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return (offset > 0).then_some(at + 1..at + offset);
        }
    }
    None
}

/// The first `{` or `;` outside of `()` and `[]`: where a signature ends.
fn outside_brackets(code: &str) -> Option<usize> {
    let mut depth = 0usize;
    code.char_indices().find_map(|(at, c)| {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            '{' | ';' if depth == 0 => return Some(at),
            _ => {}
        }
        None
    })
}

/// Counts what stands between commas outside of any bracket, but for `self`.
fn count_parameters(code: &str) -> usize {
    let mut parameters = vec![String::new()];
    let mut depth = 0usize;
    let mut before = ' ';
    for c in code.chars() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '>' if before != '-' && before != '=' => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = c;
        match parameters.last_mut() {
            Some(last) if c != ',' || depth > 0 => last.push(c),
            _ => parameters.push(String::new()),
        }
    }
    let is_self = |text: &str| text.split([' ', '&', ':']).any(|word| word == "self");
    let named = parameters.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
    named.enumerate().filter(|(position, text)| *position > 0 || !is_self(text)).count()
}

/// Blanks each item under `#[cfg(test)]`.
fn without_tests(mut code: String) -> String {
    const MARK: &str = "#[cfg(test)]";
    while let Some(at) = code.find(MARK) {
        let from = at + MARK.len();
        let end = match code[from..].find(['{', ';']) {
            None => code.len(),
            Some(offset) => bracketed(&code, from + offset).map_or(from + offset + 1, |body| body.end + 1),
        };
        let blank: String = code[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        // One blank for each character and not each byte: nothing but identifiers is wider, and those are ASCII.
        code.replace_range(at..end, &blank);
    }
    code
}

/// Blanks comments and fills strings, keeping every line break.
fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (length, fill) = if rest.starts_with(b"//") {
            (rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()), b' ')
        } else if rest.starts_with(b"/*") {
            (block_comment(rest), b' ')
        } else if let Some(length) = string(rest, at.checked_sub(1).map(|before| bytes[before])) {
            (length, b'_')
        } else {
            code.push(if rest[0].is_ascii() { rest[0] } else { b'_' });
            at += 1;
            continue;
        };
        code.extend(rest[..length].iter().map(|&b| if b == b'\n' { b'\n' } else { fill }));
        at += length;
    }
    // Only ASCII was pushed.
    String::from_utf8(code).unwrap_or_default()
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at.min(rest.len())
}

/// The length of the string or character literal that begins here, if one does.
fn string(rest: &[u8], before: Option<u8>) -> Option<usize> {
    if before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return None;
    }
    let prefix = rest.iter().take_while(|&&b| matches!(b, b'b' | b'c' | b'r')).count();
    let raw = rest[..prefix].contains(&b'r');
    let hashes = rest[prefix..].iter().take_while(|&&b| b == b'#').count();
    match rest.get(prefix + hashes)? {
        b'"' if prefix <= 2 && raw => {
            let start = prefix + hashes + 1;
            let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
            let found = rest[start..].windows(close.len()).position(|window| window == close);
            Some(found.map_or(rest.len(), |offset| start + offset + close.len()))
        }
        b'"' if prefix <= 1 && hashes == 0 => Some(escaped(rest, prefix + 1, b'"')),
        b'\'' if prefix <= 1 && hashes == 0 => {
            let inside = rest.get(prefix + 1..)?;
            let width = std::str::from_utf8(&inside[..inside.len().min(4)])
                .or_else(|error| std::str::from_utf8(&inside[..error.valid_up_to()]))
                .ok()
                .and_then(|text| text.chars().next())
                .map_or(1, char::len_utf8);
            // A quote that does not close after one character belongs to a lifetime.
            let character = inside.first() == Some(&b'\\') || inside.get(width) == Some(&b'\'');
            character.then(|| escaped(rest, prefix + 1, b'\''))
        }
        _ => None,
    }
}

fn escaped(rest: &[u8], mut at: usize, quote: u8) -> usize {
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_what_is_no_code() {
        let check = |text: &str, expect: &str| assert_eq!(mask(text), expect, "{text}");
        check("a // b\nc", "a     \nc");
        check("a /* /* b */ \n */ c", "a            \n    c");
        check(r#"f("{\"", '{', '\'', b'}')"#, "f(_____, ___, ____, ____)");
        check("r#\"a\"b\"# x", "________ x");
        check("&'a str, 'static", "&'a str, 'static");
        check("'ö' b\"x\" c\"x\" br\"x\"", "____ ____ ____ _____");
        check("\"two\nlines\" {", "____\n______ {");
    }

    fn functions(text: &str) -> Vec<(String, usize, usize, usize)> {
        let found = Source::new("f.rs", text).functions();
        found.into_iter().map(|f| (f.name, f.line, f.lines, f.parameters)).collect()
    }

    #[test]
    fn finds_functions() {
        let check = |text: &str, name: &str, line, lines, parameters| {
            assert_eq!(functions(text), [(name.to_owned(), line, lines, parameters)], "{text}");
        };
        check("fn a() {}", "a", 1, 1, 0);
        check("\nfn a(&self, b: u8) {\n\n  // c\n  d();\n}", "a", 2, 3, 1);
        check("fn a(&mut self) -> u8 { 1 }", "a", 1, 1, 0);
        check("fn a(self: &Arc<Self>, b: (u8, u8), c: fn(u8, u8) -> u8,) {}", "a", 1, 1, 2);
        check("fn a<F: Fn(u8, u8) -> u8>(f: F, m: Map<u8, u8>) where F: Copy {}", "a", 1, 1, 2);
        check("trait T { fn a(&self); }", "a", 1, 0, 0);
        check("fn a(b: u8) -> [u8; 2] { [b; 2] }", "a", 1, 1, 1);
        assert_eq!(functions("type F = fn(u8); // fn x() {}"), []);
    }

    #[test]
    fn tests_do_not_count() {
        let source = Source::new(
            "f.rs",
            "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\n#[cfg(test)]\nuse x;\nfn c() {}\n",
        );
        assert_eq!(source.functions().len(), 2);
        assert_eq!(source.code_lines(), 2);
    }

    #[test]
    fn comments_above_and_headers() {
        let source = Source::new("f.rs", "//! One.\n//! Two.\n\nx\n/// Over.\n#[inline]\nfn a() {}\n");
        assert_eq!(source.header(), "//! One.\n//! Two.");
        assert_eq!(source.comment_above(7), "#[inline]\n/// Over.");
        assert_eq!(source.words("a").map(|at| source.line_of(at)).collect::<Vec<_>>(), [7]);
    }
}
