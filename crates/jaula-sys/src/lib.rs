//! The kernel: the only crate with `unsafe` and raw system calls. No policy.

pub mod attempt;
pub mod beneath;
pub mod caps;
pub mod cgroup;
pub mod child;
pub mod content;
pub mod detach;
pub mod dir;
pub mod direct;
pub mod disk_op;
pub mod error;
pub mod idmap;
pub mod joining;
pub mod landlock;
pub mod lent;
pub mod limits;
pub mod loopdev;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod overlay;
mod page;
mod place;
pub mod process;
pub mod procfs;
pub mod pty;
pub mod sandbox;
pub mod seccomp;
pub mod server;
pub mod signal;
pub mod spawn;
mod start;
pub mod tree;
pub mod userns;
pub mod watch;

pub use error::SysError;
