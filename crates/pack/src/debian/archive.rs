//! One archive's release and index: fetched, verified, and kept in compact form.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use corral_spec::Digest;
use liblzma::read::XzDecoder;
use liblzma::stream::Stream;
use sha2::{Digest as _, Sha256};

use super::index::{self, Index};
use super::release::{Expect, Release, Vouched};
use super::suite::Archive;
use super::{Cache, Error, Keyring, LockedSource, Mirror, Request};
use crate::http::Client;

/// Debian's largest are below 200 kB.
const INRELEASE_LIMIT: u64 = 4 << 20;
/// Debian's largest, unpacked, are below 60 MB.
const PACKAGES_LIMIT: u64 = 1 << 30;
/// xz -9 needs 65 MB to unpack.
const XZ_MEMORY: u64 = 128 << 20;

/// What is needed to open archives.
pub(super) struct Opener<'a> {
    pub(super) request: &'a Request,
    pub(super) mirror: &'a Mirror,
    pub(super) keyring: &'a Keyring,
    pub(super) cache: &'a Cache,
    pub(super) client: &'a Client,
}

/// A verified release and where its index is kept.
pub(super) struct Opened {
    pub(super) source: LockedSource,
    pub(super) index: PathBuf,
}

impl Opener<'_> {
    /// Fetches and verifies an archive's release, and makes sure of its index.
    pub(super) fn open(&self, archive: Archive) -> Result<Opened, Error> {
        let codename = archive.codename(self.request.suite);
        let bases = self.mirror.bases(archive);
        let urls: Vec<_> =
            bases.iter().map(|base| base.join(&format!("dists/{codename}/InRelease"))).collect();
        let bytes = self.client.get::<Error>(&urls, INRELEASE_LIMIT)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let expect = Expect { codename: &codename, now, allow_expired: self.request.allow_expired };
        let release = Release::verify(&bytes, &expect, self.keyring)?;

        let named = format!("{codename}-{}", self.request.architecture);
        let index = self.cache.index(&named, &release.source.inrelease);
        if Index::open(&index, &codename).is_err() {
            let text = self.packages(archive, &release)?;
            let [header, rows, names, records] = index::compact(&text);
            self.cache.put(&[&header, &rows, &names, &records], &index)?;
            self.cache.drop_other_indexes(&named, &index)?;
        }
        Ok(Opened { source: release.source, index })
    }

    /// Fetches the text of an archive's `Packages`.
    fn packages(&self, archive: Archive, release: &Release) -> Result<String, Error> {
        let suite = &release.source.suite;
        let malformed =
            |what: &'static str, reason: String| Error::Malformed { what, suite: suite.clone(), reason };
        let directory = format!("main/binary-{}", self.request.architecture);
        let name = format!("{directory}/Packages.xz");
        let vouched = release.file(&name).filter(|file| file.size <= PACKAGES_LIMIT);
        let vouched = vouched.ok_or_else(|| malformed("InRelease", format!("does not vouch for {name}")))?;
        let mut urls = Vec::new();
        for base in self.mirror.bases(archive) {
            if release.by_hash {
                let by_hash = format!("dists/{suite}/{directory}/by-hash/SHA256/{}", vouched.sha256.hex());
                urls.push(base.join(&by_hash));
            }
            urls.push(base.join(&format!("dists/{suite}/{name}")));
        }
        let packed = self.client.get::<Error>(&urls, vouched.size)?;
        check(&packed, &vouched, || format!("{name} of {suite}"))?;
        let bad = |reason: String| malformed("Packages", reason);
        let stream = Stream::new_stream_decoder(XZ_MEMORY, 0).map_err(|error| bad(error.to_string()))?;
        let mut text = String::new();
        XzDecoder::new_stream(packed.as_slice(), stream)
            .take(PACKAGES_LIMIT)
            .read_to_string(&mut text)
            .map_err(|error| bad(error.to_string()))?;
        Ok(text)
    }
}

fn check(bytes: &[u8], vouched: &Vouched, what: impl Fn() -> String) -> Result<(), Error> {
    let found = Digest::from_bytes(Sha256::digest(bytes).into());
    if found == vouched.sha256 && bytes.len() as u64 == vouched.size {
        return Ok(());
    }
    let (expected, found) = if found == vouched.sha256 || bytes.len() as u64 == vouched.size {
        (vouched.sha256.to_string(), found.to_string())
    } else {
        (format!("{} bytes", vouched.size), format!("{} bytes", bytes.len()))
    };
    Err(Error::Mismatch { what: what(), expected, found })
}
