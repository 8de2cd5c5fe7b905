use super::*;
use pgp::composed::{
    ArmorOptions, DetachedSignature, DsaKeySize, KeyType, SecretKeyParamsBuilder, SignedKeyDetails,
    SignedPublicKey, SignedPublicSubKey, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::packet::{KeyFlags, RevocationCode, SignatureConfig, Subpacket, SubpacketData, UserId};
use pgp::ser::Serialize;
use pgp::types::{Duration, KeyDetails, Password, SignedUser, SigningKey, Tag, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;

const T0: u32 = 1_700_000_000;
const NOW: u64 = T0 as u64 + 1000;
const TEXT: &str = "Origin: Test\n- a line with a dash\n\nSHA256:\n";

/// Key material only; what binds it is made by [`Make`].
fn secret(key_type: KeyType, seed: u64) -> SignedSecretKey {
    SecretKeyParamsBuilder::default()
        .key_type(key_type)
        .can_certify(true)
        .can_sign(true)
        .created_at(Timestamp::from_secs(T0))
        .primary_user_id("Archive <archive@example.org>".into())
        .subkey(
            SubkeyParamsBuilder::default()
                .key_type(KeyType::Ed25519Legacy)
                .can_sign(true)
                .created_at(Timestamp::from_secs(T0))
                .build()
                .unwrap(),
        )
        .build()
        .unwrap()
        .generate(StdRng::seed_from_u64(seed))
        .unwrap()
}

fn config(typ: SignatureType, key: &impl KeyDetails, more: Vec<SubpacketData>) -> SignatureConfig {
    let mut config = SignatureConfig::v4(typ, key.algorithm(), HashAlgorithm::Sha256);
    let parts = if more
        .iter()
        .any(|p| matches!(p, SubpacketData::SignatureCreationTime(_)))
    {
        vec![]
    } else {
        vec![SubpacketData::SignatureCreationTime(Timestamp::from_secs(
            T0,
        ))]
    };
    let parts = parts
        .into_iter()
        .chain([SubpacketData::IssuerFingerprint(key.fingerprint())])
        .chain(more);
    config.hashed_subpackets = parts.map(|p| Subpacket::regular(p).unwrap()).collect();
    config
}

fn flags(certify: bool, sign: bool) -> SubpacketData {
    let mut flags = KeyFlags::default();
    flags.set_certify(certify);
    flags.set_sign(sign);
    SubpacketData::KeyFlags(flags)
}

/// A certificate with everything about it open to change.
struct Make {
    secret: SignedSecretKey,
    self_parts: Vec<SubpacketData>,
    self_hash: HashAlgorithm,
    binding_parts: Vec<SubpacketData>,
    /// Who signs back; nothing: no signature back.
    back: Option<SignedSecretKey>,
    revoke_key: bool,
    revoke_subkey: bool,
    revoke_user: bool,
}

fn make(seed: u64) -> Make {
    let secret = secret(KeyType::Ed25519Legacy, seed);
    Make {
        back: Some(secret.clone()),
        secret,
        self_parts: vec![flags(true, true)],
        self_hash: HashAlgorithm::Sha256,
        binding_parts: vec![flags(false, true)],
        revoke_key: false,
        revoke_subkey: false,
        revoke_user: false,
    }
}

impl Make {
    fn public(&self) -> SignedPublicKey {
        let pw = Password::empty();
        let primary = &self.secret.primary_key;
        let public = primary.public_key();
        let id = UserId::from_str(Default::default(), "Archive <archive@example.org>").unwrap();
        let mut certify = config(
            SignatureType::CertPositive,
            primary,
            self.self_parts.clone(),
        );
        certify.hash_alg = self.self_hash;
        let mut signatures = vec![
            certify
                .sign_certification(primary, public, &pw, Tag::UserId, &id)
                .unwrap(),
        ];
        if self.revoke_user {
            let revoke = config(SignatureType::CertRevocation, primary, vec![]);
            signatures.push(
                revoke
                    .sign_certification(primary, public, &pw, Tag::UserId, &id)
                    .unwrap(),
            );
        }
        let mut revocations = vec![];
        if self.revoke_key {
            let reason = SubpacketData::RevocationReason(RevocationCode::KeyCompromised, "".into());
            let revoke = config(SignatureType::KeyRevocation, primary, vec![reason]);
            revocations.push(revoke.sign_key(primary, &pw, public).unwrap());
        }
        let subkey = self.secret.secret_subkeys[0].key.public_key();
        let mut bind = config(
            SignatureType::SubkeyBinding,
            primary,
            self.binding_parts.clone(),
        );
        if let Some(back) = &self.back {
            let signer = &back.secret_subkeys[0].key;
            let back = config(SignatureType::KeyBinding, signer, vec![])
                .sign_primary_key_binding(signer, signer.public_key(), &pw, public)
                .unwrap();
            bind.unhashed_subpackets.push(
                Subpacket::regular(SubpacketData::EmbeddedSignature(Box::new(back))).unwrap(),
            );
        }
        let mut bindings = vec![
            bind.sign_subkey_binding(primary, public, &pw, subkey)
                .unwrap(),
        ];
        if self.revoke_subkey {
            let revoke = config(SignatureType::SubkeyRevocation, primary, vec![]);
            bindings.push(
                revoke
                    .sign_subkey_binding(primary, public, &pw, subkey)
                    .unwrap(),
            );
        }
        SignedPublicKey {
            primary_key: public.clone(),
            details: SignedKeyDetails::new(
                revocations,
                vec![],
                vec![SignedUser::new(id, signatures)],
                vec![],
            ),
            public_subkeys: vec![SignedPublicSubKey::new(subkey.clone(), bindings)],
        }
    }

    fn keyring(&self) -> Keyring {
        Keyring::parse(&self.public().to_bytes().unwrap()).unwrap()
    }

    fn by_primary(&self, parts: Vec<SubpacketData>) -> Vec<u8> {
        inline(
            TEXT,
            sign(
                &self.secret.primary_key,
                SignatureType::Text,
                HashAlgorithm::Sha256,
                parts,
            ),
        )
    }

    fn by_subkey(&self) -> Vec<u8> {
        let key = &self.secret.secret_subkeys[0].key;
        inline(
            TEXT,
            sign(key, SignatureType::Text, HashAlgorithm::Sha256, vec![]),
        )
    }

    /// Why the primary key's signature does not count.
    fn primary_refused(&self) -> Rejection {
        refused(&self.by_primary(vec![]), &self.keyring(), NOW)
    }

    fn subkey_refused(&self) -> Rejection {
        refused(&self.by_subkey(), &self.keyring(), NOW)
    }
}

fn sign(
    key: &impl SigningKey,
    typ: SignatureType,
    hash: HashAlgorithm,
    parts: Vec<SubpacketData>,
) -> Signature {
    let mut config = config(typ, key, parts);
    config.hash_alg = hash;
    config
        .sign(
            key,
            &Password::empty(),
            TEXT.trim_end_matches('\n').as_bytes(),
        )
        .unwrap()
}

/// Both signatures in one block.
fn both(first: Signature, second: Signature) -> Vec<u8> {
    let block = |signature| DetachedSignature::new(signature).to_bytes().unwrap();
    [block(first), block(second)].concat()
}

fn armored(signature: Signature) -> String {
    DetachedSignature::new(signature)
        .to_armored_string(ArmorOptions::default())
        .unwrap()
}

fn inline(text: &str, signature: Signature) -> Vec<u8> {
    let escaped: String = text
        .lines()
        .map(|l| {
            if l.starts_with('-') {
                format!("- {l}\n")
            } else {
                format!("{l}\n")
            }
        })
        .collect();
    format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{escaped}{}",
        armored(signature)
    )
    .into_bytes()
}

fn verify(bytes: &[u8], keyring: &Keyring) -> Result<Verified, VerifyError> {
    verify_inline(bytes, keyring, NOW, &Policy::default())
}

fn refused(bytes: &[u8], keyring: &Keyring, now: u64) -> Rejection {
    match verify_inline(bytes, keyring, now, &Policy::default()) {
        Err(VerifyError::NoGoodSignature { rejected }) => rejected[0].why.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn good_signatures_of_primary_key_and_subkey() {
    let make = make(1);
    for bytes in [make.by_primary(vec![]), make.by_subkey()] {
        let verified = verify(&bytes, &make.keyring()).unwrap();
        assert_eq!(verified.text, TEXT);
        assert_eq!(
            verified.signers,
            [format!("{:X}", make.secret.primary_key.fingerprint())]
        );
        assert!(verified.rejected.is_empty());
    }
}

#[test]
fn detached_signatures() {
    let make = make(1);
    let key = &make.secret.primary_key;
    let signed = TEXT.trim_end_matches('\n');
    let policy = Policy::default();
    for typ in [SignatureType::Binary, SignatureType::Text] {
        let signature = sign(key, typ, HashAlgorithm::Sha512, vec![]);
        for block in [
            armored(signature.clone()).into_bytes(),
            DetachedSignature::new(signature).to_bytes().unwrap(),
        ] {
            let verified =
                verify_detached(signed.as_bytes(), &block, &make.keyring(), NOW, &policy).unwrap();
            assert_eq!(verified.text, signed);
            let other = signed.replace("Test", "Evil");
            assert!(
                verify_detached(other.as_bytes(), &block, &make.keyring(), NOW, &policy).is_err()
            );
        }
    }
    // A signature over a key or a standalone one signs no text.
    let good = sign(key, SignatureType::Binary, HashAlgorithm::Sha256, vec![]);
    let mut config = good.config().unwrap().clone();
    config.typ = SignatureType::Standalone;
    let value = good.signed_hash_value().unwrap();
    let standalone =
        Signature::from_config(config, value, good.signature().unwrap().clone()).unwrap();
    let result = verify_detached(
        signed.as_bytes(),
        armored(standalone).as_bytes(),
        &make.keyring(),
        NOW,
        &policy,
    );
    assert!(
        result
            .unwrap_err()
            .to_string()
            .contains("does not sign texts")
    );
    for block in [
        &b""[..],
        b"junk",
        b"\x88",
        b"-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n",
    ] {
        assert!(verify_detached(signed.as_bytes(), block, &make.keyring(), NOW, &policy).is_err());
    }
}

#[test]
fn one_good_signature_is_enough_and_the_fastest_is_tried_first() {
    let curve = make(1);
    let rsa = Make {
        secret: secret(KeyType::Rsa(2048), 2),
        ..make(2)
    };
    let sign = |make: &Make| {
        let key = &make.secret.primary_key;
        sign(key, SignatureType::Binary, HashAlgorithm::Sha256, vec![])
    };
    let name = |make: &Make| format!("{:X}", make.secret.primary_key.fingerprint());
    let text = TEXT.trim_end_matches('\n').as_bytes();
    let mut keyring = curve.keyring();
    keyring.extend(rsa.keyring());
    let one = Policy {
        every_signature: false,
        ..Policy::default()
    };
    for block in [
        both(sign(&curve), sign(&rsa)),
        both(sign(&rsa), sign(&curve)),
    ] {
        let verified = verify_detached(text, &block, &keyring, NOW, &Policy::default()).unwrap();
        assert_eq!(verified.signers.len(), 2);
        let verified = verify_detached(text, &block, &keyring, NOW, &one).unwrap();
        assert_eq!(verified.signers, [name(&curve)]);
        // What does not count does not stand in the way of what does.
        let verified = verify_detached(text, &block, &rsa.keyring(), NOW, &one).unwrap();
        assert_eq!(verified.signers, [name(&rsa)]);
        assert_eq!(verified.rejected[0].why, Rejection::UnknownKey);
        // And a text that nobody signed is refused, however little is looked at.
        let none = verify_detached(b"another", &block, &keyring, NOW, &one);
        match none {
            Err(VerifyError::NoGoodSignature { rejected }) => assert_eq!(rejected.len(), 2),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn unknown_key_is_named() {
    let (make, other) = (make(1), make(2));
    let error = verify(&make.by_primary(vec![]), &other.keyring())
        .unwrap_err()
        .to_string();
    let name = format!(
        "signed by unknown key 0x{:X}",
        make.secret.primary_key.fingerprint()
    );
    assert!(error.contains(&name), "{error}");
}

#[test]
fn changed_text() {
    let make = make(1);
    let text = String::from_utf8(make.by_primary(vec![])).unwrap();
    for (from, to) in [
        ("Origin: Test", "Origin: Evil"),
        ("SHA256:\n", "SHA256:\nx\n"),
        ("\n\nSHA256", "\nSHA256"),
    ] {
        let changed = text.replacen(from, to, 1).into_bytes();
        assert_eq!(
            refused(&changed, &make.keyring(), NOW),
            Rejection::BadSignature,
            "{to:?}"
        );
    }
    // White space at the ends of lines is not signed, and does not come out.
    let blank = text
        .replace("Origin: Test\n", "Origin: Test \t\r\n")
        .into_bytes();
    assert_eq!(verify(&blank, &make.keyring()).unwrap().text, TEXT);
}

#[test]
fn text_around_the_frame() {
    let make = make(1);
    let good = String::from_utf8(make.by_primary(vec![])).unwrap();
    let keyring = make.keyring();
    let begin = "-----BEGIN PGP SIGNED MESSAGE-----\n";
    let bad = [
        format!("Origin: Evil\n{good}"),
        format!("{good}Origin: Evil\n"),
        format!("{good}{good}"),
        format!("\u{feff}{good}"),
        good.replace("Hash: SHA256\n", "Hash: SHA256\nOrigin: Evil\n"),
        good.replace("Hash: SHA256\n", "Comment: x\n"),
        good.replace("Origin: Test\n", &format!("{begin}Origin: Test\n")),
        good.replace("- - a line", "- a line"),
        good.replace("- - a line", "-- a line"),
        good.replace("Origin: Test\n", "Origin: Test\rOrigin: Evil\n"),
        good.replace("Origin: Test\n", "Origin: Test\0\n"),
        good.replace("-----END PGP SIGNATURE-----", ""),
        good.replace("-----BEGIN PGP SIGNATURE-----", ""),
        good.replace("PGP SIGNATURE", "PGP MESSAGE"),
        good.replace(begin, ""),
        String::new(),
        begin.to_owned(),
    ];
    for bytes in bad {
        assert!(
            verify(bytes.as_bytes(), &keyring).is_err(),
            "accepted: {bytes}"
        );
    }
    assert_eq!(
        verify(format!("{good}\n \n").as_bytes(), &keyring)
            .unwrap()
            .text,
        TEXT
    );
    assert!(matches!(
        verify(b"\xff", &keyring),
        Err(VerifyError::Text(_))
    ));
}

#[test]
fn times_of_the_signature() {
    let make = make(1);
    let at = |t| SubpacketData::SignatureCreationTime(Timestamp::from_secs(t));
    let late = make.by_primary(vec![at(T0 + 5000)]);
    assert_eq!(
        refused(&late, &make.keyring(), NOW),
        Rejection::FromTheFuture(u64::from(T0) + 5000)
    );
    assert!(
        verify_inline(
            &late,
            &make.keyring(),
            u64::from(T0) + 4800,
            &Policy::default()
        )
        .is_ok()
    );
    let short = make.by_primary(vec![SubpacketData::SignatureExpirationTime(
        Duration::from_secs(500),
    )]);
    assert_eq!(
        refused(&short, &make.keyring(), NOW),
        Rejection::Expired(u64::from(T0) + 500)
    );
    assert!(
        verify_inline(
            &short,
            &make.keyring(),
            u64::from(T0) + 400,
            &Policy::default()
        )
        .is_ok()
    );
    let early = make.by_primary(vec![at(T0 - 5000)]);
    assert!(matches!(
        refused(&early, &make.keyring(), NOW),
        Rejection::NotBound(_)
    ));
}

#[test]
fn weak_hashes() {
    let make = make(1);
    // The crate does not make or compute such signatures any more; the number in the packet is enough,
    // for the policy looks at it first.
    let good = sign(
        &make.secret.primary_key,
        SignatureType::Text,
        HashAlgorithm::Sha256,
        vec![],
    );
    for hash in [
        HashAlgorithm::Md5,
        HashAlgorithm::Sha1,
        HashAlgorithm::Ripemd160,
        HashAlgorithm::None,
    ] {
        let mut config = good.config().unwrap().clone();
        config.hash_alg = hash;
        let value = good.signed_hash_value().unwrap();
        let weak =
            Signature::from_config(config, value, good.signature().unwrap().clone()).unwrap();
        let why = refused(&inline(TEXT, weak), &make.keyring(), NOW);
        assert_eq!(why, Rejection::WeakHash(hash.to_string()));
    }
}

#[test]
fn weak_self_signature() {
    let mut public = make(1).public();
    let user = &mut public.details.users[0];
    let mut config = user.signatures[0].config().unwrap().clone();
    config.hash_alg = HashAlgorithm::Sha1;
    let value = user.signatures[0].signed_hash_value().unwrap();
    let bytes = user.signatures[0].signature().unwrap().clone();
    user.signatures = vec![Signature::from_config(config, value, bytes).unwrap()];
    let keyring = Keyring::parse(&public.to_bytes().unwrap()).unwrap();
    assert_eq!(
        refused(&make(1).by_primary(vec![]), &keyring, NOW),
        Rejection::WeakHash("SHA1".into())
    );
}

#[test]
fn weak_keys() {
    let dsa = Make {
        secret: secret(KeyType::Dsa(DsaKeySize::B2048), 3),
        ..make(3)
    };
    let dsa = Make {
        back: Some(dsa.secret.clone()),
        ..dsa
    };
    assert_eq!(dsa.primary_refused(), Rejection::WeakKey("DSA".into()));
    // A strong subkey of a weak primary key is bound by nothing strong.
    assert_eq!(dsa.subkey_refused(), Rejection::WeakKey("DSA".into()));
    // The crate does not make RSA keys under 2048 bits; the limit is the policy's to set.
    let rsa = Make {
        secret: secret(KeyType::Rsa(2048), 4),
        ..make(4)
    };
    let bytes = rsa.by_primary(vec![]);
    assert!(verify(&bytes, &rsa.keyring()).is_ok());
    let strict = Policy {
        min_rsa_bits: 2049,
        ..Policy::default()
    };
    match verify_inline(&bytes, &rsa.keyring(), NOW, &strict) {
        Err(VerifyError::NoGoodSignature { rejected }) => {
            assert_eq!(
                rejected[0].why,
                Rejection::WeakKey("RSA of 2048 bits".into())
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn expired_keys() {
    let ends = SubpacketData::KeyExpirationTime(Duration::from_secs(900));
    let end = u64::from(T0) + 900;
    let primary = Make {
        self_parts: vec![flags(true, true), ends.clone()],
        ..make(1)
    };
    assert_eq!(primary.primary_refused(), Rejection::KeyExpired(end));
    assert_eq!(primary.subkey_refused(), Rejection::KeyExpired(end));
    assert!(
        verify_inline(
            &primary.by_primary(vec![]),
            &primary.keyring(),
            end - 1,
            &Policy::default()
        )
        .is_ok()
    );
    let subkey = Make {
        binding_parts: vec![flags(false, true), ends],
        ..make(1)
    };
    assert_eq!(subkey.subkey_refused(), Rejection::KeyExpired(end));
    assert!(verify(&subkey.by_primary(vec![]), &subkey.keyring()).is_ok());
    let shown = primary.primary_refused().to_string();
    assert_eq!(
        shown,
        format!("the key expired on {}", crate::date::format(end))
    );
}

#[test]
fn revoked_keys() {
    let key = Make {
        revoke_key: true,
        ..make(1)
    };
    assert_eq!(key.primary_refused(), Rejection::KeyRevoked);
    assert_eq!(key.subkey_refused(), Rejection::KeyRevoked);
    let subkey = Make {
        revoke_subkey: true,
        ..make(1)
    };
    assert_eq!(subkey.subkey_refused(), Rejection::KeyRevoked);
    assert!(verify(&subkey.by_primary(vec![]), &subkey.keyring()).is_ok());
    let user = Make {
        revoke_user: true,
        ..make(1)
    };
    assert_eq!(user.primary_refused(), Rejection::KeyRevoked);
}

#[test]
fn bindings_of_subkeys() {
    let none = Make {
        back: None,
        ..make(1)
    };
    assert_eq!(
        none.subkey_refused(),
        Rejection::NotBound("no signature back from the subkey")
    );
    let other = Make {
        back: Some(make(2).secret),
        ..make(1)
    };
    assert_eq!(
        other.subkey_refused(),
        Rejection::NotBound("a bad signature back from the subkey")
    );
    let no_flag = Make {
        binding_parts: vec![flags(false, false)],
        ..make(1)
    };
    assert_eq!(no_flag.subkey_refused(), Rejection::NotForSigning);
    let over = SubpacketData::SignatureExpirationTime(Duration::from_secs(10));
    let over = Make {
        binding_parts: vec![flags(false, true), over],
        ..make(1)
    };
    assert_eq!(
        over.subkey_refused(),
        Rejection::NotBound("its self-signature expired")
    );
    // Another's subkey, taken with its binding: the binding is by another key.
    let (one, two) = (make(1), make(2));
    let stolen = SignedPublicKey {
        public_subkeys: two.public().public_subkeys,
        ..one.public()
    };
    let keyring = Keyring::parse(&stolen.to_bytes().unwrap()).unwrap();
    assert!(matches!(
        refused(&two.by_subkey(), &keyring, NOW),
        Rejection::NotBound(_)
    ));
}

#[test]
fn primary_key_that_may_only_certify() {
    let make = Make {
        self_parts: vec![flags(true, false)],
        ..make(1)
    };
    assert_eq!(make.primary_refused(), Rejection::NotForSigning);
    assert!(verify(&make.by_subkey(), &make.keyring()).is_ok());
}

#[test]
fn primary_key_without_a_good_self_signature() {
    let (one, two) = (make(1), make(2));
    let mut public = one.public();
    public.details.users = two.public().details.users;
    let keyring = Keyring::parse(&public.to_bytes().unwrap()).unwrap();
    assert!(matches!(
        refused(&one.by_primary(vec![]), &keyring, NOW),
        Rejection::NotBound(_)
    ));
    let late = SubpacketData::SignatureCreationTime(Timestamp::from_secs(T0 + 9000));
    let late = Make {
        self_parts: vec![flags(true, true), late],
        ..make(1)
    };
    assert_eq!(
        late.primary_refused(),
        Rejection::FromTheFuture(u64::from(T0) + 9000)
    );
}

#[test]
fn keyrings() {
    let (one, two) = (make(1).public(), make(2).public());
    let armor = |key: &SignedPublicKey| key.to_armored_string(ArmorOptions::default()).unwrap();
    let both = [one.to_bytes().unwrap(), two.to_bytes().unwrap()].concat();
    assert_eq!(Keyring::parse(&both).unwrap().fingerprints().count(), 2);
    let text = format!("A comment\n{}\nmore\n{}", armor(&one), armor(&two));
    assert_eq!(
        Keyring::parse(text.as_bytes())
            .unwrap()
            .fingerprints()
            .count(),
        2
    );
    let mut keybox = vec![0u8; 32];
    keybox[8..12].copy_from_slice(b"KBXf");
    assert!(matches!(Keyring::parse(&keybox), Err(KeyringError::Keybox)));
    let secret = make(1).secret;
    assert!(matches!(
        Keyring::parse(&secret.to_bytes().unwrap()),
        Err(KeyringError::Secret)
    ));
    let secret = secret.to_armored_string(ArmorOptions::default()).unwrap();
    assert!(matches!(
        Keyring::parse(secret.as_bytes()),
        Err(KeyringError::Secret)
    ));
    for bad in [
        &b""[..],
        b"junk",
        b"\xff\xff\xff",
        &both[..40],
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA",
    ] {
        assert!(Keyring::parse(bad).is_err());
    }
    let mut joined = Keyring::parse(&one.to_bytes().unwrap()).unwrap();
    joined.extend(Keyring::parse(&two.to_bytes().unwrap()).unwrap());
    assert!(verify(&make(2).by_primary(vec![]), &joined).is_ok());
}

/// Debian's own InRelease files and keyring, where this is a Debian.
#[test]
fn real_indices_of_the_host() {
    let Ok(keyring) = std::fs::read("/usr/share/keyrings/debian-archive-keyring.gpg") else {
        eprintln!("skipped: no Debian keyring on this host");
        return;
    };
    let keyring = Keyring::parse(&keyring).unwrap();
    assert_eq!(keyring.unreadable(), 0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let mut seen = 0;
    for entry in std::fs::read_dir("/var/lib/apt/lists")
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().into_string().unwrap();
        if !name.ends_with("_InRelease") || !name.contains("debian") {
            continue;
        }
        let bytes = std::fs::read(entry.path()).unwrap();
        let start = std::time::Instant::now();
        let verified = verify_inline(&bytes, &keyring, now, &Policy::default())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        eprintln!(
            "{name}: {:?} in {:?}, rejected {:?}",
            verified.signers,
            start.elapsed(),
            verified.rejected
        );
        let release = crate::deb::release::Release::parse(&verified.text).unwrap();
        assert!(release.files.len() > 10 && release.codename.is_some() && release.date.is_some());
        let changed =
            String::from_utf8(bytes)
                .unwrap()
                .replacen("Origin: Debian", "Origin: Debien", 1);
        assert!(verify_inline(changed.as_bytes(), &keyring, now, &Policy::default()).is_err());
        seen += 1;
    }
    if seen == 0 {
        eprintln!("skipped: no apt lists of Debian on this host");
    }
}
