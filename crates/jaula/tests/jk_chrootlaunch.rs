//! jk_chrootlaunch, beside jailkit's own where the host has it, in a mount namespace that plays a host.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::skip;
use std::path::Path;
use std::process::Command;

const ORIGINAL: &str = "/usr/sbin/jk_chrootlaunch";
const BUSYBOX: &str = "/bin/busybox";

/// A jail of one static program under several names, some of them not to be trusted, and a user of the host who is in
/// further groups.
const JAIL: &str = "\
    mount -t tmpfs -o mode=755 none /srv || exit 99\n\
    mkdir -p /srv/j/bin /srv/j/etc /srv/etc /srv/run; cd /srv\n\
    cp /bin/busybox j/bin/busybox; for name in id setid shared cat; do cp j/bin/busybox j/bin/$name; done\n\
    ln -s busybox j/bin/link; ln -s /usr j/out; chmod 4755 j/bin/setid; chmod 775 j/bin/shared\n\
    cp /etc/passwd /etc/group etc; echo 'web:x:4242:4343::/:/bin/sh' >>etc/passwd\n\
    printf 'web:x:4343:\\nlogs:x:4444:web\\n' >>etc/group\n\
    mount --bind etc/passwd /etc/passwd; mount --bind etc/group /etc/group\n";

/// What a script says, in namespaces of its own; none where the caller may not.
fn play(script: &str) -> Option<String> {
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .arg(format!("{JAIL}{script}"))
        .env("J", env!("CARGO_BIN_EXE_jaula"))
        .output()
        .ok()?;
    let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
    let refused = ran.status.code() == Some(99) || errors.contains("unshare failed");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    (!refused).then(|| said + &errors)
}

macro_rules! played {
    ($script:expr) => {{
        if !Path::new(BUSYBOX).exists() {
            skip!("no static busybox");
        }
        match play($script) {
            Some(said) => said,
            None => skip!("a mount namespace needs root"),
        }
    }};
}

#[test]
fn a_daemon_is_started_as_another_user_with_his_group_and_no_other() {
    let said = played!(
        "L() { $J compat jk_chrootlaunch \"$@\"; }\n\
         L -j /srv/j -u web -x /bin/id\n\
         L -j /srv/j -u 4242 -g logs -x /srv/j/bin/id\n\
         L -j /srv/j -u web -x /bin/id -- -G\n\
         L --jail /srv/j --group=logs --exec bin/id\n\
         echo secret >/srv/secret; ln -s /srv/secret run/pid\n\
         L -j /srv/j -p run/pid -x /bin/cat -- /proc/self/stat 2>/dev/null\n\
         cat run/pid; stat -c '%F %a' run/pid; cat secret\n\
         L -j /srv/j -p run/pid -x /bin/busybox -- sh -c 'echo $$' >own; cmp own run/pid && echo same\n\
         L -j /srv/j -x /bin/busybox -- ls /\n\
         sh -c \"ln -s /srv/secret run/p.\\$\\$; exec $J compat jk_chrootlaunch -j /srv/j -p run/p -x /bin/id\" 2>/dev/null; cat secret\n"
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "uid=4242 gid=4343", "{said}");
    assert_eq!(lines[1], "uid=4242 gid=4444", "{said}");
    assert_eq!(lines[2], "4343", "{said}");
    assert_eq!(lines[3], "uid=0 gid=4444", "{said}");
    assert!(lines[4].parse::<u32>().is_ok(), "{said}");
    assert_eq!(
        lines[5..],
        [
            "regular file 644",
            "secret",
            "same",
            "bin",
            "etc",
            "out",
            "secret"
        ]
    );
}

#[test]
fn what_is_wrong_ends_as_the_original_does() {
    let cases = "\
         -j /srv/j -x /bin/id\n-j /srv/j\n-x /bin/id\n-j j -x /bin/id\n-j /srv/none -x /bin/id\n\
         -j /srv/j -x /bin/link\n-j /srv/j -x /bin/setid\n-j /srv/j -x /bin/shared\n-j /srv/j -x /bin/none\n\
         -j /srv/j -u nosuch -x /bin/id\n-j /srv/j -u 54321 -x /bin/id\n-j /srv/j -u -5 -x /bin/id\n\
         -j /srv/j -g nosuch -x /bin/id\n-j /srv/j -g 54321 -x /bin/id\n--bogus\n";
    let script = |launch: &str| {
        format!(
            "while read -r words; do {launch} $words >/dev/null 2>&1 </dev/null; echo $? $words; done <<'END'\n{cases}END\n\
             chmod 777 /srv/j; {launch} -j /srv/j -x /bin/id >/dev/null 2>&1; echo $? open\n"
        )
    };
    let ours = played!(&script("$J compat jk_chrootlaunch"));
    let codes: Vec<&str> = ours
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(
        codes,
        [
            "0", "23", "21", "27", "25", "29", "29", "29", "29", "1", "1", "1", "1", "1", "21",
            "25"
        ],
        "{ours}"
    );
    if Path::new(ORIGINAL).exists() {
        assert_eq!(ours, played!(&script(ORIGINAL)));
    }
}

#[test]
fn a_refusal_says_why_and_leaves_no_number() {
    let said = played!(
        "$J compat jk_chrootlaunch -j /srv/j -p run/pid -x /bin/link; $J compat jk_chrootlaunch -j /srv/j -x /out/bin/true\n\
         chmod 770 j; $J compat jk_chrootlaunch -j /srv/j -p run/pid -x /bin/id; chmod 755 j; ls run\n\
         $J compat jk_chrootlaunch -j /srv/j -p /srv/none/pid -x /bin/id; echo $?\n"
    );
    for words in [
        "jk_chrootlaunch: the program /srv/j/bin/link is a link",
        "the program /srv/j/out/bin/true is reached by a link that leads out of the jail",
        "/srv/j is not a safe jail: /srv/j can be written by its group",
        "cannot write /srv/none/pid",
        "\n1\n",
    ] {
        assert!(format!("\n{said}").contains(words), "{words}: {said}");
    }
    assert!(!said.lines().any(|line| line == "pid"), "{said}");
}

#[test]
fn a_program_that_cannot_be_executed_leaves_no_number() {
    let said = played!(
        "printf '#!/none\\n' >j/bin/script; chmod 755 j/bin/script\n\
         $J compat jk_chrootlaunch -j /srv/j -p run/pid -x /bin/script 2>/dev/null; echo $?; ls run\n\
         cd run; $J compat jk_chrootlaunch -j /srv/j -p pid -x /bin/script 2>/dev/null; echo $?; ls\n\
         $J compat jk_chrootlaunch -j /srv/j -p pid -u web -x /bin/script 2>/dev/null; echo $?; stat -c %s pid\n"
    );
    // Who is another user by then can only empty it.
    assert_eq!(said, "31\n31\n31\n0\n");
}
