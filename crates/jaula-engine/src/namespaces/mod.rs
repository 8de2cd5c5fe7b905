//! Namespaces: every one that the caller can see.

mod kind;
mod mountinfo;
pub(crate) mod scan;

pub use kind::{NsKind, UnknownKind};
pub use mountinfo::NsMount;
pub use scan::{Found, Namespace, Process, SeenMount, Snapshot, Wanted, path_of, scan};
