//! The parts of limits that the child does itself.

use super::{Lowered, Lowering};
use crate::cgroup::resource_number;
use jaula_plan::limit_op::LimitOp as Planned;
use jaula_sys::child::Op;
use jaula_sys::limits::{LimitOp, UNLIMITED};

impl Lowering<'_> {
    pub(super) fn limit(&mut self, limit: &Planned) {
        match limit {
            Planned::Process { resource, value } => self.last(Op::Limit(LimitOp::Process {
                resource: resource_number(*resource),
                value: value.unwrap_or(UNLIMITED),
            })),
            Planned::Nice(nice) => self.last(Op::Limit(LimitOp::Nice((*nice).into()))),
            // Done by the supervisor.
            Planned::Group(_) | Planned::Time { .. } | Planned::Without { .. } => {}
        }
    }

    /// The namespace of control groups is made late: its root is the group that the process is in at that moment.
    pub(super) fn own_groups(&mut self) {
        if self.grouped && self.out.namespaces.cgroup {
            self.first(Op::Limit(LimitOp::OwnGroups));
        }
    }
}

impl Lowered {
    /// What a process that joins does before anything else: it waits until it has been put into its groups.
    pub(in crate::jail) fn wait_for_groups(&mut self) {
        self.prepend(Op::Await(Vec::new()));
    }
}
