//! jaula-plan
