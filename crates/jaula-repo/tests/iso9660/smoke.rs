//! Some thousand mutated images. The seeds are fixed, so a failure comes back.

use crate::entry;
use crate::shown::{rock_tree, tree};
use crate::writer::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const ROUNDS: u64 = 6000;

/// Places that are worth changing: where a value other than zero stands.
fn places(image: &[u8]) -> Vec<usize> {
    (16 * SECTOR..image.len())
        .filter(|n| image[*n] != 0)
        .collect()
}

#[test]
fn mutated_images() {
    let few = || {
        rock_tree()
            .into_iter()
            .take(11)
            .filter(|i| !matches!(i.what, What::Packed(_)))
            .collect::<Vec<_>>()
    };
    let seeds: Vec<Vec<u8>> = vec![
        plain().write(&tree()),
        joliet().write(&tree()),
        Writer {
            joliet: true,
            ..rock()
        }
        .write(&few()),
        Writer {
            inline: 60,
            ..rock()
        }
        .write(&few()),
        Writer {
            block: 512,
            ..rock()
        }
        .write(&[
            packed("Z.;1", "z", &[b'x'; 70_000]),
            link("L.;1", "l", "a/b"),
        ]),
    ];
    let places: Vec<Vec<usize>> = seeds.iter().map(|s| places(s)).collect();
    for round in 0..ROUNDS {
        let mut rng = StdRng::seed_from_u64(round);
        let n = rng.gen_range(0..seeds.len());
        let mut image = seeds[n].clone();
        for _ in 0..rng.gen_range(1..=6) {
            let at = places[n][rng.gen_range(0..places[n].len())];
            match rng.gen_range(0..6) {
                0 => image[at] ^= 1 << rng.gen_range(0..8),
                1 => image[at] = [0, 1, 2, 0x7f, 0x80, 0xff, b'/', 33, 34][rng.gen_range(0..9)],
                2 => image[at] = rng.r#gen(),
                3 => {
                    // Both halves of a number change alike.
                    let value = [0u32, 1, 16, 20, 21, 0xffff_ffff, 0x7fff_ffff, rng.r#gen()]
                        [rng.gen_range(0..8)];
                    let end = (at + 8).min(image.len());
                    let both = both32(value);
                    image[at..end].copy_from_slice(&both[..end - at]);
                }
                4 => {
                    let from = places[n][rng.gen_range(0..places[n].len())];
                    let len = rng.gen_range(1..200).min(image.len() - at.max(from));
                    image.copy_within(from..from + len, at);
                }
                _ if rng.gen_bool(0.2) => image.truncate(at),
                _ => image[at] = image[at].wrapping_add(1),
            }
            if image.len() <= 17 * SECTOR || places[n].iter().any(|p| *p >= image.len()) {
                break;
            }
        }
        if std::panic::catch_unwind(|| entry::iso9660(&image)).is_err() {
            panic!("round {round}");
        }
    }
}
