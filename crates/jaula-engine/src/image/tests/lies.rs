//! Packages that are what the signed index says, to the byte, and lie about sizes inside: refused, and nothing is kept.

use super::*;
use jaula_testkit::deb::ar_member;

/// A member of an ar(5) archive: where its header begins, and its content.
fn members(bytes: &[u8]) -> Vec<(usize, std::ops::Range<usize>)> {
    let mut found = Vec::new();
    let mut at = 8;
    while at + 60 <= bytes.len() {
        let size = std::str::from_utf8(&bytes[at + 48..at + 58]).unwrap();
        let size: usize = size.trim().parse().unwrap();
        found.push((at, at + 60..at + 60 + size));
        at += 60 + size + size % 2;
    }
    found
}

/// A package with this as its data archive, uncompressed.
fn with_data(data: &[u8]) -> Deb {
    let mut deb = package("liar", |b| b.field("Essential", "yes"));
    let (last, _) = members(&deb.bytes).pop().unwrap();
    deb.bytes.truncate(last);
    ar_member(&mut deb.bytes, "data.tar", 0, data);
    deb
}

/// The header of a file that says that it has so many bytes.
fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path("./etc/lie").unwrap();
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    header
}

/// A header, so many bytes, and perhaps the end of an archive.
fn file(says: u64, has: usize, ended: bool) -> Vec<u8> {
    let mut data = header(says).as_bytes().to_vec();
    data.resize(512 + has, b'x');
    data.resize(data.len().next_multiple_of(512), 0);
    if ended {
        data.resize(data.len() + 1024, 0);
    }
    data
}

/// A package that no index can tell from an honest one.
pub(super) fn liar() -> Deb {
    with_data(&file(5, 4000, true))
}

#[test]
fn packages_that_lie_about_sizes_are_refused() {
    if needs_root("packages_that_lie_about_sizes_are_refused") {
        return;
    }
    let honest = with_data(&file(700, 700, true));
    let sized = |size: &str| {
        let mut deb = honest.clone();
        let (last, _) = members(&deb.bytes).pop().unwrap();
        let text = format!("{size:<10}");
        deb.bytes[last + 48..last + 58].copy_from_slice(text.as_bytes());
        deb
    };
    let pax = {
        let record = "26 size=9999999999999999\n".replacen("26", "25", 1);
        let mut extended = tar::Header::new_ustar();
        extended.set_entry_type(tar::EntryType::XHeader);
        extended.set_path("./pax").unwrap();
        extended.set_size(record.len() as u64);
        extended.set_cksum();
        let mut data = extended.as_bytes().to_vec();
        data.extend(record.as_bytes());
        data.resize(1024, 0);
        data.extend(file(700, 700, true));
        data
    };
    for (what, deb) in [
        (
            "a file of a gigabyte that is not there",
            with_data(&file(1 << 30, 0, false)),
        ),
        (
            "a file that ends with the archive",
            with_data(&file(1 << 30, 700, true)),
        ),
        (
            "a file with more than it says",
            with_data(&file(5, 4000, true)),
        ),
        ("a size by another header", with_data(&pax)),
        ("a member longer than the package", sized("999999")),
        ("a member of ten gigabytes", sized("9999999999")),
        ("a member of which less is there", sized("600")),
        ("a member without a size", sized("")),
    ] {
        let world = world_of(base().package(deb), &TestKey::sound("archive").unwrap());
        let error = world.fails();
        assert!(matches!(error, BuildError::Unpack(_)), "{what}: {error:?}");
        let mut text = String::new();
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            text.push_str(&format!("{error}: "));
            cause = error.source();
        }
        assert!(text.contains("liar"), "{what}: {text}");
        // Nor is it kept unpacked.
        let unpacked = std::fs::read_dir(world.store.root().join("unpacked"));
        for entry in unpacked.into_iter().flatten().flatten() {
            assert!(!entry.path().join("0").exists(), "{what}: {entry:?}");
        }
    }
    // Told the truth it is a package.
    let world = world_of(base().package(honest), &TestKey::sound("archive").unwrap());
    let image = world.build(&world.plan().unwrap()).unwrap();
    let lie = image.root().join("etc/lie").metadata().unwrap();
    assert_eq!(lie.len(), 700);
}
