//! Keys made for a test, and what can be wrong with them.

use std::fs;
use std::path::Path;

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
    SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, RevocationCode, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{Duration, KeyDetails as _, Password, Timestamp};

use super::super::Keyring;

pub(super) struct Signer {
    secret: SignedSecretKey,
    certificate: SignedPublicKey,
    by_subkey: bool,
}

fn time(seconds: u64) -> Timestamp {
    Timestamp::from_secs(u32::try_from(seconds).expect("before 2106"))
}

fn part(data: SubpacketData) -> Subpacket {
    Subpacket::regular(data).expect("subpacket")
}

impl Signer {
    /// A key that signs by itself and by a subkey, born at this moment (seconds since 1970).
    pub(super) fn new(born: u64) -> Self {
        let subkey = SubkeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .can_encrypt(EncryptionCaps::None)
            .created_at(time(born))
            .build()
            .expect("subkey");
        let secret = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .created_at(time(born))
            .primary_user_id("Test archive <test@invalid>".to_owned())
            .subkey(subkey)
            .build()
            .expect("key")
            .generate(rand::thread_rng())
            .expect("generate");
        let certificate = SignedPublicKey::from(secret.clone());
        Self { secret, certificate, by_subkey: false }
    }

    fn copy(&self) -> Self {
        Self { secret: self.secret.clone(), certificate: self.certificate.clone(), by_subkey: self.by_subkey }
    }

    /// The same key, signing with its subkey.
    pub(super) fn with_subkey(&self, _born: u64) -> Self {
        Self { by_subkey: true, ..self.copy() }
    }

    /// The same key, its life ended at this moment by a newer self-signature.
    pub(super) fn expired(&self, end: u64) -> Self {
        let born = u64::from(self.secret.primary_key.created_at().as_secs());
        let life = Duration::from_secs(u32::try_from(end - born).expect("a life"));
        let mut flags = KeyFlags::default();
        flags.set_certify(true);
        flags.set_sign(true);
        let newest = time(u64::from(Timestamp::now().as_secs()) + 9);
        let signature = self.self_sign(
            SignatureType::Key,
            vec![
                SubpacketData::SignatureCreationTime(newest),
                SubpacketData::KeyExpirationTime(life),
                SubpacketData::KeyFlags(flags),
            ],
        );
        let mut copy = self.copy();
        copy.certificate.details.direct_signatures.push(signature);
        copy
    }

    /// The same key, revoked at this moment; `gentle`: it was only retired.
    pub(super) fn revoked(&self, when: u64, gentle: bool) -> Self {
        let code = if gentle { RevocationCode::KeyRetired } else { RevocationCode::KeyCompromised };
        let signature = self.self_sign(
            SignatureType::KeyRevocation,
            vec![
                SubpacketData::SignatureCreationTime(time(when)),
                SubpacketData::RevocationReason(code, Vec::new().into()),
            ],
        );
        let mut copy = self.copy();
        copy.certificate.details.revocation_signatures.push(signature);
        copy
    }

    fn self_sign(&self, kind: SignatureType, parts: Vec<SubpacketData>) -> pgp::packet::Signature {
        let key = &self.secret.primary_key;
        let mut config = SignatureConfig::v4(kind, key.algorithm(), HashAlgorithm::Sha512);
        config.hashed_subpackets = parts.into_iter().map(part).collect();
        config.hashed_subpackets.push(part(SubpacketData::IssuerFingerprint(key.fingerprint())));
        config.sign_key(key, &Password::empty(), &self.certificate.primary_key).expect("sign")
    }

    /// A clear-signed message, signed at this moment.
    pub(super) fn sign(&self, text: &str, made: u64) -> String {
        self.sign_for(text, made, None)
    }

    /// As [`Signer::sign`], the signature being good for so many seconds.
    pub(super) fn sign_for(&self, text: &str, made: u64, life: Option<u64>) -> String {
        let (primary, subkey) = (&self.secret.primary_key, &self.secret.secret_subkeys[0].key);
        let (algorithm, fingerprint) = match self.by_subkey {
            true => (subkey.algorithm(), subkey.fingerprint()),
            false => (primary.algorithm(), primary.fingerprint()),
        };
        let mut config = SignatureConfig::v4(SignatureType::Text, algorithm, HashAlgorithm::Sha256);
        config.hashed_subpackets = vec![
            part(SubpacketData::SignatureCreationTime(time(made))),
            part(SubpacketData::IssuerFingerprint(fingerprint)),
        ];
        if let Some(life) = life {
            let life = Duration::from_secs(u32::try_from(life).expect("a life"));
            config.hashed_subpackets.push(part(SubpacketData::SignatureExpirationTime(life)));
        }
        let message = match self.by_subkey {
            true => CleartextSignedMessage::new(text, config, subkey, &Password::empty()),
            false => CleartextSignedMessage::new(text, config, primary, &Password::empty()),
        };
        message.expect("sign").to_armored_string(ArmorOptions::default()).expect("armour")
    }

    /// A keyring with this certificate, and another beside it.
    pub(super) fn keyring(&self, home: &Path) -> Keyring {
        let path = home.join("keyring.gpg");
        let mut bytes = Self::new(1_600_000_000).certificate.to_bytes().expect("certificate");
        bytes.extend(self.certificate.to_bytes().expect("certificate"));
        fs::write(&path, bytes).expect("write the keyring");
        Keyring::from_file(&path).expect("keyring")
    }
}
