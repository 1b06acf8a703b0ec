//! Whose signature on a release counts.
//!
//! A keyring is a file of OpenPGP certificates (RFC 9580, "transferable public keys"). It comes from the
//! host or from the user, never from the mirror. A signature is good if the primary key or a signing
//! subkey made it, and if that key was bound to its certificate, neither expired nor revoked, when it
//! signed. A revocation that does not say "superseded" or "retired" counts for all time.

use std::fs;
use std::path::{Path, PathBuf};

use pgp::composed::{Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{RevocationCode, Signature, SignatureType};
use pgp::types::{KeyDetails, Tag};

use super::Error;
use super::clearsign::Message;

/// The keys that a release may be signed with.
pub struct Keyring {
    certificates: Vec<SignedPublicKey>,
}

/// Where Debian's `debian-archive-keyring` package puts its keys, the preferred one first.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"];
/// Where it puts them one a file.
const TRUSTED: &str = "/etc/apt/trusted.gpg.d";
/// How far another machine's clock may be ahead of ours.
pub(super) const CLOCK_SLACK_SECONDS: u64 = 600;

impl Keyring {
    /// The host's Debian archive keyring.
    ///
    /// # Errors
    /// [`Error::NoKeyring`] if the host has none, [`Error::Keyring`] if it is unreadable.
    pub fn host() -> Result<Self, Error> {
        if let Some(path) = KEYRINGS.iter().map(Path::new).find(|path| path.exists()) {
            return Self::from_file(path);
        }
        let mut paths: Vec<PathBuf> = fs::read_dir(TRUSTED)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                name.starts_with("debian-archive-") && (name.ends_with(".asc") || name.ends_with(".gpg"))
            })
            .collect();
        paths.sort();
        let mut certificates = Vec::new();
        for path in paths {
            certificates.append(&mut Self::from_file(&path)?.certificates);
        }
        if certificates.is_empty() { Err(Error::NoKeyring) } else { Ok(Self { certificates }) }
    }

    /// A keyring file, binary or armoured.
    ///
    /// # Errors
    /// [`Error::Keyring`] if it cannot be read or holds no certificate.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let bad = |reason: String| Error::Keyring { path: path.to_owned(), reason };
        let bytes = fs::read(path).map_err(|error| bad(error.to_string()))?;
        let (parsed, _) = SignedPublicKey::from_reader_many(bytes.as_slice())
            .map_err(|error| bad(format!("not an OpenPGP keyring ({error})")))?;
        // A certificate of a newer kind than the library knows must not make the others useless.
        let certificates: Vec<_> = parsed.filter_map(Result::ok).collect();
        if certificates.is_empty() {
            return Err(bad("holds no OpenPGP certificate".to_owned()));
        }
        Ok(Self { certificates })
    }

    /// The fingerprint of the first key with a good signature on a message.
    ///
    /// `now` in seconds since 1970. The error says why none was good.
    pub(super) fn verify(&self, message: &Message, now: u64) -> Result<String, String> {
        let mut reasons = Vec::new();
        for signature in &message.signatures {
            match self.check(signature, message.signed.as_bytes(), now) {
                Ok(fingerprint) => return Ok(fingerprint),
                Err(reason) => reasons.push(reason),
            }
        }
        if reasons.is_empty() {
            reasons.push("it carries no signature".to_owned());
        }
        Err(reasons.join("; "))
    }

    fn check(&self, signature: &Signature, text: &[u8], now: u64) -> Result<String, String> {
        let issuer = issuer(signature);
        if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary))
            || !is_strong(signature)
        {
            return Err(format!("the signature of {issuer} is of a kind that does not count"));
        }
        let made = created(signature).ok_or_else(|| format!("the signature of {issuer} has no date"))?;
        if made > now + CLOCK_SLACK_SECONDS {
            return Err(format!("the signature of {issuer} is from the future: check this machine's clock"));
        }
        let lifetime = signature.signature_expiration_time().map_or(0, |time| u64::from(time.as_secs()));
        if lifetime != 0 && made + lifetime < now {
            return Err(format!("the signature of {issuer} has expired"));
        }
        let mut reason = format!("key {issuer} is not in the keyring");
        for certificate in &self.certificates {
            if signature.verify(&certificate.primary_key, text).is_ok() {
                match primary_may_sign(certificate, made) {
                    Ok(()) => return Ok(format!("{:X}", certificate.primary_key.fingerprint())),
                    Err(why) => reason = format!("key {issuer} {why}"),
                }
            }
            for subkey in &certificate.public_subkeys {
                if signature.verify(&subkey.key, text).is_ok() {
                    match subkey_may_sign(certificate, subkey, made) {
                        Ok(()) => return Ok(format!("{:X}", subkey.key.fingerprint())),
                        Err(why) => reason = format!("key {issuer} {why}"),
                    }
                }
            }
            if self.holds(certificate, signature) && reason.ends_with("not in the keyring") {
                reason = format!("the signature of {issuer} does not fit the text: it was changed");
            }
        }
        Err(reason)
    }

    fn holds(&self, certificate: &SignedPublicKey, signature: &Signature) -> bool {
        let prints: Vec<_> = std::iter::once(certificate.primary_key.fingerprint())
            .chain(certificate.public_subkeys.iter().map(|subkey| subkey.key.fingerprint()))
            .collect();
        signature.issuer_fingerprint().iter().any(|print| prints.contains(print))
    }
}

/// Who a signature claims to be from, for messages only.
fn issuer(signature: &Signature) -> String {
    match (signature.issuer_fingerprint().first(), signature.issuer_key_id().first()) {
        (Some(print), _) => format!("{print:X}"),
        (None, Some(id)) => id.to_string().to_uppercase(),
        (None, None) => "an unnamed key".to_owned(),
    }
}

fn is_strong(signature: &Signature) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    matches!(signature.hash_alg(), Some(Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512))
}

fn created(signature: &Signature) -> Option<u64> {
    signature.created().map(|time| u64::from(time.as_secs()))
}

/// Whether a revocation makes a key's signatures of this moment worthless.
fn revokes(revocation: &Signature, made: u64) -> bool {
    let gentle = matches!(
        revocation.revocation_reason_code(),
        Some(RevocationCode::KeySuperseded | RevocationCode::KeyRetired)
    );
    !gentle || created(revocation).is_none_or(|when| when <= made)
}

/// Whether the key's life, as its newest self-signature tells it, contains this moment.
fn alive(key: &impl KeyDetails, newest: &Signature, made: u64) -> Result<(), &'static str> {
    let born = u64::from(key.created_at().as_secs());
    let lifetime = newest.key_expiration_time().map_or(0, |time| u64::from(time.as_secs()));
    if made < born {
        return Err("was made after the signature");
    }
    if lifetime != 0 && born + lifetime <= made { Err("had expired when it signed") } else { Ok(()) }
}

/// The newest valid self-signature of a certificate.
fn newest_self_signature(certificate: &SignedPublicKey) -> Option<&Signature> {
    let primary = &certificate.primary_key;
    let direct =
        certificate.details.direct_signatures.iter().filter(|direct| direct.verify_key(primary).is_ok());
    let users = certificate.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(|certification| {
            certification.typ() != Some(SignatureType::CertRevocation)
                && certification.verify_certification(primary, Tag::UserId, &user.id).is_ok()
        })
    });
    direct.chain(users).filter(|signature| is_strong(signature)).max_by_key(|signature| created(signature))
}

fn primary_is_alive(certificate: &SignedPublicKey, made: u64) -> Result<&Signature, &'static str> {
    let primary = &certificate.primary_key;
    let revocations = &certificate.details.revocation_signatures;
    if revocations
        .iter()
        .any(|revocation| revocation.verify_key(primary).is_ok() && revokes(revocation, made))
    {
        return Err("is revoked");
    }
    let newest = newest_self_signature(certificate).ok_or("has no valid self-signature")?;
    alive(primary, newest, made)?;
    Ok(newest)
}

fn primary_may_sign(certificate: &SignedPublicKey, made: u64) -> Result<(), &'static str> {
    let newest = primary_is_alive(certificate, made)?;
    if newest.key_flags().sign() { Ok(()) } else { Err("is not for signing") }
}

fn subkey_may_sign(
    certificate: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    made: u64,
) -> Result<(), &'static str> {
    primary_is_alive(certificate, made)?;
    let primary = &certificate.primary_key;
    let own = |kind: SignatureType| {
        subkey.signatures.iter().filter(move |signature| {
            signature.typ() == Some(kind) && signature.verify_subkey_binding(primary, &subkey.key).is_ok()
        })
    };
    if own(SignatureType::SubkeyRevocation).any(|revocation| revokes(revocation, made)) {
        return Err("is revoked");
    }
    let binding = own(SignatureType::SubkeyBinding)
        .filter(|binding| is_strong(binding))
        .max_by_key(|binding| created(binding))
        .ok_or("is not bound to its certificate")?;
    alive(&subkey.key, binding, made)?;
    // Without the back signature anyone could adopt a stranger's signing key (RFC 9580, 5.2.1.9).
    let back = binding.embedded_signature();
    let bound_back = back.is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
    if binding.key_flags().sign() && bound_back { Ok(()) } else { Err("is not for signing") }
}
