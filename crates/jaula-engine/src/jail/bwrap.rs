//! Running a sandbox as bwrap(1) does: what is asked for and nothing else, as the caller, who is not forwarded to.

use super::JailError;
use super::lower::bwrap::{self as lower, Sandbox as Lowered};
use jaula_plan::bwrap::{BwrapFacts, BwrapOp, BwrapPlan, BwrapSpec};
use jaula_sys::SysError;
use jaula_sys::child::Op;
use jaula_sys::sandbox::{self, End, Program, Reaper, Running, Sandbox};
use jaula_sys::spawn::ns;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use jaula_sys::child::Stage;

/// Why there is no sandbox, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum BwrapError {
    /// A source of the tree was not found.
    #[error("cannot find {}", .path.display())]
    Source {
        /// As asked.
        path: PathBuf,
        /// errno(3)
        errno: i32,
    },
    /// A namespace of the caller's could not be joined.
    #[error("cannot join a namespace")]
    Join {
        /// The operation.
        op: Box<BwrapOp>,
        /// errno(3)
        errno: i32,
    },
    /// The kernel gave no process in new namespaces.
    #[error("cannot start a process in new namespaces")]
    Namespaces {
        /// Whether a user namespace was one of them.
        user: bool,
        /// errno(3)
        errno: i32,
    },
    /// An operation failed.
    #[error("an operation failed")]
    Operation {
        /// The operation.
        op: Box<BwrapOp>,
        /// Which part of it.
        part: Part,
        /// How far that came.
        stage: Stage,
        /// errno(3); 0 when the kernel did what it should not.
        errno: i32,
        /// What was in its way.
        note: Vec<u8>,
    },
    /// The program could not be executed.
    #[error("cannot execute the program")]
    NotExecuted {
        /// errno(3)
        errno: i32,
    },
    /// What the caller asked to be told could not be written.
    #[error("cannot write to a descriptor")]
    Told {
        /// errno(3)
        errno: i32,
    },
    /// Anything else.
    #[error("cannot follow the sandbox")]
    Other {
        /// What was wrong.
        #[from]
        source: JailError,
    },
}

/// A part of an operation that makes several calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Taking what is bound.
    Source,
    /// Its attributes.
    Attributes,
    /// The place it goes to.
    Place,
    /// Putting it there.
    Attach,
    /// Making a file system.
    FileSystem,
    /// What it reads is not what it was.
    Changed,
    /// All there is.
    Whole,
}

impl From<SysError> for BwrapError {
    fn from(source: SysError) -> Self {
        Self::Other {
            source: JailError::Follow { source },
        }
    }
}

/// Reads all that a descriptor of the caller's gives, and closes it.
pub fn read_descriptor(fd: i32) -> Result<Vec<u8>, i32> {
    const EBADF: i32 = 9;
    let file = sandbox::given(fd).ok_or(EBADF)?;
    let mut bytes = Vec::new();
    match File::from(file).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.raw_os_error().unwrap_or(EBADF)),
    }
}

/// Who the caller is: real user and group, effective and permitted capabilities.
pub fn caller() -> (u32, u32, u64, u64) {
    let (uid, gid) = sandbox::real_ids();
    let (effective, permitted) = sandbox::capabilities();
    (uid, gid, effective, permitted)
}

/// What the plan of this sandbox depends on; `on_terminal` tells whether standard output is a terminal.
pub fn facts(spec: &BwrapSpec, on_terminal: bool) -> Result<BwrapFacts, BwrapError> {
    let (uid, gid, capabilities, _) = caller();
    let exists = |path: &str| Path::new(path).symlink_metadata().is_ok();
    Ok(BwrapFacts {
        uid,
        gid,
        capabilities,
        user_namespaces: spec.user_try && user_namespaces(),
        cgroup_namespaces: (spec.cgroup || spec.cgroup_try) && exists("/proc/self/ns/cgroup"),
        cwd: cwd(spec),
        terminal: if on_terminal { terminal(spec) } else { None },
        sources: sources(spec)?,
    })
}

/// As far as the kernel's settings say.
fn user_namespaces() -> bool {
    let setting = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    Path::new("/proc/self/ns/user").symlink_metadata().is_ok()
        && !setting("/sys/module/user_namespace/parameters/enable").starts_with('N')
        && setting("/proc/sys/user/max_user_namespaces") != "0\n"
}

/// The working directory, by the name that `PWD` has for it if it is one (get_current_dir_name(3)).
fn cwd(spec: &BwrapSpec) -> Option<PathBuf> {
    if spec.chdir.is_some() {
        return None;
    }
    let named = spec.env.iter().find(|(name, _)| name == "PWD");
    let named = named.map(|(_, value)| PathBuf::from(value));
    let identity = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    match named.filter(|path| path.is_absolute()) {
        Some(path) if identity(&path).is_some_and(|id| Some(id) == identity(Path::new("."))) => {
            Some(path)
        }
        _ => std::fs::read_link("/proc/self/cwd")
            .ok()
            .filter(|path| path.is_absolute()),
    }
}

fn terminal(spec: &BwrapSpec) -> Option<PathBuf> {
    let dev =
        |step: &jaula_plan::bwrap::TreeSpec| matches!(step, jaula_plan::bwrap::TreeSpec::Dev(_));
    if !spec.tree.iter().any(dev) {
        return None;
    }
    let path = std::fs::read_link("/proc/self/fd/1").ok()?;
    // Another namespace's terminal has no name here.
    let (named, open) = (
        std::fs::metadata(&path).ok()?,
        std::fs::metadata("/proc/self/fd/1").ok()?,
    );
    ((named.dev(), named.ino()) == (open.dev(), open.ino())).then_some(path)
}

fn sources(spec: &BwrapSpec) -> Result<Vec<Option<PathBuf>>, BwrapError> {
    const ENOENT: i32 = 2;
    let mut found = Vec::new();
    for (path, optional) in spec.tree.iter().flat_map(|step| step.sources()) {
        match std::fs::canonicalize(&path) {
            Ok(real) => found.push(Some(real)),
            Err(error) => match error.raw_os_error() {
                Some(ENOENT) if optional => found.push(None),
                errno => {
                    let errno = errno.unwrap_or(ENOENT);
                    return Err(BwrapError::Source { path, errno });
                }
            },
        }
    }
    Ok(found)
}

/// Runs the program and waits for its end; its exit code as a shell has it. The caller must have one thread.
pub fn run(plan: &BwrapPlan) -> Result<u8, BwrapError> {
    sandbox::expect_children();
    let lowered = lower::lower(plan)?;
    let join = |op: &BwrapOp, fd: i32, kind: i32| {
        sandbox::join(fd, kind).map_err(|error| BwrapError::Join {
            op: Box::new(op.clone()),
            errno: error.errno.0,
        })
    };
    let mut inner_pid = false;
    for op in &plan.ops {
        match op {
            BwrapOp::JoinUser(fd) => join(op, *fd, ns::CLONE_NEWUSER)?,
            BwrapOp::JoinPid(fd) => {
                join(op, *fd, ns::CLONE_NEWPID)?;
                inner_pid = lowered.namespaces.pid;
            }
            _ => {}
        }
    }
    let reaper = lowered.reaper.as_ref();
    let sandbox = Sandbox {
        namespaces: lower::flags(&lowered.namespaces, inner_pid),
        inner_pid,
        first: &lowered.first,
        last: &lowered.last,
        program: Program {
            paths: &lowered.paths,
            args: &lowered.args,
            envs: &lowered.envs,
        },
        reaper: reaper.map(|(keep, ops)| Reaper { keep, ops }),
    };
    let mut running = sandbox.start().map_err(|error| BwrapError::Namespaces {
        user: lowered.namespaces.user,
        errno: error.errno.0,
    })?;
    let status = told(plan, &lowered, &running)?;
    running.close_others(&plan.json_status_fd.into_iter().collect::<Vec<_>>());
    match running.wait()? {
        End::Program(wait) => {
            let code = code(wait);
            if let Some(mut file) = status {
                // The program ran: that its end cannot be told is not its failure.
                drop(writeln!(file, "{{ \"exit-code\": {code} }}"));
            }
            Ok(code)
        }
        End::NotExecuted(errno) => Err(BwrapError::NotExecuted { errno: errno.0 }),
        End::Lost(wait) => Ok(code(wait)),
        End::Failed {
            index,
            errno,
            stage,
            note,
        } => {
            let op = lowered.step(index).and_then(|step| plan.ops.get(step));
            let Some(op) = op else {
                return Err(BwrapError::Namespaces {
                    user: false,
                    errno: errno.0,
                });
            };
            Err(BwrapError::Operation {
                op: Box::new(op.clone()),
                part: part(lowered.op(index)),
                stage,
                errno: errno.0,
                note,
            })
        }
    }
}

/// Tells the caller where the sandbox is, waits for him, and lets it go on; the descriptor for its end.
fn told(
    plan: &BwrapPlan,
    lowered: &Lowered,
    running: &Running,
) -> Result<Option<File>, BwrapError> {
    let waits = plan.ops.contains(&BwrapOp::Await);
    let namespaces = if waits {
        identities(lowered, running.pid())
    } else {
        Vec::new()
    };
    if let Some(fd) = plan.userns2 {
        let op = Box::new(BwrapOp::JoinSecondUser(fd));
        sandbox::join(fd, ns::CLONE_NEWUSER).map_err(|error| BwrapError::Join {
            op,
            errno: error.errno.0,
        })?;
    }
    sandbox::give_up_capabilities();
    if plan.die_with_parent {
        sandbox::die_with_parent()?;
    }
    let write = |fd: i32, text: &str| -> Result<File, BwrapError> {
        const EBADF: i32 = 9;
        let file = sandbox::given(fd).ok_or(BwrapError::Told { errno: EBADF })?;
        let mut file = File::from(file);
        file.write_all(text.as_bytes())
            .map_err(|error| BwrapError::Told {
                errno: error.raw_os_error().unwrap_or(EBADF),
            })?;
        Ok(file)
    };
    let list = |before: &str| -> String {
        let entry = |(name, id): &(&str, u64)| format!(",{before}\"{name}-namespace\": {id}");
        namespaces.iter().map(entry).collect()
    };
    let pid = running.pid();
    if let Some(fd) = plan.info_fd {
        let namespaces = list("\n    ");
        drop(write(
            fd,
            &format!("{{\n    \"child-pid\": {pid}{namespaces}\n}}\n"),
        )?);
    }
    let status = plan.json_status_fd.map(|fd| {
        let namespaces = list(" ");
        write(fd, &format!("{{ \"child-pid\": {pid}{namespaces} }}\n"))
    });
    let status = status.transpose()?;
    if let Some(file) = plan.userns_block_fd.and_then(sandbox::given) {
        // Its end lets go as well as a byte.
        drop(File::from(file).read(&mut [0]));
    }
    if waits {
        running.go()?;
    }
    Ok(status)
}

/// The namespaces of its own, by inode, as far as they can be seen.
fn identities(lowered: &Lowered, pid: i32) -> Vec<(&'static str, u64)> {
    let own = &lowered.namespaces;
    let all = [
        ("cgroup", own.cgroup),
        ("ipc", own.ipc),
        ("mnt", true),
        ("net", own.net),
        ("pid", own.pid),
        ("uts", own.uts),
    ];
    let found = all
        .into_iter()
        .filter(|(_, own)| *own)
        .filter_map(|(name, _)| {
            let file = std::fs::metadata(format!("/proc/{pid}/ns/{name}")).ok()?;
            Some((name, file.ino()))
        });
    found.collect()
}

fn code(status: i32) -> u8 {
    let code = match status & 0x7f {
        0 => status >> 8 & 0xff,
        signal => 128 + signal,
    };
    code as u8
}

fn part(op: Option<&Op>) -> Part {
    use jaula_sys::child::TreeOp;
    match op {
        Some(Op::OpenTree { .. } | Op::OpenPart { .. }) => Part::Source,
        Some(Op::SetAttr { .. }) => Part::Attributes,
        Some(Op::Place { .. }) => Part::Place,
        Some(Op::Attach { .. } | Op::Bind { .. }) => Part::Attach,
        Some(Op::NewFs { .. } | Op::Tree(TreeOp::Overlay { .. })) => Part::FileSystem,
        Some(Op::Tree(TreeOp::Same { .. })) => Part::Changed,
        _ => Part::Whole,
    }
}
