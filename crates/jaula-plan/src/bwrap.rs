//! Planning a sandbox as bwrap(1) makes it: a tree made up from nothing, in the order of the arguments, and no policy but
//! what is asked for. The caller stays who he is; nothing is forced that a jail has.

mod op;
mod spec;

pub use op::{BwrapOp, BwrapPlan, Reaper};
pub use spec::{BwrapFacts, BwrapSpec, Source, TreeSpec};

use crate::setup_op::{BindKind, CapSet, SetupOp};
use crate::spec::jail::{Namespaces, OverlayTop};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Options that contradict each other, in bwrap's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each says itself what it is")]
pub enum BwrapRefusal {
    #[error("--userns-block-fd requires --unshare-user")]
    BlockWithoutUser,
    #[error("--userns-block-fd requires --info-fd")]
    BlockWithoutInfo,
    #[error("--userns not compatible --unshare-user")]
    UsernsAndUser,
    #[error("--userns not compatible --unshare-user-try")]
    UsernsAndUserTry,
    #[error("--disable-userns requires --unshare-user")]
    DisableWithoutUser,
    #[error("--disable-userns is not compatible with  --userns-block-fd")]
    DisableAndBlock,
    #[error("Specifying --uid requires --unshare-user or --userns")]
    UidWithoutUser,
    #[error("Specifying --gid requires --unshare-user or --userns")]
    GidWithoutUser,
    #[error("Specifying --hostname requires --unshare-uts")]
    HostNameWithoutUts,
    #[error("Specifying --as-pid-1 requires --unshare-pid")]
    Pid1WithoutPid,
    #[error("Specifying --as-pid-1 and --lock-file is not permitted")]
    Pid1AndLock,
    #[error("Cannot create new cgroup namespace because the kernel does not support it")]
    NoCgroupNamespaces,
}

/// What can be refused before the host is looked at, in bwrap's order.
pub fn check(spec: &BwrapSpec) -> Result<(), BwrapRefusal> {
    let refusals = [
        (
            spec.userns_block_fd.is_some() && !spec.user,
            BwrapRefusal::BlockWithoutUser,
        ),
        (
            spec.userns_block_fd.is_some() && spec.info_fd.is_none(),
            BwrapRefusal::BlockWithoutInfo,
        ),
        (
            spec.userns.is_some() && spec.user,
            BwrapRefusal::UsernsAndUser,
        ),
        (
            spec.userns.is_some() && spec.user_try,
            BwrapRefusal::UsernsAndUserTry,
        ),
        (
            spec.disable_userns && !spec.user,
            BwrapRefusal::DisableWithoutUser,
        ),
        (
            spec.disable_userns && spec.userns_block_fd.is_some(),
            BwrapRefusal::DisableAndBlock,
        ),
    ];
    first_of(&refusals)
}

fn first_of(refusals: &[(bool, BwrapRefusal)]) -> Result<(), BwrapRefusal> {
    match refusals.iter().find(|(refused, _)| *refused) {
        Some((_, why)) => Err(*why),
        None => Ok(()),
    }
}

/// Plans a sandbox. Pure.
pub fn plan(spec: &BwrapSpec, facts: &BwrapFacts) -> Result<BwrapPlan, BwrapRefusal> {
    check(spec)?;
    let ordinary = facts.uid != 0;
    let user = spec.user
        || (ordinary && spec.userns.is_none())
        || (spec.user_try && facts.user_namespaces);
    let (uid, gid) = (spec.uid.unwrap_or(facts.uid), spec.gid.unwrap_or(facts.gid));
    let host_name = |step: &TreeSpec| matches!(step, TreeSpec::HostName(_));
    let other_user = user || spec.userns.is_some();
    let cgroup = spec.cgroup || (spec.cgroup_try && facts.cgroup_namespaces);
    first_of(&[
        (
            !other_user && uid != facts.uid,
            BwrapRefusal::UidWithoutUser,
        ),
        (
            !other_user && gid != facts.gid,
            BwrapRefusal::GidWithoutUser,
        ),
        (
            !spec.uts && spec.tree.iter().any(host_name),
            BwrapRefusal::HostNameWithoutUts,
        ),
        (spec.as_pid_1 && !spec.pid, BwrapRefusal::Pid1WithoutPid),
        (
            spec.as_pid_1 && !spec.lock_files.is_empty(),
            BwrapRefusal::Pid1AndLock,
        ),
        (
            spec.cgroup && !facts.cgroup_namespaces,
            BwrapRefusal::NoCgroupNamespaces,
        ),
    ])?;
    // What root has already, until something else is asked for; an ordinary user starts from nothing.
    let own = CapSet(if ordinary { 0 } else { facts.capabilities });
    let caps = spec.capabilities.unwrap_or(own);

    let mut ops = Vec::with_capacity(spec.tree.len() + 24);
    ops.extend(spec.userns.map(BwrapOp::JoinUser));
    ops.extend(spec.pidns.map(BwrapOp::JoinPid));
    ops.push(BwrapOp::Namespaces(Namespaces {
        uts: spec.uts,
        ipc: spec.ipc,
        pid: spec.pid,
        net: spec.net,
        user,
        cgroup,
        time: false,
    }));
    let told: Vec<i32> = [spec.info_fd, spec.json_status_fd]
        .into_iter()
        .flatten()
        .collect();
    if !told.is_empty() || spec.userns_block_fd.is_some() || spec.pidns.is_some() {
        ops.push(BwrapOp::Close(told));
        ops.push(BwrapOp::Await);
    }
    ops.push(BwrapOp::NoNewPrivs);
    if spec.userns.is_some() {
        let (uid, gid) = (changed(uid, facts.uid), changed(gid, facts.gid));
        if uid.is_some() || gid.is_some() {
            ops.push(BwrapOp::ChangeIds { uid, gid });
        }
    }
    if spec.net {
        ops.push(BwrapOp::Loopback);
    }
    // Devpts has to be root's, so root has to be somebody; who he is to be, he becomes in a second namespace.
    let maps = user && spec.userns_block_fd.is_none();
    let devices = spec
        .tree
        .iter()
        .any(|step| matches!(step, TreeSpec::Dev(_)));
    let (first_uid, first_gid) = if devices { (0, 0) } else { (uid, gid) };
    let second = maps && (spec.disable_userns || (first_uid, first_gid) != (uid, gid));
    if maps {
        ops.push(BwrapOp::Map {
            user: (first_uid, facts.uid),
            group: (first_gid, facts.gid),
            deny: true,
        });
    }
    ops.push(BwrapOp::SlaveMounts);
    ops.push(BwrapOp::Root);
    plan_tree(spec, facts, &mut ops);
    ops.push(BwrapOp::PivotRoot);
    ops.extend(spec.userns2.map(BwrapOp::JoinSecondUser));
    if second {
        if spec.disable_userns {
            ops.push(BwrapOp::LastUserNamespace);
        }
        ops.push(BwrapOp::SecondUserNamespace);
    }
    if user || spec.userns.is_some() {
        ops.push(BwrapOp::Bound(caps));
    }
    if second {
        ops.push(BwrapOp::Map {
            user: (uid, first_uid),
            group: (gid, first_gid),
            deny: false,
        });
    }
    if spec.disable_userns || spec.assert_userns_disabled {
        ops.push(BwrapOp::NoUserNamespace);
    }
    if ordinary || spec.capabilities.is_some() {
        ops.push(BwrapOp::Capabilities {
            set: caps,
            lenient: !ordinary,
        });
    }
    ops.push(BwrapOp::Dumpable);
    ops.extend(spec.block_fd.map(BwrapOp::BlockOn));
    ops.push(BwrapOp::RestoreUmask);
    ops.push(BwrapOp::Chdir(directories(spec, facts)));
    if spec.new_session {
        ops.push(BwrapOp::NewSession);
    }
    plan_program(spec, ordinary, caps, &mut ops);
    Ok(BwrapPlan {
        ops,
        info_fd: spec.info_fd,
        json_status_fd: spec.json_status_fd,
        userns_block_fd: spec.userns_block_fd,
        userns2: spec.userns2,
        die_with_parent: spec.die_with_parent,
    })
}

fn changed(wanted: u32, now: u32) -> Option<u32> {
    (wanted != now).then_some(wanted)
}

fn plan_tree(spec: &BwrapSpec, facts: &BwrapFacts, ops: &mut Vec<BwrapOp>) {
    let mut sources = facts.sources.iter().cloned();
    let mut next = || sources.next().flatten();
    let mut close = Vec::new();
    for step in &spec.tree {
        ops.push(match step {
            TreeSpec::Bind { from, to, options } => {
                let Some(path) = next() else { continue };
                let bind = SetupOp::Bind {
                    from: path,
                    to: to.clone(),
                    options: *options,
                    kind: BindKind::Unknown,
                };
                match from {
                    Source::Path(_) => BwrapOp::Tree(bind),
                    Source::Descriptor(fd) => {
                        close.push(*fd);
                        BwrapOp::BindDescriptor { fd: *fd, bind }
                    }
                }
            }
            TreeSpec::Overlay { lower, to, top } => {
                let top = match top {
                    OverlayTop::Directory { .. } => OverlayTop::Directory {
                        upper: next().unwrap_or_default(),
                        work: next().unwrap_or_default(),
                    },
                    other => other.clone(),
                };
                BwrapOp::Tree(SetupOp::Overlay {
                    lower: lower.iter().filter_map(|_| next()).collect(),
                    to: to.clone(),
                    top,
                })
            }
            TreeSpec::Tmpfs { to, mode, size } => BwrapOp::Tree(SetupOp::Tmpfs {
                at: to.clone(),
                mode: *mode,
                size: *size,
            }),
            TreeSpec::Proc(to) => BwrapOp::Proc {
                to: to.clone(),
                own: spec.pid || spec.pidns.is_some(),
            },
            TreeSpec::Dev(to) => BwrapOp::Dev {
                to: to.clone(),
                console: facts.terminal.clone(),
            },
            TreeSpec::Mqueue(to) => BwrapOp::Tree(SetupOp::Mqueue { at: to.clone() }),
            TreeSpec::Directory { to, mode } => BwrapOp::Tree(SetupOp::Directory {
                at: to.clone(),
                mode: *mode,
            }),
            TreeSpec::File { from, to, mode } => {
                close.push(*from);
                BwrapOp::File {
                    from: *from,
                    to: to.clone(),
                    mode: *mode,
                }
            }
            TreeSpec::Data {
                from,
                to,
                mode,
                read_only,
            } => {
                close.push(*from);
                BwrapOp::Data {
                    from: *from,
                    to: to.clone(),
                    mode: *mode,
                    read_only: *read_only,
                }
            }
            TreeSpec::Symlink { text, to } => BwrapOp::Tree(SetupOp::Link {
                at: to.clone(),
                to: text.clone(),
            }),
            TreeSpec::RemountReadOnly(to) => {
                BwrapOp::Tree(SetupOp::RemountReadOnly { at: to.clone() })
            }
            TreeSpec::Chmod { to, mode } => BwrapOp::Tree(SetupOp::Chmod {
                at: to.clone(),
                mode: *mode,
            }),
            TreeSpec::HostName(name) => BwrapOp::HostName(name.clone()),
        });
    }
    if !close.is_empty() {
        ops.push(BwrapOp::Close(close));
    }
}

fn variable<'e>(env: &'e [(OsString, OsString)], name: &str) -> Option<&'e OsStr> {
    let found = env.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_os_str())
}

/// Where it works: as asked, or where the caller is, or at home, or at the root.
fn directories(spec: &BwrapSpec, facts: &BwrapFacts) -> Vec<PathBuf> {
    if let Some(dir) = &spec.chdir {
        return vec![dir.clone()];
    }
    let home = variable(&spec.env, "HOME").map(PathBuf::from);
    let all = [facts.cwd.clone(), home, Some(PathBuf::from("/"))];
    all.into_iter().flatten().collect()
}

fn plan_program(spec: &BwrapSpec, ordinary: bool, caps: CapSet, ops: &mut Vec<BwrapOp>) {
    let reaps =
        !spec.as_pid_1 && (spec.pid || !spec.lock_files.is_empty() || spec.sync_fd.is_some());
    if reaps {
        ops.push(BwrapOp::Reap(Reaper {
            sync_fd: spec.sync_fd,
            lock_files: spec.lock_files.clone(),
            die_with_parent: spec.die_with_parent,
            lenient: !ordinary,
            filters: spec.seccomp.clone(),
        }));
    }
    if let Some(fd) = spec.sync_fd
        && reaps
    {
        ops.push(BwrapOp::Close(vec![fd]));
    }
    if spec.die_with_parent {
        ops.push(BwrapOp::DieWithParent);
    }
    if caps.0 != 0 {
        ops.push(BwrapOp::Ambient(caps));
    }
    if !spec.seccomp.is_empty() {
        ops.push(BwrapOp::Filters(spec.seccomp.clone()));
    }
    let mut args = spec.command.clone();
    let program = args.first().cloned().unwrap_or_default();
    if let (Some(first), Some(name)) = (args.first_mut(), &spec.argv0) {
        first.clone_from(name);
    }
    ops.push(BwrapOp::Exec {
        program,
        args,
        env: spec.env.clone(),
    });
}

/// Where a program of this name is looked for, as execvp(3) does.
pub fn program_paths(program: &OsStr, env: &[(OsString, OsString)]) -> Vec<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    if program.as_bytes().contains(&b'/') || program.is_empty() {
        return vec![PathBuf::from(program)];
    }
    let path = variable(env, "PATH").unwrap_or(OsStr::new("/bin:/usr/bin"));
    let dirs = path.as_bytes().split(|b| *b == b':');
    dirs.map(|dir| Path::new(OsStr::from_bytes(dir)).join(program))
        .collect()
}

#[cfg(test)]
mod tests;
