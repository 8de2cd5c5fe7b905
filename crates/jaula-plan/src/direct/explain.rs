//! A plan in words, and as the system call or the command that does the same.

use super::{
    Attempt, Clock, DirectOp, DirectPlan, Helper, HelperName, IdFrom, Kept, Kind, NamespaceFrom,
    Place, Propagation, Refusal, SetGroups, Target, Wait, Warning, Which,
};
use crate::explain::{ExplainLine, word};
use std::fmt;

/// Every step as a command that does it, where there is one, and what it is for; the last is the program.
pub fn explain(plan: &DirectPlan) -> Vec<ExplainLine> {
    let mut lines: Vec<_> = plan
        .ops
        .iter()
        .map(|op| ExplainLine::new(command(op), op.to_string()))
        .collect();
    let words: Vec<_> = plan.program.args.iter().skip(1).map(word).collect();
    let mut program = format!("exec {}", word(&plan.program.name));
    for argument in words {
        program.push(' ');
        program.push_str(&argument);
    }
    lines.push(ExplainLine::new(program, "become the program"));
    lines
}

fn propagation(how: Propagation) -> &'static str {
    match how {
        Propagation::Private => "private",
        Propagation::Shared => "shared",
        Propagation::Slave => "slave",
        Propagation::Unchanged => "unchanged",
    }
}

fn kept(kept: &[Kept]) -> String {
    let one = |k: &Kept| {
        format!(
            "mount --bind /proc/$$/{} {}",
            k.kind.new_file(),
            word(&k.on)
        )
    };
    kept.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn command(op: &DirectOp) -> String {
    match op {
        DirectOp::Keep(files) | DirectOp::Start(Helper::Keep(files)) => kept(files),
        DirectOp::Start(Helper::Map { users, groups, .. }) => {
            let one = |which: Which, ranges: &[super::IdRange]| {
                let each = |r: &super::IdRange| format!(" {} {} {}", r.inside, r.outside, r.count);
                let ranges: String = ranges.iter().map(each).collect();
                (!ranges.is_empty()).then(|| format!("{} $${ranges}", which.program()))
            };
            let both = [one(Which::Users, users), one(Which::Groups, groups)];
            let both: Vec<_> = both.into_iter().flatten().collect();
            both.join("\n")
        }
        DirectOp::Unshare(kinds) => {
            let option = |kind: Kind| match kind {
                Kind::Mnt => " --mount".to_owned(),
                kind => format!(" --{kind}"),
            };
            format!("unshare{}", kinds.iter().map(option).collect::<String>())
        }
        DirectOp::Propagation(how) => format!("mount --make-r{} /", propagation(*how)),
        DirectOp::Chroot(path) => format!("chroot {}", word(path)),
        DirectOp::Chdir(path) => format!("cd {}", word(path)),
        DirectOp::PrivateAt(path) => format!("mount --make-rprivate {}", word(path)),
        DirectOp::MountProc(path) => {
            format!("mount -t proc -o nosuid,nodev,noexec proc {}", word(path))
        }
        DirectOp::MountBinfmt(path) => {
            let options = "nosuid,nodev,noexec";
            format!(
                "mount -t binfmt_misc -o {options} binfmt_misc {}",
                word(path)
            )
        }
        DirectOp::MapOne {
            which,
            inside,
            outside,
        } => format!("echo {inside} {outside} 1 > /proc/self/{}", which.map()),
        DirectOp::SetGroups(SetGroups::Allow) => "echo allow > /proc/self/setgroups".to_owned(),
        DirectOp::SetGroups(SetGroups::Deny) => "echo deny > /proc/self/setgroups".to_owned(),
        DirectOp::ClockOffset { clock, seconds } => {
            let name = match clock {
                Clock::Monotonic => "monotonic",
                Clock::Boottime => "boottime",
            };
            format!("echo {name} {seconds} 0 > /proc/self/timens_offsets")
        }
        _ => String::new(),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)
    }
}

impl fmt::Display for IdFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(id) => write!(f, "{id}"),
            Self::Target => f.write_str("that of the target"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target => f.write_str("the target's"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Display for DirectOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChildSignal => f.write_str("let a child's end be noticed"),
            Self::Target(target) => write!(f, "hold {target} by a descriptor"),
            Self::OpenNamespace { kind, from } => match from {
                NamespaceFrom::File(path) => {
                    write!(f, "open the {kind} namespace {}", path.display())
                }
                NamespaceFrom::Id(id) => {
                    write!(f, "open the {kind} namespace with identifier {id}")
                }
                NamespaceFrom::Socket(fd) => {
                    write!(f, "open the network namespace of the target's socket {fd}")
                }
                NamespaceFrom::Owner(_) => f.write_str("open the user namespace above"),
            },
            Self::OpenRoot(place) => write!(f, "open the new root: {place}"),
            Self::OpenWork(place) => write!(f, "open the working directory: {place}"),
            Self::OpenEnvironment => f.write_str("open the target's environment"),
            Self::OpenIds => f.write_str("open what tells the target's user and group"),
            Self::OpenCgroup => f.write_str("open the target's control group"),
            Self::TargetUnchanged => f.write_str("see that the target still is the same process"),
            Self::Start(Helper::Keep(_)) => {
                f.write_str("start a helper that will mount the new namespaces on files")
            }
            Self::Start(Helper::Map { .. }) => {
                f.write_str("start a helper that will map users and groups")
            }
            Self::Release(HelperName::Keep) => f.write_str("let it mount the namespaces"),
            Self::Release(HelperName::Map) => f.write_str("let it map users and groups"),
            Self::Unshare(kinds) => write!(f, "go on in new namespaces: {kinds}"),
            Self::TryJoin { target, files } => {
                write!(
                    f,
                    "join what can be joined already of: {}",
                    target.and(*files)
                )
            }
            Self::Join { target, files } => write!(f, "join: {}", target.and(*files)),
            Self::ClockOffset { clock, seconds } => {
                write!(f, "move the clock {clock:?} by {seconds} s")
            }
            Self::Fork {
                wait, kill_child, ..
            } => {
                f.write_str(match wait {
                    Wait::Held => "go on in a child; wait for it",
                    Wait::Forwarded => "go on in a child; send signals on to it, wait for it",
                    Wait::Mirrored => "go on in a child; stop and go on with it, wait for it",
                })?;
                match kill_child {
                    Some(signal) => write!(f, "; it gets signal {signal} when this process ends"),
                    None => Ok(()),
                }
            }
            Self::Keep(_) => f.write_str("mount the new namespaces on files"),
            Self::MapOne {
                which: Which::Users,
                inside,
                outside,
            } => write!(f, "user {outside} is {inside} inside"),
            Self::MapOne {
                inside, outside, ..
            } => write!(f, "group {outside} is {inside} inside"),
            Self::SetGroups(SetGroups::Allow) => f.write_str("allow setgroups(2)"),
            Self::SetGroups(SetGroups::Deny) => f.write_str("forbid setgroups(2)"),
            Self::Propagation(how) => write!(f, "make every mount {}", propagation(*how)),
            Self::Chroot(path) => write!(f, "make {} the root", path.display()),
            Self::Chdir(path) => write!(f, "go to {}", path.display()),
            Self::HoldWork => f.write_str("remember the working directory"),
            Self::EnterRoot => f.write_str("make the opened directory the root"),
            Self::OpenWorkInside(path) => write!(f, "open {} in the new root", path.display()),
            Self::EnterWork => f.write_str("go to the opened working directory"),
            Self::PrivateAt(path) => write!(f, "make the mount at {} private", path.display()),
            Self::MountProc(path) => write!(f, "mount proc on {}", path.display()),
            Self::MountBinfmt(path) => write!(f, "mount binfmt_misc on {}", path.display()),
            Self::Register { at, .. } => write!(f, "register an interpreter at {}", at.display()),
            Self::ClearGroups(Attempt::Only) => f.write_str("drop supplementary groups"),
            Self::ClearGroups(_) => f.write_str("drop supplementary groups, where it is allowed"),
            Self::Groups(groups) => write!(f, "set supplementary groups {groups:?}"),
            Self::SetGid(id) => write!(f, "become group {id}"),
            Self::SetUid(id) => write!(f, "become user {id}"),
            Self::DieWithParent(signal) => {
                write!(f, "get signal {signal} when the parent ends")
            }
            Self::JoinCgroup => f.write_str("move into the target's control group"),
            Self::Ambient => f.write_str("keep capabilities over the start of the program"),
            Self::ReadIds => f.write_str("read the target's user and group"),
            Self::Refuse(refusal) => f.write_str(match refusal {
                Refusal::SetGroupsAllow => {
                    "stop: setgroups cannot be allowed with one group mapped"
                }
                Refusal::InvalidUser => "stop: the user is not known",
                Refusal::InvalidGroup => "stop: the group is not known",
                Refusal::InvalidSpec => "stop: a login group is asked of a number",
                Refusal::NoGroupFor(_) => "stop: the user has no group",
                Refusal::InvalidGroups(_) => "stop: supplementary groups are not known",
            }),
            Self::Warn(Warning::Dot) => f.write_str("say that a dot should be a colon"),
        }
    }
}
