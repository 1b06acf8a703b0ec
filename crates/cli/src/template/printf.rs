use std::iter::Peekable;
use std::str::Chars;

use super::Value;
use super::value::float;

/// A width or a precision beyond this is refused, as Go refuses it.
const MAX_WIDTH: usize = 1_000_000;

/// What stands between `%` and the verb.
#[derive(Default)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Go's `fmt.Sprintf`, with its words for what does not fit.
pub(super) fn printf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let flags = flags(&mut chars, &mut values, &mut out);
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match values.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => one(verb, &flags, value, &mut out),
            },
        }
    }
    let left: Vec<String> = values.map(|value| described(value, true)).collect();
    if !left.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", left.join(", ")));
    }
    out
}

fn flags<'v>(
    chars: &mut Peekable<Chars<'_>>,
    values: &mut impl Iterator<Item = &'v Value>,
    out: &mut String,
) -> Flags {
    let mut flags = Flags::default();
    while let Some(c) = chars.peek() {
        match c {
            '-' => flags.minus = true,
            '+' => flags.plus = true,
            '#' => flags.sharp = true,
            ' ' => flags.space = true,
            '0' => flags.zero = true,
            _ => break,
        }
        chars.next();
    }
    if chars.peek() == Some(&'*') {
        chars.next();
        match values.next() {
            Some(Value::Int(width)) if width.unsigned_abs() <= MAX_WIDTH as u64 => {
                flags.minus |= *width < 0;
                flags.width = usize::try_from(width.unsigned_abs()).ok();
            }
            _ => out.push_str("%!(BADWIDTH)"),
        }
    } else {
        flags.width = number(chars);
    }
    if chars.peek() == Some(&'.') {
        chars.next();
        flags.precision = Some(number(chars).unwrap_or(0));
    }
    flags
}

fn number(chars: &mut Peekable<Chars<'_>>) -> Option<usize> {
    let mut found = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        found = Some((found.unwrap_or(0) * 10 + digit as usize).min(MAX_WIDTH));
    }
    found
}

fn one(verb: char, flags: &Flags, value: &Value, out: &mut String) {
    let value = if *value == Value::Nothing { &Value::Nil } else { value };
    match (verb, value) {
        ('T', Value::Nil) => pad("<nil>", flags, out),
        ('T', value) => pad(value.type_name(), flags, out),
        ('v', Value::Nil) => pad("<nil>", flags, out),
        // Lists are printed element by element, each with the verb and the width.
        (_, Value::List(items)) if verb != 'v' || !flags.sharp => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { " " } else { "" });
                match item {
                    Value::Nil => pad("<nil>", flags, out),
                    item => one(verb, flags, item, out),
                }
            }
            out.push(']');
        }
        ('v', Value::Text(text)) if flags.sharp => pad(&quoted(text), flags, out),
        ('v' | 's', Value::Text(text)) => pad(cut(text, flags), flags, out),
        ('v', Value::Int(number)) | ('d', Value::Int(number)) => integer(number, 10, flags, out),
        ('v', Value::Float(number)) => pad(&signed(float(*number, 21), flags), flags, out),
        ('v', value) => {
            let mut text = String::new();
            value.print(&mut text);
            pad(&text, flags, out);
        }
        ('q', Value::Text(text)) => pad(&quoted(cut(text, flags)), flags, out),
        ('x' | 'X', Value::Text(text)) => {
            let text: String = text.bytes().map(|b| format!("{b:02x}")).collect();
            pad(&if verb == 'X' { text.to_uppercase() } else { text }, flags, out);
        }
        ('t', Value::Bool(value)) => pad(if *value { "true" } else { "false" }, flags, out),
        ('x', Value::Int(number)) => integer(number, 16, flags, out),
        ('X', Value::Int(number)) => {
            let mut text = String::new();
            integer(number, 16, flags, &mut text);
            out.push_str(&text.to_uppercase());
        }
        ('o', Value::Int(number)) => integer(number, 8, flags, out),
        ('b', Value::Int(number)) => integer(number, 2, flags, out),
        ('c' | 'q' | 'U', Value::Int(number)) => {
            let c = u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            match verb {
                'c' => pad(c.encode_utf8(&mut [0; 4]), flags, out),
                'q' => pad(&format!("'{}'", c.escape_debug()), flags, out),
                _ => pad(&format!("U+{number:04X}"), flags, out),
            }
        }
        ('f' | 'F', Value::Float(number)) => {
            let text = format!("{number:.*}", flags.precision.unwrap_or(6));
            pad(&signed(text, flags), flags, out);
        }
        ('e' | 'E', Value::Float(number)) => {
            let text = exponent(*number, flags.precision.unwrap_or(6));
            pad(&signed(if verb == 'E' { text.to_uppercase() } else { text }, flags), flags, out);
        }
        ('g' | 'G', Value::Float(number)) => pad(&signed(float(*number, 21), flags), flags, out),
        (verb, value) => out.push_str(&format!("%!{verb}({})", described(value, true))),
    }
}

/// `type=value`, as Go complains.
fn described(value: &Value, typed: bool) -> String {
    let mut text = String::new();
    match value {
        Value::Nothing | Value::Nil => return "<nil>".into(),
        value => value.print(&mut text),
    }
    if typed { format!("{}={text}", value.type_name()) } else { text }
}

fn cut<'t>(text: &'t str, flags: &Flags) -> &'t str {
    match flags.precision.and_then(|most| text.char_indices().nth(most)) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}

/// Go's `strconv.Quote`.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\0'..='\x1f' | '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            // What no terminal shows as a character of its own is spelled out.
            c if c.is_control() || (c != ' ' && c.is_whitespace()) || is_invisible(c) => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Format characters, such as those that turn the direction of writing.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{e000}'..='\u{f8ff}')
}

fn signed(text: String, flags: &Flags) -> String {
    match (text.starts_with(['-', '+']), flags.plus, flags.space) {
        (false, true, _) => format!("+{text}"),
        (false, false, true) => format!(" {text}"),
        _ => text,
    }
}

fn integer(number: &i64, radix: u32, flags: &Flags, out: &mut String) {
    let magnitude = number.unsigned_abs();
    let (prefix, digits) = match radix {
        16 => ("0x", format!("{magnitude:x}")),
        8 => ("0", format!("{magnitude:o}")),
        2 => ("0b", format!("{magnitude:b}")),
        _ => ("", magnitude.to_string()),
    };
    let sign = match (*number < 0, flags.plus, flags.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    };
    let prefix = if flags.sharp { prefix } else { "" };
    // Zeros stand between the sign and the digits.
    let wanted = match (flags.precision, flags.width) {
        (Some(precision), _) => precision,
        (None, Some(width)) if flags.zero && !flags.minus => width.saturating_sub(sign.len()),
        _ => 0,
    };
    let zeros = "0".repeat(wanted.saturating_sub(digits.len()));
    pad(&format!("{sign}{prefix}{zeros}{digits}"), &Flags { zero: false, ..*flags }, out);
}

/// Go writes at least two digits of the exponent, and its sign.
fn exponent(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn pad(text: &str, flags: &Flags, out: &mut String) {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    let fill = if flags.zero && !flags.minus { "0" } else { " " };
    if flags.minus {
        out.push_str(text);
        out.push_str(&fill.repeat(missing));
    } else {
        match text.strip_prefix(['-', '+']) {
            Some(rest) if fill == "0" => {
                out.push_str(&text[..1]);
                out.push_str(&fill.repeat(missing));
                out.push_str(rest);
            }
            _ => {
                out.push_str(&fill.repeat(missing));
                out.push_str(text);
            }
        }
    }
}
