//! Builds that are killed at random moments: the host is as before, the next build works, the store has no stage.
//! `JAULA_TEST_KILLS` says how many of them each user makes.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod mirror;
mod who;

use jaula_testkit::skip;
use mirror::{Web, assert_gone, lines};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use who::everyone;

/// Mounts, loop devices and links as the classic tools list them.
fn host() -> [Vec<String>; 3] {
    [
        lines("findmnt", &["-rno", "TARGET,SOURCE,FSTYPE,OPTIONS"]),
        lines("losetup", &["-a"]),
        lines("ip", &["-br", "link"]),
    ]
}

/// Pseudo-random numbers (xorshift64*), other ones each time.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
        Self(now.as_nanos() as u64 | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % limit.max(1)
    }
}

#[test]
fn killed_builds_leave_nothing_and_the_next_one_works() {
    let kills: u32 =
        std::env::var("JAULA_TEST_KILLS").map_or(8, |text| text.parse().expect("a number"));
    everyone(|user| {
        let web = match Web::start(&["nginx-light"]) {
            Ok(web) => web,
            Err(reason) => skip!("{reason}"),
        };
        let before = host();
        let words = ["build", "debian:bookworm", "-q"];
        // How long a whole one takes once its packages are there. The first one fetches, and is killed meanwhile, too.
        let start = Instant::now();
        web.run(user, &words).expect(0);
        user.place
            .run(&["image", "rm", "debian:bookworm"])
            .expect(0);
        let mut whole = start.elapsed();
        let (mut chance, mut killed) = (Chance::new(), 0);
        for round in 0..6 * kills {
            if killed == kills {
                break;
            }
            if round % 4 == 0 {
                // Fetching and unpacking again, for a quarter of them.
                let store = user.place.store();
                Command::new("rm")
                    .arg("-rf")
                    .args([store.join("packages"), store.join("unpacked")])
                    .status()
                    .expect("rm");
            }
            let mut command = web.command(user, &words);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let began = Instant::now();
            let mut child = command.spawn().expect("jaula");
            let after = Duration::from_micros(chance.below(whole.as_micros() as u64));
            std::thread::sleep(after);
            child.kill().expect("a child");
            let status = child.wait().expect("an end");
            if status.code().is_none() {
                killed += 1;
            } else {
                // Done before: builds take less time than the first, which had a busier machine.
                whole = began.elapsed().min(whole * 3 / 4);
            }
            assert_gone(user.place.path());
            assert_eq!(host(), before, "killed after {after:?}");
            // One that was done already must not make the next one idle.
            let image = user.place.run(&["image", "rm", "debian:bookworm"]);
            assert!([0, 125].contains(&image.code), "{}", image.stderr);
        }
        assert_eq!(killed, kills, "too few were killed in time");
        web.run(user, &words).expect(0);
        // What is kept of packages is whole, whoever was killed.
        let kept = std::fs::read_dir(user.place.store().join("unpacked")).expect("packages");
        for package in kept.flatten() {
            assert!(package.path().join("index").is_file(), "{package:?}");
        }
        let stages = std::fs::read_dir(user.place.store().join("stages"));
        assert_eq!(stages.map_or(0, Iterator::count), 0, "a stage is left");
        let left = user.place.run(&["recover", "--plan"]).expect(0);
        assert!(left.stdout.contains("nothing to do"), "{}", left.stdout);
        let ran = user
            .place
            .run(&web.words(&["run", "debian:bookworm", "--", "dpkg", "--audit"]));
        assert_eq!(ran.expect(0).stdout, "");
        assert_eq!(host(), before);
    });
}
