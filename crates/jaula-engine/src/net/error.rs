//! What can go wrong with networks.

use crate::error::{Kind, PathError};
use crate::store::StoreError;
use jaula_plan::names::LinkName;
use jaula_plan::net::error::NetPlanError;
use jaula_sys::SysError;
use jaula_sys::error::Errno;

/// Networks that could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// What is asked is refused before anything happens.
    #[error(transparent)]
    Plan(#[from] NetPlanError),
    /// The kernel does not tell.
    #[error("cannot look at the networks")]
    Look {
        /// What it said.
        #[source]
        source: SysError,
    },
    /// The kernel refuses a step; those before it were taken back.
    #[error("cannot {step} (step {number} of {of}){}", if *.undone { "; what was done is undone" } else { "" })]
    Step {
        /// The step in words.
        step: String,
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// Whether steps before it were taken back.
        undone: bool,
        /// What it said.
        #[source]
        source: SysError,
    },
    /// Taking back what was done did not do.
    #[error("cannot undo what was done")]
    Undo(#[source] crate::journal::UndoError),
    /// A link went away meanwhile.
    #[error("the link {name} is gone")]
    Gone {
        /// The link.
        name: LinkName,
    },
    /// The files of ifupdown.
    #[error(transparent)]
    Interfaces(#[from] jaula_plan::net::interfaces::InterfacesError),
    /// Somebody else has the address.
    #[error("{address} is in use: {mac} answers for it by {link}")]
    Taken {
        /// The address.
        address: std::net::IpAddr,
        /// The link by which he was asked.
        link: LinkName,
        /// His card.
        mac: jaula_plan::net::address::Mac,
    },
    /// The firewall of the bridge that a jail joins.
    #[error(transparent)]
    Gateway(#[from] Box<crate::gateway::GatewayFailure>),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file.
    #[error(transparent)]
    Io(#[from] PathError),
    /// Only root may.
    #[error("only root may change the host's networks")]
    NotRoot,
}

impl NetError {
    /// What the kernel said, where it was asked.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Look { source } | Self::Step { source, .. } => Some(source.errno),
            _ => None,
        }
    }

    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Plan(NetPlanError::NoSuchLink { .. }) | Self::Gone { .. } => Kind::NotFound,
            Self::Plan(_) | Self::Taken { .. } | Self::Interfaces(_) => Kind::User,
            Self::Look { .. } | Self::Step { .. } | Self::NotRoot => Kind::KernelRefused,
            Self::Undo(_) => Kind::Internal,
            Self::Gateway(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Io(error) => error.kind(),
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        const EPERM: i32 = 1;
        const EOPNOTSUPP: i32 = 95;
        match self {
            Self::Plan(error) => error.hints(),
            Self::NotRoot => vec![NOT_ROOT.to_owned()],
            Self::Taken { .. } => {
                vec![
                    "take another one, or let jaula find one that is free: --dhcp for a bridge, no ip= for a jail".into(),
                ]
            }
            Self::Step { source, .. } if source.errno.0 == EPERM => vec![NOT_ROOT.to_owned()],
            Self::Step { source, step, .. } if source.errno.0 == EOPNOTSUPP => {
                let kind = ["bond", "vlan", "dummy", "macvlan"]
                    .into_iter()
                    .find(|kind| step.starts_with(&format!("make {kind} ")));
                kind.map(|kind| format!("this kernel has no driver named {kind} (modprobe {kind} loads it where there is one)"))
                    .into_iter()
                    .collect()
            }
            Self::Gateway(error) => error.hints(),
            Self::Store(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

const NOT_ROOT: &str = "run it as root; --plan and --explain show what it would do, and jaula run --net none needs no \
                        rights";
