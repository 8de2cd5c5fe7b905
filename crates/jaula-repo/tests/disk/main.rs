//! Disk images as trees: those of the usual tools against the directory they were made of, and hostile ones.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    missing_docs
)]

mod entry;
mod hostile;
mod tools;
mod writer;
