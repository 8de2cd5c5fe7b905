//! Types of `jaula-repo` that stand in the engine's plans and errors, for faces that look into them.

pub use jaula_repo::lock::{Lock, LockPackage, Role};
pub use jaula_repo::solve::SolveError;
pub use jaula_repo::verify::{Rejection, VerifyError};
