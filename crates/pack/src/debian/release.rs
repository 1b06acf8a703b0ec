//! A suite's signed list of hashes: `dists/SUITE/InRelease`, a clear-signed OpenPGP message around one
//! deb822 stanza. Only what the signature covers is looked at.

use corral_spec::Digest;
use sha2::{Digest as _, Sha256};

use super::clearsign::Message;
use super::keyring::CLOCK_SLACK_SECONDS;
use super::{Error, Keyring, LockedSource, date, deb822};

/// What a release must be to be taken.
pub(super) struct Expect<'a> {
    /// The archive asked for, for example `bookworm-security`.
    pub(super) codename: &'a str,
    /// Seconds since 1970.
    pub(super) now: u64,
    pub(super) allow_expired: bool,
}

/// A release whose signature and dates are good.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) source: LockedSource,
    /// Files are also offered below `by-hash/`, where a mirror update cannot change them.
    pub(super) by_hash: bool,
    text: String,
}

/// Hash and size of a file that a release vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vouched {
    pub(super) sha256: Digest,
    pub(super) size: u64,
}

impl Release {
    /// Verifies an InRelease file.
    pub(super) fn verify(bytes: &[u8], expect: &Expect, keyring: &Keyring) -> Result<Self, Error> {
        let suite = || expect.codename.to_owned();
        let bad = |reason: String| Error::Signature { suite: suite(), reason };
        let unsigned = || bad("it is not a clear-signed OpenPGP message".to_owned());
        let armoured = std::str::from_utf8(bytes).map_err(|_| unsigned())?;
        let message = Message::parse(armoured).ok_or_else(unsigned)?;
        let signed_by = keyring.verify(&message, expect.now).map_err(bad)?;
        let text = message.signed.replace("\r\n", "\n");
        let (date, by_hash) = check(&text, expect)?;
        let inrelease = Digest::from_bytes(Sha256::digest(bytes).into());
        let source = LockedSource { suite: suite(), inrelease, date: date::rfc3339(date), signed_by };
        Ok(Self { source, by_hash, text })
    }

    /// What the release says of a file below `dists/SUITE/`.
    pub(super) fn file(&self, path: &str) -> Option<Vouched> {
        let stanza = deb822::stanzas(&self.text).next()?;
        stanza.get("SHA256")?.lines().find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (hash, size, name) = (words.next()?, words.next()?, words.next()?);
            if name != path {
                return None;
            }
            Some(Vouched { sha256: Digest::from_hex(hash).ok()?, size: size.parse().ok()? })
        })
    }
}

/// Checks name and dates of a release; answers its date and whether it offers `by-hash/`.
fn check(text: &str, expect: &Expect) -> Result<(u64, bool), Error> {
    let suite = || expect.codename.to_owned();
    let malformed =
        |reason: &str| Error::Malformed { what: "InRelease", suite: suite(), reason: reason.to_owned() };
    let mut stanzas = deb822::stanzas(text);
    let (Some(stanza), None) = (stanzas.next(), stanzas.next()) else {
        return Err(malformed("is not one stanza"));
    };
    let codename = stanza.get("Codename").unwrap_or_default();
    if codename != expect.codename {
        return Err(Error::WrongSuite { asked: suite(), found: codename.chars().take(80).collect() });
    }
    let date_text = stanza.get("Date").ok_or_else(|| malformed("has no Date"))?;
    let date = date::parse(date_text).ok_or_else(|| malformed("has a malformed Date"))?;
    if date > expect.now + CLOCK_SLACK_SECONDS {
        return Err(Error::Future { suite: suite(), date: date_text.to_owned() });
    }
    if let Some(until) = stanza.get("Valid-Until") {
        let end = date::parse(until).ok_or_else(|| malformed("has a malformed Valid-Until"))?;
        if end < expect.now && !expect.allow_expired {
            return Err(Error::Expired { suite: suite(), until: until.to_owned() });
        }
    }
    Ok((date, stanza.get("Acquire-By-Hash") == Some("yes")))
}
