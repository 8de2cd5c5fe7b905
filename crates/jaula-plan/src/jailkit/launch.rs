//! What jk_chrootlaunch(8) does: a daemon is started in a jail by chroot(2), as another user. Refusals have its exit
//! codes. Where it is careless it is not followed: supplementary groups go, a user without a named group gets his own and
//! not root's, and a process number that cannot be written is an error.

use crate::direct::accounts::Accounts;
use crate::direct::map::parse_id;
use crate::direct::{Attempt, DirectOp, DirectPlan, Environment, IdFrom, Program};
use crate::explain::shown;
use crate::minimal::Unsafe;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaunchSpec {
    /// The jail's directory.
    pub jail: PathBuf,
    /// The program, by its path in the jail or on the host.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// A user of the host, by name or number.
    pub user: Option<String>,
    /// A group of the host, by name or number.
    pub group: Option<String>,
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchFacts {
    /// Why the jail is not safe.
    pub reasons: Vec<Unsafe>,
    /// The program.
    pub program: ProgramFacts,
    /// The host's.
    pub accounts: Accounts,
}

/// What a program is; a last link is not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramFacts {
    /// Nothing is there.
    Missing,
    /// A link on the way to it leads out of the jail.
    Outside,
    /// A link.
    Link,
    /// Neither a file nor a link.
    NoFile,
    /// A file.
    File {
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Its permission bits.
        mode: u32,
    },
}

/// Why nothing is started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchRefusal {
    /// No jail.
    #[error("a jail must be named with --jail")]
    NoJail,
    /// No program.
    #[error("a program must be named with --exec")]
    NoProgram,
    /// A relative jail.
    #[error("the jail {} must be an absolute path", shown(.0))]
    Relative(PathBuf),
    /// Who could change it could change what is started.
    #[error("{} is not a safe jail: {}", shown(.jail), listed(.reasons))]
    Unsafe {
        /// The jail.
        jail: PathBuf,
        /// Why.
        reasons: Vec<Unsafe>,
    },
    /// The program.
    #[error("the program {} {why}", shown(.path))]
    Program {
        /// Where, on the host.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The user.
    #[error("this host has no user {}", shown(Path::new(.0)))]
    User(String),
    /// The group.
    #[error("this host has no group {}", shown(Path::new(.0)))]
    Group(String),
}

impl LaunchRefusal {
    /// The exit code of the original.
    pub fn code(&self) -> u8 {
        match self {
            Self::User(_) | Self::Group(_) => 1,
            Self::NoJail => 21,
            Self::NoProgram => 23,
            Self::Unsafe { .. } => 25,
            Self::Relative(_) => 27,
            Self::Program { .. } => 29,
        }
    }
}

fn listed(reasons: &[Unsafe]) -> String {
    let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    reasons.join("; ")
}

impl LaunchSpec {
    /// What can be said before anything is looked at.
    ///
    /// # Errors
    /// [`LaunchRefusal::NoJail`], [`LaunchRefusal::NoProgram`], [`LaunchRefusal::Relative`].
    pub fn checked(self) -> Result<Self, LaunchRefusal> {
        if self.jail.as_os_str().is_empty() {
            return Err(LaunchRefusal::NoJail);
        }
        if self.program.as_os_str().is_empty() {
            return Err(LaunchRefusal::NoProgram);
        }
        if !self.jail.is_absolute() {
            return Err(LaunchRefusal::Relative(self.jail));
        }
        Ok(self)
    }

    /// The program's path in the jail.
    pub fn inside(&self) -> PathBuf {
        let program = self.program.strip_prefix(&self.jail);
        let program = program.unwrap_or(&self.program);
        Path::new("/").join(program)
    }

    /// The program's path on the host.
    pub fn outside(&self) -> PathBuf {
        let inside = self.inside();
        self.jail.join(inside.strip_prefix("/").unwrap_or(&inside))
    }
}

/// The plan.
///
/// # Errors
/// The first reason against it, in the original's order.
pub fn plan_launch(spec: &LaunchSpec, facts: &LaunchFacts) -> Result<DirectPlan, LaunchRefusal> {
    let accounts = &facts.accounts;
    let user = spec.user.as_deref().map(|word| {
        let found = match parse_id(word) {
            Some(uid) => accounts.user_of(uid),
            None => accounts.user(word),
        };
        found.ok_or_else(|| LaunchRefusal::User(word.to_owned()))
    });
    let user = user.transpose()?;
    let group = spec.group.as_deref().map(|word| {
        let found = match parse_id(word) {
            Some(gid) => accounts.group_of(gid).map(|_| gid),
            None => accounts.group(word),
        };
        found.ok_or_else(|| LaunchRefusal::Group(word.to_owned()))
    });
    let group = group.transpose()?;
    if !facts.reasons.is_empty() {
        return Err(LaunchRefusal::Unsafe {
            jail: spec.jail.clone(),
            reasons: facts.reasons.clone(),
        });
    }
    if let Some(why) = against(&facts.program) {
        return Err(LaunchRefusal::Program {
            path: spec.outside(),
            why,
        });
    }
    let mut ops = vec![
        DirectOp::Chdir(spec.jail.clone()),
        DirectOp::Chroot(spec.jail.clone()),
        DirectOp::ClearGroups(Attempt::Only),
    ];
    let gid = group.or(user.as_ref().map(|user| user.gid));
    ops.extend(gid.map(|gid| DirectOp::SetGid(IdFrom::Number(gid))));
    ops.extend(user.map(|user| DirectOp::SetUid(IdFrom::Number(user.uid))));
    let name = spec.inside().into_os_string();
    let mut args = vec![name.clone()];
    args.extend(spec.args.iter().cloned());
    Ok(DirectPlan {
        ops,
        program: Program {
            name,
            args,
            path: None,
            env: Environment::Inherited,
        },
    })
}

fn against(program: &ProgramFacts) -> Option<&'static str> {
    match *program {
        ProgramFacts::Missing => Some("is not there"),
        ProgramFacts::Outside => Some("is reached by a link that leads out of the jail"),
        ProgramFacts::Link => Some("is a link; name the file that it leads to"),
        ProgramFacts::NoFile => Some("is not a file"),
        ProgramFacts::File { mode, .. } if mode & 0o6000 != 0 => Some("has set-id bits"),
        ProgramFacts::File { mode, .. } if mode & 0o022 != 0 => {
            Some("can be written by its group or by everybody")
        }
        ProgramFacts::File { uid, gid, .. } if (uid, gid) != (0, 0) => {
            Some("does not belong to root and root's group")
        }
        ProgramFacts::File { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> LaunchFacts {
        LaunchFacts {
            reasons: Vec::new(),
            program: ProgramFacts::File {
                uid: 0,
                gid: 0,
                mode: 0o755,
            },
            accounts: Accounts {
                passwd: b"root:x:0:0::/:/bin/sh\nweb:x:33:44::/:/bin/sh\n".to_vec(),
                group: b"root:x:0:\nweb:x:44:\nadm:x:4:web\n".to_vec(),
            },
        }
    }

    fn spec() -> LaunchSpec {
        LaunchSpec {
            jail: "/srv/j".into(),
            program: "/usr/sbin/d".into(),
            args: vec!["-f".into()],
            ..LaunchSpec::default()
        }
    }

    #[test]
    fn a_user_without_a_named_group_gets_his_own_and_no_others() {
        let spec = LaunchSpec {
            user: Some("web".into()),
            program: "/srv/j/usr/sbin/d".into(),
            ..spec()
        };
        let plan = plan_launch(&spec, &facts()).unwrap();
        assert_eq!(
            plan.ops,
            [
                DirectOp::Chdir("/srv/j".into()),
                DirectOp::Chroot("/srv/j".into()),
                DirectOp::ClearGroups(Attempt::Only),
                DirectOp::SetGid(IdFrom::Number(44)),
                DirectOp::SetUid(IdFrom::Number(33)),
            ]
        );
        assert_eq!(plan.program.args, ["/usr/sbin/d", "-f"]);
    }

    #[test]
    fn what_is_wrong_has_the_codes_of_the_original() {
        let code = |spec: LaunchSpec, facts: &LaunchFacts| {
            let refused = spec.checked().and_then(|spec| plan_launch(&spec, facts));
            refused.map(|_| 0).unwrap_or_else(|refusal| refusal.code())
        };
        let good = facts();
        let user = |word: &str| LaunchSpec {
            user: Some(word.into()),
            ..spec()
        };
        assert_eq!(code(user("33"), &good), 0);
        for word in ["nobody", "34", "-33", ""] {
            assert_eq!(code(user(word), &good), 1, "{word}");
        }
        let group = |word: &str| LaunchSpec {
            group: Some(word.into()),
            ..spec()
        };
        assert_eq!(code(group("44"), &good), 0);
        assert_eq!(code(group("45"), &good), 1);
        let jail = |jail: &str| LaunchSpec {
            jail: jail.into(),
            ..spec()
        };
        assert_eq!(code(jail(""), &good), 21);
        assert_eq!(code(jail("srv/j"), &good), 27);
        let none = LaunchSpec {
            program: PathBuf::new(),
            ..spec()
        };
        assert_eq!(code(none, &good), 23);
        let file = |uid, gid, mode| ProgramFacts::File { uid, gid, mode };
        for program in [
            ProgramFacts::Missing,
            ProgramFacts::Outside,
            ProgramFacts::Link,
            ProgramFacts::NoFile,
            file(0, 0, 0o4755),
            file(0, 0, 0o775),
            file(33, 0, 0o755),
            file(0, 44, 0o755),
        ] {
            let facts = LaunchFacts { program, ..facts() };
            assert_eq!(code(spec(), &facts), 29, "{:?}", facts.program);
        }
    }
}
