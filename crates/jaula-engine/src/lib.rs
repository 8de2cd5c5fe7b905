//! jaula-engine
