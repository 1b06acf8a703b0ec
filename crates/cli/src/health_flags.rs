//! Flags of how a container's health is checked.

use corral_spec::{HealthRequest, duration_ns};

use crate::Failure;
use crate::failure::ENGINE;

/// As typed.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct HealthFlags {
    /// Command to run to check health
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Time between running the check (ms|s|m|h)
    #[arg(long, value_name = "DURATION")]
    health_interval: Option<String>,
    /// Consecutive failures needed to report unhealthy
    #[arg(long, value_name = "N")]
    health_retries: Option<i64>,
    /// Time between running the check during the start period (ms|s|m|h)
    #[arg(long, value_name = "DURATION")]
    health_start_interval: Option<String>,
    /// Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)
    #[arg(long, value_name = "DURATION")]
    health_start_period: Option<String>,
    /// Maximum time to allow one check to run (ms|s|m|h)
    #[arg(long, value_name = "DURATION")]
    health_timeout: Option<String>,
    /// Disable any container-specified HEALTHCHECK
    #[arg(long)]
    no_healthcheck: bool,
}

impl HealthFlags {
    pub(crate) fn request(&self) -> Result<HealthRequest, Failure> {
        let bad = |text: String| Failure::with_code(ENGINE, text);
        let time = |flag: &str, text: &Option<String>| {
            let Some(text) = text else { return Ok(None) };
            // Docker takes a bare 0 for what is not said.
            let ns = if text == "0" { Some(0) } else { duration_ns(text) };
            match ns {
                Some(ns) if ns == 0 || ns >= 1_000_000 => Ok(Some(ns / 1_000_000)),
                Some(_) => {
                    Err(bad(format!("--{flag} {text}: a health check's times cannot be less than 1ms")))
                }
                None => Err(bad(format!("--{flag} {text}: not a time such as 500ms, 30s or 1m30s"))),
            }
        };
        let retries = match self.health_retries {
            Some(retries) => Some(
                u32::try_from(retries).map_err(|_| bad("--health-retries cannot be negative".to_owned()))?,
            ),
            None => None,
        };
        let request = HealthRequest {
            none: self.no_healthcheck,
            command: self.health_cmd.clone().filter(|command| !command.is_empty()),
            interval_ms: time("health-interval", &self.health_interval)?,
            timeout_ms: time("health-timeout", &self.health_timeout)?,
            start_period_ms: time("health-start-period", &self.health_start_period)?,
            start_interval_ms: time("health-start-interval", &self.health_start_interval)?,
            retries,
        };
        if request.none && request != (HealthRequest { none: true, ..HealthRequest::default() }) {
            return Err(bad("--no-healthcheck conflicts with --health-* options".to_owned()));
        }
        Ok(request)
    }
}
