use std::collections::BTreeMap;
use std::io::Write;

use corral_journal::{Item, ReadOptions, Reader, Record};

use crate::Words;
use crate::app::Globals;
use crate::failure::{ENGINE, Failure};
use crate::moment::{moment, now_ns};
use crate::output::rfc3339_fixed;

#[derive(Debug, clap::Args)]
struct Flags {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Format output: json; text otherwise
    #[arg(long)]
    format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// `corral events`: the journal as Docker shows it, from now on or from a moment.
pub(super) fn events(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("events", words)? else { return Ok(0) };
    let filters = flags.filter.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let print: fn(&Record) -> String = match flags.format.as_deref() {
        None | Some("") => text,
        Some("json" | "{{json .}}") => message,
        Some(_) => {
            return Err(Failure::with_code(ENGINE, "--format: only json is there yet (see docs/roadmap.md)"));
        }
    };
    let until_ns = flags.until.as_deref().map(moment).transpose()?;
    let options = ReadOptions {
        since_ns: Some(flags.since.as_deref().map(moment).transpose()?.unwrap_or_else(now_ns)),
        until_ns,
        // What is over is not waited for.
        follow: until_ns.is_none_or(|until| until > now_ns()),
    };
    let reader = globals.engine()?.journal().read(options).map_err(Failure::new)?;
    copy(reader, |record| {
        let wanted = !record.is_mark() && passes(&filters, record);
        wanted.then(|| print(record))
    })
}

/// Prints each record that has a line, as they come; answers 1 if a part of the journal did not verify.
pub(super) fn copy(
    mut reader: Reader,
    mut line: impl FnMut(&Record) -> Option<String>,
) -> Result<u8, Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut code = 0;
    loop {
        // A reader that went away is met at the next write.
        let item = reader.next_item(|| drop(out.flush())).map_err(Failure::new)?;
        let written = match item {
            None => break,
            Some(Item::Record(record)) => match line(&record) {
                Some(line) => writeln!(out, "{line}"),
                None => Ok(()),
            },
            Some(Item::Damage(text)) => {
                code = 1;
                Failure::new(format!("journal: {text}; see corral journal verify")).print();
                Ok(())
            }
        };
        if broken(written)? {
            return Ok(141);
        }
    }
    if broken(out.flush())? { Ok(141) } else { Ok(code) }
}

fn broken(written: std::io::Result<()>) -> Result<bool, Failure> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(true),
        written => Ok(written.map(|()| false)?),
    }
}

/// `TIME TYPE ACTION ID (name=value, …)`, as Docker's client prints an event. What an image or a command line chose is
/// printed without control characters, which could forge a line or speak to the terminal.
pub(super) fn text(record: &Record) -> String {
    let mut text =
        format!("{} {} {} {}", rfc3339_fixed(record.time_ns), record.kind, record.action, record.id);
    if !record.attributes.is_empty() {
        let pairs = record.attributes.iter().map(|(name, value)| format!("{name}={value}"));
        text.push_str(&format!(" ({})", pairs.collect::<Vec<_>>().join(", ")));
    }
    let mut clean = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() {
            true => clean.extend(char.escape_default()),
            false => clean.push(char),
        }
    }
    clean
}

/// Docker's `events.Message`, with its keys in its order.
#[derive(serde::Serialize)]
struct Message<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(rename = "Type")]
    kind: &'a str,
    #[serde(rename = "Action")]
    action: &'a str,
    #[serde(rename = "Actor")]
    actor: Actor<'a>,
    scope: &'static str,
    time: u64,
    #[serde(rename = "timeNano")]
    time_nano: u64,
}

#[derive(serde::Serialize)]
struct Actor<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    #[serde(rename = "Attributes")]
    attributes: &'a BTreeMap<String, String>,
}

/// An event as Docker's JSON.
fn message(record: &Record) -> String {
    // The keys of old, which Docker still writes for these two.
    let old = |value| matches!(record.kind.as_str(), "container" | "image").then_some(value);
    let from = record.attributes.get("image").map_or("", String::as_str);
    let message = Message {
        status: old(record.action.as_str()),
        id: old(record.id.as_str()),
        from: (record.kind == "container" && !from.is_empty()).then_some(from),
        kind: &record.kind,
        action: &record.action,
        actor: Actor { id: &record.id, attributes: &record.attributes },
        scope: "local",
        time: record.time_ns / 1_000_000_000,
        time_nano: record.time_ns,
    };
    serde_json::to_string(&message).expect("strings and numbers always have a form in JSON")
}

/// One `--filter KEY=VALUE`.
#[derive(Debug)]
struct Filter {
    key: Key,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Container,
    Daemon,
    Event,
    Image,
    Label,
    Scope,
    Type,
    Volume,
    /// Objects that there are none of yet: nothing matches.
    Absent(&'static str),
}

impl Filter {
    fn parse(text: &str) -> Result<Self, Failure> {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Failure::with_code(ENGINE, format!("invalid argument {text:?} for \"-f, --filter\" flag: bad format of filter (expected name=value)"))
        })?;
        let key = match key.trim().to_ascii_lowercase().as_str() {
            "container" => Key::Container,
            "daemon" => Key::Daemon,
            "event" => Key::Event,
            "image" => Key::Image,
            "label" => Key::Label,
            "scope" => Key::Scope,
            "type" => Key::Type,
            "volume" => Key::Volume,
            "network" => Key::Absent("network"),
            "plugin" => Key::Absent("plugin"),
            "service" => Key::Absent("service"),
            "node" => Key::Absent("node"),
            "secret" => Key::Absent("secret"),
            "config" => Key::Absent("config"),
            _ => return Err(Failure::new(format!("invalid filter '{}'", key.trim()))),
        };
        Ok(Self { key, value: value.trim().to_owned() })
    }

    fn matches(&self, record: &Record) -> bool {
        let value = self.value.as_str();
        let named = |kind: &str| {
            let name = record.attributes.get("name").map_or("", String::as_str);
            record.kind == kind && [record.id.as_str(), name].iter().any(|text| text.starts_with(value))
        };
        match self.key {
            Key::Container => named("container"),
            Key::Daemon => named("daemon"),
            Key::Volume => record.kind == "volume" && record.id.starts_with(value),
            Key::Event => record.action == value || record.verb() == value,
            Key::Type => record.kind == value,
            Key::Scope => value == "local",
            Key::Label => match value.split_once('=') {
                Some((label, value)) => record.attributes.get(label).is_some_and(|found| found == value),
                None => record.attributes.contains_key(value),
            },
            Key::Image => {
                let name = if record.kind == "image" { "name" } else { "image" };
                let name = record.attributes.get(name).map_or("", String::as_str);
                [record.id.as_str(), name, untagged(name)].contains(&value) && !value.is_empty()
            }
            Key::Absent(kind) => record.kind == kind && record.id.starts_with(value),
        }
    }
}

/// The name without its tag.
fn untagged(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

/// Of several filters of one key one must match, and of each key one. Labels must all be there.
fn passes(filters: &[Filter], record: &Record) -> bool {
    let mut met: BTreeMap<Key, bool> = BTreeMap::new();
    for filter in filters {
        let matches = filter.matches(record);
        let met = met.entry(filter.key).or_insert(filter.key == Key::Label);
        *met = if filter.key == Key::Label { *met && matches } else { *met || matches };
    }
    met.into_values().all(|met| met)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: &str, action: &str, attributes: &[(&str, &str)]) -> Record {
        let attributes = attributes.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Record {
            lane: 0,
            seq: 1,
            time_ns: 1_795_303_325_000_000_007,
            kind: kind.into(),
            action: action.into(),
            id: "0fdb48".into(),
            attributes: attributes.collect(),
        }
    }

    #[test]
    fn events_look_as_dockers() {
        let start = record("container", "start", &[("name", "web"), ("image", "alpine")]);
        assert_eq!(
            text(&start),
            "2026-11-21T23:22:05.000000007Z container start 0fdb48 (image=alpine, name=web)"
        );
        assert_eq!(
            message(&start),
            r#"{"status":"start","id":"0fdb48","from":"alpine","Type":"container","Action":"start","Actor":{"ID":"0fdb48","Attributes":{"image":"alpine","name":"web"}},"scope":"local","time":1795303325,"timeNano":1795303325000000007}"#
        );
        let hostile = record("volume", "create", &[("l", "a\n2026 container die \u{1b}]52;c;x\u{7}")]);
        assert!(!text(&hostile).contains(char::is_control), "{}", text(&hostile));
    }

    #[test]
    fn filters_choose() {
        let die = record("container", "die", &[("name", "web"), ("image", "reg:5000/a:1"), ("tier", "x")]);
        let exec = record("container", "exec_create: sh -c", &[("name", "web")]);
        let tag = record("image", "tag", &[("name", "busybox:latest")]);
        let check = |filters: &[&str], record: &Record, expect| {
            let filters: Vec<_> = filters.iter().map(|text| Filter::parse(text).expect("filter")).collect();
            assert_eq!(passes(&filters, record), expect, "{filters:?} {}", record.action);
        };
        check(&[], &die, true);
        for good in [
            "container=web",
            "container=0fdb",
            "event=die",
            "type=container",
            "image=reg:5000/a:1",
            "scope=local",
        ] {
            check(&[good], &die, true);
        }
        for bad in
            ["container=x", "event=start", "type=image", "image=b", "label=none", "network=n", "volume=w"]
        {
            check(&[bad], &die, false);
        }
        check(&["image=reg:5000/a"], &die, true);
        check(&["label=tier", "label=tier=x"], &die, true);
        check(&["label=tier", "label=tier=y"], &die, false);
        check(&["event=start", "event=die"], &die, true);
        check(&["event=die", "container=no"], &die, false);
        check(&["event=exec_create"], &exec, true);
        check(&["event=exec_create: sh -c"], &exec, true);
        check(&["event=exec"], &exec, false);
        check(&["image=busybox"], &tag, true);
        check(&["container=0fdb"], &tag, false);
        for bad in ["x", "foo=bar"] {
            assert!(Filter::parse(bad).is_err(), "{bad}");
        }
    }
}
