//! The one date form of release files: `Sat, 11 Jul 2026 10:16:37 UTC` (RFC 2822, always UTC).

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970; `None` for any other form.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (_weekday, rest) = text.split_once(", ")?;
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    let [day, month, year, clock, "UTC" | "GMT" | "+0000"] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let (day, year) = (number(day, 1, 31)?, number(year, 1970, 9999)?);
    let mut fields = clock.split(':');
    let mut next = |max| fields.next().and_then(|field| number(field, 0, max));
    let (hour, minute, second) = (next(23)?, next(59)?, next(60)?);
    if fields.next().is_some() {
        return None;
    }
    Some(days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn number(text: &str, min: u64, max: u64) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| plain && (min..=max).contains(n))
}

/// Days from 1970-01-01 in the Gregorian calendar; years begin in March, so that a leap day comes last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// RFC 3339 in UTC.
pub(super) fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_dates() {
        for (text, seconds, iso) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0, "1970-01-01T00:00:00Z"),
            ("Tue, 29 Feb 2000 23:59:59 UTC", 951_868_799, "2000-02-29T23:59:59Z"),
            ("Sat, 11 Jul 2026 10:16:37 UTC", 1_783_764_997, "2026-07-11T10:16:37Z"),
            ("Fri, 31 Dec 2100 12:00:00 +0000", 4_133_937_600, "2100-12-31T12:00:00Z"),
        ] {
            assert_eq!(parse(text), Some(seconds), "{text}");
            assert_eq!(rfc3339(seconds), iso, "{text}");
        }
        for bad in [
            "",
            "11 Jul 2026 10:16:37 UTC",
            "Sat, 11 Jul 2026 10:16:37 CEST",
            "Sat, 0 Jul 2026 10:16:37 UTC",
            "Sat, 11 Jul 2026 24:16:37 UTC",
            "Sat, 11 Jul 2026 10:16:37:1 UTC",
            "Sat, +1 Jul 2026 10:16:37 UTC",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
