//! Fetching: HTTP and HTTPS, the host's root certificates, proxies, retries.
//!
//! Nothing that comes from here is believed: each caller checks a signature or a hash, and every body
//! has a limit.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ureq::ResponseExt;
use ureq::config::RedirectAuthHeaders;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// Waits before the second and third attempt; tests have no patience.
const BACK_OFF: [Duration; 2] = match cfg!(test) {
    false => [Duration::from_millis(500), Duration::from_secs(2)],
    true => [Duration::from_millis(1), Duration::from_millis(2)],
};
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A mirror that sends nothing for this long is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// What a client is configured with.
#[derive(Default)]
pub(crate) struct Route {
    /// A proxy that wins over the environment's.
    pub proxy: Option<String>,
    /// A proxy for where the environment names none.
    pub fallback_proxy: Option<String>,
    /// A PEM file of root certificates in place of the host's.
    pub roots: Option<PathBuf>,
    /// What is said to each address beside the usual.
    pub headers: Option<Headers>,
}

/// Header names and values for an address.
pub(crate) type Headers = Box<dyn Fn(&str) -> Vec<(&'static str, String)> + Send + Sync>;

/// A connection pool; cheap to share between threads.
pub(crate) struct Client {
    agent: ureq::Agent,
    headers: Option<Headers>,
}

impl Client {
    pub(crate) fn new(route: Route) -> Self {
        // A host without root certificates can still use http; over https the handshake says so.
        let roots = match &route.roots {
            Some(file) => rustls_native_certs::load_certs_from_paths(Some(file), None).certs,
            None => rustls_native_certs::load_native_certs().certs,
        };
        let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let named = |proxy: &Option<String>| ureq::Proxy::new(proxy.as_deref()?).ok();
        let proxy = named(&route.proxy).or_else(ureq::Proxy::try_from_env);
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy.or_else(|| named(&route.fallback_proxy)))
            .user_agent(concat!("corral/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            // An index that sends its client from one of its pages to the next still wants the password.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(READ_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .build();
        Self { agent: config.new_agent(), headers: route.headers }
    }

    /// Fetches from the first address that has the file, each tried three times while it fails in a way
    /// that may pass. `sink` is called with the last address, redirects followed, and body of each attempt;
    /// `limit` in bytes.
    pub(crate) fn fetch<T, E: From<Unfetched>>(
        &self,
        urls: &[String],
        limit: u64,
        mut sink: impl FnMut(&str, &mut dyn Read) -> Result<T, Failure<E>>,
    ) -> Result<T, E> {
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
                        last = last.or_else(|| Some(Unfetched::Status { url: redacted(url), status }.into()));
                        break;
                    }
                    (Failure::Final(error), _) => return Err(error),
                }
            }
        }
        Err(last.unwrap_or_else(|| Unfetched::NoAddress.into()))
    }

    fn attempt<T, E: From<Unfetched>>(
        &self,
        url: &str,
        limit: u64,
        sink: &mut impl FnMut(&str, &mut dyn Read) -> Result<T, Failure<E>>,
    ) -> Result<T, Failure<E>> {
        let headers = self.headers.as_ref().map(|headers| headers(url)).unwrap_or_default();
        let request =
            headers.into_iter().fold(self.agent.get(url), |get, (name, value)| get.header(name, value));
        let response = request.call().map_err(|error| match error {
            ureq::Error::StatusCode(status) if status < 500 && !matches!(status, 408 | 425 | 429) => {
                Failure::Status(status)
            }
            error => broken_off(url, &error),
        })?;
        let came_from = response.get_uri().to_string();
        // One byte more than the limit, so that a body that is too long shows.
        let mut body = response.into_body().into_with_config().limit(limit + 1).reader();
        sink(&came_from, &mut body)
    }

    /// Fetches a file into memory.
    pub(crate) fn get<E: From<Unfetched>>(&self, urls: &[String], limit: u64) -> Result<Vec<u8>, E> {
        self.fetch(urls, limit, |url, body| whole(url, body, limit))
    }
}

/// A body in memory, if it is no longer than `limit` bytes.
pub(crate) fn whole<E: From<Unfetched>>(
    url: &str,
    body: &mut dyn Read,
    limit: u64,
) -> Result<Vec<u8>, Failure<E>> {
    let mut bytes = Vec::new();
    body.take(limit + 1).read_to_end(&mut bytes).map_err(|error| broken_off(url, &error))?;
    match bytes.len() as u64 > limit {
        true => Err(broken_off(url, &format!("is longer than {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// Why nothing came, for the caller to put into its own words.
pub(crate) enum Unfetched {
    /// The server could not be reached, or broke off.
    Broken {
        /// The address, without credentials.
        url: String,
        /// The last attempt's failure.
        reason: String,
    },
    /// The server answered that it will not.
    Status {
        /// The address, without credentials.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// There was no address to ask.
    NoAddress,
}

/// Why an attempt came to nothing.
pub(crate) enum Failure<E> {
    /// Another attempt may do better.
    Passing(E),
    /// The server answered with a status that another attempt will not change.
    Status(u16),
    /// Not the server's fault.
    Final(E),
}

/// A transfer that another attempt may complete.
pub(crate) fn broken_off<E: From<Unfetched>>(url: &str, reason: &dyn fmt::Display) -> Failure<E> {
    Failure::Passing(Unfetched::Broken { url: redacted(url), reason: reason.to_string() }.into())
}

/// An address as it may be shown: without the user and password it may carry.
pub(crate) fn redacted(url: &str) -> String {
    let shown = match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    };
    shown.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(redacted("https://user:hunter2@h:8/x@y"), "https://h:8/x@y");
    }
}
