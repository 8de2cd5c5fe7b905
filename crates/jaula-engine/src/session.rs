//! Who the engine works as. See [`enter`].

use std::sync::atomic::{AtomicU32, Ordering};

/// How many identifiers the session of this process has; 0 without one.
static IDS: AtomicU32 = AtomicU32::new(0);

/// How many identifiers the session of this process has, from 0; none when it works as whoever started it.
pub fn ids() -> Option<u32> {
    match IDS.load(Ordering::Relaxed) {
        0 => None,
        ids => Some(ids),
    }
}
