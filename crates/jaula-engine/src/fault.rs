//! Faults made on purpose, so that tests can stop every change at every point and look at what is left.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};

/// What happens at the chosen point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The operation fails.
    Fail,
    /// The process is killed.
    Kill,
}

/// Counts the points that a change passes, and strikes at one of them.
#[derive(Debug)]
pub struct Faults {
    left: AtomicI64,
    mode: Mode,
}

impl Faults {
    /// Strikes at the point after `points` others.
    pub fn after(points: u32, mode: Mode) -> Self {
        Self {
            left: AtomicI64::new(points.into()),
            mode,
        }
    }

    /// Whether it has struck.
    pub fn struck(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    /// A point between two effects. Each is struck at most once.
    ///
    /// # Errors
    /// The made-up one.
    pub fn point(&self) -> io::Result<()> {
        match (self.left.fetch_sub(1, Ordering::SeqCst), self.mode) {
            (0, Mode::Fail) => Err(io::Error::other("a fault made on purpose")),
            (0, Mode::Kill) => jaula_sys::dir::kill_self(),
            _ => Ok(()),
        }
    }
}
