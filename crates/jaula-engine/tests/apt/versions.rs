//! Versions against `dpkg --compare-versions`.

use crate::root::Random;
use jaula_repo::deb::version::{cmp_versions, validate};
use jaula_testkit::skip;
use std::cmp::Ordering;
use std::process::Command;

fn version(random: &mut Random) -> String {
    const PARTS: [&str; 30] = [
        "0",
        "00",
        "1",
        "01",
        "2",
        "9",
        "10",
        "100",
        "a",
        "A",
        "z",
        "b",
        "rc",
        "dfsg",
        "+",
        "-",
        ".",
        "~",
        "~~",
        "+b1",
        "~rc1",
        "-1",
        "-0",
        ".0",
        "+deb12u1",
        "~bpo12+1",
        "1.",
        "4294967296",
        "18446744073709551617",
        "ubuntu",
    ];
    let mut text = String::new();
    if random.below(5) == 0 {
        text.push_str(random.one(&["0:", "1:", "2:", "00:", "10:"]));
    }
    text.push_str(random.one(&["0", "1", "2", "10", "1.0", "1.2.3", "20240101"]));
    for _ in 0..random.below(5) {
        text.push_str(random.one(&PARTS));
    }
    text
}

#[test]
fn versions_are_ordered_as_dpkg_orders_them() {
    let Ok(probe) = Command::new("dpkg")
        .args(["--compare-versions", "1", "lt", "2"])
        .status()
    else {
        skip!("dpkg does not run");
    };
    assert!(probe.success());
    let mut random = Random(0x5eed_5eed_5eed_5eed);
    let mut pairs: Vec<(String, String)> = Vec::new();
    while pairs.len() < 1500 {
        let one = version(&mut random);
        let other = match random.below(3) {
            0 => one.replacen(
                random.one(&["0", "1", ".", "~", "a"]),
                random.one(&["00", "~", "", "b"]),
                1,
            ),
            _ => version(&mut random),
        };
        if validate(&one).is_ok() && validate(&other).is_ok() {
            pairs.push((one, other));
        }
    }
    // One shell for many questions: starting dpkg is what takes the time.
    for pairs in pairs.chunks(500) {
        let mut script = Command::new("sh");
        script.arg("-c").arg(
            "while test $# -gt 0; do if dpkg --compare-versions \"$1\" lt \"$2\"; then echo lt; elif dpkg --compare-versions \"$1\" eq \"$2\"; then echo eq; else echo gt; fi; shift 2; done",
        );
        script.arg("sh");
        for (one, other) in pairs {
            script.args([one, other]);
        }
        let out = script.output().unwrap();
        let said = String::from_utf8(out.stdout).unwrap();
        assert_eq!(said.lines().count(), pairs.len());
        for ((one, other), said) in pairs.iter().zip(said.lines()) {
            let ours = match cmp_versions(one, other) {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            assert_eq!(ours, said, "{one} {other}");
        }
    }
}
