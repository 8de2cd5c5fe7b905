//! The system call filter: classic BPF (seccomp(2)), written out by hand because one filter has to judge the native
//! and the 32-bit entry, each by its own numbers.
//!
//! The list is searched as a binary tree: few steps a call, and the kernel, which runs the filter once for every
//! number when it is loaded to find those always allowed, is done sooner.

use crate::error::Errno;

pub mod program;

/// What the filter says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Fails with this errno(3); 0 is success without doing anything.
    Errno(u16),
    /// Fails with EPERM when argument `arg` has one of these bits.
    NoBits(u8, u32),
    /// Fails with EPERM when the low half of argument `arg` is one of these: what the kernel looks at, whatever the
    /// upper half says.
    NotEqual(u8, [u32; 2]),
    /// A socket(2) of a family that no namespace holds (AF_ALG, AF_VSOCK).
    Family,
}

/// What the filter is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Syncing answers success at once.
    pub no_sync: bool,
    /// Mounting is left to the kernel's own checks.
    pub mounts: bool,
}

const EPERM: Rule = Rule::Errno(libc::EPERM as u16);
const ENOSYS: Rule = Rule::Errno(libc::ENOSYS as u16);
const NEWUSER: u32 = libc::CLONE_NEWUSER as u32;
const TTY: Rule = Rule::NotEqual(1, [0x5412, 0x541c]);

/// Calls refused in both tables, by number on x86-64 (asm/unistd_64.h) and i386 (asm/unistd_32.h); `-1` where there
/// is none.
#[cfg(target_arch = "x86_64")]
const REFUSED: &[(i32, i32)] = &[
    // keyrings are not in any namespace
    (248, 286),
    (249, 287),
    (250, 288),
    // bpf, perf_event_open, userfaultfd
    (321, 357),
    (298, 336),
    (323, 374),
    // io_uring_setup, io_uring_enter, io_uring_register
    (425, 425),
    (426, 426),
    (427, 427),
    // create_module, init_module, finit_module, delete_module, get_kernel_syms, query_module
    (174, 127),
    (175, 128),
    (313, 350),
    (176, 129),
    (177, 130),
    (178, 167),
    // kexec_load, kexec_file_load, reboot
    (246, 283),
    (320, -1),
    (169, 88),
    // open_by_handle_at: reaches files outside any root
    (304, 342),
    // acct, swapon, swapoff, quotactl, quotactl_fd, nfsservctl, lookup_dcookie, uselib, ustat, sysfs, _sysctl
    (163, 51),
    (167, 87),
    (168, 115),
    (179, 131),
    (443, 443),
    (180, 169),
    (212, 253),
    (134, 86),
    (136, 62),
    (139, 135),
    (156, 149),
    // iopl, ioperm, vm86old, vm86, syslog, vhangup
    (172, 110),
    (173, 101),
    (-1, 113),
    (-1, 166),
    (103, 103),
    (153, 111),
    // settimeofday, stime, clock_settime, clock_settime64
    (164, 79),
    (-1, 25),
    (227, 264),
    (-1, 404),
    // setns
    (308, 346),
];

/// Calls that mount, likewise.
#[cfg(target_arch = "x86_64")]
const MOUNTS: &[(i32, i32)] = &[
    // mount, umount, umount2, pivot_root
    (165, 21),
    (-1, 22),
    (166, 52),
    (155, 217),
    // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr, open_tree_attr
    (428, 428),
    (429, 429),
    (430, 430),
    (431, 431),
    (432, 432),
    (433, 433),
    (442, 442),
    (467, 467),
];

/// fsync, fdatasync, sync, syncfs, sync_file_range, msync, likewise.
#[cfg(target_arch = "x86_64")]
const SYNCS: &[(i32, i32)] = &[
    (74, 118),
    (75, 148),
    (162, 36),
    (306, 344),
    (277, 314),
    (26, 144),
];

/// clone3 (its flags are in memory, where a filter cannot look; glibc falls back to clone), clone, unshare, ioctl,
/// socket, likewise.
#[cfg(target_arch = "x86_64")]
const SPECIAL: &[(i32, i32, Rule)] = &[
    (435, 435, ENOSYS),
    (56, 120, Rule::NoBits(0, NEWUSER)),
    (272, 310, Rule::NoBits(0, NEWUSER)),
    (16, 54, TTY),
    (41, 359, Rule::Family),
];

#[cfg(target_arch = "aarch64")]
const REFUSED: &[(i32, i32)] = &[
    (217, -1),
    (218, -1),
    (219, -1),
    (280, -1),
    (241, -1),
    (282, -1),
    (425, -1),
    (426, -1),
    (427, -1),
    (105, -1),
    (273, -1),
    (106, -1),
    (104, -1),
    (294, -1),
    (142, -1),
    (265, -1),
    (89, -1),
    (224, -1),
    (225, -1),
    (60, -1),
    (443, -1),
    (42, -1),
    (18, -1),
    (116, -1),
    (58, -1),
    (170, -1),
    (112, -1),
    (268, -1),
];
#[cfg(target_arch = "aarch64")]
const MOUNTS: &[(i32, i32)] = &[
    (40, -1),
    (39, -1),
    (41, -1),
    (428, -1),
    (429, -1),
    (430, -1),
    (431, -1),
    (432, -1),
    (433, -1),
    (442, -1),
    (467, -1),
];
#[cfg(target_arch = "aarch64")]
const SYNCS: &[(i32, i32)] = &[(82, -1), (83, -1), (81, -1), (267, -1), (84, -1), (227, -1)];
#[cfg(target_arch = "aarch64")]
const SPECIAL: &[(i32, i32, Rule)] = &[
    (435, -1, ENOSYS),
    (220, -1, Rule::NoBits(0, NEWUSER)),
    (97, -1, Rule::NoBits(0, NEWUSER)),
    (29, -1, TTY),
    (198, -1, Rule::Family),
];

/// The first number that no kernel had when the lists above were made: a call that is not known is not there.
const UNKNOWN: u32 = 472;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "x86_64")]
const COMPAT: Option<u32> = Some(0x4000_0003);
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;
#[cfg(target_arch = "aarch64")]
const COMPAT: Option<u32> = None;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const RET_ERRNO: u32 = 0x0005_0000;

const LOAD: u16 = 0x20;
const RETURN: u16 = 0x06;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const BITS: u16 = 0x45;
/// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// A filter, ready to be loaded: its program, and flags of seccomp(2).
#[derive(Debug, Clone)]
pub struct Filter(Vec<libc::sock_filter>, u32);

fn op(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

fn verdict(rule: Rule, out: &mut Vec<libc::sock_filter>) {
    let low = |arg: u8| 16 + 8 * u32::from(arg);
    let errno = |e: i32| RET_ERRNO | e as u32;
    match rule {
        Rule::Errno(e) => out.push(op(RETURN, RET_ERRNO | u32::from(e), 0, 0)),
        Rule::NoBits(arg, bits) => {
            out.push(op(LOAD, low(arg), 0, 0));
            out.push(op(BITS, bits, 1, 0));
            out.push(op(RETURN, ALLOW, 0, 0));
            out.push(op(RETURN, errno(libc::EPERM), 0, 0));
        }
        Rule::NotEqual(arg, [a, b]) => {
            out.push(op(LOAD, low(arg), 0, 0));
            out.push(op(EQUAL, a, 2, 0));
            out.push(op(EQUAL, b, 1, 0));
            out.push(op(RETURN, ALLOW, 0, 0));
            out.push(op(RETURN, errno(libc::EPERM), 0, 0));
        }
        Rule::Family => {
            out.push(op(LOAD, low(0), 0, 0));
            out.push(op(EQUAL, libc::AF_ALG as u32, 2, 0));
            out.push(op(EQUAL, libc::AF_VSOCK as u32, 1, 0));
            out.push(op(RETURN, ALLOW, 0, 0));
            out.push(op(RETURN, errno(libc::EAFNOSUPPORT), 0, 0));
        }
    }
}

/// Calls from `first` to `last` that are answered alike.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: u32,
    last: u32,
    rule: Rule,
}

/// Joins neighbours that are answered alike.
fn spans(rules: &[(u32, Rule)]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::with_capacity(rules.len());
    for (number, rule) in rules {
        match spans.last_mut() {
            Some(span) if span.last + 1 == *number && span.rule == *rule => span.last = *number,
            _ => spans.push(Span {
                first: *number,
                last: *number,
                rule: *rule,
            }),
        }
    }
    spans
}

/// The tree over a sorted list; the number is in the accumulator.
fn tree(spans: &[Span], out: &mut Vec<libc::sock_filter>) {
    match spans {
        [] => out.push(op(RETURN, ALLOW, 0, 0)),
        [Span { first, last, rule }] => {
            if first == last {
                out.push(op(EQUAL, *first, 1, 0));
            } else {
                out.push(op(AT_LEAST, *first, 0, 1));
                out.push(op(AT_LEAST, *last + 1, 0, 1));
            }
            out.push(op(RETURN, ALLOW, 0, 0));
            verdict(*rule, out);
        }
        _ => {
            let (below, above) = spans.split_at(spans.len() / 2);
            let Some(Span { first, .. }) = above.first() else {
                return;
            };
            let branch = out.len();
            out.push(op(AT_LEAST, *first, 0, 0));
            tree(below, out);
            let way = out.len() - branch - 1;
            // A conditional jump reaches 255 instructions: half of the list is far less (a test looks at every call).
            // One that did not fit would judge by the wrong half: then the filter ends the process instead.
            if let Some(jump) = out.get_mut(branch) {
                match u8::try_from(way) {
                    Ok(way) => jump.jt = way,
                    Err(_) => *jump = op(RETURN, KILL, 0, 0),
                }
            }
            tree(above, out);
        }
    }
}

impl Filter {
    /// The default list.
    pub fn new(options: Options) -> Self {
        let table = |pick: fn(i32, i32) -> i32| {
            let mut rules: Vec<(u32, Rule)> = Vec::with_capacity(96);
            let mut add = |native, compat, rule| {
                if let Ok(number) = u32::try_from(pick(native, compat)) {
                    rules.push((number, rule));
                }
            };
            REFUSED.iter().for_each(|(n, c)| add(*n, *c, EPERM));
            if !options.mounts {
                MOUNTS.iter().for_each(|(n, c)| add(*n, *c, EPERM));
            }
            if options.no_sync {
                SYNCS.iter().for_each(|(n, c)| add(*n, *c, Rule::Errno(0)));
            }
            SPECIAL.iter().for_each(|(n, c, rule)| add(*n, *c, *rule));
            rules.sort_unstable_by_key(|(number, _)| *number);
            let mut code = Vec::with_capacity(320);
            code.push(op(LOAD, NUMBER, 0, 0));
            // Also every number of the x32 entry, which has a bit of its own far above.
            code.push(op(AT_LEAST, UNKNOWN, 0, 1));
            code.push(op(RETURN, RET_ERRNO | libc::ENOSYS as u32, 0, 0));
            tree(&spans(&rules), &mut code);
            code
        };
        let native = table(|n, _| n);
        let mut code = Vec::with_capacity(640);
        code.push(op(LOAD, ARCH, 0, 0));
        code.push(op(EQUAL, NATIVE, 0, 1));
        code.push(op(0x05, if COMPAT.is_some() { 3 } else { 1 }, 0, 0));
        if let Some(compat) = COMPAT {
            code.push(op(EQUAL, compat, 0, 1));
            code.push(op(0x05, native.len() as u32 + 1, 0, 0));
        }
        code.push(op(RETURN, KILL, 0, 0));
        code.extend(native);
        if COMPAT.is_some() {
            code.extend(table(|_, c| c));
        }
        Self(code, 0)
    }

    /// A ready program, as libseccomp(3) exports it: instructions of eight bytes in this machine's order. None when
    /// the bytes are no whole number of instructions, or more than the kernel takes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (list, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() || u16::try_from(list.len()).is_err() {
            return None;
        }
        let instruction = |b: &[u8; 8]| libc::sock_filter {
            code: u16::from_ne_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        };
        Some(Self(list.iter().map(instruction).collect(), 0))
    }

    /// As [`Filter::load`], by the older call (prctl(2)), which a filter that is there already may be the only one to
    /// let through.
    pub(crate) fn load_by_prctl(&self) -> Result<(), Errno> {
        let program = libc::sock_fprog {
            len: self.0.len() as u16,
            filter: self.0.as_ptr().cast_mut(),
        };
        let mode = libc::SECCOMP_MODE_FILTER as libc::c_ulong;
        // SAFETY: the program is as long as said, and the kernel only reads it.
        let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
        if done < 0 { Err(Errno::last()) } else { Ok(()) }
    }

    /// Loads the filter into this thread; it can never be taken off again.
    pub(crate) fn load(&self) -> Result<(), Errno> {
        let program = libc::sock_fprog {
            len: self.0.len() as u16,
            filter: self.0.as_ptr().cast_mut(),
        };
        // SAFETY: the program is as long as said, and the kernel only reads it.
        let done = unsafe { libc::syscall(libc::SYS_seccomp, 1u32, self.1, &raw const program) };
        if done < 0 { Err(Errno::last()) } else { Ok(()) }
    }

    /// As [`Filter::load`]; the descriptor on which the kernel asks what to answer (seccomp_unotify(2)).
    pub(crate) fn listen(&self) -> Result<crate::beneath::Fd, Errno> {
        let program = libc::sock_fprog {
            len: self.0.len() as u16,
            filter: self.0.as_ptr().cast_mut(),
        };
        let flags = self.1 | 1 << 3;
        // SAFETY: the program is as long as said, and the kernel only reads it.
        let fd = unsafe { libc::syscall(libc::SYS_seccomp, 1u32, flags, &raw const program) };
        if fd < 0 {
            Err(Errno::last())
        } else {
            Ok(crate::beneath::Fd(fd as i32))
        }
    }

    /// What the filter answers (a SECCOMP_RET_ of seccomp(2)), by walking it as the kernel does. `None` when it runs
    /// off its end or holds what no filter of ours does.
    pub fn answer(&self, arch: u32, number: u32, args: [u64; 6]) -> Option<u32> {
        let mut data = [0u32; 16];
        (data[0], data[1]) = (number, arch);
        for (halves, arg) in data.chunks_exact_mut(2).skip(2).zip(args) {
            halves.copy_from_slice(&[arg as u32, (arg >> 32) as u32]);
        }
        let (mut at, mut acc) = (0usize, 0u32);
        loop {
            let i = self.0.get(at)?;
            at += 1;
            let jump = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
            match i.code {
                LOAD => acc = *data.get(i.k as usize / 4)?,
                RETURN => return Some(i.k),
                EQUAL => at += jump(acc == i.k),
                AT_LEAST => at += jump(acc >= i.k),
                BITS => at += jump(acc & i.k != 0),
                0x25 => at += jump(acc > i.k),
                0x54 => acc &= i.k,
                0x05 => at += i.k as usize,
                _ => return None,
            }
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    const I386: u32 = 0x4000_0003;

    #[test]
    fn every_number_of_both_entries() {
        let eperm = RET_ERRNO | libc::EPERM as u32;
        let enosys = RET_ERRNO | libc::ENOSYS as u32;
        for (no_sync, mounts) in [(false, false), (true, false), (false, true), (true, true)] {
            let filter = Filter::new(Options { no_sync, mounts });
            assert!(filter.0.len() < 4096);
            for (arch, pick) in [(NATIVE, 0), (I386, 1)] {
                let own = |pair: &(i32, i32)| if pick == 0 { pair.0 } else { pair.1 };
                for number in 0..600u32 {
                    let on = |list: &[(i32, i32)]| list.iter().any(|p| own(p) == number as i32);
                    let expected = if number >= UNKNOWN || number == 435 {
                        enosys
                    } else if on(REFUSED) || on(MOUNTS) && !mounts {
                        eperm
                    } else if on(SYNCS) && no_sync {
                        RET_ERRNO
                    } else {
                        ALLOW
                    };
                    assert_eq!(
                        filter.answer(arch, number, [0; 6]),
                        Some(expected),
                        "{arch:x} {number}"
                    );
                }
                // The x32 entry, whatever number.
                assert_eq!(filter.answer(arch, 0x4000_0000 | 1, [0; 6]), Some(enosys));
            }
            assert_eq!(filter.answer(0xc000_00b7, 0, [0; 6]), Some(KILL));
        }
    }

    #[test]
    fn arguments_are_judged_by_what_the_kernel_reads() {
        let filter = Filter::new(Options {
            no_sync: false,
            mounts: false,
        });
        let eperm = Some(RET_ERRNO | libc::EPERM as u32);
        for (arch, ioctl, clone, unshare, socket) in
            [(NATIVE, 16, 56, 272, 41), (I386, 54, 120, 310, 359)]
        {
            let ask =
                |number, first, second| filter.answer(arch, number, [first, second, 0, 0, 0, 0]);
            for request in [0x5412u64, 0x541c] {
                assert_eq!(ask(ioctl, 0, request), eperm);
                assert_eq!(ask(ioctl, 0, request | 0xdead_beef << 32), eperm);
            }
            assert_eq!(ask(ioctl, 0, 0x5413), Some(ALLOW));
            for call in [clone, unshare] {
                assert_eq!(ask(call, 0x1000_0000, 0), eperm);
                assert_eq!(ask(call, 0x1002_0011, 0), eperm);
                assert_eq!(ask(call, 0x0000_0011, 0), Some(ALLOW));
            }
            assert_eq!(
                ask(socket, 38, 0),
                Some(RET_ERRNO | libc::EAFNOSUPPORT as u32)
            );
            assert_eq!(
                ask(socket, 40, 0),
                Some(RET_ERRNO | libc::EAFNOSUPPORT as u32)
            );
            assert_eq!(ask(socket, 2, 0), Some(ALLOW));
        }
    }
}
