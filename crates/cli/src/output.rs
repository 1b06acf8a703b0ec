//! What people and programs read: tables with Docker's columns, sizes, ages, JSON lines.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Failure;

/// Writes data to standard output. A reader that went away (`| head`) ends the program quietly, as a signal
/// would.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::with_code(141, "")),
        Err(error) => Err(Failure::new(format!("cannot write the output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// How a listing is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Columns.
    Table,
    /// One JSON object a line.
    Json,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Self::Table),
            "json" | "{{json .}}" => Ok(Self::Json),
            _ => Err("only table and json are there yet (templates: see docs/roadmap.md)".into()),
        }
    }
}

/// Columns padded as Docker pads them: the widest cell and three spaces, the last column not padded.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        for (at, cell) in cells.enumerate() {
            if at + 1 == widths.len() {
                text.push_str(cell);
            } else {
                text.push_str(&format!("{cell:<width$}   ", width = widths[at]));
            }
        }
        text.push('\n');
    };
    line(&mut head.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

/// `45.2MB`, as Docker prints sizes: powers of 1000, three significant digits.
pub(crate) fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    let digits = if unit == "B" || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// `2 minutes`, as Docker prints ages.
pub(crate) fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let several = |count: u64, unit: &str| format!("{count} {unit}s");
    match seconds {
        0 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => several(seconds, "second"),
        60..120 => "About a minute".into(),
        120..3600 => several(seconds / 60, "minute"),
        3600..7200 => "About an hour".into(),
        7200..172_800 => several(seconds / 3600, "hour"),
        172_800..1_209_600 => several(seconds / 86_400, "day"),
        1_209_600..5_184_000 => several(seconds / 604_800, "week"),
        5_184_000..63_072_000 => several(seconds / 2_592_000, "month"),
        _ => several(seconds / 31_536_000, "year"),
    }
}

/// The age of a moment, in nanoseconds since the epoch.
pub(crate) fn since_ns(then: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    age(now.saturating_sub(Duration::from_nanos(then)))
}

/// `2026-11-21T23:22:05Z`: RFC 3339 in UTC, with the nanoseconds that are not zero.
pub(crate) fn rfc3339(ns: u64) -> String {
    let (seconds, nanos) = (ns / 1_000_000_000, ns % 1_000_000_000);
    let (days, time) = ((seconds / 86_400) as i64, seconds % 86_400);
    let (year, month, day) = civil(days);
    let fraction = if nanos == 0 { String::new() } else { format!(".{nanos:09}") };
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}{fraction}Z",
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

/// Seconds since the epoch of an RFC 3339 moment; the fraction is dropped.
pub(crate) fn parse_rfc3339(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let tail = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match tail.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let minutes = tail.get(1..3)?.parse::<i64>().ok()? * 60 + tail.get(4..6)?.parse::<i64>().ok()?;
            if *sign == b'+' { minutes * 60 } else { -minutes * 60 }
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    u64::try_from(seconds).ok()
}

/// Days since 1970-01-01 to year, month, day (proleptic Gregorian; era arithmetic over 400 years).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_sizes_and_ages() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1500, "1.5kB"),
            (45_200_000, "45.2MB"),
            (177_400_000, "177MB"),
            (2_000_000_000, "2GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (seconds, text) in [
            (0, "Less than a second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (7200, "2 hours"),
            (200_000, "2 days"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn moments_round_trip() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (1_795_303_325_000_000_007, "2026-11-21T23:22:05.000000007Z"),
        ] {
            assert_eq!(rfc3339(ns), text);
            assert_eq!(parse_rfc3339(text), Some(ns / 1_000_000_000));
        }
        assert_eq!(parse_rfc3339("1970-01-01T02:00:00+02:00"), Some(0));
        for bad in ["", "1970", "1970-01-01T00:00:00", "1970-01-01T00:00:00+", "x970-01-01T00:00:00Z"] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn columns_are_padded_but_the_last() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["long".to_owned(), "c".to_owned()]];
        assert_eq!(table(&["X", "Y"], &rows), "X      Y\na      b\nlong   c\n");
    }
}
