//! Keyrings: certificates one after the other, binary or armored.

use super::certificate::{Certificate, Key};
use pgp::armor::Dearmor;
use pgp::composed::{Deserializable, SignedPublicKey};
use pgp::packet::Signature;
use std::io::Read;

/// Largest keyring, in bytes.
const MAX_BYTES: usize = 32 << 20;
/// Most certificates.
const MAX_CERTIFICATES: usize = 10_000;

/// Why a keyring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// GnuPG's own key database.
    #[error(
        "this is a GnuPG keybox, not an exported keyring; make one with `gpg --export KEY > FILE.gpg`"
    )]
    Keybox,
    /// A secret key. It does not belong into a keyring to verify with.
    #[error("this holds a secret key; export the public key instead")]
    Secret,
    /// Larger than any keyring.
    #[error("the keyring is too large")]
    TooLarge,
    /// The armor is damaged.
    #[error("the keyring cannot be read: {what}")]
    Armor {
        /// What is wrong.
        what: &'static str,
    },
    /// Nothing usable in it.
    #[error("the keyring holds no usable certificate{}", match .unreadable { 0 => String::new(), n => format!(" ({n} cannot be read)") })]
    Empty {
        /// Number of certificates that could not be read.
        unreadable: usize,
    },
}

/// Certificates to verify with.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    certificates: Vec<Certificate>,
    unreadable: usize,
}

/// Whether bytes are armor rather than packets: packets start with a byte above 0x7f.
pub(super) fn is_armored(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first().is_some_and(|b| *b < 0x80)
}

/// The bytes inside of one armored block that has to be of type `kind`.
pub(super) fn dearmor(text: &[u8], kind: &str) -> Result<Vec<u8>, &'static str> {
    let text = text.trim_ascii();
    let frame = |side: &str| format!("-----{side} {kind}-----").into_bytes();
    if !text.starts_with(&frame("BEGIN")) {
        return Err("an armored block of another type");
    }
    if !text.ends_with(&frame("END")) {
        return Err("an armored block without its end, or something behind it");
    }
    let mut reader = Dearmor::new(text);
    reader
        .read_header()
        .map_err(|_| "a damaged head of an armored block")?;
    let mut bytes = Vec::new();
    reader
        .read_to_end(&mut bytes)
        .map_err(|_| "a damaged armored block")?;
    Ok(bytes)
}

impl Keyring {
    /// Reads a keyring: certificates in binary form, or any number of armored blocks of them. Text around
    /// armored blocks is passed over. A certificate that cannot be read is left out and counted.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyringError> {
        if bytes.len() > MAX_BYTES {
            return Err(KeyringError::TooLarge);
        }
        if bytes.get(8..12) == Some(b"KBXf") {
            return Err(KeyringError::Keybox);
        }
        let mut keyring = Self::default();
        if is_armored(bytes) {
            let text =
                std::str::from_utf8(bytes).map_err(|_| KeyringError::Armor { what: "not text" })?;
            if text.contains("-----BEGIN PGP PRIVATE KEY BLOCK-----") {
                return Err(KeyringError::Secret);
            }
            const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";
            let mut rest = text;
            while let Some(start) = rest.find("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
                let block = rest.get(start..).unwrap_or_default();
                let what = "an armored block without its end";
                let end = block.find(END).ok_or(KeyringError::Armor { what })? + END.len();
                let inside = dearmor(
                    block.get(..end).unwrap_or_default().as_bytes(),
                    "PGP PUBLIC KEY BLOCK",
                );
                keyring.add(&inside.map_err(|what| KeyringError::Armor { what })?)?;
                rest = block.get(end..).unwrap_or_default();
            }
        } else {
            keyring.add(bytes)?;
        }
        if keyring.certificates.is_empty() {
            return Err(KeyringError::Empty {
                unreadable: keyring.unreadable,
            });
        }
        Ok(keyring)
    }

    fn add(&mut self, packets: &[u8]) -> Result<(), KeyringError> {
        // Packet tag 5, in the old and in the new form of the header.
        if packets
            .first()
            .is_some_and(|b| b & 0xfc == 0x94 || *b == 0xc5)
        {
            return Err(KeyringError::Secret);
        }
        let Ok(all) = SignedPublicKey::from_bytes_many(packets) else {
            self.unreadable += 1;
            return Ok(());
        };
        for certificate in all {
            match certificate {
                Ok(certificate) => self.certificates.push(Certificate::new(certificate)),
                Err(_) => self.unreadable += 1,
            }
            if self.certificates.len().saturating_add(self.unreadable) > MAX_CERTIFICATES {
                return Err(KeyringError::TooLarge);
            }
        }
        Ok(())
    }

    /// Puts the certificates of another keyring into this one.
    pub fn extend(&mut self, other: Self) {
        self.certificates.extend(other.certificates);
        self.unreadable += other.unreadable;
    }

    /// Fingerprints of the certificates, in hexadecimal.
    pub fn fingerprints(&self) -> impl Iterator<Item = String> {
        self.certificates.iter().map(Certificate::fingerprint)
    }

    /// Number of certificates that could not be read and were left out.
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// The keys that a signature may come from.
    pub(super) fn candidates<'a>(
        &'a self,
        signature: &'a Signature,
    ) -> impl Iterator<Item = (&'a Certificate, Key<'a>)> {
        self.certificates.iter().flat_map(move |c| {
            c.keys()
                .filter(|k| k.is_named_by(signature))
                .map(move |k| (c, k))
        })
    }
}
