//! What users of jails are given that is odd, and what sshd is told of it, in namespaces that play the host.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod host;

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
fn settings_that_undo_a_jail_are_found_where_sshd_finds_them() {
    kernel_test!(Root);
    let host = host!("sshd");
    host.jail("/srv/golden");
    sh("ssh-keygen -q -A; mkdir -p /run/sshd '/etc/ssh/with blank' /etc/ssh/extra");
    let before = host.accounts();
    for (lines, file, text, key) in [
        (
            "Include extra/[a-c]?.conf",
            "/etc/ssh/extra/b1.conf",
            "DenyUsers ana",
            "denyusers ana",
        ),
        (
            "Include \"/etc/ssh/with blank/*\"",
            "/etc/ssh/with blank/x",
            "DenyUsers an?",
            "denyusers an?",
        ),
        (
            "Include /etc/ssh/*/x[[:digit:]]",
            "/etc/ssh/extra/x7",
            "Match all\nAllowTcpForwarding yes",
            "",
        ),
        (
            "Include 'extra/a' extra/it\\'s",
            "/etc/ssh/extra/it's",
            "DenyUsers ana",
            "denyusers ana",
        ),
    ] {
        std::fs::write(file, text).expect("a file");
        sh(&format!(
            "cp /etc/ssh/sshd_config /run/config; cat >/etc/ssh/sshd_config <<'END'\n{lines}\nEND\ncat /run/config >>/etc/ssh/sshd_config"
        ));
        // sshd reads it so, too.
        let known = sh("/usr/sbin/sshd -T -C user=ana,host=x,addr=192.0.2.1");
        assert!(known.contains(key), "{lines}: {known}");
        let (code, text) = said("jaula user add /srv/golden ana");
        assert_eq!(code, 125, "{lines}: {text}");
        assert!(
            text.contains("sshd's settings contradict: ") && text.contains(file),
            "{lines}: {text}"
        );
        sh(&format!(
            "rm \"{file}\"; cat /run/config >/etc/ssh/sshd_config"
        ));
        assert_eq!(host.accounts(), before, "{lines}");
    }
    // What cannot be read is not taken for nothing.
    sh("mkdir /etc/ssh/sshd_config.d/10-x.conf");
    let (code, text) = said("jaula user add /srv/golden ana");
    assert!(
        code == 125 && text.contains("/etc/ssh/sshd_config.d/10-x.conf"),
        "{code} {text}"
    );
    sh("rmdir /etc/ssh/sshd_config.d/10-x.conf");
    assert_eq!(host.accounts(), before);
    // A group of somebody else's is none of his.
    sh(
        "groupadd others; groupadd hers; sed -i 's/^hers:.*/&ana/' /etc/group; printf 'DenyGroups others\nAllowGroups hers\n' >/etc/ssh/sshd_config.d/20-x.conf; jaula user add /srv/golden ana",
    );
    assert_eq!(sh("jaula check /srv/golden | grep -c sshd || :"), "0\n");
    sh("printf 'DenyGroups hers\n' >/etc/ssh/sshd_config.d/20-x.conf");
    let checked = said("jaula check /srv/golden").1;
    assert!(checked.contains("20-x.conf, line 1"), "{checked}");
}

#[test]
fn a_jail_at_any_path_is_told_to_sshd_or_refused() {
    kernel_test!(Root);
    let host = host!("sshd", "sftp", "su");
    host.jail("/srv/golden");
    let odd = "/srv/a b#c%d";
    sh(&format!("cp -a /srv/golden '{odd}'"));
    sh(&format!(
        "jaula user add '{odd}' ana --only sftp --entry sshd; jaula user add '{odd}' eva --shell /bin/bash"
    ));
    sh(&format!(
        "test ! -e /run/key; ssh-keygen -q -t ed25519 -N '' -f /run/key; mkdir -m 700 '{odd}/home/ana/.ssh'; \
        cp /run/key.pub '{odd}/home/ana/.ssh/authorized_keys'; chown -R ana: '{odd}/home/ana/.ssh'"
    ));
    host.sshd();
    let did = host.sftp("ana", "pwd\nls /\n").expect(0);
    assert!(
        did.contains("Remote working directory: /home/ana\n") && did.contains("/home"),
        "{did}"
    );
    assert_eq!(
        sh("su - eva -c 'pwd; ls -d /srv 2>&1 || :'").lines().next(),
        Some("/home/eva")
    );
    assert!(
        sh("jaula user ls").contains("'/srv/a b#c%d'") || sh("jaula user ls").contains(odd),
        "{}",
        sh("jaula user ls")
    );
    sh(&format!("jaula user rm --home '{odd}' ana eva"));
    sh(
        "for d in \"/srv/it's\" '/srv/a\"b' '/srv/a\\b' '/srv/a\nb'; do cp -a /srv/golden \"$d\"; done; cp -a /srv/golden \"$(printf '/srv/\\377')\"",
    );
    let before = (host.accounts(), sh("find /srv | sort"));
    for (jail, why) in [
        ("\"/srv/it's\"", "which sshd's settings cannot say"),
        ("'/srv/a\"b'", "which sshd's settings cannot say"),
        ("'/srv/a\\b'", "which sshd's settings cannot say"),
        ("'/srv/a\nb'", "holds '\\n'"),
        ("\"$(printf '/srv/\\377')\"", "is not UTF-8"),
        (
            "/srv/golden --home '/home/a b'",
            "which sshd's settings cannot say",
        ),
    ] {
        let (code, text) = said(&format!(
            "jaula user add {jail} ana --only sftp --entry sshd"
        ));
        assert!(code == 125 && text.contains(why), "{jail}: {code} {text}");
        let after = (host.accounts(), sh("find /srv | sort"));
        assert_eq!(after, before, "{jail}");
    }
    // The login shell needs no word of sshd's for them.
    sh("jaula user add \"/srv/it's\" ana --shell /bin/bash; /usr/sbin/sshd -t");
    assert_eq!(sh("su - ana -c pwd"), "/home/ana\n");
}

#[test]
fn no_password_is_shown() {
    kernel_test!(Root);
    let host = host!("su");
    host.jail("/srv/golden");
    // One in shadow, and old ones where everybody reads.
    sh(
        "useradd -s /bin/bash bob; usermod -p '$6$salt$secretshadow' bob; sed -i 's/^bob:x:/bob:$1$secretpasswd:/' /etc/passwd; \
         groupadd club; sed -i 's/^club:[^:]*:/club:secretgroup:/' /etc/group; sed -i 's/^club:[^:]*:/club:secretgshadow:/' /etc/gshadow; \
         sed -i 's/^root:x:/root:secretinside:/' /srv/golden/etc/passwd /srv/golden/etc/group",
    );
    let quiet = |command: &str| {
        let (code, text) = said(command);
        assert!(!text.contains("secret"), "{command}: {text}");
        assert!(code == 0 && text.len() > 40, "{command}: {code} {text}");
        text
    };
    for way in ["--plan", "--plan --json", "--explain"] {
        quiet(&format!("jaula user add /srv/golden ana {way}"));
        quiet(&format!(
            "jaula user add --from-existing /srv/golden bob {way}"
        ));
    }
    sh(
        "jaula user add --from-existing /srv/golden bob; jaula user add /srv/golden ana; usermod -p '$6$salt$secretana' ana",
    );
    for way in ["--plan", "--plan --json", "--explain"] {
        let shown = quiet(&format!("jaula user rm /srv/golden ana {way}"));
        assert!(
            shown.contains("/etc/shadow") || shown.contains("etc/shadow"),
            "{shown}"
        );
        quiet(&format!("jaula user rm /srv/golden bob {way}"));
    }
    // The plan that is shown is not what is done: the hash is back where it was.
    sh("jaula user rm --home /srv/golden ana; jaula user rm /srv/golden bob");
    assert_eq!(
        sh("grep ^bob /etc/passwd /etc/shadow | cut -d: -f2,3"),
        "bob:$1$secretpasswd\nbob:$6$salt$secretshadow\n"
    );
}

#[test]
fn a_jails_accounts_that_cannot_be_read_are_not_taken_for_none() {
    kernel_test!(Root);
    let host = host!("su");
    host.jail("/srv/golden");
    sh("mkdir /run/kept; mv /srv/golden/etc/passwd /srv/golden/etc/group /run/kept");
    for file in ["passwd", "group"] {
        sh("cp -p /run/kept/* /srv/golden/etc");
        for odd in [
            "mkdir",
            "mkfifo",
            "printf 'caf\\351:x:7:7:::\\n' | tee",
            "ln -s loop",
            "truncate -s 2M",
        ] {
            let odd = odd.replace("loop", file);
            sh(&format!(
                "cd /srv/golden/etc; rm -rf {file}; {odd} {file} >/dev/null"
            ));
            let (code, text) = said("jaula user add /srv/golden ana --plan");
            assert!(
                code == 125 && text.contains(&format!("/srv/golden/etc/{file}")),
                "{odd} {file}: {code} {text}"
            );
        }
        sh(&format!("rm -rf /srv/golden/etc/{file}"));
    }
    // None at all are none.
    sh(
        "cp -p /run/kept/* /srv/golden/etc; rm /srv/golden/etc/passwd; jaula user add /srv/golden ana --plan",
    );
}
