//! What the user asks, before anything is known of the host.

pub mod disk;
pub mod hook;
pub mod jail;
pub mod lab;
pub mod limits;
pub mod mount;
pub mod net;
pub mod recipe;
pub mod rootfs;
pub mod settings;
pub mod source;
