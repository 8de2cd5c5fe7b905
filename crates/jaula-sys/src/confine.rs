//! What a process that serves a network gives up before it reads what others send: its user, its capabilities, files, and
//! most system calls. It has one thread when it does; threads that it starts afterwards are held by the same.

use crate::caps;
use crate::child::set_ids;
use crate::error::{Errno, SysError};
use crate::landlock::{self, Ruleset};
use crate::server::allow;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The user and group of who owns nothing.
pub const NOBODY: u32 = 65534;
/// LANDLOCK_ACCESS_FS_*: read a file, list a directory.
const READ: u64 = 1 << 2 | 1 << 3;
/// And write, cut, make and remove files, and rename them.
const WRITE: u64 = READ | 1 << 1 | 1 << 5 | 1 << 8 | 1 << 14;
/// All that the first version of Landlock knows, and what came later: moving between directories, cutting, commands for
/// devices.
const FIRST: u64 = (1 << 13) - 1;
const LATER: [(u32, u64); 3] = [(2, 1 << 13), (3, 1 << 14), (5, 1 << 15)];
/// From this version on: no signals to, and no abstract sockets of, processes outside.
const SCOPES: (u32, u64) = (6, 3);

/// CAP_NET_BIND_SERVICE, CAP_NET_ADMIN and CAP_NET_RAW of capabilities(7).
pub const BIND: u64 = 1 << 10;
/// Change links, addresses and firewalls.
pub const ADMIN: u64 = 1 << 12;
/// Packets as they are.
pub const RAW: u64 = 1 << 13;

/// What is kept.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Capabilities.
    pub capabilities: u64,
    /// What is read, with all beneath it.
    pub reads: Vec<PathBuf>,
    /// What is written, likewise.
    pub writes: Vec<PathBuf>,
}

/// Gives up everything else, for good.
///
/// # Errors
/// The call that the kernel refuses. A kernel without Landlock is no error: the user and the system calls are gone there
/// too.
pub fn confine(kept: &Kept) -> Result<(), SysError> {
    let failed = |call| {
        move |errno| SysError {
            call,
            target: "a process that serves".into(),
            errno,
        }
    };
    let number = |call, result: libc::c_int| match result {
        0.. => Ok(()),
        _ => Err(SysError::last(call, "a process that serves")),
    };
    caps::try_bound(kept.capabilities).map_err(failed("prctl"))?;
    // SAFETY: these take numbers only.
    unsafe {
        number("prctl", libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
        number("prctl", libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
    }
    // While the paths can still be reached, that of the map among them.
    let stays = is_nobody_already();
    files(kept).map_err(failed("landlock_restrict_self"))?;
    let keep = caps::found().map_or(0, |found| found.permitted) & kept.capabilities;
    match set_ids(Some(&[]), NOBODY, NOBODY) {
        Ok(()) => {}
        Err(Errno(libc::EINVAL | libc::EPERM)) if stays => {}
        Err(errno) => return Err(failed("setresuid")(errno)),
    }
    caps::set(keep).map_err(failed("capset"))?;
    // SAFETY: takes numbers only.
    unsafe { number("prctl", libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0))? };
    allow(CALLS).map_err(failed("seccomp"))
}

/// Whether becoming nobody is neither possible nor needed: in a user namespace that has no such user, whose root is
/// nobody outside, and for who is not root and may not change who he is. What cannot be told is not so.
fn is_nobody_already() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let bits = caps::found().map_or(u64::MAX, |found| found.permitted | found.effective);
    stays_as_it_is(&map, crate::process::real_ids().0, bits)
}

/// CAP_SETGID and CAP_SETUID of capabilities(7).
const BECOME: u64 = 1 << 6 | 1 << 7;

/// `map` is a uid_map (user_namespaces(7)), `capabilities` are what the process has.
fn stays_as_it_is(map: &str, user: u32, capabilities: u64) -> bool {
    let mut ranges = map.lines().map(|line| {
        let mut numbers = line.split_whitespace();
        let mut number = || numbers.next()?.parse::<u64>().ok();
        let (first, _, count) = (number()?, number()?, number()?);
        Some(first..first.saturating_add(count))
    });
    let nobody = u64::from(NOBODY);
    let absent =
        !map.is_empty() && ranges.all(|range| range.is_some_and(|range| !range.contains(&nobody)));
    absent || user != 0 && capabilities & BECOME == 0
}

fn files(kept: &Kept) -> Result<(), Errno> {
    let version = landlock::version();
    if version == 0 {
        return Ok(());
    }
    let later = LATER.iter().filter(|(since, _)| version >= *since);
    let known = later.fold(FIRST, |all, (_, right)| all | right);
    let with = |paths: &[PathBuf], rights: u64| {
        let paths = paths.iter().filter(|path| path.exists());
        let paths = paths.filter_map(|path| CString::new(path.as_os_str().as_bytes()).ok());
        paths.map(|path| (path, rights & known)).collect::<Vec<_>>()
    };
    let mut paths = with(&kept.reads, READ);
    paths.extend(with(&kept.writes, WRITE));
    landlock::restrict(&Ruleset {
        handled_files: known,
        handled_net: 0,
        scoped: if version >= SCOPES.0 { SCOPES.1 } else { 0 },
        paths,
        ports: Vec::new(),
    })
}

/// What is left of the kernel: sockets, files by their names, memory, threads, time. Neither a program nor a namespace, nor
/// another process, is reached by them.
const CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_openat,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_getdents64,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_ioctl,
    libc::SYS_ppoll,
    libc::SYS_socket,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_accept,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::Filter;
    use crate::seccomp::program::{Answer, Entry, Flags, Rule, Table};

    #[test]
    fn only_where_there_is_no_nobody_somebody_stays_who_he_is() {
        let whole = "         0          0 4294967295\n";
        let one = "         0       1000          1\n";
        let many = "0 1000 1\n1 100000 65536\n";
        assert!(!stays_as_it_is(whole, 0, u64::MAX));
        assert!(!stays_as_it_is(many, 0, u64::MAX));
        assert!(stays_as_it_is(one, 0, u64::MAX));
        // An ordinary user, with and without the means.
        assert!(stays_as_it_is(whole, 1000, 0));
        assert!(!stays_as_it_is(whole, 1000, 1 << 7));
        assert!(!stays_as_it_is(whole, 0, 0));
        for unclear in ["", "0 1000\n", "x y z\n"] {
            assert!(!stays_as_it_is(unclear, 0, u64::MAX), "{unclear:?}");
        }
    }

    /// In a process of its own, for it gives up everything.
    #[test]
    fn who_is_refused_to_become_nobody_serves_nobody() {
        if crate::process::real_ids().0 != 0 {
            eprintln!("skipped: nobody but root can become nobody");
            return;
        }
        let entry = if cfg!(target_arch = "x86_64") {
            Entry::X86_64
        } else {
            Entry::Aarch64
        };
        let refuse = Rule {
            conditions: Vec::new(),
            answer: Answer::Errno(libc::EPERM as u16),
        };
        let table = Table {
            entry,
            calls: vec![(libc::SYS_setresuid as u32, vec![refuse])],
            default: Answer::Allow,
            newer: None,
        };
        let filter = Filter::from_rules(&[table], Flags::default()).expect("a filter");
        let mut serves = || {
            if filter.load().is_err() {
                return 3;
            }
            u8::from(confine(&Kept::default()).is_ok())
        };
        let child = crate::userns::fork(&mut serves).expect("a process");
        let code = child.wait_passing_signals().expect("its end");
        assert_eq!(code, Some(0), "it went on as root");
    }
}
