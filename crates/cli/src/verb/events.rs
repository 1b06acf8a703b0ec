use std::collections::BTreeMap;
use std::io::Write;

use corral_journal::{Item, ReadOptions, Reader, Record};

use crate::Words;
use crate::app::Globals;
use crate::failure::Failure;
use crate::filter::{Filter, Filters};
use crate::listing::to_terminal;
use crate::moment::{moment, now_ns};
use crate::output::{local, rfc3339_fixed};
use crate::template::{Template, Value};

#[derive(Debug, clap::Args)]
struct Flags {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Format output: json, or a Go template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
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
    let filters = Filters::new(&flags.filter, FILTERS)?;
    let shape = Shape::new(&flags.format)?;
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
        if wanted { shape.print(record).map(Some) } else { Ok(None) }
    })
}

/// How an event is printed.
enum Shape {
    Text,
    Json,
    Template(Template),
}

impl Shape {
    fn new(format: &str) -> Result<Self, Failure> {
        match format {
            "" => Ok(Self::Text),
            "json" | "{{json .}}" => Ok(Self::Json),
            text => Template::of_documents("", text)
                // What asks for what no event has is known before there is one.
                .and_then(|template| template.execute(&document(&Record::default())).map(|_| template))
                .map(Self::Template)
                .map_err(|error| Failure::with_code(64, format!("Error parsing format: {error}"))),
        }
    }

    fn print(&self, record: &Record) -> Result<String, Failure> {
        match self {
            Self::Text => Ok(text(record, &local(record.time_ns, rfc3339_fixed))),
            Self::Json => Ok(message(record)),
            Self::Template(template) => template.execute(&document(record)).map_err(Failure::new),
        }
    }
}

/// Docker's `events.Message` by the names of its fields, which are not those of its JSON.
fn document(record: &Record) -> Value {
    let old = |value| if matches!(record.kind.as_str(), "container" | "image") { value } else { "" };
    let from = record.attributes.get("image").map_or("", String::as_str);
    let fields = serde_json::json!({
        "Status": old(&record.action), "ID": old(&record.id),
        "From": if record.kind == "container" { from } else { "" },
        "Type": record.kind, "Action": record.action,
        "Actor": { "ID": record.id, "Attributes": record.attributes },
        "Scope": "local", "Time": record.time_ns / 1_000_000_000, "TimeNano": record.time_ns,
    });
    Value::document("*events.Message", &fields, to_terminal())
}

/// Prints each record that has a line, as they come; answers 1 if a part of the journal did not verify.
pub(super) fn copy(
    mut reader: Reader,
    mut line: impl FnMut(&Record) -> Result<Option<String>, Failure>,
) -> Result<u8, Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut code = 0;
    loop {
        // A reader that went away is met at the next write.
        let item = reader.next_item(|| drop(out.flush())).map_err(Failure::new)?;
        let written = match item {
            None => break,
            Some(Item::Record(record)) => match line(&record)? {
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
pub(super) fn text(record: &Record, time: &str) -> String {
    let mut text = format!("{time} {} {} {}", record.kind, record.action, record.id);
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

/// The name without its tag.
fn untagged(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Of several values of one filter one must match, of labels all.
fn passes(filters: &Filters<'_>, record: &Record) -> bool {
    let (kind, id) = (record.kind.as_str(), record.id.as_str());
    let attribute = |name: &str| record.attributes.get(name).map_or("", String::as_str);
    let any = |name: &str, matches: &dyn Fn(&str) -> bool| {
        let mut values = filters.values(name).peekable();
        values.peek().is_none() || values.any(matches)
    };
    // Of some of these there are none yet: nothing matches.
    let objects =
        ["config", "container", "daemon", "network", "node", "plugin", "secret", "service", "volume"];
    let named = |of: &str| {
        let called = if of == "container" || of == "daemon" { attribute("name") } else { "" };
        any(of, &|value| kind == of && (id.starts_with(value) || called.starts_with(value)))
    };
    let name = attribute(if kind == "image" { "name" } else { "image" });
    objects.into_iter().all(named)
        && filters.exact("event", &[&record.action, record.verb()])
        && filters.exact("type", &[kind])
        && filters.exact("scope", &["local"])
        && any("image", &|value| [id, name, untagged(name)].contains(&value) && !value.is_empty())
        && filters.labels(&record.attributes)
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
            text(&start, &rfc3339_fixed(start.time_ns)),
            "2026-11-21T23:22:05.000000007Z container start 0fdb48 (image=alpine, name=web)"
        );
        assert_eq!(
            message(&start),
            r#"{"status":"start","id":"0fdb48","from":"alpine","Type":"container","Action":"start","Actor":{"ID":"0fdb48","Attributes":{"image":"alpine","name":"web"}},"scope":"local","time":1795303325,"timeNano":1795303325000000007}"#
        );
        let hostile = record("volume", "create", &[("l", "a\n2026 container die \u{1b}]52;c;x\u{7}")]);
        let text = text(&hostile, "now");
        assert!(!text.contains(char::is_control), "{text}");
    }

    #[test]
    fn templates_name_the_fields() {
        let start = record("container", "start", &[("name", "web"), ("image", "alpine")]);
        let shape =
            Shape::new("{{.Status}} {{.From}} {{.Actor.Attributes.name}} {{.TimeNano}} {{json .Type}}");
        let text = shape.and_then(|shape| shape.print(&start)).expect("a line");
        assert_eq!(text, "start alpine web 1795303325000000007 \"container\"");
        assert!(Shape::new("{{").is_err());
    }

    #[test]
    fn filters_choose() {
        let die = record("container", "die", &[("name", "web"), ("image", "reg:5000/a:1"), ("tier", "x")]);
        let exec = record("container", "exec_create: sh -c", &[("name", "web")]);
        let tag = record("image", "tag", &[("name", "busybox:latest")]);
        let check = |filters: &[&str], record: &Record, expect| {
            let filters: Vec<Filter> = filters.iter().map(|text| text.parse().expect("filter")).collect();
            let known = Filters::new(&filters, FILTERS).expect("known");
            assert_eq!(passes(&known, record), expect, "{filters:?} {}", record.action);
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
    }
}
