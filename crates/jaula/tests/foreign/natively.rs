//! i386 on amd64: the processor runs it, and the kernel says what it is.

use super::{narrow, words};
use crate::who::everyone;
use jaula_testkit::skip;

#[test]
fn an_i386_image_is_made_and_runs_as_a_32_bit_machine() {
    let archive = match narrow() {
        Ok(archive) => archive,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let build = [
            "build",
            "debian:bookworm",
            "--arch",
            "i386",
            "--variant",
            "essential",
        ];
        let build = [&build[..], &["--include", "probe", "--tag", "narrow"]].concat();
        user.place.run(&words(&build, &archive)).expect(0);
        // What a script was told while the image was made, and what a run is told.
        let script =
            "cat /etc/built-on; uname -m; dpkg --print-architecture; od -An -tx1 -j4 -N1 /bin/bash";
        let inside = "i686\ni686\ni386\n 01\n";
        let ran = user.place.run(&["run", "narrow", "--", "sh", "-c", script]);
        assert_eq!(ran.expect(0).stdout, inside);
        // A filter that takes effect before the user changes, and a named jail in both ways to its programs.
        let guarded = ["run", "--no-new-privs=off", "narrow", "--", "uname", "-m"];
        assert_eq!(user.place.run(&guarded).expect(0).stdout, "i686\n");
        user.place
            .run(&["new", "small", "--from", "narrow"])
            .expect(0);
        let ran = user.place.run(&["exec", "small", "--", "sh", "-c", script]);
        assert_eq!(ran.expect(0).stdout, inside);
        // Who goes in is told what the process is told that is there.
        let detach = [
            "run", "--detach", "--name", "back", "narrow", "--", "sleep", "1000",
        ];
        user.place.run(&detach).expect(0);
        let ran = user.place.run(&["enter", "back", "--", "uname", "-m"]);
        let ended = user.place.run(&["kill", "back"]);
        assert_eq!(ran.expect(0).stdout, "i686\n");
        ended.expect(0);
        // A directory of which nothing is on record is looked at.
        user.place.run(&["build", "narrow", "-o", "tree"]).expect(0);
        let ran = user.place.run(&["run", "./tree", "--", "uname", "-m"]);
        assert_eq!(ran.expect(0).stdout, "i686\n");
        // The filter holds what comes by the 32-bit entry: unshare(2) with a user namespace, mount(2), keyctl(2) and
        // settimeofday(2), by their numbers there.
        let script = "for call in '310, 0x10000000' '21, 0, 0, 0, 0, 0' '288, 0' '79, 0, 0'; do \
             perl -e \"\\$r = syscall($call); print \\$r == -1 && \\$!{EPERM} ? qq(held\\n) : qq(OPEN $call \\$!\\n)\"; done";
        let ran = user
            .place
            .run(&["run", "narrow", "--", "sh", "-c", script])
            .expect(0);
        assert_eq!(ran.stdout, "held\n".repeat(4), "{}", ran.stderr);
        // The host's programs are what they were.
        let ran = user.place.run(&["run", "--", "uname", "-m"]).expect(0);
        assert_eq!(ran.stdout, "x86_64\n");
        let plan = user.place.run(&["run", "--plan", "narrow", "--", "true"]);
        let plan = plan.expect(0).stdout;
        assert!(plan.contains("call itself a 32-bit one"), "{plan}");
    });
}
