//! What was observed of the host and of the archives, read once by the engine's probes.

pub mod apt_conf;
pub mod archive;
pub mod auth;
pub mod cgroup;
pub mod disk;
pub mod elf;
pub mod host;
pub mod jail_sources;
pub mod lab;
pub mod net;
pub mod sources_list;
pub mod target;
