//! `--filter NAME=VALUE`: what Docker's listings and prunings can be narrowed to.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::Failure;

/// One filter as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    name: String,
    value: String,
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Docker takes an empty one for none.
        let text = if text.is_empty() { "=" } else { text };
        let (name, value) = text.split_once('=').ok_or("bad format of filter (expected name=value)")?;
        Ok(Self { name: name.trim().to_ascii_lowercase(), value: value.trim().to_owned() })
    }
}

/// Filters that a listing knows. Of one name, one value must match; of labels, all.
#[derive(Debug)]
pub(crate) struct Filters<'f>(&'f [Filter]);

impl<'f> Filters<'f> {
    /// Takes filters of these names.
    ///
    /// # Errors
    /// Another name.
    pub(crate) fn new(filters: &'f [Filter], known: &[&str]) -> Result<Self, Failure> {
        match filters.iter().find(|filter| !filter.name.is_empty() && !known.contains(&&*filter.name)) {
            Some(filter) => Err(Failure::new(format!("invalid filter '{}'", filter.name))),
            None => Ok(Self(filters)),
        }
    }

    /// The values given for a name.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'f str> + use<'f> {
        let name = name.to_owned();
        self.0.iter().filter(move |filter| filter.name == name).map(|filter| &*filter.value)
    }

    /// The one value of a filter that is true or false.
    ///
    /// # Errors
    /// Anything else, or both.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        let mut found = None;
        for value in self.values(name) {
            let flag = match value {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(invalid(name, value)),
            };
            if found.is_some_and(|known| known != flag) {
                return Err(invalid(name, value));
            }
            found = Some(flag);
        }
        Ok(found)
    }

    /// Whether a name was not asked for, or one of its values is exactly one of these.
    pub(crate) fn exact(&self, name: &str, have: &[&str]) -> bool {
        let mut values = self.values(name).peekable();
        values.peek().is_none() || values.any(|value| have.contains(&value))
    }

    /// Whether a name was not asked for, or one of its values is, or matches as a regular expression, this.
    pub(crate) fn pattern(&self, name: &str, have: &str) -> bool {
        let mut values = self.values(name).peekable();
        values.peek().is_none()
            || values.any(|value| {
                value == have || regex::Regex::new(value).is_ok_and(|pattern| pattern.is_match(have))
            })
    }

    /// Whether labels are asked for at all.
    pub(crate) fn asks_labels(&self) -> bool {
        self.0.iter().any(|filter| filter.name == "label" || filter.name == "label!")
    }

    /// Whether all labels asked for are there, with the value if one is named, and none of those excluded
    /// (`label!`).
    pub(crate) fn labels(&self, have: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &str| match wanted.split_once('=') {
            Some((key, value)) => have.get(key).is_some_and(|known| known == value),
            None => have.contains_key(wanted),
        };
        self.values("label").all(has) && !self.values("label!").any(has)
    }
}

/// Docker's words for a value that a filter cannot have.
pub(crate) fn invalid(name: &str, value: &str) -> Failure {
    Failure::new(format!("invalid filter '{name}={value}'"))
}

/// Go's `path.Match`: `*` and `?` stop at slashes, `[…]` is a set, `\` takes the next character as it is.
///
/// # Errors
/// A pattern that is not finished.
pub(crate) fn glob(pattern: &str, text: &str) -> Result<bool, Failure> {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // Places in the pattern that the text up to here may have reached: linear in the text for each.
    let mut places = starred(&pattern, vec![0]);
    for c in text {
        let mut next = Vec::new();
        for place in places {
            match pattern.get(place) {
                Some('*') if c != '/' => next.push(place),
                Some('?') if c != '/' => next.push(place + 1),
                Some('*' | '?') | None => {}
                Some('[') => {
                    let (end, contains) = set(&pattern, place + 1, c)?;
                    if contains && c != '/' {
                        next.push(end);
                    }
                }
                Some('\\') if pattern.get(place + 1) == Some(&c) => next.push(place + 2),
                Some('\\') => {}
                Some(literal) if *literal == c => next.push(place + 1),
                Some(_) => {}
            }
        }
        next.sort_unstable();
        next.dedup();
        places = starred(&pattern, next);
    }
    Ok(places.contains(&pattern.len()))
}

/// With each star, the place behind it: a star may be nothing.
fn starred(pattern: &[char], mut places: Vec<usize>) -> Vec<usize> {
    let mut at = 0;
    while let Some(place) = places.get(at) {
        if pattern.get(*place) == Some(&'*') && !places.contains(&(place + 1)) {
            places.push(place + 1);
        }
        at += 1;
    }
    places
}

/// Where a set that begins here ends, and whether it has this character.
fn set(pattern: &[char], mut at: usize, c: char) -> Result<(usize, bool), Failure> {
    let fail = || Failure::new("syntax error in pattern");
    let negated = pattern.get(at) == Some(&'^');
    at += usize::from(negated);
    let mut contains = false;
    let begin = at;
    let member = |at: &mut usize| -> Option<char> {
        *at += usize::from(pattern.get(*at) == Some(&'\\'));
        *at += 1;
        pattern.get(*at - 1).copied()
    };
    while pattern.get(at) != Some(&']') || at == begin {
        let low = member(&mut at).ok_or_else(fail)?;
        let high = if pattern.get(at) == Some(&'-') {
            at += 1;
            member(&mut at).ok_or_else(fail)?
        } else {
            low
        };
        contains |= (low..=high).contains(&c);
    }
    Ok((at + 1, contains != negated))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(words: &[&str]) -> Vec<Filter> {
        words.iter().map(|word| word.parse().expect("filter")).collect()
    }

    #[test]
    fn names_are_known_and_values_match() {
        let typed = filters(&["name=^web$", "name=db", " Label = a=b", "label=c", "dangling=1"]);
        assert_eq!(
            Filters::new(&typed, &["name"]).map(drop).map_err(|failure| failure.message().to_owned()),
            Err("invalid filter 'label'".to_owned())
        );
        let known = Filters::new(&typed, &["name", "label", "dangling"]).expect("known");
        for (name, matches) in [("web", true), ("web1", false), ("mydb2", true), ("x", false)] {
            assert_eq!(known.pattern("name", name), matches, "{name}");
        }
        let labels = |pairs: &[(&str, &str)]| {
            known.labels(&pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
        };
        assert!(labels(&[("a", "b"), ("c", "")]));
        assert!(!labels(&[("a", "x"), ("c", "")]), "all must match");
        assert_eq!(known.flag("dangling").expect("flag"), Some(true));
        assert!("word".parse::<Filter>().is_err());
        let both = filters(&["dangling=true", "dangling=0"]);
        let failure = Filters::new(&both, &["dangling"]).expect("known").flag("dangling").expect_err("both");
        assert_eq!(failure.message(), "invalid filter 'dangling=0'");
    }

    #[test]
    fn patterns_are_gos() {
        for (pattern, text, matches) in [
            ("busybox", "busybox", true),
            ("busy*", "busybox", true),
            ("busy*", "busybox/x", false),
            ("*/*", "a/b", true),
            ("b?sy", "busy", true),
            ("[a-c]usy", "busy", true),
            ("[^a-c]usy", "busy", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("*a*a*a*b", &"a".repeat(200), false),
            ("**", "", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(glob(pattern, text).expect("pattern"), matches, "{pattern} {text}");
        }
        assert!(glob("[a", "a").is_err());
    }
}
