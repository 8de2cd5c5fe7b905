//! Services in jails: what is to run, how it is watched, and the units of systemd that start it.

mod bucket;
mod known;
mod unit;

pub use bucket::{Bucket, BucketError, Flow};
pub use known::{Known, known};
pub use unit::{Listen, MARK, Unit, UnitError, UnitSpec, is_ours, quoted, unit_names, units};

use std::time::Duration;

/// When a service that has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Never: whoever started jaula does that.
    Never,
    /// When it ended with another code than 0, and nobody asked it to.
    #[default]
    OnFailure,
    /// Whenever it ended and nobody asked it to.
    Always,
}

impl Restart {
    /// Whether one that ended with this code is started again.
    pub fn again(self, code: u8) -> bool {
        match self {
            Self::Never => false,
            Self::OnFailure => code != 0,
            Self::Always => true,
        }
    }
}

/// The first pause before a service is started again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// One that ran as long as this starts afresh.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// The pauses between starts: each twice as long as the one before, until a run lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff(Duration);

impl Default for BackOff {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl BackOff {
    /// The pause after a run of this length.
    pub fn after(&mut self, ran: Duration) -> Duration {
        if ran >= GOOD_RUN {
            *self = Self::default();
        }
        let pause = self.0;
        self.0 = pause.saturating_mul(2).min(LONGEST_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests;
