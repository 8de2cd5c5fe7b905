//! jk_init and jk_cp, beside jailkit's own where the host has it, each in a mount namespace that plays a host.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::skip;
use std::path::Path;
use std::process::Command;

/// What a script said and how it ended.
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Runs a script in a mount namespace of its own with an empty `/srv` of root's and an `/etc/jailkit` of its own.
/// `$J` is the program. None when the caller may not.
fn play(script: &str) -> Option<Said> {
    let before = "set -u\nmount -t tmpfs -o mode=755 none /srv || exit 99\nmkdir /srv/etc /srv/store\n\
        [ ! -d /etc/jailkit ] || cp -a /etc/jailkit/. /srv/etc/\n\
        if [ -d /etc/jailkit ]; then mount --bind /srv/etc /etc/jailkit || exit 99; fi\ncd /srv\n";
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .arg(format!("{before}{script}"))
        .env("J", env!("CARGO_BIN_EXE_jaula"))
        .env("JAULA_STORE", "/srv/store")
        .output()
        .ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said {
        code: ran.status.code().unwrap_or(-1),
        out: text(&ran.stdout),
        err: text(&ran.stderr),
    };
    (said.code != 99 && !said.err.contains("unshare failed")).then_some(said)
}

/// Whether this host has jailkit with its sections.
fn jailkit() -> bool {
    Path::new("/usr/sbin/jk_init").exists() && Path::new("/etc/jailkit/jk_init.ini").exists()
}

macro_rules! played {
    ($script:expr) => {
        match play($script) {
            Some(said) => said,
            None => skip!("a mount namespace needs root"),
        }
    };
}

#[test]
fn a_jail_is_the_one_that_jailkit_makes_and_more() {
    if !jailkit() {
        skip!("jailkit is not installed");
    }
    let said = played!(
        "mkdir -p seguro/jaulas/dorada; chown -R root:root seguro\n\
         $J compat jk_init -v -j /srv/seguro/jaulas/dorada jk_lsh basicshell netutils editors >ours.out || exit 1\n\
         jk_init -v -j /srv/theirs jk_lsh basicshell netutils editors >theirs.out 2>/dev/null || exit 2\n\
         list() { (cd $1; find . -mindepth 1 \\( -type f -o -type l -o -type c \\) -printf '%P %y %m %u %g %l\\n' | sort); }\n\
         list seguro/jaulas/dorada >ours; list theirs >theirs\n\
         echo missing; comm -13 ours theirs; echo more; comm -23 ours theirs\n\
         echo different; (cd theirs; find . -type f ! -name ld.so.cache) | while read -r f; do\n\
         cmp -s theirs/$f seguro/jaulas/dorada/$f || echo $f; done\n\
         grep -c '^Copying /' ours.out >/dev/null && echo copying; grep -q '^Creating symlink /srv/seguro/jaulas/dorada/' ours.out && echo links\n\
         chroot seguro/jaulas/dorada /bin/bash -c 'cd /; ls -d bin etc; vi -es -u NONE -c q && echo vi; wget --version | { read -r l; echo $l; }' 2>/dev/null\n\
         sed -n 's/^.*dorada.dev.log.*/socket/p' /etc/jailkit/jk_socketd.ini"
    );
    assert_eq!(said.code, 0, "{}", said.err);
    let part = |from: &str, to: &str| {
        let after = said.out.split_once(&format!("{from}\n")).expect(from).1;
        let inside = after.split_once(to).expect(to).0;
        inside.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let missing = part("missing", "more\n");
    // There is no cache: links stand for it.
    assert!(
        missing
            .iter()
            .all(|line| line.starts_with("etc/ld.so.cache")),
        "{missing:#?}"
    );
    let more = part("more", "different\n");
    // Links of the merged host, and what a library needs that ldd of a program does not say.
    assert!(
        more.iter()
            .all(|line| line.contains(" l 777 ") || line.contains(".so")),
        "{more:#?}"
    );
    let different = part("different", "copying\n");
    assert!(different.is_empty(), "{different:#?}");
    for says in ["links\n", "bin\netc\n", "vi\n", "GNU Wget", "socket"] {
        assert!(said.out.contains(says), "{says}: {}", said.out);
    }
}

#[test]
fn refusals_have_jailkits_codes_and_nothing_is_made() {
    let ini = "cat >x.ini <<E\n[one]\ncomment = first\npaths = cat\nincludesections = none\n[two]\npaths = cat\nE\n\
        printf '[a]\\npath = b\\n' >y.ini\ntry() { \"$@\" >out 2>&1; echo \"$?: $(tr '\\n' '|' <out)\"; }\n\
        try $J compat jk_init -c x.ini -j /srv/j three\n\
        try $J compat jk_init -c x.ini -j /srv/j one\n\
        try $J compat jk_init -c y.ini -j /srv/j a\n\
        try $J compat jk_init -c none.ini -j /srv/j a\n\
        try $J compat jk_init -c x.ini -j /srv/j | cut -d'|' -f 1\n\
        try $J compat jk_init --nonsense | cut -d'|' -f 1\n\
        mkdir -m 775 open; mkdir open/j; chown 7:8 open/j\n\
        try $J compat jk_init -c x.ini open/j two\n\
        try $J compat jk_init -c x.ini -l\n\
        try $J compat jk_init -c x.ini --jail=/srv/long two | cut -d'|' -f 1; ls -d /srv/j /srv/long";
    let said = played!(ini);
    let lines: Vec<&str> = said.out.lines().collect();
    let wanted = [
        "1: ERROR: section three does not exist in x.ini|",
        "1: ERROR: section none, which [one] includes, does not exist in x.ini|",
        "3: ERROR: y.ini: line 2, column 1: there is no key path; did you mean paths?|",
        "3: ERROR: configfile none.ini does not exist|",
        "2: ERROR: need at least a jail directory and a configfile-section",
        "1: ERROR: unrecognized option '--nonsense'",
        "3: ERROR: /srv/open can be written by its group (mode 0775)|ERROR: /srv/open/j belongs to user 7, not to \
         root|ERROR: /srv/open/j belongs to group 8, not to root's|ERROR: jail directory /srv/open/j is not safe|",
        "0: |** Available sections in x.ini **||one - first|two||",
        "0: Creating jail /srv/long",
        "/srv/long",
    ];
    assert_eq!(lines, wanted, "{}", said.err);
}

#[test]
fn every_key_of_a_section_does_what_it_says() {
    let said = played!(
        "cp /bin/cat /srv/tool; chown 7:8 tool; chmod 6755 tool; printf '#!/bin/sh\\necho hi\\n' >script; chmod 755 script\n\
         cat >x.ini <<E\n[all]\npaths = /srv/tool, script-none, /srv/script, /srv/none*\nregularfiles = /etc/hosts\n\
         directories = /srv/tree\nemptydirs = /var/log, /srv/data\nusers = root, daemon\ngroups = daemon\ndevices = /dev/null\n\
         need_logsocket = 0\n[own]\npaths_w_owner = /srv/tool\n[id]\npaths_w_setuid = /srv/tool\n[log]\nneed_logsocket = 1\n\
         [both]\nincludesections = all, log\nE\nmkdir -p tree/deep; echo d >tree/deep/f; ln -s deep/f tree/l\n\
         for n in all own id both; do $J compat jk_init -c x.ini -j /srv/j$n $n >$n.out 2>&1 || cat $n.out; done\n\
         stat -c '%n %a %u:%g' jall/srv/tool jown/srv/tool jid/srv/tool jall/var/log jall/srv/data; stat -c '%t:%T %a' jall/dev/null\n\
         ls -d jall/etc/hosts jall/srv/tree/deep/f; readlink jall/srv/tree/l; cut -d: -f1,2 jall/etc/passwd jall/etc/group\n\
         chroot jall /srv/script; grep -h setuid all.out; cat /etc/jailkit/jk_socketd.ini 2>/dev/null | grep -c 'srv/j'\n\
         echo changed >jall/etc/hosts; $J compat jk_init -c x.ini -j /srv/jall all >/dev/null; cat jall/etc/hosts\n\
         $J compat jk_init -f -c x.ini -j /srv/jall all >/dev/null; cmp jall/etc/hosts /etc/hosts && echo forced; grep -c . jall/etc/passwd\n\
         $J compat jk_init -k -c x.ini -j /srv/jk all >/dev/null; stat -c %h tree/deep/f; stat -c %a jk/srv/tool"
    );
    let socket = match Path::new("/etc/jailkit").exists() {
        true => "1",
        false => "0",
    };
    let wanted = format!(
        "jall/srv/tool 755 0:0\njown/srv/tool 755 7:8\njid/srv/tool 6755 7:8\njall/var/log 755 0:0\njall/srv/data 755 0:0\n\
         1:3 666\njall/etc/hosts\njall/srv/tree/deep/f\ndeep/f\nroot:x\ndaemon:x\nroot:x\ndaemon:x\nhi\n\
         removing setuid and setgid permissions from /srv/jall/srv/tool\n{socket}\nchanged\nforced\n2\n2\n755\n"
    );
    assert_eq!(said.out, wanted, "{}", said.err);
}

#[test]
fn jk_cp_copies_with_libraries_and_refuses_secrets() {
    let said = played!(
        "mkdir j; try() { \"$@\" >out 2>&1; echo \"$?: $(head -n 1 out)\"; }\n\
         try $J compat jk_cp -j /srv/j cat /bin/ls; chroot j /bin/cat /etc/passwd 2>&1 | grep -c 'No such'\n\
         try $J compat jk_cp -j /srv/j /etc/shadow; try $J compat jk_cp /srv/j\n\
         try $J compat jk_cp -j /srv/none cat; try $J compat jk_cp -j /srv/j /srv/no; mkdir -m 777 open; mkdir open/j\n\
         chmod 777 open; try $J compat jk_cp -j /srv/open/j cat\n\
         try $J compat jk_cp -f --jail /srv/j /etc/shadow; stat -c '%a' j/etc/shadow; ls j/etc"
    );
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(lines[0].starts_with("0: "), "{lines:#?}");
    let rest = [
        "1",
        "7: ERROR: /etc/shadow is a secret of this host",
        "2: ERROR: need at least a chroot directory and a file to copy",
        "3: ERROR: /srv/none is not a directory",
        "4: ERROR: /srv/no does not exist",
        "6: ERROR: /srv/open can be written by its group (mode 0777)",
    ];
    assert_eq!(lines[1..7], rest, "{}", said.err);
    assert!(
        lines[7].starts_with("0: ") && lines.last() == Some(&"shadow"),
        "{lines:#?}"
    );
}
