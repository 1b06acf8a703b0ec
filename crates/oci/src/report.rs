//! `state`, `list`, `ps` and `events`: what is told of containers, as data.

use std::time::{SystemTime, UNIX_EPOCH};

use corral_runtime::Usage;
use serde_json::{Value, json};

use crate::state::{Container, Status, all};
use crate::{Error, Runtime};

impl Runtime {
    /// The state of a container (runtime.md, "State").
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn state(&self, id: &str) -> Result<Value, Error> {
        let container = Container::find(&self.root, id)?;
        let mut state = summary(&container)?;
        if !container.record.annotations.is_empty() {
            state["annotations"] = json!(container.record.annotations);
        }
        Ok(state)
    }

    /// Every container.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn list(&self) -> Result<Vec<Value>, Error> {
        all(&self.root)?.iter().map(summary).collect()
    }

    /// The host's numbers of a container's processes.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn processes(&self, id: &str) -> Result<Vec<i32>, Error> {
        Ok(Container::find(&self.root, id)?.record.group().processes()?)
    }

    /// What a container uses, as `events` prints it; none once it has stopped.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn statistics(&self, id: &str) -> Result<Option<Value>, Error> {
        let container = Container::find(&self.root, id)?;
        if container.status()? == Status::Stopped {
            return Ok(None);
        }
        let Usage { cpu_ns, memory, read, written, tasks } = container.record.group().usage()?;
        let io = |op: &str, bytes: Option<u64>| bytes.map(|bytes| json!({"op": op, "value": bytes}));
        let io: Vec<Value> = [io("Read", read), io("Write", written)].into_iter().flatten().collect();
        Ok(Some(json!({
            "type": "stats",
            "id": id,
            "data": {
                "cpu": {"usage": {"total": cpu_ns}},
                "memory": {"usage": {"usage": memory}},
                "pids": {"current": tasks},
                "blkio": {"ioServiceBytesRecursive": io},
            },
        })))
    }
}

fn summary(container: &Container) -> Result<Value, Error> {
    let record = &container.record;
    let status = container.status()?;
    let pid = if status == Status::Stopped { 0 } else { container.pid() };
    Ok(json!({
        "ociVersion": record.oci_version,
        "id": record.id,
        "pid": pid,
        "status": status.name(),
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "owner": "",
    }))
}

/// The time, in UTC, as RFC 3339 has it.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    stamp(since.as_secs(), since.subsec_nanos())
}

/// Civil date from days, by the era of 400 years that begins on 1 March.
fn stamp(seconds: u64, nanos: u32) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::stamp;

    #[test]
    fn dates() {
        assert_eq!(stamp(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(stamp(951_782_400, 5), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(stamp(1_764_045_299, 0), "2025-11-25T04:34:59.000000000Z");
    }
}
