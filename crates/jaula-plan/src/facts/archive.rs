//! What verified archives offer.
