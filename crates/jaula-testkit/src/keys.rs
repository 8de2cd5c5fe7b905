//! Signing keys for tests: good ones, and each kind of bad one a verifier has to refuse.

use anyhow::{Context, Result, anyhow};
use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, DetachedSignature, KeyType, SecretKeyParamsBuilder,
    SignedPublicKey, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    KeyFlags, RevocationCode, SignatureConfig, SignatureType, Subpacket, SubpacketData, UserId,
};
use pgp::ser::Serialize;
use pgp::types::{Duration, KeyDetails, Password, SignedUser, SigningKey, Tag, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Ten years before 2026-01-01, in seconds since the epoch: old enough for any expiry test.
const CREATED: u32 = 1_451_606_400;
const DAY: u32 = 86_400;

/// What is wrong with a key or with what it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    Expired,
    Revoked,
    WeakHash,
    NotForSigning,
    Subkey,
}

/// A key pair that signs repositories. The same name and kind always give the same key material
/// apart from RSA ones, so tests can be compared between runs.
pub struct TestKey {
    secret: SignedSecretKey,
    flaw: Flaw,
}

impl std::fmt::Debug for TestKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "TestKey({}, {:?})", self.fingerprint(), self.flaw)
    }
}

impl TestKey {
    /// A sound Ed25519 key (OpenPGP version 4, so that gpgv of any age reads it).
    pub fn sound(name: &str) -> Result<Self> {
        Self::make(name, Flaw::None)
    }

    /// A key whose validity ended in 2016; what it signs now is dated now.
    pub fn expired(name: &str) -> Result<Self> {
        Self::make(name, Flaw::Expired)
    }

    /// A key that carries its own revocation (compromised).
    pub fn revoked(name: &str) -> Result<Self> {
        Self::make(name, Flaw::Revoked)
    }

    /// An RSA key that signs with SHA-1.
    pub fn weak_hash(name: &str) -> Result<Self> {
        Self::make(name, Flaw::WeakHash)
    }

    /// A key whose flags allow certification only, and that signs all the same.
    pub fn not_for_signing(name: &str) -> Result<Self> {
        Self::make(name, Flaw::NotForSigning)
    }

    /// A sound key that certifies, with a subkey that signs, as Debian's archive keys are.
    pub fn with_subkey(name: &str) -> Result<Self> {
        Self::make(name, Flaw::Subkey)
    }

    fn make(name: &str, flaw: Flaw) -> Result<Self> {
        let mut random = seeded(name, flaw);
        let kind = if flaw == Flaw::WeakHash {
            KeyType::Rsa(2048)
        } else {
            KeyType::Ed25519Legacy
        };
        let mut params = SecretKeyParamsBuilder::default();
        params
            .key_type(kind)
            .can_certify(true)
            .can_sign(true)
            .created_at(Timestamp::from_secs(CREATED))
            .primary_user_id(format!("{name} <{name}@example.org>"));
        if flaw == Flaw::Subkey {
            params.subkey(
                SubkeyParamsBuilder::default()
                    .key_type(KeyType::Ed25519Legacy)
                    .can_sign(true)
                    .created_at(Timestamp::from_secs(CREATED))
                    .build()
                    .map_err(|error| anyhow!("subkey: {error}"))?,
            );
        }
        let params = params.build().map_err(|error| anyhow!("key: {error}"))?;
        let mut secret = params.generate(&mut random).context("generate a key")?;
        let user = own_identity(&secret, name, flaw)?;
        secret.details.users = vec![user];
        if flaw == Flaw::Revoked {
            let mut config = plain(&secret, SignatureType::KeyRevocation, CREATED + DAY)?;
            config
                .hashed_subpackets
                .push(Subpacket::regular(SubpacketData::RevocationReason(
                    RevocationCode::KeyCompromised,
                    Vec::new().into(),
                ))?);
            let signature = config.sign_key(
                &secret.primary_key,
                &Password::empty(),
                secret.primary_key.public_key(),
            )?;
            secret.details.revocation_signatures.push(signature);
        }
        Ok(TestKey { secret, flaw })
    }

    /// Lower-case hexadecimal fingerprint of the primary key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("{:x}", self.secret.primary_key.fingerprint())
    }

    fn public(&self) -> SignedPublicKey {
        self.secret.to_public_key()
    }

    /// The certificate as an armoured keyring (`.asc`).
    pub fn armored(&self) -> Result<String> {
        Ok(self.public().to_armored_string(ArmorOptions::default())?)
    }

    /// The certificate as a binary keyring (`.gpg`), what gpgv reads.
    pub fn keyring(&self) -> Result<Vec<u8>> {
        Ok(self.public().to_bytes()?)
    }

    /// `text` in the cleartext signature framework (`InRelease`).
    pub fn clearsign(&self, text: &str) -> Result<String> {
        let message = match self.secret.secret_subkeys.first() {
            Some(subkey) => self.clearsign_by(&subkey.key, text)?,
            None => self.clearsign_by(&self.secret.primary_key, text)?,
        };
        Ok(message.to_armored_string(ArmorOptions::default())?)
    }

    fn clearsign_by(&self, key: &impl SigningKey, text: &str) -> Result<CleartextSignedMessage> {
        let config = self.data_config(key, SignatureType::Text)?;
        Ok(CleartextSignedMessage::new(
            text,
            config,
            key,
            &Password::empty(),
        )?)
    }

    /// A detached signature of `bytes`, armoured (`Release.gpg`).
    pub fn detach(&self, bytes: &[u8]) -> Result<String> {
        let signature = match self.secret.secret_subkeys.first() {
            Some(subkey) => self.detach_by(&subkey.key, bytes)?,
            None => self.detach_by(&self.secret.primary_key, bytes)?,
        };
        Ok(signature.to_armored_string(ArmorOptions::default())?)
    }

    fn detach_by(&self, key: &impl SigningKey, bytes: &[u8]) -> Result<DetachedSignature> {
        let config = self.data_config(key, SignatureType::Binary)?;
        Ok(DetachedSignature::new(config.sign(
            key,
            &Password::empty(),
            bytes,
        )?))
    }

    fn data_config(&self, key: &impl SigningKey, kind: SignatureType) -> Result<SignatureConfig> {
        let hash = match self.flaw {
            Flaw::WeakHash => HashAlgorithm::Sha1,
            _ => HashAlgorithm::Sha512,
        };
        let mut config = SignatureConfig::v4(kind, key.algorithm(), hash);
        config.hashed_subpackets = vec![
            Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::now()))?,
            Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
        ];
        config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(
            key.legacy_key_id(),
        ))?];
        Ok(config)
    }
}

/// A generator that depends on the name and the flaw alone.
fn seeded(name: &str, flaw: Flaw) -> StdRng {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{name} {flaw:?}").as_bytes());
    let mut seed = [0; 32];
    seed.copy_from_slice(&digest);
    StdRng::from_seed(seed)
}

fn plain(secret: &SignedSecretKey, kind: SignatureType, created: u32) -> Result<SignatureConfig> {
    let key = &secret.primary_key;
    let mut config = SignatureConfig::v4(kind, key.algorithm(), HashAlgorithm::Sha512);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::from_secs(
            created,
        )))?,
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
    ];
    config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(
        key.legacy_key_id(),
    ))?];
    Ok(config)
}

/// The self-signature that carries flags and expiry, dated when the key was made (the crate's own
/// builder dates it now, which would make an expired key impossible).
fn own_identity(secret: &SignedSecretKey, name: &str, flaw: Flaw) -> Result<SignedUser> {
    let id = UserId::from_str(Default::default(), format!("{name} <{name}@example.org>"))?;
    let mut flags = KeyFlags::default();
    flags.set_certify(true);
    flags.set_sign(!matches!(flaw, Flaw::NotForSigning | Flaw::Subkey));
    let mut config = plain(secret, SignatureType::CertPositive, CREATED)?;
    config
        .hashed_subpackets
        .push(Subpacket::regular(SubpacketData::KeyFlags(flags))?);
    config
        .hashed_subpackets
        .push(Subpacket::regular(SubpacketData::IsPrimary(true))?);
    if flaw == Flaw::Expired {
        config
            .hashed_subpackets
            .push(Subpacket::regular(SubpacketData::KeyExpirationTime(
                Duration::from_secs(30 * DAY),
            ))?);
    }
    let signature = config.sign_certification(
        &secret.primary_key,
        secret.primary_key.public_key(),
        &Password::empty(),
        Tag::UserId,
        &id,
    )?;
    Ok(SignedUser::new(id, vec![signature]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// gpgv's verdict on a cleartext signature: its status lines.
    fn verdict(key: &TestKey, text: &str) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let ring = dir.path().join("ring.gpg");
        let file = dir.path().join("InRelease");
        std::fs::write(&ring, key.keyring().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        let output = Command::new("gpgv")
            .args(["--status-fd", "1", "--keyring"])
            .arg(&ring)
            .arg(&file)
            .output()
            .ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[test]
    fn gpgv_judges_each_kind_of_key_as_meant() {
        let text = "Origin: Probe\n- dash\nSuite: probe\n";
        let cases = [
            (TestKey::sound("a").unwrap(), "VALIDSIG"),
            (TestKey::with_subkey("b").unwrap(), "VALIDSIG"),
            (TestKey::expired("c").unwrap(), "EXPKEYSIG"),
            (TestKey::revoked("d").unwrap(), "REVKEYSIG"),
            (TestKey::weak_hash("e").unwrap(), "VALIDSIG"),
        ];
        for (key, expected) in cases {
            let Some(status) = verdict(&key, &key.clearsign(text).unwrap()) else {
                crate::skip!("gpgv is not installed");
            };
            assert!(status.contains(expected), "{key:?}: {status}");
            let altered = key.clearsign(text).unwrap().replace("Probe", "Prove");
            let status = verdict(&key, &altered).unwrap();
            assert!(!status.contains("VALIDSIG"), "{key:?}: {status}");
        }
    }

    #[test]
    fn the_same_name_gives_the_same_key() {
        let (one, two) = (TestKey::sound("x").unwrap(), TestKey::sound("x").unwrap());
        assert_eq!(one.fingerprint(), two.fingerprint());
        assert_ne!(
            one.fingerprint(),
            TestKey::sound("y").unwrap().fingerprint()
        );
    }
}
