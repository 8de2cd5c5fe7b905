//! Signatures of indices (OpenPGP, RFC 9580), with a policy.
//!
//! The `pgp` crate computes; what may count is decided here: which hashes and keys are strong enough,
//! whether a key was bound, has expired or was revoked, whether a signature is of now. Only a text that a
//! good signature covers leaves this module.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod certificate;
mod frame;
mod keyring;
#[cfg(test)]
mod tests;

pub use keyring::{Keyring, KeyringError};

use certificate::critical_unknown;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType};
use std::fmt;

/// Largest signed text, in bytes.
pub const MAX_TEXT: usize = 64 << 20;
/// Largest block of signatures, in bytes.
const MAX_SIGNATURES_BYTES: usize = 1 << 20;
/// Most signatures of one text.
const MAX_SIGNATURES: usize = 64;

/// What a signature has to fulfil to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Seconds that a signature, or a key, may be dated in the future.
    pub clock_skew: u64,
    /// Shortest RSA key, in bits.
    pub min_rsa_bits: u32,
    /// One good signature is enough: whether the others are looked at too, to tell who made them. Where not, those that
    /// are computed fastest come first, and the last ones before the first ones.
    pub every_signature: bool,
}

impl Default for Policy {
    /// Five minutes, 2048 bits, every signature.
    fn default() -> Self {
        Self {
            clock_skew: 300,
            min_rsa_bits: 2048,
            every_signature: true,
        }
    }
}

/// A text that at least one good signature covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The signed text and nothing else: no frame, no escapes, lines end with a newline. White space at
    /// the ends of lines, which no cleartext signature covers, is gone.
    pub text: String,
    /// Who signed: the fingerprints of the signing keys' certificates, in hexadecimal. Only one of them where
    /// [`Policy::every_signature`] is not asked for.
    pub signers: Vec<String>,
    /// Signatures that were looked at and did not count, and why. One good one is enough.
    pub rejected: Vec<Rejected>,
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// The key is not in the keyring.
    UnknownKey,
    /// The signature does not fit the text.
    BadSignature,
    /// The signature, or what binds its key, uses a hash that is broken.
    WeakHash(String),
    /// The key's algorithm or length is too weak.
    WeakKey(String),
    /// Made in the future, at this time.
    FromTheFuture(u64),
    /// The signature itself expired at this time.
    Expired(u64),
    /// The key expired at this time.
    KeyExpired(u64),
    /// The key, or the certificate it belongs to, was revoked.
    KeyRevoked,
    /// Nothing valid binds the key to its certificate; the text says what is missing.
    NotBound(&'static str),
    /// The key may not sign.
    NotForSigning,
    /// Something in the signature that is not understood and may not be ignored.
    Unsupported(&'static str),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = crate::date::format;
        match self {
            Self::UnknownKey => f.write_str("the key is not in the keyring"),
            Self::BadSignature => f.write_str("the signature does not fit the text"),
            Self::WeakHash(hash) => write!(f, "the hash {hash} is too weak"),
            Self::WeakKey(what) => write!(f, "the key is too weak ({what})"),
            Self::FromTheFuture(at) => write!(f, "dated in the future, {}", date(*at)),
            Self::Expired(at) => write!(f, "the signature expired on {}", date(*at)),
            Self::KeyExpired(at) => write!(f, "the key expired on {}", date(*at)),
            Self::KeyRevoked => f.write_str("the key was revoked"),
            Self::NotBound(what) => write!(f, "the key is not bound to its certificate: {what}"),
            Self::NotForSigning => f.write_str("the key may not be used to sign"),
            Self::Unsupported(what) => write!(f, "not understood: {what}"),
        }
    }
}

/// A signature that does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The key the signature names, as `0x` and hexadecimal; empty where it names none.
    pub key: String,
    /// Why.
    pub why: Rejection,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.why, self.key.as_str()) {
            (Rejection::UnknownKey, "") => f.write_str("signed by an unnamed key"),
            (Rejection::UnknownKey, key) => write!(f, "signed by unknown key {key}"),
            (why, "") => why.fmt(f),
            (why, key) => write!(f, "{key}: {why}"),
        }
    }
}

fn list(rejected: &[Rejected]) -> String {
    rejected
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Why a text is not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Not a text in one cleartext frame.
    #[error("not a signed text: line {line}: {what}")]
    Frame {
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The text is not UTF-8, or longer than [`MAX_TEXT`].
    #[error("the signed text is {0}")]
    Text(&'static str),
    /// The block of signatures cannot be read.
    #[error("the signatures cannot be read: {what}")]
    Block {
        /// What is wrong.
        what: &'static str,
    },
    /// The block of signatures cannot be parsed.
    #[error("the signatures cannot be parsed")]
    Packet(#[source] Box<pgp::errors::Error>),
    /// There are signatures, but none that counts.
    #[error("no good signature: {}", list(.rejected))]
    NoGoodSignature {
        /// Each signature, and why it does not count.
        rejected: Vec<Rejected>,
    },
}

/// Verifies a text in a cleartext frame (`InRelease`) at the time `now`, seconds since 1970.
///
/// Anything outside of the frame but blank lines is refused, and so is a second frame.
pub fn verify_inline(
    inrelease: &[u8],
    keyring: &Keyring,
    now: u64,
    policy: &Policy,
) -> Result<Verified, VerifyError> {
    let frame = frame::Frame::parse(inrelease)?;
    let signatures = parse_signatures(frame.signatures.as_bytes())?;
    // Cleartext signatures are made over the text form: CR LF between the lines, none at the end.
    let text = frame.text.strip_suffix('\n').unwrap_or(&frame.text);
    let (signers, rejected) = check_all(
        &signatures,
        text.as_bytes(),
        &[SignatureType::Text],
        keyring,
        now,
        policy,
    )?;
    Ok(Verified {
        text: frame.text,
        signers,
        rejected,
    })
}

/// A text that nobody vouches for, taken out of its cleartext frame where it has one: for archives whose owner said that
/// signatures do not count.
pub fn unverified(bytes: &[u8]) -> Result<Verified, VerifyError> {
    let framed = bytes
        .trim_ascii_start()
        .starts_with(b"-----BEGIN PGP SIGNED MESSAGE");
    let text = if framed {
        frame::Frame::parse(bytes)?.text
    } else if bytes.len() > MAX_TEXT {
        return Err(VerifyError::Text("too long"));
    } else {
        let clear = std::str::from_utf8(bytes).map_err(|_| VerifyError::Text("not valid UTF-8"))?;
        clear.to_owned()
    };
    Ok(Verified {
        text,
        signers: Vec::new(),
        rejected: Vec::new(),
    })
}

/// Verifies a text against signatures in a file of their own (`Release` and `Release.gpg`, armored or
/// binary).
pub fn verify_detached(
    text: &[u8],
    signatures: &[u8],
    keyring: &Keyring,
    now: u64,
    policy: &Policy,
) -> Result<Verified, VerifyError> {
    if text.len() > MAX_TEXT {
        return Err(VerifyError::Text("too long"));
    }
    let clear = std::str::from_utf8(text).map_err(|_| VerifyError::Text("not valid UTF-8"))?;
    let signatures = parse_signatures(signatures)?;
    let types = [SignatureType::Binary, SignatureType::Text];
    let (signers, rejected) = check_all(&signatures, text, &types, keyring, now, policy)?;
    Ok(Verified {
        text: clear.to_owned(),
        signers,
        rejected,
    })
}

/// The packets of one block, armored or binary.
fn parse_signatures(bytes: &[u8]) -> Result<Vec<Signature>, VerifyError> {
    let block = |what| VerifyError::Block { what };
    if bytes.len() > MAX_SIGNATURES_BYTES {
        return Err(block("more than 1 MiB of signatures"));
    }
    let binary;
    let bytes = if keyring::is_armored(bytes) {
        binary = keyring::dearmor(bytes, "PGP SIGNATURE").map_err(block)?;
        &binary
    } else {
        bytes
    };
    let mut all = Vec::new();
    for packet in PacketParser::new(bytes) {
        match packet.map_err(|e| VerifyError::Packet(Box::new(e)))? {
            Packet::Signature(signature) => all.push(signature),
            Packet::Marker(_) | Packet::Padding(_) => {}
            _ => return Err(block("a packet that is not a signature")),
        }
        if all.len() > MAX_SIGNATURES {
            return Err(block("more than 64 signatures"));
        }
    }
    if all.is_empty() {
        return Err(block("no signature"));
    }
    Ok(all)
}

/// Checks the signatures: who made a good one, and why the others do not count.
fn check_all(
    signatures: &[Signature],
    text: &[u8],
    types: &[SignatureType],
    keyring: &Keyring,
    now: u64,
    policy: &Policy,
) -> Result<(Vec<String>, Vec<Rejected>), VerifyError> {
    let (mut signers, mut rejected) = (Vec::new(), Vec::new());
    let mut signatures: Vec<&Signature> = signatures.iter().collect();
    if !policy.every_signature {
        signatures.reverse();
        // An RSA signature with all that binds its key takes twenty times as long as one of an elliptic curve.
        signatures.sort_by_key(|signature| is_rsa(signature));
    }
    for signature in signatures {
        match check(signature, text, types, keyring, now, policy) {
            Ok(signer) if signers.contains(&signer) => {}
            Ok(signer) => {
                signers.push(signer);
                if !policy.every_signature {
                    break;
                }
            }
            Err(why) => rejected.push(Rejected {
                key: issuer(signature),
                why,
            }),
        }
    }
    if signers.is_empty() {
        return Err(VerifyError::NoGoodSignature { rejected });
    }
    Ok((signers, rejected))
}

fn is_rsa(signature: &Signature) -> bool {
    use pgp::crypto::public_key::PublicKeyAlgorithm::{RSA, RSASign};
    signature
        .config()
        .is_some_and(|config| matches!(config.pub_alg, RSA | RSASign))
}

/// The key that a signature names.
fn issuer(signature: &Signature) -> String {
    let fingerprint = signature
        .issuer_fingerprint()
        .first()
        .map(|f| format!("0x{f:X}"));
    let id = || {
        signature
            .issuer_key_id()
            .first()
            .map(|id| format!("0x{}", id.to_string().to_uppercase()))
    };
    fingerprint.or_else(id).unwrap_or_default()
}

/// Refuses hashes for which two texts with one hash can be made.
fn strong_hash(signature: &Signature) -> Result<(), Rejection> {
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha224
            | HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => Ok(()),
        Some(other) => Err(Rejection::WeakHash(other.to_string())),
        None => Err(Rejection::Unsupported("a signature of an unknown version")),
    }
}

/// When a signature was made and until when it counts, from its signed part.
fn lifetime(signature: &Signature) -> Result<(u64, Option<u64>), Rejection> {
    let created = signature
        .created()
        .ok_or(Rejection::Unsupported("a signature without a date"))?;
    let created = u64::from(created.as_secs());
    let seconds = signature
        .signature_expiration_time()
        .map_or(0, |d| u64::from(d.as_secs()));
    Ok((created, (seconds > 0).then(|| created + seconds)))
}

fn check(
    signature: &Signature,
    text: &[u8],
    types: &[SignatureType],
    keyring: &Keyring,
    now: u64,
    policy: &Policy,
) -> Result<String, Rejection> {
    use pgp::packet::SignatureVersion;
    if !matches!(
        signature.version(),
        SignatureVersion::V4 | SignatureVersion::V6
    ) {
        return Err(Rejection::Unsupported(
            "a signature of a version other than 4 and 6",
        ));
    }
    if !signature.typ().is_some_and(|typ| types.contains(&typ)) {
        return Err(Rejection::Unsupported(
            "a signature of a type that does not sign texts",
        ));
    }
    strong_hash(signature)?;
    if critical_unknown(signature) {
        return Err(Rejection::Unsupported("a critical part of the signature"));
    }
    let mut last = Rejection::UnknownKey;
    for (certificate, key) in keyring.candidates(signature) {
        match certificate.check(key, signature, text, now, policy) {
            Ok(()) => return Ok(certificate.fingerprint()),
            Err(why) => last = why,
        }
    }
    Err(last)
}
