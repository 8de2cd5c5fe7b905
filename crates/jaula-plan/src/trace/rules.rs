//! Protections from a trace: the profile of system calls, Landlock's rules, capabilities.

use super::Trace;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Calls that a trace does not ask about and every profile allows. Each of them works only on what is open already, on the
/// process's own memory, threads, timers and signals, or waits: none opens a way that was not there. Programs make them
/// thousands of times for each one that says something, so they run at full speed while the others are watched.
pub const UNASKED: &[&str] = &[
    "accept",
    "accept4",
    "alarm",
    "arch_prctl",
    "brk",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "close",
    "close_range",
    "copy_file_range",
    "dup",
    "dup2",
    "dup3",
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "eventfd",
    "eventfd2",
    "exit",
    "exit_group",
    "fadvise64",
    "fallocate",
    "fcntl",
    "fdatasync",
    "flock",
    "fstat",
    "fstatfs",
    "fsync",
    "ftruncate",
    "futex",
    "futex_waitv",
    "getcwd",
    "getdents",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getitimer",
    "getpeername",
    "getpgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getpriority",
    "getrandom",
    "getresgid",
    "getresuid",
    "getrlimit",
    "getrusage",
    "getsid",
    "getsockname",
    "getsockopt",
    "gettid",
    "gettimeofday",
    "getuid",
    "lseek",
    "madvise",
    "membarrier",
    "mincore",
    "mmap",
    "mprotect",
    "mremap",
    "msync",
    "munmap",
    "nanosleep",
    "pause",
    "pipe",
    "pipe2",
    "poll",
    "ppoll",
    "pread64",
    "preadv",
    "preadv2",
    "prlimit64",
    "pselect6",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "read",
    "readahead",
    "readv",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigsuspend",
    "rt_sigtimedwait",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "sched_yield",
    "select",
    "sendfile",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "set_robust_list",
    "set_tid_address",
    "setitimer",
    "setsockopt",
    "shutdown",
    "sigaltstack",
    "signalfd4",
    "socketpair",
    "splice",
    "tee",
    "time",
    "timer_create",
    "timer_delete",
    "timer_gettime",
    "timer_settime",
    "timerfd_create",
    "timerfd_gettime",
    "timerfd_settime",
    "times",
    "umask",
    "uname",
    "vmsplice",
    "wait4",
    "waitid",
    "write",
    "writev",
];

/// Calls of which a trace asks about some only: looks at what is open already, and steps of a walk through directories.
const PARTLY: &[&str] = &["newfstatat", "statx"];

/// Calls that jaula itself makes in a jail between loading the profile and the program's first instruction.
const OWN: &[&str] = &["execve", "execveat", "seccomp", "prctl"];

/// The capability without which a call is refused, whatever its arguments.
pub fn capability_of(call: &str) -> Option<&'static str> {
    Some(match call {
        "chroot" => "SYS_CHROOT",
        "mount" | "umount2" | "pivot_root" | "sethostname" | "setdomainname" | "setns"
        | "swapon" | "swapoff" | "fsopen" | "fsmount" | "move_mount" | "open_tree" => "SYS_ADMIN",
        "settimeofday" | "clock_settime" | "stime" => "SYS_TIME",
        "init_module" | "finit_module" | "delete_module" => "SYS_MODULE",
        "reboot" | "kexec_load" => "SYS_BOOT",
        "acct" => "SYS_PACCT",
        "iopl" | "ioperm" => "SYS_RAWIO",
        "syslog" => "SYSLOG",
        "vhangup" => "SYS_TTY_CONFIG",
        _ => return None,
    })
}

/// A profile in the form of the OCI runtime specification: what was seen is allowed, all else fails.
pub fn profile_text(trace: &Trace) -> String {
    let mut names: BTreeSet<&str> = UNASKED.iter().chain(PARTLY).chain(OWN).copied().collect();
    names.extend(trace.calls.iter().map(String::as_str));
    // The built-in list, which cannot look at what clone3(2) is given, says that there is none: programs then take this.
    if names.contains("clone3") {
        names.insert("clone");
    }
    let names: Vec<&str> = names.into_iter().collect();
    let shape = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }],
    });
    format!("{shape:#}\n")
}

/// Directories whose files in a jail are only those that were put there, so that one rule stands for all of them.
const WHOLE: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc"];

/// The first port that kernels choose themselves (ip(7), ip_local_port_range).
const EPHEMERAL: u16 = 32768;

/// Landlock's rules, as `--landlock` takes them.
pub(super) fn landlock(trace: &Trace) -> Vec<String> {
    let mut rules = BTreeSet::new();
    let whole = |path: &Path| WHOLE.iter().find(|root| path.starts_with(root));
    let mut add = |kind: &str, path: &Path| {
        let plain = path.to_str().is_some_and(|text| !text.contains(','));
        if plain && path != Path::new("/") {
            rules.insert(format!("{kind}:{}", path.display()));
        }
    };
    for path in trace.programs.keys() {
        match whole(path) {
            Some(root) if *root != "/etc" => add("exec", Path::new(root)),
            _ => add("exec", path),
        }
    }
    for path in trace.read.keys().chain(trace.looked.keys()) {
        match whole(path) {
            Some(&"/etc") => add("ro", Path::new("/etc")),
            Some(root) => add("exec", Path::new(root)),
            None => add("ro", path),
        }
    }
    for path in trace.listed.keys() {
        if whole(path).is_none() {
            add("ro", path);
        }
    }
    for path in trace.written.keys() {
        let place = super::general(path);
        let parent = place.or_else(|| path.parent().map(PathBuf::from));
        if let Some(parent) = parent {
            add("rw", &parent);
        }
    }
    if !trace.kernel.is_empty() {
        add("rw", Path::new("/dev"));
        add("ro", Path::new("/proc"));
    }
    if trace.kernel.keys().any(|path| path.starts_with("/sys")) {
        add("ro", Path::new("/sys"));
    }
    let port = |address: &str| {
        let address = address.strip_prefix("tcp ")?;
        let (_, port) = address.rsplit_once(':')?;
        port.parse::<u16>().ok()
    };
    // Whoever binds port 0 is given another one each time, and its own clients connect to that.
    let any = trace.binds.iter().any(|address| port(address) == Some(0))
        && trace.connects.iter().any(|a| port(a) >= Some(EPHEMERAL));
    let ports = |kind: &str, addresses: &BTreeSet<String>| {
        let ports: BTreeSet<u16> = addresses.iter().filter_map(|a| port(a)).collect();
        match ports.is_empty() {
            _ if any && kind == "connect" => Vec::new(),
            true => vec![format!("{kind}:none")],
            false => ports.iter().map(|port| format!("{kind}:{port}")).collect(),
        }
    };
    let mut list: Vec<String> = rules.into_iter().collect();
    list.extend(ports("bind", &trace.binds));
    list.extend(ports("connect", &trace.connects));
    list
}
