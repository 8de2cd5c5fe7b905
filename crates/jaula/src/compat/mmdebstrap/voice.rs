//! What mmdebstrap says: its lines on standard error or in its log file, from the engine's events.

use super::options::Loudness;
use crate::output::{clean, write_stderr};
use jaula_engine::{Event, Observer, Phase};
use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// Speaks for one run.
#[derive(Debug)]
pub struct Voice {
    loudness: Loudness,
    /// `--logfile`: nothing is written to standard error then.
    log: Option<Mutex<File>>,
}

impl Voice {
    /// With this loudness, into a file if there is one.
    pub fn new(loudness: Loudness, log: Option<File>) -> Self {
        let log = log.map(Mutex::new);
        Self { loudness, log }
    }

    fn line(&self, text: &str) {
        let text = format!("{}\n", clean(text));
        match &self.log {
            None => write_stderr(&text),
            Some(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                // A log that cannot be written is no reason to stop making what was asked.
                drop(file.write_all(text.as_bytes()));
            }
        }
    }

    /// `E: …`
    pub fn error(&self, text: &str) {
        self.line(&format!("E: {text}"));
    }

    /// `W: …`, unless quiet.
    pub fn warning(&self, text: &str) {
        if self.loudness > Loudness::Quiet {
            self.line(&format!("W: {text}"));
        }
    }

    /// `I: …`, unless quiet.
    pub fn info(&self, text: &str) {
        if self.loudness > Loudness::Quiet {
            self.line(&format!("I: {text}"));
        }
    }

    /// `D: …`, when asked for.
    pub fn debug(&self, text: &str) {
        if self.loudness >= Loudness::Debug {
            self.line(&format!("D: {text}"));
        }
    }

    /// A line of a program's, or of a list.
    pub fn plain(&self, text: &str) {
        if self.loudness >= Loudness::Verbose {
            self.line(text);
        }
    }
}

impl Observer for Voice {
    fn event(&self, event: Event) {
        match event {
            Event::Started { phase, .. } => match phase {
                Phase::Indices => self.info("running apt-get update..."),
                Phase::Solve => self.debug("choosing packages"),
                Phase::Fetch => self.info("downloading packages with apt..."),
                Phase::Unpack => self.info("extracting archives..."),
                Phase::Configure => {
                    self.info("installing essential packages...");
                    self.info("installing remaining packages inside the chroot...");
                }
                Phase::Finish => self.info("cleaning package lists and apt cache..."),
                Phase::Export => {}
            },
            Event::Note { text } => self.info(&text),
            Event::Output { line } => self.plain(&line),
            Event::Verified { suite, signers, .. } => {
                self.debug(&format!("{suite} is signed by {}", signers.join(", ")));
            }
            Event::Progress { item, .. } if !item.is_empty() => self.debug(&item),
            Event::Progress { .. } | Event::Finished { .. } | Event::Made { .. } => {}
        }
    }
}
