//! Namespaces: every one that the caller can see, and those that are kept by name.

mod keep;
mod kept;
mod kind;
mod mountinfo;
pub(crate) mod scan;

pub use keep::{KeepPlan, KeepSource, keep, let_go_of, plan_keep, plan_let_go, takes_processes};
pub use kept::{KeepError, Kept, Opened, all_kept, find_kept, kept};
pub(crate) use kept::{holds_files_of, remove_mounts};
pub use kind::{NsKind, UnknownKind};
pub use mountinfo::NsMount;
pub(crate) use mountinfo::mounts;
pub use scan::{Found, Namespace, Process, SeenMount, Snapshot, Wanted, path_of, scan};
