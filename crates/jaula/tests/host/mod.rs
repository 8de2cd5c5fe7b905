//! A host of a test's own: copies of `/etc` and `/usr` over the real ones, empty homes and `/srv`, a `/dev` with a log,
//! all in the mount namespace of the test, and gone with it.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take.
const SOON: Duration = Duration::from_secs(30);

/// Runs a script that must succeed; gives what it writes.
#[track_caller]
pub fn sh(script: &str) -> String {
    let ran = Ran::of(script);
    assert_eq!(ran.code, 0, "{script}\n{}{}", ran.out, ran.err);
    ran.out
}

/// Runs a script; gives its exit code and all that it writes.
pub fn said(script: &str) -> (i32, String) {
    let ran = Ran::of(script);
    (ran.code, ran.out + &ran.err)
}

/// What came of a script.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    fn of(script: &str) -> Self {
        let output = Command::new("timeout")
            .args(["60", "sh", "-c", script])
            .stdin(Stdio::null())
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("TERM", "dumb")
            .env("HOME", "/root")
            .env("JAULA_STORE", "/run/store")
            .output()
            .expect("sh");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// What it wrote, when it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self.out
    }
}

const WORLD: &str = r#"
mount --make-rprivate /
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/etc /run/upper /run/work /run/dev /run/store /run/sshd /run/log
cp -a /etc/. /run/etc/
mount --bind /run/etc /etc
mount -t tmpfs -o mode=755 none /srv
mount -t tmpfs -o mode=755 none /home
mount -t overlay -o lowerdir=/usr,upperdir=/run/upper,workdir=/run/work none /usr
rm -f /usr/bin/jaula /usr/sbin/jaula-login
: >/usr/bin/jaula
chmod 755 /usr/bin/jaula
mount --bind "$PROGRAM" /usr/bin/jaula
mount --bind /run/log /var/log
mount -t tmpfs -o mode=755 none /run/dev
while read -r name major minor; do
    mknod -m 666 "/run/dev/$name" c "$major" "$minor"
done <<END
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
END
mkdir /run/dev/pts /run/dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts /run/dev/pts
ln -s pts/ptmx /run/dev/ptmx
ln -s /proc/self/fd /run/dev/fd
mount --rbind /run/dev /dev
ip link set lo up
# Accounts as this test counts on them, whoever else is on the machine.
sed -i '/^[^:]*:[^:]*:[1-5][0-9]\{3,4\}:/d' /etc/passwd
sed -i '/^[^:]*:[^:]*:[1-5][0-9]\{3,4\}:/d' /etc/group
useradd -s /bin/sh first
useradd -s /bin/sh second
rm -rf /etc/jaula /etc/jailkit/jk_lsh.ini /etc/jailkit/jk_chrootsh.ini
mkdir -p /etc/ssh/sshd_config.d
rm -f /etc/ssh/sshd_config.d/*
"#;

/// The host.
pub struct Host {
    _log: std::thread::JoinHandle<()>,
    seen: std::cell::Cell<usize>,
}

impl Host {
    /// Makes it; else why there is none.
    pub fn start(tools: &[&str]) -> Result<Self, String> {
        let dirs = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
        let missing = |tool: &&&str| !dirs.iter().any(|dir| Path::new(dir).join(tool).is_file());
        if let Some(tool) = tools.iter().find(missing) {
            return Err(format!("there is no {tool}"));
        }
        let program = std::env::var("JAULA_TEST_PROGRAM");
        let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_jaula").to_owned());
        let output = Command::new("sh")
            .args(["-ec", WORLD])
            .env("PROGRAM", program)
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(Self {
            _log: syslog(),
            seen: std::cell::Cell::new(0),
        })
    }

    /// A jail with a few programs and the far sides of ssh's services.
    pub fn jail(&self, path: &str) {
        let programs = "/bin/sh /bin/bash /bin/ls /bin/cat /bin/grep /usr/bin/touch /bin/readlink /usr/bin/id \
                        /usr/lib/openssh/sftp-server /usr/bin/scp /usr/bin/rsync";
        sh(&format!(
            "mkdir -p {path}; chmod 755 {path}; jaula compat jk_cp -j {path} $(ls -d {programs} 2>/dev/null); \
             mkdir -p {path}/etc {path}/dev; echo root:x:0:0:root:/root:/bin/bash >{path}/etc/passwd; \
             echo root:x:0: >{path}/etc/group"
        ));
    }

    /// Lets the test's key in.
    pub fn key(&self, home: &str, user: &str) {
        sh(&format!(
            "test -e /run/key || ssh-keygen -q -t ed25519 -N '' -f /run/key; mkdir -p -m 700 {home}/.ssh; \
             cp /run/key.pub {home}/.ssh/authorized_keys; chown -R {user}: {home}/.ssh"
        ));
    }

    /// Starts a real sshd.
    pub fn sshd(&self) {
        sh("ssh-keygen -q -A; /usr/sbin/sshd -t; /usr/sbin/sshd -E /run/log/sshd");
        self.up();
    }

    /// Waits for it.
    pub fn up(&self) {
        let start = Instant::now();
        while std::net::TcpStream::connect("127.0.0.1:22").is_err() {
            assert!(
                start.elapsed() < SOON,
                "no sshd: {}",
                sh("cat /run/log/sshd")
            );
            std::thread::yield_now();
        }
    }

    /// The command line of ssh.
    pub fn ssh_command(&self, options: &str, user: &str, command: &str) -> String {
        format!("ssh {options} {SSH} {user}@localhost {command}")
    }

    /// Runs a command by ssh.
    pub fn ssh(&self, user: &str, command: &str) -> Ran {
        let quoted = command.replace('\'', "'\\''");
        Ran::of(&self.ssh_command("-T", user, &format!("'{quoted}'")))
    }

    /// Runs a batch of sftp.
    pub fn sftp(&self, user: &str, batch: &str) -> Ran {
        std::fs::write("/run/batch", batch).expect("a file");
        Ran::of(&format!("sftp -b /run/batch {SSH} {user}@localhost"))
    }

    /// Copies by scp.
    pub fn scp(&self, options: &str, from: &str, to: &str) -> Ran {
        Ran::of(&format!("scp {options} {SSH} {from} {to}"))
    }

    /// Copies by rsync.
    pub fn rsync(&self, from: &str, to: &str) -> Ran {
        Ran::of(&format!("rsync -a -e 'ssh {SSH}' {from} {to}"))
    }

    /// What the log has.
    pub fn log(&self) -> String {
        std::fs::read_to_string("/var/log/auth.log").unwrap_or_default()
    }

    /// The next line of the log that holds this text; what was read before is not read again.
    pub fn logged(&self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let log = self.log();
            let found: Vec<&str> = log.lines().filter(|line| line.contains(text)).collect();
            if let Some(line) = found.get(self.seen.get()) {
                self.seen.set(self.seen.get() + 1);
                return (*line).to_owned();
            }
            assert!(start.elapsed() < SOON, "nothing like {text:?}: {log}");
            std::thread::yield_now();
        }
    }

    /// Waits until everything that was logged is written.
    pub fn quiet(&self) {
        let start = Instant::now();
        let mark = format!("mark {:?}", start);
        let socket = UnixDatagram::unbound().expect("a socket");
        let line = format!("<38>Jan  1 00:00:00 test: {mark}");
        socket
            .send_to(line.as_bytes(), "/dev/log")
            .expect("the log");
        while !self.log().contains(&mark) {
            assert!(start.elapsed() < SOON, "the log is not written");
            std::thread::yield_now();
        }
    }

    /// Everything of accounts and of sshd, with owners and modes.
    pub fn accounts(&self) -> String {
        sh(
            "cd /etc; for f in passwd group shadow gshadow shells subuid subgid; do echo \"== $f\"; cat $f; done; \
            find passwd group shadow gshadow shells ssh jaula shadow-maint -printf '%p %U:%G %m %s\\n' 2>/dev/null | sort; \
            cat ssh/sshd_config ssh/sshd_config.d/* 2>/dev/null; ls /usr/sbin/jaula-login 2>&1; \
            for f in /srv/*/etc/passwd /srv/*/etc/group; do cat $f; done; ls -A /etc | grep -v pwd.lock",
        )
    }
}

const SSH: &str = "-i /run/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
                   -o LogLevel=ERROR -o AddressFamily=inet";

/// Writes what is logged to `/var/log/auth.log`, as a syslogd does.
fn syslog() -> std::thread::JoinHandle<()> {
    let socket = UnixDatagram::bind("/dev/log").expect("a socket");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions("/dev/log", open).expect("a socket of ours");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .create(true)
        .append(true)
        .open("/var/log/auth.log")
        .expect("a file");
    std::thread::spawn(move || {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(count) = socket.recv(&mut bytes) {
            let text = String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()).into_owned();
            let text = text.trim_end_matches(['\n', '\0']);
            let text = text.split_once('>').map_or(text, |(_, rest)| rest);
            let (when, rest) = text.split_at_checked(15).unwrap_or(("", text));
            file.write_all(format!("{when} host{rest}\n").as_bytes())
                .expect("a log");
        }
    })
}
