//! jaula-sys
pub mod dir;
pub mod tree;
