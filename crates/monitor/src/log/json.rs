//! One line of Docker's `json-file`, out and in.
//!
//! ```text
//! {"log":"hello\n","stream":"stdout","attrs":{"tier":"x"},"time":"2026-11-25T04:22:53.7360001Z"}
//! ```
//!
//! Byte for byte what Docker writes: `<`, `>` and `&` escaped as Go does for HTML, bytes that are no UTF-8 replaced, no
//! zeros at the end of the time's fraction. What is read may have been written by Docker itself.

use super::Stream;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a string with its quotes.
pub(super) fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        write_text(out, chunk.valid().as_bytes());
        // One for each byte, as Go decodes.
        chunk.invalid().iter().for_each(|_| out.extend_from_slice(b"\\ufffd"));
    }
    out.push(b'"');
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    let mut plain = 0;
    for (at, byte) in text.iter().enumerate() {
        if !SPECIAL[usize::from(*byte)] {
            continue;
        }
        // U+2028 and U+2029 end lines in JavaScript: e2 80 a8, e2 80 a9.
        let separator = *byte == 0xe2 && matches!(text[at + 1..], [0x80, 0xa8 | 0xa9, ..]);
        if *byte == 0xe2 && !separator {
            continue;
        }
        out.extend_from_slice(&text[plain..at]);
        plain = at + 1;
        match *byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0xe2 => {
                out.extend_from_slice(if text[at + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                plain = at + 3;
            }
            byte => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.extend_from_slice(&text[plain..]);
}

/// Bytes that may not stand for themselves.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        special[byte] = true;
        byte += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special[b'<' as usize] = true;
    special[b'>' as usize] = true;
    special[b'&' as usize] = true;
    special[0xe2] = true;
    special
};

/// What stands behind the text of a line: the same for all lines of a stream that one read brought.
pub(super) fn suffix(time_ns: u64, stream: Stream, attributes: &[u8]) -> Vec<u8> {
    let stream = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    let mut out = format!(",\"stream\":\"{stream}\"").into_bytes();
    if !attributes.is_empty() {
        out.extend_from_slice(b",\"attrs\":");
        out.extend_from_slice(attributes);
    }
    out.extend_from_slice(format!(",\"time\":\"{}\"}}\n", rfc3339_nano(time_ns)).as_bytes());
    out
}

/// The attributes as an object; nothing for none.
pub(super) fn attributes(pairs: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in pairs {
        out.push(if out.is_empty() { b'{' } else { b',' });
        write_string(&mut out, name.as_bytes());
        out.push(b':');
        write_string(&mut out, value.as_bytes());
    }
    if !out.is_empty() {
        out.push(b'}');
    }
    out
}

/// Go's `time.RFC3339Nano` in UTC.
fn rfc3339_nano(ns: u64) -> String {
    let (seconds, nanos) = (ns / 1_000_000_000, ns % 1_000_000_000);
    let (days, time) = ((seconds / 86_400) as i64, seconds % 86_400);
    // Days to a date, over eras of 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let fraction = match nanos {
        0 => String::new(),
        _ => format!(".{}", format!("{nanos:09}").trim_end_matches('0')),
    };
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// A line of a file, without its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parsed<'a> {
    pub time_ns: u64,
    pub stream: Stream,
    /// The object, as it stands there; empty for none.
    pub attributes: &'a [u8],
}

/// Reads a line without its newline; the text goes to `text`. None for what is no such line.
pub(super) fn parse<'a>(line: &'a [u8], text: &mut Vec<u8>) -> Option<Parsed<'a>> {
    text.clear();
    // Docker leaves an empty text out.
    let rest = match line.strip_prefix(b"{\"log\":") {
        Some(rest) => read_string(rest, text)?.strip_prefix(b",")?,
        None => line.strip_prefix(b"{")?,
    };
    let rest = rest.strip_prefix(b"\"stream\":\"")?;
    let (stream, rest) = match (rest.strip_prefix(b"stdout\""), rest.strip_prefix(b"stderr\"")) {
        (Some(rest), _) => (Stream::Stdout, rest),
        (_, Some(rest)) => (Stream::Stderr, rest),
        _ => return None,
    };
    let (attributes, rest) = match rest.strip_prefix(b",\"attrs\":") {
        Some(rest) => rest.split_at_checked(object(rest)?)?,
        None => (&[][..], rest),
    };
    let time = rest.strip_prefix(b",\"time\":\"")?.strip_suffix(b"\"}")?;
    Some(Parsed { time_ns: parse_time(time)?, stream, attributes })
}

/// Reads a string with its quotes; what stands behind it.
fn read_string<'a>(bytes: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut rest = bytes.strip_prefix(b"\"")?;
    loop {
        let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        out.extend_from_slice(&rest[..plain]);
        if rest[plain] == b'"' {
            return Some(&rest[plain + 1..]);
        }
        let (escape, behind) = rest[plain + 1..].split_first()?;
        rest = behind;
        match escape {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'"' | b'\\' | b'/' => out.push(*escape),
            b'u' => rest = read_escape(rest, out)?,
            _ => return None,
        }
    }
}

/// Four digits, perhaps with the other half of a pair behind them.
fn read_escape<'a>(bytes: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let number = |bytes: &'a [u8]| {
        let (digits, rest) = bytes.split_at_checked(4)?;
        Some((u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?, rest))
    };
    let (first, rest) = number(bytes)?;
    let second = rest.strip_prefix(b"\\u").and_then(number);
    let (code, rest) = match (first, second) {
        (0xd800..0xdc00, Some((second @ 0xdc00..0xe000, rest))) => {
            (0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00), rest)
        }
        _ => (first, rest),
    };
    let char = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    Some(rest)
}

/// The length of an object at the beginning of these bytes.
fn object(bytes: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn parse_time(text: &[u8]) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| {
        let digit = |sum: Option<u64>, byte: &u8| {
            byte.is_ascii_digit().then(|| sum.map(|sum| sum * 10 + u64::from(byte - b'0'))).flatten()
        };
        text.get(range)?.iter().fold(Some(0), digit)
    };
    let (year, month, day) = (number(0..4)? as i64, number(5..7)? as i64, number(8..10)? as i64);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let fraction = match text.get(19..)? {
        b"Z" => 0,
        [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) => {
            number(20..20 + digits.len())? * 10_u64.pow(9 - digits.len() as u32)
        }
        _ => return None,
    };
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = u64::try_from(days).ok()?.checked_mul(86_400)? + hour * 3600 + minute * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

/// Docker's form of attributes for `logs --details`: `a=1,b=2`, each part as in a query of an address.
pub(super) fn details(object: &[u8]) -> String {
    let (mut parts, mut rest) = (Vec::new(), object.strip_prefix(b"{").unwrap_or_default());
    let (mut name, mut value) = (Vec::new(), Vec::new());
    loop {
        name.clear();
        value.clear();
        let Some(behind) = read_string(rest, &mut name).and_then(|rest| rest.strip_prefix(b":")) else {
            break;
        };
        let Some(behind) = read_string(behind, &mut value) else { break };
        parts.push(format!("{}={}", query(&name), query(&value)));
        let Some(next) = behind.strip_prefix(b",") else { break };
        rest = next;
    }
    parts.sort();
    parts.join(",")
}

fn query(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(*byte))
            }
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &[u8], time_ns: u64, attributes: &[u8]) -> Vec<u8> {
        let mut out = b"{\"log\":".to_vec();
        write_string(&mut out, text);
        out.extend(suffix(time_ns, Stream::Stdout, attributes));
        out
    }

    #[test]
    fn lines_are_dockers() {
        for (text, time_ns, expect) in [
            (&b"hello\n"[..], 0, r#"{"log":"hello\n","stream":"stdout","time":"1970-01-01T00:00:00Z"}"#),
            (
                b"<a href=\"x\">&\\\t\x1b\r\n",
                1_795_303_325_120_000_000,
                r#"{"log":"\u003ca href=\"x\"\u003e\u0026\\\u0009\u001b\r\n","stream":"stdout","time":"2026-11-21T23:22:05.12Z"}"#,
            ),
            (
                b"\xff\xfe\xe2\x82\xac\xe2\x80\xa8\xe2\x80",
                7,
                "{\"log\":\"\\ufffd\\ufffd\u{20ac}\\u2028\\ufffd\\ufffd\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:00.000000007Z\"}",
            ),
        ] {
            assert_eq!(String::from_utf8_lossy(&line(text, time_ns, b"")), format!("{expect}\n"));
        }
    }

    #[test]
    fn lines_come_back() {
        let attributes = attributes(&[("a".into(), "}\"x,".into()), ("b c".into(), "1&2".into())]);
        for text in [&b"plain\n"[..], b"", b"\x00\x1f\"\\<>&\r\n", "ä€𝄞\u{2029}\n".as_bytes()] {
            for attributes in [&[][..], &attributes] {
                let bytes = line(text, 1_795_303_325_000_000_007, attributes);
                let mut read = Vec::new();
                let parsed = parse(&bytes[..bytes.len() - 1], &mut read);
                let expect =
                    Parsed { time_ns: 1_795_303_325_000_000_007, stream: Stream::Stdout, attributes };
                assert_eq!((parsed, read.as_slice()), (Some(expect), text));
            }
        }
        assert_eq!(details(&attributes), "a=%7D%22x%2C,b+c=1%262");
        let mut text = Vec::new();
        let pair = br#"{"log":"\ud834\udd1e\t","stream":"stderr","time":"2026-11-21T23:22:05.5Z"}"#;
        let parsed = parse(pair, &mut text).expect("a line of Docker's");
        assert_eq!((parsed.stream, parsed.time_ns), (Stream::Stderr, 1_795_303_325_500_000_000));
        assert_eq!(text, "𝄞\t".as_bytes());
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let good = line(b"x\n", 7, b"");
        let good = &good[..good.len() - 1];
        let mut text = Vec::new();
        assert!(parse(good, &mut text).is_some());
        for cut in 0..good.len() {
            assert_eq!(parse(&good[..cut], &mut text), None, "{cut} bytes");
        }
        for bad in [&b"\0\0\0"[..], b"{}", b"{\"log\":\"\\u12\",", b"{\"log\":\"\\", b"{\"log\":1}"] {
            assert_eq!(parse(bad, &mut text), None);
        }
    }
}
