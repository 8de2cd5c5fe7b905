//! nsenter(1) of util-linux.

use super::Face;
use super::getopt::{Opt, Order, Reader, Takes, both, long};
use super::tool::{self, ENOENT, ESRCH, Stopped, Tool};
use jaula_engine::direct::{self, End, Failure, Part};
use jaula_plan::direct::nsenter::NsenterError;
use jaula_plan::direct::{
    DirectOp, DirectPlan, IdFrom, Kind, Kinds, NamespaceFrom, NsenterSpec, Place, Program, Target,
    plan_nsenter,
};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "nsenter",
    of: "util-linux 2.38 to 2.41, and newer options",
    run,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    All,
    Help,
    Version,
    Target,
    Join(Kind),
    NetSocket,
    UserParent,
    SetUid,
    SetGid,
    Root,
    Work,
    WorkInside,
    Env,
    NoFork,
    JoinCgroup,
    PreserveCredentials,
    KeepCaps,
    FollowContext,
}

/// In the order in which an ambiguous abbreviation lists them.
const TABLE: &[Opt<Key>] = &[
    both(b'a', "all", Takes::Nothing, Key::All),
    both(b'h', "help", Takes::Nothing, Key::Help),
    both(b'V', "version", Takes::Nothing, Key::Version),
    both(b't', "target", Takes::Required, Key::Target),
    both(b'm', "mount", Takes::Optional, Key::Join(Kind::Mnt)),
    both(b'u', "uts", Takes::Optional, Key::Join(Kind::Uts)),
    both(b'i', "ipc", Takes::Optional, Key::Join(Kind::Ipc)),
    both(b'n', "net", Takes::Optional, Key::Join(Kind::Net)),
    both(b'N', "net-socket", Takes::Required, Key::NetSocket),
    both(b'p', "pid", Takes::Optional, Key::Join(Kind::Pid)),
    both(b'U', "user", Takes::Optional, Key::Join(Kind::User)),
    both(b'C', "cgroup", Takes::Optional, Key::Join(Kind::Cgroup)),
    both(b'T', "time", Takes::Optional, Key::Join(Kind::Time)),
    both(b'S', "setuid", Takes::Required, Key::SetUid),
    both(b'G', "setgid", Takes::Required, Key::SetGid),
    both(b'r', "root", Takes::Optional, Key::Root),
    both(b'w', "wd", Takes::Optional, Key::Work),
    both(b'W', "wdns", Takes::Required, Key::WorkInside),
    both(b'e', "env", Takes::Nothing, Key::Env),
    both(b'F', "no-fork", Takes::Nothing, Key::NoFork),
    both(b'c', "join-cgroup", Takes::Nothing, Key::JoinCgroup),
    long(
        "preserve-credentials",
        Takes::Nothing,
        Key::PreserveCredentials,
    ),
    long("keep-caps", Takes::Nothing, Key::KeepCaps),
    long("user-parent", Takes::Nothing, Key::UserParent),
    both(b'Z', "follow-context", Takes::Nothing, Key::FollowContext),
];

const HELP: &str = "
Usage:
 nsenter [options] [<program> [<argument>...]]

Join namespaces of another process, and run a program there.

Options:
 -a, --all                     join all namespaces of the target
 -t, --target <PID>            the process whose namespaces are joined
 -m, --mount[=<file>|=:<nsid>] join the mount namespace
 -u, --uts[=<file>|=:<nsid>]   join the UTS namespace (host name)
 -i, --ipc[=<file>|=:<nsid>]   join the IPC namespace
 -n, --net[=<file>|=:<nsid>]   join the network namespace
 -N, --net-socket <fd>         join the network namespace of the target's socket
 -p, --pid[=<file>|=:<nsid>]   join the PID namespace
 -C, --cgroup[=<file>|=:<nsid>]  join the cgroup namespace
 -U, --user[=<file>|=:<nsid>]  join the user namespace
     --user-parent             join the user namespace above
 -T, --time[=<file>|=:<nsid>]  join the time namespace
 -S, --setuid <uid>|follow     user to run as
 -G, --setgid <gid>|follow     group to run as
     --preserve-credentials    keep user and group
     --keep-caps               keep the user namespace's capabilities in the program
 -r, --root[=<dir>]            make the target's root, or <dir>, the root
 -w, --wd[=<dir>]              go to the target's working directory, or to <dir>
 -W, --wdns <dir>              go to <dir> in the namespace
 -e, --env                     run with the environment of the target
 -F, --no-fork                 run the program without forking
 -c, --join-cgroup             move into the target's cgroup
 -Z, --follow-context          run with the SELinux context of the target

 -h, --help                    display this help
 -V, --version                 display version

For more details see nsenter(1).
";

fn run(words: &[OsString]) -> ExitCode {
    let tool = Tool::new("nsenter", 1);
    match read(&tool, words).and_then(|spec| act(&tool, spec)) {
        Ok(code) | Err(code) => code,
    }
}

fn act(tool: &Tool, spec: NsenterSpec) -> Result<ExitCode, Stopped> {
    let facts = direct::probe_nsenter(&spec).map_err(|failure| failed(tool, None, failure))?;
    let plan = plan_nsenter(spec, &facts).map_err(|error| unplanned(tool, &error))?;
    match direct::apply(&plan, &mut |_| {}) {
        Ok(End::Exited(code)) => Ok(ExitCode::from(code)),
        Ok(End::Survived(_)) => Ok(ExitCode::FAILURE),
        Err(failure) => Err(failed(tool, Some(&plan), failure)),
    }
}

fn read(tool: &Tool, words: &[OsString]) -> Result<NsenterSpec, Stopped> {
    // What the program is becomes known last.
    let mut spec = NsenterSpec::new(Program::login_shell(None));
    let mut first_work = None;
    let mut reader = Reader::new(words, TABLE, Order::First);
    for met in &mut reader {
        let (key, argument) = met.map_err(|complaint| tool.complain(&complaint))?;
        match key {
            Key::Help => return Err(tool::show(HELP)),
            Key::Version => return Err(tool::show(&tool::util_linux_version("nsenter"))),
            Key::Work | Key::WorkInside if *first_work.get_or_insert(key) != key => {
                let text = "mutually exclusive arguments: --wdns --wd";
                return Err(tool.fail(text, 0));
            }
            _ => {}
        }
        option(tool, &mut spec, key, argument)?;
    }
    let program = Program::of_words(reader.operands(), std::env::var_os("PATH"));
    spec.program = program.unwrap_or_else(|| Program::login_shell(std::env::var_os("SHELL")));
    Ok(spec)
}

fn option(
    tool: &Tool,
    spec: &mut NsenterSpec,
    key: Key,
    argument: Option<OsString>,
) -> Result<(), Stopped> {
    let word = || argument.clone().unwrap_or_default();
    match key {
        Key::All => spec.all = true,
        Key::Target => {
            spec.target = target(tool, &word())?;
        }
        Key::Join(kind) => match argument {
            None => spec.kinds.insert(kind),
            Some(from) => {
                let from = source(tool, &from)?;
                spec.opens.push(DirectOp::OpenNamespace { kind, from });
            }
        },
        Key::NetSocket => {
            let fd = tool.id("failed to parse file descriptor", &word())?;
            let fd = i32::try_from(fd)
                .map_err(|_| tool.no_number("failed to parse file descriptor", &word()))?;
            spec.net_socket = Some(fd);
        }
        Key::UserParent => spec.user_parent = true,
        Key::SetUid => spec.uid = Some(identity(tool, "failed to parse uid", &word())?),
        Key::SetGid => spec.gid = Some(identity(tool, "failed to parse gid", &word())?),
        Key::Root => match argument {
            None => spec.root = true,
            Some(dir) => spec.opens.push(DirectOp::OpenRoot(Place::Path(dir.into()))),
        },
        Key::Work => match argument {
            None => spec.work = true,
            Some(dir) => {
                let dir = without_equals(&dir);
                spec.opens.push(DirectOp::OpenWork(Place::Path(dir.into())));
            }
        },
        Key::WorkInside => spec.work_inside = Some(without_equals(&word()).into()),
        Key::Env => spec.environment = true,
        Key::NoFork => spec.no_fork = true,
        Key::JoinCgroup => spec.cgroup = true,
        Key::PreserveCredentials => spec.preserve_credentials = true,
        Key::KeepCaps => spec.keep_caps = true,
        Key::FollowContext => {
            if direct::selinux() {
                let text = "option --follow-context is not supported where SELinux is enabled";
                return Err(tool.fail(text, 0));
            }
        }
        Key::Help | Key::Version => {}
    }
    Ok(())
}

/// `-w=/dir` means `-w/dir`.
fn without_equals(word: &OsStr) -> OsString {
    let bytes = word.as_bytes();
    OsStr::from_bytes(bytes.strip_prefix(b"=").unwrap_or(bytes)).to_owned()
}

/// A file, or a namespace's identifier after a colon.
fn source(tool: &Tool, word: &OsStr) -> Result<NamespaceFrom, Stopped> {
    let word = without_equals(word);
    let Some(id) = word.as_bytes().strip_prefix(b":") else {
        return Ok(NamespaceFrom::File(word.into()));
    };
    let id = OsStr::from_bytes(id);
    match id.to_str().and_then(digits) {
        Some(id) => Ok(NamespaceFrom::Id(id)),
        None => Err(tool.fail(format_args!("failed to parse nsid: {}", id.display()), 0)),
    }
}

fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

/// `PID` or `PID:INODE`; 0 is nobody.
fn target(tool: &Tool, word: &OsStr) -> Result<Option<Target>, Stopped> {
    let text = word.to_str().unwrap_or_default();
    let (pid, inode) = match text.split_once(':') {
        Some((pid, inode)) => (pid, digits(inode).filter(|inode| *inode > 0).map(Some)),
        None => (text, Some(None)),
    };
    let pid = digits(pid).and_then(|pid| u32::try_from(pid).ok());
    match (pid.filter(|pid| i32::try_from(*pid).is_ok()), inode) {
        (Some(0), None | Some(None)) => Ok(None),
        (Some(pid), Some(inode)) if pid > 0 => Ok(Some(Target { pid, inode })),
        _ => Err(tool.no_number("failed to parse pid", word)),
    }
}

fn identity(tool: &Tool, what: &str, word: &OsStr) -> Result<IdFrom, Stopped> {
    if word == "follow" {
        return Ok(IdFrom::Target);
    }
    tool.id(what, word).map(IdFrom::Number)
}

fn unplanned(tool: &Tool, error: &NsenterError) -> Stopped {
    match error {
        NsenterError::AllOfNobody => tool.fail("no target PID specified for --all", 0),
        NsenterError::NoTarget => tool.fail("no target PID specified", 0),
        NsenterError::NothingFor(what) => tool.fail(
            format_args!("neither filename nor target pid supplied for {what}"),
            0,
        ),
        NsenterError::NoNamespace => tool.fail("no namespace specified", 0),
    }
}

fn failed(tool: &Tool, plan: Option<&DirectPlan>, failure: Failure) -> Stopped {
    match failure {
        Failure::Exec { name, errno } => tool.not_executed(&name, errno),
        Failure::Step {
            op,
            part: Part::Pidfd,
            errno,
        } => gone(tool, plan, &op, errno),
        Failure::Step { op, part, errno } => tool.fail(text(&op, &part), errno),
        other => tool.fail(other, 0),
    }
}

/// There is no such process: said of the first of its files that was wanted.
fn gone(tool: &Tool, plan: Option<&DirectPlan>, op: &DirectOp, errno: i32) -> Stopped {
    let DirectOp::Target(target) = op else {
        return tool.fail("pidfd_open failed", errno);
    };
    let wanted = plan.and_then(|plan| {
        plan.ops.iter().find_map(|op| match op {
            DirectOp::Join { target, .. } => target.iter().next().map(Kind::file),
            DirectOp::OpenRoot(Place::Target) => Some("root"),
            DirectOp::OpenWork(Place::Target) => Some("cwd"),
            DirectOp::OpenEnvironment => Some("environ"),
            DirectOp::OpenCgroup => Some("cgroup"),
            _ => None,
        })
    });
    let errno = if errno == ESRCH { ENOENT } else { errno };
    let file = wanted.unwrap_or_default();
    tool.fail(
        format_args!("cannot open /proc/{}/{file}", target.pid),
        errno,
    )
}

/// What util-linux says when a step fails.
fn text(op: &DirectOp, part: &Part) -> String {
    match (op, part) {
        (_, Part::Open(path)) => format!("cannot open {}", path.display()),
        (DirectOp::Target(target), Part::Unfit) => format!(
            "failed to obtain a valid file descriptor for PID {}",
            target.pid
        ),
        (DirectOp::OpenCgroup, Part::Look(path)) => format!("statfs {} failed", path.display()),
        (_, Part::Look(path)) => format!("stat of {} failed", path.display()),
        (DirectOp::OpenCgroup, Part::Unfit) => {
            "--join-cgroup is only supported in cgroup v2".into()
        }
        (DirectOp::OpenCgroup, Part::Read) => "failed to get cgroup path".into(),
        (DirectOp::OpenCgroup, _) => "failed to open cgroup.procs".into(),
        (DirectOp::JoinCgroup, _) => "write cgroup.procs failed".into(),
        (DirectOp::OpenNamespace { from, .. }, part) => match (from, part) {
            (NamespaceFrom::Socket(fd), Part::Descriptor) => format!("pidfd_getfd({fd}) failed"),
            (NamespaceFrom::Socket(fd), _) => format!("ioctl({fd}, SIOCGSKNS) failed"),
            (NamespaceFrom::Owner(_), _) => "failed to open parent namespace".into(),
            (NamespaceFrom::Id(id), _) => format!("cannot open namespace of id {id}"),
            (NamespaceFrom::File(path), _) => format!("cannot open {}", path.display()),
        },
        (_, Part::Join(kinds)) => joined(*kinds),
        (DirectOp::HoldWork | DirectOp::OpenWorkInside(_), _) => {
            "cannot open current working directory".into()
        }
        (DirectOp::EnterRoot, Part::Go) => "change directory by root file descriptor failed".into(),
        (DirectOp::EnterRoot, Part::Chroot) => "chroot failed".into(),
        (DirectOp::EnterRoot, _) => "cannot change directory to /".into(),
        (DirectOp::EnterWork, _) => {
            "change directory by working directory file descriptor failed".into()
        }
        (DirectOp::OpenEnvironment, _) => "failed to get environment variables".into(),
        (DirectOp::ReadIds, _) => "can not get process stat".into(),
        (_, Part::Fork) => "fork failed".into(),
        (_, Part::Wait) => "waitpid failed".into(),
        (_, Part::CapGet) => "capget failed".into(),
        (_, Part::CapSet) => "capset failed".into(),
        (DirectOp::Ambient, _) => "prctl(PR_CAP_AMBIENT) failed".into(),
        (DirectOp::ClearGroups(_), _) => "setgroups failed".into(),
        (DirectOp::SetGid(_), _) => "setgid() failed".into(),
        (DirectOp::SetUid(_), _) => "setuid() failed".into(),
        _ => format!("cannot {op}"),
    }
}

/// One namespace is named as it always was; several are joined by one call, which does not say which it was.
fn joined(kinds: Kinds) -> String {
    let mut all = kinds.iter();
    match (all.next(), all.next()) {
        (Some(kind), None) => format!("reassociate to namespace '{}' failed", kind.file()),
        _ => "reassociate to namespaces failed".into(),
    }
}
