//! Images that lie about themselves, and some thousand mutated ones. The seeds are fixed, so a failure comes back.

use crate::entry;
use crate::tools::made;
use crate::writer::{SUPER_BLOCK, What, write};
use jaula_repo::disk::{self, ROOT};
use jaula_repo::image_kind::ImageKind;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn small() -> Vec<u8> {
    write(vec![
        ("a", What::File(b"contenido\n".to_vec())),
        (
            "b",
            What::Dir(vec![
                ("c", What::File(vec![7; 10_000])),
                ("d", What::Link("../a")),
            ]),
        ),
        ("e", What::Link("a")),
        ("f", What::Holes(9000)),
        ("g", What::Dir(vec![])),
    ])
}

#[test]
fn what_the_writer_writes_is_read() {
    let mut tree = disk::open(ImageKind::Squashfs, small()).unwrap();
    let a = tree.lookup(ROOT, b"a").unwrap().unwrap();
    let mut buffer = [0; 64];
    assert_eq!(tree.read(a, 0, &mut buffer).unwrap(), 10);
    assert_eq!(&buffer[..10], b"contenido\n");
    assert_eq!(tree.read(a, 9, &mut buffer).unwrap(), 1);
    assert_eq!(tree.read(a, 10, &mut buffer).unwrap(), 0);
    let b = tree.lookup(ROOT, b"b").unwrap().unwrap();
    let c = tree.lookup(b, b"c").unwrap().unwrap();
    let mut buffer = vec![0; 10_001];
    assert_eq!(tree.read(c, 0, &mut buffer).unwrap(), 10_000);
    assert!(buffer[..10_000].iter().all(|byte| *byte == 7));
    let d = tree.lookup(b, b"d").unwrap().unwrap();
    assert_eq!(tree.read_link(d).unwrap(), b"../a");
    let f = tree.lookup(ROOT, b"f").unwrap().unwrap();
    assert_eq!(tree.read(f, 0, &mut buffer).unwrap(), 9000);
    assert!(buffer[..9000].iter().all(|byte| *byte == 0));
    assert!(tree.lookup(ROOT, b"nothing").unwrap().is_none());
    entry::squashfs(&small());
}

#[test]
fn a_squashfs_image_that_is_cut_anywhere_is_refused_or_errs_where_it_is_cut() {
    let whole = small();
    for len in 0..whole.len() {
        assert!(disk::open(ImageKind::Squashfs, whole[..len].to_vec()).is_err());
    }
}

#[test]
fn super_blocks_that_make_no_sense_are_refused() {
    let change = |at: usize, bytes: &[u8]| {
        let mut image = small();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        let opened = disk::open(ImageKind::Squashfs, image);
        opened
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    for (at, bytes, text) in [
        (0, &b"sqsh"[..], "it does not begin with `hsqs`"),
        (28, &[3, 0], "a version other than 4.0"),
        (20, &[5, 0], "lz4 compression"),
        (20, &[2, 0], "lzma compression"),
        (20, &[99, 0], "a compression that is not known"),
        (12, &[0, 0, 0, 0], "its block size makes no sense"),
        (12, &[0, 0, 0, 0x80], "its block size makes no sense"),
        (22, &[200, 0], "its block size makes no sense"),
        (40, &[0xff; 8], "outside the image"),
        (64, &[0xff; 8], "outside the image"),
        (48, &[0xff; 8], "outside the image"),
    ] {
        let said = change(at, bytes);
        assert!(said.contains(text), "{at}: {said}");
    }
}

#[test]
fn a_directory_in_itself_is_listed_and_not_followed_by_the_reader() {
    // The entry names the node at the table's beginning, which the root is here.
    let mut image = write(vec![("loop", What::Root)]);
    assert_eq!(image[32..40], [0; 8], "the root is the only node");
    let mut tree = disk::open(ImageKind::Squashfs, image.clone()).unwrap();
    let mut at = ROOT;
    for _ in 0..1000 {
        at = tree.lookup(at, b"loop").unwrap().unwrap();
    }
    image.truncate(image.len());
    entry::squashfs(&image);
}

#[test]
fn a_file_of_impossible_size_costs_no_memory() {
    for size in [u64::MAX, i64::MAX as u64, 1 << 50, 1 << 36] {
        let image = write(vec![("big", What::Holes(size))]);
        let mut tree = disk::open(ImageKind::Squashfs, image).unwrap();
        let big = tree.lookup(ROOT, b"big").unwrap().unwrap();
        assert!(tree.read(big, 1 << 30, &mut [0; 16]).is_err());
    }
}

/// Rounds of changes.
const ROUNDS: u64 = 3000;

fn mutated(image: &[u8], places: &[usize], rounds: u64, parser: fn(&[u8])) {
    for round in 0..rounds {
        let mut rng = StdRng::seed_from_u64(round);
        let mut data = image.to_vec();
        for _ in 0..rng.gen_range(1..=6) {
            let at = places[rng.gen_range(0..places.len())];
            match rng.gen_range(0..3) {
                0 => data[at] ^= 1 << rng.gen_range(0..8),
                1 => data[at] = [0, 1, 0x7f, 0x80, 0xff][rng.gen_range(0..5)],
                _ => data[at] = rng.r#gen(),
            }
        }
        if round % 50 == 0 {
            data.truncate(rng.gen_range(0..data.len()));
        }
        if std::panic::catch_unwind(|| parser(&data)).is_err() {
            panic!("round {round} panics");
        }
    }
}

#[test]
fn mutated_squashfs_images() {
    let image = small();
    let tables = SUPER_BLOCK + 10 + 10_000;
    let places: Vec<usize> = (0..SUPER_BLOCK).chain(tables..image.len()).collect();
    mutated(&image, &places, ROUNDS, entry::squashfs);
}

#[test]
fn mutated_ext_images() {
    let Some(image) = made(
        "mke2fs",
        &["-q", "-t", "ext4", "-b", "1024", "-N", "64"],
        "512K",
    ) else {
        return;
    };
    // Where something stands: the super block, descriptors, nodes and directories.
    let places: Vec<usize> = (1024..image.len()).filter(|at| image[*at] != 0).collect();
    mutated(&image, &places, 300, entry::ext);
    let tables: Vec<usize> = (1024..4096).collect();
    mutated(&image, &tables, 300, entry::ext);
}
