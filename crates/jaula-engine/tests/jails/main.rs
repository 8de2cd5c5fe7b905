//! Jails for real, as root and as an ordinary user. One thread, one case after the other; every case says what it
//! found when it fails. Nothing is left on the host.

#![allow(clippy::disallowed_methods)]

use jaula_engine::cgroup::Groups;
use jaula_engine::jail::{self, JailError, Running};
use jaula_engine::{Io, Outcome, Status, probe, session};
use jaula_plan::jail::{Fault, JailPlan, plan_jail};
use jaula_plan::spec::jail::{
    BindOptions, Changes, IdSpec, JailSpec, MountSpec, RootSpec, SeccompSpec, UserSpec,
};
use jaula_sys::{process, userns};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

mod guards;
mod kept;
mod mounts;
mod races;
mod trees;
use guards::*;
use trees::*;

type Checked = Result<(), String>;
type Case = (&'static str, fn() -> Checked);

fn words(command: &[&str]) -> Vec<std::ffi::OsString> {
    command.iter().map(Into::into).collect()
}

fn programs(command: &[&str]) -> JailSpec {
    JailSpec::new(RootSpec::HostPrograms, words(command))
}

fn planned(spec: &JailSpec) -> Result<JailPlan, String> {
    plan_jail(spec, &probe::host(spec)).map_err(|e| e.to_string())
}

fn captured(plan: &JailPlan) -> (Result<Outcome, JailError>, String) {
    let mut bytes = Vec::new();
    let outcome = jail::run(
        plan,
        Io::Captured(&mut |part| bytes.extend_from_slice(part)),
    );
    (outcome, String::from_utf8_lossy(&bytes).into_owned())
}

fn output(spec: &JailSpec) -> Result<String, String> {
    let (outcome, text) = captured(&planned(spec)?);
    match outcome {
        Ok(Outcome {
            status: Status::Exited(0),
            ..
        }) => Ok(text),
        Ok(other) => Err(format!("{:?}: {text}", other.status)),
        Err(error) => Err(format!("{error}: {text}")),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Checked {
    if found == expected {
        Ok(())
    } else {
        Err(format!("found {found:?}, expected {expected:?}"))
    }
}

fn is(condition: bool, what: impl Into<String>) -> Checked {
    if condition { Ok(()) } else { Err(what.into()) }
}

fn io<T>(result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|e| e.to_string())
}

/// A directory that is gone with the case.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self, String> {
        let dir = Path::new("/tmp").join(format!("jaula-jails-{}-{name}", std::process::id()));
        io(std::fs::create_dir(&dir))?;
        io(std::fs::set_permissions(
            &dir,
            std::fs::Permissions::from_mode(0o755),
        ))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The overlay leaves a directory in its work directory that its owner may not look into.
        let left = std::fs::Permissions::from_mode(0o700);
        drop(std::fs::set_permissions(self.0.join("work/work"), left));
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A tree that has the host's programs by a mount, and links to them.
fn tree(dir: &Path, changes: Changes, command: &[&str]) -> Result<JailSpec, String> {
    for name in ["usr", "etc", "dev", "proc", "sys", "tmp"] {
        io(std::fs::create_dir_all(dir.join(name)))?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        if std::fs::symlink_metadata(dir.join(name)).is_err() {
            io(symlink(Path::new("usr").join(name), dir.join(name)))?;
        }
    }
    let mut spec = JailSpec::new(
        RootSpec::Tree {
            dir: dir.to_owned(),
            changes,
        },
        words(command),
    );
    spec.mounts.push(MountSpec::Bind {
        from: "/usr".into(),
        to: "/usr".into(),
        options: BindOptions::READ_ONLY,
    });
    Ok(spec)
}

fn descriptors_are_0_1_2() -> Checked {
    // A descriptor of the caller's that is not closed on exec.
    let planted = io(std::fs::File::open("/etc/passwd"))?;
    // Looked at one by one: to list the directory would open one more.
    let look = "for (0..300) { print \"$_ \" if -e \"/proc/self/fd/$_\" }; print readlink '/proc/self/cwd'";
    let text = output(&programs(&["perl", "-e", look]))?;
    drop(planted);
    same(text, "0 1 2 /root".to_owned())
}

fn status_lines() -> Checked {
    let text = output(&programs(&["cat", "/proc/self/status"]))?;
    let line = |name: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(name))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    for (name, value) in [
        ("CapInh:", "0000000000000000"),
        ("CapPrm:", "00000000a80425fb"),
        ("CapEff:", "00000000a80425fb"),
        ("CapBnd:", "00000000a80425fb"),
        ("CapAmb:", "0000000000000000"),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
    ] {
        same((name, line(name).as_str()), (name, value))?;
    }
    let mut spec = programs(&["cat", "/proc/self/status"]);
    spec.cap_drop = vec!["all".into()];
    let text = output(&spec)?;
    is(text.contains("CapBnd:\t0000000000000000\n"), text)
}

fn own_names_and_processes() -> Checked {
    let script = "hostname; id -u; ls -d /proc/[0-9]* | wc -l; cat /proc/1/comm; ls /sys/class/net; ls -l /proc/1/exe 2>&1 | grep -c 'cannot read'; umask";
    let text = output(&programs(&["sh", "-c", script]))?;
    let lines: Vec<&str> = text.lines().collect();
    same(lines.first().copied(), Some("jaula"))?;
    same(lines.get(1).copied(), Some("0"))?;
    is(
        lines
            .get(2)
            .and_then(|n| n.parse::<u32>().ok())
            .is_some_and(|n| n < 6),
        &*text,
    )?;
    is(lines.contains(&"lo"), &*text)?;
    is(lines.iter().filter(|l| **l == "eth0").count() == 0, &*text)?;
    // PID 1 is ours: nobody inside reads its executable.
    is(lines.contains(&"1"), &*text)?;
    is(text.ends_with("0022\n"), text)
}

fn masks() -> Checked {
    let script = "for f in interrupts timer_list keys; do [ ! -e /proc/$f ] || wc -c < /proc/$f; done; \
        ls -A /sys/firmware /proc/acpi 2>/dev/null | grep -v : | tr -d '\\n'; \
        echo 1 > /proc/sys/kernel/panic && echo written; echo x > /proc/interrupts && echo written; true";
    let text = output(&programs(&["sh", "-c", script]))?;
    is(
        !text.contains("written") && text.lines().filter(|l| l.trim() == "0").count() >= 1,
        text,
    )
}

fn no_mount_of_the_host_inside() -> Checked {
    let text = output(&programs(&["cat", "/proc/self/mountinfo"]))?;
    let points: Vec<&str> = text.lines().filter_map(|l| l.split(' ').nth(4)).collect();
    same(points.iter().filter(|p| **p == "/").count(), 1)?;
    is(
        !points
            .iter()
            .any(|p| p.starts_with("/sys/fs") || p.starts_with("/home") || p.starts_with("/boot")),
        text,
    )
}

fn nothing_mounted_on_the_host() -> Checked {
    let before = io(std::fs::read_to_string("/proc/self/mountinfo"))?;
    output(&programs(&["true"]))?;
    same(io(std::fs::read_to_string("/proc/self/mountinfo"))?, before)
}

/// The calls of the filter by number, made by perl(1).
fn filter_native() -> Checked {
    let list = [
        (250, 1),
        (248, 1),
        (249, 1),
        (321, 1),
        (298, 1),
        (323, 1),
        (425, 1),
        (426, 1),
        (427, 1),
        (175, 1),
        (313, 1),
        (176, 1),
        (246, 1),
        (320, 1),
        (304, 1),
        (165, 1),
        (428, 1),
        (429, 1),
        (430, 1),
        (442, 1),
        (308, 1),
        (435, 38),
        (999, 38),
    ];
    let numbers: Vec<String> = list.iter().map(|(n, _)| n.to_string()).collect();
    let script = format!(
        "for my $n ({}) {{ $! = 0; syscall($n, 0, 0, 0, 0, 0); print $!+0, \"\\n\"; }}",
        numbers.join(",")
    );
    let text = output(&programs(&["perl", "-e", &script]))?;
    let expected: Vec<String> = list.iter().map(|(_, e)| e.to_string()).collect();
    same(
        text.lines().map(str::to_owned).collect::<Vec<_>>(),
        expected,
    )?;
    let script = "for my $a (0x5412, 0x541c, 0xdead00005412, 0xdead0000541c) { $! = 0; syscall(16, 0, $a, 0); print $!+0, ' '; } \
        for my $n (272, 56) { $! = 0; syscall($n, 0x10000000, 0, 0, 0, 0); print $!+0, ' '; }";
    same(
        output(&programs(&["perl", "-e", script]))?
            .trim()
            .to_owned(),
        "1 1 1 1 1 1".to_owned(),
    )
}

/// A 32-bit program of one system call, whose errno is its exit code.
fn elf32(number: u32, first: u32, second: u32) -> Vec<u8> {
    let mut code = vec![0xb8];
    code.extend(number.to_le_bytes());
    code.push(0xbb);
    code.extend(first.to_le_bytes());
    code.push(0xb9);
    code.extend(second.to_le_bytes());
    // int 0x80; neg eax; mov ebx, eax; mov eax, 1; int 0x80
    code.extend([
        0xcd, 0x80, 0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80,
    ]);
    let base = 0x0804_8000u32;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    elf.extend([2u16, 3].iter().flat_map(|v| v.to_le_bytes()));
    elf.extend(
        [1, base + 84, 52, 0, 0]
            .iter()
            .flat_map(|v: &u32| v.to_le_bytes()),
    );
    elf.extend([52u16, 32, 1, 0, 0, 0].iter().flat_map(|v| v.to_le_bytes()));
    let size = 84 + code.len() as u32;
    elf.extend(
        [1, 0, base, base, size, size, 5, 0x1000]
            .iter()
            .flat_map(|v: &u32| v.to_le_bytes()),
    );
    elf.extend(code);
    elf
}

fn filter_32_bit() -> Checked {
    let scratch = Scratch::new("elf32")?;
    // getuid32 is allowed: where it does not work, this kernel has no 32-bit entry.
    let list = [
        (199, 0, 0, 0),
        (288, 0, 0, 1),
        (286, 0, 0, 1),
        (357, 0, 0, 1),
        (336, 0, 0, 1),
        (374, 0, 0, 1),
        (425, 0, 0, 1),
        (128, 0, 0, 1),
        (350, 0, 0, 1),
        (283, 0, 0, 1),
        (342, 0, 0, 1),
        (21, 0, 0, 1),
        (435, 0, 0, 38),
        (54, 0, 0x5412, 1),
        (54, 0, 0x541c, 1),
        (310, 0x1000_0000, 0, 1),
        (120, 0x1000_0000, 0, 1),
        (359, 38, 0, 97),
    ];
    for (number, first, second, expected) in list {
        let file = scratch.0.join(format!("call-{number}-{first}-{second}"));
        io(std::fs::write(&file, elf32(number, first, second)))?;
        io(std::fs::set_permissions(
            &file,
            std::fs::Permissions::from_mode(0o755),
        ))?;
        let mut spec = programs(&["/mnt/program"]);
        spec.mounts.push(MountSpec::Bind {
            from: file,
            to: "/mnt/program".into(),
            options: BindOptions::READ_ONLY,
        });
        let (outcome, text) = captured(&planned(&spec)?);
        let status = outcome
            .map(|o| o.status)
            .map_err(|e| format!("{number}: {e} {text}"))?;
        same((number, status), (number, Status::Exited(expected)))?;
    }
    Ok(())
}

fn no_sync() -> Checked {
    let mut spec = programs(&["perl", "-e", "print syscall($_, 99), ' ' for (74, 75, 306)"]);
    spec.seccomp = SeccompSpec::DefaultNoSync;
    same(output(&spec)?, "0 0 0 ".to_owned())?;
    spec.seccomp = SeccompSpec::Default;
    same(output(&spec)?, "-1 -1 -1 ".to_owned())
}

fn exit_codes() -> Checked {
    let status = |command: &[&str]| planned(&programs(command)).map(|plan| captured(&plan).0);
    let code = |result: Result<Outcome, JailError>| match result {
        Ok(outcome) => format!("{:?}", outcome.status),
        Err(error) => error.exit_code().to_string(),
    };
    same(code(status(&["sh", "-c", "exit 42"])?), "Exited(42)".into())?;
    same(
        code(status(&["sh", "-c", "kill -TERM $$"])?),
        "Signalled(15)".into(),
    )?;
    same(code(status(&["no-such-program"])?), "127".into())?;
    same(code(status(&["/no/such/program"])?), "127".into())?;
    same(code(status(&["/etc/passwd"])?), "126".into())
}

fn orphans_are_reaped_and_killed() -> Checked {
    // A grandchild whose parent ends is PID 1's; it is a zombie for no longer than a moment.
    let script = "(sh -c 'exit 3' &) ; i=0; while [ $i -lt 200 ]; do grep -l '^State:.Z' /proc/[0-9]*/status >/dev/null 2>&1 || break; i=$((i+1)); done; [ $i -lt 200 ] && echo reaped; sleep 1000 & echo left";
    same(
        output(&programs(&["sh", "-c", script]))?,
        "reaped\nleft\n".to_owned(),
    )
}

/// Runs a jail in a child of its own and gives the supervisor's process identifier once the jail's program runs.
fn background(script: &str) -> Result<(userns::Forked, u32, Running), String> {
    background_of(&planned(&programs(&["sh", "-c", script]))?)
}

/// The same with a plan.
fn background_of(plan: &JailPlan) -> Result<(userns::Forked, u32, Running), String> {
    background_into(plan, Path::new("/dev/null"))
}

/// The same; what the program says goes into a file.
fn background_into(
    plan: &JailPlan,
    output: &Path,
) -> Result<(userns::Forked, u32, Running), String> {
    let (reader, writer) = io(std::io::pipe())?;
    let mut output = io(std::fs::File::create(output))?;
    let mut supervisor = || {
        let mut tell = |running: Running| {
            let line = format!(
                "{} {} {}\n",
                std::process::id(),
                running.pid,
                running.start_time
            );
            drop((&writer).write_all(line.as_bytes()));
        };
        let mut keep = |part: &[u8]| drop(output.write_all(part));
        match jail::run_watched(plan, Io::Captured(&mut keep), &mut tell).map(|o| o.status) {
            Ok(Status::Exited(code)) => code,
            Ok(Status::Signalled(signal)) => 128 + signal as u8,
            Err(_) => 125,
        }
    };
    let child = userns::fork(&mut supervisor).map_err(|e| e.to_string())?;
    let mut line = String::new();
    io(std::io::BufRead::read_line(
        &mut std::io::BufReader::new(reader),
        &mut line,
    ))?;
    let numbers: Vec<u64> = line
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    match numbers.as_slice() {
        [supervisor, pid, start_time] => {
            let running = Running {
                pid: *pid as u32,
                start_time: *start_time,
            };
            Ok((child, *supervisor as u32, running))
        }
        _ => Err(format!("the jail did not start: {line:?}")),
    }
}

fn kill(signal: &str, pid: u32) -> Checked {
    let status = io(std::process::Command::new("kill")
        .args([signal, &pid.to_string()])
        .status())?;
    is(status.success(), "kill failed")
}

/// Waits until a process is gone, at most ten seconds, without sleeping: by its pidfd.
fn gone(running: Running) -> Checked {
    use std::os::fd::AsFd;
    let Ok(fd) = process::pidfd(running.pid) else {
        return Ok(());
    };
    if running.is_alive() && process::readable(&[fd.as_fd()], 10_000) == 0 {
        return Err("it still runs".into());
    }
    Ok(())
}

fn a_killed_supervisor_takes_the_jail_with_it() -> Checked {
    let (child, supervisor, running) = background("sleep 1000")?;
    kill("-KILL", supervisor)?;
    child.wait().map_err(|e| e.to_string())?;
    gone(running)
}

fn signals_are_handed_on() -> Checked {
    let (child, supervisor, running) =
        background("trap 'exit 9' TERM; while :; do sleep 0.05; done")?;
    // The shell may not have set its trap yet; then the signal ends it.
    kill("-TERM", supervisor)?;
    let code = child.wait().map_err(|e| e.to_string())?;
    is(matches!(code, Some(9 | 143)), format!("{code:?}"))?;
    gone(running)
}

fn joining() -> Checked {
    let (child, supervisor, running) = background("echo inside > /tmp/mark; sleep 1000")?;
    let script = "while [ ! -s /tmp/mark ]; do :; done; cat /tmp/mark; hostname; id -u; grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\n'; perl -e 'print \"$_ \" for grep { -e \"/proc/self/fd/$_\" } 0..300'";
    let text = output_in(&running, &programs(&["sh", "-c", script]));
    kill("-TERM", supervisor)?;
    child.wait().map_err(|e| e.to_string())?;
    let text = text?;
    is(
        text.starts_with("inside\njaula\n0\nCapBnd:\t00000000a80425fbNoNewPrivs:\t1Seccomp:\t2"),
        &*text,
    )?;
    is(text.ends_with("Seccomp:\t20 1 2 "), text)?;
    gone(running)?;
    let after = jail::enter(
        &running,
        Vec::new(),
        &planned(&programs(&["true"]))?,
        Io::Inherit,
        Groups::default(),
    );
    is(matches!(after, Err(JailError::Gone)), format!("{after:?}"))
}

fn output_in(running: &Running, spec: &JailSpec) -> Result<String, String> {
    let mut bytes = Vec::new();
    let outcome = jail::enter(
        running,
        Vec::new(),
        &planned(spec)?,
        Io::Captured(&mut |part| bytes.extend_from_slice(part)),
        Groups::default(),
    );
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match outcome {
        Ok(Outcome {
            status: Status::Exited(0),
            ..
        }) => Ok(text),
        Ok(other) => Err(format!("{:?}: {text}", other.status)),
        Err(error) => Err(format!("{error}: {text}")),
    }
}

fn a_function_instead_of_a_program() -> Checked {
    let plan = planned(&programs(&["unused"]))?;
    let before = std::process::id();
    let mut function = || {
        u8::from(std::process::id() == before) + if Path::new("/usr/bin").is_dir() { 5 } else { 0 }
    };
    let outcome = jail::call(&plan, Io::Inherit, &mut function).map_err(|e| e.to_string())?;
    same(outcome.status, Status::Exited(5))
}

/// Every operation of a plan fails once, and is killed once: the program is not run, and the sentence names the step.
fn every_step_can_fail() -> Checked {
    let scratch = Scratch::new("faults")?;
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
    let plan = planned(&spec)?;
    let mounts = io(std::fs::read_to_string("/proc/self/mountinfo"))?;
    for op in 0..plan.ops.len() {
        for errno in [5, 0] {
            let mut faulty = plan.clone();
            faulty.fault = Some(Fault { op, errno });
            let (outcome, text) = captured(&faulty);
            match outcome {
                Err(JailError::Step { step, .. }) if errno == 5 => same(step, op + 1)?,
                Err(JailError::Killed) if errno == 0 => {}
                other => return Err(format!("operation {op}, errno {errno}: {other:?} {text}")),
            }
        }
    }
    is(!mark.join("ran").exists(), "the program ran")?;
    same(io(std::fs::read_to_string("/proc/self/mountinfo"))?, mounts)
}

const GUARDS: [Case; 12] = [
    ("chosen_capabilities", chosen_capabilities),
    (
        "planted_capabilities_have_no_effect",
        planted_capabilities_have_no_effect,
    ),
    ("a_profile_at_both_entries", a_profile_at_both_entries),
    (
        "a_filter_without_no_new_privileges",
        a_filter_without_no_new_privileges,
    ),
    ("landlock_on_files", landlock_on_files),
    ("landlock_on_ports", landlock_on_ports),
    ("landlock_on_scopes", landlock_on_scopes),
    ("devices_are_given_by_name", devices_are_given_by_name),
    (
        "a_jail_outlives_its_supervisor_when_it_is_said",
        a_jail_outlives_its_supervisor_when_it_is_said,
    ),
    ("every_guard_can_fail", every_guard_can_fail),
    (
        "the_kernels_surface_is_refused_at_both_entries",
        the_kernels_surface_is_refused_at_both_entries,
    ),
    (
        "the_program_that_enters_is_not_overwritten",
        the_program_that_enters_is_not_overwritten,
    ),
];

const EVERYONE: [Case; 19] = [
    (
        "a_race_for_a_mount_point_leads_nowhere",
        races::a_race_for_a_mount_point_leads_nowhere,
    ),
    (
        "two_jails_with_one_directory_stay_jails",
        races::two_jails_with_one_directory_stay_jails,
    ),
    ("descriptors_are_0_1_2", descriptors_are_0_1_2),
    ("status_lines", status_lines),
    ("own_names_and_processes", own_names_and_processes),
    ("masks", masks),
    ("no_mount_of_the_host_inside", no_mount_of_the_host_inside),
    ("nothing_mounted_on_the_host", nothing_mounted_on_the_host),
    ("filter_native", filter_native),
    ("filter_32_bit", filter_32_bit),
    ("no_sync", no_sync),
    ("exit_codes", exit_codes),
    (
        "orphans_are_reaped_and_killed",
        orphans_are_reaped_and_killed,
    ),
    (
        "a_killed_supervisor_takes_the_jail_with_it",
        a_killed_supervisor_takes_the_jail_with_it,
    ),
    ("signals_are_handed_on", signals_are_handed_on),
    ("joining", joining),
    (
        "a_function_instead_of_a_program",
        a_function_instead_of_a_program,
    ),
    ("every_step_can_fail", every_step_can_fail),
    ("the_tree_is_not_written", the_tree_is_not_written),
];

const AFTER: [Case; 2] = [
    ("hostile_roots", hostile_roots),
    ("a_layer_lasts", a_layer_lasts),
];

const ROOT: [Case; 4] = [
    (
        "privileges_are_gained_only_when_it_is_said",
        privileges_are_gained_only_when_it_is_said,
    ),
    ("a_device_can_be_used", a_device_can_be_used),
    (
        "root_has_identifiers_of_its_own",
        root_has_identifiers_of_its_own,
    ),
    (
        "a_user_with_subordinate_identifiers",
        a_user_with_subordinate_identifiers,
    ),
];

fn say(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

fn run(who: &str, cases: &[Case], only: &[String]) -> u8 {
    let mut failures = 0u8;
    for (name, case) in cases {
        if !only.is_empty() && !only.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        match case() {
            Ok(()) => say(&format!("test {name} as {who} ... ok")),
            Err(why) => {
                failures = failures.saturating_add(1);
                say(&format!("test {name} as {who} ... FAILED\n    {why}"));
            }
        }
    }
    failures
}

fn main() -> std::process::ExitCode {
    let only: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    if std::env::args().any(|arg| arg == "--list") {
        return std::process::ExitCode::SUCCESS;
    }
    if std::env::args().any(|arg| arg == "--in-a-session") {
        return std::process::ExitCode::from(run(
            "a user in a session",
            &[
                (
                    "a_namespace_is_kept_and_verified_before_it_is_joined",
                    kept::a_namespace_is_kept_and_verified_before_it_is_joined,
                ),
                ("in_a_session", in_a_session),
            ],
            &[],
        ));
    }
    if std::env::args().any(|arg| arg == "--until-seen") {
        return until_seen();
    }
    if std::env::args().any(|arg| arg == "--planted") {
        return std::process::ExitCode::from(run("a planted caller", &[("planted", planted)], &[]));
    }
    let root = process::effective_ids().0 == 0;
    let everyone = || {
        EVERYONE
            .iter()
            .chain(&GUARDS)
            .chain(&mounts::MOUNTS)
            .chain(&AFTER)
            .copied()
            .collect::<Vec<_>>()
    };
    let mut failures = 0;
    if root {
        failures += run("root", &everyone(), &only)
            + run("root", &ROOT, &only)
            + run("root", &mounts::RANGES, &only);
        // And once more as somebody who is nobody.
        let mut user = || match userns::become_user(65534, 65534) {
            Ok(()) => run("a user", &everyone(), &only),
            Err(_) => 255,
        };
        let child = userns::fork(&mut user).and_then(userns::Forked::wait);
        failures = failures.saturating_add(child.ok().flatten().unwrap_or(255));
    } else {
        failures += run("a user", &everyone(), &only);
    }
    say(&format!("{failures} failed"));
    std::process::ExitCode::from(u8::from(failures > 0))
}
