use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use corral_spec::{Digest, ImageRef};

use crate::change;
use crate::manifest::host_architecture;
use crate::{Error, History, ImageConfig, RootFs, Store, UnpackLimits};

impl Store {
    /// Makes a one-layer image of a root file system tar (`docker import`). `changes` are instructions:
    /// CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR. `message` becomes the
    /// comment of its history.
    ///
    /// # Errors
    /// [`Error::Change`], or as [`Store::unpack_layer`].
    pub fn import(
        &self,
        reader: impl Read,
        reference: Option<&ImageRef>,
        changes: &[&str],
        message: Option<&str>,
    ) -> Result<Digest, Error> {
        let mut image = ImageConfig {
            architecture: host_architecture().to_owned(),
            os: "linux".to_owned(),
            ..ImageConfig::default()
        };
        for text in changes {
            change::apply(text, &mut image.config)?;
        }
        let _lease = self.lease()?;
        let layer = self.unpack_layer(reader, None, &UnpackLimits::default())?.diff_id;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let created = Some(rfc3339(now));
        let comment = message.unwrap_or("Imported from -").to_owned();
        image.created.clone_from(&created);
        image.history = vec![History { created, comment, ..History::default() }];
        image.rootfs = RootFs { kind: "layers".to_owned(), diff_ids: vec![layer] };
        let id = self.add_image_durably(&image.to_bytes(), &[layer], None)?;
        if let Some(name) = reference {
            self.tag(&id, name)?;
        }
        Ok(id)
    }
}

/// Seconds since the epoch in UTC, e.g. `2026-01-31T12:00:00Z`.
pub(crate) fn rfc3339(seconds: u64) -> String {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{:02}Z", days + 1, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_times() {
        let check = |seconds, expect: &str| assert_eq!(rfc3339(seconds), expect);
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_399, "2000-02-28T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_767_225_599, "2025-12-31T23:59:59Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
    }
}
