//! Going where a process is: what it is, and a program beside it.

use crate::jail::Running;
use crate::namespaces::{NsKind, path_of};
use crate::outcome::{Io, Outcome};
use crate::plan::Preview;
use crate::probe::account;
use crate::{Engine, EngineError, JailError, jail};
use jaula_plan::enter::{EnterSpec, plan_enter};
use jaula_plan::explain::ExplainLine;
use jaula_plan::facts::target::TargetFacts;
use jaula_plan::jail::JailPlan;
use jaula_plan::names::JailName;
use jaula_plan::personality::Personality;
use jaula_plan::setup_op::{CapSet, JoinTarget, SetupOp, StdioPlan};
use jaula_plan::spec::jail::UserSpec;
use serde_json::{Value, json};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A process cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No process has this number.
    #[error("there is no process {pid}")]
    NoProcess {
        /// The number.
        pid: u32,
    },
    /// It is somebody else's, or does not let itself be looked at.
    #[error("process {pid} is not yours to join")]
    NotYours {
        /// The process.
        pid: u32,
        /// What proc(5) said.
        #[source]
        source: std::io::Error,
    },
    /// A pid namespace whose first process has ended takes no other (pid_namespaces(7)).
    #[error(
        "the first process of the pid namespace kept as {name} has ended: no other can run in it"
    )]
    DeadPids {
        /// The name.
        name: JailName,
    },
    /// It ended, and its number may be another's by now.
    #[error("process {pid} ended while it was looked at")]
    Ended {
        /// The process.
        pid: u32,
    },
}

/// What running a program where a process is takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnterPlan {
    goal: Goal,
    jail: JailPlan,
}

/// What is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Goal {
    /// This very process.
    Process(Running),
    /// What is kept under this name.
    Kept(JailName),
}

impl fmt::Display for EnterPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.jail.fmt(f)
    }
}

impl Preview for EnterPlan {
    fn to_json(&self) -> Value {
        let (pid, kept) = match &self.goal {
            Goal::Process(running) => (Some(running.pid), None),
            Goal::Kept(name) => (None, Some(name.as_str())),
        };
        json!({ "version": 1, "pid": pid, "kept": kept, "jail": self.jail.to_json() })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        jaula_plan::jail::explain(&self.jail)
    }
}

/// The value of a line of proc_pid_status(5).
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    status.lines().find_map(line).unwrap_or_default().trim()
}

/// Where an identifier of the caller's user namespace is in a map of user_namespaces(7).
fn inside(map: &str, outside: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (first, start, count) = (
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
        );
        let offset = outside
            .checked_sub(start)
            .filter(|offset| *offset < count)?;
        first.checked_add(offset)
    })
}

/// Whether a map has identifier 0 inside.
fn has_root(map: &str) -> bool {
    map.lines()
        .any(|line| line.split_whitespace().next() == Some("0"))
}

/// Looks at a process, and who of it.
///
/// # Errors
/// When there is none, or it is not the caller's to join.
pub fn target(pid: u32, spec: &EnterSpec) -> Result<(Running, TargetFacts), TargetError> {
    let running = Running::of(pid).ok_or(TargetError::NoProcess { pid })?;
    let facts = look(pid, spec).map_err(|source| match source.kind() {
        ErrorKind::NotFound => TargetError::NoProcess { pid },
        _ => TargetError::NotYours { pid, source },
    })?;
    // All of that is of this process if it is still there.
    if !running.is_alive() {
        return Err(TargetError::Ended { pid });
    }
    Ok((running, facts))
}

fn look(pid: u32, spec: &EnterSpec) -> std::io::Result<TargetFacts> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
    let status = read("status")?;
    let mut differs = Vec::new();
    for kind in NsKind::ALL {
        let theirs = match std::fs::metadata(path_of(pid, kind)) {
            Ok(meta) => meta,
            // A kind that this kernel does not have.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let own = std::fs::metadata(format!("/proc/self/ns/{kind}"))?;
        if (own.dev(), own.ino()) != (theirs.dev(), theirs.ino()) {
            differs.push(kind.name().to_owned());
        }
    }
    let users = differs.iter().any(|kind| kind == "user")
        && (spec.only.is_empty() || spec.only.iter().any(|kind| kind == "user"));
    let (uid_map, gid_map) = (read("uid_map")?, read("gid_map")?);
    let effective = |name: &str| {
        let mut numbers = field(&status, name).split_whitespace();
        numbers.nth(1).and_then(|number| number.parse::<u32>().ok())
    };
    let (uid, gid) = (effective("Uid"), effective("Gid"));
    let ids = match (uid, gid) {
        (Some(uid), Some(gid)) if users => {
            Option::zip(inside(&uid_map, uid), inside(&gid_map, gid))
        }
        // Who joins no user namespace stays who he is.
        _ => Some(jaula_sys::process::effective_ids()),
    };
    let root = format!("/proc/{pid}/root");
    let root = Path::new(&root);
    let wanted = match &spec.user {
        UserSpec::Named(name) => account::Wanted::Name(name.clone()),
        UserSpec::Ids { uid, .. } => account::Wanted::Id(*uid),
        UserSpec::Root => account::Wanted::Id(0),
    };
    let place = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    let file = |path: &str| {
        let read = jaula_sys::beneath::read_in_root(root, path, account::LIMIT);
        read.unwrap_or_default()
    };
    Ok(TargetFacts {
        target: JoinTarget::Process(pid),
        has_root: match users {
            true => has_root(&uid_map) && has_root(&gid_map),
            false => jaula_sys::process::effective_ids().0 == 0,
        },
        set_groups: match users {
            true => read("setgroups").is_ok_and(|word| word.trim() != "deny"),
            false => jaula_sys::process::effective_ids().0 == 0,
        },
        differs,
        other_root: place(root)? != place(Path::new("/"))?,
        caller_root: jaula_sys::process::effective_ids().0 == 0,
        ids,
        no_new_privs: field(&status, "NoNewPrivs") == "1",
        filtered: field(&status, "Seccomp") == "2",
        // What cannot be read is not given.
        bounding: CapSet(u64::from_str_radix(field(&status, "CapBnd"), 16).unwrap_or(0)),
        terminals: jaula_sys::beneath::is_there(root, "dev/pts/ptmx"),
        personality: read("personality")
            .ok()
            .and_then(|text| Personality::of_number(u32::from_str_radix(text.trim(), 16).ok()?)),
        account: account::find(&file("etc/passwd"), &wanted, || file("etc/group")),
    })
}

/// Who there is in a user namespace.
struct Maps {
    /// Root, or the first that is mapped.
    first: (u32, u32),
    /// Whether setgroups(2) is possible.
    set_groups: bool,
}

impl Maps {
    fn of_the_caller(root: bool) -> Self {
        Self {
            first: jaula_sys::process::effective_ids(),
            set_groups: root,
        }
    }
}

/// Reads the maps of a user namespace that no process may be in: by a child that joins it. One that cannot be joined
/// has nobody; joining says why.
fn maps(namespace: &OwnedFd) -> Maps {
    let none = Maps {
        first: (0, 0),
        set_groups: false,
    };
    let Ok((mut reader, writer)) = std::io::pipe() else {
        return none;
    };
    let mut writer = Some(writer);
    let mut child = || {
        let Some(mut writer) = writer.take() else {
            return 1;
        };
        if jaula_sys::userns::join(namespace.as_fd()).is_err() {
            return 1;
        }
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}"));
        let first = |text: std::io::Result<String>| {
            let text = text.unwrap_or_default();
            if has_root(&text) {
                return 0;
            }
            let word = text.split_whitespace().next();
            word.and_then(|word| word.parse::<u32>().ok()).unwrap_or(0)
        };
        let (uid, gid) = (first(read("uid_map")), first(read("gid_map")));
        let allowed = read("setgroups").is_ok_and(|word| word.trim() != "deny");
        u8::from(write!(writer, "{uid} {gid} {}", u8::from(allowed)).is_err())
    };
    let started = jaula_sys::userns::fork(&mut child);
    drop(writer.take());
    let mut text = String::new();
    let read = reader.read_to_string(&mut text).is_ok();
    let ended = started.and_then(jaula_sys::userns::Forked::wait);
    let numbers: Vec<u32> = text
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    match (ended, numbers.as_slice()) {
        (Ok(Some(0)), [uid, gid, allowed]) if read => Maps {
            first: (*uid, *gid),
            set_groups: *allowed == 1,
        },
        _ => none,
    }
}

impl Engine {
    /// What running a program where a process is takes.
    ///
    /// # Errors
    /// When there is no such process, it is not the caller's to join, or there is nothing to join.
    pub fn plan_enter(&self, pid: u32, spec: &EnterSpec) -> Result<EnterPlan, EngineError> {
        let (running, facts) = target(pid, spec)?;
        let jail = plan_enter(spec, &facts)?;
        let goal = Goal::Process(running);
        Ok(EnterPlan { goal, jail })
    }

    /// What running a program in namespaces that are kept by a name takes. There is no process that would say what
    /// holds it, so it is held as any jail is.
    ///
    /// # Errors
    /// When nothing is kept by that name, or an ordinary user kept no user namespace.
    pub fn plan_enter_kept(
        &self,
        name: &JailName,
        spec: &EnterSpec,
    ) -> Result<EnterPlan, EngineError> {
        let opened = self.kept(name)?;
        let caller_root = jaula_sys::process::effective_ids().0 == 0;
        let users = opened.iter().find(|(_, kind)| *kind == NsKind::User);
        let maps = match users {
            Some((fd, _)) => maps(fd),
            None => Maps::of_the_caller(caller_root),
        };
        let facts = TargetFacts {
            target: JoinTarget::Kept(name.clone()),
            differs: opened
                .iter()
                .map(|(_, kind)| kind.name().to_owned())
                .collect(),
            other_root: false,
            caller_root,
            ids: Some(maps.first),
            has_root: maps.first.0 == 0,
            set_groups: maps.set_groups,
            no_new_privs: true,
            filtered: true,
            bounding: CapSet::DEFAULT,
            terminals: false,
            personality: None,
            account: None,
        };
        let jail = plan_enter(spec, &facts)?;
        let goal = Goal::Kept(name.clone());
        Ok(EnterPlan { goal, jail })
    }

    /// Runs it. A process that has got the number in the meantime is not entered.
    ///
    /// # Errors
    /// When the process is gone, or a step fails: then the program was not run.
    pub fn enter(&self, plan: &EnterPlan, io: Io<'_>) -> Result<Outcome, EngineError> {
        let inherits = |op: &SetupOp| matches!(op, SetupOp::Stdio(StdioPlan::Inherit));
        let io = match io {
            Io::Pty if plan.jail.ops.iter().any(inherits) => Io::Inherit,
            other => other,
        };
        match &plan.goal {
            Goal::Process(running) => Ok(jail::enter_process(running, &plan.jail, io)?),
            Goal::Kept(name) => {
                let joins = plan.jail.ops.iter().find_map(|op| match op {
                    SetupOp::Join(join) => Some(&join.kinds),
                    _ => None,
                });
                let wanted = |kind: NsKind| {
                    joins.is_some_and(|kinds| kinds.iter().any(|name| name == kind.name()))
                };
                let held = self.kept(name)?.into_iter();
                let held = held.filter(|(_, kind)| wanted(*kind));
                let held = held.map(|(fd, kind)| (fd, kind.flag())).collect();
                match jail::enter_kept(held, &plan.jail, io) {
                    // What fork(2) answers there.
                    Err(JailError::Step { errno, .. }) if errno.0 == 12 && wanted(NsKind::Pid) => {
                        Err(TargetError::DeadPids { name: name.clone() }.into())
                    }
                    other => Ok(other?),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_found_in_maps() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(inside(map, 1000), Some(0));
        assert_eq!(inside(map, 100_999), Some(1000));
        assert_eq!(inside(map, 0), None);
        assert!(has_root(map));
        assert!(!has_root("1000 1000 1\n"));
    }

    #[test]
    fn a_number_that_nobody_has_is_no_process() {
        let found = target(0x7fff_fff0, &EnterSpec::default());
        assert!(matches!(found, Err(TargetError::NoProcess { .. })));
    }

    #[test]
    fn a_number_used_again_is_not_entered() {
        let mut running = Running::of(std::process::id()).expect("this process");
        running.start_time += 1;
        let plan = JailPlan {
            ops: Vec::new(),
            notes: Vec::new(),
            as_pid_1: false,
            fault: None,
        };
        let entered = jail::enter_process(&running, &plan, Io::Inherit);
        assert!(matches!(entered, Err(crate::JailError::Gone)));
    }
}
