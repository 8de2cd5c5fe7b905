//! What is shown of well-formed images.

use crate::entry;
use crate::writer::*;
use jaula_repo::iso9660::{Ino, Iso, Node, NodeKind, Tree, WalkLimits};
use std::collections::BTreeMap;

pub type Shown = BTreeMap<String, Node>;

/// Everything in an image that must be without fault.
pub fn walk(image: &[u8]) -> Shown {
    entry::iso9660(image);
    let iso = Iso::open(image).unwrap();
    iso.walk(WalkLimits::default())
        .unwrap()
        .map(|found| found.unwrap_or_else(|s| panic!("{s}: {}", s.error)))
        .map(|found| (String::from_utf8(found.path).unwrap(), found.node))
        .collect()
}

pub fn content(image: &[u8], node: &Node) -> Vec<u8> {
    let iso = Iso::open(image).unwrap();
    let mut all = vec![0; usize::try_from(node.size).unwrap()];
    assert_eq!(iso.read(node, 0, &mut all).unwrap(), all.len());
    // In pieces it is the same.
    let mut pieces: Vec<u8> = vec![];
    let mut buf = [0; 1000];
    loop {
        let n = iso.read(node, pieces.len() as u64, &mut buf).unwrap();
        if n == 0 {
            break;
        }
        pieces.extend(&buf[..n]);
    }
    assert!(all == pieces);
    all
}

pub fn tree() -> Vec<Item> {
    vec![
        file("LEEME.TXT;1", "Léeme primero.txt", b"contenido\n"),
        file("VACIO.;1", "vacío", b""),
        dir(
            "SUB",
            "Sub dir",
            vec![
                file("A.B;2", "a.b", &[7; 5000]),
                dir("HONDO", "hondo", vec![]),
            ],
        ),
    ]
}

#[test]
fn plain_names() {
    let image = plain().write(&tree());
    let shown = walk(&image);
    assert_eq!(
        shown.keys().collect::<Vec<_>>(),
        ["leeme.txt", "sub", "sub/a.b.2", "sub/hondo", "vacio"]
    );
    let file = &shown["leeme.txt"];
    assert_eq!(
        (file.mode, file.uid, file.nlink, file.mtime),
        (0o555, 0, 1, TIME)
    );
    assert_eq!(content(&image, file), b"contenido\n");
    assert_eq!(content(&image, &shown["sub/a.b.2"]), [7; 5000]);
    let iso = Iso::open(&image[..]).unwrap();
    assert_eq!(
        (
            iso.volume().label.as_str(),
            iso.volume().tree,
            iso.volume().missing
        ),
        ("ETIQUETA", Tree::Plain, 0)
    );
    let root = iso.root().unwrap();
    assert_eq!(root.ino, Ino::ROOT);
    // Any case is found, as there is only one.
    for name in ["leeme.txt", "LEEME.TXT", "Leeme.txt"] {
        assert_eq!(
            iso.lookup(&root, name.as_bytes()).unwrap().unwrap().ino,
            file.ino,
            "{name}"
        );
    }
    assert!(iso.lookup(&root, b"leeme.txt;1").unwrap().is_none());
    assert!(iso.lookup(&root, b"..").unwrap().is_none());
    assert!(iso.lookup(file, b"x").is_err());
}

#[test]
fn joliet_names() {
    let image = joliet().write(&tree());
    let shown = walk(&image);
    assert_eq!(
        shown.keys().collect::<Vec<_>>(),
        [
            "Léeme primero.txt",
            "Sub dir",
            "Sub dir/a.b",
            "Sub dir/hondo",
            "vacío"
        ]
    );
    assert_eq!(content(&image, &shown["Léeme primero.txt"]), b"contenido\n");
    let iso = Iso::open(&image[..]).unwrap();
    assert_eq!(
        (iso.volume().label.as_str(), iso.volume().tree),
        ("Etiquetá", Tree::Joliet)
    );
    let root = iso.root().unwrap();
    assert!(
        iso.lookup(&root, b"SUB DIR")
            .unwrap()
            .is_some_and(|n| n.is_dir())
    );
}

fn long_name() -> &'static str {
    Box::leak("ñ".repeat(120).into_boxed_str())
}

/// Rock Ridge with all kinds of files.
pub fn rock_tree() -> Vec<Item> {
    let long_target: &str =
        Box::leak(format!("/{}/../{}/x", "d".repeat(250), "e".repeat(99)).into_boxed_str());
    let mut items = vec![
        dir(
            "RR_MOVED",
            "rr_moved",
            vec![dir("HONDO", "Hondo", vec![file("X.;1", "x", b"deep")]).moved()],
        ),
        file("LEEME.TXT;1", "Léeme.txt", b"contenido\n"),
        file("LARGO.;1", long_name(), b"long"),
        link("ENLACE.;1", "enlace", "../a/./b"),
        link("LEJOS.;1", "lejos", long_target),
        link("RAIZ.;1", "raíz", "/"),
        device("NULO.;1", "nulo", 1, 3),
        fifo("TUBO.;1", "tubo"),
        dir(
            "D",
            "d",
            vec![child("HONDO.;1", "Hondo"), file("Y.;1", "y", b"y")],
        ),
        packed("Z.;1", "z", &noise(100_000)),
        parts("PARTES.;1", "partes", &[&[1; 4096], &[2; 2048], &[3; 100]]),
    ];
    items.extend((0..40).map(|n| {
        file(
            &format!("N{n:02}.;1"),
            Box::leak(format!("Número {n}").into_boxed_str()),
            &[n; 10],
        )
    }));
    items
}

/// Bytes of which a third compresses, with a hole of zeros.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    (0..len)
        .map(|n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if (32_768..65_536).contains(&n) {
                0
            } else if n % 3 == 0 {
                b'a'
            } else {
                state.to_le_bytes()[3]
            }
        })
        .collect()
}

#[test]
fn rock_ridge() {
    for (inline, joliet, block) in [
        (140, false, 2048),
        (60, true, 2048),
        (140, false, 512),
        (100, true, 1024),
    ] {
        let image = Writer {
            inline,
            joliet,
            block,
            ..rock()
        }
        .write(&rock_tree());
        let shown = walk(&image);
        assert_eq!(shown.len(), 54, "{:?}", shown.keys());
        let file = &shown["Léeme.txt"];
        assert_eq!(
            (file.mode, file.uid, file.gid, file.mtime, file.size),
            (0o640, 1000, 100, TIME, 10)
        );
        assert_eq!(content(&image, file), b"contenido\n");
        assert_eq!(content(&image, &shown[long_name()]), b"long");
        assert_eq!(shown["enlace"].target.as_deref(), Some(&b"../a/./b"[..]));
        let far = format!("/{}/../{}/x", "d".repeat(250), "e".repeat(99));
        assert_eq!(shown["lejos"].target.as_deref(), Some(far.as_bytes()));
        assert_eq!(shown["raíz"].target.as_deref(), Some(&b"/"[..]));
        assert_eq!(
            (shown["nulo"].kind, shown["nulo"].device),
            (NodeKind::CharDevice, Some((1, 3)))
        );
        assert_eq!(shown["tubo"].kind, NodeKind::Fifo);
        // A directory that was moved is where it belongs, and not where it was moved to.
        assert!(!shown.contains_key("rr_moved/Hondo"));
        assert!(shown["d/Hondo"].is_dir());
        assert_eq!(content(&image, &shown["d/Hondo/x"]), b"deep");
        assert!(content(&image, &shown["z"]) == noise(100_000));
        assert!(shown["z"].stored() < 100_000);
        let joined = [vec![1; 4096], vec![2; 2048], vec![3; 100]].concat();
        assert!(content(&image, &shown["partes"]) == joined);
        // A case that differs is another name.
        let iso = Iso::open(&image[..]).unwrap();
        assert!(
            iso.lookup(&iso.root().unwrap(), b"ENLACE")
                .unwrap()
                .is_none()
        );
        for n in 0..40 {
            let name = format!("Número {n}");
            let found = iso
                .lookup(&iso.root().unwrap(), name.as_bytes())
                .unwrap()
                .unwrap();
            assert_eq!(found.ino, shown[&name].ino);
        }
    }
}

#[test]
fn which_tree() {
    let tree_of = |image: &[u8]| Iso::open(image).unwrap().volume().tree;
    assert_eq!(
        tree_of(
            &Writer {
                joliet: true,
                ..rock()
            }
            .write(&tree())
        ),
        Tree::RockRidge
    );
    // Undeclared Rock Ridge counts only where there is no Joliet.
    assert_eq!(
        tree_of(
            &Writer {
                joliet: true,
                declared: false,
                ..rock()
            }
            .write(&tree())
        ),
        Tree::Joliet
    );
    assert_eq!(
        tree_of(
            &Writer {
                declared: false,
                ..rock()
            }
            .write(&tree())
        ),
        Tree::RockRidge
    );
    // A primary tree with nothing in it gives way.
    let mut image = Writer {
        joliet: true,
        ..rock()
    }
    .write(&tree());
    let root =
        u32::from_le_bytes(image[16 * SECTOR + 158..][..4].try_into().unwrap()) as usize * SECTOR;
    let second = root + usize::from(image[root]);
    let third = second + usize::from(image[second]);
    image[third..root + SECTOR].fill(0);
    assert_eq!(tree_of(&image), Tree::Joliet);
    assert!(walk(&image).contains_key("Sub dir/a.b"));
}

#[test]
fn hidden_and_associated() {
    let image = plain().write(&[
        file("A.;1", "a", b"fork").flags(4),
        file("A.;1", "a", b"data"),
        file("H.;1", "h", b"").flags(1),
    ]);
    let shown = walk(&image);
    assert_eq!(shown.keys().collect::<Vec<_>>(), ["a", "h"]);
    assert_eq!(content(&image, &shown["a"]), b"data");
    assert!(shown["h"].hidden && !shown["a"].hidden);
}

#[test]
fn long_dates_and_devices_in_one_number() {
    let long = field(b"TF", &[&[0x82][..], b"2030010203040500\0"].concat());
    let image = rock().write(&[
        file("A.;1", "a", b"").extra(&long),
        device("B.;1", "b", 0, 0x0801),
    ]);
    let shown = walk(&image);
    assert_eq!(shown["a"].mtime, 1_893_553_445);
    assert_eq!(shown["b"].device, Some((8, 1)));
}

#[test]
fn bytes_of_xa_before_rock_ridge() {
    // 14 bytes of CD-ROM XA stand before the fields of every record.
    let mut image = rock().write(&[file("A.;1", "un nombre", b"x")]);
    let root =
        u32::from_le_bytes(image[16 * SECTOR + 158..][..4].try_into().unwrap()) as usize * SECTOR;
    let mut pos = root;
    let mut moved = vec![];
    while image[pos] != 0 {
        let len = usize::from(image[pos]);
        let mut raw = image[pos..pos + len].to_vec();
        let fields = 33 + usize::from(raw[32]);
        let fields = fields + fields % 2;
        raw.splice(
            fields..fields,
            [0, 0, 0, 0, 0xd, 0x55, b'X', b'A', 0, 0, 0, 0, 0, 0],
        );
        if pos == root {
            raw[fields + 14 + 6] = 14;
        }
        raw[0] += 14;
        moved.extend(raw);
        pos += len;
    }
    image[root..root + moved.len()].copy_from_slice(&moved);
    assert_eq!(walk(&image).keys().collect::<Vec<_>>(), ["un nombre"]);
}

#[test]
fn shared_between_threads() {
    let image = rock().write(&rock_tree());
    let iso = Iso::open(&image[..]).unwrap();
    let node = iso.lookup(&iso.root().unwrap(), b"z").unwrap().unwrap();
    let expected = noise(100_000);
    std::thread::scope(|scope| {
        for start in 0..4u64 {
            let (iso, node, expected) = (&iso, &node, &expected);
            scope.spawn(move || {
                let mut buf = [0; 777];
                for offset in (start * 311..99_000).step_by(1913) {
                    iso.read(node, offset, &mut buf).unwrap();
                    assert_eq!(buf, expected[offset as usize..][..777]);
                }
            });
        }
    });
}
