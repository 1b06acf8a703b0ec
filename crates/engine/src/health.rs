//! How a container's health is checked: what the user asks, the image's `HEALTHCHECK`, Docker's defaults.

use corral_image::ContainerConfig;
use corral_spec::{Health, HealthRequest};

use crate::Error;

const INTERVAL_MS: u64 = 30_000;
const TIMEOUT_MS: u64 = 30_000;
const START_INTERVAL_MS: u64 = 5_000;
const RETRIES: u32 = 3;
/// How often an image may ask at most: each check is work of the host. A flag may ask more often.
const IMAGE_INTERVAL_MS: u64 = 1000;

/// None if there is nothing to check.
pub(crate) fn health(image: &ContainerConfig, asked: &HealthRequest) -> Result<Option<Health>, Error> {
    if asked.none {
        return Ok(None);
    }
    let own = image.healthcheck.clone().unwrap_or_default();
    let test = match &asked.command {
        Some(command) => vec!["CMD-SHELL".to_owned(), command.clone()],
        None => own.test,
    };
    let Some(argv) = argv(test, &image.shell)? else { return Ok(None) };
    let time = |asked: Option<u64>, image_ns: u64, default: u64| {
        asked.filter(|&ms| ms > 0).or((image_ns > 0).then_some(image_ns / 1_000_000)).unwrap_or(default)
    };
    let often = |asked: Option<u64>, image_ns: u64, default: u64| match asked.filter(|&ms| ms > 0) {
        Some(ms) => ms,
        None => time(None, image_ns, default).max(IMAGE_INTERVAL_MS),
    };
    Ok(Some(Health {
        argv,
        interval_ms: often(asked.interval_ms, own.interval, INTERVAL_MS),
        timeout_ms: time(asked.timeout_ms, own.timeout, TIMEOUT_MS).max(1),
        start_period_ms: time(asked.start_period_ms, own.start_period, 0),
        start_interval_ms: often(asked.start_interval_ms, own.start_interval, START_INTERVAL_MS),
        retries: asked
            .retries
            .filter(|&retries| retries > 0)
            .or(u32::try_from(own.retries).ok().filter(|&retries| retries > 0))
            .unwrap_or(RETRIES),
    }))
}

/// Docker's three forms of a test.
fn argv(test: Vec<String>, shell: &[String]) -> Result<Option<Vec<String>>, Error> {
    let fail = || Error::Invalid("the image's health check is none of NONE, CMD and CMD-SHELL".into());
    let mut words = test.into_iter();
    let argv = match (words.next().as_deref(), words.collect::<Vec<_>>()) {
        (None | Some("NONE" | ""), _) => return Ok(None),
        (Some("CMD"), argv) if !argv.is_empty() => argv,
        (Some("CMD-SHELL"), line) if line.len() == 1 => {
            let shell = if shell.is_empty() { &["/bin/sh".to_owned(), "-c".to_owned()][..] } else { shell };
            shell.iter().cloned().chain(line).collect()
        }
        _ => return Err(fail()),
    };
    if argv.iter().any(|word| word.contains('\0')) { Err(fail()) } else { Ok(Some(argv)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_image::Healthcheck;

    #[test]
    fn flags_win_over_the_image_and_the_image_over_defaults() {
        let image = |test: &[&str]| ContainerConfig {
            healthcheck: Some(Healthcheck {
                test: test.iter().map(|word| (*word).to_owned()).collect(),
                interval: 7_000_000_000,
                retries: 9,
                ..Healthcheck::default()
            }),
            ..ContainerConfig::default()
        };
        let plan = |image: &ContainerConfig, asked: HealthRequest| health(image, &asked).expect("valid");
        let found = plan(&image(&["CMD", "/check", "x"]), HealthRequest::default()).expect("a check");
        assert_eq!(found.argv, ["/check", "x"]);
        assert_eq!(
            (found.interval_ms, found.timeout_ms, found.start_period_ms, found.retries),
            (7000, 30_000, 0, 9)
        );
        let asked =
            HealthRequest { command: Some("true".into()), retries: Some(1), ..HealthRequest::default() };
        let found = plan(&image(&["NONE"]), asked).expect("a check");
        assert_eq!((found.argv, found.retries), (["/bin/sh", "-c", "true"].map(String::from).to_vec(), 1));
        assert!(plan(&image(&["NONE"]), HealthRequest::default()).is_none());
        assert!(plan(&ContainerConfig::default(), HealthRequest::default()).is_none());
        let none = HealthRequest { none: true, ..HealthRequest::default() };
        assert!(plan(&image(&["CMD", "/check"]), none).is_none());
        for bad in [&["CMD"][..], &["CMD-SHELL"], &["CMD-SHELL", "a", "b"], &["WHAT", "x"], &["CMD", "a\0b"]]
        {
            assert!(health(&image(bad), &HealthRequest::default()).is_err(), "{bad:?}");
        }
    }
}
