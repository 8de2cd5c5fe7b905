//! Control groups: where they can be made, those of a jail, and what they tell.
//!
//! A jail with limits has a group of its own in every hierarchy that holds one of them, made exclusively under a new
//! name (`jaula-` and an identifier) and noted in the store's journal before. The jail's first process is put into
//! them while it waits to be let on, so nothing of the program ever runs outside. At the end whatever is left in them
//! is killed and they are removed; what a killed jaula leaves, [`crate::recover`] removes.

mod figures;
mod groups;
mod probe;

pub use figures::{Figures, figures};
pub(crate) use groups::tell_of_missing;
pub use groups::{Groups, HeldLimit, remove_group};
pub use probe::{facts, facts_at};
pub(crate) use probe::{hard_limits, number as resource_number};

/// What the names of our groups begin with.
pub const PREFIX: &str = "jaula-";
