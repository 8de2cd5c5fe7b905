//! An ordinary user without subordinate identifiers: one identifier in the jail, whose files are on record, and outputs
//! that are the same to the byte as those that root makes.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod mirror;
mod who;

use jaula_testkit::{DebBuilder, Hermetic, hermetic, skip};
use mirror::{Web, assert_gone};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use tempfile::TempDir;

/// Has no line in subuid(5), nor an account.
const BEA: u32 = 4343;

/// What a package's script does with owners, as real ones do; what it saw is in `/var/lib/owned/seen`.
const POSTINST: &str = r#"#!/bin/sh
set -e
cd /var/lib/owned
echo x >a
chown 33:33 . a
cp -p a copy
sed -i s/x/y/ a
install -o 10 -g 11 -m 640 /dev/null installed
chmod 4755 copy
chown 8 copy
: >again
chown 8:8 again
chmod 4755 again
chown root again
cp -p again root
chmod 4755 again
ln -s a link
chown -h 8:12 link
mkfifo pipe
chown 5:6 pipe
mkdir -m 2775 shared
chown 0:50 shared
chown --reference=a root
perl -e 'open F, ">", "by-descriptor"; chown 1, 2, *F or die; chown 3, -1, *F or die' || exit 1
! chown 70000 a 2>/dev/null
! chown 1 nothing 2>/dev/null
chroot --userspec=33:33 / true
ln copy name
mv name moved
stat -c '%u:%g %a %n' . a copy again installed link pipe shared root by-descriptor moved given taken >seen
perl -e 'my @s = stat "given"; printf "%d:%d\n", @s[4,5]' >>seen
(cd / && stat -L -c %u:%g var/lib/owned/link ./etc/../var/lib/owned) >>seen
"#;

const SEEN: &str = "33:33 755 .\n33:33 644 a\n8:33 755 copy\n0:8 4755 again\n10:11 640 installed\n8:12 777 link\n\
                    5:6 644 pipe\n0:50 2775 shared\n33:33 755 root\n3:2 644 by-descriptor\n8:33 755 moved\n\
                    7:9 2755 given\n7:9 640 taken\n7:9\n33:33\n33:33\n";

/// A package with files of other users, whose script makes more of them.
fn package(dir: &std::path::Path) -> String {
    let deb = DebBuilder::new("owned", "1.0")
        .dir("var/lib/owned", 0o755)
        .file("var/lib/owned/given", "given\n", 0o2755)
        .owner(7, 9)
        .file("var/lib/owned/taken", "taken\n", 0o640)
        .owner(7, 9)
        .dir("var/lib/owned/closed", 0o555)
        .file("var/lib/owned/closed/file", "x", 0o444)
        .owner(7, 9)
        .symlink("var/lib/owned/theirs", "taken")
        .owner(7, 9)
        .script("postinst", POSTINST)
        .build()
        .expect("a package");
    let path = dir.join(deb.file_name());
    fs::write(&path, &deb.bytes).expect("a file");
    path.display().to_string()
}

fn readable() -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix("jaula-one-")
        .tempdir()
        .expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    dir
}

/// Bea's program, and what root says to become her; none when this is not root.
struct Bea {
    place: Hermetic,
    program: String,
}

impl Bea {
    fn new(dir: &TempDir) -> Option<Self> {
        if fs::metadata("/proc/self").expect("our own process").uid() != 0 {
            return None;
        }
        let program = dir.path().join("jaula");
        fs::copy(env!("CARGO_BIN_EXE_jaula"), &program).expect("the program");
        let place = Hermetic::new("/usr/bin/setpriv");
        for part in ["", "home", "store", "run", "work"] {
            chown(place.path().join(part), Some(BEA), Some(BEA)).expect("ours");
        }
        Some(Self {
            place,
            program: program.display().to_string(),
        })
    }

    fn words(&self, words: &[impl AsRef<str>]) -> Vec<String> {
        let who = [
            "--reuid=4343",
            "--regid=4343",
            "--clear-groups",
            &self.program,
        ];
        let words = words.iter().map(AsRef::as_ref);
        who.into_iter().chain(words).map(str::to_owned).collect()
    }

    #[track_caller]
    fn run(&self, words: &[impl AsRef<str>]) -> jaula_testkit::Ran {
        self.place.run(&self.words(words))
    }
}

/// All kinds of output of the image `owned`, but the archive that it is built with.
const OUTPUTS: [&str; 5] = ["x.squashfs", "x.ext4", "x.erofs", "x.cpio", "x.oci.tar"];

#[test]
fn one_identifier_makes_the_same_bytes_as_root() {
    let dir = readable();
    let Some(bea) = Bea::new(&dir) else {
        skip!("only root plays a user without subordinate identifiers");
    };
    let web = match Web::start(&[]) {
        Ok(web) => web,
        Err(reason) => skip!("{reason}"),
    };
    let deb = package(dir.path());
    let build = [
        "build",
        "debian:bookworm",
        "--variant",
        "essential",
        "--no-docs",
        "--path-exclude",
        "/usr/share/locale/*",
        "--path-exclude",
        "*/gconv/*",
        "--include",
        &deb,
        "--tag",
        "owned",
        "-o",
        "first.tar",
    ];
    let root = hermetic!();
    root.run(&web.words(&build)).expect(0);
    let ran = bea.run(&web.words(&build)).expect(0);
    let said = [
        "4343 has no subordinate identifiers in /etc/subuid",
        "recorded",
    ];
    assert!(
        said.iter().all(|said| ran.stderr.contains(said)),
        "{}",
        ran.stderr
    );
    // What the script was told while it ran, which is part of the image.
    let seen = ["run", "owned", "--", "cat", "/var/lib/owned/seen"];
    assert_eq!(root.run(&seen).expect(0).stdout, SEEN);
    assert_eq!(bea.run(&seen).expect(0).stdout, SEEN);
    let same = |name: &str| {
        let [ours, hers] =
            [&root, &bea.place].map(|place| fs::read(place.work().join(name)).expect("an output"));
        assert!(ours == hers, "{name} differs");
    };
    same("first.tar");
    for name in OUTPUTS {
        let export = ["image", "export", "owned", "-o", name];
        root.run(&export).expect(0);
        bea.run(&export).expect(0);
        same(name);
    }
    // The same image, by the same name, once more on top of it.
    let digest = |ran: jaula_testkit::Ran| {
        let listed: serde_json::Value = serde_json::from_str(&ran.expect(0).stdout).expect("JSON");
        listed["images"][0]["digest"]
            .as_str()
            .expect("a digest")
            .to_owned()
    };
    let list = ["image", "ls", "--json"];
    assert_eq!(digest(root.run(&list)), digest(bea.run(&list)));

    // Runs and named jails go on with the record, and say what one identifier cannot do.
    let script = "touch /tmp/x /tmp/y; chown 33:34 /tmp/x; stat -c %u:%g /tmp/x /tmp/y /var/lib/owned/given; id -u; \
                  setpriv --reuid 33 true";
    let ran = bea
        .run(&["run", "owned", "--", "sh", "-c", script])
        .expect(127);
    assert_eq!(ran.stdout, "33:34\n0:0\n7:9\n0\n");
    assert!(
        ran.stderr.contains("another user than root cannot"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("setresuid failed"), "{}", ran.stderr);
    let plan = bea.run(&["run", "owned", "--plan", "--", "true"]).expect(0);
    assert!(
        plan.stdout.contains("record whose files would be"),
        "{}",
        plan.stdout
    );
    bea.run(&["new", "web", "--from", "owned"]).expect(0);
    let exec = |script: &str| {
        let ran = bea
            .run(&["exec", "web", "--", "sh", "-c", script])
            .expect(0);
        ran.stdout
    };
    assert_eq!(
        exec("echo z >/root/z; chown 33:34 /root/z; stat -c %u:%g /root/z"),
        "33:34\n"
    );
    assert_eq!(
        exec("stat -c %u:%g /root/z /var/lib/owned/a"),
        "33:34\n33:33\n"
    );
    let other = bea
        .run(&["run", "owned", "--user", "33", "--", "true"])
        .expect(125);
    assert!(
        other.stderr.contains("only user 0 in this jail"),
        "{}",
        other.stderr
    );
    records_are_of_what_they_were_made_for(&bea);
    bea.run(&["rm", "web"]).expect(0);
    bea.run(&["image", "rm", "owned"]).expect(0);
    let doctor = bea.run(&["doctor"]);
    assert!(
        doctor.stdout.contains("whose files are is recorded"),
        "{}",
        doctor.stdout
    );
    assert_gone(bea.place.path());
}

/// In a run of the image: `p` is a pipe, `to` leads to it, and `/mnt` is of the host.
const RECORDS: &str = r#"
chown 8 /mnt/f 2>/dev/null && echo gave what is not ours
chown 0 /mnt/f && stat -c '%u %n' /mnt/f
cd /root
mkfifo p; ln -s p to; chown -h 9:9 to
stat -L -c '%u:%g to' to; chown 5:6 to; stat -c '%u:%g %n' p to; stat -L -c '%u:%g to' to
ln -s x link; chown -h 8:12 link; stat -c '%u:%g %n' link
tries=0
while [ $tries -lt 1000 ] && [ "$(stat -c %u link)" != 0 ]; do rm link; ln -s y link; tries=$((tries + 1)); done
stat -c '%u:%g %n' link
long=$(printf 'l%.0s' $(seq 255))
ln -s x $long; chown -h 8:12 $long; stat -c '%u:%g long' $long
touch g; perl -e 'my ($a, $b) = ("/root/g", "g"); syscall(260, -1, $a, 33, 34, 0) == 0 or die; syscall(260, -1, $b, 1, 1, 0) == -1 && $! == 9 or die $!'
stat -c '%u:%g %n' g
"#;

fn records_are_of_what_they_were_made_for(bea: &Bea) {
    let lent = bea.place.work().join("lent");
    fs::create_dir(&lent).expect("a directory");
    fs::write(lent.join("f"), "").expect("a file");
    chown(&lent, Some(BEA), Some(BEA)).expect("ours");
    chown(lent.join("f"), Some(BEA), Some(BEA)).expect("ours");
    let bind = format!("{}:/mnt", lent.display());
    let ran = bea
        .run(&["run", "owned", "--bind", &bind, "--", "sh", "-c", RECORDS])
        .expect(0);
    assert_eq!(
        ran.stdout,
        "0 /mnt/f\n0:0 to\n5:6 p\n9:9 to\n5:6 to\n8:12 link\n0:0 link\n8:12 long\n33:34 g\n"
    );
    // What it was lent has nothing of it.
    let list = "import os, sys; print(os.listxattr(sys.argv[1]))";
    let file = lent.join("f").display().to_string();
    let output = std::process::Command::new("python3")
        .args(["-c", list, &file])
        .output();
    if let Ok(output) = output {
        assert_eq!(String::from_utf8_lossy(&output.stdout), "[]\n");
    }
}

#[test]
fn a_store_is_of_one_kind() {
    let dir = readable();
    let Some(bea) = Bea::new(&dir) else {
        skip!("only root plays a user without subordinate identifiers");
    };
    // As if it had been filled when there were subordinate identifiers.
    let images = bea.place.store().join("images");
    fs::create_dir(&images).expect("a directory");
    chown(&images, Some(BEA), Some(BEA)).expect("ours");
    let ran = bea.run(&["build", "debian:bookworm"]).expect(125);
    let said = ["was filled with subordinate identifiers", "--store DIR"];
    assert!(
        said.iter().all(|said| ran.stderr.contains(said)),
        "{}",
        ran.stderr
    );
}

/// Whoever answers for owners listens already.
#[test]
fn a_program_is_watched_in_a_jail_whose_owners_are_on_record() {
    let dir = readable();
    let Some(bea) = Bea::new(&dir) else {
        skip!("only root plays a user without subordinate identifiers");
    };
    let script = "test -s /etc/passwd && echo there; (exit 7); exit $?";
    let words = ["new", "o", "--trace", "--", "/bin/sh", "-c", script];
    let ran = bea.run(&words);
    assert!(
        ran.stderr.contains("jail o: nothing is missing"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stdout, "there\no\nthere\n", "{}", ran.stderr);
    let script = "test -e /etc/hostname; test -O /etc/passwd && echo mine";
    let words = [
        "trace", "--in", "o", "-o", "-", "--", "/bin/sh", "-c", script,
    ];
    let ran = bea.run(&words).expect(0);
    assert!(ran.stdout.starts_with("mine\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("\"/etc/hostname\""), "{}", ran.stdout);
}
