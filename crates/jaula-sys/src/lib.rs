//! jaula-sys
pub mod dir;
