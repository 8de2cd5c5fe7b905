//! arm64 on amd64, by QEMU: the interpreter is the jail's own, or the host's. No machine of the tests need have
//! binfmt_misc, so all of it happens in a guest.

use super::{Archive, words};
use jaula_testkit::{DebBuilder, Guest, GuestRan, hermetic, mirror, skip};
use std::fs;
use std::path::Path;
use std::time::Duration;

const INTERPRETER: &str = "/usr/bin/qemu-aarch64-static";

/// Plays dpkg, in the shell of the other machine: configures what is unpacked.
const DPKG: &str = "#!/bin/sh\nset -e\n[ \"$1 $2\" = \"--configure --pending\" ]\n\
                    for script in /var/lib/dpkg/info/*.postinst; do \"$script\" configure; done\n\
                    sed -i 's/^Status: .*/Status: install ok installed/' /var/lib/dpkg/status\n";

/// A system of two packages: a busybox of the other machine, and one whose script says what it was told.
fn archive(busybox: &Path) -> Result<Archive, String> {
    let unpacked = tempfile::tempdir().map_err(|error| error.to_string())?;
    let done = std::process::Command::new("dpkg-deb")
        .arg("-x")
        .args([busybox, unpacked.path()])
        .status();
    if !done.is_ok_and(|status| status.success()) {
        return Err("dpkg-deb cannot unpack busybox-static".to_owned());
    }
    let places = ["bin/busybox", "usr/bin/busybox"].map(|place| unpacked.path().join(place));
    let bytes = places.iter().find_map(|place| fs::read(place).ok());
    let mut bytes = bytes.ok_or("busybox-static has no busybox")?;
    // Its shell would take its own dpkg before any other. Under another name, at the same place in the order, it does not.
    let own = b"\0dpkg\0dpkg-deb\0";
    if let Some(at) = bytes.windows(own.len()).position(|part| part == own) {
        bytes[at + 4] = b'f';
    }
    let package = |name: &str| DebBuilder::new(name, "1.0").arch("arm64");
    let mut base = package("base")
        .field("Essential", "yes")
        .file("bin/busybox", bytes, 0o755)
        .file("usr/bin/dpkg", DPKG, 0o755)
        .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644);
    for name in ["sh", "sed", "uname", "cat", "true"] {
        base = base.symlink(&format!("bin/{name}"), "busybox");
    }
    let probe = package("probe").script("postinst", "#!/bin/sh\nuname -m >/etc/built-on\n");
    Ok(Archive::new("bookworm", "arm64", &[], vec![base, probe]))
}

/// Every file of a directory, at the same place in the guest.
fn copy(guest: &mut Guest, dir: &Path) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            copy(guest, &path);
        } else {
            let bytes = fs::read(&path).expect("a file");
            guest.file(&path.display().to_string(), 0o644, bytes);
        }
    }
}

/// A guest with jaula, the interpreter and the archive; else the reason to skip.
fn guest(archive: &Archive) -> Result<Guest, String> {
    let mut guest = Guest::new()?;
    // The suite's second run, as an ordinary user, has a copy that she can read.
    let own = || env!("CARGO_BIN_EXE_jaula").into();
    let program = std::env::var_os(hermetic::PROGRAM).unwrap_or_else(own);
    let said = |error| format!("no guest: {error:#}");
    guest.modules(&["overlay", "binfmt_misc"]).map_err(said)?;
    guest.program(INTERPRETER).map_err(said)?;
    guest.built(program, "/usr/bin/jaula").map_err(said)?;
    copy(&mut guest, archive.dir.path());
    guest.memory(768);
    Ok(guest)
}

fn run(guest: &Guest, script: &str) -> GuestRan {
    let ran = guest
        .run(script, Duration::from_secs(300))
        .expect("a guest that ends");
    assert_eq!(ran.code, Some(0), "{ran}");
    ran
}

#[test]
fn another_machines_programs_run_by_an_interpreter_of_the_jails_own_or_the_hosts() {
    let busybox = match mirror::package_file("busybox-static", "arm64") {
        Ok(busybox) => busybox,
        Err(error) => skip!("no busybox for arm64: {error:#}"),
    };
    let archive = match archive(&busybox) {
        Ok(archive) => archive,
        Err(reason) => skip!("{reason}"),
    };
    let guest = match guest(&archive) {
        Ok(guest) => guest,
        Err(reason) => skip!("{reason}"),
    };
    let build = [
        "jaula",
        "build",
        "debian:bookworm",
        "--arch",
        "arm64",
        "--variant",
        "essential",
        "--include",
        "probe",
        "--tag",
        "other",
    ];
    let unpack = ["--foreign", "--tag", "part"];
    let unpack = words(&[&build[..9], &unpack].concat(), &archive).join(" ");
    let build = words(&build, &archive).join(" ");
    let script = format!(
        r#"
export TERM=dumb
say() {{ echo "== $1"; }}
say absent
rmmod binfmt_misc
{build} 2>&1 && exit 1
{unpack} >/dev/null || exit 1
jaula finish part 2>&1 && exit 1
say own
insmod /guest/binfmt_misc.ko
jaula doctor | grep "interpreters of"
{build} >/dev/null 2>/tmp/said || {{ cat /tmp/said; exit 1; }}
jaula run other -- sh -c 'uname -m; cat /etc/built-on; cat /proc/sys/fs/binfmt_misc/status' 2>&1
jaula run other --plan -- true | grep "start arm64"
jaula new named --from other
jaula exec named -- uname -m || exit 1
say finished
done=$(jaula finish part) || exit 1
jaula run "$done" -- cat /etc/built-on
say user
cat >/tmp/user <<'END'
export HOME=/var/lib/ana JAULA_STORE=/var/lib/ana/store
cd; {build} >/dev/null || exit 1
jaula run other -- uname -m
END
mkdir -m 700 /var/lib/ana; chown 1000:1000 /var/lib/ana
su -s /bin/sh ana -c 'sh /tmp/user' 2>/tmp/said || {{ cat /tmp/said; exit 1; }}
say outside
mkdir /tmp/out; jaula image export other -o /tmp/out/tree >/dev/null || exit 1
/tmp/out/tree/bin/busybox uname -m 2>&1 || echo "does not run"
ls /proc/sys/fs/binfmt_misc
say unshare
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
jaula compat unshare --map-root-user --fork --pid --load-interp ":arm:M::$magic:$mask:{INTERPRETER}:F" \
    /tmp/out/tree/bin/busybox uname -m || exit 1
say mounted
jaula compat unshare --map-root-user --fork --pid --mount-binfmt ls -1 /proc/sys/fs/binfmt_misc || exit 1
mkdir /tmp/place
cat >/tmp/mounted <<'END'
printf '%s' ":arm:M::$1:$2:{INTERPRETER}:F" >/tmp/place/register || exit 1
ls -1 /tmp/place /proc/sys/fs/binfmt_misc
/tmp/out/tree/bin/busybox uname -m
END
jaula compat unshare --map-root-user --fork --pid --mount-binfmt=/tmp/place sh /tmp/mounted "$magic" "$mask" || exit 1
ls /tmp/place; /tmp/out/tree/bin/busybox uname -m 2>/dev/null || echo "does not run"
jaula compat unshare --map-root-user --fork --pid --mount-binfmt=/nowhere true 2>&1 && exit 1
say host
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
printf '%s' ":arm:M::$magic:$mask:{INTERPRETER}:F" >/proc/sys/fs/binfmt_misc/register
jaula run other --plan -- true | grep -c "start arm64"
jaula run other -- uname -m
"#
    );
    let ran = run(&guest, &script);
    let parts: Vec<(&str, &str)> = ran
        .output
        .split("== ")
        .filter_map(|part| part.split_once('\n'))
        .collect();
    let part = |name: &str| {
        let found = parts.iter().find(|(part, _)| *part == name);
        found.unwrap_or_else(|| panic!("no {name}: {ran}")).1
    };
    let absent = part("absent");
    for said in [
        "does not run arm64 programs",
        "qemu-user-static",
        "--foreign",
    ] {
        assert!(absent.contains(said), "{absent}");
    }
    let own = part("own");
    assert!(
        own.contains("aarch64\naarch64\ncat: "),
        "the jail's own interpreter cannot be seen: {own}"
    );
    assert!(own.contains("ok  interpreters of a jail's own"), "{own}");
    let planned = format!("start arm64 programs by {INTERPRETER}\n");
    assert!(
        own.ends_with(&format!("{planned}named\naarch64\n")),
        "{own}"
    );
    assert_eq!(part("finished"), "aarch64\n");
    assert_eq!(part("user"), "aarch64\n");
    let outside = part("outside");
    assert!(
        outside.contains("does not run")
            && !outside.contains("aarch64")
            && !outside.contains("jaula-arm64"),
        "{outside}"
    );
    assert_eq!(part("unshare"), "aarch64\n");
    // One's own, where it is asked for, and seen by nobody else.
    let mounted = part("mounted");
    let place = "/tmp/place:\narm\nregister\nstatus\n";
    assert!(mounted.starts_with("register\nstatus\n"), "{mounted}");
    assert!(mounted.contains(place), "{mounted}");
    assert!(mounted.contains("aarch64\ndoes not run\n"), "{mounted}");
    assert!(mounted.contains("/nowhere"), "{mounted}");
    assert_eq!(part("host"), "0\naarch64\n");
}
