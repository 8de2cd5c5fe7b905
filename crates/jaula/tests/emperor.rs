//! Apps of a directory, each in a jail of its own, as root and as an ordinary user; with a real uWSGI where there is one.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod who;

use jaula_testkit::skip;
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use who::{User, Who, everyone};

/// Waits for something, far longer than it should take.
#[track_caller]
fn until<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An emperor that reigns over `v`.
struct Emperor<'a> {
    user: &'a User,
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl<'a> Emperor<'a> {
    fn start(user: &'a User) -> Self {
        Self::with(user, &[])
    }

    fn with(user: &'a User, options: &[&str]) -> Self {
        let dir = user.place.work().join("v");
        if !dir.exists() {
            assert!(
                user.other("mkdir", &["-m", "755", "v"])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let mut child = user
            .place
            .command(&["emperor", "v", "--freq", "200ms"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("jaula");
        let said = Arc::new(Mutex::new(Vec::new()));
        let (output, errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        listen(output, &said);
        listen(errors, &said);
        let this = Self { user, child, said };
        until("a reign", || {
            let said = this.said.lock().unwrap();
            assert!(
                !said.iter().any(|line| line.starts_with("error")),
                "{said:?}"
            );
            drop(said);
            this.status()
        });
        this
    }

    fn status(&self) -> Option<Value> {
        let ran = self.user.place.run(&["emperor", "v", "--status", "--json"]);
        let answer: Option<Value> = serde_json::from_str(&ran.stdout).ok();
        answer.map(|answer| answer["status"].clone())
    }

    fn vassal(&self, id: &str) -> Option<Value> {
        let status = self.status()?;
        let all = status["vassals"].as_array()?.clone();
        all.into_iter().find(|vassal| vassal["id"] == id)
    }

    #[track_caller]
    fn says(&self, part: &str) {
        until(part, || {
            let said = self.said.lock().unwrap();
            said.iter().any(|line| line.contains(part)).then_some(())
        });
    }

    fn app(&self, name: &str, text: &str) {
        // Beside its place first: nothing is read by halves.
        let (new, path) = (self.file(".new"), self.file(name));
        fs::write(&new, text).expect("a file");
        if self.user.who == Who::Ana {
            let uid = self.user.place.work().metadata().unwrap();
            use std::os::unix::fs::MetadataExt;
            std::os::unix::fs::chown(&new, Some(uid.uid()), Some(uid.gid())).expect("chown");
        }
        fs::rename(new, path).expect("a file");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.user.place.work().join("v").join(name)
    }

    fn signal(&self, signal: &str) {
        kill(self.child.id().into(), signal);
    }

    fn end(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().expect("an end").code()
    }
}

impl Drop for Emperor<'_> {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn listen(from: impl std::io::Read + Send + 'static, said: &Arc<Mutex<Vec<String>>>) {
    let said = said.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            said.lock().unwrap().push(line);
        }
    });
}

fn kill(pid: i64, signal: &str) {
    let sent = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(sent.expect("kill(1)").success());
}

fn alive(pid: i64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
    state.is_some_and(|state| state != b'Z')
}

/// The first process of the jail that `jaula run` of this number holds.
fn inside(pid: i64) -> Option<i64> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let mut children = children
        .split_whitespace()
        .filter_map(|pid| pid.parse::<i64>().ok());
    children.find_map(|child| {
        let status = fs::read_to_string(format!("/proc/{child}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("NSpid:"))?;
        let numbers: Vec<&str> = line.split_whitespace().skip(1).collect();
        match numbers[..] {
            [.., _, "1"] => Some(child),
            _ => inside(child),
        }
    })
}

/// What an app answers over its socket.
fn answer(user: &User, socket: &Path) -> Option<String> {
    let socket = socket.display().to_string();
    let words = ["-s", "-m", "5", "--unix-socket", &socket, "http://app/"];
    let output = user.other("curl", &words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn uwsgi() -> bool {
    let there = |path: &str| Path::new(path).exists();
    there("/usr/bin/uwsgi")
        && there("/usr/lib/uwsgi/plugins/python3_plugin.so")
        && there("/usr/bin/curl")
}

/// A page as uWSGI's control center has it: the host's name, and the number of the master.
const PAGE: &str = "import os, socket, uwsgi
def application(env, start):
    start('200 OK', [])
    text = '%s %d %s' % (socket.gethostname(), uwsgi.masterpid(), os.environ.get('TAG'))
    return [text.encode()]
";

fn ini(app: &Path, name: &str, tag: &str) -> String {
    format!(
        "[uwsgi]\nnamespace-keep-mount = {}:/app\nplugin = python3\nhttp-socket = /app/{name}.sock\nchmod-socket = 666\n\
         wsgi-file = /app/page.py\nmaster = true\nprocesses = 1\nenv = TAG={tag}\n",
        app.display()
    )
}

#[test]
fn vassals_come_change_go_and_come_back() {
    if !uwsgi() {
        skip!("no uWSGI with Python, or no curl");
    }
    everyone(|user| {
        let app = user.place.work().join("app");
        fs::create_dir(&app).expect("a directory");
        fs::set_permissions(&app, fs::Permissions::from_mode(0o777)).expect("a mode");
        fs::write(app.join("page.py"), PAGE).expect("a file");
        let emperor = Emperor::start(user);
        let ask = |name: &str| answer(user, &app.join(format!("{name}.sock")));
        let says = |name: &str, text: &str| {
            until(text, || (ask(name)? == text).then_some(()));
        };
        emperor.app("uno.ini", &ini(&app, "uno", "a"));
        emperor.app("dos.ini", &ini(&app, "dos", "b"));
        // Each has a host name of its own, and its master is the first process.
        says("uno", "uno 1 a");
        says("dos", "dos 1 b");
        let status = emperor.vassal("uno.ini").expect("a vassal");
        let pid = status["pid"].as_i64().expect("a number");
        assert!(alive(pid) && status["starts"] == 1, "{status}");
        for time in ["born", "last_mod", "first_run", "last_run"] {
            assert!(
                status[time].as_i64() > Some(1_700_000_000),
                "{time}: {status}"
            );
        }
        let master = inside(pid).expect("the jail's first process");
        // Changed: the same jail, with other settings.
        emperor.app("uno.ini", &ini(&app, "uno", "c"));
        says("uno", "uno 1 c");
        let status = emperor.vassal("uno.ini").expect("a vassal");
        assert_eq!(
            (status["pid"].as_i64(), inside(pid)),
            (Some(pid), Some(master))
        );
        // What is said of the jail has changed: another jail.
        let text = ini(&app, "uno", "d").replace("[uwsgi]\n", "[uwsgi]\nns = /:otro\n");
        emperor.app("uno.ini", &text);
        says("uno", "otro 1 d");
        // Gone.
        let dos = emperor.vassal("dos.ini").expect("a vassal");
        fs::remove_file(emperor.file("dos.ini")).expect("a file");
        until("an end", || {
            emperor.vassal("dos.ini").is_none().then_some(())
        });
        assert!(!alive(dos["pid"].as_i64().expect("a number")));
        assert_eq!(ask("dos"), None);
        // Killed: it comes back.
        let pid = emperor.vassal("uno.ini").expect("a vassal")["pid"].as_i64();
        let master = pid.and_then(inside).expect("the jail's first process");
        kill(master, "KILL");
        emperor.says("is started again in 200 ms");
        says("uno", "otro 1 d");
        let status = emperor.vassal("uno.ini").expect("a vassal");
        assert!(status["starts"].as_i64() >= Some(3), "{status}");
        // The emperor's end is everybody's.
        let pid = status["pid"].as_i64().expect("a number");
        let master = inside(pid).expect("the jail's first process");
        assert_eq!(emperor.end(), Some(0));
        assert!(!alive(pid) && !alive(master));
        let refused = user.place.run(&["emperor", "v", "--status"]).expect(125);
        assert!(
            refused.stderr.contains("nobody reigns"),
            "{}",
            refused.stderr
        );
        // Also when he is killed.
        let mut emperor = Emperor::start(user);
        says("uno", "otro 1 d");
        let pid = emperor.vassal("uno.ini").expect("a vassal")["pid"].as_i64();
        let master = pid.and_then(inside).expect("the jail's first process");
        emperor.child.kill().expect("a kill");
        emperor.child.wait().expect("an end");
        until("the end of all", || (!alive(master)).then_some(()));
        // What he left is no matter, and recover finds it.
        let found = user.place.run(&["recover", "--plan"]).expect(0).stdout;
        assert!(found.contains("run/emperors/"), "{found}");
        user.place.run(&["recover"]).expect(0);
        let found = user.place.run(&["recover", "--plan"]).expect(0).stdout;
        assert!(!found.contains("run/emperors/"), "{found}");
        assert_eq!(Emperor::start(user).end(), Some(0));
        assert!(!Path::new("/run/jaula-apps").exists());
    });
}

#[test]
fn an_app_in_a_namespace_has_its_name_and_keeps_it() {
    if !uwsgi() {
        skip!("no uWSGI with Python, or no curl");
    }
    everyone(|user| {
        let words = ["build", "--with", "uwsgi", "-o", "jail"];
        user.place.run(&words).expect(0);
        let jail = user.place.work().join("jail");
        let make = format!("mkdir -m 777 jail/app; cat >jail/app/page.py <<'X'\n{PAGE}X\n");
        assert!(
            user.other("sh", &["-ec", &make])
                .status()
                .unwrap()
                .success()
        );
        let own = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
        let name = format!("{}:mybeautifulhostname", jail.display());
        let words = [
            "compat",
            "uwsgi",
            "--namespace",
            &name,
            "--plugin",
            "python3",
            "--http-socket",
            "/app/s.sock",
            "--chmod-socket=666",
            "--wsgi-file",
            "/app/page.py",
            "--master",
            "--processes",
            "1",
        ];
        let mut child = user
            .place
            .command(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("jaula");
        let socket = jail.join("app/s.sock");
        let page = "mybeautifulhostname 1 None";
        until(page, || (answer(user, &socket)? == page).then_some(()));
        let master = inside(child.id().into()).expect("the jail's first process");
        if user.who == Who::Root {
            let words = ["-t", &master.to_string(), "-u", "hostname"];
            let output = user.other("nsenter", &words).output().expect("nsenter");
            assert_eq!(output.stdout, b"mybeautifulhostname\n");
        }
        assert_eq!(
            fs::read_to_string("/proc/sys/kernel/hostname").expect("a name"),
            own
        );
        // It starts anew in the same jail: its own first process.
        let before = fs::read_to_string(format!("/proc/{master}/stat")).expect("a process");
        kill(child.id().into(), "HUP");
        std::thread::sleep(Duration::from_millis(500));
        until(page, || (answer(user, &socket)? == page).then_some(()));
        assert_eq!(inside(child.id().into()), Some(master), "{before}");
        kill(child.id().into(), "INT");
        assert_eq!(child.wait().expect("an end").code(), Some(0));
        assert!(!alive(master));
    });
}

#[test]
fn apps_of_ones_own_are_kept_running_and_what_is_wrong_is_said() {
    everyone(|user| {
        // A port that is free now.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let stats = free.local_addr().expect("an address").to_string();
        drop(free);
        let emperor = Emperor::with(user, &["--stats", &stats]);
        emperor.app(
            "uno.toml",
            "command = [\"sh\", \"-c\", \"hostname; id -u; exec sleep 1000\"]\nenv = [\"X=1\"]\n",
        );
        emperor.says("uno: uno");
        emperor.says("uno: 0");
        // One that ends at once is started again and again, ever later.
        emperor.app(
            "breve.toml",
            "command = [\"sh\", \"-c\", \"echo $X; exit 3\"]\nenv = [\"X=hola\"]\n",
        );
        emperor.says("breve: hola");
        emperor.says("is started again in 200 ms");
        emperor.says("is started again in 400 ms");
        emperor.app(
            "breve.toml",
            "command = [\"sleep\", \"1000\"]\nhostname = \"a b\"\n",
        );
        emperor.says("breve.toml is not started: hostname");
        emperor.app("mal.toml", "command = [\"sleep\"]\nnett = 1\n");
        emperor.says("line 2, column 1");
        emperor.app("peor.ini", "[uwsgi]\nnamespace = jail\n");
        emperor.says("peor.ini is not started: line 2: namespace = \"jail\"");
        let cursed = until("a curse", || emperor.vassal("mal.toml"));
        assert_eq!(
            (&cursed["state"], cursed["pid"].as_i64()),
            (&Value::from("cursed"), Some(-1))
        );
        let ran = user.place.run(&["emperor", "v", "--plan"]).expect(0).stdout;
        assert!(
            ran.contains("uno.toml: jaula run --hostname=uno --env=X=1 -- sh -c"),
            "{ran}"
        );
        assert!(ran.contains("mal.toml is not started"), "{ran}");
        let mut told = String::new();
        let mut socket = TcpStream::connect(&stats).expect("a connection");
        socket.read_to_string(&mut told).expect("text");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(told["vassals"].as_array().map(Vec::len), Some(4), "{told}");
        assert_eq!(told["pid"], emperor.child.id());
        let twice = user.place.run(&["emperor", "v"]).expect(125);
        assert!(twice.stderr.contains("somebody reigns"), "{}", twice.stderr);
        if user.who == Who::Root {
            emperor.app("ajeno.toml", "command = [\"true\"]\n");
            emperor.says("ajeno.toml ended");
            let path = emperor.file("ajeno.toml");
            std::os::unix::fs::chown(&path, Some(4242), None).expect("chown");
            fs::write(&path, "command = [\"false\"]\n").expect("a file");
            emperor.says("ajeno.toml is not started: ");
            emperor.says("it belongs to user 4242");
        }
        assert_eq!(emperor.end(), Some(0));
        assert!(
            user.other("chmod", &["777", "v"])
                .status()
                .unwrap()
                .success()
        );
        let open = user.place.run(&["emperor", "v"]).expect(125);
        assert!(open.stderr.contains("others may write"), "{}", open.stderr);
        let absent = user.place.run(&["emperor", "w"]).expect(125);
        assert!(
            absent.stderr.contains("cannot reign over"),
            "{}",
            absent.stderr
        );
    });
}

#[test]
fn a_first_process_that_changes_its_user_ends_with_jaula_too() {
    everyone(|user| {
        let changes = "echo up; exec setpriv --reuid 33 --regid 33 --clear-groups sleep 1000";
        let started = ["--user", "33", "--", "sh", "-c", "echo up; exec sleep 1000"];
        let later = ["--", "sh", "-c", changes];
        // An ordinary user's jail of the host's programs has one identifier: nobody to become.
        let both = [&started[..], &later[..]];
        let count = if user.who == Who::Root { 2 } else { 1 };
        for words in both.into_iter().take(count) {
            let mut all = vec!["run", "--as-pid-1"];
            all.extend(words);
            let mut child = user
                .place
                .command(&all)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .expect("jaula");
            let mut line = String::new();
            let output = child.stdout.take().expect("its output");
            BufReader::new(output).read_line(&mut line).expect("a line");
            assert_eq!(line, "up\n", "{words:?}");
            let first = until("a first process", || inside(child.id().into()));
            let began = Instant::now();
            loop {
                let status = fs::read_to_string(format!("/proc/{first}/status"));
                let status = status.unwrap_or_default();
                if status.contains("Name:\tsleep") {
                    break;
                }
                let late = began.elapsed() > Duration::from_secs(60);
                assert!(!late, "{:?} {words:?}: {status}", user.who);
                std::thread::sleep(Duration::from_millis(20));
            }
            child.kill().expect("a kill");
            child.wait().expect("an end");
            until("its end", || (!alive(first)).then_some(()));
        }
    });
}
