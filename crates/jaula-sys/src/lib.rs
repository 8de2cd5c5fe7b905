//! jaula-sys
