//! Going into what runs already: [`EnterSpec`] and [`TargetFacts`] become operations, the last of which are those of
//! any jail. Who goes in is held by what holds the process that is joined.

use crate::facts::target::TargetFacts;
use crate::jail::{JailPlan, JailPlanError, environment, inside};
use crate::setup_op::{CapSet, FilterPlan, JoinPlan, JoinTarget, SetupOp, StdioPlan};
use crate::spec::jail::{Terminal, UserSpec};
use std::ffi::OsString;
use std::path::PathBuf;

/// A program to be run where a process is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnterSpec {
    /// Only these kinds of namespaces, of those that differ; all of them when empty.
    pub only: Vec<String>,
    /// As whom.
    pub user: UserSpec,
    /// Working directory inside; `/` when absent.
    pub cwd: Option<PathBuf>,
    /// Environment, whole.
    pub env: Vec<(OsString, OsString)>,
    /// Terminal.
    pub terminal: Terminal,
    /// Program and arguments; a shell when empty.
    pub command: Vec<OsString>,
}

/// Why a process cannot be joined as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnterPlanError {
    /// The process is where the caller is.
    #[error("{target} has no namespace and no root that the caller has not")]
    Nowhere {
        /// It.
        target: JoinTarget,
    },
    /// A kind that was asked for by name, in which both are the same.
    #[error("{target} has no {kind} namespace but the caller's")]
    Same {
        /// It.
        target: JoinTarget,
        /// The kind.
        kind: String,
    },
    /// Only who has rights over a namespace joins it alone.
    #[error(
        "an ordinary user joins the namespaces of {target} only together with its user namespace"
    )]
    UsersToo {
        /// It.
        target: JoinTarget,
    },
    /// The process is nobody in its own namespace.
    #[error("{target} has neither root nor itself among its identifiers")]
    NoIds {
        /// It.
        target: JoinTarget,
    },
    /// As for any jail.
    #[error(transparent)]
    Jail(#[from] JailPlanError),
}

/// Plans it. Pure.
///
/// # Errors
/// When there is nothing to join, or the program cannot be run as asked.
pub fn plan_enter(spec: &EnterSpec, target: &TargetFacts) -> Result<JailPlan, EnterPlanError> {
    let who = || target.target.clone();
    for kind in &spec.only {
        if !target.differs.contains(kind) {
            return Err(EnterPlanError::Same {
                target: who(),
                kind: kind.clone(),
            });
        }
    }
    let kinds = match spec.only.is_empty() {
        true => target.differs.clone(),
        false => spec.only.clone(),
    };
    let joins = |wanted: &str| kinds.iter().any(|kind| kind == wanted);
    // A root without its mounts is joined when all is: a process may have changed nothing but its root.
    let root = joins("mnt") || (spec.only.is_empty() && target.other_root);
    if kinds.is_empty() && !root {
        return Err(EnterPlanError::Nowhere { target: who() });
    }
    let joins_users = joins("user");
    if !joins_users && !target.caller_root {
        return Err(EnterPlanError::UsersToo { target: who() });
    }
    let own = match (target.has_root, target.ids) {
        (true, _) => (0, 0),
        (false, Some(ids)) => ids,
        (false, None) => return Err(EnterPlanError::NoIds { target: who() }),
    };
    let (uid, gid, groups) = match (&spec.user, &target.account) {
        (UserSpec::Root, _) => (own.0, own.1, Vec::new()),
        (UserSpec::Ids { uid, gid, groups }, _) => (*uid, *gid, groups.clone()),
        (UserSpec::Named(_), Some(account)) => (account.uid, account.gid, account.groups.clone()),
        (UserSpec::Named(name), None) => {
            return Err(JailPlanError::UnknownUser { name: name.clone() }.into());
        }
    };
    let mut ops = vec![
        SetupOp::Join(JoinPlan {
            target: who(),
            kinds,
            root,
            // Who has joined a user namespace is nobody in it yet.
            become_ids: joins_users.then_some(own),
            set_groups: target.set_groups,
            terminals: target.terminals,
        }),
        SetupOp::DieWithParent,
        SetupOp::Stdio(match (spec.terminal, target.terminals) {
            (Terminal::Auto, true) => StdioPlan::Auto,
            (Terminal::Auto, false) | (Terminal::Inherit, _) => StdioPlan::Inherit,
            (Terminal::Captured, _) => StdioPlan::Captured,
        }),
        SetupOp::User {
            uid,
            gid,
            groups,
            set_groups: target.set_groups,
        },
        SetupOp::Capabilities(target.bounding),
    ];
    if let Some(personality) = target.personality {
        let at = ops.len().saturating_sub(2);
        ops.insert(at, SetupOp::Personality(personality));
    }
    if target.no_new_privs {
        ops.push(SetupOp::NoNewPrivs);
    }
    ops.push(SetupOp::Chdir(match &spec.cwd {
        Some(cwd) => vec![inside(cwd, "working directory")?],
        None => vec!["/".into()],
    }));
    ops.push(SetupOp::CloseDescriptors);
    if target.filtered {
        let mounts = CapSet::number("SYS_ADMIN").is_some_and(|n| target.bounding.has(n));
        ops.push(SetupOp::Seccomp(FilterPlan {
            no_sync: false,
            mounts,
        }));
    }
    let (command, env) = environment(&spec.command, &spec.env, target.account.as_ref())?;
    ops.push(SetupOp::Exec { command, env });
    Ok(JailPlan {
        ops,
        notes: Vec::new(),
        as_pid_1: false,
        fault: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jailed() -> TargetFacts {
        TargetFacts {
            target: JoinTarget::Process(4242),
            differs: ["mnt", "pid", "user"].map(str::to_owned).to_vec(),
            other_root: true,
            caller_root: false,
            ids: Some((0, 0)),
            has_root: true,
            set_groups: true,
            no_new_privs: true,
            filtered: true,
            bounding: CapSet::DEFAULT,
            terminals: true,
            personality: None,
            account: None,
        }
    }

    fn spec() -> EnterSpec {
        EnterSpec {
            command: vec!["id".into()],
            ..EnterSpec::default()
        }
    }

    #[test]
    fn who_goes_in_is_held_by_what_holds_the_process() {
        let plan = plan_enter(&spec(), &jailed()).expect("a plan");
        let has = |wanted: fn(&SetupOp) -> bool| plan.ops.iter().any(wanted);
        assert!(has(|op| matches!(op, SetupOp::NoNewPrivs)));
        assert!(has(|op| matches!(op, SetupOp::Seccomp(_))));
        assert!(has(|op| *op == SetupOp::Capabilities(CapSet::DEFAULT)));
        let free = TargetFacts {
            no_new_privs: false,
            filtered: false,
            bounding: CapSet(u64::MAX >> 23),
            ..jailed()
        };
        let plan = plan_enter(&spec(), &free).expect("a plan");
        assert!(
            !plan
                .ops
                .iter()
                .any(|op| matches!(op, SetupOp::NoNewPrivs | SetupOp::Seccomp(_)))
        );
    }

    #[test]
    fn only_what_differs_can_be_joined() {
        let mut only = spec();
        only.only = vec!["uts".to_owned()];
        assert_eq!(
            plan_enter(&only, &jailed()),
            Err(EnterPlanError::Same {
                target: JoinTarget::Process(4242),
                kind: "uts".to_owned()
            })
        );
        let mut alone = spec();
        alone.only = vec!["mnt".to_owned()];
        assert_eq!(
            plan_enter(&alone, &jailed()),
            Err(EnterPlanError::UsersToo {
                target: JoinTarget::Process(4242)
            })
        );
        let here = TargetFacts {
            differs: Vec::new(),
            other_root: false,
            ..jailed()
        };
        assert_eq!(
            plan_enter(&spec(), &here),
            Err(EnterPlanError::Nowhere {
                target: JoinTarget::Process(4242)
            })
        );
    }

    #[test]
    fn a_root_alone_can_be_joined() {
        let chrooted = TargetFacts {
            differs: Vec::new(),
            caller_root: true,
            ..jailed()
        };
        let plan = plan_enter(&spec(), &chrooted).expect("a plan");
        assert!(
            matches!(&plan.ops[..], [SetupOp::Join(join), ..] if join.root && join.kinds.is_empty())
        );
    }

    #[test]
    fn a_namespace_without_root_is_entered_as_its_own_user() {
        let target = TargetFacts {
            ids: Some((1000, 1000)),
            has_root: false,
            set_groups: false,
            ..jailed()
        };
        let plan = plan_enter(&spec(), &target).expect("a plan");
        assert!(plan.ops.iter().any(|op| matches!(
            op,
            SetupOp::User {
                uid: 1000,
                gid: 1000,
                ..
            }
        )));
    }
}
