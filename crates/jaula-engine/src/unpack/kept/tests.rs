use super::*;
use jaula_repo::deb::archive::ControlFile;
use jaula_repo::tar::TarPath;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

fn control() -> Control {
    let text = "Package: x\nVersion: 1\nArchitecture: amd64\n";
    let file = ControlFile {
        mode: 0o755,
        content: b"#!/bin/sh\n".to_vec(),
    };
    let files = BTreeMap::from([("postinst".to_owned(), file)]);
    Control::from_parts(text.into(), files).unwrap()
}

/// One of each kind, as the caller owns things.
fn entries() -> Vec<KeptEntry> {
    let own = std::fs::metadata("/proc/self").unwrap();
    let path = |text: &[u8]| TarPath::parse(text).unwrap();
    let entry = |name: &[u8], kind: Kind| KeptEntry {
        meta: Meta {
            path: path(name),
            kind,
            mode: 0o4751,
            uid: own.uid(),
            gid: own.gid(),
            mtime: -7,
            mtime_nanos: 0,
            size: 0,
            xattrs: Vec::new(),
        },
        md5: None,
    };
    let mut file = entry(b"a", Kind::File);
    file.meta.size = 5;
    file.md5 = Some([7; 16]);
    file.meta.xattrs = vec![("user.note".into(), b"\0\xff".to_vec())];
    vec![
        entry(b".", Kind::Directory),
        file,
        entry(b"b \xff", Kind::Symlink(b"../nowhere \xfe".to_vec())),
        entry(b"c", Kind::Hardlink(path(b"a"))),
        entry(b"d", Kind::Fifo),
    ]
}

#[test]
fn an_index_is_read_as_it_was_written() {
    let text = format::encode(&control(), &entries());
    assert_eq!(format::decode(&text), Some((control(), entries())));
}

#[test]
fn a_changed_or_cut_index_is_none() {
    let text = format::encode(&control(), &entries());
    for end in 0..text.len() {
        assert_eq!(format::decode(&text[..end]), None, "cut at {end}");
    }
    for at in 0..text.len() {
        let mut bad = text.clone();
        bad[at] ^= 0x41;
        assert_eq!(format::decode(&bad), None, "changed at {at}");
    }
    let more = [text.as_slice(), b"x"].concat();
    assert_eq!(format::decode(&more), None);
}

/// With a digest that is right: lengths, kinds and paths that make no sense are refused all the same, and nothing
/// panics or takes more memory than there is.
#[test]
fn nonsense_with_the_right_digest_is_none() {
    use sha2::Digest;
    let text = format::encode(&control(), &entries());
    let body = text.len() - 32;
    let signed = |body: &[u8]| [body, sha2::Sha256::digest(body).as_slice()].concat();
    assert!(format::decode(&signed(&text[..body])).is_some());
    for at in 0..body {
        for value in [0xff, 0x80, b'/', 0] {
            let mut bad = text[..body].to_vec();
            bad[at] = value;
            // May be another index that makes sense; then it says something else.
            if let Some(read) = format::decode(&signed(&bad)) {
                assert_eq!(
                    read == (control(), entries()),
                    bad == text[..body],
                    "at {at}"
                );
            }
        }
        assert_eq!(format::decode(&signed(&text[..at])), None, "cut at {at}");
    }
    for path in [&b"../x"[..], b"/x", b"a/../../x"] {
        let count = text
            .windows(9)
            .position(|w| w == b"\x01\0\0\0\0\0\0\0a")
            .unwrap();
        let mut bad = text[..count].to_vec();
        bad.extend_from_slice(&(path.len() as u64).to_le_bytes());
        bad.extend_from_slice(path);
        bad.extend_from_slice(&text[count + 9..body]);
        assert_eq!(format::decode(&signed(&bad)), None, "{path:?}");
    }
}

#[test]
fn what_was_kept_is_laid_in_every_way() {
    let scratch = tempfile::tempdir().unwrap();
    let place = Dir::open(scratch.path()).unwrap();
    let mut keeper = Keeper::new(&place, c"package").unwrap();
    let mut writer = Writer::new(&place);
    for entry in entries().into_iter().filter(|e| e.meta.xattrs.is_empty()) {
        keeper
            .add(&mut writer, &entry.meta, &mut io::empty(), false)
            .unwrap_or_else(|_| panic!("kept"));
    }
    let mut file = entries().remove(1);
    file.meta.xattrs.clear();
    keeper
        .add(&mut writer, &file.meta, &mut &b"hello"[..], true)
        .unwrap_or_else(|_| panic!("kept"));
    let number = keeper.last().unwrap().0;
    keeper.finish(&control()).unwrap();
    let kept = Kept::open(place.dir(c"package").unwrap()).unwrap().unwrap();
    let entry = &kept.entries()[number];
    assert_eq!(entry.md5.map(|md5| md5[0]), Some(0x5d), "MD5 of hello");
    let inode = |name: &str| std::fs::metadata(scratch.path().join(name)).unwrap().ino();
    let own = inode(&format!("package/{number}"));
    let same = entry.attributes();
    let lay = |name: &CStr, attributes, sharing| {
        let contents = Contents::from(&kept);
        contents.lay(number, entry, (&place, name), attributes, sharing)
    };
    lay(c"linked", same, (Share::Link, 0)).unwrap();
    lay(c"copied", same, (Share::Copy, 0)).unwrap();
    // It would be changed later: owner, mode or time are others.
    let other = Attributes {
        mode: 0o600,
        ..same
    };
    lay(c"other", other, (Share::Link, 0)).unwrap();
    lay(c"late", same, (Share::Link, -8)).unwrap();
    assert_eq!(inode("linked"), own);
    for name in ["copied", "other", "late"] {
        assert_ne!(inode(name), own, "{name}");
        assert_eq!(
            std::fs::read(scratch.path().join(name))
                .unwrap_or_default()
                .len(),
            5
        );
    }
    let taken = lay(c"linked", same, (Share::Link, 0)).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    let mode = place.stat(c"copied").unwrap();
    assert_eq!((mode.mode, mode.mtime), (0o4751, -7));
}
