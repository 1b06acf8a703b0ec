//! Version ranges of `engines`, as far as they are used there: comparators, `^`, `~`, `x`, hyphens, `||`.

/// A release version; pre-releases are not told apart from releases.
pub(super) type Version = [u64; 3];

/// Parses `20.19.2`, with or without `v`, and with whatever follows `-` or `+` cut off.
pub(super) fn version(text: &str) -> Option<Version> {
    let text = text.trim().trim_start_matches(['v', '=']);
    let text = text.split(['-', '+', '~']).next()?;
    let mut parts = text.split('.');
    let mut next = || parts.next()?.parse().ok();
    let version = [next()?, next()?, next()?];
    parts.next().is_none().then_some(version)
}

/// Whether a version lies in a range.
///
/// # Errors
/// A reason if the range is not understood: it is not taken as admitting everything.
pub(super) fn admits(range: &str, version: Version) -> Result<bool, String> {
    let mut any = false;
    for alternative in range.split("||") {
        any |= all(alternative.trim(), version)
            .ok_or_else(|| format!("{range:?} is not a range of versions"))?;
    }
    Ok(any)
}

fn all(alternative: &str, version: Version) -> Option<bool> {
    if let Some((low, high)) = alternative.split_once(" - ") {
        let (low, high) = (bounds(low.trim())?, bounds(high.trim())?);
        return Some(version >= low.0 && high.1.is_none_or(|end| version < end));
    }
    // ">= 18" is one comparator.
    let joined = ["<=", ">=", "<", ">", "^", "~", "="]
        .iter()
        .fold(alternative.to_owned(), |text, operator| text.replace(&format!("{operator} "), operator));
    let mut holds = true;
    for comparator in joined.split_whitespace() {
        holds &= one(comparator, version)?;
    }
    Some(holds)
}

fn one(comparator: &str, version: Version) -> Option<bool> {
    let at = comparator.find(|c: char| !matches!(c, '<' | '>' | '=' | '^' | '~')).unwrap_or(comparator.len());
    let (operator, text) = comparator.split_at(at);
    let (low, high) = bounds(text)?;
    let below = |end: Option<Version>| end.is_none_or(|end| version < end);
    Some(match operator {
        ">=" => version >= low,
        ">" => high.is_some_and(|end| if end == next_patch(low) { version > low } else { version >= end }),
        "<" => version < low,
        "<=" => below(high),
        "^" => {
            version >= low
                && below(Some(match low {
                    [0, 0, patch] if high == Some(next_patch(low)) => [0, 0, patch + 1],
                    [0, minor, _] if high != Some([1, 0, 0]) => [0, minor + 1, 0],
                    [major, ..] => [major + 1, 0, 0],
                }))
        }
        "~" | "~>" => {
            version >= low
                && below(match high {
                    Some(end) if end == next_patch(low) => Some([low[0], low[1] + 1, 0]),
                    other => other,
                })
        }
        "" | "=" => version >= low && below(high),
        _ => return None,
    })
}

fn next_patch([major, minor, patch]: Version) -> Version {
    [major, minor, patch + 1]
}

/// The versions that a partial one stands for: from the first, to before the second.
fn bounds(text: &str) -> Option<(Version, Option<Version>)> {
    let text = text.trim_start_matches('v').split(['-', '+']).next()?;
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() > 3 {
        return None;
    }
    let mut version = [0; 3];
    for (place, part) in parts.iter().enumerate() {
        if matches!(*part, "x" | "X" | "*" | "") {
            return Some(end(version, place));
        }
        version[place] = part.parse::<u32>().ok()?.into();
    }
    Some(end(version, parts.len()))
}

/// How far a version reaches of which so many parts are known.
fn end(version: Version, known: usize) -> (Version, Option<Version>) {
    let [major, minor, _] = version;
    let end = match known {
        0 => None,
        1 => Some([major + 1, 0, 0]),
        2 => Some([major, minor + 1, 0]),
        _ => Some(next_patch(version)),
    };
    (version, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(range: &str, text: &str, expect: Option<bool>) {
        let version = version(text).expect("a version");
        assert_eq!(admits(range, version).ok(), expect, "{range} {text}");
    }

    #[test]
    fn ranges() {
        for (range, yes, no) in [
            (">=18", "18.0.0", "17.9.9"),
            (">= 18.17 <21", "20.1.0", "21.0.0"),
            ("^18.2.0", "18.20.4", "19.0.0"),
            ("^0.2.3", "0.2.9", "0.3.0"),
            ("^0.0.3", "0.0.3", "0.0.4"),
            ("~18.2", "18.2.9", "18.3.0"),
            ("~18.2.1", "18.2.9", "18.3.0"),
            ("18.x || >=20", "20.0.0", "19.0.0"),
            ("18", "18.9.0", "19.0.0"),
            (">18", "19.0.0", "18.5.0"),
            (">18.1.0", "18.1.1", "18.1.0"),
            ("<=18", "18.9.9", "19.0.0"),
            ("<18", "17.0.0", "18.0.0"),
            ("16 - 18.2", "18.2.5", "18.3.0"),
            ("v18.1.2", "18.1.2", "18.1.3"),
        ] {
            check(range, yes, Some(true));
            check(range, no, Some(false));
        }
        check("*", "1.0.0", Some(true));
        check("", "1.0.0", Some(true));
        for bad in ["lts/*", ">=a", "1.2.3.4", "!18", "latest"] {
            check(bad, "18.0.0", None);
        }
    }
}
