//! What a jail's network takes.

use super::JailPlanError;
use crate::facts::host::{CallerKind, HostFacts};
use crate::net::error::NetPlanError;
use crate::net::guest::{GuestFacts, plan_guest};
use crate::net::names::NamePlan;
use crate::net::nat::NatPlan;
use crate::setup_op::SetupOp;
use crate::spec::jail::{JailNet, JailSpec};

/// The jail's cards, or the network namespace that it goes into.
pub(super) fn plan(
    spec: &JailSpec,
    facts: &HostFacts,
    own_user: bool,
) -> Result<Option<SetupOp>, JailPlanError> {
    let root = facts.caller.kind == CallerKind::Root;
    let none = GuestFacts::default();
    let known = facts.net.as_ref().unwrap_or(&none);
    match &spec.net {
        JailNet::None | JailNet::Host => Ok(None),
        JailNet::Links(_) | JailNet::Namespace(_) if !root => Err(NetPlanError::NotRoot.into()),
        JailNet::Links(links) => {
            let lessee = spec.lessee.clone().ok_or(NetPlanError::NotRoot)?;
            let links = plan_guest(links, &lessee.holder, known)?;
            Ok(Some(SetupOp::Links { links, lessee }))
        }
        JailNet::Namespace(name) => match &known.namespace {
            Some(path) => Ok(Some(SetupOp::Network {
                name: name.clone(),
                path: path.clone(),
            })),
            None => Err(NetPlanError::NoNamespace { name: name.clone() }.into()),
        },
        JailNet::Nat(wanted) => Ok(Some(SetupOp::Nat(NatPlan::new(wanted, own_user, known)?))),
    }
}

/// What the jail is told of names, by what connects it.
pub(super) fn names(ops: &[SetupOp], facts: &HostFacts) -> Option<SetupOp> {
    let none = GuestFacts::default();
    let known = facts.net.as_ref().unwrap_or(&none);
    let names = ops.iter().find_map(|op| match op {
        SetupOp::Nat(nat) => Some(NamePlan::server(nat.resolver().into())),
        SetupOp::Links { links, lessee } => NamePlan::of_links(links, &lessee.holder, known),
        _ => None,
    })?;
    let told = names.resolv_conf().is_some() || names.hosts().is_some();
    told.then_some(SetupOp::Names(names))
}
