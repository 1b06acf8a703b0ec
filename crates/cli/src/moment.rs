//! Moments as Docker's `--since` and `--until` take them.

use std::time::{SystemTime, UNIX_EPOCH};

use corral_spec::duration_ns;

use crate::output::days_from_civil;
use crate::{Failure, zone};

const SECOND: u64 = 1_000_000_000;
const DAY: f64 = 86_400.0 * SECOND as f64;

/// Nanoseconds since the epoch.
pub(crate) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// An RFC 3339 moment or its beginning, seconds since the epoch, or a span before now, in nanoseconds since the epoch.
pub(crate) fn moment(text: &str) -> Result<u64, Failure> {
    if let Some(span) = span(text) {
        return Ok(now_ns().saturating_sub(span));
    }
    date(text).or_else(|| seconds(text)).ok_or_else(|| {
        Failure::new(format!(
            "invalid time {text:?}: expected RFC 3339, seconds since 1970, or a span such as 42m"
        ))
    })
}

/// A span as Go writes it, with days before it, which Go does not know.
fn span(text: &str) -> Option<u64> {
    let Some((days, rest)) = text.split_once('d') else { return duration_ns(text) };
    let plain = days.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let days: f64 = days.parse().ok().filter(|_| plain)?;
    let rest = if rest.is_empty() { 0 } else { duration_ns(rest)? };
    // What is too long is cut to the longest.
    Some(((days * DAY) as u64).saturating_add(rest))
}

/// A date and as much of a time as there is, in the zone that it names, else in the local one
/// (moby/api/types/time/timestamp.go).
fn date(text: &str) -> Option<u64> {
    let zoned = text.contains(['z', 'Z', '+']) || text.matches('-').count() == 3;
    let (text, offset) = match text.strip_suffix(['z', 'Z']) {
        _ if !zoned => (text, None),
        Some(text) => (text, Some(0)),
        None => {
            let (text, zone) = text.split_at_checked(text.len().checked_sub(6)?)?;
            (text, Some(offset(zone)?))
        }
    };
    let (day, time) = text.split_once('T').map_or((text, None), |(day, time)| (day, Some(time)));
    let (seconds, fraction) = time.map_or(Some((0, 0)), clock)?;
    let local = civil_days(day)? * 86_400 + seconds;
    let unix = offset.map_or_else(|| zone::unix(local), |offset| local - offset);
    u64::try_from(unix).ok()?.checked_mul(SECOND)?.checked_add(fraction)
}

/// Seconds of `+02:00`.
fn offset(text: &str) -> Option<i64> {
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let seconds = number(hours, 2, 0..=23)? * 3600 + number(minutes, 2, 0..=59)? * 60;
    match text.as_bytes()[0] {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

/// Days since 1970-01-01 of `2026-11-25`.
fn civil_days(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let (year, month) = (number(year, 4, 0..=9999)?, number(month, 2, 1..=12)?);
    let first = days_from_civil(year, month, 1);
    let next =
        if month == 12 { days_from_civil(year + 1, 1, 1) } else { days_from_civil(year, month + 1, 1) };
    let day = number(day, 2, 1..=next - first)?;
    parts.next().is_none().then_some(first + day - 1)
}

/// Seconds of the day, and nanoseconds, of `07`, `07:30`, `07:30:15` or `07:30:15.25`.
fn clock(text: &str) -> Option<(i64, u64)> {
    let (text, fraction) = match text.split_once('.') {
        Some((text, digits)) if text.len() == 8 => (text, nanoseconds(digits)?),
        Some(_) => return None,
        None => (text, 0),
    };
    let mut parts = text.split(':');
    let hour = number(parts.next()?, 2, 0..=23)?;
    let minute = parts.next().map_or(Some(0), |part| number(part, 2, 0..=59))?;
    let second = parts.next().map_or(Some(0), |part| number(part, 2, 0..=59))?;
    parts.next().is_none().then_some((hour * 3600 + minute * 60 + second, fraction))
}

fn number(text: &str, digits: usize, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| plain && range.contains(number))
}

/// Of the digits behind a point: at most nine.
fn nanoseconds(digits: &str) -> Option<u64> {
    let plain = digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    format!("{digits:0<9}").parse().ok().filter(|_| plain)
}

/// `1795303325.000000007`, without what a floating-point number would lose.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    whole.parse::<u64>().ok()?.checked_mul(SECOND)?.checked_add(nanoseconds(fraction)?)
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
            ("1969-12-31T19:00-05:00", 0),
            ("1970-01-02Z", 86_400_000_000_000),
            ("1970-01-01T07Z", 25_200_000_000_000),
            ("1970-01-01T01+01:00", 0),
            ("0", 0),
            ("1795303325.000000007", 1_795_303_325_000_000_007),
            ("1795303325.5", 1_795_303_325_500_000_000),
        ] {
            assert_eq!(moment(text).ok(), Some(ns), "{text}");
        }
        // Without a zone they are local, wherever this test runs.
        let local = |text: &str| moment(text).expect(text) / SECOND;
        let noon = zone::unix(1_795_305_600) as u64;
        assert_eq!(local("2026-11-22T00"), noon);
        assert_eq!(local("2026-11-22T00:01"), noon + 60);
        assert_eq!(local("2026-11-22T00:00:02.5"), noon + 2);
        assert_eq!(local("2026-11-22"), noon);
        for bad in [
            "",
            "x",
            "1x",
            "1h-",
            "-5",
            "1970-13",
            "99999999999999999999",
            "1.0000000000",
            "2026-02-29Z",
            "2026-11-25T7Z",
            "2026-11-25T24Z",
            "2026-11-25T00:00.5Z",
            "2026-11-25T00:00:00+2",
            "d",
            "1d1",
            "2026-11-25T",
            "2026-11-25T00:00:00:00Z",
            "2026-1-1",
            "20é6-11-25T00:00Z",
        ] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_are_gos_and_days() {
        const HOUR: u64 = 3600 * SECOND;
        for (text, ns) in [
            ("1h", Some(HOUR)),
            ("1.5h", Some(HOUR * 3 / 2)),
            ("0.5h", Some(HOUR / 2)),
            ("10us", Some(10_000)),
            ("1m30s", Some(90 * SECOND)),
            ("1d", Some(24 * HOUR)),
            ("1.5d2h", Some(38 * HOUR)),
            ("1", None),
            ("infd", None),
            ("-1d", None),
        ] {
            assert_eq!(span(text), ns, "{text}");
        }
    }
}
