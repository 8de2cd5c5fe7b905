//! One function a parser, from raw bytes: what both the fuzz targets and the smoke test run. Each holds
//! what must be true of anything the parser accepts.

use jaula_repo::deb::packages::{Index, PackageId};
use jaula_repo::deb::{archive, control, relation, release, version};
use jaula_repo::lock::Lock;
use jaula_repo::tar::{self, Kind, Limits};
use jaula_repo::verify::{Keyring, Policy, verify_detached, verify_inline};
use std::cmp::Ordering;
use std::io::Read;

/// So that a small input cannot make a long run.
const LIMITS: Limits = Limits {
    entries: 10_000,
    file: 1 << 24,
    total: 1 << 26,
};

fn text(data: &[u8]) -> &str {
    match std::str::from_utf8(data) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&data[..error.valid_up_to()]).unwrap(),
    }
}

pub fn control(data: &[u8]) {
    if let Ok(stanzas) = control::stanzas_from_bytes(data) {
        for stanza in stanzas.flatten() {
            for field in stanza.fields() {
                assert_eq!(stanza.field(field.name), Some(field.raw));
                assert!(stanza.lines(field.name).count() <= field.raw.split('\n').count());
            }
        }
    }
}

pub fn relation(data: &[u8]) {
    let text = text(data);
    if let Ok(groups) = relation::parse(text) {
        let shown = groups
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        assert_eq!(
            relation::parse(&shown).unwrap().len(),
            groups.len(),
            "{shown:?}"
        );
        assert!(
            relation::parse_for(text, "amd64", &["nocheck"])
                .unwrap()
                .len()
                <= groups.len()
        );
    }
    assert!(relation::provides(text).take(10_000).count() <= text.len());
}

pub fn release(data: &[u8]) {
    if let Ok(release) = release::Release::parse(text(data)) {
        for path in release.files.keys() {
            assert!(!path.starts_with('/') && !path.split('/').any(|p| p == ".."));
        }
        assert!(
            release::check_freshness(&release, u64::MAX, &Default::default()).is_ok()
                || release.valid_until.is_some()
        );
    }
}

fn walk(index: &Index) {
    assert_eq!(index.iter().len(), index.len());
    for package in index.iter().take(1000) {
        assert!(!package.filename().split('/').any(|p| p == ".."));
        let _seen = (
            package.name(),
            package.version(),
            package.depends(),
            package.source(),
            package.sha256(),
            package.priority(),
        );
        assert!(index.by_name(package.name()).take(1001).count() <= index.len());
    }
    for name in index.provided_names().take(1000) {
        assert!(
            index
                .providers(name)
                .take(1001)
                .all(|(id, _)| (id.0 as usize) < index.len())
        );
    }
    assert_eq!(index.package(PackageId(u32::MAX)).name(), "");
}

pub fn packages(data: &[u8]) {
    if let Ok(index) = Index::parse(data) {
        walk(&index);
        let again = Index::from_bytes(index.as_bytes().to_vec()).unwrap();
        assert_eq!(again.as_bytes(), index.as_bytes());
    }
}

pub fn packages_cache(data: &[u8]) {
    if let Ok(index) = Index::from_bytes(data.to_vec()) {
        walk(&index);
    }
}

fn entries<R: Read>(mut entries: tar::Entries<R>) {
    while let Ok(Some(mut entry)) = entries.next_entry() {
        let meta = entry.meta().clone();
        assert!(!meta.path.as_bytes().starts_with(b"/") && meta.path.as_bytes().len() < 4096);
        assert!(
            meta.path
                .components()
                .all(|name| name != b".." && name != b"." && name.len() <= 255)
        );
        assert!(meta.mode <= 0o7777 && (meta.kind == Kind::File || meta.size == 0));
        if let Kind::Hardlink(target) = &meta.kind {
            assert!(target.components().all(|name| name != b".."));
        }
        let mut content = vec![];
        match entry.read_to_end(&mut content) {
            Ok(n) => assert_eq!(n as u64, meta.size),
            Err(_) => return,
        }
    }
}

pub fn tar(data: &[u8]) {
    if let Ok(opened) = tar::open_with(data, LIMITS) {
        entries(opened);
    }
}

pub fn deb(data: &[u8]) {
    if let Ok((control, data)) = archive::open_with(data, LIMITS) {
        let stanza = control.stanza().unwrap();
        assert!(
            stanza
                .field("Package")
                .is_some_and(|name| !name.contains('/'))
        );
        for file in control.conffiles().into_iter().flatten() {
            assert!(file.path.starts_with('/'));
        }
        entries(data);
    }
}

pub fn inrelease(data: &[u8]) {
    let policy = Policy::default();
    // The same bytes in every place.
    if let Ok(keyring) = Keyring::parse(data) {
        assert!(keyring.fingerprints().count() > 0);
        assert!(verify_detached(b"text", data, &keyring, 0, &policy).is_err());
    }
    let none = Keyring::default();
    assert!(
        verify_inline(data, &none, 0, &policy).is_err(),
        "nothing is verified without a key"
    );
    assert!(verify_detached(b"text", data, &none, 0, &policy).is_err());
}

pub fn lock(data: &[u8]) {
    let text = text(data);
    if let Ok(lock) = Lock::parse(text) {
        assert_eq!(lock.to_string(), text);
    }
}

pub fn version(data: &[u8]) {
    let mut parts = text(data).splitn(3, '\n');
    let mut next = || parts.next().unwrap_or_default();
    let (a, b, c) = (next(), next(), next());
    let cmp = version::cmp_versions;
    assert_eq!(cmp(a, b), cmp(b, a).reverse());
    assert_eq!(cmp(a, a), Ordering::Equal);
    if cmp(a, b) != Ordering::Greater && cmp(b, c) != Ordering::Greater {
        assert_ne!(cmp(a, c), Ordering::Greater, "{a:?} {b:?} {c:?}");
    }
    assert_eq!(
        version::Version::parse(a).is_ok(),
        version::validate(a).is_ok()
    );
}
