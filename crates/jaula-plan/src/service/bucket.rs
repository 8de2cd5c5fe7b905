//! How much may be logged: a bucket of bytes, as jk_socketd(8) fills it.

use std::time::Duration;

/// What a bucket lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Bytes per interval.
    pub base: u32,
    /// Bytes of one interval when the one before stayed below `base`.
    pub peak: u32,
    /// How long an interval is.
    pub interval: Duration,
}

/// jk_socketd's own.
impl Default for Flow {
    fn default() -> Self {
        Self {
            base: 511,
            peak: 2048,
            interval: Duration::from_secs(5),
        }
    }
}

/// Why numbers make no flow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// Out of range.
    #[error("{what} is {value}, and it must be between {least} and {most}")]
    Range {
        /// Which number.
        what: &'static str,
        /// As written.
        value: String,
        /// At least.
        least: &'static str,
        /// At most.
        most: &'static str,
    },
}

impl Flow {
    /// From what is written in an ini file or on a command line.
    ///
    /// # Errors
    /// When a number is none, or out of jk_socketd's ranges.
    pub fn parse(
        base: Option<&str>,
        peak: Option<&str>,
        interval: Option<&str>,
    ) -> Result<Self, BucketError> {
        let default = Self::default();
        let number = |what,
                      text: Option<&str>,
                      default,
                      least: (u32, &'static str),
                      most: (u32, &'static str)| {
            let Some(text) = text else {
                return Ok(default);
            };
            let value = text.trim().parse::<u32>().ok();
            value
                .filter(|value| (least.0..=most.0).contains(value))
                .ok_or_else(|| BucketError::Range {
                    what,
                    value: text.trim().to_owned(),
                    least: least.1,
                    most: most.1,
                })
        };
        let base = number(
            "base",
            base,
            default.base,
            (10, "10"),
            (1_000_000, "1000000"),
        )?;
        let peak = number(
            "peak",
            peak,
            default.peak,
            (100, "100"),
            (10_000_000, "10000000"),
        )?;
        let interval = match interval {
            None => default.interval,
            Some(text) => {
                let seconds = text.trim().parse::<f64>().ok();
                let seconds = seconds.filter(|seconds| (0.01..=60.0).contains(seconds));
                let seconds = seconds.ok_or_else(|| BucketError::Range {
                    what: "interval",
                    value: text.trim().to_owned(),
                    least: "0.01",
                    most: "60",
                })?;
                Duration::from_secs_f64(seconds)
            }
        };
        Ok(Self {
            base,
            peak,
            interval,
        })
    }
}

/// What has flowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    flow: Flow,
    /// When the interval began, since whatever the caller counts from.
    since: Duration,
    used: u64,
    /// Whether the interval before stayed below `base`.
    quiet: bool,
}

impl Bucket {
    /// An empty one.
    pub fn new(flow: Flow, now: Duration) -> Self {
        Self {
            flow,
            since: now,
            used: 0,
            quiet: true,
        }
    }

    /// Takes bytes; how long the sender has to wait now. The bytes have passed in any case.
    pub fn take(&mut self, bytes: usize, now: Duration) -> Option<Duration> {
        let length = self.flow.interval;
        let passed = now.saturating_sub(self.since);
        if passed >= length {
            // A whole interval without a byte is a quiet one too.
            self.quiet =
                self.used < u64::from(self.flow.base) || passed >= length.saturating_mul(2);
            self.since = now;
            self.used = 0;
        }
        self.used = self.used.saturating_add(bytes as u64);
        let most = if self.quiet {
            self.flow.peak.max(self.flow.base)
        } else {
            self.flow.base
        };
        (self.used > u64::from(most)).then(|| {
            let left = self.since.saturating_add(length).saturating_sub(now);
            left.max(Duration::from_millis(1))
        })
    }
}
