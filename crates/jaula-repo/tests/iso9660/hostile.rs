//! Images with altered bytes: each gives the error that says what is wrong, and nothing else suffers.

use crate::entry;
use crate::shown::{content, noise, walk};
use crate::writer::*;
use jaula_repo::iso9660::{Iso, IsoError, WalkLimits};
use std::time::{Duration, Instant};

/// What cannot be shown of an image: the error of opening it, or those of its entries.
fn faults(image: &[u8], limits: WalkLimits) -> Vec<IsoError> {
    let begin = Instant::now();
    entry::iso9660(image);
    let faults = match Iso::open(image) {
        Err(e) => vec![e],
        Ok(iso) => iso
            .walk(limits)
            .unwrap()
            .filter_map(Result::err)
            .map(|s| s.error)
            .collect(),
    };
    assert!(begin.elapsed() < Duration::from_secs(5));
    faults
}

fn fault(image: &[u8]) -> String {
    let mut all = faults(image, WalkLimits::default());
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0).to_string()
}

/// Alters, finds exactly one fault, and checks what it says.
fn altered(base: &[u8], says: &str, alter: impl FnOnce(&mut Vec<u8>)) {
    let mut image = base.to_vec();
    alter(&mut image);
    assert!(image != base, "{says}: nothing was altered");
    let found = fault(&image);
    assert!(found.contains(says), "{found:?} does not say {says:?}");
    // The file that was not touched stays.
    if let Ok(iso) = Iso::open(&image[..])
        && let Ok(Some(good)) = iso.lookup(&iso.root().unwrap(), b"bueno")
    {
        assert_eq!(content(&image, &good), b"sano");
    }
}

fn put32(image: &mut [u8], at: usize, n: u32) {
    image[at..at + 8].copy_from_slice(&both32(n));
}

fn base_plain() -> Vec<u8> {
    plain().write(&[
        file("BUENO.;1", "bueno", b"sano"),
        file("MALO.;1", "malo", &[9; 3000]),
        dir("SUB", "sub", vec![file("X.;1", "x", b"x")]),
    ])
}

const PVD: usize = 16 * SECTOR;

fn root_of(image: &[u8]) -> usize {
    u32::from_le_bytes(image[PVD + 158..][..4].try_into().unwrap()) as usize * SECTOR
}

#[test]
fn volume_descriptors() {
    let base = base_plain();
    altered(
        &base,
        "not an ISO 9660 image: it has no volume descriptor",
        |i| i[PVD + 1] = b'X',
    );
    altered(&base, "not an ISO 9660 image: it is shorter", |i| {
        i.truncate(PVD)
    });
    altered(&base, "at byte 32768 is broken: its version", |i| {
        i[PVD + 6] = 2
    });
    altered(&base, "ends before the last descriptor", |i| {
        i.truncate(18 * SECTOR);
        i[17 * SECTOR] = 0;
    });
    altered(&base, "its blocks have not 512", |i| {
        i[PVD + 128..PVD + 132].copy_from_slice(&[0, 16, 16, 0])
    });
    altered(&base, "its blocks have not 512", |i| {
        i[PVD + 128..PVD + 132].fill(0)
    });
    altered(
        &base,
        "the size of a block at byte 32896 is 2048 in one byte order and 4096",
        |i| i[PVD + 130] = 16,
    );
    altered(&base, "its root is not a directory", |i| {
        i[PVD + 156 + 25] = 0
    });
    altered(
        &base,
        "the directory record at byte 32924 is broken: its length",
        |i| i[PVD + 156] = 0,
    );
    altered(&base, "are outside the image", |i| {
        put32(i, PVD + 158, 0xffff_ff00)
    });
    altered(&base, "a directory in the system area", |i| {
        put32(i, PVD + 158, 3)
    });
    altered(&base, "the block of a file at byte 34818 is", |i| {
        put32(i, PVD + 158, 17)
    });
    altered(&base, "does not begin with a record of itself", |i| {
        let inner = u32::from_le_bytes(i[record_of(i, "SUB") + 2..][..4].try_into().unwrap())
            as usize
            * SECTOR;
        let root = root_of(i);
        let second = inner + usize::from(i[inner]);
        i.copy_within(second..second + 60, root);
    });
    altered(&base, "High Sierra", |i| {
        i[PVD + 1] = b'X';
        i[PVD + 9..PVD + 14].copy_from_slice(b"CDROM");
    });
}

#[test]
fn directory_records() {
    let base = base_plain();
    let bad = record_of(&base, "MALO.;1");
    let sub = record_of(&base, "SUB");
    altered(
        &base,
        &format!("the block of a file at byte {} is", bad + 2),
        |i| i[bad + 9] ^= 0x40,
    );
    altered(
        &base,
        &format!("the size of a file at byte {} is", bad + 10),
        |i| i[bad + 17] ^= 0x40,
    );
    altered(&base, "its name is longer than the record", |i| {
        i[bad + 32] = 200
    });
    altered(&base, "it has no name", |i| i[bad + 32] = 0);
    altered(
        &base,
        &format!("record at byte {bad} is broken: its length"),
        |i| i[bad] = 12,
    );
    // A record that runs over the end of its sector.
    let full: Vec<Item> = (0..48)
        .map(|n| file(&format!("F{n:02}.;1"), "f", b""))
        .chain([file("MALO.;1", "m", b"")])
        .collect();
    let full = plain().write(&full);
    let last = record_of(&full, "MALO.;1");
    assert!(last % SECTOR + 255 > SECTOR, "{}", last % SECTOR);
    altered(
        &full,
        &format!("record at byte {last} is broken: its length"),
        |i| i[last] = 254,
    );
    altered(&base, "not supported", |i| i[bad + 26] = 4);
    altered(&base, "the last part of the file is missing", |i| {
        i[bad + 25] |= 0x80
    });
    altered(&base, "the name in the record", |i| {
        i[bad + 33..bad + 39].copy_from_slice(b"..\0\0\0\0")
    });
    altered(&base, "it is empty", |i| i[bad + 33] = 0);
    altered(&base, "an entry before has the same", |i| {
        i[bad + 33..bad + 39].copy_from_slice(b"BUENO\0")
    });
    altered(&base, "the directory record at byte 32768 is broken", |i| {
        put32(i, sub + 2, 16)
    });
    altered(&base, "are outside the image", |i| {
        put32(i, sub + 2, 0x7fff_ffff)
    });
    altered(&base, "a directory in the system area", |i| {
        put32(i, sub + 2, 0)
    });
    let inner = u32::from_le_bytes(base[sub + 2..sub + 6].try_into().unwrap()) as usize * SECTOR;
    altered(&base, "is of another one", |i| put32(i, inner + 2, 25));
    altered(&base, "are outside the image", |i| {
        put32(i, inner + 10, 0x0200_0000)
    });
    altered(&base, "bytes in a directory", |i| {
        put32(i, inner + 10, u32::MAX)
    });
    altered(&base, "a directory in several pieces", |i| {
        i[inner + 25] |= 0x80
    });
    altered(&base, "does not begin with a record of itself", |i| {
        i[inner + 25] = 0
    });
}

#[test]
fn loops_of_directories() {
    let base = base_plain();
    let sub = record_of(&base, "SUB");
    let root = u32::try_from(root_of(&base) / SECTOR).unwrap();
    altered(&base, "shown in another place already", |i| {
        put32(i, sub + 2, root)
    });
    let two = plain().write(&[dir(
        "A",
        "a",
        vec![dir("B", "b", vec![dir("C", "c", vec![])])],
    )]);
    let block = |image: &[u8], name| {
        let at = record_of(image, name) + 2;
        u32::from_le_bytes(image[at..at + 4].try_into().unwrap())
    };
    altered(&two, "shown in another place already", |i| {
        let (a, c) = (block(i, "A"), record_of(i, "C"));
        put32(i, c + 2, a);
    });
}

#[test]
fn extents_outside() {
    let mut image = base_plain();
    let bad = record_of(&image, "MALO.;1");
    for (block, size) in [
        (0xffff_ffff, 3000),
        (27, 0xffff_ffff),
        (0x7fff_ffff, 0x7fff_ffff),
    ] {
        put32(&mut image, bad + 2, block);
        put32(&mut image, bad + 10, size);
        entry::iso9660(&image);
        let iso = Iso::open(&image[..]).unwrap();
        let node = iso.lookup(&iso.root().unwrap(), b"malo").unwrap().unwrap();
        assert_eq!(node.size, u64::from(size));
        let mut buf = vec![0; 100_000];
        let error = iso.read(&node, 0, &mut buf).unwrap_err();
        assert!(matches!(error, IsoError::Outside { .. }), "{error}");
    }
    // Cut off in the middle: it is said, and what is there can be read.
    let whole = rock().write(&[file("A.;1", "a", &[1; 10]), file("B.;1", "b", &[2; 50_000])]);
    let cut = &whole[..whole.len() - 10 * SECTOR];
    let iso = Iso::open(cut).unwrap();
    assert_eq!(iso.volume().missing, 10 * SECTOR as u64);
    let shown = walk(cut_checked(cut));
    assert_eq!(content(cut, &shown["a"]), [1; 10]);
    let mut buf = [0; 100];
    assert_eq!(iso.read(&shown["b"], 0, &mut buf).unwrap(), 100);
    assert!(iso.read(&shown["b"], 40_000, &mut buf).is_err());
}

fn cut_checked(image: &[u8]) -> &[u8] {
    entry::iso9660(image);
    image
}

#[test]
fn bounds_of_a_walk() {
    let many: Vec<Item> = (0..100)
        .map(|n| file(&format!("F{n:03}.;1"), "x", &[0; 1000]))
        .collect();
    let image = plain().write(&many);
    let limited = |entries, bytes| {
        let iso = Iso::open(&image[..]).unwrap();
        let mut all: Vec<_> = iso
            .walk(WalkLimits {
                entries,
                bytes,
                depth: 9,
            })
            .unwrap()
            .collect();
        (
            all.len(),
            all.pop()
                .unwrap()
                .map(|_| ())
                .map_err(|s| (s.last, s.error.to_string())),
        )
    };
    assert_eq!(limited(100, 100_000), (100, Ok(())));
    let (n, end) = limited(10, 100_000);
    assert_eq!(
        (n, end.unwrap_err()),
        (11, (true, "entries at byte 1: more than 10".into()))
    );
    let (n, end) = limited(100, 5_500);
    let (last, says) = end.unwrap_err();
    assert!(
        n == 6 && last && says.starts_with("bytes in all files"),
        "{n} {says}"
    );
    let deep = (0..30).fold(vec![], |inside, _| vec![dir("D", "d", inside)]);
    let found = faults(
        &rock().write(&deep),
        WalkLimits {
            depth: 12,
            ..WalkLimits::default()
        },
    );
    assert!(
        matches!(&found[..], [IsoError::Limit { limit: 12, .. }]),
        "{found:?}"
    );
}

/// The system use fields of an image with one file `malo`, whose fields are altered.
fn altered_fields(says: &str, item: Item, alter: impl FnOnce(&mut Vec<u8>, usize)) {
    let base = rock().write(&[file("BUENO.;1", "bueno", b"sano"), item]);
    let at = record_of(&base, "MALO.;1");
    altered(&base, says, |i| alter(i, at));
}

#[test]
fn rock_ridge_fields() {
    let malo = || file("MALO.;1", "malo", b"x");
    let at_field = |i: &[u8], from: usize, sig: &[u8]| find(i, from, sig);
    altered_fields("its length is less than 4", malo(), |i, at| {
        let px = at_field(i, at, b"PX");
        i[px + 2] = 0;
    });
    altered_fields("longer than the area", malo(), |i, at| {
        let nm = at_field(i, at, b"NM");
        i[nm + 2] = 99;
    });
    altered_fields("a file's mode at byte", malo(), |i, at| {
        let px = at_field(i, at, b"PX");
        i[px + 11] ^= 0x10;
    });
    altered_fields("a mode of no known type", malo(), |i, at| {
        let px = at_field(i, at, b"PX");
        put32(i, px + 4, 0o170_644);
    });
    altered_fields("a directory in one place", malo(), |i, at| {
        let px = at_field(i, at, b"PX");
        put32(i, px + 4, 0o040_644);
    });
    altered_fields("it has a slash", malo(), |i, at| {
        let nm = at_field(i, at, b"NM");
        i[nm + 6] = b'/';
    });
    altered_fields("it has a NUL", malo(), |i, at| {
        let nm = at_field(i, at, b"NM");
        i[nm + 6] = 0;
    });
    altered_fields("it is `.` or `..`", file("MALO.;1", "mm", b"x"), |i, at| {
        let nm = at_field(i, at, b"NM");
        i[nm + 5..nm + 7].copy_from_slice(b"..");
    });
    altered_fields("sparse files", malo(), |i, at| {
        let nm = at_field(i, at, b"TF");
        i[nm..nm + 2].copy_from_slice(b"SF");
    });
    altered_fields(
        "a link without a target",
        link("MALO.;1", "malo", "x"),
        |i, at| {
            let sl = at_field(i, at, b"SL");
            i[sl..sl + 2].copy_from_slice(b"XX");
        },
    );
    altered_fields(
        "with a NUL in it",
        link("MALO.;1", "malo", "xyz"),
        |i, at| {
            let sl = at_field(i, at, b"SL");
            i[sl + 8] = 0;
        },
    );
    altered_fields(
        "component is longer than the field",
        link("MALO.;1", "malo", "xyz"),
        |i, at| {
            let sl = at_field(i, at, b"SL");
            i[sl + 6] = 200;
        },
    );
    altered_fields("unknown flag", link("MALO.;1", "malo", "xyz"), |i, at| {
        let sl = at_field(i, at, b"SL");
        i[sl + 5] = 0x20;
    });
    altered_fields(
        "a device without a number",
        device("MALO.;1", "malo", 1, 3),
        |i, at| {
            let pn = at_field(i, at, b"PN");
            i[pn] = b'X';
        },
    );
    altered_fields("it is too short", malo(), |i, at| {
        let tf = at_field(i, at, b"TF");
        i[tf + 4] = 0xff;
    });
    // The root's own fields: the image is refused, as its names would not be the right ones.
    let base = rock().write(&[malo()]);
    altered(&base, "its length is less than 4", |i| {
        let px = find(i, root_of(i), b"PX");
        i[px + 2] = 1;
    });
}

#[test]
fn names_and_targets_too_long() {
    let item = || {
        file("MALO.;1", "malo", b"x")
            .extra(&field(b"NM", &[&[1][..], &[b'x'; 110]].concat()).repeat(3))
    };
    let image = Writer {
        inline: 160,
        ..rock()
    }
    .write(&[item()]);
    assert!(fault(&image).contains("the name is longer than 255 bytes"));
    let target: &str = Box::leak(vec!["abcdefgh"; 600].join("/").into_boxed_str());
    assert!(
        fault(&rock().write(&[link("MALO.;1", "malo", target)])).contains("longer than 4095 bytes")
    );
    let target: &str = Box::leak(vec!["abcdefg"; 500].join("/").into_boxed_str());
    assert_eq!(
        walk(&rock().write(&[link("M.;1", "malo", target)]))["malo"]
            .target
            .as_deref(),
        Some(target.as_bytes())
    );
}

#[test]
fn continuation_areas() {
    let base = Writer {
        inline: 60,
        ..rock()
    }
    .write(&[
        file("BUENO.;1", "bueno", b"sano"),
        link("MALO.;1", "malo", "a/b"),
    ]);
    let at = record_of(&base, "MALO.;1");
    let ce = find(&base, at, b"CE\x1c");
    let place = u32::from_le_bytes(base[ce + 4..ce + 8].try_into().unwrap());
    altered(&base, "are outside the image", |i| {
        put32(i, ce + 4, 0xffff_fff0)
    });
    altered(&base, "are outside the image", |i| {
        put32(i, ce + 12, 0x7fff_ffff)
    });
    altered(&base, "bytes in continuation areas", |i| {
        put32(i, ce + 20, 70_000)
    });
    altered(&base, "is 1", |i| {
        i[ce + 4..ce + 12].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 2])
    });
    // An area that continues itself, and one in the record's own directory.
    let area = place as usize * SECTOR;
    altered(&base, "continuation areas of a record at byte", |i| {
        let itself = field(b"CE", &[both32(place), both32(0), both32(28)].concat());
        i[area..area + 28].copy_from_slice(&itself);
        put32(i, ce + 20, 28);
    });
    altered(&base, "continuation areas of a record at byte", |i| {
        put32(i, ce + 20, 28);
        let (block, offset) = (
            u32::try_from(ce / SECTOR).unwrap(),
            u32::try_from(ce % SECTOR).unwrap(),
        );
        let back = field(b"CE", &[both32(block), both32(offset), both32(28)].concat());
        i[area..area + 28].copy_from_slice(&back);
    });
}

#[test]
fn moved_directories() {
    let base = rock().write(&[
        dir(
            "RR_MOVED",
            "rr_moved",
            vec![dir("H", "h", vec![file("X.;1", "x", b"x")]).moved()],
        ),
        file("BUENO.;1", "bueno", b"sano"),
        child("MALO.;1", "h"),
    ]);
    assert!(walk(&base).contains_key("h/x"));
    let cl = find(&base, record_of(&base, "MALO.;1"), b"CL\x0c");
    let root = u32::try_from(root_of(&base) / SECTOR).unwrap();
    altered(&base, "shown in another place already", |i| {
        put32(i, cl + 4, root)
    });
    altered(&base, "the directory record at byte 32768 is broken", |i| {
        put32(i, cl + 4, 16)
    });
    altered(&base, "are outside the image", |i| {
        put32(i, cl + 4, u32::MAX)
    });
    altered(&base, "a directory in the system area", |i| {
        put32(i, cl + 4, 0)
    });
}

#[test]
fn compressed_files() {
    let data = noise(100_000);
    let base = rock().write(&[
        file("BUENO.;1", "bueno", b"sano"),
        packed("MALO.;1", "malo", &data),
    ]);
    let at = record_of(&base, "MALO.;1");
    let zf = find(&base, at, b"ZF\x10");
    let stored = u32::from_le_bytes(base[at + 2..at + 6].try_into().unwrap()) as usize * SECTOR;
    altered(&base, "compression other than", |i| i[zf + 4] = b'P');
    altered(&base, "a size that zisofs does not have", |i| {
        i[zf + 7] = 40
    });
    altered(&base, "a size that zisofs does not have", |i| i[zf + 6] = 0);
    altered(&base, "the table of blocks is longer than the file", |i| {
        put32(i, zf + 8, u32::MAX)
    });
    altered(&base, "the table of blocks is longer than the file", |i| {
        put32(i, at + 10, 20)
    });
    // These are seen when the file is read.
    let refused = |says: &str, alter: &dyn Fn(&mut Vec<u8>)| {
        let mut image = base.clone();
        alter(&mut image);
        entry::iso9660(&image);
        let iso = Iso::open(&image[..]).unwrap();
        let node = iso.lookup(&iso.root().unwrap(), b"malo").unwrap().unwrap();
        let mut buf = vec![0; 200_000];
        let error = iso.read(&node, 0, &mut buf).unwrap_err().to_string();
        assert!(error.contains(says), "{error:?} does not say {says:?}");
    };
    refused("does not begin as a compressed file", &|i| i[stored] = 0);
    refused("a block's place makes no sense", &|i| {
        i[stored + 16..stored + 20].fill(0xff)
    });
    refused("a block's place makes no sense", &|i| {
        i[stored + 20..stored + 24].copy_from_slice(&[0xff, 0xff, 1, 0])
    });
    refused("a block's place makes no sense", &|i| {
        i[stored + 20..stored + 24].fill(0)
    });
    refused("a block does not unpack", &|i| {
        i[stored + 32 + 20..stored + 32 + 40].fill(0xff)
    });
    refused("a block is shorter", &|i| {
        // The first block becomes the last, which is short.
        let last: Vec<u8> = i[stored + 28..stored + 36].to_vec();
        i[stored + 16..stored + 24].copy_from_slice(&last);
    });
    // A bomb: 32 MiB of zeros in one block unpack to a block's size and no further.
    let mut bomb = vec![];
    let mut encoder = flate2::write::ZlibEncoder::new(&mut bomb, flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &vec![0; 32 << 20]).unwrap();
    encoder.finish().unwrap();
    let mut file = zisofs(&[1; 32768]);
    file.truncate(16);
    file.extend(
        [24u32, 24 + u32::try_from(bomb.len()).unwrap()]
            .iter()
            .flat_map(|n| n.to_le_bytes()),
    );
    file.extend(&bomb);
    let extra = field(b"ZF", &[&b"pz\x04\x0f"[..], &both32(32768)].concat());
    let image = rock().write(&[item_with(&file, &extra)]);
    let shown = walk(&image);
    assert_eq!(shown["malo"].size, 32768);
    assert!(content(&image, &shown["malo"]).iter().all(|b| *b == 0) || bomb.len() > 65536);
}

fn item_with(data: &[u8], extra: &[u8]) -> Item {
    file("MALO.;1", "malo", data).extra(extra)
}

#[test]
fn parts_of_files() {
    let base = plain().write(&[
        file("BUENO.;1", "bueno", b"sano"),
        parts("MALO.;1", "malo", &[&[1; 4096], &[2; 2048], &[3; 100]]),
    ]);
    let first = record_of(&base, "MALO.;1");
    let len = usize::from(base[first]);
    altered(&base, "is not whole blocks", |i| put32(i, first + 10, 4095));
    altered(&base, "interleaved", |i| i[first + len + 27] = 1);
    altered(&base, "the last part of the file is missing", |i| {
        i[first + 2 * len + 25] |= 0x80
    });
    // A part with a broken record: the rest of the file is not shown as a file.
    altered(&base, "is 2048", |i| i[first + len + 17] ^= 1);
    let many: Vec<&[u8]> = vec![&[0; 2048]; 300];
    assert!(fault(&plain().write(&[parts("MALO.;1", "malo", &many)])).contains("parts of a file"));
}

#[test]
fn a_source_that_fails() {
    #[derive(Debug)]
    struct Failing<'a>(&'a [u8], u64);
    impl jaula_repo::iso9660::ReadAt for Failing<'_> {
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
            if offset >= self.1 {
                return Err(std::io::Error::other("bad sector"));
            }
            // Short reads are allowed.
            let n = buf.len().min(700);
            jaula_repo::iso9660::ReadAt::read_at(self.0, offset, &mut buf[..n])
        }
        fn len(&self) -> u64 {
            self.0.len() as u64 * 2
        }
    }
    let image = plain().write(&[file("A.;1", "a", &[5; 100])]);
    let iso = Iso::open(Failing(&image, u64::MAX)).unwrap();
    let node = iso.lookup(&iso.root().unwrap(), b"a").unwrap().unwrap();
    let mut buf = [0; 100];
    assert_eq!(
        (iso.read(&node, 0, &mut buf).unwrap(), buf),
        (100, [5; 100])
    );
    // It is shorter than it says.
    let mut image2 = image.clone();
    put32(&mut image2, record_of(&image, "A.;1") + 10, 10_000);
    let iso = Iso::open(Failing(&image2, u64::MAX)).unwrap();
    let node = iso.lookup(&iso.root().unwrap(), b"a").unwrap().unwrap();
    assert!(matches!(
        iso.read(&node, 0, &mut [0; 9000]),
        Err(IsoError::Outside { .. })
    ));
    // Sectors that cannot be read are no empty directory.
    let error = Iso::open(Failing(&image, root_of(&image) as u64)).unwrap_err();
    assert!(
        matches!(error, IsoError::Read { at, .. } if at == root_of(&image) as u64),
        "{error}"
    );
}
