//! Where an image's packages come from: what the user asked, what the host's own APT sources say, and the table of
//! distributions, made into a list of signed suites.

pub mod address;
mod families;
mod image_sources;
mod nearest;
mod resolve;
mod sources;
mod table;
#[cfg(test)]
mod tests;

pub use families::{Families, Family, Relative};
pub use image_sources::AptFile;
pub(crate) use nearest::nearest;
pub use resolve::{moment, resolve_sources};
pub use sources::{Keyring, Kind, Origin, Source, Sources, SourcesError};
pub use table::{Distro, Release, Table, TableError, builtin_names};
