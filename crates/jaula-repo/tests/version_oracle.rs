//! The order of versions against dpkg's own.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    missing_docs
)]

use jaula_repo::deb::version::{cmp_versions, validate};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::cmp::Ordering;
use std::process::{Command, Stdio};

fn dpkg(a: &str, relation: &str, b: &str) -> Option<bool> {
    let status = Command::new("dpkg")
        .args(["--compare-versions", a, relation, b])
        .stderr(Stdio::null())
        .status()
        .ok()?;
    match status.code() {
        Some(0) => Some(true),
        Some(1) => Some(false),
        _ => None,
    }
}

fn random(rng: &mut StdRng) -> String {
    let pieces = [
        "0", "1", "2", "9", "10", "00", "01", ".", "+", "~", "-", "a", "b", "Z", "rc", "~~", "+b1",
        "deb12u1",
    ];
    let mut text = String::new();
    if rng.gen_bool(0.15) {
        text.push_str(["0:", "1:", "10:"][rng.gen_range(0..3)]);
    }
    text.push_str(["0", "1", "2", "10"][rng.gen_range(0..4)]);
    for _ in 0..rng.gen_range(0..6) {
        text.push_str(pieces[rng.gen_range(0..pieces.len())]);
    }
    text
}

#[test]
fn same_order_as_dpkg() {
    if dpkg("1", "eq", "1") != Some(true) {
        eprintln!("skipped: no dpkg on this host");
        return;
    }
    let mut rng = StdRng::seed_from_u64(7);
    let (mut compared, mut seen) = (0, [false; 3]);
    while compared < 600 {
        let (a, b) = (random(&mut rng), random(&mut rng));
        if validate(&a).is_err() || validate(&b).is_err() {
            continue;
        }
        let order = cmp_versions(&a, &b);
        let relation = match order {
            Ordering::Less => "lt",
            Ordering::Equal => "eq",
            Ordering::Greater => "gt",
        };
        assert_eq!(dpkg(&a, relation, &b), Some(true), "{a} {relation} {b}");
        seen[match order {
            Ordering::Less => 0,
            Ordering::Equal => 1,
            Ordering::Greater => 2,
        }] = true;
        compared += 1;
    }
    assert_eq!(seen, [true; 3], "every outcome was seen");
}
