//! unshare(1) of util-linux.

use super::Face;
use super::getopt::{Opt, Order, Reader, Takes, both, long, short};
use super::signals;
use super::tool::{self, Stopped, Tool};
use jaula_engine::direct::{self, End, Failure, Part};
use jaula_plan::direct::unshare::{BINFMT, UnshareError};
use jaula_plan::direct::{
    Choice, DirectOp, Environment, Kept, Kind, MapError, Program, Propagation, Refusal, SetGroups,
    UnshareSpec, plan_unshare,
};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "unshare",
    of: "util-linux 2.38 to 2.41, and newer options",
    run,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Help,
    Version,
    New(Kind),
    Fork,
    KillChild,
    ForwardSignals,
    MountProc,
    MountBinfmt,
    LoadInterp,
    MapUser,
    MapGroup,
    MapUsers,
    MapGroups,
    MapRoot,
    MapCurrent,
    MapAuto,
    MapSubids,
    Owner,
    Propagation,
    SetGroups,
    KeepCaps,
    SetUid,
    SetGid,
    Root,
    Work,
    Monotonic,
    Boottime,
    ClearEnv,
    WhitelistEnv,
}

/// In the order in which an ambiguous abbreviation lists them.
const TABLE: &[Opt<Key>] = &[
    both(b'h', "help", Takes::Nothing, Key::Help),
    both(b'V', "version", Takes::Nothing, Key::Version),
    // A file is given to the long name only.
    short(b'm', Takes::Nothing, Key::New(Kind::Mnt)),
    long("mount", Takes::Optional, Key::New(Kind::Mnt)),
    short(b'u', Takes::Nothing, Key::New(Kind::Uts)),
    long("uts", Takes::Optional, Key::New(Kind::Uts)),
    short(b'i', Takes::Nothing, Key::New(Kind::Ipc)),
    long("ipc", Takes::Optional, Key::New(Kind::Ipc)),
    short(b'n', Takes::Nothing, Key::New(Kind::Net)),
    long("net", Takes::Optional, Key::New(Kind::Net)),
    short(b'p', Takes::Nothing, Key::New(Kind::Pid)),
    long("pid", Takes::Optional, Key::New(Kind::Pid)),
    short(b'U', Takes::Nothing, Key::New(Kind::User)),
    long("user", Takes::Optional, Key::New(Kind::User)),
    short(b'C', Takes::Nothing, Key::New(Kind::Cgroup)),
    long("cgroup", Takes::Optional, Key::New(Kind::Cgroup)),
    short(b'T', Takes::Nothing, Key::New(Kind::Time)),
    long("time", Takes::Optional, Key::New(Kind::Time)),
    both(b'f', "fork", Takes::Nothing, Key::Fork),
    long("kill-child", Takes::Optional, Key::KillChild),
    long("forward-signals", Takes::Nothing, Key::ForwardSignals),
    long("mount-proc", Takes::Optional, Key::MountProc),
    long("mount-binfmt", Takes::Optional, Key::MountBinfmt),
    long("map-user", Takes::Required, Key::MapUser),
    long("map-users", Takes::Required, Key::MapUsers),
    long("map-group", Takes::Required, Key::MapGroup),
    long("map-groups", Takes::Required, Key::MapGroups),
    both(b'r', "map-root-user", Takes::Nothing, Key::MapRoot),
    both(b'c', "map-current-user", Takes::Nothing, Key::MapCurrent),
    long("map-auto", Takes::Nothing, Key::MapAuto),
    long("map-subids", Takes::Nothing, Key::MapSubids),
    long("owner", Takes::Required, Key::Owner),
    long("propagation", Takes::Required, Key::Propagation),
    long("setgroups", Takes::Required, Key::SetGroups),
    long("keep-caps", Takes::Nothing, Key::KeepCaps),
    both(b'S', "setuid", Takes::Required, Key::SetUid),
    both(b'G', "setgid", Takes::Required, Key::SetGid),
    both(b'R', "root", Takes::Required, Key::Root),
    both(b'w', "wd", Takes::Required, Key::Work),
    long("monotonic", Takes::Required, Key::Monotonic),
    long("boottime", Takes::Required, Key::Boottime),
    both(b'l', "load-interp", Takes::Required, Key::LoadInterp),
    long("clear-env", Takes::Nothing, Key::ClearEnv),
    long("whitelist-env", Takes::Required, Key::WhitelistEnv),
];

const HELP: &str = "
Usage:
 unshare [options] [<program> [<argument>...]]

Leave namespaces of the caller for new ones, and run a program there.

Options:
 -m, --mount[=<file>]      new mount namespace
 -u, --uts[=<file>]        new UTS namespace (host name)
 -i, --ipc[=<file>]        new IPC namespace
 -n, --net[=<file>]        new network namespace
 -p, --pid[=<file>]        new PID namespace, for children
 -U, --user[=<file>]       new user namespace
 -C, --cgroup[=<file>]     new cgroup namespace
 -T, --time[=<file>]       new time namespace
                           with <file>, which must exist, the namespace is kept there

 --mount-proc[=<dir>]      mount proc on <dir>, by default /proc (implies --mount)
 --mount-binfmt[=<dir>]    mount binfmt_misc (implies --user and --mount)
 -l, --load-interp <text>  register an interpreter there (implies --mount-binfmt)
 --propagation slave|shared|private|unchanged
                           how mounts pass between the old and the new mount namespace
 -R, --root <dir>          make <dir> the root
 -w, --wd <dir>            go to <dir> in the root

 -S, --setuid <uid>        user to run as
 -G, --setgid <gid>        group to run as
 --map-user <uid>|<name>   the caller is this user inside (implies --user)
 --map-group <gid>|<name>  the caller's group is this one inside (implies --user)
 -r, --map-root-user       the caller is root inside (implies --user)
 -c, --map-current-user    the caller is himself inside (implies --user)
 --map-auto                map the caller's subordinate ids from 0 on (implies --user)
 --map-subids              map the caller's subordinate ids to themselves (implies --user)
 --map-users <inner>:<outer>:<count>|<outer>,<inner>,<count>|auto|subids|all
                           map a block of users; may be repeated (implies --user)
 --map-groups <inner>:<outer>:<count>|<outer>,<inner>,<count>|auto|subids|all
                           map a block of groups; may be repeated (implies --user)
 --owner <uid>:<gid>       who owns the user namespace (implies --user)

 -f, --fork                run the program as a child
 --kill-child[=<signame>]  signal for the child when unshare ends, by default KILL
                             (implies --fork)
 --forward-signals         send SIGTERM and SIGINT on to the child (implies --fork)

 --setgroups allow|deny    whether setgroups may be called in the user namespace
 --keep-caps               keep the user namespace's capabilities in the program

 --monotonic <offset>      seconds added to the monotonic clock
 --boottime <offset>       seconds added to the boot time clock
 --clear-env               run with an empty environment
 --whitelist-env <list>    run with these environment variables only

 -h, --help                display this help
 -V, --version             display version

For more details see unshare(1).
";

fn run(words: &[OsString]) -> ExitCode {
    let tool = Tool::new("unshare", 1);
    match read(&tool, words).and_then(|spec| act(&tool, spec)) {
        Ok(code) | Err(code) => code,
    }
}

fn act(tool: &Tool, spec: UnshareSpec) -> Result<ExitCode, Stopped> {
    let facts = direct::probe_unshare(&spec);
    let plan = plan_unshare(spec, &facts).map_err(|error| unplanned(tool, &error))?;
    match direct::apply(&plan, &mut |_| {}) {
        Ok(End::Exited(code)) => Ok(ExitCode::from(code)),
        Ok(End::Survived(_)) => Err(tool.fail("child exit failed", 0)),
        Err(failure) => Err(failed(tool, failure)),
    }
}

fn read(tool: &Tool, words: &[OsString]) -> Result<UnshareSpec, Stopped> {
    // What the program is becomes known last.
    let mut spec = UnshareSpec::new(Program::login_shell(None));
    let mut clear = false;
    let mut whitelist: Vec<OsString> = Vec::new();
    let mut reader = Reader::new(words, TABLE, Order::First);
    for met in &mut reader {
        let (key, argument) = met.map_err(|complaint| tool.complain(&complaint))?;
        match key {
            Key::Help => return Err(tool::show(HELP)),
            Key::Version => return Err(tool::show(&tool::util_linux_version("unshare"))),
            Key::ClearEnv => clear = true,
            Key::WhitelistEnv => {
                let names = argument.unwrap_or_default();
                let names = names.as_bytes().split(|byte| *byte == b',');
                whitelist.extend(names.map(|name| OsStr::from_bytes(name).to_owned()));
            }
            key => option(tool, &mut spec, key, argument)?,
        }
    }
    // Bound in this order.
    spec.keep.sort_by_key(|kept| kept.kind);
    spec.path = std::env::var_os("PATH");
    let mut path = spec.path.clone();
    let mut shell = std::env::var_os("SHELL");
    let mut env = Environment::Inherited;
    if clear || !whitelist.is_empty() {
        let listed = |name: &str| whitelist.iter().any(|known| known == name);
        path = path.filter(|_| listed("PATH"));
        shell = shell.filter(|_| listed("SHELL"));
        env = Environment::Given(listed_variables(&whitelist));
    }
    let program = Program::of_words(reader.operands(), path);
    spec.program = program.unwrap_or_else(|| Program::login_shell(shell));
    spec.program.env = env;
    Ok(spec)
}

/// `NAME=value` of those that are set, the last named first.
fn listed_variables(names: &[OsString]) -> Vec<OsString> {
    let mut done: Vec<&OsString> = Vec::new();
    let mut list = Vec::new();
    for name in names.iter().rev() {
        // A name with an equals sign is none, and would be taken for another.
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes.contains(&b'=') || bytes.contains(&0) || done.contains(&name) {
            continue;
        }
        if let Some(value) = std::env::var_os(name) {
            let mut entry = name.clone();
            entry.push("=");
            entry.push(value);
            list.push(entry);
            done.push(name);
        }
    }
    list
}

fn option(
    tool: &Tool,
    spec: &mut UnshareSpec,
    key: Key,
    argument: Option<OsString>,
) -> Result<(), Stopped> {
    let word = || argument.clone().unwrap_or_default();
    match key {
        Key::New(kind) => {
            spec.kinds.insert(kind);
            if let Some(on) = argument {
                spec.keep.retain(|kept| kept.kind != kind);
                spec.keep.push(Kept {
                    kind,
                    on: on.into(),
                });
            }
        }
        Key::Fork => spec.fork = true,
        Key::ForwardSignals => spec.forward_signals = true,
        Key::KillChild => {
            let signal = match &argument {
                None => Some(9),
                Some(name) => name.to_str().and_then(signals::by_name),
            };
            let unknown = || tool.fail(format_args!("unknown signal: {}", word().display()), 0);
            spec.kill_child = Some(signal.ok_or_else(unknown)?);
        }
        Key::MountProc => {
            spec.kinds.insert(Kind::Mnt);
            spec.mount_proc = Some(argument.map_or_else(|| "/proc".into(), Into::into));
        }
        Key::MountBinfmt => {
            binfmt(spec);
            spec.mount_binfmt = Some(match argument {
                Some(dir) => dir.into(),
                None => default_binfmt(spec),
            });
        }
        Key::LoadInterp => {
            binfmt(spec);
            if spec.mount_binfmt.is_none() {
                spec.mount_binfmt = Some(default_binfmt(spec));
            }
            spec.load_interp = Some(word().as_bytes().to_vec());
        }
        Key::Propagation => {
            spec.propagation = match word().as_bytes() {
                b"slave" => Propagation::Slave,
                b"private" => Propagation::Private,
                b"shared" => Propagation::Shared,
                b"unchanged" => Propagation::Unchanged,
                _ => {
                    let text = format!("unsupported propagation mode: {}", word().display());
                    return Err(tool.fail(text, 0));
                }
            };
        }
        Key::SetGroups => {
            spec.set_groups = Some(match word().as_bytes() {
                b"allow" => SetGroups::Allow,
                b"deny" => SetGroups::Deny,
                _ => {
                    let text = format!("unsupported --setgroups argument '{}'", word().display());
                    return Err(tool.fail(text, 0));
                }
            });
        }
        Key::KeepCaps => spec.keep_caps = true,
        Key::SetUid => spec.uid = Some(tool.id("failed to parse uid", &word())?),
        Key::SetGid => spec.gid = Some(tool.id("failed to parse gid", &word())?),
        Key::Root => spec.root = Some(word().into()),
        Key::Work => spec.work = Some(word().into()),
        Key::Monotonic => {
            spec.monotonic = Some(seconds(tool, "failed to parse monotonic offset", &word())?);
        }
        Key::Boottime => {
            spec.boottime = Some(seconds(tool, "failed to parse boottime offset", &word())?);
        }
        key => map_option(tool, spec, key, &word())?,
    }
    Ok(())
}

/// What both options of binfmt_misc imply.
fn binfmt(spec: &mut UnshareSpec) {
    spec.kinds.insert(Kind::Mnt);
    spec.kinds.insert(Kind::User);
}

/// Its usual place, which is in a proc of its own.
fn default_binfmt(spec: &mut UnshareSpec) -> std::path::PathBuf {
    spec.mount_proc.get_or_insert_with(|| "/proc".into());
    BINFMT.into()
}

fn map_option(tool: &Tool, spec: &mut UnshareSpec, key: Key, word: &OsStr) -> Result<(), Stopped> {
    spec.kinds.insert(Kind::User);
    match key {
        Key::MapUser => spec.map_user = Some(account(tool, "uid", word)?),
        Key::MapGroup => spec.map_group = Some(account(tool, "gid", word)?),
        Key::MapRoot => (spec.map_user, spec.map_group) = (Some(0), Some(0)),
        Key::MapCurrent => {
            let (uid, gid) = direct::caller();
            (spec.map_user, spec.map_group) = (Some(uid), Some(gid));
        }
        Key::MapUsers => spec.map_users.push(block(tool, word)?),
        Key::MapGroups => spec.map_groups.push(block(tool, word)?),
        Key::MapAuto => {
            spec.map_users.push(Choice::Auto);
            spec.map_groups.push(Choice::Auto);
        }
        Key::MapSubids => {
            spec.map_users.push(Choice::Subids);
            spec.map_groups.push(Choice::Subids);
        }
        Key::Owner => {
            let id = jaula_plan::direct::map::parse_id;
            let both = word.to_str().and_then(|text| text.split_once(':'));
            let both = both.and_then(|(uid, gid)| Some((id(uid)?, id(gid)?)));
            spec.owner = Some(both.ok_or_else(|| tool.fail("failed to parse owner", 0))?);
        }
        _ => {}
    }
    Ok(())
}

fn block(tool: &Tool, word: &OsStr) -> Result<Choice, Stopped> {
    let choice = word.to_str().and_then(Choice::parse);
    choice.ok_or_else(|| tool.fail(format_args!("invalid mapping '{}'", word.display()), 0))
}

/// A user (`uid`) or group (`gid`) by number or name. The number that means "none" to the kernel is none.
fn account(tool: &Tool, what: &str, word: &OsStr) -> Result<u32, Stopped> {
    let text = word.to_str().unwrap_or_default();
    let bytes = text.strip_prefix('-').unwrap_or(text);
    let number = !bytes.is_empty() && bytes.bytes().all(|byte| byte.is_ascii_digit());
    let found = if number {
        jaula_plan::direct::map::parse_id(text).filter(|id| *id != u32::MAX)
    } else {
        let accounts = direct::accounts(std::path::Path::new("/"));
        match what {
            "uid" => accounts.user(text).map(|user| user.uid),
            _ => accounts.group(text),
        }
    };
    found.ok_or_else(|| tool.no_number(&format!("failed to parse {what}"), word))
}

fn seconds(tool: &Tool, what: &str, word: &OsStr) -> Result<i64, Stopped> {
    let text = word.to_str().filter(|text| !text.starts_with('+'));
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| tool.no_number(what, word))
}

fn unplanned(tool: &Tool, error: &UnshareError) -> Stopped {
    match error {
        UnshareError::ClocksWithoutTime => tool.fail(
            "options --monotonic and --boottime require unsharing of a time namespace (-T)",
            0,
        ),
        UnshareError::Map(error) => match error {
            MapError::NoUser(uid) => tool.fail(format_args!("you (user {uid}) don't exist."), 0),
            MapError::Unreadable { file, errno } => {
                tool.fail(format_args!("could not open '{file}'"), *errno)
            }
            MapError::NoLine { user, file } => tool.fail(
                format_args!("no line matching user \"{user}\" in {file}"),
                0,
            ),
            MapError::Damaged { text } => {
                tool.no_number("failed to parse subid map", OsStr::new(text))
            }
            MapError::TooLarge(which) => tool.fail(
                format_args!("{} too large for kernel 4k limit", which.own_map()),
                0,
            ),
        },
    }
}

fn failed(tool: &Tool, failure: Failure) -> Stopped {
    match failure {
        Failure::Said(code) => ExitCode::from(code),
        Failure::Orphaned => ExitCode::FAILURE,
        Failure::Refused(Refusal::SetGroupsAllow) => tool.fail(
            "options --setgroups=allow and --map-group are mutually exclusive",
            0,
        ),
        Failure::Refused(refusal) => tool.fail(format_args!("{refusal:?}"), 0),
        Failure::Exec { name, errno } => tool.not_executed(&name, errno),
        Failure::Step {
            part: Part::Exec(name),
            errno,
            ..
        } => tool.not_executed(OsStr::new(name), errno),
        Failure::Step { op, part, errno } => tool.fail(text(&op, &part), errno),
    }
}

/// What util-linux says when a step fails.
fn text(op: &DirectOp, part: &Part) -> String {
    match (op, part) {
        (_, Part::Mount(from, on)) => {
            format!("mount {} on {} failed", from.display(), on.display())
        }
        (_, Part::Fork) => "fork failed".into(),
        (_, Part::Pair) => "socketpair failed".into(),
        (_, Part::Wait) => "waitpid failed".into(),
        (_, Part::Pidfd) => "pidfd_open failed".into(),
        (_, Part::Poll) => "poll parent pidfd failed".into(),
        (_, Part::CapGet) => "capget failed".into(),
        (_, Part::CapSet) => "capset failed".into(),
        (DirectOp::Ambient, _) => "prctl(PR_CAP_AMBIENT) failed".into(),
        (_, Part::Prctl) => "prctl failed".into(),
        (_, Part::Signals) => "sigprocmask failed".into(),
        (DirectOp::ClockOffset { .. }, Part::Open(path)) => {
            format!("failed to open {}", path.display())
        }
        (DirectOp::ClockOffset { .. }, Part::Write(path)) => {
            format!("failed to write to {}", path.display())
        }
        (DirectOp::Release(_), Part::Open(path)) => format!("failed to open {}", path.display()),
        (DirectOp::Release(_), Part::Write(path)) => format!("failed to write {}", path.display()),
        (_, Part::Open(path)) => format!("cannot open {}", path.display()),
        (_, Part::Write(path)) => format!("write failed {}", path.display()),
        (DirectOp::Unshare(_), _) => "unshare failed".into(),
        (DirectOp::Propagation(_), _) => "cannot change root filesystem propagation".into(),
        (DirectOp::Chroot(path), _) => {
            format!("cannot change root directory to '{}'", path.display())
        }
        (DirectOp::Chdir(path), _) => format!("cannot chdir to '{}'", path.display()),
        (DirectOp::PrivateAt(path), _) => {
            format!("cannot change {} filesystem propagation", path.display())
        }
        (DirectOp::MountProc(path) | DirectOp::MountBinfmt(path), _) => {
            format!("mount {} failed", path.display())
        }
        (DirectOp::ClearGroups(_), _) => "setgroups failed".into(),
        (DirectOp::SetGid(_), _) => "setgid() failed".into(),
        (DirectOp::SetUid(_), _) => "setuid() failed".into(),
        _ => format!("cannot {op}"),
    }
}
