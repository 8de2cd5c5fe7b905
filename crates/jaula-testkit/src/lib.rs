//! jaula-testkit
