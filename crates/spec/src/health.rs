use serde::{Deserialize, Serialize};

/// How it is found out whether what runs in a container works (Docker's `HEALTHCHECK`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Program and arguments; 0 is healthy, everything else is not.
    pub argv: Vec<String>,
    /// Milliseconds from the end of one check to the next.
    pub interval_ms: u64,
    /// Milliseconds that a check may take.
    pub timeout_ms: u64,
    /// Milliseconds after the start in which failures do not count.
    pub start_period_ms: u64,
    /// Milliseconds between checks in that time.
    pub start_interval_ms: u64,
    /// Failures in a row that make the container unhealthy.
    pub retries: u32,
}

/// What a user asks of it; what is not said is the image's, or Docker's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthRequest {
    /// `--no-healthcheck`.
    pub none: bool,
    /// `--health-cmd`, for the image's shell.
    pub command: Option<String>,
    /// `--health-interval`, milliseconds.
    pub interval_ms: Option<u64>,
    /// `--health-timeout`, milliseconds.
    pub timeout_ms: Option<u64>,
    /// `--health-start-period`, milliseconds.
    pub start_period_ms: Option<u64>,
    /// `--health-start-interval`, milliseconds.
    pub start_interval_ms: Option<u64>,
    /// `--health-retries`.
    pub retries: Option<u32>,
}

impl HealthRequest {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What was found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthState {
    /// Nothing yet.
    #[default]
    Starting,
    /// The last check said so.
    Healthy,
    /// So many checks in a row failed.
    Unhealthy,
}

impl HealthState {
    /// Docker's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A container's health, for others to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthStatus {
    /// Where it stands.
    pub state: HealthState,
    /// Failures in a row.
    pub failing: u32,
    /// The last checks, oldest first.
    pub checks: Vec<HealthResult>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthResult {
    /// Nanoseconds since the epoch.
    pub started_ns: u64,
    /// Nanoseconds since the epoch.
    pub ended_ns: u64,
    /// The program's code, 128 + n for signal n, 125 to 127 as Docker's, -1 for one that took too long.
    pub code: i32,
    /// What it wrote, cut; hostile text.
    pub output: String,
}

/// Checks that are kept.
const KEPT: usize = 5;

impl HealthStatus {
    /// Takes in one more result. `grace` says that the start period lasts, in which a failure means nothing; a success
    /// ends it. True if the state is another now.
    pub fn take(&mut self, result: HealthResult, grace: bool, retries: u32) -> bool {
        let before = self.state;
        if result.code == 0 {
            (self.state, self.failing) = (HealthState::Healthy, 0);
        } else if !(grace && self.state == HealthState::Starting) {
            self.failing = self.failing.saturating_add(1);
            if self.failing >= retries {
                self.state = HealthState::Unhealthy;
            }
        }
        if self.checks.len() == KEPT {
            self.checks.remove(0);
        }
        self.checks.push(result);
        self.state != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_from_results() {
        let mut health = HealthStatus::default();
        let mut take = |code: i32, grace: bool| {
            let result = HealthResult { started_ns: 0, ended_ns: 0, code, output: String::new() };
            let changed = health.take(result, grace, 2);
            (health.state, health.failing, changed, health.checks.len())
        };
        use HealthState::{Healthy, Starting, Unhealthy};
        assert_eq!(take(1, true), (Starting, 0, false, 1), "in the grace");
        assert_eq!(take(1, false), (Starting, 1, false, 2));
        assert_eq!(take(-1, false), (Unhealthy, 2, true, 3));
        assert_eq!(take(0, false), (Healthy, 0, true, 4));
        assert_eq!(take(1, true), (Healthy, 1, false, 5), "who was healthy once has no grace left");
        assert_eq!(take(1, false), (Unhealthy, 2, true, 5));
        assert_eq!(take(1, false), (Unhealthy, 3, false, 5));
    }
}
