use super::*;
use std::process::{Command, Stdio};

const SHA: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn stanza(name: &str, version: &str, more: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}_{version}.deb\nSize: 42\nSHA256: {SHA}\n{more}\n"
    )
}

fn parse(text: &str) -> Result<Index, IndexError> {
    Index::parse(text.as_bytes())
}

#[test]
fn keeps_what_solving_and_fetching_need() {
    let text = stanza(
        "zlib",
        "1",
        "Multi-Arch: same\nPriority: required\nEssential: yes\nSource: zlib (1.2)\nInstalled-Size: 7\n",
    ) + &stanza(
        "abc",
        "2",
        "Depends: zlib (>= 1),\n libc6\nProvides: virt (= 3), other\nDescription: x\n long\nProtected: yes\nSection: base\n",
    ) + "\n\n"
        + &stanza("abc", "1", "provides: virt\n");
    let index = parse(&text).unwrap();
    for index in [Index::from_bytes(index.as_bytes().to_vec()).unwrap(), index] {
        assert_eq!(index.len(), 3);
        let z = index.package(index.by_name("zlib").next().unwrap());
        assert_eq!(
            (z.version(), z.architecture(), z.source()),
            ("1", "amd64", "zlib")
        );
        assert_eq!(
            (z.multi_arch(), z.priority()),
            (MultiArch::Same, Priority::Required)
        );
        assert!(z.essential() && !z.protected());
        assert_eq!((z.size(), z.installed_size()), (42, 7));
        assert_eq!(crate::hex::encode(&z.sha256()), SHA);
        assert_eq!(z.filename(), "pool/zlib_1.deb");
        let abc: Vec<_> = index.by_name("abc").map(|id| index.package(id)).collect();
        assert_eq!(
            abc.iter().map(|p| p.version()).collect::<Vec<_>>(),
            ["2", "1"]
        );
        assert_eq!(abc[0].depends(), "zlib (>= 1),\n libc6");
        assert!(abc[0].protected() && !abc[0].essential());
        assert_eq!(
            (abc[0].section(), abc[0].source(), abc[1].depends()),
            ("base", "abc", "")
        );
        let virt: Vec<_> = index.providers("virt").collect();
        assert_eq!(virt, [(PackageId(1), Some("3")), (PackageId(2), None)]);
        assert_eq!(
            index.providers("zzz").count()
                + index.by_name("virt").count()
                + index.by_name("zzz").count(),
            0
        );
        assert_eq!(index.names().collect::<Vec<_>>(), ["abc", "zlib"]);
        assert_eq!(
            index.provided_names().collect::<Vec<_>>(),
            ["other", "virt"]
        );
        assert_eq!(index.package(PackageId(99)).name(), "");
    }
}

/// Gives one byte at a time, so that every stanza is split everywhere.
struct Drip<'a>(&'a [u8]);
impl std::io::Read for Drip<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = usize::from(!self.0.is_empty() && !buf.is_empty());
        buf[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

#[test]
fn chunks_do_not_matter() {
    // More than a chunk, with stanzas of many lengths and letters of two bytes across the edges.
    let text: String = (0..3000)
        .map(|i| {
            stanza(
                &format!("p{i}"),
                "1",
                &format!("Description: {}\n", "é".repeat(i % 211)),
            )
        })
        .collect();
    assert!(text.len() > 1 << 19);
    let whole = parse(&text).unwrap();
    let drip = Index::parse(Drip(text.as_bytes())).unwrap();
    assert_eq!(whole.len(), 3000);
    assert!(whole.as_bytes() == drip.as_bytes());
}

#[test]
fn empty_index() {
    for text in ["", "\n", "\n\n\n"] {
        let index = parse(text).unwrap();
        assert!(index.is_empty() && index.names().next().is_none());
        assert!(
            Index::from_bytes(index.as_bytes().to_vec())
                .unwrap()
                .is_empty()
        );
    }
}

#[test]
fn refusals_name_package_line_and_field() {
    let good = stanza("a", "1", "");
    let bad =
        |from: &str, to: &str| parse(&format!("{good}{}", good.replace(from, to))).unwrap_err();
    for (from, to, name) in [
        ("Package: a", "Package: ../a", "Package"),
        ("Package: a", "Package: a/b", "Package"),
        ("Package: a\n", "X: y\n", "Package"),
        ("Version: 1", "Version: x", "Version"),
        ("Version: 1\n", "", "Version"),
        ("Architecture: amd64", "Architecture: a/b", "Architecture"),
        ("Filename: pool/", "Filename: ../", "Filename"),
        ("Filename: pool/", "Filename: /pool/", "Filename"),
        ("Filename: pool/", "Filename: pool/../../", "Filename"),
        ("Filename: pool/", "Filename: pool/\x1b[2J", "Filename"),
        ("Filename: pool/", "Filename: pool\\", "Filename"),
        ("Size: 42", "Size: -42", "Size"),
        ("Size: 42", "Size: 99999999999999999999999", "Size"),
        ("Size: 42", "Size: +42", "Size"),
        ("SHA256: 0", "SHA256: ", "SHA256"),
        ("SHA256: 0", "SHA256: z", "SHA256"),
        ("SHA256: ", "SHA512: ", "SHA256"),
        ("Size: 42", "Size: 42\nMulti-Arch: maybe", "Multi-Arch"),
        ("Size: 42", "Size: 42\nEssential: perhaps", "Essential"),
        ("Size: 42", "Size: 42\nProvides: a | b", "Provides"),
        ("Size: 42", "Size: 42\nProvides: ../x", "Provides"),
        (
            "Size: 42",
            "Size: 42\nInstalled-Size: lots",
            "Installed-Size",
        ),
    ] {
        match bad(from, to) {
            IndexError::Field { line: 8, field, .. } => assert_eq!(field, name, "{to}"),
            other => panic!("{to}: {other:?}"),
        }
    }
    let syntax = |text: &str| match parse(text).unwrap_err() {
        IndexError::Syntax { line, .. } => line,
        other => panic!("{other:?}"),
    };
    assert_eq!(syntax(" x\n"), 1);
    assert_eq!(syntax("\n\nnonsense\n"), 3);
    assert_eq!(syntax(&good.replace("Size: 42", "Size: 42\nSize: 42")), 6);
    assert!(matches!(
        Index::parse(&b"Package: \xff\n"[..]),
        Err(IndexError::Syntax { line: 1, .. })
    ));
    let endless = format!("A: {}", "x".repeat(9 << 20));
    assert_eq!(syntax(&endless), 1);
}

#[test]
fn reader_errors_are_kept() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("disk on fire"))
        }
    }
    assert!(
        matches!(Index::parse(Broken), Err(IndexError::Read { source, .. }) if source.to_string() == "disk on fire")
    );
}

#[test]
fn damaged_caches_are_refused() {
    let text = stanza("a", "1", "Provides: v (= 1)\n") + &stanza("b", "1", "Depends: a\n");
    let good = parse(&text).unwrap().as_bytes().to_vec();
    for at in 0..good.len() {
        for bit in [0x01, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= bit;
            assert!(
                Index::from_bytes(bad).is_err(),
                "byte {at} changed, and accepted"
            );
        }
        assert!(
            Index::from_bytes(good[..at].to_vec()).is_err(),
            "cut at {at}, and accepted"
        );
    }
    let mut long = good.clone();
    long.push(0);
    assert!(Index::from_bytes(long).is_err());
}

#[test]
fn forged_caches_do_not_panic() {
    // Whoever can make the checksums fit still gets errors or texts from inside of the block.
    let text = stanza("a", "1", "Provides: v (= 1)\n") + &stanza("b", "1", "Depends: a\n");
    let good = parse(&text).unwrap();
    let mut refused = 0;
    for at in layout::HEADER..good.block.len() {
        for value in [0, 0x41, 0x7f, 0xff] {
            let mut bad = good.as_bytes().to_vec();
            bad[at] = value;
            good.parts.seal(&mut bad);
            match Index::from_bytes(bad) {
                Err(_) => refused += 1,
                Ok(index) => {
                    for package in index.iter() {
                        let texts = [
                            package.name(),
                            package.depends(),
                            package.filename(),
                            package.source(),
                        ];
                        assert!(texts.iter().all(|t| t.len() < index.as_bytes().len()));
                    }
                    assert!(index.by_name("a").count() + index.providers("v").count() <= 3);
                }
            }
        }
    }
    assert!(refused > 0);
}

/// The host's own index of Debian main, decompressed by apt, or nothing.
fn real_index() -> Option<Vec<u8>> {
    let list = std::fs::read_dir("/var/lib/apt/lists").ok()?;
    let largest = list
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().contains("_Packages"))
        .max_by_key(|e| e.metadata().map_or(0, |m| m.len()))?;
    let out = Command::new("/usr/lib/apt/apt-helper")
        .arg("cat-file")
        .arg(largest.path())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    (out.status.success() && !out.stdout.is_empty()).then_some(out.stdout)
}

#[test]
fn real_index_of_the_host() {
    let Some(text) = real_index() else {
        eprintln!("skipped: no apt lists on this host");
        return;
    };
    let start = std::time::Instant::now();
    let index = Index::parse(&text[..]).unwrap();
    let parsed = start.elapsed();
    let bytes = index.as_bytes().to_vec();
    let start = std::time::Instant::now();
    let loaded = Index::from_bytes(bytes).unwrap();
    let load = start.elapsed();
    eprintln!(
        "{} MB of text, {} packages, {} provides: parsed in {parsed:?}, {} MB, loaded in {load:?}",
        text.len() / 1_000_000,
        index.len(),
        index.parts.provides,
        index.block.len() / 1_000_000
    );
    // An independent reader: the general stanza parser.
    let text = std::str::from_utf8(&text).unwrap();
    let mut count = 0;
    for (stanza, package) in crate::deb::control::stanzas(text).zip(loaded.iter()) {
        let stanza = stanza.unwrap();
        let field = |name| stanza.field(name).unwrap_or_default();
        assert_eq!(field("Package"), package.name());
        assert_eq!(field("Version"), package.version());
        assert_eq!(field("Depends"), package.depends());
        assert_eq!(field("Provides"), package.provides());
        assert_eq!(field("Filename"), package.filename());
        assert_eq!(field("Size"), package.size().to_string());
        assert_eq!(field("SHA256"), crate::hex::encode(&package.sha256()));
        assert_eq!(field("Essential") == "yes", package.essential());
        for list in [
            package.depends(),
            package.pre_depends(),
            package.conflicts(),
            package.breaks(),
            package.recommends(),
        ] {
            crate::deb::relation::parse(list).unwrap();
        }
        assert!(loaded.by_name(package.name()).any(|id| id == package.id()));
        count += 1;
    }
    assert_eq!(count, loaded.len());
}
