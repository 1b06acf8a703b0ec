//! `[tool.corral]` of pyproject.toml and the `corral` key of package.json: the same keys in both.
//!
//! A key that is not known is an error, so that a misspelt one cannot be silently without effect.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::debian::{Directory, User};

/// What a project says about its image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Debian suite.
    pub suite: Option<String>,
    /// Debian packages in addition to what the project's kind needs.
    pub packages: Vec<String>,
    /// Debian packages that foreign code is built with, and that are not in the image.
    pub build_packages: Vec<String>,
    /// Debian packages that must not come in as dependencies.
    pub omit: Vec<String>,
    /// Users of the image.
    pub users: Vec<User>,
    /// Directories of the image.
    pub directories: Vec<Directory>,
    /// Paths of the project that get a layer of their own.
    pub data: Vec<PathBuf>,
    /// The command, in exec form.
    pub entrypoint: Vec<String>,
    /// Environment of the image.
    pub env: BTreeMap<String, String>,
    /// Whether the image has a shell.
    pub shell: bool,
    /// Patterns of files that are not packed.
    pub exclude: Vec<String>,
    /// Paths that are packed although they look like secrets.
    pub include: Vec<PathBuf>,
    /// npm packages whose install scripts run, confined.
    pub run_scripts: Vec<String>,
    /// npm packages that work without their install scripts.
    pub skip_scripts: Vec<String>,
}

const KEYS: [&str; 14] = [
    "suite",
    "packages",
    "build-packages",
    "omit",
    "users",
    "directories",
    "data",
    "entrypoint",
    "env",
    "shell",
    "exclude",
    "include",
    "run-scripts",
    "skip-scripts",
];

impl Settings {
    /// Reads the table.
    ///
    /// # Errors
    /// A reason naming the key and the way out.
    pub(crate) fn parse(table: &Value) -> Result<Self, String> {
        let Value::Object(table) = table else { return Err("expected a table of settings".into()) };
        let mut settings = Self::default();
        for (key, value) in table {
            settings.set(key, value).map_err(|reason| format!("{key}: {reason}"))?;
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        match key {
            "suite" => self.suite = Some(string(value)?.to_owned()),
            "packages" => self.packages = strings(value)?,
            "build-packages" => self.build_packages = strings(value)?,
            "omit" => self.omit = strings(value)?,
            "users" => self.users = parsed(value)?,
            "directories" => self.directories = parsed(value)?,
            "data" => self.data = paths(value)?,
            "entrypoint" => self.entrypoint = command(value)?,
            "env" => self.env = environment(value)?,
            "shell" => self.shell = value.as_bool().ok_or("expected true or false")?,
            "exclude" => self.exclude = strings(value)?,
            "include" => self.include = paths(value)?,
            "run-scripts" => self.run_scripts = strings(value)?,
            "skip-scripts" => self.skip_scripts = strings(value)?,
            _ => return Err(unknown(key, &KEYS)),
        }
        Ok(())
    }
}

/// "not a setting", with the nearest known key.
pub(crate) fn unknown(key: &str, known: &[&str]) -> String {
    let nearest = known.iter().min_by_key(|candidate| distance(key, candidate));
    match nearest.filter(|candidate| distance(key, candidate) <= 2) {
        Some(nearest) => format!("not a setting; did you mean {nearest}?"),
        None => format!("not a setting; known are {}", known.join(", ")),
    }
}

/// Levenshtein distance, of keys of at most a few dozen bytes.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}

fn string(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "expected a text".into())
}

fn strings(value: &Value) -> Result<Vec<String>, String> {
    let list = value.as_array().ok_or("expected a list of texts")?;
    list.iter().map(|item| string(item).map(str::to_owned)).collect()
}

fn parsed<T: std::str::FromStr<Err = crate::debian::Error>>(value: &Value) -> Result<Vec<T>, String> {
    strings(value)?
        .iter()
        .map(|text| text.parse().map_err(|error: crate::debian::Error| error.to_string()))
        .collect()
}

fn paths(value: &Value) -> Result<Vec<PathBuf>, String> {
    strings(value)?
        .iter()
        .map(|text| inside(text).ok_or_else(|| format!("{text:?} is not a path inside the project")))
        .collect()
}

/// A relative path without `..`, normalised.
pub(crate) fn inside(text: &str) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (!clean.as_os_str().is_empty()).then_some(clean)
}

/// A list of words, or one text that is split at blanks: there is no shell to read quotes.
fn command(value: &Value) -> Result<Vec<String>, String> {
    let words = match value {
        Value::String(text) if text.contains(['"', '\'', '$', '`', '\\']) => {
            return Err("no shell reads this: write it as a list of words".into());
        }
        Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
        _ => strings(value)?,
    };
    match words.first().is_some_and(|word| !word.is_empty()) && words.iter().all(|word| !word.contains('\0'))
    {
        true => Ok(words),
        false => Err("expected at least the program".into()),
    }
}

fn environment(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let table = value.as_object().ok_or("expected a table of NAME = \"VALUE\"")?;
    table
        .iter()
        .map(|(name, value)| {
            let plain = !name.is_empty() && !name.contains(['=', '\0']);
            let value = string(value).map_err(|reason| format!("{name}: {reason}"))?;
            match plain && !value.contains('\0') {
                true => Ok((name.clone(), value.to_owned())),
                false => Err(format!("{name:?} cannot be an environment variable")),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(table: &Value, expect: &str) {
        let shown = match Settings::parse(table) {
            Ok(settings) => format!(
                "{:?} {:?} {:?} {:?}",
                settings.data, settings.entrypoint, settings.env, settings.shell
            ),
            Err(reason) => reason,
        };
        assert!(shown.contains(expect), "{table}: {shown:?} does not say {expect:?}");
    }

    #[test]
    fn reads_settings() {
        check(&json!({"data": ["./models//x"], "shell": true}), "[\"models/x\"] [] {} true");
        check(&json!({"entrypoint": "python3 -m  x"}), "[\"python3\", \"-m\", \"x\"]");
        check(&json!({"env": {"A": "b"}}), "{\"A\": \"b\"}");
    }

    #[test]
    fn refuses_with_a_way_out() {
        check(&json!({"pacakges": []}), "did you mean packages?");
        check(&json!({"network": "none"}), "known are suite, packages");
        check(&json!({"x".repeat(1000): 1}), "known are");
        check(&json!({"data": ["../x"]}), "not a path inside");
        check(&json!({"data": ["/x"]}), "not a path inside");
        check(&json!({"entrypoint": "sh -c 'x'"}), "list of words");
        check(&json!({"entrypoint": []}), "at least the program");
        check(&json!({"shell": "yes"}), "true or false");
        check(&json!({"env": {"A=B": "c"}}), "cannot be an environment variable");
        check(&json!([]), "table");
    }
}
