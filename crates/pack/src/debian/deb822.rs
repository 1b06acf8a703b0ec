//! Debian's control files: stanzas of `Field: value` lines (deb822(5)). Field names are compared
//! without regard to case; a value keeps its continuation lines, each with its line feed and leading blank.

/// One stanza, borrowed from the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stanza<'a>(&'a str);

/// The stanzas of a text, which are parted by empty lines.
pub(super) fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(['\n', '\r']);
        if rest.is_empty() {
            return None;
        }
        let (stanza, after) = match rest.find("\n\n") {
            Some(end) => (&rest[..=end], &rest[end + 2..]),
            None => (rest, ""),
        };
        rest = after;
        Some(Stanza(stanza))
    })
}

impl<'a> Stanza<'a> {
    /// All fields in order, values trimmed at both ends. Lines that are neither field, continuation nor
    /// comment are left out: what matters is then missing, and missing is an error with the reader.
    pub(super) fn fields(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let end = field_end(rest);
                let (field, after) = rest.split_at(end);
                rest = after;
                if field.starts_with('#') {
                    continue;
                }
                if let Some((name, value)) = field.split_once(':') {
                    return Some((name, value.trim()));
                }
            }
            None
        })
    }

    /// The value of a field.
    pub(super) fn get(self, name: &str) -> Option<&'a str> {
        self.fields().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Where the first field ends: at the line feed that no continuation line follows.
fn field_end(text: &str) -> usize {
    let mut from = 0;
    while let Some(at) = text[from..].find('\n') {
        from += at + 1;
        if !text[from..].starts_with([' ', '\t']) {
            return from;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stanzas() {
        let text = "\nPackage: a\n# remark\nDepends: b,\n c (>= 1),\n d\nSize:1\n\n\nPackage: z\nX\nsize: 2";
        let all: Vec<Vec<(&str, &str)>> = stanzas(text).map(|s| s.fields().collect()).collect();
        assert_eq!(
            all,
            [
                vec![("Package", "a"), ("Depends", "b,\n c (>= 1),\n d"), ("Size", "1")],
                vec![("Package", "z"), ("size", "2")],
            ]
        );
        let last = stanzas(text).last().expect("two stanzas");
        assert_eq!((last.get("Size"), last.get("Version")), (Some("2"), None));
        assert_eq!(stanzas("\n\n").count(), 0);
    }
}
