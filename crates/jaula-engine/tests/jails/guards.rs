//! The protections that can be chosen, and what they are chosen against, looked at from inside.

use super::*;
use jaula_plan::seccomp::{Abi, Profile, number};
use jaula_plan::spec::jail::JailNet;
use std::os::unix::net::UnixListener;

fn profile(text: &str) -> Result<SeccompSpec, String> {
    let profile = Profile::parse("test", text).map_err(|e| e.to_string())?;
    Ok(SeccompSpec::Profile(Box::new(profile)))
}

/// A profile that permits everything but these entries, at both entries of the machine.
fn permissive(entries: &str) -> Result<SeccompSpec, String> {
    profile(&format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"syscalls":[{entries}]}}"#
    ))
}

fn rules<T: std::str::FromStr>(words: &[&str]) -> Result<Vec<T>, String>
where
    T::Err: std::fmt::Display,
{
    words
        .iter()
        .map(|word| word.parse().map_err(|e: T::Err| e.to_string()))
        .collect()
}

fn status_line(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().trim().to_owned()
}

pub fn chosen_capabilities() -> Checked {
    let read = |add: &[&str], drop: &[&str]| {
        let mut spec = programs(&["cat", "/proc/self/status"]);
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        (spec.cap_add, spec.cap_drop) = (owned(add), owned(drop));
        let plan = planned(&spec)?;
        let (outcome, text) = captured(&plan);
        let enforced = outcome.map_err(|e| e.to_string())?.enforced();
        let sets = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"]
            .map(|name| status_line(&text, name));
        Ok::<_, String>((
            sets.map(|set| u64::from_str_radix(&set, 16).unwrap_or(u64::MAX)),
            enforced,
        ))
    };
    let (sets, enforced) = read(&["CAP_CHOWN", "net_admin"], &["all"])?;
    same(sets, [0, 0x1001, 0x1001, 0x1001, 0])?;
    same(
        serde_json::json!(enforced.capabilities).to_string(),
        r#"["CHOWN","NET_ADMIN"]"#.to_owned(),
    )?;
    same(
        serde_json::json!(enforced.effective).to_string(),
        r#"["CHOWN","NET_ADMIN"]"#.to_owned(),
    )?;
    let (sets, _) = read(&[], &["mknod"])?;
    same(sets[3], 0xa004_25fb)?;
    // All that there are: as many as the kernel knows.
    let (sets, _) = read(&["all"], &[])?;
    is(
        sets[2] == sets[3] && sets[3].count_ones() >= 38,
        format!("{sets:x?}"),
    )
}

/// What a caller has set of his own capabilities and securebits changes nothing inside.
pub fn planted_capabilities_have_no_effect() -> Checked {
    let own = io(std::env::current_exe())?;
    let root = process::effective_ids().0 == 0;
    let mut planted = std::process::Command::new("setpriv");
    if root {
        planted.args([
            "--inh-caps",
            "+chown,+sys_admin,+net_admin",
            "--ambient-caps",
            "+sys_admin,+net_admin",
        ]);
        planted.args(["--securebits", "+no_setuid_fixup"]);
    }
    let output = io(planted.arg(own).arg("--planted").output())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    is(
        output.status.success(),
        format!("{text}{}", String::from_utf8_lossy(&output.stderr)),
    )
}

/// The part of that which runs with what was planted.
pub fn planted() -> Checked {
    let root = process::effective_ids().0 == 0;
    if root {
        let own = io(std::fs::read_to_string("/proc/self/status"))?;
        is(
            status_line(&own, "CapAmb:") != "0000000000000000",
            "nothing was planted",
        )?;
    }
    for ids in [IdSpec::Private, IdSpec::CallerAsRoot, IdSpec::Host] {
        if ids == IdSpec::Host && !root {
            continue;
        }
        let users: &[UserSpec] = match root && ids != IdSpec::CallerAsRoot {
            true => &[
                UserSpec::Root,
                UserSpec::Ids {
                    uid: 7,
                    gid: 7,
                    groups: Vec::new(),
                },
            ],
            false => &[UserSpec::Root],
        };
        for user in users {
            let script = "grep -E '^Cap(Inh|Amb|Eff|Bnd)' /proc/self/status; perl -e 'print syscall(157, 27, 0, 0, 0, 0)'";
            let mut spec = programs(&["sh", "-c", script]);
            (spec.ids, spec.user) = (ids.clone(), user.clone());
            let text = output(&spec)?;
            let effective = match user {
                UserSpec::Root => "00000000a80425fb",
                _ => "0000000000000000",
            };
            for (name, value) in [
                ("CapInh:", "0000000000000000"),
                ("CapAmb:", "0000000000000000"),
                ("CapEff:", effective),
                ("CapBnd:", "00000000a80425fb"),
            ] {
                same(
                    (&ids, name, status_line(&text, name).as_str()),
                    (&ids, name, value),
                )?;
            }
            is(
                text.ends_with("\n0"),
                format!("securebits with {ids:?}: {text}"),
            )?;
        }
    }
    Ok(())
}

pub fn a_profile_at_both_entries() -> Checked {
    let scratch = Scratch::new("profile")?;
    let program = |name: &str, number, first, second| {
        let file = scratch.0.join(name);
        io(std::fs::write(&file, elf32(number, first, second)))?;
        io(std::fs::set_permissions(
            &file,
            std::fs::Permissions::from_mode(0o755),
        ))
    };
    program("mkdir", 39, 0, 0)?;
    program("getuid", 199, 0, 0)?;
    program("socketcall", 102, 1, 0)?;
    program("kill", 37, 0, 77)?;
    let entries = r#"{"names":["mkdir","socket"],"action":"SCMP_ACT_ERRNO","errnoRet":95},
        {"names":["kill"],"action":"SCMP_ACT_ERRNO","errnoRet":71,"args":[{"index":1,"value":77,"op":"SCMP_CMP_EQ"}]},
        {"names":["getpgid"],"action":"SCMP_ACT_ERRNO","errnoRet":72,"args":[{"index":0,"value":4294967296,"op":"SCMP_CMP_GE"}]}"#;
    // 32-bit programs tell by their exit code, the native calls by a line.
    let script = "for p in mkdir getuid socketcall kill; do /mnt/$p; echo $?; done; \
        perl -e 'for my $c ([83,0,0],[41,0,0],[62,0,77],[62,0,0],[121,0x100000000,0],[121,0,0]) \
        { $! = 0; syscall($c->[0], $c->[1], $c->[2], 0); print $!+0, qq{\\n} }'";
    let mut spec = programs(&["sh", "-c", script]);
    spec.mounts.push(MountSpec::Bind {
        from: scratch.0.clone(),
        to: "/mnt".into(),
        options: BindOptions::READ_ONLY,
    });
    spec.seccomp = permissive(entries)?;
    let text = output(&spec)?;
    let found: Vec<&str> = text.lines().collect();
    same(
        found,
        ["95", "0", "95", "71", "95", "95", "71", "0", "72", "0"].to_vec(),
    )?;
    // A profile that does not list the 32-bit entry ends what comes through it.
    spec.seccomp = profile(r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[]}"#)?;
    let text = output(&spec)?;
    same(text.lines().filter(|line| *line == "159").count(), 4)
}

/// Without the promise that nothing gains privileges the filter has to be loaded while there are capabilities, and has to
/// permit the rest of the setting up.
pub fn a_filter_without_no_new_privileges() -> Checked {
    for seccomp in [
        SeccompSpec::Default,
        permissive(r#"{"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":95}"#)?,
    ] {
        let mut spec = programs(&["grep", "-E", "NoNewPrivs|Seccomp:", "/proc/self/status"]);
        (spec.no_new_privs, spec.seccomp) = (false, seccomp);
        let plan = planned(&spec)?;
        is(
            plan.notes
                .iter()
                .any(|note| note.contains("gain privileges")),
            format!("{:?}", plan.notes),
        )?;
        let (outcome, text) = captured(&plan);
        same(text, "NoNewPrivs:\t0\nSeccomp:\t2\n".to_owned())?;
        let enforced = outcome.map_err(|e| e.to_string())?.enforced();
        same(enforced.no_new_privs, false)?;
    }
    let mut spec = programs(&["true"]);
    spec.no_new_privs = false;
    spec.seccomp = permissive(r#"{"names":["capset"],"action":"SCMP_ACT_ERRNO"}"#)?;
    match captured(&planned(&spec)?).0 {
        Err(JailError::Step { what, errno, .. }) => is(
            what.contains("capabilities") && errno.0 == 1,
            format!("{what}: {errno}"),
        ),
        other => Err(format!("{other:?}")),
    }
}

/// A set-user-id program of a tree, run by somebody else than its owner.
pub fn privileges_are_gained_only_when_it_is_said() -> Checked {
    let scratch = Scratch::new("suid")?;
    let mut spec = tree(&scratch.0, Changes::Ephemeral, &["/suid", "-u"])?;
    let suid = scratch.0.join("suid");
    io(std::fs::copy("/usr/bin/id", &suid))?;
    io(std::fs::set_permissions(
        &suid,
        std::fs::Permissions::from_mode(0o4755),
    ))?;
    spec.user = UserSpec::Ids {
        uid: 7,
        gid: 7,
        groups: Vec::new(),
    };
    same(output(&spec)?, "7\n".to_owned())?;
    spec.no_new_privs = false;
    same(output(&spec)?, "0\n".to_owned())
}

fn landlocked(words: &[&str], script: &str) -> Result<JailSpec, String> {
    let mut spec = programs(&["sh", "-c", script]);
    spec.landlock = rules(words)?;
    Ok(spec)
}

fn has_landlock(needs: u32) -> bool {
    let there = jaula_sys::landlock::version();
    if there < needs {
        say(&format!(
            "skipped: Landlock version {there}, {needs} is needed"
        ));
    }
    there >= needs
}

pub fn landlock_on_files() -> Checked {
    if !has_landlock(3) {
        return Ok(());
    }
    let try_all = "t() { if eval \"$1\" 2>/dev/null; then echo yes; else echo no; fi; }; \
        t 'cat /etc/passwd >/dev/null'; t 'echo a >/tmp/a'; t 'cp /usr/bin/true /tmp/x && /tmp/x'; t 'echo b >/root/b'; \
        t 'mkdir /tmp/d && mv /tmp/a /tmp/d/a && rm -r /tmp/d'; t 'ls /root >/dev/null'; t 'echo b >>/usr/bin/true'; t 'ls /usr/bin >/dev/null'";
    let answers = |words: &[&str]| {
        let text = output(&landlocked(words, try_all)?)?;
        Ok::<_, String>(
            text.lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
                .join(" "),
        )
    };
    same(
        answers(&["exec:/usr", "rw:/tmp", "rw:/dev"])?,
        "no yes no no yes no no yes".to_owned(),
    )?;
    same(
        answers(&["exec:/usr", "ro:/etc/passwd", "rw:/dev", "ro:/tmp"])?,
        "yes no no no no no no yes".to_owned(),
    )?;
    same(
        answers(&["exec:/", "rw:/tmp", "rw:/dev"])?,
        "yes yes yes no yes yes no yes".to_owned(),
    )?;
    // A path that is not there, and one that leads out: the run is refused; nothing is left out silently.
    for path in ["ro:/no/such/place", "ro:/proc/self/fd/3/etc"] {
        match captured(&planned(&landlocked(&["exec:/usr", path], "true")?)?).0 {
            Err(JailError::Step { what, .. }) => is(what.contains(path), what)?,
            other => return Err(format!("{other:?}")),
        }
    }
    let (outcome, _) = captured(&planned(&landlocked(
        &["exec:/usr", "scope:signals"],
        "true",
    )?)?);
    let enforced = outcome.map_err(|e| e.to_string())?.enforced();
    same(
        serde_json::json!(enforced.landlock).to_string(),
        r#"["exec:/usr","scope:signals"]"#.to_owned(),
    )?;
    // Not even the program itself.
    match captured(&planned(&landlocked(&["ro:/usr"], "true")?)?).0 {
        Err(JailError::Program { errno, .. }) => same(errno.0, 13),
        other => Err(format!("{other:?}")),
    }
}

pub fn landlock_on_ports() -> Checked {
    if !has_landlock(4) {
        return Ok(());
    }
    let script = "perl -MSocket -e 'for my $p (8080, 8081) { socket(S, PF_INET, SOCK_STREAM, 0); $! = 0; \
        bind(S, sockaddr_in($p, INADDR_LOOPBACK)); print $!+0, qq{ }; close S; \
        socket(S, PF_INET, SOCK_STREAM, 0); $! = 0; connect(S, sockaddr_in($p, INADDR_LOOPBACK)); print $!+0, qq{ }; }'";
    let answers = |words: &[&str]| output(&landlocked(words, script)?);
    same(answers(&[])?, "0 111 0 111 ".to_owned())?;
    same(answers(&["bind:8080"])?, "0 111 13 111 ".to_owned())?;
    same(
        answers(&["bind:8080", "connect:8081"])?,
        "0 13 13 111 ".to_owned(),
    )?;
    same(
        answers(&["bind:none", "connect:none"])?,
        "13 13 13 13 ".to_owned(),
    )
}

pub fn landlock_on_scopes() -> Checked {
    if !has_landlock(6) {
        return Ok(());
    }
    // PID 1 is outside of what is restricted, the program's own children are not.
    let script = "kill -0 1 2>/dev/null && echo yes || echo no; sleep 100 & kill $! && echo own";
    same(output(&landlocked(&[], script)?)?, "yes\nown\n".to_owned())?;
    same(
        output(&landlocked(&["scope:signals"], script)?)?,
        "no\nown\n".to_owned(),
    )?;
    use std::os::linux::net::SocketAddrExt;
    let name = format!("jaula-test-{}", std::process::id());
    let address = io(std::os::unix::net::SocketAddr::from_abstract_name(&name))?;
    let _listener = io(UnixListener::bind_addr(&address))?;
    let connect = format!(
        "perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); $! = 0; connect(S, pack_sockaddr_un(qq{{\\0{name}}})); print $!+0'"
    );
    for (words, errno) in [(&[][..], "0"), (&["scope:abstract-sockets"], "1")] {
        let mut spec = landlocked(words, &connect)?;
        spec.net = JailNet::Host;
        same(output(&spec)?, errno.to_owned())?;
    }
    Ok(())
}

/// A device that every Linux has under a name that is not the jail's own; none in a poor container.
fn some_device() -> Option<&'static str> {
    let list = [
        "/dev/fuse",
        "/dev/kmsg",
        "/dev/hwrng",
        "/dev/loop-control",
        "/dev/tty1",
        "/dev/ttyS0",
        "/dev/vda",
        "/dev/sda",
    ];
    use std::os::unix::fs::FileTypeExt;
    let is_device = |path: &&&str| {
        std::fs::symlink_metadata(path)
            .is_ok_and(|m| m.file_type().is_char_device() || m.file_type().is_block_device())
    };
    list.iter().find(is_device).copied()
}

pub fn devices_are_given_by_name() -> Checked {
    let Some(device) = some_device() else {
        say("skipped: this host has no device to give");
        return Ok(());
    };
    let script = format!(
        "if [ -c {device} ] || [ -b {device} ]; then echo there; else echo absent; fi; ls /dev | wc -l"
    );
    let mut spec = programs(&["sh", "-c", &script]);
    is(
        output(&spec)?.starts_with("absent\n"),
        "it is there without being asked for",
    )?;
    spec.devices = rules(&[device])?;
    let plan = planned(&spec)?;
    is(
        plan.notes.iter().any(|note| note.contains(device)),
        format!("{:?}", plan.notes),
    )?;
    let (outcome, text) = captured(&plan);
    is(text.starts_with("there\n"), text)?;
    let enforced = outcome.map_err(|e| e.to_string())?.enforced();
    same(
        serde_json::json!(enforced.devices).to_string(),
        format!("[{device:?}]"),
    )?;
    // Nothing but a device, and nothing that is not there.
    let file = Path::new("/dev/core");
    if std::fs::metadata(file).is_ok_and(|m| m.is_file()) {
        spec.devices = rules(&["/dev/core"])?;
        match captured(&planned(&spec)?).0 {
            Err(JailError::Step { errno, .. }) => same(errno.0, 19)?,
            other => return Err(format!("{other:?}")),
        }
    }
    spec.devices = rules(&["/dev/no-such-device"])?;
    let absent = captured(&planned(&spec)?).0;
    is(
        matches!(absent, Err(JailError::Step { .. })),
        format!("{absent:?}"),
    )
}

/// With the host's identifiers its permissions are those of the host: it can be opened, unlike through `nodev`.
pub fn a_device_can_be_used() -> Checked {
    let mut spec = programs(&["sh", "-c", ": </dev/kmsg && echo open"]);
    if !Path::new("/dev/kmsg").exists() {
        say("skipped: no /dev/kmsg");
        return Ok(());
    }
    spec.ids = IdSpec::Host;
    spec.cap_add = vec!["SYSLOG".into()];
    spec.devices = rules(&["/dev/kmsg"])?;
    same(output(&spec)?, "open\n".to_owned())
}

/// A jail that may, goes on without its supervisor; one whose identifiers the supervisor holds may not.
pub fn a_jail_outlives_its_supervisor_when_it_is_said() -> Checked {
    let scratch = Scratch::new("outlive")?;
    io(std::fs::set_permissions(
        &scratch.0,
        std::fs::Permissions::from_mode(0o777),
    ))?;
    let made = io(std::process::Command::new("mkfifo")
        .arg("-m666")
        .arg(scratch.0.join("in"))
        .arg(scratch.0.join("out"))
        .status())?;
    is(made.success(), "mkfifo failed")?;
    let mut spec = programs(&[
        "sh",
        "-c",
        "read line </mnt/in; echo got $line >/mnt/out; exec sleep 1000",
    ]);
    spec.mounts.push(MountSpec::Bind {
        from: scratch.0.clone(),
        to: "/mnt".into(),
        options: BindOptions::WRITABLE,
    });
    spec.die_with_parent = false;
    spec.ids = IdSpec::CallerAsRoot;
    let plan = planned(&spec)?;
    is(
        plan.to_string()
            .contains("go on when the supervisor is killed"),
        plan.to_string(),
    )?;
    let (child, supervisor, running) = background_of(&plan)?;
    kill("-KILL", supervisor)?;
    child.wait().map_err(|e| e.to_string())?;
    let talk = format!("echo word >{0}/in; cat {0}/out", scratch.0.display());
    let answer = io(std::process::Command::new("timeout")
        .args(["20", "sh", "-c", &talk])
        .output())?;
    let alive = running.is_alive();
    kill("-KILL", running.pid)?;
    gone(running)?;
    same(
        String::from_utf8_lossy(&answer.stdout).into_owned(),
        "got word\n".to_owned(),
    )?;
    is(alive, "it does not run any more")?;
    spec.ids = IdSpec::Private;
    let root = process::effective_ids().0 == 0;
    match (plan_jail(&spec, &probe::host(&spec)), root) {
        (Err(error), true) => is(error.hint().is_some(), error.to_string()),
        (Ok(_), false) => Ok(()),
        (other, _) => Err(format!("{other:?}")),
    }
}

/// Every guard fails once, and the process is killed at it once: the program is not run.
pub fn every_guard_can_fail() -> Checked {
    let scratch = Scratch::new("guards")?;
    let mark = scratch.0.join("mark");
    io(std::fs::create_dir(&mark))?;
    io(std::fs::set_permissions(
        &mark,
        std::fs::Permissions::from_mode(0o777),
    ))?;
    let mut spec = programs(&["sh", "-c", "echo ran > /mnt/mark/ran"]);
    spec.mounts.push(MountSpec::Bind {
        from: mark.clone(),
        to: "/mnt/mark".into(),
        options: BindOptions::WRITABLE,
    });
    spec.cap_drop = vec!["all".into()];
    spec.seccomp = permissive(r#"{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}"#)?;
    if has_landlock(6) {
        spec.landlock = rules(&["exec:/", "rw:/mnt", "connect:443", "scope:signals"])?;
    }
    spec.devices = rules(&some_device().into_iter().collect::<Vec<_>>())?;
    let mut tried = 0;
    for promise in [true, false] {
        spec.no_new_privs = promise;
        let plan = planned(&spec)?;
        for op in 0..plan.ops.len() {
            for errno in [5, 0] {
                let mut faulty = plan.clone();
                faulty.fault = Some(Fault { op, errno });
                let (outcome, text) = captured(&faulty);
                match outcome {
                    Err(JailError::Step { step, .. }) if errno == 5 => same(step, op + 1)?,
                    Err(JailError::Killed) if errno == 0 => {}
                    other => {
                        return Err(format!("operation {op}, errno {errno}: {other:?} {text}"));
                    }
                }
                tried += 1;
            }
        }
        is(!mark.join("ran").exists(), "the program ran")?;
    }
    is(tried > 200, format!("only {tried} faults"))?;
    // And without a fault it runs.
    spec.no_new_privs = true;
    output(&spec)?;
    is(
        mark.join("ran").exists(),
        "the program did not run without a fault",
    )
}

/// Class 19 of SECURITY.md, by name, at both entries.
const SURFACE: [&str; 42] = [
    "add_key",
    "request_key",
    "keyctl",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "create_module",
    "init_module",
    "finit_module",
    "delete_module",
    "get_kernel_syms",
    "query_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "open_by_handle_at",
    "acct",
    "swapon",
    "swapoff",
    "quotactl",
    "quotactl_fd",
    "nfsservctl",
    "lookup_dcookie",
    "uselib",
    "ustat",
    "sysfs",
    "_sysctl",
    "iopl",
    "ioperm",
    "vm86",
    "vm86old",
    "syslog",
    "vhangup",
    "settimeofday",
    "stime",
    "clock_settime",
    "setns",
    "mount",
    "clone3",
];

pub fn the_kernels_surface_is_refused_at_both_entries() -> Checked {
    let scratch = Scratch::new("surface")?;
    let (mut native, mut compat) = (Vec::new(), Vec::new());
    for name in SURFACE {
        if let Some(number) = number(name, Abi::X86_64) {
            native.push((name, number));
        }
        if let Some(number) = number(name, Abi::I386) {
            let file = scratch.0.join(name);
            io(std::fs::write(&file, elf32(number, 0, 0)))?;
            io(std::fs::set_permissions(
                &file,
                std::fs::Permissions::from_mode(0o755),
            ))?;
            compat.push(name);
        }
    }
    is(
        native.len() > 36 && compat.len() > 38,
        format!("{} {}", native.len(), compat.len()),
    )?;
    let numbers: Vec<String> = native
        .iter()
        .map(|(_, number)| number.to_string())
        .collect();
    let script = format!(
        "perl -e 'for my $n ({}) {{ $! = 0; syscall($n, 0, 0, 0, 0, 0); print $!+0, qq{{\\n}}; }}'; \
         for p in {}; do /mnt/$p; echo $?; done",
        numbers.join(","),
        compat.join(" ")
    );
    let mut spec = programs(&["sh", "-c", &script]);
    spec.mounts.push(MountSpec::Bind {
        from: scratch.0.clone(),
        to: "/mnt".into(),
        options: BindOptions::READ_ONLY,
    });
    let text = output(&spec)?;
    let names = native
        .iter()
        .map(|(name, _)| *name)
        .chain(compat.iter().copied());
    same(text.lines().count(), native.len() + compat.len())?;
    for (name, answer) in names.zip(text.lines()) {
        let expected: &[&str] = if name == "clone3" {
            &["38"]
        } else {
            &["1", "38"]
        };
        is(expected.contains(&answer), format!("{name}: {answer}"))?;
    }
    Ok(())
}

/// Somebody inside waits for the program that entered, holds it, and tries to write it while it runs and after.
const OVERWRITE: &str = r#"
$| = 1;
sub try { open(my $f, "+<", $_[0]) and print "open $_[0]\n" }
while (1) {
    for my $p (glob "/proc/[0-9]*") {
        (readlink("$p/exe") // "") =~ /jails-/ or next;
        open(my $held, "<", "$p/exe") or next;
        try("$p/exe") for 1..500;
        open(my $seen, ">", "/tmp/seen");
        for (1..5000) { try("/proc/self/fd/" . fileno($held)) }
        print "seen\n";
        open(my $done, ">", "/tmp/done");
        sleep 1000;
    }
}"#;

/// The script's interpreter is the program that enters the jail (CVE-2019-5736): what runs inside then cannot be written
/// by anybody inside, whatever identifiers they have.
pub fn the_program_that_enters_is_not_overwritten() -> Checked {
    let own = io(std::env::current_exe())?;
    let before = io(std::fs::read(&own))?;
    let scratch = Scratch::new("overwrite")?;
    let root = process::effective_ids().0 == 0;
    for ids in [IdSpec::Private, IdSpec::CallerAsRoot, IdSpec::Host] {
        if ids == IdSpec::Host && !root {
            continue;
        }
        // With every capability that could help.
        let able = |command: &[&str]| {
            let mut spec = programs(command);
            spec.ids = ids.clone();
            let names = ["DAC_OVERRIDE", "DAC_READ_SEARCH", "SYS_PTRACE", "FOWNER"];
            spec.cap_add = names.map(str::to_owned).to_vec();
            spec
        };
        let told = scratch.0.join("told");
        let plan = planned(&able(&["perl", "-e", OVERWRITE]))?;
        let (child, supervisor, running) = background_into(&plan, &told)?;
        let script =
            "printf '#!/proc/self/exe --until-seen\n' >/tmp/script && chmod +x /tmp/script";
        output_in(&running, &able(&["sh", "-c", script]))?;
        // Runs this very program inside, until it was seen there.
        let entered = output_in(&running, &able(&["/tmp/script"]));
        let wait = "i=0; while [ ! -e /tmp/done ] && [ $i -lt 1000000 ]; do i=$((i+1)); done";
        let waited = output_in(&running, &able(&["sh", "-c", wait]));
        kill("-KILL", supervisor)?;
        child.wait().map_err(|e| e.to_string())?;
        gone(running)?;
        entered?;
        waited?;
        let told = io(std::fs::read_to_string(&told))?;
        same((&ids, told.as_str()), (&ids, "seen\n"))?;
    }
    is(
        io(std::fs::read(&own))? == before,
        "the program was written",
    )
}

/// The part of that which runs inside.
pub fn until_seen() -> std::process::ExitCode {
    let seen = (0..100_000_000u32).any(|_| Path::new("/tmp/seen").exists());
    std::process::ExitCode::from(u8::from(!seen))
}
