//! `bwrap` by its old name against the installed one: the same command lines, the same output, messages and exit codes,
//! as root and as an ordinary user.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod who;

use jaula_testkit::skip;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use who::{User, Who, everyone};

const THEIRS: &str = "/usr/bin/bwrap";

/// The host's programs, as nearly every line below has them.
const PROGRAMS: &str = "--ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/sbin /sbin --symlink usr/lib /lib --symlink usr/lib64 /lib64";

/// Our program under the name, where every user can reach it.
struct Ours {
    _dir: TempDir,
    program: PathBuf,
}

fn ours() -> Ours {
    let dir = tempfile::Builder::new()
        .prefix("jaula-bwrap-")
        .tempdir()
        .expect("a directory");
    let open = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode of ours");
    };
    open(dir.path());
    let program = dir.path().join("bwrap");
    fs::copy(env!("CARGO_BIN_EXE_jaula"), &program).expect("the program");
    open(&program);
    Ours { _dir: dir, program }
}

/// A line of sh(1), in which `$BWRAP` is the program and `$P` the host's programs.
fn shell(user: &User, bwrap: &Path, line: &str) -> Output {
    let mut command: Command = user.other("/bin/sh", &["-c", line]);
    command.env("BWRAP", bwrap).env("P", PROGRAMS);
    command.output().expect("a shell")
}

/// Whether sandboxes can be made here at all.
fn possible(user: &User) -> Result<(), String> {
    if !Path::new(THEIRS).exists() {
        return Err(format!("there is no {THEIRS}"));
    }
    if !Path::new("/usr/lib64").exists() || fs::read_link("/bin").is_err() {
        return Err("this host keeps its programs elsewhere than in /usr".to_owned());
    }
    let tried = shell(user, Path::new(THEIRS), "$BWRAP --bind / / true");
    match tried.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&tried.stderr).trim().to_owned()),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What both are to do alike.
const LINES: &[&str] = &[
    // Who it is.
    "$BWRAP $P id -u",
    "$BWRAP $P --dev /dev id -u",
    "$BWRAP $P --unshare-user --uid 7 --gid 8 sh -c 'id -u; id -g'",
    "$BWRAP $P --unshare-user --uid 7 --dev /dev sh -c 'id -u; id -g'",
    "$BWRAP $P --unshare-user --uid 0 --gid 0 --proc /proc cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups",
    "$BWRAP $P --proc /proc --dev /dev cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups",
    "$BWRAP $P --proc /proc grep -E '^(Cap|NoNewPrivs|Seccomp|Groups|Uid|Gid|Sig[^Q])' /proc/self/status",
    "$BWRAP $P --proc /proc --unshare-user grep -E '^(Cap|NoNewPrivs|Seccomp|Groups|Uid|Gid|Sig[^Q])' /proc/self/status",
    "$BWRAP $P --proc /proc --dev /dev --unshare-all grep -E '^(Cap|NoNewPrivs|Groups|Uid|Gid|Sig)' /proc/self/status",
    "$BWRAP $P --proc /proc --cap-drop ALL grep ^Cap /proc/self/status",
    "$BWRAP $P --proc /proc --unshare-user --cap-add CAP_NET_RAW grep ^Cap /proc/self/status",
    "$BWRAP $P --proc /proc --unshare-user --cap-add ALL --cap-drop CAP_CHOWN --cap-drop cap_kill grep ^Cap /proc/self/status",
    "$BWRAP $P --proc /proc --unshare-user --uid 0 --cap-add CAP_SYS_ADMIN grep ^Cap /proc/self/status",
    // What is there.
    "$BWRAP --proc /proc $P --dev /dev --tmpfs /tmp --mqueue /q awk '{print $5,$6}' /proc/self/mountinfo",
    "$BWRAP $P --unshare-all --proc /proc --dev /dev awk '{print $5,$6}' /proc/self/mountinfo",
    "$BWRAP $P --dev /dev stat -c '%n %a %F %u' /dev /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/pts /dev/shm /dev/pts/ptmx",
    "$BWRAP $P --dev /dev sh -c 'for f in /dev/*; do echo $f $(readlink $f); done'",
    "$BWRAP $P --dev /dev sh -c 'cat /dev/null; head -c 3 /dev/zero | od -c'",
    "$BWRAP $P ls -a /",
    "$BWRAP $P --dir /a/b/c --perms 0700 --dir /d/e --perms 0750 --dir /f/g stat -c '%n %a' / /a /a/b /a/b/c /d /d/e /f /f/g",
    "$BWRAP $P --perms 1777 --tmpfs /t --tmpfs /u stat -c '%n %a' /t /u",
    "$BWRAP $P --bind / /host sh -c 'ls /host | head -3'",
    "$BWRAP --bind / / --tmpfs /usr/share ls /usr/share",
    "$BWRAP --bind / / ls /proc/fs",
    "$BWRAP $P --bind . /w sh -c 'echo x >/w/new; cat /w/new'; cat new",
    "$BWRAP $P --ro-bind . /w sh -c 'echo x >/w/new2'",
    "$BWRAP $P --bind . /w --remount-ro /w sh -c 'echo x >/w/new2'",
    "$BWRAP $P --bind-try ./absent /w ls /w",
    "$BWRAP $P --ro-bind-try ./file /w cat /w",
    "$BWRAP $P --dev-bind /dev /dev sh -c 'echo x >/dev/null'",
    "$BWRAP $P --bind /dev /dev sh -c 'echo x >/dev/null'",
    "$BWRAP $P --bind ./link /w cat /w",
    "$BWRAP $P --dir /t/dir --symlink dir /t/link --bind . /t/link ls /t/dir",
    "$BWRAP $P --file 3 /etc/f --perms 0400 --file 4 /g sh -c 'cat /etc/f /g; stat -c %a /etc/f /g' 3<file 4<file",
    "$BWRAP $P --bind-data 3 /f --ro-bind-data 4 /g sh -c 'cat /f /g; stat -c %a /f /g; echo y >/f; cat /f; echo y >/g' 3<file 4<file",
    "$BWRAP $P --perms 0640 --bind-data 3 /x/f stat -c '%n %a' /x /x/f 3<file",
    "$BWRAP $P --dir /x --chmod 1711 /x stat -c %a /x",
    "$BWRAP $P --proc /proc sh -c 'echo 1 >/proc/sys/kernel/domainname'",
    // Names.
    "$BWRAP $P --unshare-uts --hostname jail uname -n",
    "$BWRAP $P --unshare-all --share-net --proc /proc sh -c 'ls /proc | grep -x 1'",
    "$BWRAP $P --unshare-net --proc /proc sh -c 'cut -d: -f1 /proc/net/dev | tail -n +3'",
    "$BWRAP $P --unshare-net --proc /proc sh -c 'cat /proc/net/fib_trie | grep -c 127.0.0.1'",
    "$BWRAP $P --unshare-pid sh -c 'echo $$'",
    "$BWRAP $P --unshare-pid --as-pid-1 sh -c 'echo $$'",
    "$BWRAP $P --unshare-pid --proc /proc --new-session sh -c 'cut -d\" \" -f4,6 /proc/$$/stat'",
    // Environment and directory.
    "A=1 B=2 $BWRAP $P --unsetenv A --setenv C 3 sh -c 'echo $A $B $C $PWD'",
    "$BWRAP $P --clearenv --setenv X y /usr/bin/env",
    "$BWRAP $P --setenv HOME /usr sh -c pwd",
    "$BWRAP $P --dir /q --setenv HOME /q pwd",
    "$BWRAP --bind / / pwd",
    "$BWRAP --bind / / --chdir /usr pwd",
    "cd /usr/bin && $BWRAP $P sh -c 'pwd; echo $PWD'",
    "umask 027; $BWRAP $P sh -c 'umask; mkdir /d; stat -c %a /d'",
    "$BWRAP $P --proc /proc sh -c 'ls /proc/self/fd' 7</dev/null 9<file",
    "$BWRAP $P --proc /proc --file 7 /x --unshare-pid sh -c 'ls /proc/self/fd' 7<file 9<file",
    "$BWRAP $P --args 3 -- echo ran 3<args",
    // Ends.
    "$BWRAP $P sh -c 'exit 42'",
    "$BWRAP $P --unshare-pid sh -c 'exit 42'",
    "$BWRAP $P sh -c 'kill -9 $$'",
    "$BWRAP $P --unshare-pid sh -c 'kill -15 $$'",
    "$BWRAP $P --unshare-pid sh -c '(sleep 5 </dev/null >/dev/null 2>&1 &) ; exit 3'",
    "$BWRAP $P --unshare-pid --die-with-parent sh -c 'exit 4'",
    "$BWRAP $P --lock-file /usr/bin/env sh -c 'exit 5'",
    "$BWRAP $P --sync-fd 3 --proc /proc sh -c 'ls /proc/self/fd; exit 6' 3</dev/null",
    "$BWRAP $P --json-status-fd 3 sh -c 'exit 7' 3>status; tail -1 status",
    "$BWRAP $P --json-status-fd 3 absent 3>status; grep -c exit-code status",
    "$BWRAP $P --unshare-all --info-fd 3 true 3>info; tr -d 0-9 <info",
    "$BWRAP $P --unshare-net --unshare-pid --json-status-fd 3 true 3>info; tr -d 0-9 <info",
    "echo go | $BWRAP $P --block-fd 3 echo went 3<&0",
    "$BWRAP $P --seccomp 3 echo filtered 3<allow",
    "$BWRAP $P --seccomp 3 --proc /proc grep ^Seccomp: /proc/self/status 3<allow",
    "$BWRAP $P --add-seccomp-fd 3 --add-seccomp-fd 4 --unshare-pid echo filtered 3<allow 4<allow",
    "$BWRAP $P ./script",
    "$BWRAP --bind / / ./script",
    "PATH=$PWD:$PATH $BWRAP --bind / / script",
    // What is refused.
    "$BWRAP",
    "$BWRAP $P",
    "$BWRAP $P absent",
    "$BWRAP $P /",
    "$BWRAP $P /usr/absent/x",
    "$BWRAP $P ''",
    "$BWRAP --bind ./absent /w true",
    "$BWRAP $P --bind /usr /usr/bin/env true",
    "$BWRAP $P --tmpfs /usr/newdir true",
    "$BWRAP $P --dir /usr/bin/env true",
    "$BWRAP $P --dir /usr/bin/env/x true",
    "$BWRAP $P --chdir /absent true",
    "$BWRAP $P --chmod 700 /absent true",
    "$BWRAP $P --file 77 /x true",
    "$BWRAP $P --seccomp 3 true 3<file",
    "$BWRAP $P --seccomp 77 true",
    "$BWRAP $P --args 77 true",
    "$BWRAP $P --uid x true",
    "$BWRAP $P --hostname x true",
    "$BWRAP $P --as-pid-1 true",
    "$BWRAP $P --disable-userns --userns-block-fd 3 true",
    "$BWRAP $P --userns-block-fd 3 true",
    "$BWRAP $P --userns 3 --unshare-user true 3<file",
    "$BWRAP $P --userns 3 true 3<file",
    "$BWRAP $P --cap-add nothing true",
    "$BWRAP $P --perms 9 --dir /x true",
    "$BWRAP $P --perms 700 --proc /x true",
    "$BWRAP $P --size 1 --dir /x true",
    "$BWRAP $P --bind x",
    "$BWRAP $P --nothing true",
    "$BWRAP $P --chdir / --chdir /usr pwd",
    "$BWRAP $P --lock-file /absent true; echo $?",
    "$BWRAP $P --unshare-user --disable-userns unshare -U true",
    "$BWRAP $P --assert-userns-disabled true",
    "$BWRAP $P --unshare-user --disable-userns --dev /dev --proc /proc cat /proc/sys/user/max_user_namespaces",
];

/// What releases after the installed one may say otherwise.
const NEWER: &[(&str, (u32, u32))] = &[
    (
        "$BWRAP $P --size 65536 --tmpfs /t df --output=size -k /t",
        (0, 8),
    ),
    ("$BWRAP $P --symlink usr/bin /bin true", (0, 11)),
    ("$BWRAP $P --symlink usr/other /bin true", (0, 11)),
    ("$BWRAP $P --argv0 other sh -c 'echo $0'", (0, 9)),
    ("$BWRAP $P --bind-fd 3 /w cat /w/file 3<.", (0, 10)),
    (
        "$BWRAP $P --ro-bind-fd 3 /w sh -c 'echo x >/w/file' 3<.",
        (0, 10),
    ),
    (
        "$BWRAP $P --overlay-src lower --tmp-overlay /o sh -c 'cat /o/a; echo x >/o/a; cat /o/a'; cat lower/a",
        (0, 11),
    ),
    (
        "$BWRAP $P --overlay-src lower --overlay upper work /o sh -c 'echo x >/o/b'; cat upper/b",
        (0, 11),
    ),
    (
        "$BWRAP $P --overlay-src lower --ro-overlay /o true",
        (0, 11),
    ),
    (
        "$BWRAP --level-prefix $P --chdir / --chdir / absent",
        (0, 11),
    ),
];

fn installed() -> (u32, u32) {
    let told = Command::new(THEIRS).arg("--version").output();
    let told = told.map(|out| text(&out.stdout)).unwrap_or_default();
    let number = told.split_whitespace().last().unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// The files that the lines use, made anew for each.
fn fill(user: &User) {
    let setup = "rm -rf ./* && echo content >file && ln -s file link && printf 'echo by the shell\\n' >script && chmod 755 script \
        && mkdir -p lower upper work && echo lower >lower/a && printf -- '--dir\\0/a\\0--chdir\\0/a\\0' >args \
        && printf '\\006\\000\\000\\000\\000\\000\\377\\177' >allow";
    let made = shell(user, Path::new(THEIRS), setup);
    assert!(made.status.success(), "{}", text(&made.stderr));
}

/// The same for both but for what differs from run to run.
fn told(output: &Output, program: &Path) -> (Option<i32>, String, String) {
    let plain = |bytes: &[u8]| text(bytes).replace(&program.display().to_string(), "$BWRAP");
    let stderr = plain(&output.stderr);
    // The help is worded otherwise.
    let stderr = match stderr.starts_with("usage: ") {
        true => stderr.lines().next().unwrap_or_default().to_owned(),
        false => stderr,
    };
    (output.status.code(), plain(&output.stdout), stderr)
}

#[test]
fn command_lines_do_what_the_installed_bwrap_does() {
    let ours = ours();
    everyone(|user| {
        if let Err(reason) = possible(user) {
            skip!("{reason}");
        }
        let version = installed();
        let newer = NEWER.iter().filter(|(_, since)| version >= *since);
        let lines = LINES.iter().chain(newer.map(|(line, _)| line));
        let mut different = Vec::new();
        for line in lines {
            fill(user);
            let theirs = told(&shell(user, Path::new(THEIRS), line), Path::new(THEIRS));
            fill(user);
            let found = told(&shell(user, &ours.program, line), &ours.program);
            if found != theirs {
                different.push(format!("{line}\n  theirs {theirs:?}\n  ours   {found:?}"));
            }
        }
        assert!(
            different.is_empty(),
            "{:?}:\n{}",
            user.who,
            different.join("\n")
        );
    });
}

#[test]
fn what_came_after_the_installed_bwrap_works() {
    let ours = ours();
    everyone(|user| {
        if let Err(reason) = possible(user) {
            skip!("{reason}");
        }
        let expected = [
            "64\n",
            "",
            "",
            "other\n",
            "content\n",
            "",
            "lower\nx\nlower\n",
            "x\n",
            "",
            "",
        ];
        for ((line, _), stdout) in NEWER.iter().zip(expected) {
            fill(user);
            let output = shell(user, &ours.program, line);
            let found = text(&output.stdout);
            let found: Vec<&str> = found
                .lines()
                .map(str::trim)
                .filter(|l| *l != "1K-blocks")
                .collect();
            let stdout: Vec<&str> = stdout.lines().collect();
            assert_eq!(found, stdout, "{line}: {}", text(&output.stderr));
        }
        fill(user);
        let words = |line: &str| text(&shell(user, &ours.program, line).stderr);
        for (line, message) in [
            (
                NEWER[2].0,
                "bwrap: Can't make symlink at /bin: existing destination is usr/bin\n",
            ),
            (
                NEWER[8].0,
                "bwrap: --ro-overlay requires at least two --overlay-src\n",
            ),
            (
                NEWER[9].0,
                "<4>bwrap: Only the last --chdir option will take effect\n<3>bwrap: execvp absent: No such file or directory\n",
            ),
        ] {
            assert_eq!(words(line), message, "{line}");
        }
    });
}

#[test]
fn a_sandbox_ends_with_its_supervisor_when_asked() {
    let ours = ours();
    everyone(|user| {
        if let Err(reason) = possible(user) {
            skip!("{reason}");
        }
        // The pipe ends when the last process that holds it does: the sandbox's is one of them.
        for options in ["--die-with-parent", "--die-with-parent --unshare-pid"] {
            let line = format!(
                "mkfifo f; $BWRAP $P --bind . /w {options} sh -c 'echo up >/w/f; exec sleep 1000' & read -r up <f; kill -9 $!; wait $! 2>/dev/null; echo $up"
            );
            fill(user);
            let output = shell(user, &ours.program, &line);
            assert_eq!(text(&output.stdout), "up\n", "{options}");
        }
    });
}

#[test]
fn namespaces_of_another_sandbox_are_joined() {
    let ours = ours();
    everyone(|user| {
        if let Err(reason) = possible(user) {
            skip!("{reason}");
        }
        let line = "mkfifo f g; $BWRAP $P --proc /proc --bind . /w --unshare-user --unshare-pid --info-fd 3 \
            sh -c 'readlink /proc/self/ns/user /proc/self/ns/pid >/w/first; echo up >/w/f; read -r go </w/g' 3>info & \
            read -r up <f; pid=$(sed -n 's/.*\"child-pid\": \\([0-9]*\\).*/\\1/p' info); \
            for more in '' --unshare-pid; do $BWRAP --bind / / --proc /proc --userns 8 --pidns 9 $more \
            sh -c 'readlink /proc/self/ns/user /proc/self/ns/pid; exit 9' 8</proc/$pid/ns/user 9</proc/$pid/ns/pid >second$more; \
            echo $?; done; echo go >g; wait; cmp first second && echo same; cmp -s first second--unshare-pid || echo other";
        fill(user);
        let output = shell(user, &ours.program, line);
        assert_eq!(
            text(&output.stdout),
            "9\n9\nsame\nother\n",
            "{}",
            text(&output.stderr)
        );
    });
}

#[test]
fn a_destination_stays_in_the_new_root() {
    let ours = ours();
    everyone(|user| {
        if let Err(reason) = possible(user) {
            skip!("{reason}");
        }
        if user.who != Who::Root {
            return;
        }
        // The tree has links that lead out of it; what is put there lands inside.
        let line = "mkdir -p t/usr t/x && ln -s /etc t/e && ln -s ../../../../../../etc t/u && $BWRAP --bind t / --ro-bind /usr /usr \
            --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --dir /etc --file 3 /e/from-link --dir /../../up \
            sh -c 'ls /etc /up' 3<file; ls t/etc; ls /etc/from-link /up";
        fill(user);
        let output = shell(user, &ours.program, line);
        assert_eq!(
            text(&output.stdout),
            "/etc:\nfrom-link\n\n/up:\nfrom-link\n",
            "{}",
            text(&output.stderr)
        );
    });
}
