//! Deciding, as data: what the user asks ([`spec`]) and what the host is ([`facts`]) become a plan that can be
//! printed, explained and compared before anything happens. Nothing here reads the host, the clock or chance.
#![forbid(unsafe_code)]

pub mod account;
pub mod binfmt;
pub mod bwrap;
pub mod device;
pub mod direct;
pub mod disk;
pub mod emperor;
pub mod enter;
pub mod explain;
pub mod facts;
pub mod gateway;
pub mod jail;
pub mod jailkit;
pub mod lab;
pub mod landlock;
pub mod limit_op;
pub mod minimal;
pub mod names;
pub mod net;
pub mod nft;
pub mod output;
pub mod path_filter;
pub mod personality;
pub mod rootfs;
pub mod seccomp;
pub mod service;
pub mod settings;
pub mod setup_op;
pub mod spec;
pub mod step;
pub mod trace;
