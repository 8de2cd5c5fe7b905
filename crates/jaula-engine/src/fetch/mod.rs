//! Bytes from an archive (`http:`, `https:`, `file:`, `copy:`, `cdrom:`) into the store: several at once, resumed, retried, and counted and
//! hashed as they are written, so that what is kept is what was checked.

mod apt_config;
mod client;
mod download;
mod error;
mod local;
mod login;
mod resolver;
pub(crate) use resolver::servers;
#[cfg(test)]
mod tests;
mod tls;

pub use apt_config::AptConfig;
pub use client::{Client, Proxies, Settings, Small};
pub use download::{Wanted, download_all};
pub use error::FetchError;
