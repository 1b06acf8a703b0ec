//! The user's package indexes, read by ourselves, for the one thing that pip cannot do: to fetch a source
//! distribution without running code of it.
//!
//! ```text
//! pip config list ──▶ Config: indexes, find-links, proxy, certificates     .netrc ──▶ Netrc
//! INDEX/NAME/ ──JSON (PEP 691) or HTML (PEP 503)──▶ Link… ──sha256 wanted?──▶ Offer
//! ```
//!
//! Everything from here is judged by a pinned hash. A password goes to the host that it was given for, and not in
//! clear unless the user's own index is asked so.

mod config;
mod netrc;
mod page;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use corral_spec::Digest;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::client::Client;
use super::name::normalize;
use super::pin::file_name;
use super::sdist;
use super::tags::WheelName;
use crate::Error;
use crate::base64::{Alphabet, encode};
use crate::http::{self, Failure, Route, Unfetched, broken_off, whole};
use config::Config;
use netrc::Netrc;

/// The largest page of one package; the largest known are below 30 MB.
const MAX_PAGE: u64 = 128 << 20;
const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, \
                      text/html;q=0.1, */*;q=0.01";

/// The indexes that the user has configured.
pub(super) struct Index {
    config: Config,
    client: http::Client,
}

/// A file that has a wanted hash, as its index says.
pub(super) struct Offer {
    /// Its name, plain characters only.
    pub file: String,
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Where it is.
    pub place: Place,
}

/// Where a file is.
pub(super) enum Place {
    Address(Url),
    File(PathBuf),
}

impl Place {
    /// An address that a lock names.
    pub(super) fn parse(address: &str) -> Option<Self> {
        let url = Url::parse(address).ok()?;
        matches!(url.scheme(), "http" | "https").then_some(Self::Address(url))
    }
}

impl Index {
    /// The indexes of the client's configuration.
    ///
    /// # Errors
    /// [`Error::Client`] if it does not tell.
    pub(super) fn of_client(client: &Client<'_>, project: &Path) -> Result<Self, Error> {
        let listed = client.configuration(project)?;
        let default = match config::names_index(&listed) {
            true => None,
            false => config::default_index(&client.help(project)?),
        };
        Ok(Self::new(Config::parse(&listed, default.as_deref())))
    }

    fn new(config: Config) -> Self {
        let known: Vec<Url> =
            config.indexes.iter().chain(&config.links).filter_map(|text| Url::parse(text).ok()).collect();
        let netrc = Netrc::of_user();
        let headers = move |address: &str| {
            let mut headers = vec![("Accept", ACCEPT.to_owned())];
            let url = Url::parse(address).ok();
            headers.extend(
                url.and_then(|url| credentials(&url, &known, &netrc))
                    .map(|pair| ("Authorization", format!("Basic {}", encode_padded(pair.as_bytes())))),
            );
            headers
        };
        let route = Route {
            proxy: config.proxy.clone(),
            roots: config.roots.clone(),
            headers: Some(Box::new(headers)),
            ..Route::default()
        };
        Self { client: http::Client::new(route), config }
    }

    /// The files of a package that have one of the hashes.
    ///
    /// # Errors
    /// [`Error::Client`] if none was found and an index could not be read.
    pub(super) fn offers(&self, name: &str, wanted: &[String]) -> Result<Vec<Offer>, Error> {
        let (mut offers, mut failed) = (Vec::new(), None);
        let pages = self.config.indexes.iter().map(|base| format!("{}/{name}/", base.trim_end_matches('/')));
        for place in self.config.links.iter().cloned().chain(pages) {
            let found = match local(&place) {
                Some(dir) => in_directory(&dir, name),
                None => self.page(&place),
            };
            match found {
                Ok(found) => offers.extend(found.into_iter().filter(|offer| wanted.contains(&offer.sha256))),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) if offers.is_empty() => Err(error),
            _ => Ok(offers),
        }
    }

    fn page(&self, address: &str) -> Result<Vec<Offer>, Error> {
        let url = Url::parse(address).map_err(|error| Error::Client {
            client: http::redacted(address),
            reason: format!("is not an index's address: {error}; correct your pip configuration"),
        })?;
        let page = self.client.fetch(&[plain(&url)], MAX_PAGE, |from, body| {
            Ok((from.to_owned(), whole(from, body, MAX_PAGE)?))
        });
        let (from, bytes) = match page {
            Ok(page) => page,
            Err(Unread::Absent { .. }) => return Ok(Vec::new()),
            Err(Unread::Failed(error)) => return Err(error),
        };
        let base = Url::parse(&from).unwrap_or(url);
        let links = page::links(&String::from_utf8_lossy(&bytes), &base);
        let offer = |link: page::Link| {
            Some(Offer { file: link.file, sha256: link.sha256?, place: Place::Address(link.url) })
        };
        Ok(links.into_iter().filter_map(offer).collect())
    }

    /// Writes the file to `out` and gives its SHA-256.
    ///
    /// # Errors
    /// [`Error::Client`] or [`Error::Io`].
    pub(super) fn fetch(&self, place: &Place, limit: u64, out: &Path) -> Result<Digest, Error> {
        match place {
            Place::File(path) => {
                let file = std::fs::File::open(path).map_err(Error::io("read", path))?;
                copy(&mut file.take(limit), out, |error| Error::io("read", path)(error))
            }
            Place::Address(url) => {
                let fetched = self.client.fetch(&[plain(url)], limit, |from, body| {
                    let mut broken = None;
                    let copied = copy(body, out, |error| {
                        broken = Some(broken_off(from, &error));
                        Error::io("read", out)(error)
                    });
                    copied.map_err(|error| broken.unwrap_or(Failure::Final(Unread::Failed(error))))
                });
                fetched.map_err(|unread| match unread {
                    Unread::Failed(error) => error,
                    Unread::Absent { url } => {
                        Error::Client { client: url, reason: "the server has no such file any more".into() }
                    }
                })
            }
        }
    }
}

/// Why an address gave nothing.
enum Unread {
    /// It says that there is nothing.
    Absent {
        url: String,
    },
    Failed(Error),
}

impl From<Unfetched> for Unread {
    fn from(unfetched: Unfetched) -> Self {
        let failed = |client: String, reason: String| Self::Failed(Error::Client { client, reason });
        match unfetched {
            Unfetched::Status { url, status: 404 | 410 } => Self::Absent { url },
            Unfetched::Status { url, status: status @ (401 | 403) } => failed(
                url,
                format!(
                    "it refuses (HTTP {status}): put user and password into ~/.netrc or into pip's index-url"
                ),
            ),
            Unfetched::Status { url, status } => failed(url, format!("it answers HTTP {status}")),
            Unfetched::Broken { url, reason } => {
                failed(url, format!("{reason}; check the network and your pip configuration"))
            }
            Unfetched::NoAddress => failed("pip".into(), "its configuration names no index".into()),
        }
    }
}

/// Copies into a new file and hashes on the way.
fn copy(
    from: &mut dyn Read,
    out: &Path,
    unread: impl FnOnce(std::io::Error) -> Error,
) -> Result<Digest, Error> {
    let mut file = std::fs::File::create(out).map_err(Error::io("create", out))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 128 << 10]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(Digest::from_bytes(hash.finalize().into())),
            Ok(got) => {
                hash.update(&buffer[..got]);
                file.write_all(&buffer[..got]).map_err(Error::io("write", out))?;
            }
            Err(error) => return Err(unread(error)),
        }
    }
}

/// The directory that a setting names, if it names one on this machine.
fn local(place: &str) -> Option<PathBuf> {
    match Url::parse(place) {
        Ok(url) if url.scheme() == "file" => url.to_file_path().ok(),
        Ok(_) => None,
        Err(_) => Some(PathBuf::from(place)),
    }
}

/// The package's files in a directory, each hashed. A directory that cannot be listed holds none, as for pip.
fn in_directory(dir: &Path, name: &str) -> Result<Vec<Offer>, Error> {
    let mut offers = Vec::new();
    for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let Some(file) = path.file_name().and_then(|file| file_name(file.to_str()?)) else { continue };
        let own = WheelName::parse(&file)
            .map(|wheel| wheel.name.to_owned())
            .or_else(|| sdist::parse_name(&file).map(|(name, _)| name.to_owned()));
        if own.is_some_and(|own| normalize(&own) == name) {
            let sha256 =
                super::fetch::sha256_file(&path.canonicalize().map_err(Error::io("read", &path))?)?.hex();
            offers.push(Offer { file, sha256, place: Place::File(path) });
        }
    }
    Ok(offers)
}

/// The address without user and password: they go into a header.
fn plain(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for addresses without host, which carry neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// `USER:PASSWORD` for an address: those of a configured index on the same server, else of .netrc.
///
/// The address may come from a project's lock. So .netrc, which knows neither scheme nor port, counts where the
/// server proves its name, and its `default` for the user's own indexes only.
fn credentials(url: &Url, known: &[Url], netrc: &Netrc) -> Option<String> {
    let own = known.iter().find(|index| index.origin() == url.origin() && !index.username().is_empty());
    if let Some(index) = own {
        let password = index.password().unwrap_or_default();
        return Some(format!("{}:{}", decoded(index.username()), decoded(password)));
    }
    let configured = known.iter().any(|index| index.origin() == url.origin());
    if !configured && url.scheme() != "https" {
        return None;
    }
    let entry = netrc.find(Some(url.host_str()?)).or_else(|| netrc.find(None).filter(|_| configured));
    entry.map(|(login, password)| format!("{login}:{password}"))
}

/// `%40` → `@`.
fn decoded(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &after[2..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn encode_padded(bytes: &[u8]) -> String {
    let text = encode(bytes, Alphabet::Standard);
    let padding = "=".repeat(text.len().wrapping_neg() % 4);
    text + &padding
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    #[test]
    fn passwords_go_to_their_own_server() {
        let known: Vec<Url> = ["https://u%40x:p%3A@index.example/simple", "https://open.example/simple"]
            .iter()
            .map(|text| Url::parse(text).expect("an address"))
            .collect();
        let netrc = Netrc::default();
        for (address, expect) in [
            ("https://index.example/files/a.tar.gz", Some("u@x:p:")),
            ("http://index.example/files/a.tar.gz", None),
            ("https://index.example:8443/a.tar.gz", None),
            ("https://open.example/simple/a/", None),
            ("https://evil.example/a.tar.gz", None),
        ] {
            let url = Url::parse(address).expect("an address");
            assert_eq!(credentials(&url, &known, &netrc).as_deref(), expect, "{address}");
            assert!(!plain(&url).contains('@'));
        }
        let netrc = "machine h.example login u password p\nmachine plain.example login v password q\n";
        let known = [Url::parse("http://plain.example:8080/simple").expect("an address")];
        for (address, named, any) in [
            ("https://h.example/a.tar.gz", Some("u:p"), Some("u:p")),
            ("http://h.example/a.tar.gz", None, None),
            ("https://other.example/a.tar.gz", None, None),
            ("http://plain.example:8080/a.tar.gz", Some("v:q"), Some("v:q")),
            ("http://plain.example/a.tar.gz", None, None),
        ] {
            let url = Url::parse(address).expect("an address");
            let of = |text: &str| credentials(&url, &known, &Netrc::parse(text));
            assert_eq!(of(netrc).as_deref(), named, "{address}");
            assert_eq!(of(&format!("{netrc}default login d password e")).as_deref(), any, "{address}");
        }
        let default = Netrc::parse("default login d password e");
        assert_eq!(credentials(&known[0], &known, &default).as_deref(), Some("d:e"));
        assert_eq!(encode_padded(b"fo"), "Zm8=");
        assert_eq!(decoded("%4"), "%4");
    }

    /// Answers one request with `answer`, and gives what was asked.
    fn server(host: &str, answer: impl FnOnce() -> String + Send + 'static) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind((host, 0)).expect("bound");
        let address = format!("http://{}", listener.local_addr().expect("an address"));

        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let (mut reader, mut asked) =
                (BufReader::new(stream.try_clone().expect("cloned")), String::new());
            while reader.read_line(&mut asked).is_ok_and(|count| count > 2) {}
            let head = "Content-Type: text/html\r\nConnection: close";
            stream
                .write_all(format!("HTTP/1.1 {}", answer().replace("HEAD", head)).as_bytes())
                .expect("sent");
            asked.to_ascii_lowercase()
        });
        (address, asked)
    }

    #[test]
    fn a_redirect_to_another_host_takes_no_password_along() {
        let hex = "ab".repeat(32);
        let page = format!("<a href=\"../f/a-1.tar.gz#sha256={hex}\">a</a>");
        let (other, asked_other) = server("127.0.0.2", move || {
            format!("200 OK\r\nHEAD\r\nContent-Length: {}\r\n\r\n{page}", page.len())
        });
        let there = other.clone();
        let (own, asked_own) = server("127.0.0.1", move || {
            format!("302 Found\r\nHEAD\r\nLocation: {there}/pages/a/\r\nContent-Length: 0\r\n\r\n")
        });
        let indexes = vec![own.replace("http://", "http://user:hunter2@") + "/simple/"];
        let index = Index::new(Config { indexes, ..Config::default() });
        let offers = index.offers("a", &[hex]).expect("read");
        let place = match &offers[..] {
            [Offer { place: Place::Address(url), .. }] => url.to_string(),
            _ => panic!("{} offers", offers.len()),
        };
        assert_eq!(place, format!("{other}/pages/f/a-1.tar.gz"));
        let (own, other) = (asked_own.join().expect("served"), asked_other.join().expect("served"));
        assert!(own.starts_with("get /simple/a/ ") && own.contains("authorization: basic "), "{own}");
        assert!(own.contains("vnd.pypi.simple.v1+json"), "{own}");
        assert!(other.starts_with("get /pages/a/ ") && !other.contains("authorization"), "{other}");
    }

    #[test]
    fn finds_files_by_hash_in_directories_and_pages() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for file in ["a_b-1.tar.gz", "a_b-2-py3-none-any.whl", "c-1.zip", "notes.txt"] {
            std::fs::write(dir.path().join(file), file).expect("written");
        }
        let config = Config { links: vec![dir.path().display().to_string()], ..Config::default() };
        let index = Index::new(config);
        let hash = |text: &str| Digest::from_bytes(Sha256::digest(text).into()).hex();
        let wanted = [hash("a_b-1.tar.gz"), hash("c-1.zip")];
        let offers = index.offers("a-b", &wanted).expect("listed");
        assert_eq!(offers.iter().map(|offer| offer.file.as_str()).collect::<Vec<_>>(), ["a_b-1.tar.gz"]);
        let out = dir.path().join("out");
        let found = index.fetch(&offers[0].place, 1 << 20, &out).expect("copied");
        assert_eq!(
            (found.hex(), std::fs::read(out).expect("read")),
            (wanted[0].clone(), b"a_b-1.tar.gz".to_vec())
        );
        assert!(index.offers("gone", &wanted).expect("listed").is_empty());
    }
}
