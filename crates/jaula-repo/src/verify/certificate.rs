//! Whether a key of a certificate may sign, now.

use super::{Policy, Rejection, lifetime, strong_hash};
use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::packet::{PublicKey, Signature, SignatureType, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, PublicParams, Tag, VerifyingKey};

/// A primary key with what is bound to it.
#[derive(Debug, Clone)]
pub struct Certificate(SignedPublicKey);

/// One key of a certificate.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    Primary(&'a PublicKey),
    Subkey(&'a SignedPublicSubKey),
}

impl Key<'_> {
    /// Whether the signature says that it comes from this key. Only a hint: the key decides.
    pub fn is_named_by(&self, signature: &Signature) -> bool {
        fn named(key: &impl KeyDetails, signature: &Signature) -> bool {
            let fingerprints = signature.issuer_fingerprint();
            if fingerprints.is_empty() {
                signature.issuer_key_id().contains(&&key.legacy_key_id())
            } else {
                fingerprints.contains(&&key.fingerprint())
            }
        }
        match self {
            Self::Primary(key) => named(key, signature),
            Self::Subkey(subkey) => named(&subkey.key, signature),
        }
    }
}

/// Whether the signed part has something that must not be ignored, and that nobody here understands.
pub fn critical_unknown(signature: &Signature) -> bool {
    signature.config().is_none_or(|config| {
        config.hashed_subpackets().any(|part| {
            part.is_critical
                && matches!(
                    part.data,
                    SubpacketData::Experimental(..)
                        | SubpacketData::Other(..)
                        | SubpacketData::Notation(_)
                )
        })
    })
}

fn has_key_flags(signature: &Signature) -> bool {
    signature.config().is_some_and(|config| {
        config
            .hashed_subpackets()
            .any(|part| matches!(part.data, SubpacketData::KeyFlags(_)))
    })
}

/// Refuses algorithms and lengths that are too weak, and those nobody here knows.
fn strong_key(key: &impl KeyDetails, policy: &Policy) -> Result<(), Rejection> {
    let weak = |what: &str| Err(Rejection::WeakKey(what.to_owned()));
    match key.public_params() {
        params @ PublicParams::RSA(_) => {
            // The modulus comes first, as a length in bits and the number.
            let mut bytes = Vec::new();
            if params.to_writer(&mut bytes).is_err() {
                return weak("RSA of unknown length");
            }
            let bits = u32::from(
                bytes
                    .first_chunk()
                    .map_or(0, |bits| u16::from_be_bytes(*bits)),
            );
            if bits < policy.min_rsa_bits {
                return weak(&format!("RSA of {bits} bits"));
            }
            Ok(())
        }
        PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => Ok(()),
        PublicParams::DSA(_) => weak("DSA"),
        PublicParams::Elgamal(_) => weak("Elgamal"),
        _ => Err(Rejection::NotForSigning),
    }
}

/// A binding signature that counts: the newest one that `verifies`, is strong, and is of now. An error
/// says why the best of those that verify does not count.
fn newest<'s>(
    signatures: impl Iterator<Item = &'s Signature>,
    verifies: impl Fn(&Signature) -> bool,
    now: u64,
    policy: &Policy,
) -> Result<(u64, &'s Signature), Rejection> {
    let mut best: Option<(u64, &Signature)> = None;
    let mut why = Rejection::NotBound("no self-signature that verifies");
    for signature in signatures {
        if let Err(weak) = strong_hash(signature) {
            // Not even computed: nothing follows from a weak hash.
            why = weak;
            continue;
        }
        if !verifies(signature) {
            continue;
        }
        if critical_unknown(signature) {
            why = Rejection::NotBound("a critical part of the self-signature is not understood");
            continue;
        }
        match lifetime(signature) {
            Err(reason) => why = reason,
            Ok((created, _)) if created > now.saturating_add(policy.clock_skew) => {
                why = Rejection::FromTheFuture(created);
            }
            Ok((_, Some(until))) if until <= now => {
                why = Rejection::NotBound("its self-signature expired")
            }
            Ok((created, _)) if best.is_none_or(|(before, _)| created >= before) => {
                best = Some((created, signature))
            }
            Ok(_) => {}
        }
    }
    best.ok_or(why)
}

/// When a key ends that was made at `created` and bound by `binding`.
fn key_end(created: u64, binding: &Signature) -> Option<u64> {
    let seconds = binding
        .key_expiration_time()
        .map_or(0, |d| u64::from(d.as_secs()));
    (seconds > 0).then(|| created.saturating_add(seconds))
}

impl Certificate {
    pub fn new(key: SignedPublicKey) -> Self {
        Self(key)
    }

    /// The primary key's fingerprint, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        format!("{:X}", self.0.primary_key.fingerprint())
    }

    /// All keys: the primary one, then the subkeys.
    pub fn keys(&self) -> impl Iterator<Item = Key<'_>> {
        std::iter::once(Key::Primary(&self.0.primary_key))
            .chain(self.0.public_subkeys.iter().map(Key::Subkey))
    }

    /// Checks that `signature` over `text` is good and that `key`, which is of this certificate, may have
    /// made it.
    pub fn check(
        &self,
        key: Key<'_>,
        signature: &Signature,
        text: &[u8],
        now: u64,
        policy: &Policy,
    ) -> Result<(), Rejection> {
        let verified = match key {
            Key::Primary(key) => signature.verify(key, text),
            Key::Subkey(subkey) => signature.verify(&subkey.key, text),
        };
        verified.map_err(|_| Rejection::BadSignature)?;
        let (made, until) = lifetime(signature)?;
        let future = |at: u64| at > now.saturating_add(policy.clock_skew);
        if future(made) {
            return Err(Rejection::FromTheFuture(made));
        }
        if let Some(until) = until.filter(|until| *until <= now) {
            return Err(Rejection::Expired(until));
        }
        let flags = self.check_primary(now, policy)?;
        let created = match key {
            Key::Primary(key) => {
                if !has_key_flags(flags) || flags.key_flags().sign() {
                    key.created_at()
                } else {
                    return Err(Rejection::NotForSigning);
                }
            }
            Key::Subkey(subkey) => {
                self.check_subkey(subkey, now, policy)?;
                subkey.key.created_at()
            }
        };
        if made < u64::from(created.as_secs()) {
            return Err(Rejection::NotBound("the signature is older than the key"));
        }
        Ok(())
    }

    /// The primary key: strong, of now, not revoked, not expired. Gives the self-signature that says so.
    fn check_primary(&self, now: u64, policy: &Policy) -> Result<&Signature, Rejection> {
        let key = &self.0.primary_key;
        strong_key(key, policy)?;
        let created = u64::from(key.created_at().as_secs());
        if created > now.saturating_add(policy.clock_skew) {
            return Err(Rejection::FromTheFuture(created));
        }
        // A revocation counts whatever its hash and date: who could forge one could at worst refuse.
        let details = &self.0.details;
        let mut revocations = details
            .revocation_signatures
            .iter()
            .chain(&details.direct_signatures);
        if revocations
            .any(|s| s.typ() == Some(SignatureType::KeyRevocation) && s.verify_key(key).is_ok())
        {
            return Err(Rejection::KeyRevoked);
        }
        let direct = details
            .direct_signatures
            .iter()
            .filter(|s| s.typ() == Some(SignatureType::Key));
        let direct = newest(direct, |s| s.verify_key(key).is_ok(), now, policy);
        let mut best = direct;
        for user in &details.users {
            let own = |s: &Signature| s.verify_certification(key, Tag::UserId, &user.id).is_ok();
            let is_revocation = |s: &&Signature| s.typ() == Some(SignatureType::CertRevocation);
            // Third parties certify too; only what the key itself says counts, and only that is computed.
            let mine = || {
                user.signatures
                    .iter()
                    .filter(|s| Key::Primary(key).is_named_by(s))
            };
            let Ok((made, certification)) =
                newest(mine().filter(|s| !is_revocation(s)), own, now, policy).map_err(|why| {
                    if matches!(best, Err(Rejection::NotBound(_))) {
                        best = Err(why);
                    }
                })
            else {
                continue;
            };
            let revoked = mine()
                .filter(is_revocation)
                .any(|s| own(s) && s.created().is_none_or(|at| u64::from(at.as_secs()) >= made));
            if revoked {
                if best.is_err() {
                    best = Err(Rejection::KeyRevoked);
                }
            } else if best.as_ref().is_ok_and(|(before, _)| *before < made) || best.is_err() {
                best = Ok((made, certification));
            }
        }
        let (_, binding) = best?;
        match key_end(created, binding).filter(|end| *end <= now) {
            Some(end) => Err(Rejection::KeyExpired(end)),
            None => Ok(binding),
        }
    }

    /// A subkey: strong, of now, bound to sign, willing to be bound, not revoked, not expired.
    fn check_subkey(
        &self,
        subkey: &SignedPublicSubKey,
        now: u64,
        policy: &Policy,
    ) -> Result<(), Rejection> {
        let primary = &self.0.primary_key;
        strong_key(&subkey.key, policy)?;
        let created = u64::from(subkey.key.created_at().as_secs());
        if created > now.saturating_add(policy.clock_skew) {
            return Err(Rejection::FromTheFuture(created));
        }
        let own = |s: &Signature| s.verify_subkey_binding(primary, &subkey.key).is_ok();
        let of = |typ| {
            subkey
                .signatures
                .iter()
                .filter(move |s| s.typ() == Some(typ))
        };
        if of(SignatureType::SubkeyRevocation).any(own) {
            return Err(Rejection::KeyRevoked);
        }
        let (_, binding) = newest(of(SignatureType::SubkeyBinding), own, now, policy)?;
        if !binding.key_flags().sign() {
            return Err(Rejection::NotForSigning);
        }
        // Without the subkey's own word, anyone could claim another's signing key as a subkey.
        let back = binding
            .embedded_signature()
            .ok_or(Rejection::NotBound("no signature back from the subkey"))?;
        strong_hash(back)?;
        if back.typ() != Some(SignatureType::KeyBinding)
            || !verifies_back(back, &subkey.key, primary)
        {
            return Err(Rejection::NotBound("a bad signature back from the subkey"));
        }
        match key_end(created, binding).filter(|end| *end <= now) {
            Some(end) => Err(Rejection::KeyExpired(end)),
            None => Ok(()),
        }
    }
}

fn verifies_back(
    back: &Signature,
    subkey: &(impl VerifyingKey + Serialize),
    primary: &(impl VerifyingKey + Serialize),
) -> bool {
    back.verify_primary_key_binding(subkey, primary).is_ok()
}
