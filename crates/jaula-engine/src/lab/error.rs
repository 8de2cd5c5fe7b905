//! What can go wrong with a lab.

use crate::error::{Kind, PathError};
use crate::firewall::FilterError;
use crate::store::StoreError;
use jaula_plan::lab::LabPlan;
use jaula_plan::names::JailName;
use jaula_plan::spec::lab::LabError;
use jaula_sys::SysError;

/// A lab cannot be started, looked at or ended.
#[derive(Debug, thiserror::Error)]
pub enum LabRunError {
    /// Its file.
    #[error(transparent)]
    File(#[from] LabError),
    /// A file operation.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// One of that name runs.
    #[error("lab {name} runs already")]
    Exists {
        /// As asked.
        name: JailName,
    },
    /// None of that name is there.
    #[error("there is no lab {name}")]
    NoLab {
        /// As asked.
        name: JailName,
        /// What there is.
        others: Vec<String>,
    },
    /// None runs, and none was named.
    #[error("no lab runs")]
    NoneRuns,
    /// Several run, and none was named.
    #[error("several labs run: {}", .names.join(", "))]
    Several {
        /// They.
        names: Vec<String>,
    },
    /// No node of that name is there.
    #[error("lab {lab} has no node {node:?}")]
    NoNode {
        /// The lab.
        lab: JailName,
        /// As asked.
        node: String,
        /// What there is.
        others: Vec<String>,
    },
    /// It has ended.
    #[error("lab {name} has ended")]
    Ended {
        /// The lab.
        name: JailName,
    },
    /// It does not end.
    #[error("lab {name} does not end: process {pid}")]
    Stuck {
        /// The lab.
        name: JailName,
        /// The process that is waited for.
        pid: u32,
    },
    /// A part of the network.
    #[error("cannot make {what}")]
    Make {
        /// What.
        what: String,
        /// What the kernel said.
        #[source]
        source: SysError,
    },
    /// A router would be none.
    #[error("the kernel does not let {node} hand packets on")]
    Forwarding {
        /// The router.
        node: String,
    },
    /// Nobody there speaks OSPF.
    #[error("{node} cannot find its ways by OSPF: there is no bird")]
    NoDaemon {
        /// The router.
        node: String,
    },
    /// NAT.
    #[error("cannot make NAT for {node}")]
    Nat {
        /// The router.
        node: String,
        /// Why.
        #[source]
        source: FilterError,
    },
    /// Its process said so.
    #[error("cannot start lab {name}: {text}")]
    Start {
        /// The lab.
        name: JailName,
        /// What it said.
        text: String,
    },
    /// Something of a node.
    #[error("cannot {what}: {text}")]
    Node {
        /// What was attempted.
        what: String,
        /// Why not.
        text: String,
        /// The exit code of chroot(1).
        code: u8,
    },
}

impl LabRunError {
    pub(super) fn failed(plan: &LabPlan, text: &str) -> Self {
        Self::Start {
            name: plan.name.clone(),
            text: text.chars().filter(|c| !c.is_control()).collect(),
        }
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::File(_) | Self::Exists { .. } | Self::Several { .. } => Kind::User,
            Self::Io(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::NoLab { .. } | Self::NoneRuns | Self::NoNode { .. } | Self::Ended { .. } => {
                Kind::NotFound
            }
            Self::Stuck { .. } => Kind::Internal,
            Self::NoDaemon { .. } => Kind::NotFound,
            _ => Kind::KernelRefused,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::File(error) => error.hint().map(str::to_owned).into_iter().collect(),
            Self::Store(error) => error.hints(),
            Self::Exists { name } => vec![format!("jaula net lab down {name} ends it")],
            Self::Several { .. } => vec!["--lab NAME says which".to_owned()],
            Self::NoneRuns => vec!["jaula net lab up FILE.toml starts one".to_owned()],
            Self::NoLab { others, .. } if others.is_empty() => {
                vec!["jaula net lab up FILE.toml starts one".to_owned()]
            }
            Self::NoLab { others, .. } | Self::NoNode { others, .. } => {
                vec![format!("there are: {}", others.join(", "))]
            }
            Self::NoDaemon { .. } => vec![
                "apt install bird2; or routing = \"static\", and ways are found when the lab starts".to_owned(),
            ],
            Self::Start { .. } => vec!["jaula doctor says what this host allows".to_owned()],
            _ => Vec::new(),
        }
    }
}
