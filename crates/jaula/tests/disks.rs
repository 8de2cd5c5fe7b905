//! Disk images in a jail, word for word: shown inside and nowhere else, by FUSE, unpacked and by the kernel's driver;
//! damaged ones, bombs, and servers and supervisors that are killed.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

#[path = "../../jaula-repo/tests/iso9660/writer.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod iso;
#[path = "../../jaula-repo/tests/disk/writer.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod squashfs;
mod who;

use jaula_testkit::{Ran, skip};
use squashfs::What;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use who::{User, Who, everyone_and_ana};

const CONTENT: &str = "contenido\n";

fn image() -> Vec<u8> {
    iso::rock().write(&[
        iso::file("LEEME.TXT", "LEEME.TXT", CONTENT.as_bytes()),
        iso::dir(
            "SUB",
            "sub",
            vec![iso::file("BIG.;1", "big", &vec![b'x'; 300_000])],
        ),
        iso::link("LINK.;1", "link", "LEEME.TXT"),
    ])
}

/// A file that every user can read, gone with the directory.
fn put(user: &User, name: &str, bytes: &[u8]) -> PathBuf {
    let path = user.place.work().join(name);
    fs::write(&path, bytes).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a file of ours");
    path
}

fn fuse_is_there(user: &User) -> bool {
    let listed = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let kernel = listed.lines().any(|line| line.ends_with("\tfuse"));
    // Root plays ana, and gives her the device as udev would.
    let device = match user.who {
        Who::Ana | Who::Root => Path::new("/dev/fuse").exists(),
        Who::Caller => {
            let opened = fs::File::options().read(true).write(true).open("/dev/fuse");
            opened.is_ok()
        }
    };
    kernel && device
}

fn lacks(driver: &str) -> bool {
    let listed = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    !listed.lines().any(|line| line.trim() == driver)
}

fn command(user: &User, words: &[&str]) -> Command {
    let mut command = user.place.command(words);
    command.env("JAULA_TEST_FUSE", "1");
    command
}

fn run(user: &User, words: &[&str]) -> Ran {
    let start = Instant::now();
    let output = command(user, words).output().expect("jaula");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
        elapsed: start.elapsed(),
    }
}

/// The drivers that this user has here, the slowest last.
fn drivers(user: &User) -> Vec<&'static str> {
    match fuse_is_there(user) {
        true => vec!["fuse", "unpack"],
        false => vec!["unpack"],
    }
}

/// Waits until it is so; the end of a namespace and of its loop devices is not always seen at once.
fn soon(mut so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !so() {
        if start.elapsed() > Duration::from_secs(20) {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// Loop devices of images of this user's place.
fn loops(user: &User) -> Vec<String> {
    let listed = Command::new("losetup").arg("-a").output();
    let listed = listed.map(|output| output.stdout).unwrap_or_default();
    let place = user.place.path().to_string_lossy().into_owned();
    let text = String::from_utf8_lossy(&listed).into_owned();
    let ours = text.lines().filter(|line| line.contains(&place));
    ours.map(str::to_owned).collect()
}

/// The host has no mount, no loop device and no lonely server of ours.
#[track_caller]
fn nothing_is_left(user: &User) {
    assert!(!mounts().contains("fuse jaula"), "{}", mounts());
    assert!(!mounts().contains("/mnt/cd"), "{}", mounts());
    assert!(soon(|| loops(user).is_empty()), "{:?}", loops(user));
    assert!(soon(|| servers().is_empty()), "{:?}", servers());
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("our own mounts")
}

/// Processes that have this word among their arguments.
fn processes(word: &str) -> Vec<i32> {
    let all = fs::read_dir("/proc").expect("proc").flatten();
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    all.filter_map(pid)
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(word)
        })
        .collect()
}

#[test]
fn an_iso_is_read_inside_and_nowhere_else() {
    everyone_and_ana(|user| {
        put(user, "p.iso", &image());
        for driver in drivers(user) {
            let script = "cat /mnt/cd/LEEME.TXT; cat /mnt/cd/link; ls /mnt/cd; echo x >/mnt/cd/new; \
                          grep -o ' /mnt/cd [^ ]*' /proc/self/mountinfo; echo ready; read -r end";
            let mut child = command(
                user,
                &[
                    "run",
                    "--iso",
                    "p.iso:/mnt/cd",
                    "--image-driver",
                    driver,
                    "--",
                    "sh",
                    "-c",
                    script,
                ],
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("jaula");
            let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
            let mut inside = Vec::new();
            for line in lines.by_ref() {
                let line = line.expect("text");
                if line == "ready" {
                    break;
                }
                inside.push(line);
            }
            // While it runs, nobody else sees it.
            let outside = fs::read_dir("/mnt/cd").map_or(0, Iterator::count);
            assert_eq!(outside, 0, "{driver}");
            assert!(!mounts().contains("/mnt/cd"));
            child
                .stdin
                .take()
                .expect("a pipe")
                .write_all(b"\n")
                .expect("a reader");
            let mut said = String::new();
            let mut stderr = child.stderr.take().expect("a pipe");
            stderr.read_to_string(&mut said).expect("text");
            assert!(child.wait().expect("an end").success(), "{said}");
            assert_eq!(
                inside,
                [
                    "contenido",
                    "contenido",
                    "LEEME.TXT",
                    "link",
                    "sub",
                    " /mnt/cd ro,nosuid,nodev,relatime"
                ],
                "{driver}: {said}"
            );
            assert!(said.contains("Read-only file system"), "{said}");
            let notes = said.lines().filter(|line| line.starts_with("note: "));
            assert_eq!(
                notes.count(),
                usize::from(lacks("iso9660")),
                "{driver}: {said}"
            );
        }
        nothing_is_left(user);
    });
}

/// What is in an image: names, modes, owners, sizes and content.
fn shown(user: &User, image: &str, driver: &str) -> String {
    let script = "cd /mnt/cd && find . ! -path './lost+found*' -printf '%P %y %m %U %G %l\\n' | LC_ALL=C sort; \
                  find . -type f -exec sha1sum {} + | LC_ALL=C sort";
    let at = format!("{image}:/mnt/cd");
    let words = [
        "run",
        "-q",
        "--image",
        &at,
        "--image-driver",
        driver,
        "--",
        "sh",
        "-c",
        script,
    ];
    let ran = run(user, &words).expect(0);
    assert_eq!(ran.stderr, "", "{image} {driver}");
    ran.stdout
}

fn tool(program: &str, words: &[&str], dir: &Path) -> bool {
    let mut command = Command::new(program);
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    command.args(words).current_dir(dir).env("PATH", path);
    match command.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "{program}: {}: {said}",
                output.status
            );
            true
        }
        Err(_) => false,
    }
}

/// A tree in the user's place, for the tools.
fn tree(user: &User) -> PathBuf {
    let at = user.place.work().join("tree");
    fs::create_dir_all(at.join("a/b")).expect("a directory");
    fs::write(at.join("LEEME.TXT"), CONTENT).expect("a file");
    let noise: Vec<u8> = (0u64..500_001).map(|n| ((n * n) >> 5) as u8).collect();
    fs::write(at.join("a/noise"), noise).expect("a file");
    for n in 0..300 {
        fs::write(at.join(format!("a/b/{n}")), format!("{n}")).expect("a file");
    }
    std::os::unix::fs::symlink("a/noise", at.join("link")).expect("a link");
    at
}

#[test]
fn every_kind_of_image_is_the_same_by_every_driver() {
    everyone_and_ana(|user| {
        tree(user);
        let work = user.place.work();
        let made = [
            (
                "p.sqfs",
                "squashfs",
                tool(
                    "mksquashfs",
                    &["tree", "p.sqfs", "-quiet", "-no-progress", "-all-root"],
                    &work,
                ),
            ),
            (
                "p.ext4",
                "ext4",
                tool(
                    "mke2fs",
                    &[
                        "-q",
                        "-t",
                        "ext4",
                        "-E",
                        "root_owner=0:0",
                        "-d",
                        "tree",
                        "p.ext4",
                        "16M",
                    ],
                    &work,
                ),
            ),
            (
                "p.iso",
                "iso9660",
                tool(
                    "genisoimage",
                    &["-quiet", "-R", "-o", "p.iso", "tree"],
                    &work,
                ),
            ),
        ];
        if made.iter().all(|(.., made)| !made) {
            skip!("there is none of mksquashfs, mke2fs and genisoimage");
        }
        for (name, kind, made) in made {
            if !made {
                continue;
            }
            let mut seen: Vec<(&str, String)> = Vec::new();
            for driver in drivers(user) {
                seen.push((driver, shown(user, name, driver)));
            }
            // The kernel's driver is for root alone, where it is.
            if user.who == Who::Root && !lacks(kind) && Path::new("/dev/loop-control").exists() {
                seen.push(("kernel", shown(user, name, "kernel")));
                assert!(soon(|| loops(user).is_empty()), "a loop device is left");
            }
            let (_, first) = &seen[0];
            assert!(first.contains("LEEME.TXT f 644 "), "{name}: {first}");
            assert_eq!(first.lines().count(), 306 + 302, "{name}: {first}");
            for (driver, other) in &seen {
                assert_eq!(other, first, "{name} by {driver}");
            }
        }
    });
}

#[test]
fn what_jaula_cannot_read_itself_is_left_to_the_kernel_and_root() {
    everyone_and_ana(|user| {
        tree(user);
        if !tool(
            "mkfs.erofs",
            &["--quiet", "p.erofs", "tree"],
            &user.place.work(),
        ) {
            skip!("there is no mkfs.erofs");
        }
        let words = ["run", "--image", "p.erofs:/mnt/cd", "--", "true"];
        let ran = run(user, &words).expect(125);
        let said = "jaula has no reader of its own for erofs";
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
        let words = [
            "run",
            "--image",
            "p.erofs:/mnt/cd",
            "--image-driver",
            "kernel",
            "--",
            "cat",
            "/mnt/cd/LEEME.TXT",
        ];
        if user.who != Who::Root {
            let ran = run(user, &words).expect(125);
            assert!(
                ran.stderr.contains("cannot use the kernel's driver"),
                "{}",
                ran.stderr
            );
        } else if !lacks("erofs") && Path::new("/dev/loop-control").exists() {
            assert_eq!(run(user, &words).expect(0).stdout, CONTENT);
        }
        nothing_is_left(user);
    });
}

#[test]
fn two_images_in_one_jail_and_one_at_an_offset() {
    everyone_and_ana(|user| {
        put(user, "p.iso", &image());
        let inner = squashfs::write(vec![("other", What::File(b"otro\n".to_vec()))]);
        put(user, "disk", &[vec![0xaa; 1 << 20], inner].concat());
        for driver in drivers(user) {
            let words = [
                "run",
                "-q",
                "--iso",
                "p.iso:/mnt/a",
                "--image",
                "disk@1M:/mnt/b/c",
                "--image-driver",
                driver,
                "--",
                "cat",
                "/mnt/a/LEEME.TXT",
                "/mnt/b/c/other",
            ];
            let ran = run(user, &words).expect(0);
            assert_eq!(ran.stdout, "contenido\notro\n", "{driver}");
        }
    });
}

#[test]
fn what_cannot_be_shown_is_refused_with_a_reason_and_nothing_is_left() {
    everyone_and_ana(|user| {
        let whole = image();
        put(user, "cut.iso", &whole[..40_000]);
        put(user, "noise", &vec![0x5a; 100_000]);
        let mut broken = whole.clone();
        let root = 16 * iso::SECTOR + 156;
        broken[root + 2..root + 10].fill(0xff);
        put(user, "root.iso", &broken);
        let sound = squashfs::write(vec![("a", What::File(vec![1; 9000]))]);
        put(user, "cut.sqfs", &sound[..sound.len() - 9]);
        let mut lz4 = sound.clone();
        lz4[20] = 5;
        put(user, "lz4.sqfs", &lz4);
        put(user, "short", b"x");
        let mut table = vec![0; 100_000];
        table[510..512].copy_from_slice(&[0x55, 0xaa]);
        table[446..462].copy_from_slice(&[0x80, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0]);
        put(user, "whole.disk", &table);
        for driver in drivers(user) {
            for (image, words) in [
                ("cut.iso", &["cut.iso", "outside the image"][..]),
                ("root.iso", &["root.iso"]),
                ("noise", &["no disk image"]),
                ("short", &["no disk image"]),
                ("cut.sqfs", &["outside the image"]),
                ("lz4.sqfs", &["lz4 compression"]),
                ("whole.disk", &["partition table", "FILE@OFFSET"]),
                ("absent", &["absent", "No such file"]),
                (".", &["it is a directory"]),
            ] {
                let at = format!("{image}:/mnt/cd");
                let words_of = [
                    "run",
                    "--image",
                    &at,
                    "--image-driver",
                    driver,
                    "--",
                    "echo",
                    "ran",
                ];
                let ran = run(user, &words_of).expect(125);
                assert_eq!(ran.stdout, "", "{image} {driver}");
                for word in words {
                    assert!(
                        ran.stderr.contains(word),
                        "{image} {driver}: {}",
                        ran.stderr
                    );
                }
            }
        }
        let ran = run(user, &["run", "--iso", "cut.sqfs:/mnt/cd", "--", "true"]).expect(125);
        assert!(
            ran.stderr.contains("not an ISO 9660 image, but squashfs"),
            "{}",
            ran.stderr
        );
        for bad in ["p.iso", "p.iso:rel", "p.iso:/a/../b", "p.iso:/proc/x"] {
            run(user, &["run", "--iso", bad, "--", "true"]).expect(125);
        }
        nothing_is_left(user);
    });
}

#[test]
fn a_bomb_is_not_unpacked() {
    everyone_and_ana(|user| {
        put(
            user,
            "bomb",
            &squashfs::write(vec![("zeros", What::Holes(1 << 45))]),
        );
        let words = [
            "run",
            "--image",
            "bomb:/mnt/cd",
            "--image-driver",
            "unpack",
            "--",
            "true",
        ];
        let ran = run(user, &words).expect(125);
        assert!(
            ran.stderr.contains("unpacked it takes more than"),
            "{}",
            ran.stderr
        );
        assert!(ran.elapsed < Duration::from_secs(60));
    });
}

#[test]
fn a_file_is_read_far_behind_four_gib() {
    everyone_and_ana(|user| {
        if !fuse_is_there(user) {
            skip!("this user has no FUSE here");
        }
        let work = user.place.work();
        fs::create_dir(work.join("far")).expect("a directory");
        let file = fs::File::create(work.join("far/sparse")).expect("a file");
        let at = (9 << 29) + 12_345;
        file.write_all_at(b"here", at).expect("room");
        drop(file);
        if !tool(
            "mke2fs",
            &["-q", "-t", "ext4", "-d", "far", "far.img", "32M"],
            &work,
        ) {
            skip!("there is no mke2fs");
        }
        let script = format!(
            "stat -c %s /mnt/cd/sparse; tail -c +{} /mnt/cd/sparse | head -c 4; tail -c +{} /mnt/cd/sparse | head -c 8 | od -An -tx1",
            at + 1,
            at - 3_000_000_000
        );
        let words = [
            "run",
            "-q",
            "--image",
            "far.img:/mnt/cd",
            "--",
            "sh",
            "-c",
            &script,
        ];
        let ran = run(user, &words).expect(0);
        assert_eq!(
            ran.stdout,
            format!("{}\nhere 00 00 00 00 00 00 00 00\n", at + 4)
        );
    });
}

/// A jail that reads an image for ever, and says so once; the marker is among its arguments.
fn reading(user: &User, marker: &str) -> Child {
    let script = format!(
        ": {marker}; echo ready; cat /mnt/cd/LEEME.TXT; while :; do find /mnt/cd -type f -exec cat {{}} + >/dev/null 2>&1; \
         cat /mnt/cd/LEEME.TXT >/dev/null || exit 7; done"
    );
    let words = [
        "run",
        "-q",
        "--iso",
        "p.iso:/mnt/cd",
        "--image-driver",
        "fuse",
        "--",
        "sh",
        "-c",
        &script,
    ];
    command(user, &words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("jaula")
}

/// The server of a jaula that runs.
fn server_of(jaula: u32) -> Option<i32> {
    let path = format!("/proc/{jaula}/task/{jaula}/children");
    let children = fs::read_to_string(path).ok()?;
    let mut pids = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    pids.find(|pid: &i32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name == "jaula-disk\n"
    })
}

fn kill(pid: i32) {
    let done = Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status();
    assert!(done.expect("kill").success());
}

#[test]
fn a_killed_server_ends_the_reading_and_not_the_jail_or_its_supervisor() {
    everyone_and_ana(|user| {
        if !fuse_is_there(user) {
            skip!("this user has no FUSE here");
        }
        put(user, "p.iso", &image());
        let mut child = reading(user, "marker-of-a-server");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "ready");
        assert_eq!(lines.next().expect("a line").expect("text"), "contenido");
        kill(server_of(child.id()).expect("a server"));
        drop(lines);
        let mut said = String::new();
        let mut stderr = child.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut said).expect("text");
        assert!(
            said.contains("not connected") || said.contains("aborted"),
            "{said}"
        );
        assert_eq!(child.wait().expect("an end").code(), Some(7));
        nothing_is_left(user);
    });
}

#[test]
fn a_server_has_no_rights_and_few_descriptors() {
    everyone_and_ana(|user| {
        if !fuse_is_there(user) {
            skip!("this user has no FUSE here");
        }
        put(user, "p.iso", &image());
        let mut child = reading(user, "marker-of-rights");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "ready");
        assert_eq!(lines.next().expect("a line").expect("text"), "contenido");
        let server = server_of(child.id()).expect("a server");
        let status = fs::read_to_string(format!("/proc/{server}/status")).expect("its status");
        for line in [
            "Threads:\t1",
            "CapInh:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(
                status.lines().any(|has| has == line),
                "{line} is not in\n{status}"
            );
        }
        // Only root may look at the descriptors of a process that does not let itself be looked at.
        if let Ok(fds) = fs::read_dir(format!("/proc/{server}/fd")) {
            let name = |entry: fs::DirEntry| fs::read_link(entry.path()).unwrap_or_default();
            let names: Vec<String> = fds
                .flatten()
                .map(|entry| name(entry).to_string_lossy().into_owned())
                .collect();
            let image = user.place.work().join("p.iso");
            let image = image.to_string_lossy().into_owned();
            let count = |wanted: &str| names.iter().filter(|name| *name == wanted).count();
            // The fifth is the FUSE device, told as it was called in a mount namespace that is gone.
            assert_eq!((count("/dev/null"), count(&image)), (3, 1), "{names:?}");
            assert_eq!(names.len(), 5, "{names:?}");
        }
        child.kill().expect("a child");
        child.wait().expect("an end");
        nothing_is_left(user);
    });
}

#[test]
fn supervisors_killed_at_random_leave_neither_jail_nor_server() {
    let seed = std::time::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .as_nanos() as u64
        | 1;
    let mut chance = seed;
    everyone_and_ana(|user| {
        put(user, "p.iso", &image());
        let fuse = fuse_is_there(user);
        for round in 0..20u32 {
            let marker = format!("marker-{seed}-{round}");
            let mut child = if fuse && round % 2 == 0 {
                reading(user, &marker)
            } else {
                let script =
                    format!(": {marker}; while :; do cat /mnt/cd/sub/big >/dev/null; done");
                let words = [
                    "run",
                    "-q",
                    "--iso",
                    "p.iso:/mnt/cd",
                    "--image-driver",
                    "unpack",
                    "--",
                    "sh",
                    "-c",
                    &script,
                ];
                command(user, &words)
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("jaula")
            };
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            // Some moment, early ones more often: what is killed is what is there then.
            let moment =
                Duration::from_micros(chance % if round % 4 < 3 { 30_000 } else { 150_000 });
            let start = Instant::now();
            while start.elapsed() < moment {
                std::thread::yield_now();
            }
            child.kill().expect("a child");
            child.wait().expect("an end");
            assert!(
                soon(|| processes(&marker).is_empty()),
                "round {round}, seed {seed}"
            );
        }
        nothing_is_left(user);
        assert!(
            soon(|| servers().is_empty()),
            "{:?}, seed {seed}",
            servers()
        );
    });
}

/// Servers without a supervisor.
fn servers() -> Vec<i32> {
    let all = fs::read_dir("/proc").expect("proc").flatten();
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    all.filter_map(pid)
        .filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains("(jaula-disk)") && stat.contains(") S 1 ")
        })
        .collect()
}

#[test]
fn a_plan_an_explanation_and_the_outcome_say_who_reads_an_image() {
    everyone_and_ana(|user| {
        put(user, "p.iso", &image());
        let words = |what: &'static str| ["run", what, "--iso", "p.iso:/mnt/cd", "--", "true"];
        let plan = run(user, &words("--plan")).expect(0);
        let line = plan
            .stdout
            .lines()
            .find(|line| line.contains("show disk image"));
        let line = line.expect("a step");
        assert!(
            line.contains("p.iso (iso9660) at /mnt/cd, read-only, "),
            "{line}"
        );
        let explained = run(user, &words("--explain")).expect(0);
        assert!(
            explained
                .stdout
                .contains("mount -t iso9660 -o loop,ro,nosuid,nodev ")
        );
        let done = run(user, &words("--json")).expect(0);
        let how = if fuse_is_there(user) {
            "fuse"
        } else {
            "unpacked"
        };
        let disks = format!("\"disks\":[[\"/mnt/cd\",\"{how}\"]]");
        let all = done.stdout + &done.stderr;
        assert!(all.replace([' ', '\n'], "").contains(&disks), "{all}");
    });
}
