//! The kernel: the only crate with `unsafe` and raw system calls. No policy.

pub mod beneath;
pub mod detach;
pub mod dir;
pub mod error;
pub mod overlay;
pub mod process;
pub mod tree;

pub use error::SysError;
