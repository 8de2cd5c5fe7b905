//! Some thousand mutated inputs for every parser: a short form of `fuzz/` that runs on the stable
//! compiler. The seeds are fixed, so a failure comes back.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, missing_docs)]

#[path = "support/entry.rs"]
mod entry;
mod support;

use jaula_repo::deb::packages::Index;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::*;

const ROUNDS: usize = 3000;

/// One to eight small changes: bits, interesting bytes, cuts, copies, inserted tokens.
fn mutate(rng: &mut StdRng, input: &[u8], tokens: &[&[u8]]) -> Vec<u8> {
    let mut data = input.to_vec();
    for _ in 0..rng.gen_range(1..=8) {
        let at = if data.is_empty() {
            0
        } else {
            rng.gen_range(0..data.len())
        };
        match rng.gen_range(0..7) {
            0 if !data.is_empty() => data[at] ^= 1 << rng.gen_range(0..8),
            1 if !data.is_empty() => {
                data[at] = [0, 0x7f, 0x80, 0xff, b'\n', b' ', b'-', b'/'][rng.gen_range(0..8)]
            }
            2 => data.truncate(at),
            3 => {
                let end = (at + rng.gen_range(0..64)).min(data.len());
                let piece = data[at..end].to_vec();
                let to = rng.gen_range(0..=data.len());
                data.splice(to..to, piece);
            }
            4 => {
                let end = (at + rng.gen_range(0..16)).min(data.len());
                data.drain(at..end);
            }
            5 if !tokens.is_empty() => {
                let token = tokens[rng.gen_range(0..tokens.len())];
                data.splice(at..at, token.iter().copied());
            }
            _ => data.insert(at, rng.r#gen()),
        }
    }
    data
}

fn run(name: &str, parser: fn(&[u8]), seeds: &[Vec<u8>], tokens: &[&[u8]], rounds: usize) {
    for seed in seeds {
        parser(seed);
    }
    for round in 0..rounds {
        let mut rng = StdRng::seed_from_u64(round as u64);
        let input = &seeds[rng.gen_range(0..seeds.len())];
        let data = mutate(&mut rng, input, tokens);
        if std::panic::catch_unwind(|| parser(&data)).is_err() {
            panic!(
                "{name}: round {round} of {rounds}: {:?}",
                String::from_utf8_lossy(&data)
            );
        }
    }
}

const STANZAS: &str = "Package: a\nSource: s (1)\nVersion: 1:2.0-1\nArchitecture: amd64\nMulti-Arch: same\nEssential: yes\n\
    Priority: required\nDepends: b (>= 1) | c:any,\n d\nProvides: v (= 2), w\nFilename: pool/a.deb\nSize: 10\nInstalled-Size: 3\n\
    SHA256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nDescription: x\n y\n\nPackage: b\nVersion: 1\n\
    Architecture: all\nFilename: pool/b.deb\nSize: 1\nSHA256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\n";

#[test]
fn texts() {
    let tokens: [&[u8]; 8] = [
        b"\n\n",
        b"Package: ",
        b"\n ",
        b": ",
        b"../",
        b"\xc3\xa9",
        b"99999999999999999999",
        b"#",
    ];
    run(
        "control",
        entry::control,
        &[STANZAS.into()],
        &tokens,
        ROUNDS,
    );
    run(
        "packages",
        entry::packages,
        &[STANZAS.into()],
        &tokens,
        ROUNDS,
    );
    let relation: [&[u8]; 10] = [
        b"(>= ", b")", b"[!", b"]", b"<!", b">", b" | ", b", ", b":any", b"(= 1)",
    ];
    run(
        "relation",
        entry::relation,
        &[b"a (>= 1) [amd64] <!nocheck> | b:any, c (<< 2~), d".to_vec()],
        &relation,
        ROUNDS,
    );
    let release = format!(
        "Origin: x\nSuite: s\nDate: Sat, 06 Jun 2026 09:00:00 UTC\nValid-Until: Sat, 13 Jun 2026 09:00:00 UTC\nComponents: main\nSHA256:\n {} 12 main/x\n",
        "ab".repeat(32)
    );
    run(
        "release",
        entry::release,
        &[release.into_bytes()],
        &tokens,
        ROUNDS,
    );
    let versions: [&[u8]; 6] = [b"~", b"-", b":", b"+", b"000", b"\n"];
    run(
        "version",
        entry::version,
        &[b"1:2.0-1\n1.0~rc1\n2.0+b1".to_vec(), b"1\n1\n1".to_vec()],
        &versions,
        ROUNDS * 4,
    );
    let lock = format!(
        "jaula-lock 1\ndistribution debian\narchitecture amd64\nvariant x\nsource 5 http://a/b s main {0}\npackage a 1 all 10 {0} 0 p/a%20.deb requested\n",
        "ab".repeat(32)
    );
    run(
        "lock",
        entry::lock,
        &[lock.into_bytes()],
        &[b"%20", b"%", b"-", b"package ", b"source "],
        ROUNDS,
    );
}

#[test]
fn caches() {
    let good = Index::parse(STANZAS.as_bytes())
        .unwrap()
        .as_bytes()
        .to_vec();
    run(
        "packages_cache",
        entry::packages_cache,
        &[good],
        &[b"\xff\xff\xff\xff"],
        ROUNDS,
    );
}

#[test]
fn archives() {
    let data = tar(&[
        dir("./"),
        file("./a/b", "hello"),
        symlink("./l", "a/b"),
        hardlink("./h", "a/b"),
        pax(&[
            ("path", b"long/name"),
            ("mtime", b"1.5"),
            ("SCHILY.xattr.user.x", b"1"),
        ]),
        file("x", "y"),
        h(b'L', "././@LongLink").data(b"another/long/name\0"),
        file("z", "z"),
    ]);
    let tokens: [&[u8]; 7] = [
        b"../",
        b"ustar\0",
        b"\x80\0\0",
        b"777777777777",
        b"10 path=",
        b"\0\0\0\0",
        b"5",
    ];
    let seeds = [
        data.clone(),
        gz(&data),
        xz(&data),
        zstd::encode_all(&data[..], 1).unwrap(),
    ];
    run("tar", entry::tar, &seeds, &tokens, ROUNDS * 2);
    let plain = ar(&[
        member("debian-binary", b"2.0\n"),
        member("control.tar", &control()),
        member("data.tar", &data),
    ]);
    run(
        "deb",
        entry::deb,
        &[plain, deb(&control(), &data)],
        &tokens,
        ROUNDS,
    );
}

/// Headers whose checksum fits, so that the mutations get past it.
#[test]
fn tar_headers_with_right_checksums() {
    for round in 0..ROUNDS {
        let mut rng = StdRng::seed_from_u64(round as u64);
        let kinds = b"0123456xgLKS7\0";
        let parts: Vec<Vec<u8>> = (0..rng.gen_range(1..6))
            .map(|_| {
                let names = ["a", "b", "a/b", "./a", "../a", "/a", "a/", "", "a/../b"];
                let mut header = h(
                    kinds[rng.gen_range(0..kinds.len())],
                    names[rng.gen_range(0..names.len())],
                );
                header = header.link(names[rng.gen_range(0..names.len())]);
                let bodies: [&[u8]; 5] = [b"", b"x", b"9 path=c\n", b"9 size=1\n", b"name\0"];
                let body = bodies[rng.gen_range(0..bodies.len())];
                if rng.gen_bool(0.3) {
                    let len = header.uid.len();
                    header.uid[rng.gen_range(0..len)] = rng.r#gen();
                }
                header.data(body)
            })
            .collect();
        entry::tar(&tar(&parts));
    }
}

#[test]
fn signatures_and_keyrings() {
    let frame = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: x\n- -y\n-----BEGIN PGP SIGNATURE-----\n\niHUEARYIAB0WIQ==\n=abcd\n-----END PGP SIGNATURE-----\n";
    let tokens: [&[u8]; 5] = [
        b"-----BEGIN PGP SIGNED MESSAGE-----\n",
        b"-----",
        b"\n\n",
        b"- ",
        b"\r",
    ];
    let mut seeds = vec![frame.to_vec()];
    for path in [
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "/usr/share/keyrings/debian-archive-bookworm-stable.gpg",
    ] {
        if let Ok(keyring) = std::fs::read(path) {
            // Whole ones are slow to go through some thousand times; the first certificate is enough.
            seeds.push(keyring[..keyring.len().min(8000)].to_vec());
        }
    }
    run("inrelease", entry::inrelease, &seeds, &tokens, ROUNDS / 3);
}
