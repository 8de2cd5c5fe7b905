use super::support::*;
use super::{Read1, chain, long};
use jaula_repo::tar::{self, Kind, Limits};
use std::io::Read;

fn read_with(bytes: &[u8], limits: Limits) -> Read1 {
    let mut entries = tar::open_with(bytes, limits)?;
    let mut all = vec![];
    while let Some(mut entry) = entries.next_entry()? {
        let mut content = vec![];
        entry.read_to_end(&mut content)?;
        all.push((entry.into_meta(), content));
    }
    Ok(all)
}

fn read(bytes: &[u8]) -> Read1 {
    read_with(bytes, Limits::default())
}

#[test]
fn hostile_tars_are_refused() {
    let f = |change: fn(&mut H)| h(b'0', "a").with(change).empty();
    let many = |n: usize| {
        (0..n)
            .flat_map(|i| record(&format!("SCHILY.xattr.user.{i}"), b""))
            .collect::<Vec<u8>>()
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        // Paths.
        ("parent", tar(&[file("../x", "")]), "`..`"),
        ("parent inside", tar(&[file("a/../../x", "")]), "`..`"),
        ("parent at the end", tar(&[dir("a/..")]), "`..`"),
        ("parent behind dot", tar(&[file("./../x", "")]), "`..`"),
        ("absolute", tar(&[file("/etc/passwd", "")]), "absolute"),
        (
            "absolute behind dot",
            tar(&[file(".//etc/passwd", "")]),
            "absolute",
        ),
        ("empty name", tar(&[file("", "")]), "empty"),
        ("file as root", tar(&[file("./.", "")]), "empty"),
        ("link as root", tar(&[symlink("./", "/")]), "empty"),
        (
            "prefix climbs",
            tar(&[h(b'0', "x").with(|h| h.prefix = b"../..".to_vec()).empty()]),
            "`..`",
        ),
        (
            "prefix absolute",
            tar(&[h(b'0', "x").with(|h| h.prefix = b"/etc".to_vec()).empty()]),
            "absolute",
        ),
        (
            "too deep",
            tar(&[pax(&[("path", long(300).as_bytes())]), dir("x")]),
            "too deep",
        ),
        (
            "name too long",
            tar(&[pax(&[("path", "n".repeat(256).as_bytes())]), file("x", "")]),
            "too long",
        ),
        (
            "path too long",
            tar(&[
                pax(&[("path", "n/".repeat(2048).as_bytes())]),
                file("x", ""),
            ]),
            "too long",
        ),
        ("symlink with slash", tar(&[symlink("a/", "b")]), "slash"),
        // Links.
        ("symlink to nothing", tar(&[symlink("a", "")]), "empty"),
        (
            "hardlink out",
            tar(&[hardlink("a", "../../etc/shadow")]),
            "`..`",
        ),
        (
            "hardlink absolute",
            tar(&[hardlink("a", "/etc/shadow")]),
            "absolute",
        ),
        (
            "hardlink to what is not there",
            tar(&[hardlink("a", "etc/shadow")]),
            "not brought",
        ),
        (
            "hardlink forwards",
            tar(&[hardlink("a", "b"), file("b", "")]),
            "not brought",
        ),
        ("hardlink to itself", tar(&[hardlink("a", "a")]), "itself"),
        (
            "hardlink to itself over a file",
            tar(&[file("a", "x"), hardlink("a", "./a")]),
            "itself",
        ),
        (
            "hardlink to a directory",
            tar(&[dir("d"), hardlink("a", "d")]),
            "directory",
        ),
        (
            "hardlink to an implied directory",
            tar(&[file("d/x", ""), hardlink("a", "d")]),
            "directory",
        ),
        (
            "hardlink with content",
            tar(&[file("a", "x"), h(b'1', "b").link("a").data(b"evil")]),
            "not a regular file",
        ),
        (
            "symlink with content",
            tar(&[h(b'2', "b").link("a").data(b"evil")]),
            "not a regular file",
        ),
        (
            "directory with content",
            tar(&[h(b'5', "d").data(b"evil")]),
            "not a regular file",
        ),
        (
            "device with content",
            tar(&[h(b'3', "d").data(b"evil")]),
            "not a regular file",
        ),
        // Entries against earlier entries.
        (
            "file beneath symlink",
            tar(&[symlink("a", "/etc"), file("a/passwd", "x")]),
            "beneath a symbolic link",
        ),
        (
            "dir beneath symlink",
            tar(&[symlink("a", "/"), dir("a/b/c")]),
            "beneath a symbolic link",
        ),
        (
            "link beneath symlink",
            tar(&[symlink("a", "."), symlink("a/b", "..")]),
            "beneath a symbolic link",
        ),
        (
            "file beneath file",
            tar(&[file("a", ""), file("a/b", "")]),
            "not a directory",
        ),
        (
            "file beneath device",
            tar(&[h(b'3', "a").empty(), file("a/b", "")]),
            "not a directory",
        ),
        (
            "link then file",
            tar(&[symlink("a", "/etc/passwd"), file("a", "x")]),
            "changes",
        ),
        (
            "file then link",
            tar(&[file("a", "x"), symlink("a", "/etc")]),
            "changes",
        ),
        (
            "directory then link",
            tar(&[dir("rootfs"), symlink("rootfs", "/")]),
            "changes",
        ),
        (
            "implied directory then link",
            tar(&[file("a/b", ""), symlink("a", "/etc"), file("a/c", "")]),
            "changes",
        ),
        (
            "link then directory",
            tar(&[symlink("a", "/etc"), dir("a/")]),
            "changes",
        ),
        (
            "hardlink then file",
            tar(&[file("a", "x"), hardlink("b", "a"), file("b", "evil")]),
            "changes",
        ),
        (
            "hardlink twice",
            tar(&[file("a", ""), hardlink("b", "a"), hardlink("b", "a")]),
            "changes",
        ),
        (
            "spelled differently",
            tar(&[symlink("a/b", "/etc"), file("./a//b", "x")]),
            "changes",
        ),
        // Numbers.
        (
            "negative octal",
            tar(&[f(|h| h.size = b"-0000000001\0".to_vec())]),
            "not a number",
        ),
        (
            "negative base 256",
            tar(&[f(|h| h.size = vec![0xff; 12])]),
            "negative",
        ),
        (
            "huge base 256",
            tar(&[f(|h| h.size = [&[0x80u8][..], &[0xff; 11]].concat())]),
            "negative size",
        ),
        (
            "base 256 with other mark",
            tar(&[f(|h| h.size = vec![0xc0; 12])]),
            "out of range",
        ),
        (
            "decimal digits",
            tar(&[f(|h| h.size = b"00000000009\0".to_vec())]),
            "not a number",
        ),
        (
            "blank inside",
            tar(&[f(|h| h.size = b"0000 000001\0".to_vec())]),
            "not a number",
        ),
        (
            "huge octal",
            tar(&[f(|h| h.size = b"777777777777".to_vec())]),
            "unexpected end",
        ),
        (
            "uid of -1",
            tar(&[f(|h| h.uid = b"\x80\0\0\0\xff\xff\xff\xff".to_vec())]),
            "out of range",
        ),
        (
            "uid too large",
            tar(&[f(|h| h.uid = b"\x80\0\0\x01\0\0\0\0".to_vec())]),
            "out of range",
        ),
        (
            "negative gid",
            tar(&[f(|h| h.gid = vec![0xff; 8])]),
            "out of range",
        ),
        (
            "bad checksum",
            tar(&[f(|h| h.checksum = Some(b"000000\0 ".to_vec()))]),
            "checksum",
        ),
        (
            "device out of range",
            tar(&[h(b'3', "a")
                .with(|h| h.major = b"\x80\0\0\x01\0\0\0\0".to_vec())
                .empty()]),
            "device number",
        ),
        // PAX.
        (
            "pax climbs",
            tar(&[pax(&[("path", b"../x")]), file("a", "")]),
            "`..`",
        ),
        (
            "pax absolute",
            tar(&[pax(&[("path", b"/etc/x")]), file("a", "")]),
            "absolute",
        ),
        (
            "pax NUL",
            tar(&[pax(&[("path", b"a\0b")]), file("a", "")]),
            "NUL",
        ),
        (
            "pax empty path",
            tar(&[pax(&[("path", b"")]), file("a", "")]),
            "empty",
        ),
        (
            "pax path twice",
            tar(&[pax(&[("path", b"a"), ("path", b"b")]), file("c", "")]),
            "twice",
        ),
        (
            "pax link out",
            tar(&[pax(&[("linkpath", b"/etc/shadow")]), file("b", "")]),
            "",
        ),
        (
            "pax hardlink out",
            tar(&[
                file("b", ""),
                pax(&[("linkpath", b"../b")]),
                hardlink("a", "b"),
            ]),
            "`..`",
        ),
        (
            "pax size huge",
            tar(&[pax(&[("size", b"18446744073709551615")]), file("a", "")]),
            "limit",
        ),
        (
            "pax size overflow",
            tar(&[pax(&[("size", b"18446744073709551616")]), file("a", "")]),
            "out of range",
        ),
        (
            "pax size negative",
            tar(&[pax(&[("size", b"-1")]), file("a", "")]),
            "not a number",
        ),
        (
            "pax size larger than the rest",
            tar(&[pax(&[("size", b"100000")]), file("a", "x")]),
            "",
        ),
        (
            "pax size hides a header",
            tar(&[pax(&[("size", b"0")]), file("a", "x")]),
            "checksum",
        ),
        (
            "pax size for a link",
            tar(&[pax(&[("size", b"512")]), symlink("a", "b"), file("x", "")]),
            "not a regular file",
        ),
        (
            "pax uid",
            tar(&[pax(&[("uid", b"4294967296")]), file("a", "")]),
            "out of range",
        ),
        (
            "pax wrong length",
            tar(&[h(b'x', "x").data(b"99 path=a\n"), file("a", "")]),
            "PAX record",
        ),
        (
            "pax without equals",
            tar(&[h(b'x', "x").data(b"7 path\n"), file("a", "")]),
            "PAX record",
        ),
        (
            "pax length 0",
            tar(&[h(b'x', "x").data(b"0 a=b\n"), file("a", "")]),
            "PAX record",
        ),
        (
            "two pax headers",
            tar(&[
                pax(&[("path", b"a")]),
                pax(&[("path", b"b")]),
                file("c", ""),
            ]),
            "two PAX",
        ),
        (
            "pax and GNU names",
            tar(&[
                pax(&[("path", b"a")]),
                h(b'L', "x").data(b"b\0"),
                file("c", ""),
            ]),
            "both",
        ),
        (
            "pax without entry",
            tar(&[pax(&[("path", b"a")])]),
            "without an entry",
        ),
        (
            "pax too large",
            tar(&[h(b'x', "x").sized(2 << 20).empty()]),
            "limit",
        ),
        (
            "global path",
            tar(&[h(b'g', "g").data(&record("path", b"evil")), file("a", "")]),
            "global",
        ),
        (
            "global size",
            tar(&[h(b'g', "g").data(&record("size", b"0")), file("a", "")]),
            "global",
        ),
        (
            "global uid",
            tar(&[h(b'g', "g").data(&record("uid", b"0")), file("a", "")]),
            "global",
        ),
        (
            "sparse by pax",
            tar(&[
                pax(&[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.realsize", b"99999999999999"),
                ]),
                file("a", ""),
            ]),
            "sparse",
        ),
        (
            "xattr twice",
            tar(&[
                pax(&[("SCHILY.xattr.user.x", b"1"), ("SCHILY.xattr.user.x", b"2")]),
                file("a", ""),
            ]),
            "twice",
        ),
        (
            "xattr without namespace",
            tar(&[pax(&[("SCHILY.xattr.x", b"1")]), file("a", "")]),
            "bad name",
        ),
        (
            "xattr too large",
            tar(&[pax(&[("SCHILY.xattr.user.x", &[0; 65537])]), file("a", "")]),
            "too large",
        ),
        (
            "too many xattrs",
            tar(&[h(b'x', "x").data(&many(129)), file("a", "")]),
            "too many",
        ),
        // GNU.
        (
            "GNU name climbs",
            tar(&[h(b'L', "x").data(b"../x\0"), file("a", "")]),
            "`..`",
        ),
        (
            "GNU name with NUL",
            tar(&[h(b'L', "x").data(b"a\0b\0"), file("a", "")]),
            "long name",
        ),
        (
            "GNU name empty",
            tar(&[h(b'L', "x").data(b"\0"), file("a", "")]),
            "long name",
        ),
        (
            "two GNU names",
            tar(&[
                h(b'L', "x").data(b"a\0"),
                h(b'L', "x").data(b"b\0"),
                file("c", ""),
            ]),
            "two long",
        ),
        (
            "two GNU links",
            tar(&[
                h(b'K', "x").data(b"a\0"),
                h(b'K', "x").data(b"b\0"),
                symlink("c", "d"),
            ]),
            "two long",
        ),
        ("GNU sparse", tar(&[h(b'S', "a").empty()]), "sparse"),
        ("volumes", tar(&[h(b'M', "a").empty()]), "several volumes"),
        (
            "dump directory",
            tar(&[h(b'D', "a").empty()]),
            "incremental",
        ),
        ("unknown type", tar(&[h(b'Z', "a").empty()]), "unknown type"),
        (
            "headers without end",
            tar(&vec![h(b'g', "g").data(&record("comment", b"x")); 3]
                .into_iter()
                .chain(vec![pax(&[("mtime", b"1")])])
                .chain(vec![h(b'g', "g").data(&record("comment", b"x")); 9])
                .collect::<Vec<_>>()),
            "too many extended",
        ),
        // The end.
        ("nothing", vec![], ""),
        ("no end mark", file("a", "x"), ""),
        ("cut in the header", file("a", "x")[..300].to_vec(), ""),
        (
            "cut in the content",
            file("a", &"x".repeat(600))[..1000].to_vec(),
            "",
        ),
        (
            "something behind the end",
            [tar(&[file("a", "x")]), file("b", "evil")].concat(),
            "behind the archive's end",
        ),
        (
            "lone empty block",
            [
                file("a", "x"),
                vec![0; 512],
                file("b", "evil"),
                vec![0; 1024],
            ]
            .concat(),
            "behind the archive's end",
        ),
        ("noise", vec![b'x'; 2048], ""),
        ("bzip2", b"BZh91AY&SY".to_vec(), "bzip2"),
        ("gzip cut", gz(&tar(&[file("a", "x")]))[..40].to_vec(), ""),
        (
            "gzip with junk behind",
            [gz(&tar(&[file("a", "x")])), b"junk".to_vec()].concat(),
            "",
        ),
    ];
    let count = cases.len();
    assert!(count >= 90, "{count}");
    for (name, bytes, reason) in cases {
        if name == "pax link out" {
            // A link target on what is not a link means nothing, and nothing comes of it.
            assert_eq!(read(&bytes).unwrap()[0].0.kind, Kind::File);
            continue;
        }
        match read(&bytes) {
            Ok(entries) => panic!("{name}: accepted: {entries:?}"),
            Err(error) => {
                let text = chain(error.as_ref());
                assert!(text.contains(reason), "{name}: refused, but for {text:?}");
            }
        }
    }
}

#[test]
fn odd_but_harmless_tars_come_out_right() {
    let one = |parts: &[Vec<u8>]| {
        read(&tar(parts))
            .map(|mut all| all.pop().unwrap())
            .map_err(|e| chain(e.as_ref()))
            .unwrap()
    };
    let (meta, content) = one(&[file("./usr//bin/./x", "hello")]);
    assert_eq!(
        (meta.path.as_bytes(), content.as_slice()),
        (&b"usr/bin/x"[..], &b"hello"[..])
    );
    assert!(one(&[dir("./")]).0.path.is_root());
    assert_eq!(one(&[h(b'0', "old/").empty()]).0.kind, Kind::Directory);
    assert_eq!(
        one(&[h(0, "v7").with(|h| h.magic = vec![]).data(b"x")]).1,
        b"x"
    );
    // v7 and GNU headers have no prefix there.
    assert_eq!(
        one(&[h(b'0', "x")
            .with(|h| {
                h.magic = b"ustar  \0".to_vec();
                h.prefix = b"../..".to_vec()
            })
            .empty()])
        .0
        .path
        .as_bytes(),
        b"x"
    );
    assert_eq!(
        one(&[h(b'0', "x").with(|h| h.prefix = b"a/b".to_vec()).empty()])
            .0
            .path
            .as_bytes(),
        b"a/b/x"
    );
    let name = format!("{}x", "n".repeat(200));
    assert_eq!(
        one(&[
            h(b'L', "././@LongLink").data(format!("{name}\0").as_bytes()),
            file("short", "y")
        ])
        .0
        .path
        .as_bytes(),
        name.as_bytes()
    );
    let (meta, _) = one(&[
        pax(&[
            ("path", "ü\n".as_bytes()),
            ("mtime", b"-1.5"),
            ("uid", b"70000"),
            ("gid", b"7"),
            ("comment", b"x"),
            ("SCHILY.xattr.security.capability", b"\x01\0=\n"),
        ]),
        file("a", ""),
    ]);
    assert_eq!(
        (meta.path.as_bytes(), meta.mtime, meta.uid, meta.gid),
        ("ü\n".as_bytes(), -2, 70000, 7)
    );
    assert_eq!(
        meta.xattrs,
        [("security.capability".to_owned(), b"\x01\0=\n".to_vec())]
    );
    // The size from PAX is the one that counts, for content and for where the next header is.
    let big = [
        h(b'0', "a").sized(0).block(),
        b"hello".to_vec(),
        vec![0; 507],
    ]
    .concat();
    assert_eq!(
        read(&tar(&[pax(&[("size", b"5")]), big, file("b", "")])).unwrap()[0].1,
        b"hello"
    );
    assert_eq!(
        one(&[h(b'0', "m")
            .with(|h| h.mode = b"0107777\0".to_vec())
            .empty()])
        .0
        .mode,
        0o7777
    );
    assert_eq!(
        one(&[
            h(b'0', "s")
                .with(|h| h.size = b"          3 ".to_vec())
                .block(),
            [&b"abc"[..], &[0; 509]].concat()
        ])
        .1,
        b"abc"
    );
    assert_eq!(
        one(&[
            h(b'0', "b")
                .with(|h| h.size = b"\x80\0\0\0\0\0\0\0\0\0\0\x03".to_vec())
                .block(),
            [&b"abc"[..], &[0; 509]].concat()
        ])
        .1,
        b"abc"
    );
    assert_eq!(
        one(&[h(b'0', "t")
            .with(|h| h.mtime = [&[0xff; 11][..], &[0xfe]].concat())
            .empty()])
        .0
        .mtime,
        -2
    );
    assert_eq!(
        one(&[h(b'3', "d")
            .with(|h| {
                h.major = b"0000005\0".to_vec();
                h.minor = b"0000001\0".to_vec()
            })
            .empty()])
        .0
        .kind,
        Kind::CharDevice { major: 5, minor: 1 }
    );
    assert_eq!(one(&[h(b'6', "p").empty()]).0.kind, Kind::Fifo);
    // What a symbolic link says is kept as it is; whoever follows it has to be careful.
    assert_eq!(
        one(&[symlink("l", "../../../etc/passwd")]).0.kind,
        Kind::Symlink(b"../../../etc/passwd".to_vec())
    );
    // The same again is no change.
    assert_eq!(
        read(&tar(&[
            dir("a"),
            file("a/b", "1"),
            dir("a"),
            file("a/b", "2")
        ]))
        .unwrap()
        .len(),
        4
    );
    assert_eq!(
        read(&tar(&[symlink("l", "t"), hardlink("m", "l")]))
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        read(&tar(&[
            h(b'g', "g").data(&record("comment", b"abc")),
            file("a", "")
        ]))
        .unwrap()
        .len(),
        1
    );
    assert!(read(&tar(&[])).unwrap().is_empty());
    for packed in [
        gz(&tar(&[file("a", "x")])),
        xz(&tar(&[file("a", "x")])),
        zstd::encode_all(&tar(&[file("a", "x")])[..], 1).unwrap(),
    ] {
        assert_eq!(read(&packed).unwrap()[0].1, b"x");
    }
}

#[test]
fn limits_hold() {
    let limits = Limits {
        entries: 3,
        file: 10,
        total: 15,
    };
    let refused = |parts: &[Vec<u8>]| chain(read_with(&tar(parts), limits).unwrap_err().as_ref());
    assert!(
        refused(&[dir("a"), dir("b"), dir("c"), dir("d")]).contains("entries over the limit of 3")
    );
    assert!(refused(&[file("a", "12345678901")]).contains("a file over the limit of 10"));
    assert!(
        refused(&[file("a", "1234567890"), file("b", "123456")])
            .contains("sum of all files over the limit of 15")
    );
    assert!(read_with(&tar(&[file("a", "1234567890"), file("b", "12345")]), limits).is_ok());
}

#[test]
fn content_may_be_left_unread_and_errors_end_it() {
    let bytes = tar(&[
        file("a", &"x".repeat(3000)),
        file("b", "y"),
        file("../c", ""),
    ]);
    let mut entries = tar::open(&bytes[..]).unwrap();
    let mut first = entries.next_entry().unwrap().unwrap();
    first.read_exact(&mut [0; 700]).unwrap();
    assert_eq!(first.remaining(), 2300);
    assert_eq!(
        entries
            .next_entry()
            .unwrap()
            .unwrap()
            .meta()
            .path
            .as_bytes(),
        b"b"
    );
    assert!(entries.next_entry().is_err());
    assert!(entries.next_entry().unwrap().is_none());
}
