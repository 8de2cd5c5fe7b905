//! Changes of users that are killed, or go on at the same time, in namespaces that play the host: the files of accounts
//! are as before or as they are to be, and nothing that only the change needed is left.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod host;

use host::{Host, said, sh};
use jaula_engine::fault::{Faults, Mode};
use jaula_engine::{Config, Engine, EngineError};
use jaula_plan::account::plan::{AccountPlan, AddSpec, Changes};
use jaula_plan::account::policy::{Policy, Service};
use jaula_plan::names::UserName;
use jaula_testkit::{kernel_test, skip};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Tells the inner run at which point of which change it is stopped.
const STOPPED: &str = "JAULA_TEST_STOPPED";
const STORE: &str = "/run/store";
const JAIL: &str = "/srv/golden";
const PROGRAM: &str = "/usr/bin/jaula";

/// A host, or the test is skipped.
macro_rules! host {
    ($($tool:literal),*) => {
        match Host::start(&[$($tool),*]) {
            Ok(host) => host,
            Err(reason) => skip!("{reason}"),
        }
    };
}

/// The changes, each of which the next one needs; with how it is typed.
const CHANGES: [(&str, &str); 6] = [
    ("add", "add --comment Ana /srv/golden ana --only sftp"),
    ("set", "set /srv/golden ana --shell /bin/bash --only scp"),
    ("move", "add --from-existing --move-home /srv/golden bob"),
    ("rm-home", "rm --home /srv/golden ana"),
    ("rm", "rm /srv/golden bob"),
    ("first", "add /srv/bare eva --shell /bin/sh"),
];

fn user(name: &str) -> UserName {
    name.parse().expect("a name")
}

fn spec(jail: &str, name: &str) -> AddSpec {
    let jail = Path::new(jail).to_owned();
    AddSpec {
        policy: Policy::new(&jail),
        jail,
        user: user(name),
        existing: false,
        shell: None,
        home: None,
        comment: String::new(),
        group: None,
        uid: None,
        move_home: false,
        login_shell: jaula_plan::account::LOGIN_SHELL.into(),
    }
}

/// Makes one of the changes.
fn change(engine: &Engine, what: &str) -> Result<AccountPlan, EngineError> {
    let program = Path::new(PROGRAM);
    let jail = Path::new(JAIL);
    engine.users(|engine| match what {
        "add" => {
            let mut spec = spec(JAIL, "ana");
            spec.comment = "Ana".to_owned();
            spec.policy.only = vec![Service::Sftp];
            engine.plan_user_add(&spec, program, true)
        }
        "set" => {
            let text = std::fs::read_to_string(Policy::path("ana")).expect("a policy");
            let mut policy = Policy::read(&text).expect("a policy");
            policy.only = vec![Service::Scp];
            let changes = Changes {
                shell: Some("/bin/bash".to_owned()),
                policy: Some(policy),
            };
            engine.plan_user_set(&user("ana"), jail, &changes, program, true)
        }
        "move" => {
            let spec = AddSpec {
                existing: true,
                move_home: true,
                ..spec(JAIL, "bob")
            };
            engine.plan_user_add(&spec, program, true)
        }
        "rm-home" => engine.plan_user_rm(&user("ana"), jail, true, program),
        "rm" => engine.plan_user_rm(&user("bob"), jail, false, program),
        "first" => engine.plan_user_add(&spec("/srv/bare", "eva"), program, true),
        other => panic!("{other}"),
    })
}

/// All that a change may touch, to the byte: the host's files, the jails', the homes, and what programs that change
/// accounts leave when they die.
fn world() -> String {
    sh(
        "cd /; for f in $(find etc/passwd etc/group etc/shadow etc/gshadow etc/shells etc/subuid etc/subgid etc/ssh etc/jaula \
         srv/*/etc srv/*/home home -type f 2>/dev/null | sort); do echo \"== $f\"; cat $f; echo; done; \
         find etc srv home usr/sbin/jaula-login usr/sbin/.jaula* ! -name .pwd.lock ! -type d -printf '%p %U:%G %m %s %l\\n' 2>/dev/null | sort; \
         find srv home etc/jaula etc/ssh -type d -printf '%p %U:%G %m\\n' 2>/dev/null | sort",
    )
}

/// A host with two jails, in files that do not end as they should.
fn prepare(host: &Host) {
    host.jail(JAIL);
    host.jail("/srv/bare");
    sh(
        "useradd -m -s /bin/bash bob && echo hers >/home/bob/note; mkdir /home/bob/deep; ln -s note /home/bob/deep/link; \
        rm /srv/bare/etc/passwd; printf 'root:x:0:\\nlast:x:7:' >/srv/golden/etc/group; printf '/bin/sh\\n/bin/bash' >/etc/shells",
    );
}

/// Keeps all that a change may touch; [`restore`] puts it back.
fn keep() {
    sh(
        "rm -rf /run/kept; mkdir /run/kept; cp -a /etc /srv /home /run/kept; test ! -L /usr/sbin/jaula-login || cp -P /usr/sbin/jaula-login /run/kept",
    );
}

fn restore() {
    sh(
        "for d in etc srv home; do find /$d -mindepth 1 -delete; cp -a /run/kept/$d/. /$d; done; rm -f /usr/sbin/jaula-login; \
        test ! -L /run/kept/jaula-login || cp -P /run/kept/jaula-login /usr/sbin/jaula-login",
    );
}

/// Shows what differs, and nothing else of two long texts.
#[track_caller]
fn same(now: &str, wanted: &str, when: &str) {
    std::fs::write("/run/now", now).expect("a file");
    std::fs::write("/run/wanted", wanted).expect("a file");
    let differ = || said("diff /run/wanted /run/now").1;
    assert!(now == wanted, "{when}: {}", differ());
}

/// Kills a change at each point that `kill` knows, until it says that the change was not killed. Gives how many times it
/// was undone, and how many times it was finished.
fn everywhere(what: &str, typed: &str, mut kill: impl FnMut(u32) -> bool) -> (u32, u32) {
    let before = world();
    keep();
    sh(&format!("jaula user {typed}"));
    let after = world();
    assert_ne!(after, before, "{what}");
    restore();
    same(&world(), &before, what);
    let (mut undone, mut finished) = (0, 0);
    for point in 0.. {
        if !kill(point) {
            same(&world(), &after, &format!("{what}.{point}"));
            break;
        }
        // Lines of shadow(5) are in it.
        assert_eq!(
            sh("find /run/store/journal -type f ! -perm 600"),
            "",
            "{what}.{point}"
        );
        // What is done next heals it, or the verb for it alone.
        sh("jaula recover");
        assert_eq!(sh("ls -A /run/store/journal"), "", "{what}.{point}");
        let now = world();
        if now == before {
            undone += 1;
        } else {
            same(&now, &after, &format!("{what}.{point}"));
            finished += 1;
            restore();
        }
    }
    (undone, finished)
}

/// Makes a change in another process of this program, which kills itself at a point; whether it did.
fn killed(test: &str, what: &str, point: u32) -> bool {
    let program = std::env::current_exe().expect("this program");
    let status = Command::new(&program)
        .args(["--exact", test])
        .env(STOPPED, format!("{point} {what}"))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .status()
        .expect("this program");
    assert!(
        status.success() || status.signal() == Some(9),
        "{what}.{point}: {status}"
    );
    !status.success()
}

fn stopped() -> bool {
    let Some(at) = std::env::var_os(STOPPED) else {
        return false;
    };
    let words = at.into_string().expect("words");
    let (point, what) = words.split_once(' ').expect("two words");
    let faults = Faults::after(point.parse().expect("a number"), Mode::Kill);
    let engine = Engine::open(Config::new(STORE)).expect("an engine");
    change(&engine.with_faults(Arc::new(faults)), what).expect("a change");
    true
}

#[test]
fn a_change_of_users_killed_at_any_point_is_undone_or_finished() {
    kernel_test!(Root);
    if stopped() {
        return;
    }
    let host = host!("sshd");
    prepare(&host);
    let name = "a_change_of_users_killed_at_any_point_is_undone_or_finished";
    for (what, typed) in CHANGES {
        let (undone, finished) = everywhere(what, typed, |point| killed(name, what, point));
        println!("{what}: undone {undone}, finished {finished}");
        assert!(undone > 5 && finished > 0, "{what}: {undone} {finished}");
    }
}

/// The calls by which files change.
const CALLS: [&str; 8] = [
    "write",
    "fsync",
    "rename,renameat,renameat2",
    "link,linkat",
    "symlink,symlinkat",
    "unlink,unlinkat,rmdir",
    "mkdir,mkdirat",
    "fchown,fchmod",
];

#[test]
fn a_command_killed_at_any_call_that_changes_a_file_is_undone_or_finished() {
    kernel_test!(Root);
    let host = host!("sshd", "strace");
    prepare(&host);
    for (what, typed) in [CHANGES[0], CHANGES[3]] {
        let (mut undone, mut finished) = (0, 0);
        for call in CALLS {
            let trace = format!(
                "strace -f -qq -o /dev/null -e trace={call} -e inject={call}:signal=SIGKILL:when="
            );
            let (more, whole) = everywhere(what, typed, |point| {
                let (code, text) = said(&format!("{trace}{} jaula user {typed}", point + 1));
                assert!(
                    code == 0 || code == 137,
                    "{what}.{call}.{point}: {code} {text}"
                );
                code == 137
            });
            restore();
            undone += more;
            finished += whole;
        }
        println!("{what}: undone {undone}, finished {finished}");
        assert!(undone > 20 && finished > 0, "{what}: {undone} {finished}");
        sh(&format!("jaula user {typed}"));
    }
}

#[test]
fn users_added_at_once_have_numbers_of_their_own() {
    kernel_test!(Root);
    let host = host!("sshd");
    prepare(&host);
    let names: Vec<String> = (0..8).map(|number| format!("zz{number}")).collect();
    let accounts = || {
        sh(
            "cd /etc; cat passwd group shadow gshadow /srv/golden/etc/passwd; ls /srv/golden/home /etc/jaula 2>&1 || :",
        )
    };
    sh("jaula user add /srv/golden first-one; jaula user rm --home /srv/golden first-one");
    let before = accounts();
    let ids = |file: &str, jail: &str| {
        let text = std::fs::read_to_string(format!("{jail}/etc/{file}")).expect("a file");
        let lines = text.lines().filter(|line| line.starts_with("zz"));
        let mut ids: Vec<String> = lines
            .map(|line| line.split(':').nth(2).expect("a number").to_owned())
            .collect();
        ids.sort();
        ids.dedup();
        ids.len()
    };
    // Also beside the system's own program.
    let all: Vec<String> = names
        .iter()
        .map(|name| format!("jaula user add {JAIL} {name} & p=\"$p $!\"; "))
        .collect();
    sh(&format!(
        "p=; {} useradd -M zzz & p=\"$p $!\"; for one in $p; do wait $one || exit 1; done",
        all.concat()
    ));
    for file in ["passwd", "group"] {
        assert_eq!(ids(file, ""), 9, "{}", world());
        assert_eq!(ids(file, JAIL), 8, "{}", world());
    }
    let (_, checked) = said("pwck -r; grpck -r; ls /etc/*.lock");
    assert!(
        !checked.contains("duplicate") && !checked.contains("/etc/passwd.lock"),
        "{checked}"
    );
    let all: Vec<String> = names
        .iter()
        .map(|name| format!("jaula user rm --home {JAIL} {name} & p=\"$p $!\"; "))
        .collect();
    sh(&format!(
        "p=; {} for one in $p; do wait $one || exit 1; done; userdel zzz",
        all.concat()
    ));
    same(&accounts(), &before, "all are out");
}
