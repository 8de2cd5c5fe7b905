//! From a sandbox's plan to the lists of its processes, with the tree made by what makes a jail's.

use super::mounts::bind_attrs;
use super::{ANY, BASE, DEV, JailError, Lowering, PROC, ROOT, Stdio, relative, text};
use jaula_plan::bwrap::{BwrapOp, BwrapPlan, Reaper, program_paths};
use jaula_plan::setup_op::CapSet;
use jaula_plan::spec::jail::{BindOptions, Namespaces};
use jaula_sys::beneath::Links;
use jaula_sys::child::{Op, PlaceKind, SelfOp, Slot, TreeOp};
use jaula_sys::mount::attr;
use jaula_sys::seccomp::Filter;
use jaula_sys::spawn::ns;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The host's procfs, for what is written there when it is out of sight.
const HOST_PROC: Slot = 9;

/// What each process is to do, and which operation of the plan each belongs to.
pub(in crate::jail) struct Sandbox {
    pub(in crate::jail) namespaces: Namespaces,
    pub(in crate::jail) first: Vec<Op>,
    pub(in crate::jail) last: Vec<Op>,
    pub(in crate::jail) reaper: Option<(Vec<i32>, Vec<Op>)>,
    pub(in crate::jail) paths: Vec<CString>,
    pub(in crate::jail) args: Vec<CString>,
    /// One for each working directory.
    pub(in crate::jail) envs: Vec<Vec<CString>>,
    steps: Vec<usize>,
}

impl Sandbox {
    /// The child's operation with this index, all lists counted through.
    pub(in crate::jail) fn op(&self, index: usize) -> Option<&Op> {
        let reaper = self.reaper.iter().flat_map(|(_, ops)| ops);
        self.first.iter().chain(&self.last).chain(reaper).nth(index)
    }

    /// The plan's operation behind it.
    pub(in crate::jail) fn step(&self, index: usize) -> Option<usize> {
        self.steps.get(index).copied()
    }
}

/// Lowers a whole plan.
pub(in crate::jail) fn lower(plan: &BwrapPlan) -> Result<Sandbox, JailError> {
    let stdio = Stdio::Raw([0, 1, 2]);
    let mut lowering = Lowering::new(&stdio, &[]);
    lowering.mount_point = 0o444;
    lowering.narrow = true;
    let mut sandbox = Sandbox {
        namespaces: lowering.out.namespaces,
        first: Vec::new(),
        last: Vec::new(),
        reaper: None,
        paths: Vec::new(),
        args: Vec::new(),
        envs: Vec::new(),
        steps: Vec::new(),
    };
    let mut dirs: &[PathBuf] = &[];
    let mut reaper_steps = Vec::new();
    let mut own_signals = false;
    for (step, op) in plan.ops.iter().enumerate() {
        lowering.step = step;
        if !own_signals && of_the_program(op) {
            // Before the caller's filters, which need not know the call. Not in the process that reaps.
            lowering.last(Op::Itself(SelfOp::DefaultSigpipe));
            own_signals = true;
        }
        match op {
            BwrapOp::JoinUser(_) | BwrapOp::JoinPid(_) => {}
            BwrapOp::Namespaces(namespaces) => sandbox.namespaces = *namespaces,
            BwrapOp::Reap(reaper) => {
                let ops = reap(reaper)?;
                reaper_steps = vec![step; ops.len()];
                sandbox.reaper = Some((reaper.sync_fd.into_iter().collect(), ops));
                // From here on it is the program's own process.
                lowering.program = true;
            }
            BwrapOp::Chdir(list) => {
                dirs = list;
                let list = list.iter().map(text).collect::<Result<_, _>>()?;
                lowering.next(Op::WorkIn(list));
            }
            BwrapOp::Exec { program, args, env } => {
                let paths = program_paths(program, env);
                sandbox.paths = paths.iter().map(text).collect::<Result<_, _>>()?;
                sandbox.args = args.iter().map(text).collect::<Result<_, _>>()?;
                sandbox.envs = dirs
                    .iter()
                    .map(|dir| environment(env, dir))
                    .collect::<Result<_, _>>()?;
            }
            other => lowering.bwrap(other)?,
        }
    }
    sandbox.first = std::mem::take(&mut lowering.out.first);
    sandbox.last = std::mem::take(&mut lowering.out.last);
    sandbox.steps = std::mem::take(&mut lowering.out.steps);
    sandbox.steps.append(&mut lowering.out.last_steps);
    sandbox.steps.append(&mut reaper_steps);
    Ok(sandbox)
}

/// Whether only the program's process does it.
fn of_the_program(op: &BwrapOp) -> bool {
    matches!(
        op,
        BwrapOp::DieWithParent | BwrapOp::Ambient(_) | BwrapOp::Filters(_) | BwrapOp::Exec { .. }
    )
}

/// The flags of clone(2); a pid namespace beneath a joined one is made later.
pub(in crate::jail) fn flags(namespaces: &Namespaces, inner_pid: bool) -> i32 {
    let all = crate::jail::flags(namespaces);
    if inner_pid {
        all & !ns::CLONE_NEWPID
    } else {
        all
    }
}

fn environment(env: &[(OsString, OsString)], dir: &Path) -> Result<Vec<CString>, JailError> {
    let pair = |name: &OsString, value: &std::ffi::OsStr| {
        let mut pair = name.clone();
        pair.push("=");
        pair.push(value);
        text(pair)
    };
    let mut list = Vec::with_capacity(env.len() + 1);
    let mut placed = false;
    for (name, value) in env {
        let here = name.as_bytes() == b"PWD";
        placed |= here;
        list.push(pair(name, if here { dir.as_os_str() } else { value })?);
    }
    if !placed {
        list.push(pair(&"PWD".into(), dir.as_os_str())?);
    }
    Ok(list)
}

fn filters(list: &[Vec<u8>]) -> Result<Vec<Op>, JailError> {
    let filter = |bytes: &Vec<u8>| {
        let filter = Filter::from_bytes(bytes).ok_or(JailError::BadProgram)?;
        Ok(Op::Itself(SelfOp::Filter(filter)))
    };
    list.iter().map(filter).collect()
}

fn reap(reaper: &Reaper) -> Result<Vec<Op>, JailError> {
    let mut ops = vec![Op::Itself(SelfOp::Inheritable {
        set: 0,
        lenient: reaper.lenient,
    })];
    for path in &reaper.lock_files {
        ops.push(Op::Itself(SelfOp::LockFile(text(path)?)));
    }
    if reaper.die_with_parent {
        ops.push(Op::DieWithParent);
    }
    ops.extend(filters(&reaper.filters)?);
    Ok(ops)
}

impl Lowering<'_> {
    /// In the process that the program will be.
    fn next(&mut self, op: Op) {
        if self.program {
            self.last(op);
        } else {
            self.first(op);
        }
    }

    fn itself(&mut self, op: SelfOp) {
        self.next(Op::Itself(op));
    }

    fn bwrap(&mut self, op: &BwrapOp) -> Result<(), JailError> {
        match op {
            BwrapOp::Await => self.first(Op::Await(Vec::new())),
            BwrapOp::NoNewPrivs => {
                self.first(Op::NoNewPrivs);
                self.itself(SelfOp::OpenHost {
                    path: c"/proc",
                    slot: HOST_PROC,
                });
            }
            BwrapOp::Close(fds) if fds.is_empty() => {}
            BwrapOp::Close(fds) => self.itself(SelfOp::Close(fds.clone())),
            BwrapOp::ChangeIds { uid, gid } => self.itself(SelfOp::ChangeIds {
                uid: *uid,
                gid: *gid,
            }),
            BwrapOp::Loopback => self.first(Op::LoopbackUp),
            BwrapOp::Map { user, group, deny } => {
                let line = |(inside, outside): &(u32, u32)| text(format!("{inside} {outside} 1\n"));
                self.itself(SelfOp::MapSelf {
                    proc: HOST_PROC,
                    users: line(user)?,
                    groups: line(group)?,
                    deny: *deny,
                });
            }
            BwrapOp::SlaveMounts => self.propagation(super::MS_SLAVE),
            BwrapOp::Root => self.bare_root()?,
            BwrapOp::Tree(op) => self.mount(op)?,
            BwrapOp::BindDescriptor { fd, bind } => {
                self.mount(bind)?;
                // Between opening and attaching: what was opened must be what the descriptor is.
                let opened = |op: &Op| matches!(op, Op::OpenTree { .. });
                if let Some(at) = self.out.first.iter().rposition(opened) {
                    let same = Op::Tree(TreeOp::Same { slot: ANY, fd: *fd });
                    self.out.first.insert(at + 1, same);
                    self.out.steps.insert(at + 1, self.step);
                }
            }
            BwrapOp::Proc { to, own } => self.bwrap_proc(to, *own)?,
            BwrapOp::Dev { to, console } => self.bwrap_dev(to, console.as_deref())?,
            BwrapOp::File { from, to, mode } => {
                let parents = self.parents(*mode);
                self.first(Op::Tree(TreeOp::WriteFile {
                    from: *from,
                    dir: ROOT,
                    path: relative(to)?,
                    mode: *mode,
                    parents,
                }));
            }
            BwrapOp::Data {
                from,
                to,
                mode,
                read_only,
            } => self.data(*from, to, *mode, *read_only)?,
            BwrapOp::HostName(name) => self.first(Op::HostName(text(name)?)),
            BwrapOp::PivotRoot => self.first(Op::PivotRoot(ROOT)),
            BwrapOp::JoinSecondUser(fd) => self.first(Op::Join(vec![(*fd, ns::CLONE_NEWUSER)])),
            BwrapOp::LastUserNamespace => {
                self.itself(SelfOp::LastUserNamespace { proc: HOST_PROC })
            }
            BwrapOp::SecondUserNamespace => self.itself(SelfOp::Unshare(ns::CLONE_NEWUSER)),
            BwrapOp::NoUserNamespace => self.itself(SelfOp::NoUserNamespace),
            BwrapOp::Bound(CapSet(set)) => self.itself(SelfOp::TryBound(*set)),
            BwrapOp::Capabilities { set, lenient } => self.itself(SelfOp::Inheritable {
                set: set.0,
                lenient: *lenient,
            }),
            BwrapOp::Dumpable => self.itself(SelfOp::Dumpable),
            BwrapOp::BlockOn(fd) => self.itself(SelfOp::BlockOn(*fd)),
            BwrapOp::RestoreUmask => self.itself(SelfOp::RestoreUmask),
            BwrapOp::NewSession => self.next(Op::NewSession),
            BwrapOp::DieWithParent => self.last(Op::DieWithParent),
            BwrapOp::Ambient(CapSet(set)) => self.last(Op::Itself(SelfOp::Ambient(*set))),
            BwrapOp::Filters(list) => {
                for op in filters(list)? {
                    self.last(op);
                }
            }
            BwrapOp::JoinUser(_)
            | BwrapOp::JoinPid(_)
            | BwrapOp::Namespaces(_)
            | BwrapOp::Reap(_)
            | BwrapOp::Chdir(_)
            | BwrapOp::Exec { .. } => {}
        }
        Ok(())
    }

    /// One memory for everything: the root is a part of it.
    fn bare_root(&mut self) -> Result<(), JailError> {
        let attrs = attr::NOSUID | attr::NODEV;
        self.new_fs(c"tmpfs", &[("mode", Some("0755"))], attrs, BASE)?;
        self.first(Op::AttachAside(BASE));
        self.first(Op::MakeDir {
            dir: BASE,
            name: text("m")?,
            mode: 0o755,
        });
        self.first(Op::OpenPart {
            dir: BASE,
            path: c"m",
            slot: ROOT,
        });
        self.attach(ROOT, BASE, "m", Links::Refuse)
    }

    fn bwrap_proc(&mut self, to: &Path, own: bool) -> Result<(), JailError> {
        if own {
            let attrs = attr::NOSUID | attr::NODEV | attr::NOEXEC;
            self.new_fs(c"proc", &[], attrs, PROC)?;
        } else {
            self.first(Op::OpenTree {
                path: c"/proc".into(),
                recursive: true,
                slot: PROC,
            });
            self.first(Op::SetAttr {
                slot: PROC,
                set: bind_attrs(&BindOptions::WRITABLE),
                recursive: true,
            });
        }
        self.put(PROC, to)?;
        for path in [c"sys", c"sysrq-trigger", c"irq", c"bus"] {
            self.first(Op::Tree(TreeOp::FreezePart { dir: PROC, path }));
        }
        Ok(())
    }

    fn bwrap_dev(&mut self, to: &Path, console: Option<&Path>) -> Result<(), JailError> {
        let attrs = attr::NOSUID | attr::NODEV;
        self.new_fs(c"tmpfs", &[("mode", Some("0755"))], attrs, DEV)?;
        self.put(DEV, to)?;
        self.first(Op::Chdir(DEV));
        let mut nodes: Vec<(CString, CString)> = Vec::with_capacity(7);
        for name in ["null", "zero", "full", "random", "urandom", "tty"] {
            nodes.push((text(name)?, text(format!("/dev/{name}"))?));
        }
        if let Some(console) = console {
            nodes.push((text("console")?, text(console)?));
        }
        for (name, host) in nodes {
            self.first(Op::Place {
                dir: DEV,
                path: name.clone(),
                like: PlaceKind::File(0o444),
                parents: 0o755,
            });
            self.first(Op::Bind {
                from: host,
                to: name,
            });
        }
        for (name, to) in [
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("fd", "/proc/self/fd"),
            ("core", "/proc/kcore"),
            ("ptmx", "pts/ptmx"),
        ] {
            self.first(Op::Symlink {
                dir: DEV,
                path: text(name)?,
                to: text(to)?,
                same: false,
            });
        }
        for name in ["shm", "pts"] {
            self.first(Op::MakeDir {
                dir: DEV,
                name: text(name)?,
                mode: 0o755,
            });
        }
        let list = [
            ("newinstance", None),
            ("ptmxmode", Some("0666")),
            ("mode", Some("0620")),
        ];
        self.new_fs(c"devpts", &list, attr::NOSUID | attr::NOEXEC, ANY)?;
        self.attach(ANY, DEV, "pts", Links::Refuse)
    }

    fn data(&mut self, from: i32, to: &Path, mode: u32, read_only: bool) -> Result<(), JailError> {
        self.first(Op::Tree(TreeOp::DataFile {
            from,
            dir: BASE,
            name: c"b",
            mode,
        }));
        self.first(Op::OpenPart {
            dir: BASE,
            path: c"b",
            slot: ANY,
        });
        let options = BindOptions {
            read_only,
            ..BindOptions::WRITABLE
        };
        self.first(Op::SetAttr {
            slot: ANY,
            set: bind_attrs(&options),
            recursive: false,
        });
        self.put_file(to, self.parents(mode))?;
        // Reached by no other name.
        self.first(Op::Tree(TreeOp::Unlink {
            dir: BASE,
            name: c"b",
        }));
        Ok(())
    }

    fn put_file(&mut self, to: &Path, parents: u32) -> Result<(), JailError> {
        let path = relative(to)?;
        self.first(Op::Place {
            dir: ROOT,
            path: path.clone(),
            like: PlaceKind::Like(ANY, self.mount_point),
            parents,
        });
        self.first(Op::Attach {
            slot: ANY,
            dir: ROOT,
            path,
            links: Links::InRoot,
        });
        Ok(())
    }
}
