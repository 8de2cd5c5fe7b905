//! How one limit is enforced, as data.

use crate::explain::{ExplainLine, shown, word};
use crate::spec::limits::{Resource, shown_duration};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A value in a file of a control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The limit it is for, as `--limit` has it; empty for what only makes the others possible.
    pub limit: String,
    /// The file in the group.
    pub file: &'static str,
    /// What is written.
    pub value: String,
}

/// A control group of the jail's own in one hierarchy. Its name is free when it is made: `jaula-` and an identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPlan {
    /// Of the unified hierarchy, or of one of the first version.
    pub unified: bool,
    /// The group in which it is made.
    pub parent: PathBuf,
    /// Controllers that the parent does not give to its children yet (unified only).
    pub enable: Vec<&'static str>,
    /// The controllers of its limits.
    pub controllers: Vec<&'static str>,
    /// Its limits.
    pub settings: Vec<Setting>,
    /// The jail's processes live in a group within, beside which sessions with limits of their own have theirs
    /// (unified only: there a group has processes or groups with controllers, not both).
    pub inner: bool,
}

/// One way in which a limit is enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitOp {
    /// A control group, made and entered before the jail's first process goes on, removed when the last one ended.
    Group(GroupPlan),
    /// setrlimit(2), both the soft and the hard limit.
    Process {
        /// Of what.
        resource: Resource,
        /// None: no limit.
        value: Option<u64>,
    },
    /// setpriority(2).
    Nice(i8),
    /// A clock of the supervisor.
    Time {
        /// When all processes are told to end (SIGTERM).
        after: Duration,
        /// How long after that they are killed.
        kill_after: Duration,
    },
    /// Not enforced (`--best-effort`).
    Without {
        /// The limit as asked.
        limit: String,
        /// Why not.
        why: String,
    },
}

impl LimitOp {
    /// The same as a command of the classic tools.
    pub fn explain(&self) -> ExplainLine {
        match self {
            Self::Group(group) => group.explain(),
            Self::Process { resource, value } => {
                let value = value.map_or("unlimited".to_owned(), |n| n.to_string());
                ExplainLine::new(
                    format!("prlimit --pid $$ --{}={value}:{value}", resource.option()),
                    "a limit of each process; its children inherit it",
                )
            }
            Self::Nice(nice) => ExplainLine::new(
                format!("renice -n {nice} -p $$"),
                "how much it yields to others",
            ),
            Self::Time { after, kill_after } => ExplainLine::new(
                String::new(),
                format!(
                    "timeout --kill-after={} {} before the whole script does the same",
                    shown_duration(*kill_after),
                    shown_duration(*after)
                ),
            ),
            Self::Without { limit, why } => {
                ExplainLine::new(String::new(), format!("{limit} is not enforced: {why}"))
            }
        }
    }
}

impl GroupPlan {
    fn explain(&self) -> ExplainLine {
        let group = self.parent.join("jaula-").into_os_string();
        let group = format!("{}$$", word(group));
        let mut lines = Vec::new();
        for controller in &self.enable {
            lines.push(format!(
                "echo +{controller} >{}",
                word(self.parent.join("cgroup.subtree_control"))
            ));
        }
        lines.push(format!("mkdir {group}"));
        for setting in &self.settings {
            lines.push(format!(
                "echo {} >{group}/{}",
                word(&setting.value),
                setting.file
            ));
        }
        let mut within = String::new();
        if self.inner {
            for controller in &self.controllers {
                lines.push(format!(
                    "echo +{controller} >{group}/cgroup.subtree_control"
                ));
            }
            lines.push(format!("mkdir {group}/jail"));
            within = "/jail".to_owned();
        }
        lines.push(format!("echo $$ >{group}{within}/cgroup.procs"));
        ExplainLine::new(
            lines.join("\n"),
            "limits of all its processes together; rmdir takes the group away when the last one has ended",
        )
    }
}

impl fmt::Display for LimitOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(group) => {
                write!(
                    f,
                    "make a control group in {} for {}",
                    shown(&group.parent),
                    group.controllers.join(" ")
                )?;
                if !group.enable.is_empty() {
                    write!(f, " (enabled there: {})", group.enable.join(" "))?;
                }
                for (n, setting) in group.settings.iter().enumerate() {
                    let before = if n == 0 { ":" } else { "," };
                    write!(f, "{before} {} = {}", setting.file, setting.value)?;
                }
                Ok(())
            }
            Self::Process {
                resource,
                value: Some(value),
            } => write!(f, "limit {} of each process to {value}", resource.key()),
            Self::Process {
                resource,
                value: None,
            } => write!(f, "limit {} of no process", resource.key()),
            Self::Nice(nice) => write!(f, "run at nice {nice}"),
            Self::Time { after, kill_after } => write!(
                f,
                "end it after {}, by force {} later",
                shown_duration(*after),
                shown_duration(*kill_after)
            ),
            Self::Without { limit, why } => write!(f, "go on without {limit}: {why}"),
        }
    }
}
