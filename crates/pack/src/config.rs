//! The image's config: how it runs, and how it was made.

use std::collections::BTreeMap;

use corral_engine::PROFILE_LABEL;
use corral_image::{ContainerConfig, History, ImageConfig, RootFs};

use crate::base::{USER, USER_ID};
use crate::debian::Architecture;
use crate::project::{Kind, Project};
use crate::report::LayerReport;

/// The label that names the version of Corral's packing.
const PACKER_LABEL: &str = "dev.corral.pack";

/// The config of an image of these layers.
pub(crate) fn of(
    project: &Project,
    entrypoint: Vec<String>,
    layers: &[LayerReport],
    (architecture, epoch): (Architecture, u64),
) -> ImageConfig {
    let created = Some(rfc3339(epoch));
    let history = layers.iter().map(|layer| History {
        created: created.clone(),
        created_by: "corral pack".into(),
        comment: layer.name.clone(),
        ..History::default()
    });
    ImageConfig {
        created: created.clone(),
        architecture: architecture.name().into(),
        os: "linux".into(),
        config: ContainerConfig {
            user: format!("{USER_ID}:{USER_ID}"),
            env: environment(project),
            entrypoint,
            working_dir: "/app".into(),
            labels: labels(project),
            ..ContainerConfig::default()
        },
        rootfs: RootFs {
            kind: "layers".into(),
            diff_ids: layers.iter().map(|layer| layer.diff_id).collect(),
        },
        history: history.collect(),
        ..ImageConfig::default()
    }
}

fn environment(project: &Project) -> Vec<String> {
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin".to_owned()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("HOME".to_owned(), format!("/home/{USER}")),
    ]);
    if matches!(project.kind, Kind::Python(_)) {
        // The root is read-only and everything is compiled; output must not wait in a buffer for its reader.
        env.insert("PYTHONDONTWRITEBYTECODE".into(), "1".into());
        env.insert("PYTHONUNBUFFERED".into(), "1".into());
    }
    if matches!(project.kind, Kind::Node(_)) {
        env.insert("NODE_ENV".into(), "production".into());
    }
    env.extend(project.settings.env.clone());
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn labels(project: &Project) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (PROFILE_LABEL.to_owned(), "agent".to_owned()),
        (PACKER_LABEL.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("org.opencontainers.image.title".to_owned(), project.name.clone()),
    ]);
    let mut put = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            labels.insert(format!("org.opencontainers.image.{name}"), value.clone());
        }
    };
    put("version", &project.version);
    put("description", &project.description);
    labels
}

/// Seconds since 1970 as RFC 3339 in UTC (days to civil date after Howard Hinnant).
fn rfc3339(epoch: u64) -> String {
    let (days, second) = (epoch / 86_400, epoch % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let part = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * part + 2) / 5 + 1;
    let month = if part < 10 { part + 3 } else { part - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// The seconds of an RFC 3339 time in UTC, whole seconds; none if it is not one.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 20 && bytes[19] == b'Z' && bytes[10] == b'T';
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !shape || year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let part = if month > 2 { month - 3 } else { month + 9 };
    let (era, year_of_era) = (shifted / 400, shifted % 400);
    let day_of_year = (153 * part + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (epoch, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_763_683_199, "2025-11-20T23:59:59Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(epoch), text);
            assert_eq!(seconds(text), Some(epoch));
        }
        for bad in [
            "",
            "2025-13-01T00:00:00Z",
            "2025-01-01 00:00:00Z",
            "1960-01-01T00:00:00Z",
            "2025-01-01T00:00:00+",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
