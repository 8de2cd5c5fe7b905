//! jaula-repo
