//! The zone that moments are shown and read in, as Docker's client has it: `TZ`, else /etc/localtime, else UTC. It is
//! read when the first moment asks for it, so a start reads nothing.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tz::TimeZone;

/// Where zones are found by name (Go's time/zoneinfo_unix.go).
const DIRECTORIES: [&str; 4] =
    ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo"];
/// The largest zone has 4 kB.
const MAX_BYTES: u64 = 1 << 20;

/// How far local time is before UTC at a moment, in seconds, and what that is called.
pub(crate) fn at(unix: i64) -> (i32, &'static str) {
    static ZONE: OnceLock<Option<TimeZone>> = OnceLock::new();
    let zone = ZONE.get_or_init(|| of(std::env::var("TZ").ok().as_deref()));
    zone.as_ref().map_or((0, "UTC"), |zone| in_zone(zone, unix))
}

/// The moment at which local clocks show these seconds since 1970-01-01T00:00:00: of two, or none, Go's choice.
pub(crate) fn unix(local: i64) -> i64 {
    let near = local - i64::from(at(local).0);
    local - i64::from(at(near).0)
}

fn in_zone(zone: &TimeZone, unix: i64) -> (i32, &str) {
    match zone.find_local_time_type(unix) {
        Ok(local) => (local.ut_offset(), local.time_zone_designation()),
        // A zone without a rule for what comes after its table.
        Err(_) => (0, "UTC"),
    }
}

/// The zone that a value of `TZ` means; none is UTC.
fn of(variable: Option<&str>) -> Option<TimeZone> {
    let places: Vec<PathBuf> = match variable.map(|text| text.strip_prefix(':').unwrap_or(text)) {
        None => vec!["/etc/localtime".into()],
        Some("" | "UTC") => return None,
        Some(path) if path.starts_with('/') => vec![path.into()],
        Some(name) if name.contains("..") => return None,
        Some(name) => DIRECTORIES.iter().map(|dir| Path::new(dir).join(name)).collect(),
    };
    places.iter().find_map(|path| {
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        TimeZone::from_tz_data(&bytes).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_zone_is_utc() {
        for text in ["", "UTC", ":", "../../etc/localtime", "No/Where", "/etc/passwd", "/nowhere"] {
            assert!(of(Some(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn zones_are_read() {
        // The smallest of its form (RFC 8536): no transitions, one type, a rule for New York.
        let mut file = b"TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        let counts = [0u32, 0, 0, 0, 1, 4].map(u32::to_be_bytes).concat();
        let body = [&(-18_000_i32).to_be_bytes()[..], &[0, 0], b"EST\0"].concat();
        file.extend([&counts[..], &body, b"TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", &counts, &body].concat());
        file.extend(b"\nEST5EDT,M3.2.0,M11.1.0\n");
        let zone = TimeZone::from_tz_data(&file).expect("a zone");
        assert_eq!(in_zone(&zone, 1_795_303_325), (-18_000, "EST"));
        assert_eq!(in_zone(&zone, 1_782_000_000), (-14_400, "EDT"));
        assert!(TimeZone::from_tz_data(&file[..60]).is_err());
    }
}
