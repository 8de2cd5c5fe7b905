//! What the tests of jaula stand on: small signed Debian repositories written by code, a real
//! partial mirror, a faulty web server, a hermetic environment, namespaces that play the host,
//! and a snapshot of the host that shows whether anything was left behind.
//!
//! Nothing here is shipped. It may start programs and it fails loudly: errors are `anyhow`.
#![forbid(unsafe_code)]

pub mod deb;
pub mod digest;
pub mod guest;
pub mod hermetic;
pub mod kernel;
pub mod keys;
pub mod mirror;
pub mod relative;
pub mod repo;
pub mod server;
pub mod skip;
pub mod small;
pub mod snapshot;
pub mod source;

pub use deb::{Compression, Deb, DebBuilder};
pub use guest::{Guest, GuestRan};
pub use hermetic::{Hermetic, Ran};
pub use keys::TestKey;
pub use mirror::{MirrorWish, Variant, partial_mirror};
pub use repo::{Repo, RepoBuilder};
pub use server::{Fault, Server};
pub use snapshot::HostSnapshot;
