//! Bytes from a mirror (`http:`, `https:`, `file:`) into the store: several at once, resumed, retried, and counted and
//! hashed as they are written, so that what is kept is what was checked.

mod client;
mod download;
mod error;
mod resolver;
#[cfg(test)]
mod tests;

pub use client::{Client, Proxies, Settings, Small};
pub use download::{Wanted, download_all};
pub use error::FetchError;
