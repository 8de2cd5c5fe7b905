//! `jaula check` and `jaula update` of a jail's content, jk_check, jk_update and jk_list.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod who;

use jaula_testkit::skip;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use who::everyone;

/// What a script said and how it ended.
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Runs a script in a mount namespace of its own with an empty `/srv` of root's, accounts and jailkit's settings of its
/// own, and a jail `/srv/j` of `/srv/h/tool`, a copy of cat. `$J` is the program. None when the caller may not.
fn play(script: &str) -> Option<Said> {
    let before = "set -u\nmount -t tmpfs -o mode=755 none /srv || exit 99\nmkdir -p /srv/etc /srv/store /srv/h\ncd /srv\n\
        cp /etc/passwd etc/passwd; mount --bind etc/passwd /etc/passwd || exit 99\n\
        if [ -d /etc/jailkit ]; then mkdir etc/k; mount --bind etc/k /etc/jailkit || exit 99; fi\n\
        cp /bin/cat h/tool; printf '[s]\\npaths = /srv/h/tool, sh\\nusers = root, daemon\\n' >s.ini\n\
        $J compat jk_init -c s.ini -j /srv/j s >/dev/null || exit 98\n";
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

macro_rules! played {
    ($script:expr) => {
        match play($script) {
            Some(said) => said,
            None => skip!("a mount namespace needs root"),
        }
    };
}

/// Five things that are wrong.
const SPOILED: &str = "chmod u+s j/usr/bin/dash; mkdir -m 777 j/open; echo x >>j/srv/h/tool; sed -i 's/^daemon:x:1:/daemon:x:77:/' \
    j/etc/passwd; echo 'ana:x:4242:4242::/srv/j/./home/ana:/usr/sbin/jk_chrootsh' >>/etc/passwd\n";

#[test]
fn a_fresh_jail_has_no_fault_and_a_spoiled_one_has_all_five() {
    if !std::path::Path::new("/usr/bin/dash").exists() {
        skip!("sh is another one here");
    }
    let script = format!(
        "$J check /srv/j; echo $?\n{SPOILED}$J check /srv/j; echo $?\n$J check /srv/j --fix; echo $?\nstat -c %a j/usr/bin/dash j/open"
    );
    let said = played!(&script);
    let mut parts = said.out.splitn(2, "\n0\n");
    let fresh = parts.next().unwrap_or_default();
    assert!(
        fresh.starts_with("nothing is wrong: "),
        "{} {}",
        said.out,
        said.err
    );
    let rest = parts.next().unwrap_or_default();
    let (spoiled, fixed) = rest.split_once("5 faults\n1\n").expect(rest);
    let lines: Vec<&str> = spoiled.lines().collect();
    for (line, says) in lines.iter().zip([
        "set-id      /usr/bin/dash is set-id (mode 4755): who executes it becomes user 0",
        "writable    /open can be written by everybody (mode 0777)",
        "changed     /srv/h/tool is not what was placed there",
        "account     /etc/passwd has daemon as 77:1, and the host as 1:1",
        "account     /etc/passwd lacks ana, who has a home in this jail",
    ]) {
        assert_eq!(*line, says);
    }
    assert_eq!(lines.len(), 5, "{spoiled}");
    assert!(
        fixed.contains("2 fixed\n3 faults\n1\n755\n775\n"),
        "{fixed}"
    );
}

#[test]
fn what_may_be_the_hosts_is_not_mended() {
    let said = played!(
        "cp h/tool h/shared; ln h/shared j/srv/shared; chmod 777 h/shared; cp h/tool j/srv/own; chmod 777 j/srv/own\n\
         $J check /srv/j --fix >/dev/null; stat -c '%a' h/shared j/srv/own; $J check /srv/j | grep -c /srv/shared\n"
    );
    assert_eq!(said.out, "777\n775\n1\n", "{}", said.err);
}

#[test]
fn an_update_replaces_just_what_the_host_has_otherwise() {
    let said = played!(
        "mkdir -p j/home/ana; echo mine >j/home/ana/f; echo own >>j/etc/passwd; a=$(stat -c %i j/home/ana/f); b=$(stat -c %i j/usr/bin/*sh)\n\
         echo >>h/tool; $J check /srv/j; echo $?; $J update /srv/j --plan; $J update /srv/j; echo $?\n\
         [ $a = $(stat -c %i j/home/ana/f) ] && echo same; [ \"$b\" = \"$(stat -c %i j/usr/bin/*sh)\" ] && echo same\n\
         cmp j/srv/h/tool h/tool && echo new; tail -n 1 j/etc/passwd; $J check /srv/j; echo $?; $J update /srv/j; ls -a /srv | grep update"
    );
    let wanted = "stale       /srv/h/tool is another one on the host now\n1 fault\n1\nupdate /srv/j\n  replace /srv/h/tool\n\
        /srv/j: 1 replaced, 0 added, 0 removed, 0 kept\n0\nsame\nsame\nnew\nown\n";
    assert!(said.out.starts_with(wanted), "{} {}", said.out, said.err);
    assert!(
        said.out.ends_with("/srv/j has what the host has\n"),
        "{}",
        said.out
    );
}

#[test]
fn an_update_that_would_break_the_jail_or_one_in_use_leaves_it_as_it_was() {
    let said = played!(
        "sum() { (cd j; find . -type f -exec md5sum {} + | sort | md5sum); }\n\
         f=$(readlink -f /lib/x86_64-linux-gnu/libc.so.6 || echo /none); [ -e j$f ] || { echo skip; exit; }\n\
         mv j$f keep; echo broken >j$f; echo >>h/tool; before=$(sum)\n\
         $J update /srv/j 2>err; echo $?; grep -c 'cannot be loaded' err; [ \"$before\" = \"$(sum)\" ] && echo same; ls -A | grep jaula-update\n\
         rm j$f; mv keep j$f; mkfifo hold; chroot j /bin/sh -c 'echo >in; read x' <hold & exec 3>hold; n=0\n\
         until [ -e j/in ]; do n=$((n+1)); [ $n -lt 1000000 ] || exit 9; done; rm j/in; $J update /srv/j 2>err; echo $?\n\
         grep -c 'in use: it' err; mkdir j/mnt; exec 3>&-; wait; mount -t tmpfs none j/mnt; $J update /srv/j --in-use 2>err; echo $?\n\
         grep -c 'mnt is mounted' err; umount j/mnt; echo mine >j/srv/h/tool; $J update /srv/j; cat j/srv/h/tool; $J update --force /srv/j\n\
         cmp j/srv/h/tool h/tool && echo forced; $J update /srv/none 2>&1; mkdir plain; $J update /srv/plain 2>&1 | grep -c record"
    );
    if said.out == "skip\n" {
        skip!("the C library is elsewhere");
    }
    let wanted = "125\n1\nsame\n125\n1\n125\n1\n/srv/j: 0 replaced, 0 added, 0 removed, 1 kept\nmine\n\
        /srv/j: 1 replaced, 0 added, 0 removed, 0 kept\nforced\nerror: /srv/none is no directory\n1\n";
    let out = said.out.replace(
        "/srv/j has what the host has\n",
        "/srv/j: 0 replaced, 0 added, 0 removed, 1 kept\n",
    );
    assert_eq!(out, wanted, "{}", said.err);
}

#[test]
fn a_named_jail_is_checked_and_follows_the_host() {
    everyone(|user| {
        let tool = user.place.work().join("tool");
        let write = |text: &str| {
            fs::write(&tool, text).expect("a script");
            fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("a script");
        };
        write("#!/bin/sh\necho one\n");
        let word = tool.display().to_string();
        let with = format!("{word},program:cat");
        user.place.run(&["new", "n", "--with", &with]).expect(0);
        let ran = user.place.run(&["check", "n"]).expect(0);
        assert!(ran.stdout.starts_with("nothing is wrong"), "{}", ran.stdout);
        write("#!/bin/sh\necho two\n");
        let ran = user.place.run(&["check", "n", "--json"]).expect(1);
        let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!(found["faults"][0]["kind"], "stale", "{found}");
        assert_eq!(found["faults"][0]["path"], word.as_str());
        user.place.run(&["update", "n"]).expect(0);
        let ran = user.place.run(&["exec", "n", "--", &word]).expect(0);
        assert_eq!(ran.stdout, "two\n");
        user.place.run(&["check", "n"]).expect(0);
        // What is changed inside is told, and stays.
        let script = format!("echo echo three >>{word}");
        user.place
            .run(&["exec", "n", "--", "sh", "-c", &script])
            .expect(0);
        let ran = user.place.run(&["check", "n"]).expect(1);
        assert!(
            ran.stdout.contains("changed") && ran.stdout.contains("1 fault"),
            "{}",
            ran.stdout
        );
        let ran = user.place.run(&["update", "n", "--hook", "apt"]).expect(0);
        assert!(ran.stdout.contains("DPkg::Post-Invoke") && ran.stdout.contains("update n "));
    });
}

#[test]
fn jk_check_answers_by_its_exit_code_and_knows_its_ini() {
    let script = format!(
        "$J compat jk_check /srv/j; echo $?\n{SPOILED}$J compat jk_check -c none.ini; echo $?\nprintf '[/srv/j]\\n\
         ignorewritableforothers = /srv/j/open\\nignorepathoncompare = /srv/j/srv\\nignoresetuidexecuteforuser = /srv/j/usr/bin/dash\\n\
         ignoresetuidexecuteforothers = /srv/j/usr/bin/dash\\n' >c.ini; $J compat jk_check -c c.ini; echo $?\n\
         printf '[/srv/j]\\nignore = x\\n' >c.ini; $J compat jk_check -c c.ini 2>&1; echo $?"
    );
    if !std::path::Path::new("/usr/bin/dash").exists() {
        skip!("sh is another one here");
    }
    let said = played!(&script);
    let lines: Vec<&str> = said
        .out
        .lines()
        .filter(|line| !line.contains("does not exist"))
        .collect();
    let accounts = [
        "ERROR: /srv/j/etc/passwd has daemon as 77:1, and the host as 1:1",
        "ERROR: /srv/j/etc/passwd lacks ana, who has a home in this jail",
    ];
    assert_eq!(lines.first(), Some(&"0"), "{} {}", said.out, said.err);
    assert!(said.err.contains("none.ini"), "{}", said.err);
    let tail = &lines[lines.len() - 5..];
    assert_eq!(tail[..2], accounts, "{}", said.out);
    assert_eq!(tail[2], "1");
    assert!(
        tail[3].contains("c.ini: line 2, column 1: there is no key ignore"),
        "{}",
        said.out
    );
    assert_eq!(tail[4], "2");
}

#[test]
fn jk_update_replaces_what_differs_and_removes_nothing() {
    let said = played!(
        "cp /bin/ls h/tool; mkdir -p j/srv/own j/usr/bin; echo own >j/srv/h/other; try() { \"$@\" >out 2>&1; echo \"$?: $(cat out)\"; }\n\
         try $J compat jk_update -j /srv/j -d /srv; try $J compat jk_update -j /srv/j -s /srv/h/tool /srv\n\
         $J compat jk_update -j /srv/j /srv >/dev/null; cmp j/srv/h/tool /bin/ls && echo new; cat j/srv/h/other\n\
         try $J compat jk_update -j /srv/j -c x; try $J compat jk_update"
    );
    let lines: Vec<&str> = said.out.lines().collect();
    let wanted = [
        "0: will update outdated file /srv/j/srv/h/tool",
        "0: skip /srv/j/srv/h/tool",
        "new",
        "own",
        "21: ERROR: cannot specify both a jail and a configsection",
    ];
    assert_eq!(lines[..5], wanted, "{}", said.err);
    assert!(
        lines[5].starts_with("1: ERROR: must at least specify"),
        "{}",
        said.out
    );
}

#[test]
fn jk_list_lists_who_is_in_which_jail() {
    let said = played!(
        "mkfifo hold; chroot j /bin/sh -c 'read jailed-word' <hold & exec 3>hold\n\
         n=0; until $J compat jk_list -j /srv/j | grep -q read; do n=$((n+1)); [ $n -lt 200 ] || break; done\n\
         $J compat jk_list -j /srv/j; $J compat jk_list -w -j /srv/j | grep -c 'read jailed-word'; exec 3>&-; wait\n\
         $J compat jk_list -j /srv/j; $J compat jk_list --nonsense 2>/dev/null; echo $?"
    );
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(
        lines[0].starts_with("Pid") && lines[0].contains("Command"),
        "{}",
        said.out
    );
    assert!(
        lines[1].contains("root") && lines[1].contains("/srv/j"),
        "{}",
        said.out
    );
    assert_eq!(
        lines[2..],
        ["1", "No jailed processes found", "1"],
        "{}",
        said.err
    );
}

#[test]
fn a_shell_and_an_sshd_that_do_not_enter_the_jail_are_told() {
    if !std::path::Path::new("/etc/ssh").is_dir() {
        skip!("there is no /etc/ssh");
    }
    let said = played!(
        "mkdir etc/ssh; printf 'Port 22\\nSubsystem sftp internal-sftp\\n' >etc/ssh/sshd_config; mount --bind etc/ssh /etc/ssh\n\
         echo 'ana:x:4242:4242::/home/ana:/bin/sh' >>j/etc/passwd; echo 'ana:x:4242:4242::/srv/j/./home/ana:/bin/sh' >>/etc/passwd\n\
         $J check /srv/j; echo $?"
    );
    let wanted = "account     /etc/passwd has ana with the shell /bin/sh, which does not enter the jail\n\
        sshd        /etc/ssh/sshd_config serves sftp by itself (line 2), which starts no shell: ana is in no jail by it\n\
        2 faults\n1\n";
    assert_eq!(said.out, wanted, "{}", said.err);
}

#[test]
fn an_update_refuses_a_jail_that_others_can_exchange() {
    let said = played!(
        "echo >>h/tool; chmod 777 j/usr; $J update /srv/j 2>err; echo $?; grep -c 'usr can be written by everybody' err; chmod 755 j/usr\n\
         chmod 777 /srv; $J update /srv/j 2>err; echo $?; grep -c '/srv can be written' err; chmod 755 /srv; chown 1:1 j; $J update /srv/j 2>err; echo $?\n\
         chown 0:0 j; $J update /srv/j; ls -A | grep jaula"
    );
    let wanted = "125\n1\n125\n1\n125\n/srv/j: 1 replaced, 0 added, 0 removed, 0 kept\n";
    assert_eq!(said.out, wanted, "{}", said.err);
}

#[test]
fn who_is_in_an_updated_jail_goes_on_in_the_old_one() {
    let said = played!(
        "mkfifo hold; chroot j /bin/sh -c 'echo >in; read x; /srv/h/tool /etc/group' <hold >out & exec 3>hold; n=0\n\
         until [ -e j/in ]; do n=$((n+1)); [ $n -lt 1000000 ] || exit 9; done; echo >>h/tool; $J update /srv/j --in-use\n\
         cmp j/srv/h/tool h/tool && echo new; echo >>h/tool; $J update /srv/j --in-use 2>err; echo $?; grep -c 'what an update replaced' err\n\
         $J recover --plan; echo >&3; exec 3>&-; wait; cmp out j/etc/group && echo old; ls -A | grep -c jaula-update; $J check /srv/j | tail -n 1\n\
         ls -A | grep jaula-update; $J update /srv/j"
    );
    let wanted = "/srv/j: 1 replaced, 0 added, 0 removed, 0 kept\nnew\n125\n1\nrecover\n  nothing to do\nold\n1\n1 fault\n\
        /srv/j: 1 replaced, 0 added, 0 removed, 0 kept\n";
    assert_eq!(said.out, wanted, "{}", said.err);
}

#[test]
fn a_link_that_was_changed_in_the_jail_stays_unless_forced() {
    let said = played!(
        "ln -s one h/l; echo 1 >h/one; echo 2 >h/two; $J compat jk_cp -j /srv/j /srv/h/l >/dev/null; rm j/srv/h/l; ln -s /mine j/srv/h/l\n\
         ln -sfn two h/l; $J update /srv/j; readlink j/srv/h/l; $J update /srv/j --force; readlink j/srv/h/l; $J update /srv/j\n\
         ln -sfn one h/l; $J update /srv/j; readlink j/srv/h/l"
    );
    let wanted = "/srv/j: 0 replaced, 1 added, 1 removed, 1 kept\n/mine\n/srv/j: 1 replaced, 0 added, 0 removed, 0 kept\ntwo\n\
        /srv/j has what the host has\n/srv/j: 1 replaced, 1 added, 1 removed, 0 kept\none\n";
    assert_eq!(said.out, wanted, "{}", said.err);
}

#[test]
fn what_a_killed_copy_left_does_not_stop_the_next_one() {
    let said = played!(
        "rm j/srv/h/tool; echo half >j/srv/h/.tool.jaula-new; $J compat jk_cp -j /srv/j /srv/h/tool; cmp j/srv/h/tool h/tool && echo whole\n\
         ls -A j/srv/h; rm j/srv/h/tool; mkdir j/srv/h/.tool.jaula-new; $J compat jk_cp -j /srv/j /srv/h/tool 2>/dev/null; echo $?; ls -A j/srv/h"
    );
    assert_eq!(
        said.out, "Copying /srv/h/tool to /srv/j/srv/h/tool\nwhole\ntool\n7\n.tool.jaula-new\n",
        "{}",
        said.err
    );
}

#[test]
fn lines_of_a_jails_accounts_that_are_not_ours_stay_byte_by_byte() {
    let said = played!(
        "printf 'odd\\377:x:7:7::/:\\n# a remark\\n\\n+::::::' >>j/etc/passwd; chown 3:4 j/etc/passwd; chmod 640 j/etc/passwd; cp j/etc/passwd before\n\
         printf '[t]\\nusers = bin\\n' >t.ini; $J compat jk_init -c t.ini -j /srv/j t >/dev/null; n=$(stat -c %s before)\n\
         head -c $n j/etc/passwd | cmp - before && echo same; tail -c +$n j/etc/passwd | grep -c '^bin:x:2:2'; stat -c '%a %u:%g' j/etc/passwd\n\
         truncate -s 9M j/etc/passwd; printf '[u]\\nusers = sys\\n' >t.ini; $J compat jk_init -c t.ini -j /srv/j u >/dev/null 2>&1; stat -c %s j/etc/passwd"
    );
    assert_eq!(said.out, "same\n1\n640 3:4\n9437184\n", "{}", said.err);
}

#[test]
fn what_a_check_cannot_look_at_is_a_fault() {
    let said = played!(
        "d=j; i=0; while [ $i -lt 130 ]; do mkdir $d/d; d=$d/d; i=$((i+1)); done; cp j/etc/passwd keep; truncate -s 9M j/etc/passwd\n\
         $J check /srv/j | sed 's,/d/.*/d is,DEEP is,'; echo; rm -r j/d; rm j/etc/passwd; ln -s /etc/passwd j/etc/passwd; $J check /srv/j\n\
         rm j/etc/passwd; cp keep j/etc/passwd; $J check /srv/j >/dev/null && echo well\n\
         mkdir -p plain/etc; printf 'daemon\\377:x:5:5::/:\\ndaemon:x:7:7::/:\\ndaemon:x:1:1::/:\\n' >plain/etc/passwd; $J check /srv/plain\n\
         mount -t tmpfs none /proc; $J check /srv/plain 2>&1; umount /proc"
    );
    let unseen: Vec<&str> = said.out.lines().collect();
    for line in [
        "unseen      DEEP is not looked at: more than 128 directories are within each other",
        "unseen      /etc/passwd is not looked at: it is longer than 8 MiB",
        "well",
        "account     /etc/passwd has daemon as 7:7, and the host as 1:1",
        "unseen      /proc is not looked at: there is none, so the jail's processes are not known",
    ] {
        assert!(unseen.contains(&line), "{line}\n{} {}", said.out, said.err);
    }
    assert!(
        said.out
            .contains("unseen      /etc/passwd is not looked at: Too many levels")
            && said
                .out
                .contains("unseen      /proc/self/mountinfo is not looked at"),
        "{}",
        said.out
    );
}

#[test]
fn jk_update_leaves_no_jail_by_a_link_and_forgets_nothing() {
    let said = played!(
        "mkdir -p out/d j/opt /srv/h/d; ln -s /srv/out j/srv/h/e; cp h/tool out/d/tool; mkdir -p h/e/d; echo other >h/e/d/tool\n\
         $J compat jk_update -j /srv/j -d /srv/h/e/d; $J compat jk_update -j /srv/j /srv/h/e/d; cmp out/d/tool h/tool && echo untouched; rm j/srv/h/e\n\
         echo 1 >h/a; echo 1 >h/b; echo 0 >j/srv/h/a; echo 0 >j/srv/h/b; $J compat jk_update -j /srv/j -s /srv/h/b /srv/h >/dev/null\n\
         $J compat jk_update -j /srv/j /srv/h >/dev/null; echo 2 >h/a; echo 2 >h/b; $J update /srv/j --plan"
    );
    let wanted = "untouched\nupdate /srv/j\n  replace /srv/h/a\n  replace /srv/h/b\n";
    assert_eq!(said.out, wanted, "{}", said.err);
}

#[test]
fn jk_check_goes_on_after_a_jail_that_it_cannot_check() {
    let said = played!(
        "$J compat jk_init -c s.ini -j /srv/a s >/dev/null; for f in store/trees/*.json; do grep -q '\"at\":\"/srv/a\"' $f && echo '{' >$f; done\n\
         mkdir -m 777 j/open; printf '[/srv/a]\\n[/srv/j]\\n' >c.ini; $J compat jk_check -c c.ini; echo $?"
    );
    assert!(
        said.out
            .contains("ERROR: cannot check /srv/a: cannot read the record")
            && said
                .out
                .contains("WARNING: /srv/j/open can be written by everybody"),
        "{} {}",
        said.out,
        said.err
    );
    assert!(said.out.ends_with("\n2\n"), "{}", said.out);
}

#[test]
fn a_forced_update_of_a_named_jail_takes_away_what_was_changed_in_it() {
    everyone(|user| {
        let dir = user.place.work();
        let write = |name: &str, text: &str| {
            fs::write(dir.join(name), text).expect("a file");
        };
        fs::create_dir(dir.join("d")).expect("a directory");
        write("d/a", "one\n");
        write("d/b", "one\n");
        let there = dir.join("d").display().to_string();
        let with = format!("{there},program:cat,program:sh");
        user.place.run(&["new", "n", "--with", &with]).expect(0);
        let script =
            format!("echo mine >{there}/a; echo own >{there}/own; echo x:x:9:9::/: >>/etc/passwd");
        user.place
            .run(&["exec", "n", "--", "sh", "-c", &script])
            .expect(0);
        write("d/a", "two\n");
        let ran = user.place.run(&["update", "n"]).expect(0);
        assert!(
            ran.stdout.contains("n has what the host has"),
            "{}",
            ran.stdout
        );
        let ran = user.place.run(&["update", "n", "--force"]).expect(0);
        assert_eq!(ran.stdout, "n: 1 replaced, 0 added, 0 removed, 0 kept\n");
        let script = format!("cat {there}/a {there}/own; cat /etc/passwd");
        let ran = user
            .place
            .run(&["exec", "n", "--", "sh", "-c", &script])
            .expect(0);
        assert!(ran.stdout.starts_with("two\nown\n"), "{}", ran.stdout);
        assert!(ran.stdout.contains("x:x:9:9"), "{}", ran.stdout);
        for dir in ["stages", "journal"] {
            let left = fs::read_dir(user.place.store().join(dir));
            assert_eq!(left.map_or(0, Iterator::count), 0, "{dir}");
        }
    });
}

/// A database as rpm makes it, of one package, by Python's SQLite.
const RPM: &str = "mount -t tmpfs none /var/lib && mkdir -p /var/lib/rpm && python3 - <<'END' 2>/dev/null || { echo skip; exit; }\n\
import sqlite3, struct\n\
names = [b'tool', b'of-rpm', b'gone', b'demo.1']\n\
dirs = [b'/srv/h/', b'/usr/share/man/man1/']\n\
parts = [(1000, 6, 1, b'demo\\0'), (1022, 6, 1, b'noarch\\0\\0'), (1116, 4, 4, struct.pack('>4I', 0, 0, 0, 1)),\n\
    (1117, 8, 4, b''.join(n + b'\\0' for n in names)), (1118, 8, 2, b''.join(d + b'\\0' for d in dirs))]\n\
entries, store = b'', b''\n\
for tag, kind, count, value in parts: entries += struct.pack('>4I', tag, kind, len(store), count); store += value\n\
c = sqlite3.connect('/var/lib/rpm/rpmdb.sqlite')\n\
c.execute(\"CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)\")\n\
c.execute(\"CREATE TABLE 'Name' (key 'TEXT' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL)\")\n\
c.execute('INSERT INTO Packages VALUES (7, ?)', (struct.pack('>2I', len(parts), len(store)) + entries + store,))\n\
c.execute(\"INSERT INTO Name VALUES ('demo', 7, 0)\")\n\
c.commit()\n\
END\n";

#[test]
fn a_package_of_rpm_is_a_source_as_one_of_dpkg_is() {
    let said = played!(&format!(
        "{RPM}echo 1 >h/of-rpm; $J build --with package:demo -o k >/dev/null; find k/srv -type f | sort; ls k/usr/share 2>/dev/null\n\
         echo 2 >h/of-rpm; $J update /srv/k; cat k/srv/h/of-rpm; $J build --with package:none -o l 2>&1 | head -n 1\n\
         echo x >/var/lib/rpm/rpmdb.sqlite-wal; $J build --with package:demo -o l 2>&1 | tail -n 1; rm /var/lib/rpm/*; echo x >/var/lib/rpm/Packages\n\
         $J build --with package:demo -o l 2>&1 | tail -n 1"
    ));
    if said.out == "skip\n" {
        skip!("no Python with SQLite");
    }
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "k/srv/h/of-rpm",
            "k/srv/h/tool",
            "/srv/k: 1 replaced, 0 added, 0 removed, 0 kept",
            "2"
        ],
        "{} {}",
        said.out,
        said.err
    );
    assert!(
        lines[5].contains("packages are being installed"),
        "{}",
        said.out
    );
    assert!(lines[6].contains("SQLite and ndb are"), "{}", said.out);
}

#[test]
fn a_long_list_of_a_package_is_read_to_its_end() {
    let said = played!(
        "mount -t tmpfs none /var/lib && mkdir -p /var/lib/dpkg/info; i=0; a=$(printf '%0200d' 0)\n\
         { while [ $i -lt 6000 ]; do echo /none/$i$a; i=$((i+1)); done; echo /srv/h/tool; } >/var/lib/dpkg/info/long.list\n\
         $J build --with package:long -o k >/dev/null; find k/srv -type f; truncate -s 17M /var/lib/dpkg/info/long.list\n\
         $J build --with package:long -o l 2>&1"
    );
    let mut lines = said.out.lines();
    assert_eq!(
        lines.next(),
        Some("k/srv/h/tool"),
        "{} {}",
        said.out,
        said.err
    );
    assert!(said.out.contains("longer than 16 MiB"), "{}", said.out);
}
