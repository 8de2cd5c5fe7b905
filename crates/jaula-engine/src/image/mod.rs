//! From an [`ImageSpec`](jaula_plan::spec::rootfs::ImageSpec) to a finished image: [`plan`] reads and verifies indices
//! and chooses packages; [`build`] fetches, unpacks, configures, and hands the tree to the store.
//!
//! Packages that were unpacked before are not unpacked again: [`crate::unpack`] keeps them. Where trees share their
//! files, scripts run in a layer above ([`layer`]).
//!
//! An image that adds packages to one the store already has is made from that one, whose files it shares; only what is missing is
//! fetched and unpacked. Its scripts ran in another order than in an image made whole, so its bytes need not be those of
//! such an image: it has a digest of its own, made from its lock and its base's. Where bytes count ([`Way::Whole`]),
//! it is made from nothing.

mod apt_files;
mod archs;
mod arrivals;
mod base;
mod build;
mod cache;
mod collection;
mod database;
mod debs;
mod error;
mod finish;
pub(crate) mod foreign;
mod guards;
mod hold;
mod hooks;
mod identity;
mod indices;
mod layer;
mod layout;
mod leave;
mod lists;
mod locked;
mod mismatch;
mod normalise;
mod origin;
mod plan;
mod release;
mod repositories;
mod settings;
mod solve;
mod solved;
#[cfg(test)]
mod tests;
pub mod unfinished;
mod verbs;

pub use build::build;
pub use cache::deb_name;
pub use collection::{Collection, CollectionError};
pub use error::BuildError;
pub use finish::{FinishPlan, FinishSpec, Finished};
#[cfg(test)]
pub(crate) use guards::{ASIDE, NO_STARTER, STARTERS};
pub use hold::{Hold, absent};
pub use hooks::{HookError, transfer};
pub use locked::plan_locked;
pub use mismatch::Mismatch;
pub use origin::Origin;
pub use plan::{Base, Host, ImagePlan, PlannedPackage, Way, apt_facts, plan};
pub use repositories::Repositories;
pub use verbs::Fetched;
pub(crate) use verbs::Logins;
