//! The plans that the faces print and hand back.

pub use crate::image::ImagePlan;

use jaula_plan::explain::ExplainLine;
use jaula_plan::step::{Plan, Step};
use serde_json::{Value, json};
use std::fmt;

/// Every plan can be printed (`--plan`), serialised (`--json`) and explained (`--explain`).
pub trait Preview: fmt::Display {
    /// The plan as data, with a `version`.
    fn to_json(&self) -> Value;

    /// The plan as commands of the classic tools.
    fn explain(&self) -> Vec<ExplainLine>;
}

/// A plan of lasting changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepPlan {
    plan: Plan,
}

impl StepPlan {
    /// Nothing to do.
    pub fn empty(title: &str) -> Self {
        Self {
            plan: Plan::new(title, Vec::new()),
        }
    }

    pub(crate) fn new(title: String, steps: Vec<Step>) -> Self {
        Self {
            plan: Plan::new(title, steps),
        }
    }

    /// The changes, in order.
    pub fn steps(&self) -> &[Step] {
        &self.plan.steps
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.plan.steps.is_empty()
    }
}

impl fmt::Display for StepPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.fmt(f)
    }
}

impl Preview for StepPlan {
    fn to_json(&self) -> Value {
        json!({ "version": 1, "plan": &self.plan })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        self.plan.explain()
    }
}
