//! Users who live in jails, let in by the real su, login, sshd, sftp, scp, rsync and git, in namespaces that play the
//! host: with an `/etc`, a `/usr`, homes and a log of their own.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod host;
mod typed;

use host::{Host, said, sh};
use jaula_testkit::{kernel_test, skip};

/// A host, or the test is skipped.
macro_rules! host {
    ($($tool:literal),*) => {
        match Host::start(&[$($tool),*]) {
            Ok(host) => host,
            Err(reason) => skip!("{reason}"),
        }
    };
}

#[test]
fn by_su_login_and_ssh_a_user_is_in_the_jail_and_sees_nothing_of_the_host() {
    kernel_test!(Root);
    let host = host!("sshd", "su", "login", "script");
    host.jail("/srv/golden");
    sh("jaula user add /srv/golden ana --shell /bin/bash");
    host.key("/srv/golden/home/ana", "ana");
    host.sshd();
    let inside = "pwd; ls /; cat /etc/passwd; grep -E 'NoNewPrivs|Seccomp:|CapEff' /proc/self/status; ls /proc | grep -c '^[0-9]'";
    let seen = |text: &str| {
        let text = text.replace('\r', "");
        assert!(
            text.starts_with("/home/ana\nbin\ndev\netc\nhome\nlib\nlib64\nproc\n"),
            "{text}"
        );
        assert!(
            text.contains("\nana:x:1002:1002::/home/ana:/bin/bash\n"),
            "{text}"
        );
        assert!(
            text.contains("CapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"),
            "{text}"
        );
        assert!(
            !text.contains("\nfirst:") && !text.contains("sshd"),
            "{text}"
        );
        let processes = text
            .trim()
            .lines()
            .last()
            .and_then(|line| line.parse::<u32>().ok());
        assert!(processes.is_some_and(|count| count < 8), "{text}");
    };
    seen(&sh(&format!("su - ana -c \"{inside}\"")));
    seen(&sh(&format!("su ana -c \"{inside}\"")));
    seen(&sh(&format!("runuser -l ana -c \"{inside}\"")));
    seen(&host.ssh("ana", inside).expect(0));
    // With a terminal, the shell of a session.
    let typed = "echo \"$0 $PWD $USER $HOME\"; test -t 0 && echo terminal; exit 5";
    for way in [
        "su - ana",
        "login -f ana",
        &host.ssh_command("-tt", "ana", ""),
    ] {
        let (code, text) = said(&format!(
            "printf '%s\\n' '{typed}' | script -qec '{way}' /dev/null"
        ));
        let text = text.replace('\r', "");
        assert!(
            text.contains("/home/ana ana /home/ana\n") && text.contains("\nterminal\n"),
            "{way}: {text}"
        );
        // login(1) ends with its own code.
        assert!(
            code == 5 || way.starts_with("login"),
            "{way}: {code}: {text}"
        );
    }
    // What a command ends with, and what a signal ends.
    host.ssh("ana", "exit 7").expect(7);
    host.ssh("ana", "kill -TERM $$").expect(143);
    let written = host.ssh(
        "ana",
        "echo mine >file && cat file; echo x >>/etc/passwd || echo no; echo y >/new || echo no; touch /usr/bin/x || echo no",
    );
    // Refused there, and not only thrown away later.
    assert_eq!(written.out, "mine\nno\nno\nno\n", "{}", written.err);
    assert_eq!(
        sh("cat /srv/golden/etc/passwd; ls /srv/golden/new /srv/golden/usr/bin/x 2>/dev/null || :"),
        "root:x:0:0:root:/root:/bin/bash\nana:x:1002:1002::/home/ana:/bin/bash\n"
    );
    assert_eq!(sh("stat -c '%U %a' /srv/golden/home/ana/file"), "ana 644\n");
    // Nothing of the environment decides who one is, and nothing is kept of it that could.
    let env = sh("su ana -c 'echo $HOME $PATH $LD_PRELOAD $BASH_ENV'");
    assert_eq!(
        env,
        "/home/ana /usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games\n"
    );
    let listed = sh("jaula user ls");
    assert!(
        listed.ends_with("ana   1002  /srv/golden  /bin/bash  none  always  ok\n"),
        "{listed}"
    );
    let log = sh("jaula user log ana");
    assert!(
        log.contains("jail=/srv/golden command=\"exit 7\"") && log.contains("exit=7 seconds=0"),
        "{log}"
    );
    assert!(log.contains("127.0.0.1") || log.contains("::1"), "{log}");
}

#[test]
fn what_is_added_is_shown_before_and_taken_back_to_the_byte() {
    kernel_test!(Root);
    let host = host!("sshd");
    host.jail("/srv/golden");
    sh("useradd -m -s /bin/bash bob && echo hers >/home/bob/note && jaula user enable");
    // The directories that a session needs stay in the jail.
    sh(
        "mkdir -m 555 /srv/golden/proc /srv/golden/sys && mkdir -m 1777 /srv/golden/tmp && mkdir /srv/golden/home",
    );
    let before = host.accounts();
    let plan = sh("jaula user add /srv/golden ana --only sftp --plan");
    assert!(
        plan.contains("\n+ana:x:1003:1003::/srv/golden/./home/ana:/usr/sbin/jaula-login\n"),
        "{plan}"
    );
    assert!(
        plan.contains("+++ /etc/ssh/sshd_config.d/00-jaula-ana.conf\n"),
        "{plan}"
    );
    let script = sh("jaula user add /srv/golden ana --explain");
    assert!(
        script.starts_with("#!/bin/sh\n") && script.contains("patch -p0 -d /"),
        "{script}"
    );
    assert_eq!(host.accounts(), before);
    sh("jaula user add /srv/golden ana luis --only sftp");
    assert_eq!(
        sh("stat -c '%a %U:%G' /etc/passwd /etc/shadow"),
        "644 root:root\n640 root:shadow\n"
    );
    assert_eq!(
        sh("id -u ana; id -un luis; getent passwd luis | cut -d: -f6"),
        "1003\nluis\n/srv/golden/./home/luis\n"
    );
    sh("jaula user add --from-existing --move-home /srv/golden bob");
    assert_eq!(
        sh("cat /srv/golden/home/bob/note; ls /home; su - bob -c 'cat note'"),
        "hers\nhers\n"
    );
    sh("jaula user set /srv/golden luis --only shell --net host --hours 'mon-sun 0-24'");
    assert_eq!(
        sh("su luis -c 'ls /proc/net/dev' && cat /etc/jaula/users/luis.toml | grep net"),
        "/proc/net/dev\nnet = \"host\"\n"
    );
    let again = said("jaula user set /srv/golden luis --only shell");
    assert!(
        again.0 == 125 && again.1.contains("nothing is to be changed"),
        "{}",
        again.1
    );
    sh("jaula user rm --home /srv/golden luis ana");
    sh("jaula user rm /srv/golden bob");
    assert_eq!(host.accounts(), before);
    assert_eq!(sh("ls /srv/golden/home; ls -A /run/store/journal"), "bob\n");
}

#[test]
fn only_sftp_is_only_sftp() {
    kernel_test!(Root);
    let host = host!("sshd", "sftp", "scp", "rsync");
    host.jail("/srv/golden");
    // A subsystem inside of sshd would go past the login shell.
    sh("sed -i 's#^Subsystem.*#Subsystem sftp internal-sftp#' /etc/ssh/sshd_config");
    sh("jaula user add /srv/golden ana --only sftp");
    host.key("/srv/golden/home/ana", "ana");
    host.sshd();
    sh("echo data >/run/put");
    let did = host
        .sftp(
            "ana",
            "put /run/put\nls\nget put /run/got\ncd ../../../..\npwd\nls /\n",
        )
        .expect(0);
    assert!(did.contains("Remote working directory: /\n"), "{did}");
    let listed = did.rsplit("ls /").next().unwrap_or_default();
    let top: Vec<&str> = listed.split_whitespace().collect();
    assert_eq!(top.first(), Some(&"/bin"), "{did}");
    assert!(!top.contains(&"/root") && !top.contains(&"/srv"), "{did}");
    assert_eq!(
        sh("cat /run/got; cat /srv/golden/home/ana/put"),
        "data\ndata\n"
    );
    let outside = host.sftp("ana", "get /etc/shadow /run/x\n");
    assert!(
        outside.code != 0 && !std::path::Path::new("/run/x").exists(),
        "{}",
        outside.err
    );
    for command in [
        "ls",
        "cat /etc/passwd",
        "/usr/lib/openssh/sftp-server; id",
        "scp -t /tmp",
        "bash -i",
    ] {
        let ran = host.ssh("ana", command);
        assert!(
            ran.code == 125 && ran.out.is_empty(),
            "{command}: {} {}",
            ran.out,
            ran.err
        );
        assert!(ran.err.starts_with("jaula-login: "), "{}", ran.err);
    }
    let (code, text) = said(&format!("{} </dev/null", host.ssh_command("-T", "ana", "")));
    assert!(
        code == 125 && text.contains("there is no shell for this user: only sftp"),
        "{code} {text}"
    );
    let (code, text) = said("su - ana </dev/null");
    assert!(code == 125 && text.contains("only sftp"), "{code} {text}");
    // scp goes by sftp, and the old way is another service.
    host.scp("", "/run/put", "ana@localhost:two").expect(0);
    assert_ne!(host.scp("-O", "/run/put", "ana@localhost:three").code, 0);
    assert_ne!(host.rsync("/run/put", "ana@localhost:four").code, 0);
    assert_eq!(sh("ls /srv/golden/home/ana"), "put\ntwo\n");
    let log = sh("jaula user log");
    assert!(
        log.contains("refused") && log.contains("cause=\"this command is not allowed: only sftp\""),
        "{log}"
    );
    sh("jaula user set /srv/golden ana --only sftp,scp,rsync");
    host.scp("-O", "/run/put", "ana@localhost:three").expect(0);
    host.rsync("/run/put", "ana@localhost:four").expect(0);
    assert_eq!(
        sh("cat /srv/golden/home/ana/three /srv/golden/home/ana/four"),
        "data\ndata\n"
    );
    assert_eq!(host.ssh("ana", "ls").code, 125);
}

#[test]
fn the_line_of_useradd_is_enough() {
    kernel_test!(Root);
    let host = host!("sshd", "login", "script");
    host.jail("/home/jaulas/raring");
    sh("jaula user enable");
    sh(
        "useradd -s /bin/bash -m -d /home/jaulas/raring/./home/rjmerelo -c \"Raring jmerelo\" -g users rjmerelo",
    );
    let own = "1002:100:Raring jmerelo";
    assert_eq!(
        sh(
            "getent passwd rjmerelo; tail -n1 /home/jaulas/raring/etc/passwd; stat -c '%U:%G' /home/jaulas/raring/home/rjmerelo"
        ),
        format!(
            "rjmerelo:x:{own}:/home/jaulas/raring/./home/rjmerelo:/usr/sbin/jaula-login\n\
             rjmerelo:x:{own}:/home/rjmerelo:/bin/bash\nrjmerelo:users\n"
        )
    );
    let inside = "pwd; ls /; readlink /proc/self/root";
    let seen = "/home/rjmerelo\nbin\ndev\netc\nhome\nlib\nlib64\nproc\nsbin\nsys\ntmp\nusr\n/\n";
    assert_eq!(sh(&format!("su - rjmerelo -c '{inside}'")), seen);
    host.key("/home/jaulas/raring/home/rjmerelo", "rjmerelo");
    host.sshd();
    assert_eq!(host.ssh("rjmerelo", inside).expect(0), seen);
    let console = sh(&format!(
        "printf '%s\\nexit\\n' '{inside}' | script -qec 'login -f rjmerelo' /dev/null"
    ));
    assert!(
        console.replace('\r', "").contains(
            "\n/home/rjmerelo\nbin  dev  etc  home  lib  lib64  proc  sbin  sys  tmp  usr\n/\n"
        ),
        "{console}"
    );
    // A host's own users are nobody's business.
    sh("useradd -m -s /bin/bash bob");
    assert_eq!(
        sh("getent passwd bob | cut -d: -f6,7; su - bob -c pwd"),
        "/home/bob:/bin/bash\n/home/bob\n"
    );
    // A jail that is not there keeps its user out.
    let (code, text) = said("useradd -s /bin/bash -d /home/jaulas/none/./home/eva eva");
    assert!(
        code == 0
            && text.contains("eva is not let into the jail: /home/jaulas/none is no directory"),
        "{code} {text}"
    );
    let (code, text) = said("su - eva -c id");
    assert!(
        code == 125 && text.contains("the login is refused"),
        "{code} {text}"
    );
}

#[test]
fn a_login_is_refused_with_one_line_that_names_the_cause() {
    kernel_test!(Root);
    let host = host!("su");
    host.jail("/srv/golden");
    sh("jaula user add /srv/golden ana --shell /bin/bash");
    assert_eq!(sh("su ana -c 'echo in'"), "in\n");
    let refused = |change: &str, back: &str, cause: &str| {
        sh(change);
        let (code, text) = said("su ana -c 'echo in'");
        assert_eq!(
            (code, text.contains("in\n")),
            (125, false),
            "{change}: {text}"
        );
        let line = host.logged(" refused ");
        let line = line.as_str();
        assert!(
            line.contains(" refused user=ana uid=1002 from=- command=\"echo in\" cause="),
            "{change}: {line}"
        );
        assert!(line.contains(cause), "{change}: {line}");
        sh(back);
        assert_eq!(sh("su ana -c 'echo in'"), "in\n", "{back}");
    };
    refused(
        "chmod o+w /srv/golden/home/ana",
        "chmod o-w /srv/golden/home/ana",
        "everybody can write in it",
    );
    refused(
        "chown root /srv/golden/home/ana",
        "chown ana /srv/golden/home/ana",
        "it belongs to user 0",
    );
    refused(
        "chown ana /srv/golden",
        "chown root /srv/golden",
        "/srv/golden belongs to user 1002, not to root",
    );
    refused("chmod 777 /srv", "chmod 755 /srv", "/srv can be written by");
    refused(
        "chown ana /srv/golden/etc",
        "chown root /srv/golden/etc",
        "/srv/golden/etc belongs to user 1002",
    );
    refused(
        "cp /srv/golden/etc/passwd /run/p; sed -i /^ana/d /srv/golden/etc/passwd",
        "cat /run/p >/srv/golden/etc/passwd",
        "ana is not defined in the jail /srv/golden: jaula user add --from-existing /srv/golden ana",
    );
    refused(
        "sed -i s/^ana:x:1002/ana:x:0/ /srv/golden/etc/passwd",
        "cat /run/p >/srv/golden/etc/passwd",
        "the user of the account is 1002 on the host and 0 in the jail",
    );
    refused(
        "chmod 666 /etc/jaula/users/ana.toml",
        "chmod 644 /etc/jaula/users/ana.toml",
        "ana.toml is writable by others than root",
    );
    refused(
        "cp /etc/jaula/users/ana.toml /run/t; echo garbage >>/etc/jaula/users/ana.toml",
        "cat /run/t >/etc/jaula/users/ana.toml",
        "what the user may do cannot be read",
    );
    refused(
        "mv /srv/golden /srv/g",
        "mv /srv/g /srv/golden",
        "/srv/golden",
    );
    // Root is never jailed by it, and its user is not told how the host is set up.
    let (code, text) = said("/usr/sbin/jaula-login -c id");
    assert!(
        code == 125 && text == "jaula-login: the login is refused; the system's log says why\n",
        "{text}"
    );
    let (code, text) = said("/usr/sbin/jaula-login --store /x ls");
    assert!(
        code == 125 && text.contains("-c COMMAND and nothing else"),
        "{text}"
    );
    // An hour that is far away, and all others, in the host's own zone.
    let hour: u32 = sh("TZ=:/etc/localtime date +%H")
        .trim()
        .parse()
        .expect("an hour");
    let far = (hour + 12) % 24;
    let hours = format!("mon-sun {far}:00-{}:00", far + 1);
    sh(&format!("jaula user set /srv/golden ana --hours '{hours}'"));
    let (code, text) = said("su ana -c 'echo in'");
    assert!(
        code == 125
            && text.contains(&format!("logins are allowed {hours}"))
            && !text.contains("in\n"),
        "{code} {text}"
    );
    let others = match far {
        0 => "mon-sun 1:00-24:00".to_owned(),
        23 => "mon-sun 0:00-23:00".to_owned(),
        _ => format!("mon-sun 0:00-{far}:00, mon-sun {}:00-24:00", far + 1),
    };
    sh(&format!(
        "jaula user set /srv/golden ana --hours '{others}'"
    ));
    assert_eq!(sh("su ana -c 'echo in'"), "in\n");
}

#[test]
fn who_cannot_be_let_in_changes_nothing() {
    kernel_test!(Root);
    let host = host!("su");
    host.jail("/srv/golden");
    sh(
        "useradd -s /bin/sh bob; mkdir -p /srv/open/jail; chmod 777 /srv/open; mkdir /srv/golden/proc /srv/golden/sys /srv/golden/tmp /srv/golden/home",
    );
    let before = host.accounts();
    let try_all = |cases: &[(&str, &str)]| {
        for (words, why) in cases {
            let (code, text) = said(&format!("jaula user {words}"));
            assert_eq!(code, 125, "{words}: {text}");
            assert!(text.contains(why), "{words}: {text}");
            assert_eq!(host.accounts(), before, "{words}");
        }
    };
    try_all(&[
        ("add /srv/golden root", "root is root"),
        ("add --from-existing /srv/golden root", "root is root"),
        (
            "add --from-existing /srv/golden www-data",
            "an account of the system",
        ),
        (
            "add --from-existing /srv/golden nobody",
            "an account of the system",
        ),
        ("add /srv/golden bob", "there is a user bob already"),
        (
            "add --from-existing /srv/golden eva",
            "there is no user eva",
        ),
        ("add /srv/golden 'a:b'", "may not hold ':'"),
        (
            "add /srv/golden \"$(printf 'a\\nb')\"",
            "may not hold '\\n'",
        ),
        ("add /srv/golden 1234", "is a number"),
        ("add /srv/golden ana --comment x:y", "holds ':'"),
        ("add /srv/golden ana --home ../x", "is not in the jail"),
        (
            "add /srv/open/jail ana",
            "/srv/open can be written by its group (mode 0777)",
        ),
        ("add /srv/none ana", "is no directory"),
        ("add golden ana", "there is no jail golden"),
        (
            "add /srv/golden ana --shell /bin/zsh",
            "the jail has no program /bin/zsh",
        ),
        ("add /srv/golden ana --allow-command '*'", "is a pattern"),
        (
            "add /srv/golden ana --only ftp",
            "none of sftp, scp, rsync, git",
        ),
        ("add /srv/golden ana --hours never", "are no hours"),
        ("add /srv/golden ana --limit many=1", "many"),
        ("rm /srv/golden bob", "does not live in the jail"),
        (
            "set /srv/golden bob --only sftp",
            "does not live in the jail",
        ),
    ]);
    sh("echo 'DenyUsers ana' >/etc/ssh/sshd_config.d/10-site.conf");
    let (code, text) = said("jaula user add /srv/golden ana");
    assert!(
        code == 125
            && text.contains("10-site.conf, line 1: \"DenyUsers ana\": the user is among them"),
        "{text}"
    );
    sh("rm /etc/ssh/sshd_config.d/10-site.conf");
    // A lock that somebody has is waited for; one of the dead is taken away.
    sh(
        "echo -n 999999 >/etc/passwd.lock; jaula user add /srv/golden ana; test ! -e /etc/passwd.lock; jaula user rm --home /srv/golden ana",
    );
    sh("rm /usr/sbin/jaula-login; sed -i /jaula-login/d /etc/shells");
    assert_eq!(host.accounts(), before);
}

#[test]
fn jailkits_sequence_as_it_is_typed() {
    kernel_test!(Root);
    let host = host!("sshd");
    if !std::path::Path::new("/etc/jailkit/jk_init.ini").is_file() {
        skip!("there are no sections of jailkit's");
    }
    // The old names lead to jaula, before and instead of jailkit's own.
    let names = "jk_init jk_cp jk_jailuser jk_addjailuser jk_lsh jk_chrootsh jk_uchroot";
    sh(&format!(
        "cd /usr/sbin && rm -f {names}; jaula compat install /usr/sbin {names}"
    ));
    sh("useradd -s /bin/bash -m alguien; echo suyo >/home/alguien/nota");
    sh("mkdir -p /srv/seguro/jaulas/dorada; chown -R root:root /srv/seguro");
    let (code, text) = said("jk_jailuser -m -j /srv/seguro/jaulas/dorada alguien");
    assert!(
        code == 33 && text == "invalid jail, /srv/seguro/jaulas/dorada/etc/passwd does not exist\n",
        "{code} {text}"
    );
    let told = sh("jk_init -v -j /srv/seguro/jaulas/dorada jk_lsh basicshell netutils editors");
    assert!(told.contains("Copying /"), "{told}");
    let before = host.accounts();
    let jail = "/srv/seguro/jaulas/dorada";
    for (words, code, why) in [
        ("", 2, "aborted, no username specified\n".to_owned()),
        ("-x alguien", 1, "invalid option -- 'x'".to_owned()),
        (
            &*format!("-n -j {jail} nadie"),
            2,
            "user nadie does not exist\n".to_owned(),
        ),
        (&*format!("-n -j {jail} root"), 2, "root is root".to_owned()),
        (
            "-n -j /nada alguien",
            33,
            "/nada does not exist\n".to_owned(),
        ),
        (
            &*format!("-n -s /bin/zsh -j {jail} alguien"),
            33,
            format!("invalid shell, {jail}/bin/zsh does not exist\n"),
        ),
    ] {
        let (got, text) = said(&format!("jk_jailuser {words}"));
        assert!(got == code && text.contains(&why), "{words}: {got} {text}");
        assert_eq!(host.accounts(), before, "{words}");
    }
    sh(&format!("jk_jailuser -m -j {jail} alguien"));
    assert_eq!(
        sh(&format!(
            "grep ^alguien /etc/passwd {jail}/etc/passwd; cat {jail}/home/alguien/nota; ls /home"
        )),
        format!(
            "/etc/passwd:alguien:x:1002:1002::{jail}/./home/alguien:/usr/sbin/jk_chrootsh\n\
             {jail}/etc/passwd:alguien:x:1002:1002::/home/alguien:/usr/sbin/jk_lsh\nsuyo\n"
        )
    );
    host.key(&format!("{jail}/home/alguien"), "alguien");
    host.sshd();
    // No shell, and no command while no section is for the user.
    let (code, _) = said(&format!(
        "{} </dev/null",
        host.ssh_command("-T", "alguien", "")
    ));
    assert_eq!(code, 7);
    assert_eq!(said("su - alguien </dev/null").0, 7);
    sh(&format!(
        "mkdir -p {jail}/etc/jailkit; : >{jail}/etc/jailkit/jk_lsh.ini"
    ));
    host.ssh("alguien", "ls").expect(3);
    let ini = "[alguien]\nexecutables = /bin/ls, /bin/cat\npaths = /bin\n";
    std::fs::write(format!("{jail}/etc/jailkit/jk_lsh.ini"), ini).expect("a file");
    assert_eq!(host.ssh("alguien", "ls /home").expect(0), "alguien\n");
    assert_eq!(host.ssh("alguien", "cat nota").expect(0), "suyo\n");
    host.ssh("alguien", "sh -c id").expect(4);
    host.ssh("alguien", "ls; id").expect(4);
    std::fs::write(
        format!("{jail}/etc/jailkit/jk_lsh.ini"),
        "[alguien]\npaths = /bin\n",
    )
    .expect("a file");
    host.ssh("alguien", "ls").expect(5);
    // The shell, changed with an editor.
    sh(&format!(
        "sed -i '/^alguien/s#/usr/sbin/jk_lsh#/bin/bash#' {jail}/etc/passwd"
    ));
    assert_eq!(
        host.ssh("alguien", "pwd; ls /").expect(0),
        "/home/alguien\nbin\ndev\netc\nhome\nlib\nlib64\nproc\nsbin\nsys\ntmp\nusr\n"
    );
    // Settings of the shell's own are obeyed, and a doubt has its code.
    sh(&format!("chmod g+w {jail}/home/alguien"));
    host.ssh("alguien", "true").expect(41);
    sh(
        "printf '[DEFAULT]\\nrelax_home_group_permissions=1\\nenv = MARK\\n' >/etc/jailkit/jk_chrootsh.ini",
    );
    host.ssh("alguien", "true").expect(0);
    assert_eq!(sh("MARK=x su alguien -c 'echo $MARK'"), "x\n");
    sh("printf '[DEFAULT]\\nrelax=1\\n' >/etc/jailkit/jk_chrootsh.ini");
    host.ssh("alguien", "true").expect(14);
    host.quiet();
    assert!(
        host.log().contains("jk_chrootsh.ini, line 2, column 1: "),
        "{}",
        host.log()
    );
    sh(&format!(
        "rm /etc/jailkit/jk_chrootsh.ini; chmod 1777 {jail}"
    ));
    assert_eq!(said("su alguien -c true").0, 53);
    sh(&format!(
        "chmod 755 {jail}; jk_addjailuser -n -s /bin/bash -j {jail} otro"
    ));
    assert_eq!(sh("su otro -c pwd"), "/home/otro\n");
    // Somebody of the host goes in where he is listed for, and is nobody else there.
    sh("useradd -s /bin/bash -m visita");
    let go = format!("runuser -u visita -- jk_uchroot -j {jail} -x /bin/bash -- -c");
    let refused = |code: i32, why: &str| {
        let (got, text) = said(&format!("{go} true"));
        assert!(got == code && text.contains(why), "{got} {text}");
    };
    refused(1, "no section of /etc/jailkit/jk_uchroot.ini is for visita");
    let list = |text: &str| std::fs::write("/etc/jailkit/jk_uchroot.ini", text).expect("a file");
    list("[visita]\nallowed_jails = /srv/otra\n");
    refused(21, "is not among the jails that visita is allowed");
    list(&format!("[visita]\nallowed_jails = {jail}\n"));
    refused(37, "visita is not defined in the jail");
    list(&format!(
        "[visita]\nallowed_jails = {jail}\nskip_injail_passwd_check = 1\n"
    ));
    let inside = sh(&format!(
        "{go} 'pwd; echo $UID; ls /srv/seguro 2>&1; echo x 2>/dev/null >/etc/passwd || echo no; exit 3' || echo $?"
    ));
    let uid = sh("id -u visita");
    assert_eq!(
        inside,
        format!("/\n{uid}ls: cannot access '/srv/seguro': No such file or directory\nno\n3\n")
    );
    sh(&format!("chmod 1777 {jail}"));
    refused(53, "is not a safe jail");
    sh(&format!(
        "chmod 755 {jail}; chmod o+w /etc/jailkit/jk_uchroot.ini"
    ));
    refused(1, "is not root's, or writable by others");
    assert_eq!(said(&format!("jk_uchroot -j {jail} -x /bin/bash")).0, 12);
}

#[test]
fn git_goes_over_ssh_and_ports_only_on_request() {
    kernel_test!(Root);
    let host = host!("sshd", "git", "python3");
    host.jail("/srv/golden");
    sh(
        "jaula compat jk_cp -j /srv/golden /usr/bin/git /usr/bin/git-upload-pack /usr/bin/git-receive-pack /usr/lib/git-core",
    );
    sh("jaula user add /srv/golden ana --only git --allow-command 'cat *.txt'");
    host.key("/srv/golden/home/ana", "ana");
    host.sshd();
    sh(
        "git init -q --bare /srv/golden/home/ana/it.git; chown -R ana: /srv/golden/home/ana/it.git; echo hi >/srv/golden/home/ana/a.txt",
    );
    let ssh = host.ssh_command("-T", "", "");
    let ssh = ssh.trim_end_matches(" @localhost ").to_owned();
    let git = |script: &str| sh(&format!("export GIT_SSH_COMMAND='{ssh}'; {script}"));
    git(
        "git init -q /run/r; cd /run/r; git config user.email a@b; git config user.name a; echo x >x; git add x; git commit -qm x; \
         git push -q ana@localhost:it.git HEAD:refs/heads/main; git clone -q -b main ana@localhost:it.git /run/c; test -f /run/c/x",
    );
    assert_eq!(
        sh("stat -c %U /srv/golden/home/ana/it.git/refs/heads/main"),
        "ana\n"
    );
    assert_eq!(host.ssh("ana", "cat a.txt").expect(0), "hi\n");
    for command in [
        "cat /etc/passwd",
        "cat a.txt b.txt",
        "cat *.txt; id",
        "git clone x",
        "git-shell",
        "git-receive-pack x; id",
    ] {
        assert_eq!(host.ssh("ana", command).code, 125, "{command}");
    }
    // A server of the host's, which a forwarded port would reach.
    sh(
        "cd /run/c; setsid python3 -m http.server --bind 127.0.0.1 8000 >/dev/null 2>&1 </dev/null &",
    );
    let forwarded = |host: &Host| {
        let tunnel = host.ssh_command("-o ConnectTimeout=10 -W 127.0.0.1:8000", "ana", "");
        said(&format!(
            "printf 'GET /x HTTP/1.0\\r\\n\\r\\n' | timeout 20 {tunnel}"
        ))
    };
    let start = std::time::Instant::now();
    while std::net::TcpStream::connect("127.0.0.1:8000").is_err() {
        assert!(start.elapsed().as_secs() < 30, "no server");
    }
    let (code, text) = forwarded(&host);
    assert!(
        code != 0 && text.contains("forwarding failed"),
        "{code} {text}"
    );
    sh("jaula user set /srv/golden ana --forward; kill -HUP $(cat /run/sshd.pid)");
    // It is told, and reads it when it gets to it.
    while !forwarded(&host).1.contains("200 OK") {
        assert!(start.elapsed().as_secs() < 60, "{:?}", forwarded(&host));
    }
}

#[test]
fn git_over_ssh_is_traced_and_clones_again_in_a_jail_of_what_was_seen() {
    kernel_test!(Root);
    let host = host!("sshd", "git");
    host.jail("/srv/golden");
    sh(
        "jaula compat jk_cp -j /srv/golden /usr/bin/git /usr/bin/git-upload-pack /usr/lib/git-core; jaula user add /srv/golden ana --only git",
    );
    host.key("/srv/golden/home/ana", "ana");
    host.sshd();
    sh(
        "git init -q -b main /run/r; cd /run/r; git config user.email a@b; git config user.name a; echo x >x; git add x; git commit -qm x; \
        git clone -q --bare /run/r /srv/golden/home/ana/it.git; chown -R ana: /srv/golden/home/ana/it.git",
    );
    let ssh = host.ssh_command("-T", "", "");
    let ssh = ssh.trim_end_matches(" @localhost ");
    let clone = "rm -rf /tmp/c; git clone -q ana@localhost:it.git /tmp/c; cat /tmp/c/x";
    // The key lies in no place of secrets, so it is evidence as any other file.
    let new = format!(
        "export GIT_SSH_COMMAND='{ssh}'; jaula new gs --net host --trace -o /run/gs.toml -- /bin/sh -ec '{clone}'"
    );
    let (code, text) = said(&new);
    assert!(
        text.contains("jail gs: nothing is missing"),
        "{code} {text}"
    );
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.matches("x\n").count(), 2, "{text}");
    let trace = std::fs::read_to_string("/run/gs.toml").expect("a trace");
    assert!(
        trace.contains("/ssh\"") && trace.contains("tcp 127.0.0.1:22"),
        "{trace}"
    );
    let again = format!(
        "jaula exec gs --seccomp /run/gs.toml --env \"GIT_SSH_COMMAND={ssh}\" -- /bin/sh -ec '{clone}'"
    );
    assert_eq!(sh(&again), "x\n");
    // And nothing but that.
    assert_eq!(said("jaula exec gs -- /usr/bin/python3 -c 1").0, 127);
}

#[test]
fn a_jailed_user_who_attacks_finds_nothing() {
    kernel_test!(Root);
    let host = host!("setpriv", "su");
    host.jail("/srv/golden");
    sh("jaula user add /srv/golden ana; jaula user add /srv/golden luis --only sftp --net host");
    for (name, uid) in [("ana", 1002), ("luis", 1003)] {
        let json = sh(&format!(
            "cd /; setpriv --reuid {uid} --regid {uid} --clear-groups env JAULA_STORE=/tmp/s-{name} jaula check --from-inside --login --json; \
             rm -rf /tmp/s-{name}"
        ));
        let found: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let open: Vec<&serde_json::Value> = found["findings"]
            .as_array()
            .expect("findings")
            .iter()
            .filter(|finding| finding["verdict"] == "open")
            .collect();
        // Who asks for the host's network gets it.
        let network =
            |finding: &&serde_json::Value| name == "luis" && finding["probe"] == "namespace-net";
        let open: Vec<_> = open
            .into_iter()
            .filter(|finding| !network(finding))
            .collect();
        assert!(open.is_empty(), "{name}: {open:#?}");
        assert!(
            found["held"].as_u64().is_some_and(|held| held > 30),
            "{json}"
        );
    }
    drop(host);
}

#[test]
fn the_guide_to_users_shows_what_happens() {
    kernel_test!(Root);
    let host = host!("sshd", "sftp", "bash");
    // The reader's own key, and a service manager that does what is asked of it here.
    sh(
        "mkdir -p -m 700 /run/root/.ssh /run/bin; ssh-keygen -q -t ed25519 -N '' -f /run/root/.ssh/id_ed25519; \
        printf 'Host *\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\nIdentityFile /run/root/.ssh/id_ed25519\n' \
        >/etc/ssh/ssh_config.d/reader.conf; printf '#!/bin/sh\nn=$(grep -c listening /run/log/sshd)\nkill -HUP $(cat /run/sshd.pid)\nwhile [ $(grep -c listening /run/log/sshd) -le $n ]; do :; done\n' >/run/bin/systemctl; \
        chmod 755 /run/bin/systemctl; ln -s /usr/bin/jaula /run/bin/jk_init",
    );
    host.sshd();
    let top = std::env::var_os("INSTA_WORKSPACE_ROOT").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
        Into::into,
    );
    let text = std::fs::read_to_string(top.join("docs/guide/users.md")).expect("a guide");
    let blocks = typed::blocks(&text);
    assert!(blocks.len() > 8);
    for block in blocks {
        // What is logged is written a moment later than it happens; what was told to sshd is read so.
        host.quiet();
        host.up();
        let before = "exec 2>&1\nunset LC_ALL\nexport LANG=C.UTF-8\ncd /run\nexport HOME=/run/root PATH=/run/bin:$PATH\n";
        std::fs::write("/run/script", format!("{before}{}", block.script)).expect("a file");
        let (_, shown) = said("bash /run/script");
        assert!(
            typed::fits(&shown, &block.shown),
            "docs/guide/users.md:{}\n--- typed\n{}--- to be shown\n{}--- shown\n{shown}",
            block.line,
            block.script,
            block.shown
        );
    }
}

#[test]
fn a_step_that_fails_takes_back_those_before_it() {
    kernel_test!(Root);
    let host = host!("sshd");
    host.jail("/srv/golden");
    sh("useradd -m -s /bin/bash bob");
    sh(
        "mount --bind /etc/ssh/sshd_config.d /etc/ssh/sshd_config.d; mount -o remount,ro,bind /etc/ssh/sshd_config.d",
    );
    let before = (host.accounts(), sh("find /srv/golden /home | sort"));
    for words in [
        "add /srv/golden ana",
        "add --from-existing --move-home /srv/golden bob",
    ] {
        let (code, text) = said(&format!("jaula user {words}"));
        assert_eq!(code, 125, "{text}");
        assert!(
            text.contains("write /etc/ssh/sshd_config.d/00-jaula-"),
            "{text}"
        );
        assert!(
            text.contains("hint: undone: ") && text.contains("nothing is changed"),
            "{text}"
        );
        let after = (host.accounts(), sh("find /srv/golden /home | sort"));
        assert_eq!(after, before, "{words}");
    }
    assert_eq!(sh("ls -A /run/store/journal"), "");
}

#[test]
fn sshd_itself_lets_in_for_sftp_where_namespaces_are_refused() {
    kernel_test!(Root);
    let host = host!("sshd", "sftp");
    host.jail("/srv/golden");
    let (code, text) = said("jaula user add /srv/golden ana --entry sshd");
    assert!(
        code == 125 && text.contains("it takes --only sftp and nothing else"),
        "{text}"
    );
    sh("jaula user add /srv/golden ana --only sftp --entry sshd");
    host.key("/srv/golden/home/ana", "ana");
    host.sshd();
    sh("echo data >/run/put");
    let did = host.sftp("ana", "put /run/put\npwd\nls /\n").expect(0);
    assert!(
        did.contains("Remote working directory: /home/ana\n"),
        "{did}"
    );
    assert_eq!(sh("cat /srv/golden/home/ana/put"), "data\n");
    let ran = host.ssh("ana", "id");
    assert!(
        ran.code != 0 && !ran.out.contains("uid="),
        "{} {}",
        ran.out,
        ran.err
    );
    let (code, text) = said("su ana -c id");
    assert!(
        code == 125 && text.contains("the login is refused"),
        "{text}"
    );
}
