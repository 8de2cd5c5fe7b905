//! Where an image's packages come from: what the user asked, what the host's own APT sources say, and the table of
//! distributions, made into a list of signed suites.

pub mod address;
mod families;
mod sources;
mod table;
#[cfg(test)]
mod tests;

pub use families::{Families, Family, Relative};
pub use sources::{Keyring, Kind, Origin, Source, Sources, SourcesError, resolve_sources};
pub use table::{Distro, Release, Table, TableError, builtin_names};
