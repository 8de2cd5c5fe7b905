//! What a call that is only watched is about: paths, addresses, identities. The caller may change what it points to after
//! it was read here, so this is evidence of what an honest program does and no protection against any other.

use super::{CWD, Call, Place, number};
use crate::error::Errno;
use crate::seccomp::Filter;
use crate::seccomp::program::{Answer, Compare, Entry, Flags, Rule, Table};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// What is done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is looked at: stat(2), access(2), readlink(2).
    Look,
    /// A file is opened to be read.
    Read,
    /// A directory is opened, or becomes the working directory.
    List,
    /// A file is opened to be read and written, with what is in it.
    Update,
    /// It is written, made, changed, renamed or removed.
    Write,
    /// It is executed.
    Execute,
}

/// A path and its use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch {
    /// Which.
    pub place: Place,
    /// What for.
    pub used: Use,
}

/// Where a socket leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// The Internet's families.
    Ip(SocketAddr),
    /// A path of the file system.
    Unix(Vec<u8>),
    /// A name without a file (unix(7)).
    Abstract(Vec<u8>),
}

/// What else a call may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// connect(2), sendto(2): a descriptor, and an address with its length.
    Connect(i32, u64, usize),
    /// bind(2), likewise.
    Bind(i32, u64, usize),
    /// set*uid(2): up to three users.
    Users([u32; 3]),
    /// set*gid(2): up to three groups.
    Groups([u32; 3]),
    /// setgroups(2): how many, and where they are.
    GroupList(usize, u64),
    /// kill(2) and its kin.
    Signal(i32),
    /// socket(2): whether it is one by which packets are written in full.
    RawSocket(bool),
    /// Nothing but that it was made.
    Nothing,
}

/// The most that an address takes.
const ADDRESS: usize = 128;
/// The most groups of a process that are read.
const GROUPS: usize = 64;

/// Looks that nobody asks about, unless each of them is wanted: of what is open already, and of a name in a directory that
/// is open, where a link is not followed. Those are steps of a walk: the directory was opened, which was asked, and what
/// is used of what is in it is opened too. Programs that walk make thousands of them, each as quick as ten others.
fn walking(flags: u8) -> Vec<Rule> {
    let open_already = vec![(flags, Compare::Eq(libc::AT_EMPTY_PATH as u64))];
    // No number of a descriptor has these bits, and AT_FDCWD has them all.
    let in_directory = vec![
        (0, Compare::Masked(0xffff_0000, 0)),
        (flags, Compare::Eq(libc::AT_SYMLINK_NOFOLLOW as u64)),
    ];
    let rule = |conditions| Rule {
        conditions,
        answer: Answer::Allow,
    };
    vec![rule(open_already), rule(in_directory)]
}

/// The filter that asks about every call but those that are not worth it, and lets calls of a 32-bit program pass.
/// `unasked` are numbers. With `each_look` steps of a walk are asked about too.
pub fn watch(unasked: &[u32], each_look: bool) -> Option<Filter> {
    let rule = |conditions| {
        vec![Rule {
            conditions,
            answer: Answer::Allow,
        }]
    };
    let sendto = number(libc::SYS_sendto);
    let mut calls: Vec<(u32, Vec<Rule>)> = unasked
        .iter()
        .filter(|call| **call != sendto)
        .map(|call| (*call, rule(Vec::new())))
        .collect();
    // Without an address it is a plain write.
    calls.push((sendto, rule(vec![(4, Compare::Eq(0))])));
    if !each_look {
        calls.push((number(libc::SYS_newfstatat), walking(3)));
        calls.push((number(libc::SYS_statx), walking(2)));
    }
    calls.sort_unstable_by_key(|(call, _)| *call);
    calls.dedup_by_key(|(call, _)| *call);
    let table = |entry, calls, default| Table {
        entry,
        calls,
        default,
        newer: None,
    };
    let tables = if cfg!(target_arch = "x86_64") {
        vec![
            table(Entry::X86_64, calls, Answer::Notify),
            table(Entry::I386, Vec::new(), Answer::Allow),
        ]
    } else {
        vec![table(Entry::Aarch64, calls, Answer::Notify)]
    };
    Filter::from_rules(&tables, Flags::default()).ok()
}

impl Call {
    /// Its number at the native entry.
    pub fn number(&self) -> u32 {
        u32::try_from(self.number).unwrap_or(u32::MAX)
    }

    /// Whether it may change what a path means to some thread: another working directory or root, or another thread.
    pub fn moves(&self) -> bool {
        match self.number {
            libc::SYS_chdir
            | libc::SYS_fchdir
            | libc::SYS_chroot
            | libc::SYS_pivot_root
            | libc::SYS_clone
            | libc::SYS_clone3
            | libc::SYS_unshare
            | libc::SYS_setns
            | libc::SYS_renameat
            | libc::SYS_renameat2
            | libc::SYS_mount
            | libc::SYS_umount2 => true,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_fork | libc::SYS_vfork | libc::SYS_rename => true,
            _ => self.executes(),
        }
    }

    /// One at which a thread was stopped otherwise; no listener waits for its answer.
    pub(crate) fn traced(pid: u32, number: u64, args: [u64; 6]) -> Self {
        Self {
            id: 0,
            pid,
            number: i64::try_from(number).unwrap_or(-1),
            args,
        }
    }

    /// Whether a filter of [`watch`] asks about it.
    pub fn asked_by(&self, filter: &Filter) -> bool {
        self.answer(filter) == Some(Answer::Notify.code())
    }

    fn answer(&self, filter: &Filter) -> Option<u32> {
        let entry = if cfg!(target_arch = "x86_64") {
            Entry::X86_64
        } else {
            Entry::Aarch64
        };
        filter.answer(entry.audit(), self.number(), self.args)
    }

    /// With which error a filter refuses it; none when it lets it pass.
    pub fn refused_by(&self, filter: &Filter) -> Option<Errno> {
        let answer = self.answer(filter);
        let (allow, log) = (Answer::Allow.code(), Answer::Log.code());
        match answer {
            Some(code) if code == allow || code == log => None,
            Some(code) if code & 0xffff_0000 == Answer::Errno(0).code() => {
                Some(Errno((code & 0xffff) as i32))
            }
            // What would end the program is an error here: it goes on and shows what else it needs.
            _ => Some(Errno(libc::EPERM)),
        }
    }

    /// Whether it is execve(2) or execveat(2).
    pub fn executes(&self) -> bool {
        matches!(self.number, libc::SYS_execve | libc::SYS_execveat)
    }

    /// Bytes of the caller's memory, as many as there are at once.
    ///
    /// # Errors
    /// process_vm_readv(2).
    pub fn bytes(&self, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0u8; length];
        let local = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        let remote = libc::iovec {
            iov_base: address as *mut libc::c_void,
            iov_len: length,
        };
        // SAFETY: the room is as long as said; the other address is the other process's.
        let got = unsafe {
            libc::process_vm_readv(
                self.pid as i32,
                &raw const local,
                1,
                &raw const remote,
                1,
                0,
            )
        };
        let got = usize::try_from(got).map_err(|_| Errno::last())?;
        bytes.truncate(got);
        Ok(bytes)
    }

    fn opened(&self, place: Place, flags: u64) -> Touch {
        let flags = flags as i32;
        let has = |flag: i32| flags & flag == flag;
        let used = match flags & libc::O_ACCMODE {
            _ if has(libc::O_PATH) => Use::Look,
            _ if has(libc::O_TMPFILE) => Use::Write,
            libc::O_RDONLY if has(libc::O_CREAT) => Use::Write,
            libc::O_RDONLY if has(libc::O_DIRECTORY) => Use::List,
            libc::O_RDONLY => Use::Read,
            libc::O_RDWR if !has(libc::O_TRUNC) => Use::Update,
            _ => Use::Write,
        };
        Touch { place, used }
    }

    /// The paths that it uses.
    pub fn touches(&self) -> [Option<Touch>; 2] {
        let at = |dir: usize, path: usize, flags: u64| Place {
            dir: self.word(dir) as i32,
            path: Some(self.arg(path)),
            follow: flags as i32 & libc::AT_SYMLINK_NOFOLLOW == 0,
            empty: flags as i32 & libc::AT_EMPTY_PATH != 0,
        };
        let plain = |path: usize, follow: bool| Place {
            dir: CWD,
            path: Some(self.arg(path)),
            follow,
            empty: false,
        };
        let one = |place, used| [Some(Touch { place, used }), None];
        let two = |first, used, second| {
            let second = Touch {
                place: second,
                used: Use::Write,
            };
            [Some(Touch { place: first, used }), Some(second)]
        };
        match self.number {
            libc::SYS_openat => [Some(self.opened(at(0, 1, 0), self.arg(2))), None],
            libc::SYS_openat2 => {
                let how = self.bytes(self.arg(2), 8).unwrap_or_default();
                let flags = how
                    .first_chunk()
                    .map_or(0, |bytes| u64::from_ne_bytes(*bytes));
                [Some(self.opened(at(0, 1, 0), flags)), None]
            }
            libc::SYS_execve => one(plain(0, true), Use::Execute),
            libc::SYS_execveat => one(at(0, 1, self.arg(4)), Use::Execute),
            libc::SYS_newfstatat => one(at(0, 1, self.arg(3)), Use::Look),
            libc::SYS_statx => one(at(0, 1, self.arg(2)), Use::Look),
            libc::SYS_faccessat => one(at(0, 1, 0), Use::Look),
            libc::SYS_faccessat2 => one(at(0, 1, self.arg(3)), Use::Look),
            libc::SYS_readlinkat => one(at(0, 1, libc::AT_SYMLINK_NOFOLLOW as u64), Use::Look),
            libc::SYS_statfs | libc::SYS_getxattr | libc::SYS_listxattr => {
                one(plain(0, true), Use::Look)
            }
            libc::SYS_lgetxattr | libc::SYS_llistxattr => one(plain(0, false), Use::Look),
            libc::SYS_inotify_add_watch => one(plain(1, true), Use::Look),
            libc::SYS_chdir | libc::SYS_chroot => one(plain(0, true), Use::List),
            libc::SYS_truncate | libc::SYS_setxattr | libc::SYS_removexattr => {
                one(plain(0, true), Use::Write)
            }
            libc::SYS_mkdirat
            | libc::SYS_mknodat
            | libc::SYS_unlinkat
            | libc::SYS_utimensat
            | libc::SYS_fchmodat
            | libc::SYS_fchownat => one(at(0, 1, 0), Use::Write),
            libc::SYS_symlinkat => one(at(1, 2, 0), Use::Write),
            libc::SYS_linkat => two(at(0, 1, 0), Use::Look, at(2, 3, 0)),
            libc::SYS_renameat | libc::SYS_renameat2 => two(at(0, 1, 0), Use::Write, at(2, 3, 0)),
            #[cfg(target_arch = "x86_64")]
            number => match number {
                libc::SYS_open => [Some(self.opened(plain(0, true), self.arg(1))), None],
                libc::SYS_stat | libc::SYS_access => one(plain(0, true), Use::Look),
                libc::SYS_lstat | libc::SYS_readlink => one(plain(0, false), Use::Look),
                libc::SYS_creat
                | libc::SYS_mkdir
                | libc::SYS_rmdir
                | libc::SYS_mknod
                | libc::SYS_unlink
                | libc::SYS_chmod
                | libc::SYS_chown
                | libc::SYS_lchown
                | libc::SYS_utime
                | libc::SYS_utimes => one(plain(0, true), Use::Write),
                libc::SYS_symlink => one(plain(1, false), Use::Write),
                libc::SYS_link => two(plain(0, false), Use::Look, plain(1, false)),
                libc::SYS_rename => two(plain(0, false), Use::Write, plain(1, false)),
                _ => [None, None],
            },
            #[cfg(not(target_arch = "x86_64"))]
            _ => [None, None],
        }
    }

    /// What else it says.
    pub fn about(&self) -> About {
        let descriptor = self.word(0) as i32;
        let length = |at: usize| (self.arg(at) as usize).min(ADDRESS);
        let (a, b, c) = (self.word(0), self.word(1), self.word(2));
        let none = u32::MAX;
        match self.number {
            libc::SYS_connect => About::Connect(descriptor, self.arg(1), length(2)),
            libc::SYS_sendto => About::Connect(descriptor, self.arg(4), length(5)),
            libc::SYS_bind => About::Bind(descriptor, self.arg(1), length(2)),
            libc::SYS_setuid | libc::SYS_setfsuid => About::Users([a, none, none]),
            libc::SYS_setreuid => About::Users([a, b, none]),
            libc::SYS_setresuid => About::Users([a, b, c]),
            libc::SYS_setgid | libc::SYS_setfsgid => About::Groups([a, none, none]),
            libc::SYS_setregid => About::Groups([a, b, none]),
            libc::SYS_setresgid => About::Groups([a, b, c]),
            libc::SYS_setgroups => About::GroupList((a as usize).min(GROUPS), self.arg(1)),
            libc::SYS_kill | libc::SYS_tgkill | libc::SYS_tkill => About::Signal(descriptor),
            libc::SYS_socket => {
                let family = descriptor;
                let kind = b as i32 & 0xf;
                About::RawSocket(
                    family == libc::AF_PACKET
                        || matches!(family, libc::AF_INET | libc::AF_INET6)
                            && kind == libc::SOCK_RAW,
                )
            }
            _ => About::Nothing,
        }
    }

    /// The groups of an [`About::GroupList`].
    ///
    /// # Errors
    /// process_vm_readv(2).
    pub fn groups(&self, count: usize, at: u64) -> Result<Vec<u32>, Errno> {
        let bytes = self.bytes(at, count.min(GROUPS) * 4)?;
        let (groups, _) = bytes.as_chunks::<4>();
        Ok(groups
            .iter()
            .map(|group| u32::from_ne_bytes(*group))
            .collect())
    }

    /// The address of an [`About::Connect`] or [`About::Bind`]; none of another family, or without one.
    pub fn address(&self, at: u64, length: usize) -> Option<Address> {
        let bytes = self.bytes(at, length).ok()?;
        address(&bytes)
    }
}

/// `struct sockaddr_*` of ip(7), ipv6(7), unix(7).
fn address(bytes: &[u8]) -> Option<Address> {
    let family = i32::from(u16::from_ne_bytes(*bytes.first_chunk()?));
    let port = || {
        bytes
            .get(2..4)
            .and_then(|b| b.first_chunk())
            .map(|b| u16::from_be_bytes(*b))
    };
    match family {
        libc::AF_INET => {
            let ip: [u8; 4] = *bytes.get(4..8)?.first_chunk()?;
            Some(Address::Ip((Ipv4Addr::from(ip), port()?).into()))
        }
        libc::AF_INET6 => {
            let ip: [u8; 16] = *bytes.get(8..24)?.first_chunk()?;
            Some(Address::Ip((Ipv6Addr::from(ip), port()?).into()))
        }
        libc::AF_UNIX => {
            let path = bytes.get(2..)?;
            match path {
                [] => None,
                [0, name @ ..] => Some(Address::Abstract(name.to_vec())),
                path => {
                    let end = path.iter().position(|byte| *byte == 0);
                    let path = path.get(..end.unwrap_or(path.len())).unwrap_or_default();
                    Some(Address::Unix(path.to_vec()))
                }
            }
        }
        _ => None,
    }
}

/// Whether a socket sends datagrams (socket(7), SO_TYPE); none of what is no socket.
pub fn sends_datagrams(socket: BorrowedFd<'_>) -> Option<bool> {
    let mut kind: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value is as large as said, and written only.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            (&raw mut kind).cast(),
            &raw mut size,
        )
    };
    (done == 0).then_some(kind == libc::SOCK_DGRAM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_each_family_are_read() {
        let mut v4 = (libc::AF_INET as u16).to_ne_bytes().to_vec();
        v4.extend([0x1f, 0x90, 127, 0, 0, 1, 0, 0]);
        let found = address(&v4);
        assert_eq!(
            found,
            Some(Address::Ip("127.0.0.1:8080".parse().expect("an address")))
        );
        let mut unix = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
        unix.extend(b"/run/x\0\0");
        assert_eq!(address(&unix), Some(Address::Unix(b"/run/x".to_vec())));
        let mut hidden = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
        hidden.extend(b"\0name");
        assert_eq!(address(&hidden), Some(Address::Abstract(b"name".to_vec())));
        assert_eq!(address(&v4[..5]), None);
        assert_eq!(address(&[]), None);
    }

    #[test]
    fn what_is_worth_it_is_asked_and_the_rest_is_not() {
        let filter = watch(&[0, 1, libc::SYS_sendto as u32], false).expect("a filter");
        let native = if cfg!(target_arch = "x86_64") {
            0xc000_003e
        } else {
            0xc000_00b7
        };
        let answer = |call: libc::c_long, args| filter.answer(native, call as u32, args);
        let (allow, notify) = (Answer::Allow.code(), Answer::Notify.code());
        assert_eq!(filter.answer(native, 1, [0; 6]), Some(allow));
        assert_eq!(answer(libc::SYS_openat, [0; 6]), Some(notify));
        assert_eq!(answer(libc::SYS_sendto, [0; 6]), Some(allow));
        assert_eq!(answer(libc::SYS_sendto, [3, 0, 0, 0, 77, 16]), Some(notify));
    }

    #[test]
    fn a_step_of_a_walk_is_asked_about_only_when_each_look_is_wanted() {
        let native = if cfg!(target_arch = "x86_64") {
            0xc000_003e
        } else {
            0xc000_00b7
        };
        let (allow, notify) = (Some(Answer::Allow.code()), Some(Answer::Notify.code()));
        let (cwd, cwd_32) = (CWD as u64, u64::from(CWD as u32));
        for each_look in [false, true] {
            let filter = watch(&[0, 1], each_look).expect("a filter");
            let step = if each_look { notify } else { allow };
            let fstatat = |dir, flags| {
                let args = [dir, 0x1000, 0x2000, flags, 0, 0];
                filter.answer(native, libc::SYS_newfstatat as u32, args)
            };
            let statx = |dir, flags| {
                let args = [dir, 0x1000, flags, 0xfff, 0x2000, 0];
                filter.answer(native, libc::SYS_statx as u32, args)
            };
            for (dir, flags, meant) in [
                (3, 0x100, step),
                (3, 0x1000, step),
                (3, 0, notify),
                (3, 0x1100, notify),
                (cwd, 0x100, notify),
                (cwd_32, 0x100, notify),
                (cwd, 0, notify),
            ] {
                assert_eq!(fstatat(dir, flags), meant, "{each_look} {dir:x} {flags:x}");
                assert_eq!(statx(dir, flags), meant, "{each_look} {dir:x} {flags:x}");
            }
        }
    }

    #[test]
    fn what_a_filter_refuses_is_known_without_the_kernel() {
        let filter = watch(&[libc::SYS_read as u32], false).expect("a filter");
        let call = |number: libc::c_long| Call {
            id: 0,
            pid: 0,
            number,
            args: [0; 6],
        };
        assert_eq!(call(libc::SYS_read).refused_by(&filter), None);
        // It would be asked about, and nobody answers.
        let mkdir = call(libc::SYS_mkdirat).refused_by(&filter);
        assert_eq!(mkdir, Some(Errno(libc::EPERM)));
        let list = Filter::new(crate::seccomp::Options {
            no_sync: false,
            mounts: false,
        });
        assert_eq!(call(libc::SYS_openat).refused_by(&list), None);
        assert!(call(libc::SYS_bpf).refused_by(&list).is_some());
    }
}
