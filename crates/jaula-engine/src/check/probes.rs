//! The probes: each tries one thing, and says what came of it. They run inside, after everything was taken away.

use super::{Finding, NAMESPACES, Outside, Verdict, namespaces};
use jaula_plan::explain::shown;
use jaula_plan::setup_op::CapSet;
use jaula_sys::attempt::{self, Call};
use jaula_sys::error::Errno;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::net::UdpSocket;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

type Found = (Verdict, String);

fn held(found: impl Into<String>) -> Found {
    (Verdict::Held, found.into())
}

fn open(found: impl Into<String>) -> Found {
    (Verdict::Open, found.into())
}

fn absent(found: impl Into<String>) -> Found {
    (Verdict::Absent, found.into())
}

const EPERM: i32 = 1;
const ESRCH: i32 = 3;
const EACCES: i32 = 13;
const ENOSYS: i32 = 38;

/// Every probe, in the order of the classes.
pub(super) fn all(outside: &Outside) -> Vec<Finding> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut list: Vec<(&'static str, u8, Found)> = vec![
        ("parent-of-root", 1, parent_of_root()),
        ("host-files", 1, host_files(&mounts, outside)),
        ("procfs", 2, procfs(&mounts)),
        ("masked-paths", 2, masked()),
        ("kernel-settings", 2, settings()),
        ("sysfs", 2, sysfs()),
        ("cgroup-files", 2, cgroup_files(&mounts)),
        ("descriptors", 3, descriptors()),
        ("working-directory", 3, working_directory()),
        ("first-process", 4, first_process()),
        ("terminal-injection", 5, injection(0)),
        ("terminal-injection-high-bits", 5, injection(0xdead_beef)),
        ("session", 5, session()),
        ("no-new-privileges", 6, no_new_privileges(&status)),
        ("root-outside", 7, root_outside(outside)),
        ("bounding-set", 11, bounding(&status)),
        ("inherited-capabilities", 11, inherited(&status)),
        ("groups", 11, groups(&status)),
        ("root-by-proc", 13, root_by_proc()),
        ("double-chroot", 13, double_chroot()),
        ("signal-outside", 13, signal(outside)),
        ("trace-outside", 13, trace(outside)),
        ("devices", 13, devices()),
        ("make-device", 13, make_device()),
        ("links", 18, links()),
        ("metadata-address", 18, metadata()),
        ("sockets-of-others", 18, sockets(outside)),
    ];
    let own = namespaces();
    let names = [
        "namespace-mnt",
        "namespace-pid",
        "namespace-net",
        "namespace-ipc",
        "namespace-uts",
        "namespace-user",
        "namespace-cgroup",
    ];
    for (name, kind) in names.into_iter().zip(NAMESPACES) {
        let found = match (own.get(kind), outside.namespaces.get(kind)) {
            (Some(inside), Some(out)) if inside == out => {
                open(format!("the {kind} namespace is the caller's"))
            }
            (Some(_), _) => held(format!("a {kind} namespace of its own")),
            (None, _) => absent("/proc/self/ns cannot be read"),
        };
        list.push((name, 13, found));
    }
    let mut findings: Vec<Finding> = list
        .into_iter()
        .map(|(probe, class, (verdict, found))| Finding {
            probe: probe.to_owned(),
            class,
            verdict,
            found,
        })
        .collect();
    for (topic, calls) in attempt::TOPICS {
        let (verdict, found) = kept_away(calls, |call| Some(call.native()));
        findings.push(Finding {
            probe: format!("calls-{topic}"),
            class: 19,
            verdict,
            found,
        });
    }
    let every: Vec<Call> = attempt::TOPICS
        .iter()
        .flat_map(|(_, calls)| calls.iter().copied())
        .collect();
    let (verdict, found) = kept_away(&every, Call::other);
    findings.push(Finding {
        probe: "calls-32-bit-entry".to_owned(),
        class: 19,
        verdict,
        found,
    });
    findings.sort_by_key(|finding| finding.class);
    findings
}

/// The value of a line of proc_pid_status(5).
fn line<'a>(status: &'a str, name: &str) -> &'a str {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap_or_default()
        .trim()
}

fn place(path: &str) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

fn parent_of_root() -> Found {
    if place("/..") == place("/") {
        held("/.. is / itself")
    } else {
        open("/.. leads above the root")
    }
}

/// What is written through these is the machine's, whoever mounted them.
const HARMLESS: [&str; 9] = [
    "tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs", "ramfs",
];

/// Mounts that a program inside can write, and that are part of a file system of the host: proc_pid_mountinfo(5).
///
/// The jail's own file systems in memory have numbers that nothing outside has.
fn host_files(mounts: &str, outside: &Outside) -> Found {
    let mut writable = Vec::new();
    for mount in mounts.lines() {
        let Some((own, file_system)) = mount.split_once(" - ") else {
            continue;
        };
        let own: Vec<&str> = own.split(' ').collect();
        let (Some(device), Some(at), Some(options)) = (own.get(2), own.get(4), own.get(5)) else {
            continue;
        };
        let mut kind = file_system.split(' ');
        let kind = kind.next().unwrap_or_default();
        let read_only = |list: &str| list.split(',').any(|word| word == "ro");
        // The root's own layer is what it is for.
        let in_memory = matches!(kind, "tmpfs" | "ramfs");
        let harmless =
            HARMLESS.contains(&kind) && !(in_memory && outside.devices.contains(*device));
        if *at == "/" || read_only(options) || harmless || at.starts_with("/dev/") {
            continue;
        }
        writable.push(format!("{at} ({kind})"));
    }
    if writable.is_empty() {
        held("no directory of the host is mounted writable")
    } else {
        open(format!("of the host and writable: {}", writable.join(", ")))
    }
}

fn procfs(mounts: &str) -> Found {
    let is_proc = mounts.lines().any(|mount| {
        let fields: Vec<&str> = mount.split(' ').collect();
        fields.get(4) == Some(&"/proc") && mount.contains(" - proc ")
    });
    if is_proc {
        held("/proc is a procfs")
    } else {
        open("/proc is no procfs: what programs read there is made up")
    }
}

fn masked() -> Found {
    let mut told = Vec::new();
    for path in jaula_plan::jail::MASKED {
        let Ok(meta) = fs::metadata(path) else {
            continue;
        };
        let tells = if meta.is_dir() {
            fs::read_dir(path).is_ok_and(|mut list| list.next().is_some())
        } else {
            let mut byte = [0];
            File::open(path)
                .and_then(|mut file| std::io::Read::read(&mut file, &mut byte))
                .is_ok_and(|count| count > 0)
        };
        if tells {
            told.push(path);
        }
    }
    if told.is_empty() {
        held("what tells of the whole machine is empty")
    } else {
        open(format!("readable: {}", told.join(", ")))
    }
}

/// Whether a file can be opened for writing; it is neither truncated nor written.
fn writable(path: &str) -> bool {
    OpenOptions::new().write(true).open(path).is_ok()
}

fn none_writable(paths: &[&str]) -> Found {
    let found: Vec<&str> = paths
        .iter()
        .copied()
        .filter(|path| writable(path))
        .collect();
    if found.is_empty() {
        held("nothing of it can be opened for writing")
    } else {
        open(format!("can be written: {}", found.join(", ")))
    }
}

fn settings() -> Found {
    none_writable(&[
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/sysrq",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/irq/default_smp_affinity",
    ])
}

fn sysfs() -> Found {
    none_writable(&[
        "/sys/power/state",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/module/kernel/parameters/panic",
        "/sys/devices/system/cpu/cpu0/online",
    ])
}

fn cgroup_files(mounts: &str) -> Found {
    for mount in mounts.lines() {
        let Some((own, file_system)) = mount.split_once(" - ") else {
            continue;
        };
        if !file_system.starts_with("cgroup") {
            continue;
        }
        let at = own.split(' ').nth(4).unwrap_or_default();
        for name in ["release_agent", "cgroup.procs"] {
            let path = format!("{at}/{name}");
            if writable(&path) {
                return open(format!("{path} can be written"));
            }
        }
    }
    held("no control group can be changed from inside")
}

fn descriptors() -> Found {
    let mut extra = Vec::new();
    // Asked one by one: listing the directory opens one more.
    for fd in 3..1024 {
        if let Ok(to) = fs::read_link(format!("/proc/self/fd/{fd}")) {
            extra.push(format!("{fd} ({})", shown(&to)));
        }
    }
    if extra.is_empty() {
        held("0, 1 and 2 are all there are")
    } else {
        open(format!("open from outside: {}", extra.join(", ")))
    }
}

fn working_directory() -> Found {
    match fs::read_link("/proc/self/cwd") {
        Ok(dir) if dir.starts_with("/") => held(format!("{} is inside", shown(&dir))),
        Ok(dir) => open(format!("{} is not inside", shown(&dir))),
        Err(error) => absent(format!("/proc/self/cwd: {error}")),
    }
}

fn first_process() -> Found {
    if std::process::id() == 1 {
        return absent("this is the first process itself");
    }
    for (path, write) in [
        ("/proc/1/exe", true),
        ("/proc/1/exe", false),
        ("/proc/1/mem", true),
    ] {
        if OpenOptions::new()
            .read(!write)
            .write(write)
            .open(path)
            .is_ok()
        {
            return open(format!("{path} can be opened"));
        }
    }
    match attempt::trace(1) {
        Ok(()) => open("the first process can be traced"),
        Err(_) => held("its program and memory are out of reach"),
    }
}

fn injection(high: u32) -> Found {
    for (name, request) in [("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541c)] {
        match attempt::type_into(request, high) {
            Err(Errno(EPERM | ENOSYS | EACCES)) => {}
            Err(_) => return open(format!("nothing keeps {name} away")),
            Ok(()) => return open(format!("{name} was done")),
        }
    }
    held("nothing can be typed into a terminal")
}

fn session() -> Found {
    match attempt::session() {
        Some(_) => held("a session of its own"),
        None => open("the session is one of a process outside"),
    }
}

fn no_new_privileges(status: &str) -> Found {
    match line(status, "NoNewPrivs") {
        "1" => held("set-user-id programs gain nothing"),
        "" => absent("the kernel does not say"),
        _ => open("set-user-id programs gain their owner's rights"),
    }
}

/// Identifier 0 of inside, outside, by user_namespaces(7): what is seen from inside is right for a caller who is root
/// of the host only.
fn root_outside(outside: &Outside) -> Found {
    if !outside.root {
        return held("the caller is not root, so nobody inside is");
    }
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let maps_root = map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let _first = numbers.next();
        matches!(numbers.next(), Some(Ok(0)))
    });
    if maps_root {
        open("an identifier inside is root outside")
    } else {
        held("root inside is nobody outside")
    }
}

fn caps(status: &str, name: &str) -> Option<CapSet> {
    u64::from_str_radix(line(status, name), 16).ok().map(CapSet)
}

fn bounding(status: &str) -> Found {
    let Some(found) = caps(status, "CapBnd") else {
        return absent("the kernel does not say");
    };
    let more = CapSet(found.0 & !CapSet::DEFAULT.0);
    if more.0 == 0 {
        held("no capability beyond the default ones can be had")
    } else {
        open(format!("beyond the default: {more}"))
    }
}

fn inherited(status: &str) -> Found {
    for name in ["CapInh", "CapAmb"] {
        if let Some(set) = caps(status, name).filter(|set| set.0 != 0) {
            return open(format!("{name} is {set}"));
        }
    }
    held("inheritable and ambient sets are empty")
}

fn groups(status: &str) -> Found {
    let mut groups = line(status, "Groups").split_whitespace();
    if groups.any(|group| group == "65534") {
        open("a group of outside is kept")
    } else {
        held("no group of outside is kept")
    }
}

fn root_by_proc() -> Found {
    match place("/proc/1/root/") {
        None => held("/proc/1/root cannot be followed"),
        found if found == place("/") => held("/proc/1/root is the jail's own"),
        Some(_) => open("/proc/1/root is another root"),
    }
}

fn double_chroot() -> Found {
    let below = ["/dev", "/proc", "/usr", "/etc"]
        .into_iter()
        .find(|dir| Path::new(dir).is_dir());
    let Some(below) = below.and_then(|dir| CString::new(dir).ok()) else {
        return absent("there is no directory to change the root to");
    };
    match attempt::climb_out(&below) {
        Ok(true) => open("climbing from a second root leads out"),
        Ok(false) => held("climbing from a second root ends at the jail's"),
        Err(Errno(EPERM)) => held("the root cannot be changed"),
        Err(errno) => absent(format!("chroot: {errno}")),
    }
}

/// Whether the number of the process outside is one of a process inside.
fn is_inside(outside: &Outside) -> bool {
    namespaces().get("pid") != outside.namespaces.get("pid")
        && Path::new(&format!("/proc/{}", outside.pid)).exists()
}

fn signal(outside: &Outside) -> Found {
    if is_inside(outside) {
        return held("its number is that of a process inside");
    }
    match attempt::signal(outside.pid) {
        Err(Errno(ESRCH)) => held("the process outside is not there"),
        Err(_) => open("the process outside is seen, but cannot be signalled"),
        Ok(()) => open("the process outside can be signalled"),
    }
}

fn trace(outside: &Outside) -> Found {
    if is_inside(outside) {
        return held("its number is that of a process inside");
    }
    match attempt::trace(outside.pid) {
        Ok(()) => open("the process outside can be traced"),
        Err(_) => held("the process outside cannot be traced"),
    }
}

/// Devices that hold nothing of the machine: null, zero, full, random, urandom, tty, console, ptmx and terminals.
fn is_usual(major: u64, minor: u64) -> bool {
    matches!((major, minor), (1, 3 | 5 | 7 | 8 | 9) | (5, 0..=2)) || (136..=143).contains(&major)
}

fn devices() -> Found {
    let mut found = Vec::new();
    let mut left = vec![(PathBuf::from("/dev"), 0)];
    let mut seen = 0;
    while let Some((dir, depth)) = left.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            seen += 1;
            let (path, Ok(meta)) = (entry.path(), entry.metadata()) else {
                continue;
            };
            let kind = meta.file_type();
            if kind.is_dir() && depth < 3 && seen < 4096 {
                left.push((path, depth + 1));
            } else if kind.is_block_device() || kind.is_char_device() {
                // makedev(3) of glibc, as the kernel gives it.
                let number = meta.rdev();
                let major = (number >> 8 & 0xfff) | (number >> 32 & !0xfff);
                let minor = (number & 0xff) | (number >> 12 & !0xff);
                if kind.is_block_device() || !is_usual(major, minor) {
                    found.push(shown(&path));
                }
            }
        }
    }
    if found.is_empty() {
        held("/dev has the usual ones only")
    } else {
        found.truncate(8);
        open(format!("in /dev: {}", found.join(", ")))
    }
}

fn make_device() -> Found {
    for dir in ["/tmp", "/dev/shm", "/var/tmp", "/run"] {
        let path = Path::new(dir).join(format!(".jaula-check-{}", std::process::id()));
        let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
            continue;
        };
        // The memory of the machine, mem(4).
        if attempt::make_device(&path, (1, 1)).is_ok() {
            return open(format!("a device made in {dir} can be opened"));
        }
    }
    held("devices can be neither made nor used")
}

fn links() -> Found {
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split_once(':'));
    let names: Vec<&str> = names.map(|(name, _)| name.trim()).collect();
    // Tunnels that the kernel puts into every network namespace lead nowhere until they are set up.
    let more: Vec<&str> = names
        .into_iter()
        .filter(|name| {
            !matches!(
                *name,
                "lo" | "sit0"
                    | "tunl0"
                    | "gre0"
                    | "ip6tnl0"
                    | "gretap0"
                    | "erspan0"
                    | "ip_vti0"
                    | "ip6_vti0"
                    | "ip6gre0"
            )
        })
        .collect();
    if more.is_empty() {
        held("lo is the only interface")
    } else {
        open(format!("interfaces: {}", more.join(", ")))
    }
}

/// Whether there is a way to the address where clouds tell machines their secrets. Nothing is sent: connecting a
/// datagram socket only looks for a route.
fn metadata() -> Found {
    let way = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.set_write_timeout(Some(Duration::from_secs(1)))?;
        socket.connect("169.254.169.254:80")
    });
    match way {
        Ok(()) => open("there is a route to 169.254.169.254"),
        Err(error) => held(format!("169.254.169.254: {error}")),
    }
}

fn sockets(outside: &Outside) -> Found {
    let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let count = text
        .lines()
        .skip(1)
        .filter(|line| line.contains(" @"))
        .count();
    let shared = namespaces().get("net") == outside.namespaces.get("net");
    if shared && count > 0 {
        open(format!(
            "{count} abstract sockets of the host can be connected to"
        ))
    } else {
        held("no abstract socket of the host is there")
    }
}

fn kept_away(calls: &[Call], make: impl Fn(&Call) -> Option<Result<(), Errno>>) -> Found {
    let (mut through, mut tried) = (Vec::new(), 0);
    for call in calls {
        match make(call) {
            None => {}
            Some(Err(Errno(EPERM | ENOSYS | EACCES))) => tried += 1,
            Some(answer) => {
                tried += 1;
                through.push(match answer {
                    Ok(()) => format!("{} succeeded", call.name),
                    Err(errno) => format!("{} reached the kernel ({errno})", call.name),
                });
            }
        }
    }
    match (tried, through.is_empty()) {
        (0, _) => absent("no such calls on this machine"),
        (_, true) => held(format!("{tried} calls refused")),
        (_, false) => open(through.join(", ")),
    }
}
