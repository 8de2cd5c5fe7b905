use super::*;

fn line(text: &str) -> PasswdLine {
    PasswdLine::read(text).expect("a line")
}

fn facts() -> LoginFacts {
    LoginFacts {
        uid: 1001,
        gid: 1001,
        changed: false,
        accounts: vec![line(
            "ana:x:1001:1001:Ana:/srv/golden/./home/ana:/usr/sbin/jaula-login",
        )],
        policy: None,
        relax: Relax::default(),
        jail: Some(JailLook {
            dangers: Vec::new(),
            account: Some(line("ana:x:1001:1001:Ana:/home/ana:/bin/bash")),
            home: Some(HomeFacts {
                uid: 1001,
                gid: 1001,
                mode: 0o700,
            }),
            whole: true,
            sftp_server: Some("/usr/lib/sftp-server".into()),
        }),
        now: Moment {
            day: 0,
            minute: 600,
        },
        hard: Vec::new(),
    }
}

fn with(change: impl FnOnce(&mut Policy)) -> LoginFacts {
    let mut policy = Policy::new(Path::new("/srv/golden"));
    change(&mut policy);
    LoginFacts {
        policy: Some(Ok(policy)),
        ..facts()
    }
}

fn asks(command: &str) -> LoginRequest {
    LoginRequest {
        command: Some(command.into()),
        env: Vec::new(),
    }
}

fn runs(facts: &LoginFacts, request: &LoginRequest) -> Vec<String> {
    let plan = plan_login(facts, request).unwrap_or_else(|refused| panic!("{refused}"));
    let words = plan.jail.command.iter();
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

fn refused(facts: &LoginFacts, request: &LoginRequest) -> LoginRefusal {
    plan_login(facts, request).expect_err("a refusal")
}

#[test]
fn a_shell_user_gets_the_shell_of_his_jail() {
    let plan = plan_login(&facts(), &LoginRequest::default()).unwrap();
    assert_eq!(plan.jail.command, ["/bin/bash", "-l"]);
    assert_eq!(plan.jail.cwd.as_deref(), Some(Path::new("/home/ana")));
    assert_eq!(plan.jail.ids, IdSpec::CallerAsSelf);
    assert_eq!(plan.jail.net, JailNet::None);
    assert!(plan.jail.no_new_privs && plan.jail.die_with_parent && plan.jail.cap_add.is_empty());
    assert_eq!(
        runs(&facts(), &asks("ls / | wc")),
        ["/bin/bash", "-c", "ls / | wc"]
    );
    for sftp in ["internal-sftp", "/usr/lib/openssh/sftp-server"] {
        assert_eq!(
            runs(&facts(), &asks(sftp)),
            ["/bin/bash", "-c", "/usr/lib/sftp-server"]
        );
    }
    let mut old = facts();
    old.jail.as_mut().unwrap().whole = false;
    let plan = plan_login(&old, &LoginRequest::default()).unwrap();
    assert!(
        matches!(&plan.jail.mounts[..], [MountSpec::Bind { from, .. }] if from == Path::new("/srv/golden/home/ana"))
    );
}

#[test]
fn a_forced_command_is_what_was_asked_for() {
    let mut request = asks(LOGIN_SHELL);
    assert_eq!(runs(&facts(), &request), ["/bin/bash", "-l"]);
    request.env = vec![("SSH_ORIGINAL_COMMAND".into(), "id".into())];
    assert_eq!(runs(&facts(), &request), ["/bin/bash", "-c", "id"]);
    let only = with(|policy| policy.only = vec![Service::Sftp]);
    assert_eq!(
        refused(&only, &request),
        LoginRefusal::NotAllowed("sftp".into())
    );
    // Without the shell's name it is not looked at.
    request.command = Some("true".into());
    assert_eq!(runs(&facts(), &request), ["/bin/bash", "-c", "true"]);
}

#[test]
fn only_what_is_listed_is_started_and_never_by_a_shell() {
    let only = |list: &[Service]| with(|policy| policy.only = list.to_vec());
    let sftp = only(&[Service::Sftp]);
    assert_eq!(
        runs(&sftp, &asks("internal-sftp -l INFO")),
        ["/usr/lib/sftp-server", "-l", "INFO"]
    );
    assert_eq!(
        refused(&sftp, &LoginRequest::default()),
        LoginRefusal::NoShell("sftp".into())
    );
    for command in [
        "ls",
        "scp -t x",
        "sftp-server; id",
        "/bin/sh -c sftp-server",
        "git-upload-pack x",
    ] {
        assert!(refused(&sftp, &asks(command)).is_told(), "{command}");
    }
    let all = only(&[Service::Scp, Service::Rsync, Service::Git]);
    assert_eq!(
        runs(&all, &asks("scp -r -t -- '~/a b'")),
        ["scp", "-r", "-t", "--", "/home/ana/a b"]
    );
    assert_eq!(
        runs(&all, &asks("git-receive-pack 'x.git'")),
        ["git-receive-pack", "x.git"]
    );
    runs(&all, &asks("rsync --server -vlogDtpre.iLsfxC . data/"));
    runs(&all, &asks("git upload-pack '~/x.git'"));
    for command in [
        "internal-sftp",
        "scp a b:c",
        "scp a b:c -t",
        "scp -- -t a:b",
        "scp -r -- -f a:b",
        "scp -S /home/ana/x -t y",
        "scp -oProxyCommand=x -f y",
        "./scp -t x",
        "/home/ana/rsync --server . x",
        "rsync --daemon",
        "rsync --server --daemon --config=x .",
        "rsync -e sh a b:",
        "git-upload-pack --upload-pack=x y",
        "git-receive-pack",
        "git -c core.sshCommand=x push",
        "git clone x",
        "git-shell",
    ] {
        assert_eq!(
            refused(&all, &asks(command)),
            LoginRefusal::NotAllowed("scp, rsync, git".into()),
            "{command}"
        );
    }
    let allow = with(|policy| policy.allow = vec!["tar cf - *".into()]);
    assert_eq!(
        runs(&allow, &asks("tar cf - 'my data'")),
        ["tar", "cf", "-", "my data"]
    );
    assert_eq!(
        refused(&allow, &asks("tar cf - a; id")),
        LoginRefusal::Words(WordsError::Shell(';'))
    );
    assert!(refused(&allow, &asks("tar cf - --checkpoint-action=exec=id")).is_told());
}

#[test]
fn every_doubt_is_a_refusal_that_names_its_cause() {
    let look = |change: fn(&mut JailLook)| {
        let mut facts = facts();
        change(facts.jail.as_mut().unwrap());
        refused(&facts, &LoginRequest::default())
    };
    let said = |refusal: LoginRefusal| format!("{} {refusal}", refusal.jailkit_code());
    assert_eq!(
        said(look(
            |jail| jail.dangers = vec!["/srv is writable by everybody".into()]
        )),
        "53 the jail is not safe: /srv is writable by everybody"
    );
    assert_eq!(
        said(look(|jail| jail.account = None)),
        "35 ana is not defined in the jail /srv/golden: jaula user add --from-existing /srv/golden ana"
    );
    assert_eq!(
        said(look(|jail| jail.account.as_mut().unwrap().uid = 0)),
        "37 the user of the account is 1001 on the host and 0 in the jail"
    );
    assert_eq!(
        said(look(|jail| jail.account.as_mut().unwrap().gid = 0)),
        "37 the group of the account is 1001 on the host and 0 in the jail"
    );
    assert_eq!(
        said(look(
            |jail| jail.account.as_mut().unwrap().home = "/root".into()
        )),
        "39 the home of the account is /home/ana on the host and /root in the jail"
    );
    let home = |change: fn(&mut HomeFacts)| {
        let mut facts = facts();
        change(facts.jail.as_mut().unwrap().home.as_mut().unwrap());
        said(refused(&facts, &LoginRequest::default()))
    };
    assert_eq!(
        home(|home| home.uid = 0),
        "41 the home /home/ana: it belongs to user 0"
    );
    assert_eq!(
        home(|home| home.mode = 0o777),
        "41 the home /home/ana: its group can write in it (mode 777)"
    );
    assert_eq!(
        home(|home| home.mode = 0o702),
        "41 the home /home/ana: everybody can write in it (mode 702)"
    );
    let whole = |change: fn(&mut LoginFacts)| {
        let mut facts = facts();
        change(&mut facts);
        said(refused(&facts, &LoginRequest::default()))
    };
    assert_eq!(
        whole(|facts| facts.uid = 0),
        "12 root does not log in to a jail"
    );
    assert_eq!(
        whole(|facts| facts.changed = true),
        "13 the effective user is not the real one"
    );
    assert_eq!(
        whole(|facts| facts.accounts.clear()),
        "13 user 1001 has no accounts in /etc/passwd"
    );
    assert_eq!(
        whole(|facts| facts.accounts = vec![facts.accounts[0].clone(), facts.accounts[0].clone()]),
        "13 user 1001 has several accounts in /etc/passwd"
    );
    assert_eq!(
        whole(|facts| facts.accounts[0].home = "/home/ana".into()),
        "16 the home \"/home/ana\" names no jail: it has no /./"
    );
    assert_eq!(
        whole(|facts| facts.policy = Some(Err("/etc/jaula is writable by its group".into()))),
        "14 what the user may do cannot be read: /etc/jaula is writable by its group"
    );
    let other = with(|policy| policy.jail = "/srv/other".into());
    assert_eq!(
        said(refused(&other, &LoginRequest::default())),
        "14 the home names the jail /srv/golden, and what the user may do is said for /srv/other"
    );
    let late = with(|policy| policy.hours = Some("tue-sun 8-18".into()));
    assert_eq!(
        said(refused(&late, &LoginRequest::default())),
        "1 it is mon 10:00, and logins are allowed tue-sun 8-18"
    );
}

#[test]
fn nothing_of_the_environment_decides_who_one_is() {
    let came = [
        ("TERM", "xterm"),
        ("LC_ALL", "es_ES.UTF-8"),
        ("LANG", "es"),
        ("LD_PRELOAD", "/x.so"),
        ("HOME", "/root"),
        ("USER", "root"),
        ("PATH", "/evil"),
        ("BASH_ENV", "/x"),
        ("SSH_AUTH_SOCK", "/x"),
        ("SSH_CLIENT", "192.0.2.1 1 22"),
        ("LC_BAD", "a\u{1b}[2J"),
    ];
    let request = LoginRequest {
        command: None,
        env: came
            .iter()
            .map(|(n, v)| ((*n).into(), (*v).into()))
            .collect(),
    };
    let mut facts = facts();
    facts.relax.env = vec!["LD_PRELOAD".into(), "HOME".into()];
    let plan = plan_login(&facts, &request).unwrap();
    let mut env: Vec<String> = plan
        .jail
        .env
        .iter()
        .map(|(n, v)| format!("{}={}", n.to_string_lossy(), v.to_string_lossy()))
        .collect();
    env.sort();
    assert_eq!(
        env,
        [
            "HOME=/home/ana",
            "LANG=es",
            "LC_ALL=es_ES.UTF-8",
            "LOGNAME=ana",
            "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
            "SHELL=/bin/bash",
            "SSH_CLIENT=192.0.2.1 1 22",
            "TERM=xterm",
            "USER=ana",
        ]
    );
}
