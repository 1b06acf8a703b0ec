//! Moments as Docker's `--since` and `--until` take them.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::Failure;
use crate::output::parse_rfc3339;

/// Nanoseconds since the epoch.
pub(crate) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// An RFC 3339 moment or its beginning, seconds since the epoch, or a span before now, in nanoseconds since the epoch.
pub(crate) fn moment(text: &str) -> Result<u64, Failure> {
    const SECOND: u64 = 1_000_000_000;
    if let Some(ns) = date(text) {
        return Ok(ns);
    }
    if let Some(ns) = seconds(text) {
        return Ok(ns);
    }
    let fail = || {
        Failure::new(format!(
            "invalid time {text:?}: expected RFC 3339, seconds since 1970, or a span such as 42m"
        ))
    };
    let mut span = 0u64;
    let mut rest = text;
    if rest.is_empty() {
        return Err(fail());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0).ok_or_else(fail)?;
        let count: u64 = rest[..digits].parse().map_err(|_| fail())?;
        let unit_len = rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
        let unit = match &rest[digits..digits + unit_len] {
            "ms" => SECOND / 1000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            "d" => 86_400 * SECOND,
            _ => return Err(fail()),
        };
        span = count.checked_mul(unit).and_then(|part| span.checked_add(part)).ok_or_else(fail)?;
        rest = &rest[digits + unit_len..];
    }
    Ok(now_ns().saturating_sub(span))
}

/// A date, a time without a zone (UTC here), or all of RFC 3339.
fn date(text: &str) -> Option<u64> {
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 if text.as_bytes()[10] == b'T' => format!("{text}:00Z"),
        _ if text.ends_with(|c: char| c.is_ascii_digit()) && !text.get(11..)?.contains(['+', '-']) => {
            format!("{text}Z")
        }
        _ => text.to_owned(),
    };
    let seconds = parse_rfc3339(&whole)?;
    let digits: String = match whole.get(19..)?.strip_prefix('.') {
        Some(fraction) => fraction.chars().take_while(char::is_ascii_digit).take(9).collect(),
        None => String::new(),
    };
    let fraction: u64 = format!("{digits:0<9}").parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

/// `1795303325.000000007`, without what a floating-point number would lose.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<9}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dockers() {
        for (text, ns) in [
            ("1970-01-01T00:00:01Z", 1_000_000_000),
            ("1970-01-01T00:00:01.5Z", 1_500_000_000),
            ("1970-01-01T02:00:00.000000007+02:00", 7),
            ("1970-01-02", 86_400_000_000_000),
            ("1970-01-01T00:01", 60_000_000_000),
            ("1970-01-01T00:00:02", 2_000_000_000),
            ("0", 0),
            ("1795303325.000000007", 1_795_303_325_000_000_007),
            ("1795303325.5", 1_795_303_325_500_000_000),
        ] {
            assert_eq!(moment(text).ok(), Some(ns), "{text}");
        }
        let hour = moment("1h").map(|then| now_ns() - then).expect("a span");
        assert!((3_600_000_000_000..3_601_000_000_000).contains(&hour), "{hour}");
        for bad in ["", "x", "1x", "1h-", "-5", "1970-13", "99999999999999999999", "1.0000000000"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
