//! Relations between packages: `a (>= 1) | b:any, c` (Debian Policy, chapter 7).

use std::fmt;

use super::version::Version;

/// A comma's worth of a relation field: alternatives, the preferred one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clause(pub(super) Vec<Dependency>);

/// A package name with the versions that will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// `any` or an architecture. All packages of a base have one architecture, so it changes nothing.
    pub(super) qualifier: Option<String>,
    pub(super) versions: Option<(Relation, Version)>,
}

/// How a version must stand to the one named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Less,
    LessEqual,
    Equal,
    GreaterEqual,
    Greater,
}

/// Parses the value of a relation field; the error is the part that is not one.
pub(super) fn parse(text: &str) -> Result<Vec<Clause>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|clause| !clause.is_empty())
        .map(|clause| {
            clause
                .split('|')
                .map(|part| parse_one(part.trim()).ok_or_else(|| part.trim().chars().take(120).collect()))
                .collect::<Result<_, _>>()
                .map(Clause)
        })
        .collect()
}

fn parse_one(text: &str) -> Option<Dependency> {
    let (name, versions) = match text.split_once('(') {
        Some((name, rest)) => (name.trim(), Some(parse_versions(rest.strip_suffix(')')?.trim())?)),
        None => (text, None),
    };
    let (name, qualifier) = match name.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (name, None),
    };
    let plain = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    (is_name(name) && qualifier.is_none_or(plain)).then(|| Dependency {
        name: name.to_owned(),
        qualifier: qualifier.map(str::to_owned),
        versions,
    })
}

fn parse_versions(text: &str) -> Option<(Relation, Version)> {
    // The order matters: `<` begins `<<` and `<=`. A single `<` or `>` is an old form of `<=`, `>=`.
    const SIGNS: [(&str, Relation); 7] = [
        ("<<", Relation::Less),
        ("<=", Relation::LessEqual),
        (">>", Relation::Greater),
        (">=", Relation::GreaterEqual),
        ("=", Relation::Equal),
        ("<", Relation::LessEqual),
        (">", Relation::GreaterEqual),
    ];
    let (rest, relation) =
        SIGNS.iter().find_map(|(sign, relation)| Some((text.strip_prefix(sign)?, *relation)))?;
    Some((relation, Version::parse(rest.trim())?))
}

/// Whether a text is a package name: Policy 5.6.1, and old archives' upper case refused.
pub(super) fn is_name(text: &str) -> bool {
    text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
}

impl Relation {
    fn holds(self, version: &Version, bound: &Version) -> bool {
        match self {
            Self::Less => version < bound,
            Self::LessEqual => version <= bound,
            Self::Equal => version == bound,
            Self::GreaterEqual => version >= bound,
            Self::Greater => version > bound,
        }
    }
}

impl Dependency {
    /// Whether a real package's version will do.
    pub(super) fn admits(&self, version: &Version) -> bool {
        self.versions.as_ref().is_none_or(|(relation, bound)| relation.holds(version, bound))
    }

    /// Whether a provided name will do: one without version satisfies no versioned dependency (Policy 7.5).
    pub(super) fn admits_provided(&self, version: Option<&Version>) -> bool {
        match (&self.versions, version) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((relation, bound)), Some(version)) => relation.holds(version, bound),
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Less => "<<",
            Self::LessEqual => "<=",
            Self::Equal => "=",
            Self::GreaterEqual => ">=",
            Self::Greater => ">>",
        })
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(qualifier) = &self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        match &self.versions {
            Some((relation, version)) => write!(f, " ({relation} {version})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, dependency) in self.0.iter().enumerate() {
            write!(f, "{}{dependency}", if i == 0 { "" } else { " | " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<&str, &str>) {
        let written =
            parse(text).map(|clauses| clauses.iter().map(Clause::to_string).collect::<Vec<_>>().join(", "));
        assert_eq!(written.as_deref().map_err(String::as_str), expect, "{text:?}");
    }

    #[test]
    fn parses_relations() {
        check("libc6 (>= 2.36), aa|bb(<<1:2~), perl:any", Ok("libc6 (>= 2.36), aa | bb (<< 1:2~), perl:any"));
        check("", Ok(""));
        check("a2 (=1),\n b2 (> 1), c2 (< 2),", Ok("a2 (= 1), b2 (>= 1), c2 (<= 2)"));
        check("a2 (>= 1", Err("a2 (>= 1"));
        check("a2 (~ 1)", Err("a2 (~ 1)"));
        check("ok, ../x | y", Err("../x"));
        check("a2 [amd64]", Err("a2 [amd64]"));
        check("a2:", Err("a2:"));
        check("a2 |", Err(""));
    }

    #[test]
    fn admits_versions() {
        for (dependency, version, real, provided) in [
            ("aa", "1", true, true),
            ("aa (>= 1.0)", "1.0", true, true),
            ("aa (>> 1.0)", "1.0", false, false),
            ("aa (<< 1.0)", "1.0~rc1", true, true),
            ("aa (= 1.0)", "1.0-0", true, true),
            ("aa (<= 1.0)", "1.0-1", false, false),
        ] {
            let parsed = parse_one(dependency).expect(dependency);
            let version = Version::parse(version).expect(version);
            assert_eq!(parsed.admits(&version), real, "{dependency} by {version}");
            assert_eq!(parsed.admits_provided(Some(&version)), provided, "{dependency} by {version}");
        }
        assert!(!parse_one("aa (>= 1)").expect("valid").admits_provided(None));
    }
}
