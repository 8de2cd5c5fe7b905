//! From archives to a tree, without trust: one extractor beneath a directory descriptor, and above it the unpacking of
//! many packages at once with the outcome that dpkg(1) would have, whatever the timing of the threads.

mod aliases;
mod deb;
mod error;
mod extractor;
mod hash;
mod kept;
mod packages;
mod registry;
mod rules;
#[cfg(test)]
mod tests;
mod writer;

pub use aliases::Aliases;
pub use deb::{Deb, Deferred, Laid, Unpacked, Wave};
pub use error::UnpackError;
pub use extractor::{Devices, Extracted, Extractor};
pub use hash::HashReader;
pub use kept::{Kept, Share};
pub use packages::{Arriving, Before, Keeping, Unpacker};
pub use rules::{Diversions, StatOverrides};
pub(crate) use writer::c_name;
