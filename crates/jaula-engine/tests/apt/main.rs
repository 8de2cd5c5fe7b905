//! The same questions to this solver and to the host's APT, in a root of APT's own that touches nothing of the host.

mod parity;
mod policy;
mod root;
mod versions;
