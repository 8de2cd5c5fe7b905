//! The ISO 9660 reader against images made here, images of the usual tools, and hostile ones.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    missing_docs
)]

mod entry;
mod hostile;
mod kinds;
mod shown;
mod smoke;
mod tools;
mod writer;
