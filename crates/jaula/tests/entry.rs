//! What a login may take of the host, and the ways in where ordinary users get no user namespaces, in namespaces that
//! play the host.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod host;

use host::{Host, said, sh};
use jaula_testkit::{kernel_test, skip};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long something may take.
const SOON: Duration = Duration::from_secs(30);

/// A host, or the test is skipped.
macro_rules! host {
    ($($tool:literal),*) => {
        match Host::start(&[$($tool),*]) {
            Ok(host) => host,
            Err(reason) => skip!("{reason}"),
        }
    };
}

/// A program that forks until it is refused, and tells how far it came; what it forked stays until it ends.
const FORKS: &str = "n=0; while [ $n -lt 2000 ]; do sleep 60 & n=$((n+1)); echo $n >count; done 2>/dev/null; echo all\n";

#[test]
fn a_fork_bomb_in_a_login_ends_by_itself_and_what_it_takes_is_bounded() {
    kernel_test!(Root);
    let host = host!("su", "python3");
    host.jail("/srv/golden");
    sh("jaula compat jk_cp -j /srv/golden /bin/sleep");
    let plan = sh("jaula user add /srv/golden ana --shell /bin/sh --plan");
    let text = "+# A session has at most: processes=256,data=2G,files=1024,core=0\n";
    assert!(plan.contains(text), "{plan}");
    sh("jaula user add /srv/golden ana --shell /bin/bash");
    assert_eq!(
        sh("su ana -c 'ulimit -u; ulimit -d; ulimit -n; ulimit -c'"),
        "256\n2097152\n1024\n0\n"
    );
    std::fs::write("/srv/golden/home/ana/bomb", FORKS).expect("a file");
    // Its shells and the last one that came to be.
    let forked = |limit: u32| {
        let (code, text) = said("su ana -c 'sh bomb'");
        assert!(!text.contains("all\n"), "{limit}: {code} {text}");
        let count: u32 = sh("cat /srv/golden/home/ana/count")
            .trim()
            .parse()
            .expect("a number");
        assert!((limit - 8..limit).contains(&count), "{limit}: {count}");
        // Nothing of it is left, and the next one is let in.
        assert_eq!(sh("su ana -c 'echo in'"), "in\n");
    };
    forked(256);
    // What the host gives less of is less.
    assert_eq!(sh("prlimit --nproc=30:30 -- su ana -c 'ulimit -u'"), "30\n");
    sh("jaula user set /srv/golden ana --limit processes=40,data=64M");
    forked(40);
    sh(
        "jaula compat jk_cp -j /srv/golden /usr/bin/python3; cp -a /usr/lib/python3* /srv/golden/usr/lib/",
    );
    let takes = "python3 -c \"b = bytearray(200 << 20); print(len(b))\"";
    let (code, text) = said(&format!("su ana -c '{takes}'"));
    assert!(code == 1 && text.contains("MemoryError"), "{code} {text}");
    sh("jaula user set /srv/golden ana --limit processes=unlimited,data=unlimited");
    assert_eq!(sh(&format!("su ana -c '{takes}'")), "209715200\n");
    assert_eq!(sh("su ana -c 'ulimit -d; ulimit -n'"), "unlimited\n1024\n");
}

/// A host that keeps user namespaces from ordinary users, as far as its settings tell; `jaula user serve` runs.
struct Serving(std::process::Child);

impl Serving {
    fn start() -> Self {
        sh("echo 0 >/run/none; mount --bind /run/none /proc/sys/user/max_user_namespaces");
        Self::again()
    }

    fn again() -> Self {
        let child = std::process::Command::new("/usr/bin/jaula")
            .args(["-q", "user", "serve"])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("JAULA_STORE", "/run/store")
            .spawn()
            .expect("jaula");
        let start = Instant::now();
        while UnixStream::connect("/run/jaula-entry").is_err_and(|error| {
            matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            )
        }) {
            assert!(start.elapsed() < SOON, "nobody listens");
            std::thread::yield_now();
        }
        Self(child)
    }

    fn signal(&self, name: &str) {
        sh(&format!("kill -{name} {}", self.0.id()));
    }
}

/// Waits until this is so.
fn until(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < SOON, "{what}");
        std::thread::yield_now();
    }
}

/// Whether a program of this name runs in the test's namespace of processes: one that nobody waits for does not.
fn runs(name: &str) -> bool {
    said(&format!("pgrep -r R,S,D,T -x {name}")).0 == 0
}

/// Runs a login shell on a terminal of its own, changes the terminal's size, and types Ctrl-C.
const RESIZE: &str = r##"
import fcntl, os, pty, struct, sys, termios
command = "trap 'stty size; echo resized' WINCH; trap 'echo interrupted; exit 4' INT; echo go; while :; do sleep 0.1; done"
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:] + ["-c", command])
seen = b""
def until(text):
    global seen
    while text not in seen:
        seen += os.read(fd, 1000)
until(b"go\r\n")
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
until(b"resized\r\n")
os.write(fd, b"\x03")
until(b"interrupted\r\n")
_, status = os.waitpid(pid, 0)
print("40 100" if b"40 100" in seen else seen, "interrupted", os.waitstatus_to_exitcode(status))
"##;

#[test]
fn where_namespaces_are_refused_the_service_lets_in_by_su_ssh_and_sftp() {
    kernel_test!(Root);
    let host = host!("sshd", "sftp", "su", "script", "python3", "setpriv");
    host.jail("/srv/golden");
    sh("jaula compat jk_cp -j /srv/golden /bin/sleep /bin/stty /usr/bin/unshare /bin/mknod");
    sh("echo 0 >/run/none; mount --bind /run/none /proc/sys/user/max_user_namespaces");
    let (code, text) = said("jaula user add /srv/golden ana --shell /bin/bash");
    assert!(
        code == 0 && text.contains("start /usr/bin/jaula user serve at boot"),
        "{code} {text}"
    );
    let listed = sh("jaula user ls");
    assert!(
        listed.contains("user.max_user_namespaces is 0, and nobody listens at /run/jaula-entry"),
        "{listed}"
    );
    sh("umount /proc/sys/user/max_user_namespaces");
    let _serving = Serving::start();
    assert!(sh("jaula user ls").ends_with("always  ok\n"));
    host.key("/srv/golden/home/ana", "ana");
    host.sshd();
    // The host's own user namespace: it was not the login shell that made the jail.
    let outside = sh("readlink /proc/self/ns/user");
    let inside = "pwd; ls /; readlink /proc/self/ns/user; id; ls /proc | grep -c '^[0-9]'; \
                  grep -E 'NoNewPrivs|Seccomp:|CapEff|CapBnd|Groups' /proc/self/status";
    let seen = |text: &str| {
        let text = text.replace('\r', "");
        assert!(
            text.starts_with(
                "/home/ana\nbin\ndev\netc\nhome\nlib\nlib64\nproc\nsbin\nsys\ntmp\nusr\nuser:["
            ),
            "{text}"
        );
        assert!(text.contains(&outside), "{text}");
        assert!(
            text.contains("uid=1002(ana) gid=1002(ana) groups=1002(ana)\n"),
            "{text}"
        );
        assert!(
            text.contains("\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"),
            "{text}"
        );
        assert!(
            text.contains("\nGroups:\t \n") || text.contains("\nGroups:\t\n"),
            "{text}"
        );
    };
    sh("usermod -aG users ana");
    seen(&sh(&format!("su - ana -c \"{inside}\"")));
    seen(&host.ssh("ana", inside).expect(0));
    // What comes and goes: input, output, errors, exit codes, signals.
    let ran = host.ssh("ana", "echo out; echo err >&2; exit 7");
    assert_eq!((ran.code, &*ran.out), (7, "out\n"));
    assert!(ran.err.ends_with("err\n"), "{}", ran.err);
    assert_eq!(sh("echo in | su ana -c 'cat; echo err >&2'"), "in\n");
    host.ssh("ana", "kill -TERM $$").expect(143);
    let did = host.sftp("ana", "pwd\nls /\n").expect(0);
    assert!(
        did.contains("Remote working directory: /home/ana\n"),
        "{did}"
    );
    // A terminal of its own, of the size of the caller's.
    let typed = "stty rows 33 cols 77; su ana -c 'readlink /proc/self/fd/0; stty size; test -t 1 && echo terminal; exit 5'; echo \\$?; stty -a | grep -c ' icanon'";
    let text = sh(&format!("script -qec \"{typed}\" /dev/null")).replace('\r', "");
    assert!(
        text.contains("33 77\nterminal\n5\n1\n") && text.contains("/dev/pts/0\n"),
        "{text}"
    );
    // A terminal that changes its size, and keys that are signals inside.
    std::fs::write("/run/resize.py", RESIZE).expect("a file");
    let text = sh(
        "python3 /run/resize.py setpriv --reuid 1002 --regid 1002 --clear-groups /usr/sbin/jaula-login",
    );
    assert_eq!(text, "40 100 interrupted 4\n");
    // The limits of a session, and nothing that only root could do.
    assert_eq!(
        sh("su ana -c 'ulimit -u; ulimit -d; ulimit -c'"),
        "256\n2097152\n0\n"
    );
    for refused in [
        "echo x >/etc/passwd",
        "mknod /tmp/x c 1 3",
        "unshare -U true",
        "unshare -m true",
        "echo 1 >/proc/sys/kernel/panic",
        "echo x >/sys/kernel/uevent_helper",
        "kill -0 1",
        "ls /proc/1/root/",
    ] {
        let (code, text) = said(&format!("su ana -c '{refused}'"));
        assert!(code != 0, "{refused}: {text}");
    }
    // What he may do holds here, too, and the cause is told to who may know it.
    sh("jaula user set /srv/golden ana --only sftp");
    let (code, text) = said("su ana -c id");
    assert_eq!(
        (code, &*text),
        (125, "jaula-login: this command is not allowed: only sftp\n")
    );
    sh("chmod o+w /srv/golden/home/ana");
    let (code, text) = said("su ana -c id");
    assert_eq!(
        (code, &*text),
        (
            125,
            "jaula-login: the login is refused; the system's log says why\n"
        )
    );
    host.quiet();
    let log = sh("jaula user log ana");
    assert!(
        log.contains("jail=/srv/golden command=\"echo out; echo err >&2; exit 7\"")
            && log.contains("exit=7 seconds=0")
            && log.contains("everybody can write in it"),
        "{log}"
    );
    assert_eq!(sh("ls -A /run/store/journal 2>/dev/null || true"), "");
}

#[test]
fn the_service_ends_sessions_with_their_client_and_with_itself() {
    kernel_test!(Root);
    let host = host!("su", "python3", "pgrep");
    host.jail("/srv/golden");
    sh(
        "cp /bin/sleep /run/sleepinside; jaula compat jk_cp -j /srv/golden /bin/sleep; cp /run/sleepinside /srv/golden/bin/",
    );
    let mut serving = Serving::start();
    sh("jaula user add /srv/golden ana --shell /bin/bash");
    let begin = |log: &str| {
        sh(&format!(
            "setsid su ana -c 'trap \"echo got term; exit 9\" TERM; sleepinside 600 & wait' >{log} 2>&1 </dev/null &"
        ));
        until("the session begins", || runs("sleepinside"));
        sh("pgrep -x -u ana jaula-login | head -n 1")
            .trim()
            .to_owned()
    };
    // A signal to the login shell is one to the session.
    let client = begin("/run/said");
    // Who follows the session is the user, with the right to send signals and no other.
    let held = sh(
        "grep -hE '^(Uid|Groups|CapEff|CapBnd|NoNewPrivs):' /proc/$(pgrep -x -u ana jaula)/status",
    );
    assert_eq!(
        held,
        "Uid:\t1002\t1002\t1002\t1002\nGroups:\t \nCapEff:\t0000000000000020\n\
         CapBnd:\t0000000000000020\nNoNewPrivs:\t1\n"
    );
    // Where the host has control groups, they hold the session as a whole.
    if said("jaula run --limit pids=256,memory=2G --plan -- true").0 == 0 {
        let groups = sh("cat /proc/$(pgrep -x sleepinside)/cgroup");
        let own = groups.lines().find(|line| line.contains("jaula-"));
        let own = own
            .and_then(|line| line.rsplit('/').next())
            .expect("a group");
        let most = format!("find /sys/fs/cgroup -path '*/{own}/pids.max' -exec cat {{}} +");
        assert_eq!(sh(&most), "256\n", "{groups}");
    }
    sh(&format!("kill -TERM {client}"));
    until("it was told", || {
        std::fs::read_to_string("/run/said").is_ok_and(|text| text.contains("got term"))
    });
    until("it ends", || !runs("sleepinside") && !runs("jaula-login"));
    // A client that is killed, and a service that is.
    let client = begin("/run/said");
    sh(&format!("kill -KILL {client}"));
    until("the jail ends with its client", || !runs("sleepinside"));
    begin("/run/said");
    serving.signal("KILL");
    until("the jail ends with the service", || !runs("sleepinside"));
    until("the client is told", || {
        std::fs::read_to_string("/run/said").is_ok_and(|text| {
            text.ends_with("jaula-login: the service that lets in has ended the session\n")
        })
    });
    serving.0.wait().expect("an end");
    let (code, text) = said("su ana -c 'echo in'");
    assert_eq!(
        (code, &*text),
        (
            125,
            "jaula-login: the login is refused; the system's log says why\n"
        )
    );
    // What is left of the one that was killed is no hindrance to the next.
    let mut serving = Serving::again();
    assert_eq!(sh("su ana -c 'echo in'"), "in\n");
    let (code, text) = said("jaula user serve");
    assert!(
        code == 125 && text.contains("somebody listens at /run/jaula-entry already"),
        "{text}"
    );
    begin("/run/said");
    serving.signal("TERM");
    assert!(serving.0.wait().expect("an end").success());
    until("the jail ends with the service", || {
        !runs("sleepinside") && !runs("jaula")
    });
    assert!(!std::path::Path::new("/run/jaula-entry").exists());
    assert_eq!(sh("ls -A /run/store/journal"), "");
    // A socket that listened before, as systemd's do; root's own directory of that name is nobody's hindrance.
    sh("mkdir -m 700 -p /run/jaula");
    if said("systemd-socket-activate --version").0 != 0 {
        skip!("there is no systemd-socket-activate");
    }
    sh(
        "JAULA_STORE=/run/store setsid systemd-socket-activate -E JAULA_STORE --seqpacket -l /run/jaula-entry /usr/bin/jaula user serve \
        >/run/activated 2>&1 </dev/null &",
    );
    until("it listens", || {
        std::path::Path::new("/run/jaula-entry").exists()
    });
    sh("chmod 666 /run/jaula-entry");
    assert!(!runs("jaula"), "before anybody comes");
    assert_eq!(
        sh("su ana -c 'echo in; readlink /proc/self/ns/user'"),
        format!("in\n{}", sh("readlink /proc/self/ns/user"))
    );
    assert_eq!(sh("su ana -c 'echo again'"), "again\n");
}

/// Somebody who speaks to the service without jaula.
const HOSTILE: &str = r##"
import array, os, socket, struct, sys, time
PATH = "/run/jaula-entry"
def there():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(PATH)
    return s
def ask(data, fds):
    s = there()
    s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
    return s
def word(text):
    return struct.pack("<I", len(text)) + text
def run(command, extra=b""):
    return b"\x01\x01" + word(command) + extra
r, w = os.pipe()
what = sys.argv[1]
if what == "lie":
    # Who one says one is, is not asked.
    for who in ["ana", "root", "#0"]:
        s = ask(run(b"id", word(b"USER") + word(who.encode()) + word(b"LOGNAME") + word(who.encode())), [0, w, w])
        print(s.recv(100))
elif what == "garbage":
    for data in [b"", b"x", b"\x02\x00", b"\x01\x01\xff\xff\xff\xff", run(b"id")[:-1], b"\x01\x00" + b"A" * 100]:
        if data:
            print(ask(data, [0, w, w]).recv(100))
    print(ask(run(b"id"), []).recv(100))
    print(ask(run(b"id"), [0, w]).recv(100))
    print(ask(run(b"id"), [0, w, w, w]).recv(100))
    print(ask(b"\x01\x01" + b"A" * 170000, [0, w, w]).recv(100))
elif what == "many":
    held, told = [], 0
    for _ in range(40):
        held.append(there())
    for s in held[32:]:
        told += s.recv(100) == b"rthere are too many sessions"
    print(told)
    sys.stdout.flush()
    time.sleep(600)
elif what == "signals":
    s = ask(run(b"trap 'echo usr' USR1; echo go; while :; do sleep 0.1; done"), [0, w, os.open("/dev/null", os.O_WRONLY)])
    print(os.read(r, 3))
    for n in [9, 19, 11, 64, 255]:
        s.send(bytes([ord("s"), n]))
    s.send(b"signal")
    s.send(b"s\x0a")
    print(os.read(r, 4))
    # More than a message may be is the end.
    s.send(b"sx" * 100)
    print(s.recv(100))
    os.close(w)
    while os.read(r, 100):
        pass
    print("over")
"##;

#[test]
fn the_service_believes_the_kernel_only_and_nobody_holds_up_others() {
    kernel_test!(Root);
    let host = host!("su", "python3", "setpriv");
    host.jail("/srv/golden");
    sh("jaula compat jk_cp -j /srv/golden /bin/sleep");
    let serving = Serving::start();
    sh("jaula user add /srv/golden ana --shell /bin/bash");
    std::fs::write("/run/hostile.py", HOSTILE).expect("a file");
    let by = |uid: u32, what: &str| {
        format!("setpriv --reuid {uid} --regid {uid} --clear-groups python3 /run/hostile.py {what}")
    };
    // Neither root, nor a user of the host, nor a number without a name.
    for (uid, user, cause) in [
        (0, "root", "root does not log in to a jail"),
        (1000, "first", "first is not registered"),
        (4242, "#4242", "user 4242 has no accounts"),
    ] {
        assert_eq!(sh(&by(uid, "lie")), "b'r'\nb'r'\nb'r'\n", "{uid}");
        host.quiet();
        let log = host.log();
        let line = format!(" refused user={user} uid={uid} from=- command=id cause=");
        assert_eq!(log.matches(&line).count(), 3, "{log}");
        assert!(log.contains(cause), "{log}");
    }
    // Who lives in a jail is himself, whatever he says.
    let lies = sh(&format!("{} | grep -c \"b'e\"", by(1002, "lie")));
    assert_eq!(lies, "3\n");
    // Registered, and not by a home alone.
    sh("useradd -M -d /srv/golden/./home/ana -s /usr/sbin/jaula-login eva");
    let eva = sh("id -u eva").trim().parse().expect("a number");
    assert_eq!(sh(&by(eva, "lie")), "b'r'\nb'r'\nb'r'\n");
    assert!(
        host.log().contains("eva is not registered"),
        "{}",
        host.log()
    );
    let told = sh(&by(1002, "garbage"));
    assert_eq!(told, "b'r'\n".repeat(9), "{told}");
    assert_eq!(
        sh(&by(1002, "signals")),
        "b'go\\n'\nb'usr\\n'\nb'e\\x89'\nover\n"
    );
    // One who says nothing takes nobody's place but his own.
    sh(&format!(
        "{} >/run/many 2>&1 </dev/null &",
        by(1000, "many")
    ));
    until("the ninth and later are refused", || {
        std::fs::read_to_string("/run/many").is_ok_and(|text| text == "8\n")
    });
    assert_eq!(sh("su ana -c 'echo in'"), "in\n");
    // And is sent away after a while.
    until("they are sent away", || {
        host.log().contains("did not say what is asked for")
    });
    drop(serving);
}

#[test]
fn where_not_even_root_gets_a_user_namespace_logins_still_work() {
    kernel_test!(Root);
    let host = host!("su", "unshare");
    host.jail("/srv/golden");
    sh("jaula user add /srv/golden ana --shell /bin/bash");
    // A user namespace with all identifiers plays the host: in it, nobody can make one more, whether its settings say so or
    // it is found out by trying.
    let script = "mount -t proc proc /proc && echo 0 >/proc/sys/user/max_user_namespaces && ! unshare -U true 2>/dev/null \
                  && ! su ana -c true 2>/dev/null && { jaula -q user serve & } && while [ ! -e /run/jaula-entry ]; do :; done; \
                  su ana -c 'cat etc/none; echo $0 $HOME; id -u; grep CapEff /proc/self/status; exit 3' 2>/dev/null; echo $?; \
                  echo 9 >/run/some && mount --bind /run/some /proc/sys/user/max_user_namespaces && su ana -c 'echo tried' 2>/dev/null; \
                  kill %1 2>/dev/null; kill $(pgrep -x jaula)";
    std::fs::write("/run/script", script).expect("a file");
    let ran = said(
        "unshare --user sh -c 'while ! grep -q 4294967295 /proc/self/gid_map; do :; done; \
         exec unshare --mount --pid --fork --kill-child sh /run/script' & \
         while ! echo 0 0 4294967295 >/proc/$!/uid_map; do :; done 2>/dev/null; echo 0 0 4294967295 >/proc/$!/gid_map; wait $!",
    );
    assert!(
        ran.1
            .contains("/bin/bash /home/ana\n1002\nCapEff:\t0000000000000000\n3\ntried\n"),
        "{} {}",
        ran.0,
        ran.1
    );
}
