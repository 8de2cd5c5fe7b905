//! The stupid child: it walks a list that was made before the clone, allocates nothing, decides nothing, and stops
//! at the first operation that fails.

use crate::beneath::{self, Fd, Links};
use crate::disk_op::DiskOp;
use crate::error::Errno;
use crate::landlock::Ruleset;
use crate::place::{self, DIRECTORY, Note, file_type, make_dir, make_file, plain};
use crate::seccomp::Filter;
use crate::{caps, mount};
use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

mod self_op;
mod steps;
mod tree_op;

pub use crate::place::Stage;
use steps::{await_go, close_but, loopback_up, mask, reject, stdio, work_in};

pub use self_op::SelfOp;
pub(crate) use steps::{close_but as close_all_but, set_ids};
pub use tree_op::{OverlayDirs, TreeOp};

/// A place in the child's table of descriptors.
pub type Slot = usize;

/// How many places there are.
pub const SLOTS: usize = 32;

/// The child's table of descriptors; -1 is empty. Overwritten ones are left for close_range(2) at the end.
pub(crate) struct Table {
    slots: [RawFd; SLOTS],
    /// The child's end of the socket to the supervisor.
    pub(crate) socket: RawFd,
    /// What [`Op::ReadBack`] found.
    pub(crate) found: Option<caps::Found>,
    /// What can be said of the last operation besides its errno.
    pub(crate) note: Note,
    /// Which of several working directories it was.
    pub(crate) worked_in: usize,
    /// The umask before the walk.
    pub(crate) umask: libc::mode_t,
    /// The mount of [`Op::AttachAside`].
    aside: Option<RawFd>,
}

impl Table {
    pub(crate) fn new(socket: RawFd) -> Self {
        Self {
            slots: [-1; SLOTS],
            socket,
            found: None,
            note: Note::new(),
            worked_in: 0,
            umask: 0o022,
            aside: None,
        }
    }

    pub(crate) fn at(&self, slot: Slot) -> Result<RawFd, Errno> {
        self.slots
            .get(slot)
            .copied()
            .filter(|fd| *fd >= 0)
            .ok_or(Errno(libc::EBADF))
    }

    pub(crate) fn shift(&mut self, from: Slot, to: Slot) -> Result<(), Errno> {
        let fd = self.at(from)?;
        self.put(from, Fd(-1))?;
        self.put(to, Fd(fd))
    }

    pub(crate) fn put(&mut self, slot: Slot, fd: Fd) -> Result<(), Errno> {
        let place = self.slots.get_mut(slot).ok_or(Errno(libc::EBADF))?;
        *place = fd.0;
        std::mem::forget(fd);
        Ok(())
    }
}

/// One operation. Paths named "host" are resolved in the process's own root, which is still the host's; all others
/// beneath the descriptor of a slot.
#[derive(Debug)]
pub enum Op {
    /// Join namespaces (setns(2)), in this order; the working directory becomes their root. Each a descriptor that was
    /// there before the clone, of a process or of a namespace, and `CLONE_NEW*`.
    Join(Vec<(RawFd, i32)>),
    /// Make a directory that was opened before the clone the root and the working directory (chroot(2)): the root of a
    /// process whose namespaces were joined, which need not be the root of its mount namespace.
    EnterRoot(RawFd),
    /// A directory beneath the working directory, links refused.
    OpenDir {
        /// Relative path.
        path: &'static CStr,
        /// Where it goes.
        slot: Slot,
    },
    /// Wait until the supervisor has mapped identifiers; it sends as many descriptors as there are slots here.
    Await(Vec<Slot>),
    /// Become user and group 0 of the new user namespace, without supplementary groups where they can be dropped.
    BecomeRoot {
        /// Whether setgroups(2) is allowed.
        set_groups: bool,
    },
    /// Be killed when the supervisor dies; fail if it has died already.
    DieWithParent,
    /// Nobody inside may trace this process or read its memory or its executable.
    NotDumpable,
    /// Bring up `lo` (netdevice(7)).
    LoopbackUp,
    /// Makes an address one that cannot be reached, whatever other routes say (route(8), `reject`).
    Reject(std::net::Ipv4Addr),
    /// sethostname(2).
    HostName(CString),
    /// Make every mount private.
    PrivateMounts,
    /// A new file system.
    NewFs {
        /// Its type.
        fs: &'static CStr,
        /// Its options.
        options: Vec<(CString, Option<CString>)>,
        /// Attributes of [`crate::mount::attr`].
        attrs: u64,
        /// Where it goes.
        slot: Slot,
    },
    /// A copy of a mount of the host.
    OpenTree {
        /// Path in the host.
        path: CString,
        /// With what is mounted beneath.
        recursive: bool,
        /// Where it goes.
        slot: Slot,
    },
    /// A copy of a part of a mount of ours.
    OpenPart {
        /// The mount.
        dir: Slot,
        /// The part.
        path: &'static CStr,
        /// Where it goes.
        slot: Slot,
    },
    /// Something for a disk image.
    Disk(DiskOp),
    /// Attributes of a mount that is not attached yet.
    SetAttr {
        /// The mount.
        slot: Slot,
        /// Attributes to set.
        set: u64,
        /// On all beneath.
        recursive: bool,
    },
    /// Attach a mount where nobody looks for anything else, so that it belongs to this namespace: it is reached by its
    /// slot, and goes with the old root.
    AttachAside(Slot),
    /// Attach a mount beneath another.
    Attach {
        /// The mount.
        slot: Slot,
        /// Beneath this.
        dir: Slot,
        /// At this path.
        path: CString,
        /// How links on the way are taken.
        links: Links,
    },
    /// mkdirat(2) in a directory of ours.
    MakeDir {
        /// The directory.
        dir: Slot,
        /// The name.
        name: CString,
        /// The mode, whatever the umask.
        mode: u32,
    },
    /// An empty file in a directory of ours.
    MakeFile {
        /// The directory.
        dir: Slot,
        /// The name.
        name: &'static CStr,
    },
    /// A link in a tree, its directory made if there is none.
    Symlink {
        /// The tree.
        dir: Slot,
        /// Where.
        path: CString,
        /// Its text.
        to: CString,
        /// Whether one that is there already and says the same is as good.
        same: bool,
    },
    /// See to it that `name` is a plain directory or regular file in `dir`, no link: made when absent, replaced when
    /// it is something else and `replace` says so.
    Plain {
        /// The tree.
        dir: Slot,
        /// The path; all before the last component has to be there and free of links.
        path: &'static CStr,
        /// A directory, or a file.
        directory: bool,
        /// Whether something else is removed.
        replace: bool,
    },
    /// See to it that there is a place to mount on, making what is missing on the way; links stay inside.
    Place {
        /// The tree.
        dir: Slot,
        /// The path.
        path: CString,
        /// A directory or a file; as what is in this slot is.
        like: PlaceKind,
        /// The mode of directories on the way that have to be made.
        parents: u32,
    },
    /// Anything that is written into a tree or makes it up; see [`TreeOp`].
    Tree(TreeOp),
    /// Anything that changes who or what this process is; see [`SelfOp`].
    Itself(SelfOp),
    /// Make the directory of a slot the working directory.
    Chdir(Slot),
    /// Bind `from` at `to`, both as mount(2) takes them.
    Bind {
        /// Source: absolute in the host, or relative.
        from: CString,
        /// Relative target.
        to: CString,
    },
    /// Bind something empty over the target, where it exists.
    Mask {
        /// What is probably of the target's kind, relative. A wrong guess is slow: the kernel waits for all CPUs when
        /// it takes a mount back.
        with: &'static CStr,
        /// What is of the other kind.
        or_with: &'static CStr,
        /// Relative target.
        to: CString,
    },
    /// Make the target read-only by a mount over itself, where it exists.
    Freeze(CString),
    /// Open a new pseudo-terminal of the devpts in `pts`, send its master to the supervisor, keep its slave.
    Pty {
        /// The directory that has `pts/ptmx`.
        dev: Slot,
        /// Where the slave goes.
        slot: Slot,
    },
    /// Make the tree of a slot the root.
    PivotRoot(Slot),
    /// A new session.
    NewSession,
    /// The controlling terminal of the session.
    Terminal(Slot),
    /// Standard input, output and error.
    Stdio([Source; 3]),
    /// The bounding set.
    Bound(u64),
    /// Groups and user; `groups` is none where setgroups(2) is not possible.
    User {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
        /// Supplementary groups.
        groups: Option<Vec<u32>>,
    },
    /// Effective and permitted capabilities; inheritable and ambient become empty.
    Caps(u64),
    /// PR_SET_NO_NEW_PRIVS.
    NoNewPrivs,
    /// The first of these that can be entered; that it is inside the root is checked.
    WorkIn(Vec<CString>),
    /// Close everything from 3 on.
    CloseRange,
    /// Signals as a program expects them: none blocked, none ignored.
    DefaultSignals,
    /// Close everything from 3 on but these, which are ascending and stay open in the program.
    CloseBut(Vec<RawFd>),
    /// Load the filter.
    Seccomp(Filter),
    /// Register an interpreter with the binfmt_misc of a slot.
    Interpret {
        /// Where it is mounted.
        slot: Slot,
        /// The registration.
        text: CString,
    },
    /// Load the filter, and send the supervisor the descriptor by which it answers.
    Listen(Filter),
    /// A limit of this process.
    Limit(crate::limits::LimitOp),
    /// Restrict what may be touched.
    Landlock(Ruleset),
    /// A mount of a device node of the host; anything else is refused.
    OpenDevice {
        /// Path in the host.
        path: CString,
        /// Where it goes.
        slot: Slot,
    },
    /// Ask the kernel for the capabilities that are in force, for [`crate::spawn::Child::found`].
    ReadBack,
    /// The default securebits (capabilities(7)), where no user namespace of its own gave them already.
    Securebits,
    /// Fail on purpose; 0 ends the process instead.
    Fault(i32),
}

/// What a place is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    /// A directory of this mode if it has to be made.
    Directory(u32),
    /// A file of this mode if it has to be made.
    File(u32),
    /// As the mount of a slot: a directory of mode 755, or a file of this mode if it has to be made.
    Like(Slot, u32),
}

/// Where a standard descriptor comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A descriptor that was there before the clone.
    Raw(RawFd),
    /// A slot.
    Slot(Slot),
}

/// Whether an operation did anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Applied,
    /// There was nothing to apply it to.
    Absent,
}

pub(crate) fn check(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(())
    }
}

pub(crate) fn check_long(result: libc::c_long) -> Result<(), Errno> {
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(())
    }
}

/// Walks the list. On an error: its place in the list.
pub(crate) fn walk(
    ops: &[Op],
    table: &mut Table,
    absent: &mut dyn FnMut(usize),
) -> Result<(), (usize, Errno)> {
    for (index, op) in ops.iter().enumerate() {
        match apply(op, table) {
            Ok(Done::Applied) => {}
            Ok(Done::Absent) => absent(index),
            Err(errno) => return Err((index, errno)),
        }
    }
    Ok(())
}

fn apply(op: &Op, table: &mut Table) -> Result<Done, Errno> {
    match op {
        Op::Join(list) => {
            for (fd, namespaces) in list {
                // SAFETY: takes numbers only.
                check(unsafe { libc::setns(*fd, *namespaces) })?;
            }
        }
        Op::EnterRoot(fd) => {
            // SAFETY: takes a number only.
            check(unsafe { libc::fchdir(*fd) })?;
            // SAFETY: the path ends in NUL.
            check(unsafe { libc::chroot(c".".as_ptr()) })?;
        }
        Op::OpenDir { path, slot } => {
            table.put(
                *slot,
                beneath::open_raw(libc::AT_FDCWD, path, DIRECTORY, Links::Refuse)?,
            )?;
        }
        Op::Await(slots) => await_go(slots, table)?,
        Op::BecomeRoot { set_groups } => {
            if *set_groups {
                set_ids(Some(&[]), 0, 0)?;
            } else {
                set_ids(None, 0, 0)?;
            }
        }
        Op::DieWithParent => {
            // SAFETY: takes numbers only.
            check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })?;
            let mut byte = 0u8;
            // SAFETY: one byte of room, as said. The end of the stream is the supervisor's death.
            let got = unsafe {
                libc::recv(
                    table.socket,
                    (&raw mut byte).cast(),
                    1,
                    libc::MSG_DONTWAIT | libc::MSG_PEEK,
                )
            };
            if got == 0 {
                return Err(Errno(libc::ESRCH));
            }
        }
        // SAFETY: takes numbers only.
        Op::NotDumpable => check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })?,
        Op::LoopbackUp => loopback_up()?,
        Op::Reject(address) => reject(*address)?,
        Op::HostName(name) => {
            let bytes = name.as_bytes();
            // SAFETY: the name is as long as said.
            check(unsafe { libc::sethostname(bytes.as_ptr().cast(), bytes.len()) })?;
        }
        Op::PrivateMounts => mount::mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE)?,
        Op::NewFs {
            fs,
            options,
            attrs,
            slot,
        } => {
            let options = options.iter().map(|(k, v)| (k.as_c_str(), v.as_deref()));
            table.put(*slot, mount::new_fs(fs, options, *attrs)?)?;
        }
        Op::OpenTree {
            path,
            recursive,
            slot,
        } => {
            let hidden = table.aside.filter(|_| *recursive);
            // What holds the jail while it is made lies somewhere in the host's tree: no copy may show it.
            if let Some(aside) = hidden {
                mount::set_propagation(aside, libc::MS_UNBINDABLE)?;
            }
            let tree = mount::open_tree(libc::AT_FDCWD, path, *recursive);
            if let Some(aside) = hidden {
                mount::set_propagation(aside, libc::MS_PRIVATE)?;
            }
            table.put(*slot, tree?)?;
        }
        Op::OpenPart { dir, path, slot } => {
            table.put(*slot, mount::open_tree(table.at(*dir)?, path, false)?)?
        }
        Op::Disk(op) => op.apply(table)?,
        Op::SetAttr {
            slot,
            set,
            recursive,
        } => mount::set_attr(table.at(*slot)?, *set, None, *recursive)?,
        // A directory of procfs that every kernel has: it hides no path that is still to be opened.
        Op::AttachAside(slot) => {
            let aside = table.at(*slot)?;
            mount::attach_at(aside, libc::AT_FDCWD, c"/proc/fs")?;
            table.aside = Some(aside);
        }
        Op::Attach {
            slot,
            dir,
            path,
            links,
        } => {
            let (mount, dir) = (table.at(*slot)?, table.at(*dir)?);
            // One component is looked up by the kernel as it is, a link not followed.
            if *links == Links::Refuse && !path.to_bytes().contains(&b'/') {
                mount::attach_at(mount, dir, path)?;
            } else {
                let target = beneath::open_raw(dir, path, libc::O_PATH, *links)?;
                mount::attach(mount, target.0)?;
            }
        }
        Op::MakeDir { dir, name, mode } => make_dir(table.at(*dir)?, name, *mode)?,
        Op::MakeFile { dir, name } => make_file(table.at(*dir)?, name, 0o644)?,
        Op::Symlink {
            dir,
            path,
            to,
            same,
        } => place::symlink(table.at(*dir)?, path, to, *same, &mut table.note)?,
        Op::Plain {
            dir,
            path,
            directory,
            replace,
        } => plain(table.at(*dir)?, path, *directory, *replace)?,
        Op::Place {
            dir,
            path,
            like,
            parents,
        } => {
            let (directory, file) = match like {
                PlaceKind::Directory(mode) => (Some(*mode), 0),
                PlaceKind::File(mode) => (None, *mode),
                PlaceKind::Like(slot, file) => {
                    let directory = file_type(table.at(*slot)?, c"")? == libc::S_IFDIR;
                    (directory.then_some(0o755), *file)
                }
            };
            let dir = table.at(*dir)?;
            place::place_below(dir, path, directory, file, *parents, &mut table.note)?;
        }
        Op::Tree(op) => return tree_op::apply(op, table),
        Op::Itself(op) => return self_op::apply(op, table),
        // SAFETY: takes a descriptor only.
        Op::Chdir(slot) => check(unsafe { libc::fchdir(table.at(*slot)?) })?,
        Op::Bind { from, to } => mount::mount(Some(from), to, libc::MS_BIND)?,
        Op::Mask { with, or_with, to } => return mask(with, or_with, to),
        Op::Freeze(at) => {
            match mount::mount(Some(at), at, libc::MS_BIND) {
                Err(Errno(libc::ENOENT)) => return Ok(Done::Absent),
                other => other?,
            }
            let keep = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            mount::mount(
                None,
                at,
                libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | keep,
            )?;
        }
        Op::Pty { dev, slot } => {
            let (master, slave) = crate::pty::open_in(table.at(*dev)?)?;
            crate::spawn::send_fd(table.socket, master.0)?;
            table.put(*slot, slave)?;
        }
        Op::PivotRoot(slot) => {
            // SAFETY: takes a descriptor only.
            check(unsafe { libc::fchdir(table.at(*slot)?) })?;
            mount::pivot_here()?;
        }
        // SAFETY: takes nothing.
        Op::NewSession => check(unsafe { libc::setsid() })?,
        // SAFETY: takes numbers only.
        Op::Terminal(slot) => check(unsafe { libc::ioctl(table.at(*slot)?, libc::TIOCSCTTY, 0) })?,
        Op::Stdio(sources) => stdio(sources, table)?,
        Op::Bound(keep) => caps::bound(*keep)?,
        Op::User { uid, gid, groups } => set_ids(groups.as_deref(), *uid, *gid)?,
        Op::Caps(keep) => caps::set(*keep)?,
        // SAFETY: takes numbers only.
        Op::NoNewPrivs => check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?,
        Op::WorkIn(dirs) => table.worked_in = work_in(dirs)?,
        Op::CloseRange => {
            // SAFETY: takes numbers only; nothing of the child uses a descriptor past 2 after this.
            check_long(unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) })?
        }
        Op::DefaultSignals => crate::signal::restore_defaults()?,
        Op::Seccomp(filter) => filter.load()?,
        Op::Interpret { slot, text } => {
            let flags = libc::O_WRONLY | libc::O_CLOEXEC;
            let file = beneath::open_raw(table.at(*slot)?, c"register", flags, Links::Refuse)?;
            let bytes = text.as_bytes();
            // SAFETY: the text is as long as said.
            let done = unsafe { libc::write(file.0, bytes.as_ptr().cast(), bytes.len()) };
            check_long(done as libc::c_long)?;
        }
        Op::Listen(filter) => {
            let listener = filter.listen()?;
            crate::spawn::send_fd(table.socket, listener.0)?;
        }
        Op::CloseBut(keep) => close_but(keep)?,
        Op::Limit(limit) => limit.apply()?,
        Op::Landlock(set) => crate::landlock::restrict(set)?,
        Op::OpenDevice { path, slot } => {
            let tree = mount::open_tree(libc::AT_FDCWD, path, false)?;
            match file_type(tree.0, c"")? {
                libc::S_IFCHR | libc::S_IFBLK => table.put(*slot, tree)?,
                _ => return Err(Errno(libc::ENODEV)),
            }
        }
        Op::Securebits => caps::default_securebits()?,
        Op::ReadBack => table.found = caps::found(),
        // SAFETY: ends the process.
        Op::Fault(0) => unsafe { libc::_exit(137) },
        Op::Fault(errno) => return Err(Errno(*errno)),
    }
    Ok(Done::Applied)
}
