//! From the plan's operations to the child's.

use super::JailError;
use crate::namespaces::NsKind;
use jaula_plan::jail::{JailPlan, replaceable};
use jaula_plan::net::nat::METADATA;
use jaula_plan::setup_op::{IdPlan, RootPlan, SetupOp};
use jaula_plan::spec::jail::{Changes, Namespaces};
use jaula_sys::beneath::Links;
use jaula_sys::child::{Op, SelfOp, Slot};
use jaula_sys::mount::attr;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(in crate::jail) mod bwrap;
mod disk;
pub(super) mod guard;
mod limits;
mod mounts;
mod parts;
mod resolver;

pub(super) use disk::Started;
use mounts::{MS_SHARED, MS_SLAVE};

/// The memory that holds what belongs to no path of the jail.
const BASE: Slot = 0;
/// The tree that becomes the root.
const ROOT: Slot = 1;
const LOWER: Slot = 2;
const LAYER: Slot = 3;
const DEV: Slot = 4;
const PROC: Slot = 5;
const SYS: Slot = 6;
/// Anything that is attached at once.
const ANY: Slot = 7;
const PTY: Slot = 8;

/// What the child is to do, and which operation of the plan each belongs to.
pub(super) struct Lowered {
    pub(super) first: Vec<Op>,
    pub(super) last: Vec<Op>,
    /// For each of `first`, then each of `last`: the index in the plan.
    steps: Vec<usize>,
    last_steps: Vec<usize>,
    pub(super) namespaces: Namespaces,
    /// `CLONE_NEW*` of the namespaces of a process that are joined.
    pub(super) joins: i32,
    /// Whether its root is joined too.
    pub(super) joins_root: bool,
    pub(super) ids: IdPlan,
    /// Trees of which the supervisor sends an id-mapped view, in the order of the slots that wait for them.
    pub(super) mapped: Vec<PathBuf>,
    pub(super) paths: Vec<CString>,
    pub(super) args: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) program: OsString,
    /// Files that the child reads.
    held: Vec<File>,
}

/// Where the three standard descriptors come from.
pub(super) enum Stdio {
    /// These of the supervisor.
    Raw([RawFd; 3]),
    /// A new terminal.
    Pty,
}

pub(super) fn text(word: impl AsRef<OsStr>) -> Result<CString, JailError> {
    CString::new(word.as_ref().as_bytes()).map_err(|_| JailError::Nul {
        word: word.as_ref().to_owned(),
    })
}

/// A path of the jail, relative to its root.
fn relative(path: &Path) -> Result<CString, JailError> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    text(match relative.as_os_str().is_empty() {
        true => Path::new("."),
        false => relative,
    })
}

fn options(list: &[(&str, Option<&str>)]) -> Result<Vec<(CString, Option<CString>)>, JailError> {
    list.iter()
        .map(|(key, value)| Ok((text(key)?, value.map(text).transpose()?)))
        .collect()
}

impl Lowered {
    /// The plan's operation behind the child's `index`.
    pub(super) fn step(&self, index: usize) -> Option<usize> {
        let last = index
            .checked_sub(self.first.len())
            .and_then(|i| self.last_steps.get(i));
        self.steps.get(index).or(last).copied()
    }

    /// One more operation before all others, told as the plan's first.
    pub(super) fn prepend(&mut self, op: Op) {
        self.first.insert(0, op);
        self.steps.insert(0, 0);
    }

    /// The child's operations of `first` that belong to an operation of the plan, by index.
    pub(super) fn of_step(&self, step: usize) -> impl Iterator<Item = (usize, &Op)> {
        self.first
            .iter()
            .enumerate()
            .filter(move |(i, _)| self.steps.get(*i) == Some(&step))
    }
}

struct Lowering<'a> {
    out: Lowered,
    stdio: &'a Stdio,
    disks: &'a [Started],
    step: usize,
    replace: bool,
    set_groups: bool,
    id_mapped: bool,
    outlive: bool,
    /// Whether the program is PID 1 itself.
    as_pid_1: bool,
    /// Whether the plan has a `/dev`, which brings terminals.
    has_dev: bool,
    /// How many of these were made: the first lies in the memory that is there already.
    devs: usize,
    overlays: usize,
    grouped: bool,
    /// The mode of a file that is made to mount on.
    mount_point: u32,
    /// Whether directories on the way are closed to whom the last of it is closed.
    narrow: bool,
    /// Whether what follows is done by the program's own process.
    program: bool,
}

/// Lowers a whole plan. `joining` leaves out what a running jail has already; `grouped`: the process is put into
/// control groups, and is only then to see itself at their top.
pub(super) fn lower(
    plan: &JailPlan,
    stdio: &Stdio,
    joining: bool,
    grouped: bool,
    disks: &[Started],
) -> Result<Lowered, JailError> {
    let mut lowering = Lowering::new(stdio, disks);
    lowering.grouped = grouped;
    lowering.as_pid_1 = plan.as_pid_1;
    lowering.has_dev = plan.ops.iter().any(|op| matches!(op, SetupOp::Dev { .. }));
    for op in &plan.ops {
        match op {
            SetupOp::Outlive => lowering.outlive = true,
            SetupOp::MapIds(ids) => {
                lowering.out.ids = ids.clone();
                lowering.set_groups = ids.set_groups();
            }
            SetupOp::Root(RootPlan::Tree {
                dir,
                changes,
                id_mapped,
            }) => {
                lowering.replace = replaceable(changes);
                lowering.id_mapped = *id_mapped;
                if *id_mapped {
                    lowering.out.mapped.push(dir.clone());
                    if let Changes::Layer { upper, .. } = changes {
                        lowering
                            .out
                            .mapped
                            .extend(upper.parent().map(Path::to_owned));
                    }
                }
            }
            _ => {}
        }
    }
    let start = plan
        .ops
        .iter()
        .position(|op| matches!(op, SetupOp::Stdio(_)))
        .unwrap_or(0);
    for (step, op) in plan.ops.iter().enumerate() {
        lowering.step = step;
        if let Some(fault) = plan.fault.filter(|fault| fault.op == step) {
            if step < start {
                lowering.first(Op::Fault(fault.errno))
            } else {
                lowering.last(Op::Fault(fault.errno))
            }
        }
        let program = step >= start
            || matches!(
                op,
                SetupOp::Namespaces(_) | SetupOp::MapIds(_) | SetupOp::Join(_)
            );
        if !joining || program {
            lowering.op(op, joining)?;
        }
    }
    Ok(lowering.out)
}

impl<'a> Lowering<'a> {
    fn new(stdio: &'a Stdio, disks: &'a [Started]) -> Self {
        Self {
            out: Lowered {
                first: Vec::with_capacity(96),
                last: Vec::with_capacity(16),
                steps: Vec::with_capacity(96),
                last_steps: Vec::with_capacity(16),
                namespaces: Namespaces {
                    uts: false,
                    ipc: false,
                    pid: false,
                    net: false,
                    user: false,
                    cgroup: false,
                    time: false,
                },
                joins: 0,
                joins_root: false,
                ids: IdPlan::Host,
                mapped: Vec::new(),
                paths: Vec::new(),
                args: Vec::new(),
                env: Vec::new(),
                program: OsString::new(),
                held: Vec::new(),
            },
            stdio,
            disks,
            step: 0,
            replace: true,
            set_groups: true,
            id_mapped: false,
            outlive: false,
            as_pid_1: false,
            has_dev: false,
            devs: 0,
            overlays: 0,
            grouped: false,
            mount_point: 0o644,
            narrow: false,
            program: false,
        }
    }
}

impl Lowering<'_> {
    fn first(&mut self, op: Op) {
        self.out.first.push(op);
        self.out.steps.push(self.step);
    }

    fn last(&mut self, op: Op) {
        self.out.last.push(op);
        self.out.last_steps.push(self.step);
    }

    fn attach(
        &mut self,
        slot: Slot,
        dir: Slot,
        path: &'static str,
        links: Links,
    ) -> Result<(), JailError> {
        let path = text(path)?;
        self.first(Op::Attach {
            slot,
            dir,
            path,
            links,
        });
        Ok(())
    }

    fn new_fs(
        &mut self,
        fs: &'static std::ffi::CStr,
        list: &[(&str, Option<&str>)],
        attrs: u64,
        slot: Slot,
    ) -> Result<(), JailError> {
        let options = options(list)?;
        self.first(Op::NewFs {
            fs,
            options,
            attrs,
            slot,
        });
        Ok(())
    }

    fn op(&mut self, op: &SetupOp, joining: bool) -> Result<(), JailError> {
        match op {
            SetupOp::Namespaces(namespaces) => self.out.namespaces = *namespaces,
            SetupOp::Join(join) => {
                let kinds = join
                    .kinds
                    .iter()
                    .filter_map(|kind| kind.parse::<NsKind>().ok());
                self.out.joins = kinds.fold(0, |flags, kind| flags | kind.flag());
                self.out.joins_root = join.root;
                self.set_groups = join.set_groups;
                self.joined(join.become_ids, join.terminals);
            }
            SetupOp::MapIds(ids) if joining => {
                // What is mapped inside is what the jail was started with; the joining process is nobody there yet.
                let own = match ids {
                    IdPlan::Host => None,
                    IdPlan::Single { inside, .. } => Some(*inside),
                    _ => Some((0, 0)),
                };
                self.joined(own, true);
            }
            SetupOp::MapIds(ids) => {
                let slots = [LOWER, LAYER].into_iter().take(self.out.mapped.len());
                let slots = slots.chain(self.disk_mounts()).collect();
                self.first(Op::Await(slots));
                self.open_fuse();
                let root_inside = !matches!(
                    ids,
                    IdPlan::Host
                        | IdPlan::Single {
                            inside: (1.., _),
                            ..
                        }
                );
                if root_inside {
                    self.first(Op::BecomeRoot {
                        set_groups: self.set_groups,
                    });
                }
                self.own_groups();
            }
            SetupOp::DieWithParent => {
                self.first(Op::DieWithParent);
                self.first(Op::NotDumpable);
            }
            // Whoever outlives the supervisor is still not to be looked at.
            SetupOp::Outlive => self.first(Op::NotDumpable),
            SetupOp::Loopback => self.first(Op::LoopbackUp),
            SetupOp::Links { .. } | SetupOp::Network { .. } => {}
            SetupOp::Nat(_) => self.first(Op::Reject(METADATA)),
            SetupOp::HostName(name) => {
                self.first(Op::HostName(text(name.as_str())?));
            }
            SetupOp::PrivateMounts => self.first(Op::PrivateMounts),
            SetupOp::SlaveMounts => self.propagation(MS_SLAVE),
            SetupOp::SharedMounts => self.propagation(MS_SHARED),
            SetupOp::Clocks(clocks) => self.clocks(*clocks)?,
            SetupOp::Root(root) => self.root(root)?,
            SetupOp::Directory { .. }
            | SetupOp::Link { .. }
            | SetupOp::Bind { .. }
            | SetupOp::Tmpfs { .. }
            | SetupOp::Overlay { .. }
            | SetupOp::File { .. }
            | SetupOp::Mqueue { .. }
            | SetupOp::RemountReadOnly { .. }
            | SetupOp::Chmod { .. } => self.mount(op)?,
            SetupOp::Disk(plan) => self.disk(plan)?,
            SetupOp::Dev { at, tty_group } => self.dev(at, *tty_group)?,
            SetupOp::Device(at) => self.device(at)?,
            SetupOp::HostProc => {
                self.plain(c"proc", true);
                self.first(Op::OpenTree {
                    path: c"/proc".into(),
                    recursive: true,
                    slot: PROC,
                });
                self.first(Op::SetAttr {
                    slot: PROC,
                    set: attr::NOSUID | attr::NODEV | attr::NOEXEC,
                    recursive: true,
                });
                self.attach(PROC, ROOT, "proc", Links::Refuse)?;
            }
            SetupOp::Proc { at } => {
                let attrs = attr::NOSUID | attr::NODEV | attr::NOEXEC;
                if at == Path::new("/proc") {
                    self.plain(c"proc", true);
                    self.new_fs(c"proc", &[], attrs, PROC)?;
                    self.attach(PROC, ROOT, "proc", Links::Refuse)?;
                } else {
                    self.new_fs(c"proc", &[], attrs, PROC)?;
                    self.put(PROC, at)?;
                }
            }
            SetupOp::Sys { empty } => {
                self.plain(c"sys", true);
                let attrs = attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::RDONLY;
                if *empty {
                    self.first(Op::OpenPart {
                        dir: BASE,
                        path: c"k/d",
                        slot: SYS,
                    });
                } else {
                    self.new_fs(c"sysfs", &[], attrs, SYS)?;
                }
                self.attach(SYS, ROOT, "sys", Links::Refuse)?;
            }
            SetupOp::Mask(paths) => self.within(paths, |to| {
                let (file, directory) = (c"../../k/f", c"../../k/d");
                match to.to_bytes() {
                    b"acpi" | b"asound" | b"scsi" | b"firmware" | b"devices/virtual/powercap" => {
                        Op::Mask {
                            with: directory,
                            or_with: file,
                            to,
                        }
                    }
                    _ => Op::Mask {
                        with: file,
                        or_with: directory,
                        to,
                    },
                }
            })?,
            SetupOp::ReadOnly(paths) => self.within(paths, Op::Freeze)?,
            SetupOp::Names(names) => self.names(names)?,
            SetupOp::ResolvConf => self.hosts_resolver()?,
            SetupOp::PivotRoot => self.first(Op::PivotRoot(ROOT)),
            SetupOp::Stdio(plan) => self.stdio(*plan),
            SetupOp::User {
                uid,
                gid,
                groups,
                set_groups,
            } => {
                // The bounding set first: it takes a capability that a change of user takes away.
                let groups = (*set_groups && self.set_groups).then(|| groups.clone());
                self.last(Op::User {
                    uid: *uid,
                    gid: *gid,
                    groups,
                });
            }
            SetupOp::Capabilities(set) => {
                let user = self
                    .out
                    .last
                    .iter()
                    .rposition(|op| matches!(op, Op::User { .. }));
                let root = self
                    .out
                    .last
                    .iter()
                    .any(|op| matches!(op, Op::User { uid: 0, .. }));
                let at = user.unwrap_or(self.out.last.len());
                self.out.last.insert(at, Op::Bound(set.0));
                self.out.last_steps.insert(at, self.step);
                if self.out.ids == IdPlan::Host {
                    // A new user namespace has these (user_namespaces(7)).
                    self.out.last.insert(at, Op::Securebits);
                    self.out.last_steps.insert(at, self.step);
                }
                self.last(Op::Caps(if root { set.0 } else { 0 }));
            }
            SetupOp::NoNewPrivs => self.last(Op::NoNewPrivs),
            SetupOp::Chdir(dirs) => {
                let dirs = dirs.iter().map(text).collect::<Result<_, _>>()?;
                self.last(Op::DefaultSignals);
                if !self.outlive && (joining || self.as_pid_1 || !self.out.namespaces.pid) {
                    // No PID 1 that takes all with it: the program itself is tied to its parent. Forgotten by the
                    // kernel when identifiers change, so only now.
                    self.last(Op::DieWithParent);
                }
                self.last(Op::WorkIn(dirs));
            }
            SetupOp::CloseDescriptors => {
                self.last(Op::ReadBack);
                self.last(Op::CloseRange);
            }
            SetupOp::KeepDescriptors(keep) => {
                self.last(Op::ReadBack);
                self.keep(keep)?;
            }
            SetupOp::Interpret(interpreter) => self.interpret(interpreter)?,
            SetupOp::RecordOwners { users } => self.record(*users)?,
            SetupOp::SeccompProfile { name, rules } => self.profile(name, rules)?,
            SetupOp::Landlock(set) => self.landlock(set)?,
            SetupOp::Seccomp(plan) => {
                self.last(Op::Seccomp(guard::default_filter(plan)));
            }
            SetupOp::Personality(kind) => {
                self.last(Op::Itself(SelfOp::Personality(kind.number())));
            }
            SetupOp::Limit(limit) => self.limit(limit),
            SetupOp::Exec { command, env } => self.exec(command, env)?,
        }
        Ok(())
    }

    /// What a process does first where it has joined.
    fn joined(&mut self, own: Option<(u32, u32)>, terminals: bool) {
        if let Some((uid, gid)) = own {
            let groups = self.set_groups.then(Vec::new);
            self.first(Op::User { uid, gid, groups });
        }
        self.own_groups();
        self.first(Op::DieWithParent);
        self.first(Op::NotDumpable);
        if terminals && matches!(self.stdio, Stdio::Pty) {
            self.first(Op::OpenDir {
                path: c"dev",
                slot: DEV,
            });
            self.first(Op::Pty {
                dev: DEV,
                slot: PTY,
            });
        }
    }

    fn plain(&mut self, path: &'static std::ffi::CStr, directory: bool) {
        let replace = self.replace;
        self.first(Op::Plain {
            dir: ROOT,
            path,
            directory,
            replace,
        });
    }

    /// Operations on paths of procfs and sysfs, relative to the top of our own mount of each.
    fn within(&mut self, paths: &[&str], op: impl Fn(CString) -> Op) -> Result<(), JailError> {
        for (top, slot) in [("/proc/", PROC), ("/sys/", SYS)] {
            let mut inside = paths
                .iter()
                .filter_map(|path| path.strip_prefix(top))
                .peekable();
            if inside.peek().is_some() {
                self.first(Op::Chdir(slot));
            }
            for path in inside {
                let path = text(path)?;
                self.first(op(path));
            }
        }
        Ok(())
    }

    fn root(&mut self, root: &RootPlan) -> Result<(), JailError> {
        self.new_fs(
            c"tmpfs",
            &[("mode", Some("0755"))],
            attr::NOSUID | attr::NODEV,
            BASE,
        )?;
        self.first(Op::AttachAside(BASE));
        let dir = |name: &str, mode| {
            Ok::<_, JailError>(Op::MakeDir {
                dir: BASE,
                name: text(name)?,
                mode,
            })
        };
        // "k" holds what other things are hidden under, and is read-only, so that nothing is ever written to it.
        self.first(dir("m", 0o755)?);
        self.first(dir("k", 0o755)?);
        self.first(dir("k/d", 0o555)?);
        self.first(Op::MakeFile {
            dir: BASE,
            name: c"k/f",
        });
        self.first(Op::OpenPart {
            dir: BASE,
            path: c"k",
            slot: ANY,
        });
        let set = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
        self.first(Op::SetAttr {
            slot: ANY,
            set,
            recursive: false,
        });
        self.attach(ANY, BASE, "k", Links::Refuse)?;
        let (tree, changes) = match root {
            RootPlan::Memory => {
                self.new_fs(
                    c"tmpfs",
                    &[("mode", Some("0755"))],
                    attr::NOSUID | attr::NODEV,
                    ROOT,
                )?;
                self.attach(ROOT, BASE, "m", Links::Refuse)?;
                return if self.has_dev {
                    Ok(())
                } else {
                    self.hidden_terminal()
                };
            }
            RootPlan::Tree { dir, changes, .. } => (dir, changes),
        };
        let mapped = self.id_mapped;
        let slot = LOWER;
        if !mapped {
            let path = text(tree)?;
            // Recursive, because a mount of another user namespace may not be taken without what covers parts of it.
            self.first(Op::OpenTree {
                path,
                recursive: true,
                slot,
            });
        }
        let nodev = attr::NODEV;
        match changes {
            Changes::Direct | Changes::ReadOnly => {
                let read_only = if *changes == Changes::ReadOnly {
                    attr::RDONLY
                } else {
                    0
                };
                self.first(Op::SetAttr {
                    slot,
                    set: nodev | read_only,
                    recursive: true,
                });
                self.attach(slot, BASE, "m", Links::Refuse)?;
                self.rename_slot(ROOT);
                return Ok(());
            }
            Changes::Ephemeral => {
                // The top of an overlay looks as the top of its upper directory.
                let mode = std::fs::metadata(tree).map_or(0o755, |m| m.mode() & 0o7777);
                self.first(dir("u", mode)?);
                self.first(dir("w", 0o700)?);
            }
            Changes::Layer { upper, .. } => {
                self.first(dir("x", 0o700)?);
                if !mapped {
                    let path = text(upper.parent().unwrap_or(upper))?;
                    self.first(Op::OpenTree {
                        path,
                        recursive: true,
                        slot: LAYER,
                    });
                }
                self.attach(LAYER, BASE, "x", Links::Refuse)?;
            }
        }
        self.first(dir("l", 0o700)?);
        self.attach(slot, BASE, "l", Links::Refuse)?;
        self.first(Op::Chdir(BASE));
        let (upper, work) = match changes {
            Changes::Layer { upper, work } => {
                let name =
                    |p: &Path| format!("x/{}", p.file_name().unwrap_or_default().to_string_lossy());
                (name(upper), name(work))
            }
            _ => ("u".to_owned(), "w".to_owned()),
        };
        // Names relative to the working directory: no path of the host is in them.
        let list = [
            ("lowerdir", Some("l")),
            ("upperdir", Some(upper.as_str())),
            ("workdir", Some(work.as_str())),
            ("userxattr", None),
        ];
        self.new_fs(c"overlay", &list, nodev, ROOT)?;
        self.attach(ROOT, BASE, "m", Links::Refuse)
    }

    /// The tree itself is the root: what was told of slot `LOWER` so far is meant of `ROOT`.
    fn rename_slot(&mut self, to: Slot) {
        for op in &mut self.out.first {
            match op {
                Op::OpenTree { slot, .. } | Op::SetAttr { slot, .. } | Op::Attach { slot, .. }
                    if *slot == LOWER =>
                {
                    *slot = to;
                }
                Op::Await(slots) => slots
                    .iter_mut()
                    .filter(|slot| **slot == LOWER)
                    .for_each(|slot| *slot = to),
                _ => {}
            }
        }
    }
}
