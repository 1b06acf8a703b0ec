use std::cmp::Ordering;
use std::rc::Rc;

use super::Value;
use super::printf::printf;
use super::value::Kind;

/// Bytes that one function may make.
const MAX_TEXT: usize = 16 << 20;

/// What a function wants in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    Any,
    Text,
    Int,
    Texts,
}

impl Parameter {
    /// The type as Go names it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Text => "string",
            Self::Int => "int",
            Self::Texts => "[]string",
        }
    }

    /// Why a value cannot be given here.
    pub(super) fn refuses(self, value: &Value) -> Option<String> {
        let fits = match (self, value.made()) {
            (Self::Any, _) | (Self::Text, Value::Text(_)) | (Self::Int, Value::Int(_)) => true,
            (Self::Texts, Value::List(items)) => items.iter().all(|item| matches!(item, Value::Text(_))),
            _ => false,
        };
        if fits {
            return None;
        }
        Some(match value {
            Value::Nothing => format!("invalid value; expected {}", self.name()),
            _ => format!("wrong type for value; expected {}; got {}", self.name(), value.type_name()),
        })
    }
}

/// What a function takes: its first parameters, and whether any more may follow.
pub(super) struct Signature {
    parameters: &'static [Parameter],
    more: bool,
}

impl Signature {
    /// Whether so many arguments fit; how many do otherwise.
    pub(super) fn takes(&self, given: usize) -> Result<(), String> {
        let wanted = self.parameters.len();
        match (given.cmp(&wanted), self.more) {
            (Ordering::Equal, _) | (Ordering::Greater, true) => Ok(()),
            (_, true) => Err(format!("at least {wanted}")),
            (_, false) => Err(wanted.to_string()),
        }
    }

    pub(super) fn parameter(&self, place: usize) -> Parameter {
        self.parameters.get(place).copied().unwrap_or(Parameter::Any)
    }
}

/// Name, first parameters, whether more may follow: Go's own, and those that Docker adds.
const FUNCTIONS: &[(&str, &[Parameter], bool)] = {
    use Parameter::{Any, Int, Text, Texts};
    &[
        ("and", &[Any], true),
        ("eq", &[Any], true),
        ("ge", &[Any, Any], false),
        ("gt", &[Any, Any], false),
        ("html", &[], true),
        ("index", &[Any], true),
        ("join", &[Texts, Text], false),
        ("json", &[Any], false),
        ("le", &[Any, Any], false),
        ("len", &[Any], false),
        ("lower", &[Text], false),
        ("lt", &[Any, Any], false),
        ("ne", &[Any, Any], false),
        ("not", &[Any], false),
        ("or", &[Any], true),
        ("pad", &[Text, Int, Int], false),
        ("print", &[], true),
        ("printf", &[Text], true),
        ("println", &[], true),
        ("slice", &[Any], true),
        ("split", &[Text, Text], false),
        ("title", &[Text], false),
        ("truncate", &[Text, Int], false),
        ("upper", &[Text], false),
        ("urlquery", &[], true),
    ]
};

pub(super) fn exists(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name)
}

pub(super) fn signature(name: &str) -> Signature {
    let found = FUNCTIONS.iter().find(|(known, ..)| *known == name);
    // The parser let only known ones pass.
    found.map_or(Signature { parameters: &[], more: true }, |(_, parameters, more)| Signature {
        parameters,
        more: *more,
    })
}

/// Whether a function leaves the head of a column as it is.
pub(super) fn keeps_heads(name: &str) -> bool {
    matches!(name, "json" | "split" | "join" | "title" | "lower" | "upper" | "truncate")
}

/// Calls a function with as many arguments as it takes, and of the types that it wants.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    match (name, arguments) {
        ("json", [value]) => {
            let mut out = String::new();
            value.json(false, &mut out);
            Ok(out.into())
        }
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("eq", [_]) => Err("missing argument for comparison".into()),
        ("eq", [first, others @ ..]) => {
            for other in others {
                if equal(first, other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        ("ne", [a, b]) => Ok(Value::Bool(!equal(a, b)?)),
        ("lt" | "le" | "gt" | "ge", [a, b]) => {
            let order = compare(a, b)?;
            Ok(Value::Bool(match name {
                "lt" => order == Some(Ordering::Less),
                "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                "gt" => order == Some(Ordering::Greater),
                _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            }))
        }
        ("len", [value]) => len(value).map(Value::from),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| index(&value, key)),
        ("slice", [value, bounds @ ..]) => slice(value, bounds),
        ("print", _) => Ok(print(arguments).into()),
        ("println", _) => Ok(println(arguments).into()),
        ("html", _) => Ok(html(&print(arguments)).into()),
        ("urlquery", _) => Ok(urlquery(&print(arguments)).into()),
        ("printf", [Value::Text(format), values @ ..]) => Ok(printf(format, values).into()),
        _ => text(name, arguments),
    }
}

/// The functions that take text.
fn text(name: &str, arguments: &[Value]) -> Result<Value, String> {
    match (name, arguments) {
        ("upper", [Value::Text(text)]) => Ok(text.to_uppercase().into()),
        ("lower", [Value::Text(text)]) => Ok(text.to_lowercase().into()),
        ("title", [Value::Text(text)]) => Ok(title(text).into()),
        ("split", [Value::Text(text), Value::Text(by)]) if by.is_empty() => {
            Ok(Value::List(text.chars().map(|c| c.to_string().into()).collect()))
        }
        ("split", [Value::Text(text), Value::Text(by)]) => {
            Ok(Value::List(text.split(&**by).map(Value::from).collect()))
        }
        ("join", [Value::List(items), Value::Text(by)]) => {
            let texts = items.iter().filter_map(|item| match item {
                Value::Text(text) => Some(&**text),
                _ => None,
            });
            Ok(texts.collect::<Vec<_>>().join(by).into())
        }
        ("pad", [Value::Text(text), Value::Int(before), Value::Int(after)]) => {
            if text.is_empty() {
                return Ok(text.to_string().into());
            }
            let spaces = |count: i64| match usize::try_from(count) {
                Ok(count) if count <= MAX_TEXT => Ok(" ".repeat(count)),
                Ok(_) => Err(format!("more than {} MiB of padding", MAX_TEXT >> 20)),
                Err(_) => Err("strings: negative Repeat count".to_owned()),
            };
            Ok(format!("{}{text}{}", spaces(*before)?, spaces(*after)?).into())
        }
        ("truncate", [Value::Text(text), Value::Int(length)]) => {
            let Ok(length) = usize::try_from(*length) else {
                return Err(format!("runtime error: slice bounds out of range [:{length}]"));
            };
            // A character that is cut is left out.
            let whole = (0..=length.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
            Ok(text[..whole.unwrap_or(0)].into())
        }
        _ => Err("unknown function".into()),
    }
}

/// Upper case for the first letter of each word, as Go's `strings.Title` sees words.
fn title(text: &str) -> String {
    let mut begins = true;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if begins {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        begins = if c.is_ascii() { !(c.is_ascii_alphanumeric() || c == '_') } else { c.is_whitespace() };
    }
    out
}

/// Go's basic kinds.
#[derive(PartialEq, Eq)]
enum Basic {
    Bool,
    Int,
    Float,
    Text,
    /// A list, a map, a struct, or nothing.
    None,
}

fn basic(value: &Value) -> Basic {
    match value {
        Value::Bool(_) => Basic::Bool,
        Value::Int(_) => Basic::Int,
        Value::Float(_) => Basic::Float,
        Value::Text(_) => Basic::Text,
        _ => Basic::None,
    }
}

/// The order of two values of one basic kind that has an order.
fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
        _ if basic(a) != Basic::None && basic(b) != Basic::None && basic(a) != basic(b) => {
            Err("incompatible types for comparison".into())
        }
        _ => Err("invalid type for comparison".into()),
    }
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    let nothing = |value: &Value| matches!(value, Value::Nothing | Value::Nil);
    match (a, b) {
        (a, b) if nothing(a) || nothing(b) => Ok(nothing(a) && nothing(b)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (a, b) if basic(a) != basic(b) => Err("incompatible types for comparison".into()),
        (Value::List(_) | Value::Object(_), _) => {
            let (shown, other) = (described(a), described(b));
            let (kind, other_kind) = (a.type_name(), b.type_name());
            Err(format!("non-comparable types {shown}: {kind}, {other_kind}: {other}"))
        }
        _ => Ok(compare(a, b)? == Some(Ordering::Equal)),
    }
}

fn described(value: &Value) -> String {
    let mut text = String::new();
    value.print(&mut text);
    text
}

fn len(value: &Value) -> Result<usize, String> {
    match value {
        Value::Text(text) => Ok(text.len()),
        Value::List(items) => Ok(items.len()),
        Value::Object(object) if !matches!(object.kind, Kind::Row(..)) => Ok(object.fields.len()),
        Value::Nothing | Value::Nil => Err("len of nil pointer".into()),
        other => Err(format!("len of type {}", other.type_name())),
    }
}

/// A place in something of this length; its end counts only for a slice.
fn place(key: &Value, length: usize, end_counts: bool) -> Result<usize, String> {
    match key {
        Value::Int(at) => match usize::try_from(*at) {
            Ok(at) if at < length || (end_counts && at == length) => Ok(at),
            _ => Err(format!("index out of range: {at}")),
        },
        Value::Nothing | Value::Nil => Err("cannot index slice/array with nil".into()),
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match value {
        Value::Text(text) => Ok(Value::Int(i64::from(text.as_bytes()[place(key, text.len(), false)?]))),
        Value::List(items) => Ok(items[place(key, items.len(), false)?].clone()),
        Value::Object(object) if !matches!(object.kind, Kind::Row(..)) => match key {
            Value::Text(key) => Ok(match (object.get(key), &object.kind) {
                (Some(found), _) => found.clone(),
                (None, Kind::Map(zero)) => zero.clone(),
                (None, _) => Value::Nothing,
            }),
            Value::Nothing | Value::Nil => Err("value is nil; should be of type string".into()),
            other => Err(format!("value has type {}; should be string", other.type_name())),
        },
        Value::Nothing => Err("index of untyped nil".into()),
        Value::Nil => Err("index of nil pointer".into()),
        other => Err(format!("can't index item of type {}", other.type_name())),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Nothing => return Err("slice of untyped nil".into()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    if bounds.len() == 3 && matches!(value, Value::Text(_)) {
        return Err("cannot 3-index slice a string".into());
    }
    let mut places = [0, length, length];
    for (at, bound) in bounds.iter().enumerate() {
        places[at] = place(bound, length, true)?;
    }
    let [from, to, capacity] = places;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    if bounds.len() == 3 && to > capacity {
        return Err(format!("invalid slice index: {to} > {capacity}"));
    }
    Ok(match value {
        // A character that is cut is left out.
        Value::Text(text) => text.get(from..to).unwrap_or_default().into(),
        Value::List(items) => Value::List(Rc::from(&items[from..to])),
        _ => Value::Nothing,
    })
}

/// Go's `Sprint`: a space between two values of which neither is text.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        let texts = |value: &Value| matches!(value, Value::Text(_));
        if at > 0 && !texts(value) && !texts(&values[at - 1]) {
            out.push(' ');
        }
        nil_or(value).print(&mut out);
    }
    out
}

/// Go's `Sprintln`: a space between any two.
fn println(values: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        out.push_str(if at > 0 { " " } else { "" });
        nil_or(value).print(&mut out);
    }
    out.push('\n');
    out
}

/// Nothing, once it is a function's argument, is nil.
fn nil_or(value: &Value) -> &Value {
    if *value == Value::Nothing { &Value::Nil } else { value }
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn urlquery(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}
