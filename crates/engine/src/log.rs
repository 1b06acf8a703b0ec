//! Log drivers and their options, with Docker's names and messages, made into a [`Log`] that leaves nothing open.

use std::path::Path;

use corral_image::Image;
use corral_spec::record::{Log, LogDriver, Process};
use corral_spec::{ContainerId, ContainerSpec};

use crate::Error;

/// Of the driver `local`, which is the default: 32 MiB, and three files beside the current one.
const LOCAL: (u64, u32) = (32 << 20, 3);
/// systemd's door for log entries.
const JOURNALD: &str = "/run/systemd/journal/socket";

/// Of which container the log is.
pub(crate) struct Whose<'a> {
    pub(crate) id: &'a ContainerId,
    pub(crate) name: &'a str,
    pub(crate) image: &'a Image,
    pub(crate) image_name: &'a str,
}

/// The options of a driver, as they were given.
struct Options<'a> {
    driver: LogDriver,
    given: &'a [(String, String)],
}

/// Decides how the log is kept.
pub(crate) fn plan(whose: &Whose<'_>, spec: &ContainerSpec, process: &Process) -> Result<Log, Error> {
    let driver = spec.log_driver.unwrap_or_default();
    let options = Options { driver, given: &spec.log_opts };
    options.check()?;
    let (max_size, max_files) = options.sizes()?;
    if driver == LogDriver::Journald && !Path::new(JOURNALD).exists() {
        return Err(Error::Invalid(format!(
            "--log-driver journald: journald is not enabled on this host ({JOURNALD} is not there); \
             choose local or json-file"
        )));
    }
    let attributes = match driver {
        LogDriver::JsonFile => options.attributes(whose, spec, process)?,
        LogDriver::Journald => fields(&options, whose, spec, process)?,
        LogDriver::Local | LogDriver::None => Vec::new(),
    };
    Ok(Log { driver, max_size, max_files, attributes })
}

fn invalid(message: String) -> Error {
    Error::Invalid(message)
}

impl Options<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.given.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Refuses what the driver does not know, and what this version does not do.
    fn check(&self) -> Result<(), Error> {
        let driver = self.driver.as_str();
        for (name, value) in self.given {
            let known: &[&str] = match self.driver {
                LogDriver::Local => &["max-size", "max-file", "compress", "mode"],
                LogDriver::JsonFile => &["max-size", "max-file", "compress", "mode", "labels", "env", "tag"],
                LogDriver::Journald => &["mode", "labels", "env", "tag"],
                LogDriver::None => &[],
            };
            match name.as_str() {
                name if !known.contains(&name) => {
                    let later = ["labels-regex", "env-regex"].contains(&name);
                    let why = if later { " (known and not supported yet)" } else { "" };
                    return Err(invalid(format!("unknown log opt '{name}' for {driver} log driver{why}")));
                }
                "compress" if value != "false" => {
                    return Err(invalid(format!(
                        "log opt compress={value}: rotated files are not compressed yet"
                    )));
                }
                "mode" if value != "blocking" => {
                    return Err(invalid(format!("log opt mode={value}: only blocking is there")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Bytes of a file, and how many rotated ones are kept.
    fn sizes(&self) -> Result<(u64, u32), Error> {
        let default = match self.driver {
            LogDriver::JsonFile => (u64::MAX, 0),
            _ => LOCAL,
        };
        let size = match self.get("max-size") {
            None | Some("-1") => default.0,
            Some(text) => human_size(text)
                .filter(|size| *size > 0)
                .ok_or_else(|| invalid(format!("invalid value for max-size: {text:?} (such as 10m)")))?,
        };
        let files = match self.get("max-file") {
            None => default.1,
            Some(text) => match text.parse::<u32>() {
                Ok(0) => return Err(invalid("max-file cannot be less than 1".into())),
                Ok(files) => files - 1,
                Err(_) => return Err(invalid(format!("invalid value for max-file: {text:?} is no number"))),
            },
        };
        Ok((size, files))
    }

    /// The labels and variables that were asked for, and the tag.
    fn attributes(
        &self,
        whose: &Whose<'_>,
        spec: &ContainerSpec,
        process: &Process,
    ) -> Result<Vec<(String, String)>, Error> {
        let mut found = Vec::new();
        let names = |option| self.get(option).unwrap_or_default().split(',').filter(|name| !name.is_empty());
        for name in names("labels") {
            let given = spec.labels.iter().rev().find(|(label, _)| label == name).map(|(_, value)| value);
            let value = given.or_else(|| whose.image.config.config.labels.get(name));
            found.extend(value.map(|value| (name.to_owned(), value.clone())));
        }
        for name in names("env") {
            let value = process.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
            found.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        }
        if let Some(tag) = self.get("tag") {
            found.push(("tag".to_owned(), expand(tag, whose)?));
        }
        // As Go writes a map.
        found.sort();
        Ok(found)
    }
}

/// What stands beside each entry in systemd's journal.
fn fields(
    options: &Options<'_>,
    whose: &Whose<'_>,
    spec: &ContainerSpec,
    process: &Process,
) -> Result<Vec<(String, String)>, Error> {
    let tag = expand(options.get("tag").unwrap_or("{{.ID}}"), whose)?;
    let own = [
        ("CONTAINER_ID", whose.id.short()),
        ("CONTAINER_ID_FULL", whose.id.as_str()),
        ("CONTAINER_NAME", whose.name),
        ("CONTAINER_TAG", tag.as_str()),
        ("IMAGE_NAME", whose.image_name),
        ("SYSLOG_IDENTIFIER", tag.as_str()),
    ];
    let mut fields: Vec<_> = own.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for (name, value) in options.attributes(whose, spec, process)? {
        let name: String = name.to_ascii_uppercase().chars().map(field_char).collect();
        let name = name.trim_start_matches(|first: char| first == '_' || first.is_ascii_digit());
        if !name.is_empty() && name != "TAG" && fields.iter().all(|(known, _)| known != name) {
            fields.push((name.to_owned(), value));
        }
    }
    Ok(fields)
}

fn field_char(char: char) -> char {
    if char.is_ascii_uppercase() || char.is_ascii_digit() { char } else { '_' }
}

/// A tag with the names that Docker's templates have for a container.
fn expand(tag: &str, whose: &Whose<'_>) -> Result<String, Error> {
    let image = whose.image.id.to_string();
    let known = [
        ("{{.ID}}", whose.id.short()),
        ("{{.FullID}}", whose.id.as_str()),
        ("{{.Name}}", whose.name),
        ("{{.ImageName}}", whose.image_name),
        ("{{.ImageFullID}}", image.as_str()),
    ];
    let mut text = tag.to_owned();
    for (name, value) in known {
        text = text.replace(name, value);
    }
    match tag.contains("{{") && text.contains("{{") {
        true => Err(invalid(format!(
            "log opt tag={tag}: only {{{{.ID}}}}, {{{{.FullID}}}}, {{{{.Name}}}}, {{{{.ImageName}}}} and {{{{.ImageFullID}}}} are there"
        ))),
        false => Ok(text),
    }
}

/// A size as Docker's log drivers read it: powers of 1000.
fn human_size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let power = match lower[digits.len()..].trim_end_matches('b') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1000_u64.pow(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(driver: LogDriver, given: &[(&str, &str)]) -> Result<(u64, u32), String> {
        let given: Vec<_> = given.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let options = Options { driver, given: &given };
        options.check().and_then(|()| options.sizes()).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_dockers() {
        assert_eq!(sizes(LogDriver::Local, &[]), Ok(LOCAL));
        assert_eq!(sizes(LogDriver::JsonFile, &[]), Ok((u64::MAX, 0)));
        let given = [("max-size", "5m"), ("max-size", "10k"), ("max-file", "3"), ("compress", "false")];
        assert_eq!(sizes(LogDriver::JsonFile, &given), Ok((10_000, 2)));
        for (driver, given, expect) in [
            (LogDriver::JsonFile, ("foo", "1"), "unknown log opt 'foo' for json-file log driver"),
            (LogDriver::Local, ("tag", "x"), "unknown log opt 'tag' for local log driver"),
            (LogDriver::None, ("max-size", "1m"), "unknown log opt 'max-size' for none log driver"),
            (LogDriver::JsonFile, ("max-size", "0"), "invalid value for max-size: \"0\" (such as 10m)"),
            (LogDriver::JsonFile, ("max-size", "1x"), "invalid value for max-size: \"1x\" (such as 10m)"),
            (LogDriver::Local, ("max-file", "0"), "max-file cannot be less than 1"),
            (LogDriver::Local, ("max-file", "-1"), "invalid value for max-file: \"-1\" is no number"),
            (
                LogDriver::Local,
                ("compress", "true"),
                "log opt compress=true: rotated files are not compressed yet",
            ),
            (LogDriver::Local, ("mode", "non-blocking"), "log opt mode=non-blocking: only blocking is there"),
        ] {
            assert_eq!(sizes(driver, &[given]), Err(expect.to_owned()));
        }
    }

    #[test]
    fn sizes_are_powers_of_1000() {
        for (text, size) in
            [("0", 0), ("512", 512), ("10k", 10_000), ("3MB", 3_000_000), ("1g", 1_000_000_000)]
        {
            assert_eq!(human_size(text), Some(size), "{text}");
        }
        for bad in ["", "m", "-1", "1.5q", "99999999t"] {
            assert_eq!(human_size(bad), None, "{bad}");
        }
    }
}
