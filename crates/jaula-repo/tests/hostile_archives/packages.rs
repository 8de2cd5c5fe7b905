use super::support::*;
use super::{Read1, chain};
use jaula_repo::deb::archive;
use std::io::Read;

fn open(bytes: &[u8]) -> Read1 {
    let (_, mut data) = archive::open(bytes)?;
    let mut all = vec![];
    while let Some(mut entry) = data.next_entry()? {
        let mut content = vec![];
        entry.read_to_end(&mut content)?;
        all.push((entry.into_meta(), content));
    }
    Ok(all)
}

#[test]
fn hostile_packages_are_refused() {
    let data = tar(&[dir("./"), file("./x", "x")]);
    let (version, control_part, data_part) = (
        member("debian-binary", b"2.0\n"),
        member("control.tar.gz", &gz(&control())),
        member("data.tar.xz", &xz(&data)),
    );
    let with = |parts: &[Vec<u8>]| deb(&tar(parts), &data);
    let good = deb(&control(), &data);
    assert_eq!(open(&good).map_err(|e| chain(e.as_ref())).unwrap().len(), 2);
    let sized = |size: &str| {
        let mut m = data_part.clone();
        m[48..58].copy_from_slice(format!("{size:<10}").as_bytes());
        ar(&[version.clone(), control_part.clone(), m])
    };
    let named = |from: &str, to: &str| with(&[file("./control", &CONTROL.replace(from, to))]);
    let ok = file("./control", CONTROL);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", vec![], "outer archive"),
        ("no ar", b"PK\x03\x04xxxxxxxx".to_vec(), "no ar archive"),
        ("empty ar", ar(&[]), "outer archive"),
        (
            "no debian-binary",
            ar(&[control_part.clone(), data_part.clone()]),
            "not debian-binary",
        ),
        (
            "old format",
            ar(&[
                member("debian-binary", b"0.939000\n"),
                control_part.clone(),
                data_part.clone(),
            ]),
            "2.x",
        ),
        (
            "format 3",
            ar(&[
                member("debian-binary", b"3.0\n"),
                control_part.clone(),
                data_part.clone(),
            ]),
            "2.x",
        ),
        (
            "huge debian-binary",
            ar(&[
                member("debian-binary", &[b'2'; 1000]),
                control_part.clone(),
                data_part.clone(),
            ]),
            "not debian-binary",
        ),
        (
            "no control",
            ar(&[version.clone(), data_part.clone()]),
            "another order",
        ),
        (
            "no data",
            ar(&[version.clone(), control_part.clone()]),
            "outer archive",
        ),
        (
            "data first",
            ar(&[version.clone(), data_part.clone(), control_part.clone()]),
            "another order",
        ),
        (
            "unknown member",
            ar(&[
                version.clone(),
                member("evil", b"x"),
                control_part.clone(),
                data_part.clone(),
            ]),
            "another order",
        ),
        (
            "endless extras",
            ar(&[
                vec![version.clone()],
                vec![member("_x", b""); 20],
                vec![control_part.clone(), data_part.clone()],
            ]
            .concat()),
            "too many members",
        ),
        (
            "member with path",
            ar(&[
                version.clone(),
                member("../control.tar", &control()),
                data_part.clone(),
            ]),
            "bad name",
        ),
        ("negative size", sized("-1"), "bad size"),
        ("hex size", sized("0x10"), "bad size"),
        ("empty size", sized(""), "bad size"),
        ("plus size", sized("+10"), "bad size"),
        ("short size", sized("60"), ""),
        (
            "bad end mark",
            ar(&[version.clone(), control_part.clone()])
                .into_iter()
                .chain([b' '; 60])
                .collect(),
            "end mark",
        ),
        (
            "bzip2",
            ar(&[
                version.clone(),
                control_part.clone(),
                member("data.tar.bz2", b"BZh91AY"),
            ]),
            "bzip2",
        ),
        (
            "lzma",
            ar(&[
                version.clone(),
                control_part.clone(),
                member("data.tar.lzma", b"x"),
            ]),
            "lzma",
        ),
        (
            "unknown ending",
            ar(&[
                version.clone(),
                control_part.clone(),
                member("data.tar.evil", b"x"),
            ]),
            "unknown ending",
        ),
        (
            "not what the name says",
            ar(&[
                version.clone(),
                control_part.clone(),
                member("data.tar.gz", &xz(&data)),
            ]),
            "",
        ),
        ("cut", good[..good.len() - 60].to_vec(), ""),
        ("cut in control", good[..100].to_vec(), ""),
        ("no control file", with(&[dir("./")]), "no control file"),
        (
            "control is a link",
            with(&[symlink("./control", "/etc/passwd")]),
            "not a regular file",
        ),
        (
            "control is a directory",
            with(&[dir("./control")]),
            "not a regular file",
        ),
        ("control twice", with(&[ok.clone(), ok.clone()]), "twice"),
        (
            "script in a directory",
            with(&[ok.clone(), file("./a/postinst", "")]),
            "may not be",
        ),
        (
            "script climbs",
            with(&[ok.clone(), file("../postinst", "")]),
            "`..`",
        ),
        (
            "script absolute",
            with(&[ok.clone(), file("/postinst", "")]),
            "absolute",
        ),
        (
            "script with odd name",
            with(&[ok.clone(), file("./post inst", "")]),
            "may not be",
        ),
        (
            "hidden script",
            with(&[ok.clone(), file("./.x", "")]),
            "may not be",
        ),
        (
            "device in control",
            with(&[ok.clone(), h(b'3', "./x").empty()]),
            "not a regular file",
        ),
        (
            "huge control member",
            deb(
                &tar(&[ok.clone(), h(b'0', "./md5sums").sized(1 << 30).empty()]),
                &data,
            ),
            "limit",
        ),
        (
            "too many control files",
            with(
                &(0..5000)
                    .map(|i| file(&format!("f{i}"), ""))
                    .collect::<Vec<_>>(),
            ),
            "limit",
        ),
        (
            "control not UTF-8",
            with(&[h(b'0', "./control").data(b"Package: \xff\n")]),
            "UTF-8",
        ),
        (
            "two stanzas",
            named("Version", "\nVersion"),
            "exactly one stanza",
        ),
        (
            "empty control",
            with(&[file("./control", "")]),
            "exactly one stanza",
        ),
        ("no version", named("Version", "X"), "Version is missing"),
        (
            "bad package name",
            named("Package: p", "Package: ../p"),
            "bad value",
        ),
        (
            "bad version",
            named("Version: 1", "Version: 1/2"),
            "bad value",
        ),
        (
            "bad architecture",
            named("Architecture: all", "Architecture: a/b"),
            "bad value",
        ),
        (
            "data climbs",
            deb(&control(), &tar(&[file("../x", "")])),
            "`..`",
        ),
        (
            "data absolute",
            deb(&control(), &tar(&[file("/x", "")])),
            "absolute",
        ),
        (
            "data through a link",
            deb(&control(), &tar(&[symlink("./a", "/"), file("./a/x", "")])),
            "beneath a symbolic link",
        ),
        ("data cut inside", deb(&control(), &file("./x", "x")), ""),
    ];
    assert!(cases.len() >= 40, "{}", cases.len());
    for (name, bytes, reason) in cases {
        match open(&bytes) {
            Ok(entries) => panic!("{name}: accepted: {entries:?}"),
            Err(error) => {
                let text = chain(error.as_ref());
                assert!(text.contains(reason), "{name}: refused, but for {text:?}");
            }
        }
    }
}

#[test]
fn packages_in_every_compression() {
    let data = tar(&[dir("./"), file("./x", "x")]);
    let zst = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    for (ending, pack) in [
        ("", <[u8]>::to_vec as fn(&[u8]) -> Vec<u8>),
        (".gz", gz),
        (".xz", xz),
        (".zst", zst),
    ] {
        let bytes = ar(&[
            member("debian-binary/", b"2.0\n"),
            member("_gpgorigin", b"odd"),
            member(&format!("control.tar{ending}"), &pack(&control())),
            member(&format!("data.tar{ending}"), &pack(&data)),
            member("_more", b"x"),
        ]);
        assert_eq!(
            open(&bytes).map_err(|e| chain(e.as_ref())).unwrap()[1].1,
            b"x",
            "{ending}"
        );
    }
}

#[test]
fn control_parts() {
    let parts = tar(&[
        file("./control", CONTROL),
        h(b'0', "./postinst")
            .with(|h| h.mode = b"0000755\0".to_vec())
            .data(b"#!/bin/sh\n"),
        file("./conffiles", "/etc/a\nremove-on-upgrade /etc/b\n"),
    ]);
    let bytes = deb(&parts, &tar(&[]));
    let (control, _) = archive::open(&bytes[..]).unwrap();
    assert_eq!(control.stanza().unwrap().field("Package"), Some("p"));
    assert_eq!(control.files()["postinst"].mode, 0o755);
    let conffiles = control.conffiles().unwrap();
    assert_eq!(
        conffiles
            .iter()
            .map(|c| (c.path, c.remove_on_upgrade))
            .collect::<Vec<_>>(),
        [("/etc/a", false), ("/etc/b", true)]
    );
    for bad in [
        "etc/a\n",
        "/etc/../../x\n",
        "/etc/\x1b[2J\n",
        "remove-on-upgrade x\n",
    ] {
        let bytes = deb(
            &tar(&[file("./control", CONTROL), file("./conffiles", bad)]),
            &tar(&[]),
        );
        assert!(
            archive::open(&bytes[..]).unwrap().0.conffiles().is_err(),
            "{bad:?}"
        );
    }
}
