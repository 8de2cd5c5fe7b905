//! What can go wrong while a jail is started.

/// A jail could not be started.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// Not there yet.
    #[error("running is not part of this build")]
    NotYet,
}
