//! Jails made by `--with` from the host's own programs, as root and as an ordinary user: real tasks inside, with no
//! file missing.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod tls;
mod who;

use jaula_testkit::{Ran, skip};
use serde_json::Value;
use std::fs;
use std::path::Path;
use who::{User, everyone};

/// Whether the host has the program; a jail is made of what it has.
fn has(program: &str) -> bool {
    let dirs = ["/usr/local/bin", "/usr/bin", "/bin"];
    dirs.iter().any(|dir| Path::new(dir).join(program).exists())
}

#[track_caller]
fn made(user: &User, name: &str, with: &str) {
    user.place.run(&["new", name, "--with", with]).expect(0);
}

#[track_caller]
fn inside(user: &User, name: &str, words: &[&str]) -> Ran {
    let words = [&["exec", name, "--"], words].concat();
    user.place.run(&words).expect(0)
}

#[test]
fn python_alone_runs_what_its_library_promises() {
    if !has("python3") {
        skip!("the host has no python3");
    }
    everyone(|user| {
        made(user, "p", "python3");
        let script = "import ssl, sqlite3, json, zoneinfo, pwd, ctypes, email, decimal, asyncio\n\
            db = sqlite3.connect('/tmp/d'); db.execute('create table t(x)'); db.execute('insert into t values(42)')\n\
            zone = zoneinfo.ZoneInfo('Europe/Madrid')\n\
            print(db.execute('select x from t').fetchone()[0], pwd.getpwuid(0).pw_name, zone.key,\n\
            json.loads('{\"a\": 1}'), 'ñandú'.encode('latin-1').hex())";
        let ran = inside(user, "p", &["python3", "-c", script]);
        let said = "42 root Europe/Madrid {'a': 1} f1616e64fa\n";
        assert_eq!(ran.stdout, said, "{}", ran.stderr);
    });
}

#[test]
fn git_alone_commits_clones_and_rebases() {
    if !has("git") {
        skip!("the host has no git");
    }
    everyone(|user| {
        made(user, "g", "git");
        let script = "set -e; cd /tmp; export HOME=/tmp\n\
            git config --global user.name ana; git config --global user.email ana@example.org\n\
            git init -q -b main one; cd one; echo a > a; git add a; git commit -qm a\n\
            git clone -q file:///tmp/one ../two; cd ../two; echo b > b; git add b; git commit -qm b\n\
            cd ../one; echo c > c; git add c; git commit -qm c; cd ../two; git pull -q --rebase\n\
            git log --format=%s; git fsck";
        let ran = inside(user, "g", &["sh", "-c", script]);
        assert_eq!(ran.stdout, "b\nc\na\n", "{}", ran.stderr);
    });
}

#[test]
fn vim_alone_edits_a_file() {
    if !has("vim") {
        skip!("the host has no vim");
    }
    everyone(|user| {
        made(user, "v", "vim");
        let words = [
            "vim",
            "-es",
            "-N",
            "-u",
            "NONE",
            "-c",
            "call setline(1, ['uno', 'dos'])",
            "-c",
            "%s/o/0/",
            "-c",
            "wq! /tmp/x",
        ];
        user.place.run(&[&["exec", "v", "--"], &words[..]].concat());
        let words = [
            "vim",
            "-es",
            "-N",
            "-u",
            "NONE",
            "-i",
            "NONE",
            "-c",
            "syntax on",
            "-c",
            "verbose echo exists('syntax_on')",
            "-c",
            "%print",
            "-c",
            "q!",
            "/tmp/x",
        ];
        let ran = user.place.run(&[&["exec", "v", "--"], &words[..]].concat());
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("un0") && said.contains("d0s"), "{said}");
        assert!(said.contains('1') && !said.contains("E484"), "{said}");
    });
}

#[test]
fn php_alone_has_its_modules_and_time_zones() {
    if !has("php") {
        skip!("the host has no php");
    }
    everyone(|user| {
        made(user, "h", "php");
        let script = "date_default_timezone_set('Europe/Madrid');\
            echo json_encode([date('T') != '', preg_match('/\\pL/u', 'ñ')]), hash('sha256', 'x'), PHP_EOL;\
            foreach (get_loaded_extensions() as $e) echo $e, ' ';";
        let ran = inside(user, "h", &["php", "-r", script]);
        assert!(
            ran.stdout.starts_with("[true,1]2d711642b726"),
            "{}",
            ran.stdout
        );
        assert!(!ran.stdout.contains("Warning") && !ran.stderr.contains("Warning"));
        // What the host's own has is there.
        let host = std::process::Command::new("php")
            .args(["-r", script])
            .output();
        let host = host.expect("php of the host");
        let host = String::from_utf8_lossy(&host.stdout).into_owned();
        let modules = |text: &str| text.split_once('\n').map(|(_, rest)| rest.to_owned());
        assert_eq!(modules(&ran.stdout), modules(&host));
    });
}

#[test]
fn node_alone_has_its_modules_and_what_it_hashes_with() {
    if !has("node") {
        skip!("the host has no node");
    }
    everyone(|user| {
        made(user, "o", "node");
        let script = "const h = require('crypto').createHash('sha256').update('x').digest('hex');\
            console.log(h, new Intl.DateTimeFormat('es', { month: 'long' }).format(new Date(0)));";
        let ran = inside(user, "o", &["node", "-e", script]);
        assert!(
            ran.stdout.starts_with("2d711642b726") && ran.stdout.ends_with(" enero\n"),
            "{}",
            ran.stdout
        );
    });
}

#[test]
fn java_alone_has_all_its_modules() {
    if !has("java") {
        skip!("the host has no java");
    }
    everyone(|user| {
        made(user, "v", "java");
        let ran = inside(user, "v", &["java", "--list-modules"]);
        let host = std::process::Command::new("java")
            .arg("--list-modules")
            .output()
            .expect("java of the host");
        assert!(ran.stdout.contains("java.base@"), "{}", ran.stdout);
        assert_eq!(ran.stdout, String::from_utf8_lossy(&host.stdout));
    });
}

#[test]
fn curl_alone_speaks_tls_with_a_server() {
    if !has("curl") {
        skip!("the host has no curl");
    }
    let keys = tempfile::tempdir().expect("a directory");
    fs::write(keys.path().join("page"), "HTTP/1.0 200 OK\r\n\r\nhola\n").expect("a page");
    if let Err(why) = tls::certificates(keys.path()) {
        skip!("{why}");
    }
    let server = match tls::serve(keys.path(), keys.path()) {
        Ok(server) => server,
        Err(why) => skip!("{why}"),
    };
    everyone(|user| {
        let words = ["new", "c", "--with", "curl", "--net", "host"];
        user.place.run(&words).expect(0);
        for name in ["ca.pem", "client.pem", "client.key"] {
            let bytes = fs::read(keys.path().join(name)).expect("a key");
            let from = user.place.work().join(name);
            fs::write(&from, bytes).expect("a key");
            let from = from.display().to_string();
            user.place.run(&["cp", &from, "c:/tmp/"]).expect(0);
        }
        let url = format!("{}/page", server.url);
        let words = [
            "curl",
            "-sS",
            "--cacert",
            "/tmp/ca.pem",
            "--cert",
            "/tmp/client.pem",
            "--key",
            "/tmp/client.key",
            &url,
        ];
        let ran = inside(user, "c", &words);
        assert!(ran.stdout.contains("hola"), "{} {}", ran.stdout, ran.stderr);
        // Whom the host trusts is known inside; this server it does not trust.
        let refused = user.place.run(&["exec", "c", "--", "curl", "-sS", &url]);
        assert_eq!(refused.code, 60, "{}", refused.stderr);
    });
}

#[test]
fn sections_and_packages_bring_what_they_say_and_nothing_is_a_secret() {
    everyone(|user| {
        let words = ["new", "s", "--with", "basicshell,jk_lsh"];
        user.place.run(&words).expect(0);
        let script = "id -un; ls /etc/shadow 2>/dev/null; cat /etc/nsswitch.conf | head -n 1; ls -d /tmp /home";
        let ran = inside(user, "s", &["bash", "-c", script]);
        assert_eq!(
            ran.stdout, "root\npasswd: files\n/home\n/tmp\n",
            "{}",
            ran.stderr
        );
        if Path::new("/var/lib/dpkg/info/sed.list").exists() {
            made(user, "d", "package:sed,program:sh");
            let ran = inside(user, "d", &["sh", "-c", "echo uno | sed s/u/U/"]);
            assert_eq!(ran.stdout, "Uno\n");
        }
    });
}

#[test]
fn words_that_name_nothing_and_secrets_are_refused() {
    everyone(|user| {
        for (with, says) in [
            (
                "nosuchthing",
                "there is no section, program or package nosuchthing",
            ),
            ("basicshel", "did you mean basicshell?"),
            (
                "section:nosuch",
                "there is no section, program or package nosuch",
            ),
            (
                "package:../../etc/x",
                "there is no section, program or package",
            ),
            ("/etc/shadow", "/etc/shadow is a secret of this host"),
            ("/nowhere/x", "/nowhere/x does not exist"),
        ] {
            let ran = user.place.run(&["new", "x", "--with", with]);
            assert_eq!(ran.code, 125, "{with}: {}", ran.stderr);
            assert!(ran.stderr.contains(says), "{with}: {}", ran.stderr);
        }
        let rules = user.place.work().join("r.toml");
        fs::write(&rules, "[section.mine]\ncomment = \"m\"\nprogram = []\n").expect("rules");
        let rules = rules.display().to_string();
        let ran = user
            .place
            .run(&["new", "x", "--with", "mine", "--rules", &rules]);
        assert!(
            ran.code != 0 && ran.stderr.contains("line 3, column 1"),
            "{}",
            ran.stderr
        );
        assert!(
            !user.place.run(&["ls"]).stdout.contains('x'),
            "a jail was left"
        );
    });
}

#[test]
fn rules_of_a_file_are_used_and_listed() {
    everyone(|user| {
        let rules = user.place.work().join("r.toml");
        let text = "[section.mine]\ncomment = \"my own\"\nprograms = [\"cat\"]\ndirs = [\"/srv/data\"]\n\
            [pack.cats]\ncomment = \"c\"\nwhen = [\"**/bin/cat\"]\npaths = [\"/etc/hostname\", \"/etc/hosts\"]\n";
        fs::write(&rules, text).expect("rules");
        let rules = rules.display().to_string();
        let words = ["new", "m", "--with", "mine", "--rules", &rules];
        user.place.run(&words).expect(0);
        let ran = inside(user, "m", &["cat", "/etc/hosts"]);
        let hosts = fs::read_to_string("/etc/hosts").expect("hosts");
        assert_eq!(ran.stdout, hosts);
        let ran = user.place.run(&["profiles", "--rules", &rules]).expect(0);
        assert!(ran.stdout.contains("mine") && ran.stdout.contains("my own"));
        let ran = user.place.run(&["profiles", "--json"]).expect(0);
        let listed: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let names: Vec<&str> = listed["profiles"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|one| one["name"].as_str())
            .collect();
        for name in [
            "basicshell",
            "netutils",
            "editors",
            "jk_lsh",
            "sftp",
            "rsync",
            "git",
        ] {
            assert!(names.contains(&name), "{name}");
        }
        let ran = user
            .place
            .run(&["new", "x", "--with", "cat", "--plan"])
            .expect(0);
        assert!(ran.stdout.contains("rule nss-files"), "{}", ran.stdout);
    });
}

#[test]
fn a_live_jail_has_nothing_copied_and_follows_the_host() {
    everyone(|user| {
        let words = [
            "new",
            "l",
            "--with",
            "bash,ls,/usr/share/zoneinfo/Etc",
            "--live",
        ];
        user.place.run(&words).expect(0);
        let script = "echo $BASH_VERSION; ls /usr/share/zoneinfo/Etc/UTC; { echo x >/usr/share/zoneinfo/Etc/UTC; } 2>/dev/null \
            || echo refused";
        let ran = inside(user, "l", &["bash", "-c", script]);
        let lines: Vec<&str> = ran.stdout.lines().skip(1).collect();
        assert_eq!(
            lines,
            ["/usr/share/zoneinfo/Etc/UTC", "refused"],
            "{}",
            ran.stderr
        );
        let images = user.place.store().join("images");
        let image = fs::read_dir(images).expect("images").flatten().next();
        let bash = image.expect("an image").path().join("root/usr/bin/bash");
        assert_eq!(fs::metadata(bash).expect("a place for bash").len(), 0);
    });
}

#[test]
fn a_directory_is_filled_checked_and_updated_and_what_was_there_stays() {
    everyone(|user| {
        let dir = user.place.work().join("j");
        fs::create_dir_all(dir.join("etc")).expect("a directory");
        fs::write(dir.join("etc/hosts"), "mine\n").expect("a file");
        let words = ["build", "--with", "bash,cat,/etc/hosts", "-o", "j"];
        user.place.run(&words).expect(0);
        assert_eq!(
            fs::read_to_string(dir.join("etc/hosts")).expect("a file"),
            "mine\n"
        );
        assert!(dir.join("usr/bin/bash").is_file() && dir.join("etc/passwd").is_file());
        let ran = user
            .place
            .run(&["run", "./j", "--", "bash", "-c", "cat /etc/hosts"]);
        assert_eq!(ran.expect(0).stdout, "mine\n");
        let again = ["build", "--with", "/etc/hosts", "-o", "j", "--replace"];
        user.place.run(&again).expect(0);
        let host = fs::read("/etc/hosts").expect("hosts");
        assert_eq!(fs::read(dir.join("etc/hosts")).expect("a file"), host);
        let ran = user.place.run(&["check", "./j", "--json"]);
        let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!(found["recorded"], true);
        let faults = found["faults"].as_array().expect("a list");
        // Where the test lives is not root's alone.
        assert!(
            faults.iter().all(|fault| fault["kind"] == "unsafe"),
            "{found}"
        );
        let ran = user.place.run(&["update", "./j"]).expect(0);
        assert!(
            ran.stdout.contains("has what the host has"),
            "{}",
            ran.stdout
        );
        let ran = user.place.run(&["build", "--with", "cat", "--hardlink"]);
        assert_eq!(ran.code, 125);
        assert!(ran.stderr.contains("add -o DIR"), "{}", ran.stderr);
    });
}
