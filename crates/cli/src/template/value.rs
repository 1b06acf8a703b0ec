use std::collections::BTreeMap;
use std::rc::Rc;

use super::order;

/// What a template works on: JSON, told apart as Go tells its types apart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Nothing at all: what a map answers for a key that it lacks.
    Nothing,
    /// A pointer to nothing.
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    List(Rc<[Self]>),
    Object(Rc<Object>),
    /// A list or map that Docker never made: `null` in JSON, and the empty one inside for all else.
    Unmade(Rc<Self>),
}

/// Named values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    pub(super) kind: Kind,
    pub(super) fields: Vec<(Rc<str>, Value)>,
}

/// What Go type an object stands for, which decides what an unknown name means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A document's part, by the key that it stands below: a name that Docker does not know there is an error.
    Struct(&'static str),
    /// A map: an unknown name is this.
    Map(Value),
    /// A row of a listing, by the name that errors give it, with its labels.
    Row(&'static str, BTreeMap<String, String>),
    /// The heads of a listing's columns.
    Head,
}

/// The keys under which Docker's documents have a map, and what such a map answers for a key that it lacks.
fn map_below(key: &str) -> Option<Value> {
    match key {
        "Labels" | "Attributes" | "Annotations" | "Sysctls" | "StorageOpt" | "Options" | "Tmpfs"
        | "DriverOpts" | "Details" => Some(Value::from("")),
        "Ports" | "PortBindings" => Some(Value::List(Rc::new([]))),
        "Networks" | "Runtimes" => Some(Value::Nil),
        "Volumes" | "ExposedPorts" => Some(Value::object(Kind::Struct(""), Vec::new())),
        _ => None,
    }
}

/// What Docker's types have under a key where its JSON has nothing: text, a list or a map, or a pointer to nothing.
pub(super) fn zero(key: &str) -> Value {
    let empty = match key {
        "StopSignal" | "OsVersion" | "Variant" => return Value::from(""),
        "ArgsEscaped" => return Value::Bool(false),
        "Aliases"
        | "Args"
        | "Binds"
        | "CapAdd"
        | "CapDrop"
        | "Cmd"
        | "DNSNames"
        | "DeviceCgroupRules"
        | "DeviceRequests"
        | "Entrypoint"
        | "Env"
        | "ExecIDs"
        | "ExtraHosts"
        | "GroupAdd"
        | "Links"
        | "OnBuild"
        | "SecondaryIPAddresses"
        | "SecondaryIPv6Addresses"
        | "SecurityOpt"
        | "Shell"
        | "VolumesFrom" => Value::List(Rc::new([])),
        _ => match map_below(key) {
            Some(zero) => Value::object(Kind::Map(zero), Vec::new()),
            None => return Value::Nil,
        },
    };
    Value::Unmade(Rc::new(empty))
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl Value {
    pub(super) fn object(kind: Kind, fields: Vec<(Rc<str>, Self)>) -> Self {
        Self::Object(Rc::new(Object { kind, fields }))
    }

    /// A document of this kind (`container`, `image`, …), its fields in Docker's order. Text in it may come from an
    /// image or a container; `clean` makes it harmless to a terminal.
    pub(crate) fn document(kind: &str, json: &serde_json::Value, clean: bool) -> Self {
        Self::below(kind, json, clean)
    }

    /// A row of a listing: named cells, and labels that `.Label "key"` answers.
    pub(crate) fn row(
        kind: &'static str,
        cells: Vec<(&str, Self)>,
        labels: BTreeMap<String, String>,
    ) -> Self {
        let mut fields: Vec<(Rc<str>, Self)> =
            cells.into_iter().map(|(name, cell)| (name.into(), cell)).collect();
        // Docker's rows become JSON by way of a map.
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self::object(Kind::Row(kind, labels), fields)
    }

    /// The heads of a listing's columns, by the name of the cell.
    pub(crate) fn head(heads: &[(&str, &str)]) -> Self {
        let fields = heads.iter().map(|(name, head)| (Rc::from(*name), Self::from(*head))).collect();
        Self::object(Kind::Head, fields)
    }

    fn below(key: &str, json: &serde_json::Value, clean: bool) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => zero(key),
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => Self::Int(whole),
                None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) if clean => Self::from(harmless(text)),
            Json::String(text) => Self::from(text.as_str()),
            Json::Array(items) => {
                Self::List(items.iter().map(|item| Self::below(key, item, clean)).collect())
            }
            Json::Object(map) => {
                let fields =
                    map.iter().map(|(name, value)| (Rc::from(&**name), Self::below(name, value, clean)));
                let mut fields: Vec<(Rc<str>, Self)> = fields.collect();
                let kind = match map_below(key) {
                    Some(zero) => {
                        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
                        Kind::Map(zero)
                    }
                    None => {
                        fields.sort_by(|(a, _), (b, _)| order::rank(key, a).cmp(&order::rank(key, b)));
                        Kind::Struct(order::key(key))
                    }
                };
                Self::object(kind, fields)
            }
        }
    }

    /// What a function or a range sees of it.
    pub(super) fn made(&self) -> &Self {
        if let Self::Unmade(empty) = self { empty } else { self }
    }

    /// Go's truth: not the zero value, not empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nothing | Self::Nil | Self::Unmade(_) => false,
            Self::Bool(value) => *value,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Object(object) => !matches!(object.kind, Kind::Map(_)) || !object.fields.is_empty(),
        }
    }

    /// The type as errors name it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nothing | Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(items) if items.iter().all(|item| matches!(item, Self::Text(_))) => "[]string",
            Self::List(_) => "[]interface {}",
            Self::Unmade(empty) => empty.type_name(),
            Self::Object(object) => match object.kind {
                Kind::Row(name, _) => name,
                Kind::Head => "formatter.SubHeaderContext",
                Kind::Struct(_) | Kind::Map(_) => "map[string]interface {}",
            },
        }
    }

    /// As Go's `%v` prints it.
    pub(super) fn print(&self, out: &mut String) {
        match self {
            Self::Nothing => out.push_str("<no value>"),
            Self::Nil => out.push_str("<nil>"),
            Self::Unmade(empty) => empty.print(out),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(number) => out.push_str(&number.to_string()),
            Self::Float(number) => out.push_str(&float(*number, 21)),
            Self::Text(text) => out.push_str(text),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { " " } else { "" });
                    item.print(out);
                }
                out.push(']');
            }
            Self::Object(object) => {
                let is_map = matches!(object.kind, Kind::Map(_) | Kind::Head);
                out.push_str(if is_map { "map[" } else { "{" });
                for (at, (name, value)) in object.fields.iter().enumerate() {
                    out.push_str(if at > 0 { " " } else { "" });
                    if is_map {
                        out.push_str(name);
                        out.push(':');
                    }
                    value.print(out);
                }
                out.push(if is_map { ']' } else { '}' });
            }
        }
    }

    /// As Docker's client shows documents: JSON on many lines, indented by four.
    pub(crate) fn indented(&self, depth: usize, out: &mut String) {
        let (open, close, length) = match self {
            Self::List(items) => ('[', ']', items.len()),
            Self::Object(object) => ('{', '}', object.fields.len()),
            other => return other.json(false, out),
        };
        out.push(open);
        for at in 0..length {
            out.push_str(if at > 0 { ",\n" } else { "\n" });
            out.push_str(&"    ".repeat(depth + 1));
            match self {
                Self::List(items) => items[at].indented(depth + 1, out),
                Self::Object(object) => {
                    let (name, value) = &object.fields[at];
                    json_text(name, false, out);
                    out.push_str(": ");
                    value.indented(depth + 1, out);
                }
                _ => {}
            }
        }
        if length > 0 {
            out.push('\n');
            out.push_str(&"    ".repeat(depth));
        }
        out.push(close);
    }

    /// As Go's encoding/json writes it. Rows of a listing escape what HTML knows, documents do not.
    pub(crate) fn json(&self, html: bool, out: &mut String) {
        match self {
            Self::Nothing | Self::Nil | Self::Unmade(_) => out.push_str("null"),
            Self::Bool(_) | Self::Int(_) => self.print(out),
            Self::Float(number) => out.push_str(&float(*number, 21)),
            Self::Text(text) => json_text(text, html, out),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    item.json(html, out);
                }
                out.push(']');
            }
            Self::Object(object) => {
                let html = html || matches!(object.kind, Kind::Row(..));
                out.push('{');
                for (at, (name, value)) in object.fields.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    json_text(name, html, out);
                    out.push(':');
                    value.json(html, out);
                }
                out.push('}');
            }
        }
    }
}

/// Text without what a terminal obeys: controls but line feeds and tabs are spelled out.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn json_text(text: &str, html: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '<' | '>' | '&' if !html => out.push(c),
            // Go leaves the controls beyond ASCII as they are; a terminal would obey some of them.
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The shortest digits, with an exponent for what is smaller than 1e-4 or has more than `most` digits before the
/// point (Go's `%v`).
pub(super) fn float(number: f64, most: i32) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..most).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{number}")
}
