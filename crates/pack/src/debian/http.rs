//! Fetching from mirrors: HTTP and HTTPS, the host's root certificates, proxies, retries.
//!
//! Nothing that comes from here is believed: each caller checks a signature or a hash, and every body
//! has a limit.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::sources::redacted;
use super::{Error, Mirror};

/// Waits before the second and third attempt; tests have no patience.
const BACK_OFF: [Duration; 2] = match cfg!(test) {
    false => [Duration::from_millis(500), Duration::from_secs(2)],
    true => [Duration::from_millis(1), Duration::from_millis(2)],
};
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A mirror that sends nothing for this long is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection pool; cheap to share between threads.
pub(super) struct Client {
    agent: ureq::Agent,
}

impl Client {
    pub(super) fn new(mirror: &Mirror) -> Self {
        // A host without root certificates can still use http mirrors; over https the handshake says so.
        let roots = rustls_native_certs::load_native_certs().certs;
        let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let apt_proxy = || ureq::Proxy::new(mirror.apt_proxy.as_deref()?).ok();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .proxy(ureq::Proxy::try_from_env().or_else(apt_proxy))
            .user_agent(concat!("corral/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(READ_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .build();
        Self { agent: config.new_agent() }
    }

    /// Fetches from the first address that has the file, each tried three times while it fails in a way
    /// that may pass. `sink` is called with the address and body of each attempt; `limit` in bytes.
    pub(super) fn fetch<T>(
        &self,
        urls: &[String],
        limit: u64,
        mut sink: impl FnMut(&str, &mut dyn Read) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let mut last = None;
        for url in urls {
            let mut waits = BACK_OFF.iter();
            loop {
                let failure = match self.attempt(url, limit, &mut sink) {
                    Ok(value) => return Ok(value),
                    Err(failure) => failure,
                };
                match (failure, waits.next()) {
                    (Failure::Passing(_), Some(wait)) => std::thread::sleep(*wait),
                    (Failure::Passing(error), None) => {
                        last = Some(error);
                        break;
                    }
                    // A mirror that lacks the file matters less than one that has it and cannot be reached.
                    (Failure::Status(status), _) => {
                        last = last.or(Some(Error::Missing { url: redacted(url), status }));
                        break;
                    }
                    (Failure::Final(error), _) => return Err(error),
                }
            }
        }
        Err(last
            .unwrap_or(Error::Fetch { url: "mirror".to_owned(), reason: "none is configured".to_owned() }))
    }

    fn attempt<T>(
        &self,
        url: &str,
        limit: u64,
        sink: &mut impl FnMut(&str, &mut dyn Read) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let response = self.agent.get(url).call().map_err(|error| match error {
            ureq::Error::StatusCode(status) if status < 500 && !matches!(status, 408 | 425 | 429) => {
                Failure::Status(status)
            }
            error => broken_off(url, &error),
        })?;
        // One byte more than the limit, so that a body that is too long shows.
        let mut body = response.into_body().into_with_config().limit(limit + 1).reader();
        sink(url, &mut body)
    }

    /// Fetches a file into memory.
    pub(super) fn get(&self, urls: &[String], limit: u64) -> Result<Vec<u8>, Error> {
        self.fetch(urls, limit, |url, body| {
            let mut bytes = Vec::new();
            body.take(limit + 1).read_to_end(&mut bytes).map_err(|error| broken_off(url, &error))?;
            if bytes.len() as u64 > limit {
                return Err(broken_off(url, &format!("is longer than {limit} bytes")));
            }
            Ok(bytes)
        })
    }
}

/// Why an attempt came to nothing.
pub(super) enum Failure {
    /// Another attempt may do better.
    Passing(Error),
    /// The mirror answered with a status that another attempt will not change.
    Status(u16),
    /// Not the mirror's fault.
    Final(Error),
}

/// A transfer that another attempt may complete.
pub(super) fn broken_off(url: &str, reason: &dyn fmt::Display) -> Failure {
    Failure::Passing(Error::Fetch { url: redacted(url), reason: reason.to_string() })
}
