use super::*;
use crate::account::SSHD_DIR;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\nbob:x:1000:1000:Bob:/home/bob:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n";
const GROUP: &str = "root:x:0:\nusers:x:100:\nbob:x:1000:\naudio:x:29:bob\n";

fn facts() -> AccountFacts {
    AccountFacts {
        passwd: PASSWD.to_owned(),
        group: GROUP.to_owned(),
        shadow: Some("root:*:1::::::\nbob:$6$x:1::::::\n".to_owned()),
        gshadow: Some("root:*::\nbob:!::\n".to_owned()),
        shells: Some("/bin/sh\n".to_owned()),
        today: 20_000,
        sshd: Some(SshdFacts {
            main: "Include /etc/ssh/sshd_config.d/*.conf\n".to_owned(),
            included: vec![("/etc/ssh/sshd_config.d/*.conf".to_owned(), Vec::new())],
        }),
        program: ("/usr/bin/jaula".into(), None),
        jail: true,
        inside_passwd: Some("root:x:0:0::/root:/bin/bash\n".to_owned()),
        inside_group: Some("root:x:0:\n".to_owned()),
        shell_there: true,
        ..AccountFacts::default()
    }
}

fn spec(user: &str) -> AddSpec {
    let jail = PathBuf::from("/srv/golden");
    AddSpec {
        user: user.parse().expect("a name"),
        existing: false,
        shell: None,
        home: None,
        comment: String::new(),
        group: None,
        uid: None,
        move_home: false,
        login_shell: LOGIN_SHELL.into(),
        policy: Policy::new(&jail),
        jail,
    }
}

/// The files after a plan.
fn after(facts: &AccountFacts, plan: &AccountPlan) -> AccountFacts {
    let mut facts = facts.clone();
    for step in &plan.steps {
        match step {
            AccountStep::Edit {
                root, path, edits, ..
            } => {
                let jail = root != Path::new("/");
                let file = match path.to_str().expect("a path") {
                    "etc/passwd" if jail => facts.inside_passwd.get_or_insert_default(),
                    "etc/group" if jail => facts.inside_group.get_or_insert_default(),
                    "etc/passwd" => &mut facts.passwd,
                    "etc/group" => &mut facts.group,
                    "etc/shadow" => facts.shadow.as_mut().expect("a file"),
                    "etc/gshadow" => facts.gshadow.as_mut().expect("a file"),
                    "etc/shells" => facts.shells.as_mut().expect("a file"),
                    other => panic!("{other}"),
                };
                *file = lines::edit(file, edits).expect("lines").text();
            }
            AccountStep::Write {
                path,
                after,
                before,
                ..
            } => {
                let slot = match path.starts_with(SSHD_DIR) {
                    true => &mut facts.addition,
                    false => &mut facts.policy,
                };
                assert_eq!(slot, before);
                slot.clone_from(after);
            }
            AccountStep::Link { .. } => facts.login_shell = Some(true),
            AccountStep::Directory { .. } | AccountStep::RemoveHome { .. } => {}
            AccountStep::Home { uid, gid, .. } | AccountStep::MoveHome { uid, gid, .. } => {
                facts.look.home = Some(HomeFacts {
                    uid: *uid,
                    gid: *gid,
                    mode: 0o700,
                });
            }
        }
    }
    facts
}

#[test]
fn a_new_user_has_an_account_outside_and_inside_and_rm_takes_all_of_it_back() {
    let facts = facts();
    let mut spec = spec("ana");
    spec.comment = "Ana".to_owned();
    let plan = plan_add(&spec, &facts, true).unwrap();
    assert_eq!(
        plan.to_string(),
        "let ana into the jail /srv/golden\n  \
         1. make link /usr/sbin/jaula-login -> /usr/bin/jaula\n  \
         2. edit /etc/shells\n  \
         3. edit /srv/golden/etc/passwd\n  \
         4. edit /srv/golden/etc/group\n  \
         5. make home /srv/golden/home/ana of user 1001 and group 1001, with what /etc/skel has\n  \
         6. write /etc/jaula/users/ana.toml\n  \
         7. write /etc/ssh/sshd_config.d/00-jaula-ana.conf\n  \
         8. edit /etc/group\n  \
         9. edit /etc/gshadow\n  \
         10. edit /etc/passwd\n  \
         11. edit /etc/shadow\n\
         --- /etc/shells\n+++ /etc/shells\n@@ -1,1 +1,2 @@\n /bin/sh\n+/usr/sbin/jaula-login\n\
         --- /srv/golden/etc/passwd\n+++ /srv/golden/etc/passwd\n@@ -1,1 +1,2 @@\n root:x:0:0::/root:/bin/bash\n\
         +ana:x:1001:1001:Ana:/home/ana:/bin/sh\n\
         --- /srv/golden/etc/group\n+++ /srv/golden/etc/group\n@@ -1,1 +1,2 @@\n root:x:0:\n+ana:x:1001:\n\
         --- /dev/null\n+++ /etc/jaula/users/ana.toml\n@@ -0,0 +1,5 @@\n\
         +# Written by jaula user; change it with jaula user set.\n+version = 1\n+jail = \"/srv/golden\"\n\
         +# A session has at most: processes=256,data=2G,files=1024,core=0\n\
         +inside = [\"ana:x:1001:1001:Ana:/home/ana:/bin/sh\", \"ana:x:1001:\"]\n\
         --- /dev/null\n+++ /etc/ssh/sshd_config.d/00-jaula-ana.conf\n@@ -0,0 +1,12 @@\n\
         +# Written by jaula user: ana lives in /srv/golden.\n+Match User ana\n+    ForceCommand /usr/sbin/jaula-login\n\
         +    ChrootDirectory none\n+    PermitTTY yes\n+    DisableForwarding yes\n+    AllowTcpForwarding no\n\
         +    AllowStreamLocalForwarding no\n+    AllowAgentForwarding no\n+    X11Forwarding no\n+    PermitTunnel no\n\
         +    PermitUserRC no\n\
         --- /etc/group\n+++ /etc/group\n@@ -2,3 +2,4 @@\n users:x:100:\n bob:x:1000:\n audio:x:29:bob\n+ana:x:1001:\n\
         --- /etc/gshadow\n+++ /etc/gshadow\n@@ -1,2 +1,3 @@\n root:…::\n bob:…::\n+ana:…::\n\
         --- /etc/passwd\n+++ /etc/passwd\n@@ -2,3 +2,4 @@\n www-data:x:33:33::/var/www:/usr/sbin/nologin\n \
         bob:x:1000:1000:Bob:/home/bob:/bin/bash\n nobody:x:65534:65534::/:/bin/false\n\
         +ana:x:1001:1001:Ana:/srv/golden/./home/ana:/usr/sbin/jaula-login\n\
         --- /etc/shadow\n+++ /etc/shadow\n@@ -1,2 +1,3 @@\n root:…:1::::::\n bob:…:1::::::\n+ana:…:20000:0:99999:7:::\n\
         note: an sshd that runs reads it when it is told to: systemctl reload ssh, or kill -HUP\n"
    );
    assert_eq!(plan.explain().len(), plan.steps.len());
    let there = after(&facts, &plan);
    let gone = after(
        &there,
        &plan_rm(&spec.user, &spec.jail, false, &there).unwrap(),
    );
    // The login shell stays for others, and the home is the user's.
    let as_before = AccountFacts {
        shells: facts.shells.clone(),
        login_shell: None,
        look: JailLook::default(),
        ..gone
    };
    assert_eq!(as_before, facts);
}

#[test]
fn an_existing_user_is_let_in_and_gets_his_account_back() {
    let facts = AccountFacts {
        old_home: Some(HomeFacts {
            uid: 1000,
            gid: 1000,
            mode: 0o755,
        }),
        way: vec!["home".into()],
        lacks: vec!["proc", "tmp"],
        ..facts()
    };
    let mut spec = spec("bob");
    spec.existing = true;
    spec.move_home = true;
    let plan = plan_add(&spec, &facts, true).unwrap();
    let there = after(&facts, &plan);
    assert!(
        there
            .passwd
            .contains("bob:x:1000:1000:Bob:/srv/golden/./home/bob:/usr/sbin/jaula-login\n")
    );
    assert_eq!(
        there.inside_passwd.as_deref(),
        Some("root:x:0:0::/root:/bin/bash\nbob:x:1000:1000:Bob:/home/bob:/bin/bash\n")
    );
    assert_eq!(
        there.inside_group.as_deref(),
        Some("root:x:0:\nbob:x:1000:\naudio:x:29:bob\n")
    );
    let words: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    for step in [
        "make directory /srv/golden/proc with mode 555",
        "make directory /srv/golden/tmp with mode 1777",
        "make directory /srv/golden/home with mode 755",
        "move home /home/bob to /srv/golden/home/bob",
    ] {
        assert!(words.iter().any(|word| word == step), "{step}: {words:?}");
    }
    let gone = after(
        &there,
        &plan_rm(&spec.user, &spec.jail, true, &there).unwrap(),
    );
    assert_eq!(
        (
            gone.passwd,
            gone.group,
            gone.inside_passwd,
            gone.inside_group
        ),
        (
            facts.passwd,
            facts.group,
            facts.inside_passwd,
            facts.inside_group
        )
    );
}

#[test]
fn set_changes_the_shell_inside_and_what_is_allowed() {
    let before = facts();
    let spec = spec("ana");
    let there = after(&before, &plan_add(&spec, &before, true).unwrap());
    let mut policy = Policy::read(there.policy.as_deref().unwrap()).unwrap();
    policy.only = vec![Service::Sftp];
    let changes = Changes {
        shell: Some("/bin/bash".to_owned()),
        policy: Some(policy),
    };
    let plan = plan_set(&spec.user, &spec.jail, &changes, &there, true).unwrap();
    let set = after(&there, &plan);
    assert!(
        set.inside_passwd
            .as_deref()
            .unwrap()
            .ends_with(":/home/ana:/bin/bash\n")
    );
    assert!(
        set.policy
            .as_deref()
            .unwrap()
            .contains("only = [\"sftp\"]\n")
    );
    assert!(set.addition.as_deref().unwrap().contains("PermitTTY no\n"));
    let gone = after(&set, &plan_rm(&spec.user, &spec.jail, false, &set).unwrap());
    assert_eq!(
        (gone.passwd, gone.inside_passwd, gone.policy, gone.addition),
        (before.passwd, before.inside_passwd, None, None)
    );
    let same = plan_set(
        &spec.user,
        &spec.jail,
        &Changes {
            shell: Some("/bin/bash".into()),
            policy: None,
        },
        &set,
        true,
    );
    assert_eq!(same, Err(AccountError::Nothing));
}

#[test]
fn who_cannot_be_let_in() {
    let refused = |change: &dyn Fn(&mut AddSpec, &mut AccountFacts)| {
        let (mut spec, mut facts) = (spec("ana"), facts());
        change(&mut spec, &mut facts);
        plan_add(&spec, &facts, true)
            .expect_err("a refusal")
            .to_string()
    };
    let existing = |name: &'static str| {
        move |spec: &mut AddSpec, _: &mut AccountFacts| {
            spec.user = name.parse().expect("a name");
            spec.existing = true;
        }
    };
    assert_eq!(refused(&existing("root")), "root is root");
    assert_eq!(
        refused(&existing("www-data")),
        "www-data is an account of the system: its number 33 is not between 1000 and 60000"
    );
    assert!(refused(&existing("nobody")).contains("65534"));
    assert_eq!(
        refused(&existing("luis")),
        "there is no user luis on this host"
    );
    assert_eq!(
        refused(&|spec, _| spec.user = "root".parse().expect("a name")),
        "root is root"
    );
    assert_eq!(
        refused(&|spec, _| spec.user = "bob".parse().expect("a name")),
        "there is a user bob already"
    );
    assert_eq!(
        refused(&|spec, _| spec.user = "1001".parse().expect("a name")),
        "\"1001\" is a number and no name"
    );
    assert_eq!(
        refused(&|spec, _| spec.uid = Some(0)),
        "the number 0 is taken, or not between 1000 and 60000"
    );
    assert_eq!(
        refused(&|spec, _| spec.uid = Some(1000)),
        "the number 1000 is taken, or not between 1000 and 60000"
    );
    assert_eq!(
        refused(&|spec, _| spec.group = Some("staff".into())),
        "there is no group staff on this host"
    );
    assert_eq!(
        refused(&|spec, _| spec.comment = "a:0:0".into()),
        "the comment \"a:0:0\" holds ':', which an account cannot"
    );
    assert!(refused(&|spec, _| spec.shell = Some("/bin/sh\nroot2:x:0:0".into())).contains("'\\n'"));
    assert_eq!(
        refused(&|_, facts| facts.jail = false),
        "/srv/golden is no directory"
    );
    assert_eq!(
        refused(&|_, facts| facts.look.dangers = vec!["/srv is writable by everybody".into()]),
        "the jail is not safe: /srv is writable by everybody"
    );
    assert_eq!(
        refused(&|_, facts| facts.shell_there = false),
        "the jail has no program /bin/sh"
    );
    assert_eq!(
        refused(&|spec, _| spec.home = Some("home/ana".into())),
        "the home \"home/ana\" is not in the jail /srv/golden"
    );
    assert!(refused(&|spec, _| spec.home = Some("/../x".into())).contains("not in the jail"));
    assert_eq!(
        refused(&|spec, facts| {
            spec.existing = true;
            facts
                .passwd
                .push_str("ana:x:1001:1001::/srv/other/./home/ana:/bin/sh\n");
        }),
        "the home \"/srv/other/./home/ana\" is not in the jail /srv/golden"
    );
    assert_eq!(
        refused(&|_, facts| facts.inside_passwd = Some("ana:x:7:7::/home/ana:/bin/sh\n".into())),
        "the jail knows ana already, as user 7 and group 7"
    );
    assert!(
        refused(&|_, facts| facts
            .sshd
            .as_mut()
            .unwrap()
            .main
            .push_str("DenyUsers ana\n"))
        .contains("line 2")
    );
    assert!(
        refused(&|_, facts| facts.program.1 = Some("/work is writable by everybody".into()))
            .contains("login shell")
    );
    assert!(refused(&|_, facts| facts.login_shell = Some(false)).contains("another program"));
    assert!(refused(&|spec, _| spec.policy.entry = Entry::Sshd).contains("--only sftp"));
    assert!(refused(&|spec, _| spec.policy.allow = vec!["*".into()]).contains("pattern"));
    for name in ["a:b", "a\nb", "", "-r", "../x", "a b", "áb"] {
        assert!(name.parse::<UserName>().is_err(), "{name:?}");
    }
    let out = plan_rm(
        &"bob".parse().unwrap(),
        Path::new("/srv/golden"),
        false,
        &facts(),
    );
    assert_eq!(
        out.unwrap_err().to_string(),
        "bob does not live in the jail /srv/golden"
    );
}

#[test]
fn where_users_get_no_namespace_the_service_lets_them_in() {
    let mut facts = AccountFacts {
        namespaces_refused: Some("max_user_namespaces is 0".into()),
        ..facts()
    };
    let written = |facts: &AccountFacts| {
        let plan = plan_add(&spec("ana"), facts, true).unwrap();
        let units: Vec<String> = plan
            .steps
            .iter()
            .map(ToString::to_string)
            .filter(|step| step.contains("jaula-entry"))
            .collect();
        (units, plan.notes.join("\n"))
    };
    // Without systemd it is started by hand.
    let (units, notes) = written(&facts);
    assert!(units.is_empty(), "{units:?}");
    assert!(
        notes.contains("start /usr/bin/jaula user serve at boot"),
        "{notes}"
    );
    facts.entry.systemd = true;
    let (units, notes) = written(&facts);
    assert_eq!(
        units,
        [
            "write /etc/systemd/system/jaula-entry.socket",
            "write /etc/systemd/system/jaula-entry.service",
            "make link /etc/systemd/system/sockets.target.wants/jaula-entry.socket -> \
             /etc/systemd/system/jaula-entry.socket",
        ]
    );
    assert!(
        notes.contains("systemctl start jaula-entry.socket"),
        "{notes}"
    );
    // What is there stays, and so does what somebody else has written.
    let [socket, _] = entry_units();
    facts.entry = EntryFacts {
        listens: true,
        systemd: true,
        units: [
            Some(socket),
            Some("[Service]\nExecStart=/bin/mine\n".into()),
        ],
        wanted: true,
    };
    let (units, notes) = written(&facts);
    assert!(
        units.is_empty() && !notes.contains("systemctl start"),
        "{units:?} {notes}"
    );
    facts.entry.units = [None, None];
    facts.namespaces_refused = None;
    assert!(written(&facts).0.is_empty());
}

fn entry_units() -> [String; 2] {
    crate::account::entry::units(Path::new("/usr/bin/jaula")).unwrap()
}

#[test]
fn where_users_get_no_namespace_sshd_lets_them_in_for_sftp() {
    let facts = AccountFacts {
        namespaces_refused: Some("max_user_namespaces is 0".into()),
        shell_there: false,
        ..facts()
    };
    let mut spec = spec("ana");
    spec.policy.only = vec![Service::Sftp];
    spec.policy.entry = Entry::Sshd;
    let plan = plan_add(&spec, &facts, true).unwrap();
    let there = after(&facts, &plan);
    assert!(
        there
            .addition
            .unwrap()
            .contains("ForceCommand internal-sftp -d /home/ana\n    ChrootDirectory /srv/golden\n")
    );
}
