//! What people and programs read: tables with Docker's columns, sizes, ages, JSON lines.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Failure, zone};

const SECOND: u64 = 1_000_000_000;

/// How a report that is no listing is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON object a line.
    Json,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            _ => Err("it is table or json".into()),
        }
    }
}

/// Writes data to standard output. A reader that went away (`| head`) ends the program quietly, as a signal
/// would.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// As [`print`], for what need not be text.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::with_code(141, "")),
        Err(error) => Err(Failure::new(format!("cannot write the output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Columns as Docker prints them: three spaces between them, at least ten places each, the last not padded.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = head.join("\t") + "\n";
    for row in rows {
        text.push_str(&row.join("\t"));
        text.push('\n');
    }
    columns(&text, 10, 3)
}

/// Aligns cells that end with a tab, as Go's text/tabwriter does: neighbouring lines that have a cell at the same
/// place form a column, which is as wide as its widest cell and the padding, and never narrower than `least`.
pub(crate) fn columns(text: &str, least: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len() - 1]).collect();
    let most = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..most {
        let mut line = 0;
        while line < lines.len() {
            let end = (line..lines.len()).find(|at| widths[*at].len() <= column).unwrap_or(lines.len());
            let widest = (line..end).map(|at| width(lines[at][column]) + padding).max().unwrap_or(0);
            for of_line in &mut widths[line..end] {
                of_line[column] = widest.max(least);
            }
            line = end + 1;
        }
    }
    let mut out = String::with_capacity(text.len() * 2);
    for (at, (line, widths)) in lines.iter().zip(&widths).enumerate() {
        out.push_str(if at > 0 { "\n" } else { "" });
        for (place, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if let Some(wanted) = widths.get(place) {
                out.extend(std::iter::repeat_n(' ', wanted.saturating_sub(width(cell))));
            }
        }
    }
    out
}

/// Places that text takes on a terminal: two for the scripts of East Asia and for pictures.
fn width(text: &str) -> usize {
    let places = |c| match u32::from(c) {
        0x0300..=0x036f | 0x200b..=0x200f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    };
    text.chars().map(places).sum()
}

/// At most so many places of a text, with an ellipsis for what was cut.
pub(crate) fn ellipsis(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        if width(&cut) + width(c.encode_utf8(&mut [0; 4])) > most - 1 {
            break;
        }
        cut.push(c);
    }
    cut + "…"
}

/// `45.2MB`, as Docker prints sizes in listings: powers of 1000, three significant digits.
pub(crate) fn size(bytes: u64) -> String {
    human(bytes, 1000, 3)
}

/// `45.23MB`, as Docker prints sizes that were summed up: powers of 1000, four significant digits.
pub(crate) fn size4(bytes: u64) -> String {
    human(bytes, 1000, 4)
}

/// `1.944GiB`, as Docker prints memory.
pub(crate) fn memory(bytes: u64) -> String {
    human(bytes, 1024, 4)
}

fn human(bytes: u64, base: u32, digits: usize) -> String {
    let units = if base == 1000 { ["B", "kB", "MB", "GB", "TB"] } else { ["B", "KiB", "MiB", "GiB", "TiB"] };
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= f64::from(base) && unit + 1 < units.len() {
        (value, unit) = (value / f64::from(base), unit + 1);
    }
    let before = format!("{value:.0}").len();
    let text = format!("{value:.*}", digits.saturating_sub(before));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", units[unit])
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

/// `2026-11-21 18:22:05 -0500 EST`: the moment of a listing, to the second, in the local zone.
pub(crate) fn moment(ns: u64) -> String {
    let (offset, name) = zone::at((ns / SECOND) as i64);
    let text = rfc3339(shifted(ns - ns % SECOND, offset));
    format!("{} {} {} {name}", &text[..10], &text[11..19], difference(offset, ""))
}

/// `2026-11-21T18:22:05-05:00`: RFC 3339 in the local zone, as [`rfc3339`] or [`rfc3339_fixed`] writes the rest.
pub(crate) fn local(ns: u64, write: fn(u64) -> String) -> String {
    let (offset, _) = zone::at((ns / SECOND) as i64);
    let text = write(shifted(ns, offset));
    // Go writes a zone that does not differ from UTC as UTC.
    if offset == 0 { text } else { format!("{}{}", text.trim_end_matches('Z'), difference(offset, ":")) }
}

/// What local clocks show, as if it were UTC.
fn shifted(ns: u64, offset: i32) -> u64 {
    ns.saturating_add_signed(i64::from(offset) * SECOND as i64)
}

/// `-05:00`.
fn difference(offset: i32, colon: &str) -> String {
    let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs() / 60);
    format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60)
}

/// The same with all nine digits, as Docker prints the times of events and log lines.
pub(crate) fn rfc3339_fixed(ns: u64) -> String {
    let text = rfc3339(ns);
    match text.strip_suffix('Z') {
        Some(seconds) if ns.is_multiple_of(1_000_000_000) => format!("{seconds}.000000000Z"),
        _ => text,
    }
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

pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
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
        assert_eq!((size4(1_234_567), size4(999)), ("1.235MB".into(), "999B".into()));
        assert_eq!((memory(2_087_354_368), memory(1024)), ("1.944GiB".into(), "1KiB".into()));
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
            assert_eq!(rfc3339_fixed(ns).len(), "2026-11-21T23:22:05.000000007Z".len());
        }
        assert_eq!(parse_rfc3339("1970-01-01T02:00:00+02:00"), Some(0));
        for bad in ["", "1970", "1970-01-01T00:00:00", "1970-01-01T00:00:00+", "x970-01-01T00:00:00Z"] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn zones_are_written() {
        for (offset, colon, text) in
            [(0, ":", "+00:00"), (-18_000, "", "-0500"), (20_700, ":", "+05:45"), (-12_600, ":", "-03:30")]
        {
            assert_eq!(difference(offset, colon), text);
        }
        assert_eq!(rfc3339(shifted(1_795_303_325 * SECOND, -18_000)), "2026-11-21T18:22:05Z");
    }

    #[test]
    fn columns_are_padded_but_the_last() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["longer word".to_owned(), "c".to_owned()]];
        assert_eq!(table(&["X", "Y"], &rows), "X             Y\na             b\nlonger word   c\n");
        for (text, expect) in [
            ("a\tb\n", "a    b\n"),
            ("a\t\tc\nd\te\tf\n", "a         c\nd    e    f\n"),
            ("one line\na\tb", "one line\na    b"),
            ("long cell\tb\nnone\na\tb", "long cell  b\nnone\na    b"),
            ("日本語\tb\nabcdefg\tc", "日本語   b\nabcdefg  c"),
        ] {
            assert_eq!(columns(text, 5, 2), expect, "{text:?}");
        }
    }

    #[test]
    fn what_is_cut_fits() {
        for (text, expect) in [
            ("short", "short"),
            ("exactly-10", "exactly-10"),
            ("eleven-chars", "eleven-ch…"),
            ("日本語日本語", "日本語日…"),
        ] {
            assert_eq!(ellipsis(text, 10), expect);
        }
    }
}
