//! What mmdebstrap says: its lines on standard error or in its log file, from the engine's events.

use super::options::Loudness;
use crate::output::{clean, write_stderr};
use jaula_engine::{Event, Observer, Phase};
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The stages in the tool's words. Scripts wait for these lines, so that each is said, and once, also where the store
/// has what the stage would make.
const STAGES: [&str; 6] = [
    "running apt-get update...",
    "downloading packages with apt...",
    "extracting archives...",
    "installing essential packages...",
    "installing remaining packages inside the chroot...",
    "cleaning package lists and apt cache...",
];
/// The one of them that only comes where there is more than the essential packages and apt.
const REMAINING: usize = 4;

/// Speaks for one run.
#[derive(Debug)]
pub struct Voice {
    loudness: Loudness,
    /// How many of [`STAGES`] were reached.
    reached: AtomicUsize,
    /// Whether there is the stage [`REMAINING`].
    remaining: bool,
    /// Whether a hook runs: what it says is for the user, and not only for who wants to hear all.
    hook: AtomicBool,
    /// `--logfile`: nothing is written to standard error then.
    log: Option<Mutex<File>>,
}

impl Voice {
    /// With this loudness, into a file if there is one.
    pub fn new(loudness: Loudness, log: Option<File>) -> Self {
        Self {
            loudness,
            reached: AtomicUsize::new(0),
            remaining: false,
            hook: AtomicBool::new(false),
            log: log.map(Mutex::new),
        }
    }

    /// The same, for a tree of more than the essential packages and apt.
    pub fn of_more(self, remaining: bool) -> Self {
        Self { remaining, ..self }
    }

    /// Says the stages up to this many that were not said yet.
    fn reach(&self, stages: usize) {
        let said = self.reached.fetch_max(stages, Ordering::Relaxed);
        for (number, stage) in STAGES.iter().enumerate().take(stages).skip(said) {
            if number != REMAINING || self.remaining {
                self.info(stage);
            }
        }
    }

    /// The tree is there.
    pub fn made(&self) {
        self.reach(STAGES.len());
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
    fn lends_terminal(&self) -> bool {
        let [input, _, errors] = crate::output::terminals();
        self.log.is_none() && input && errors
    }

    fn event(&self, event: Event) {
        match &event {
            Event::Note { text } => {
                let mut words = text.split(' ').skip(1);
                self.hook
                    .store(words.next() == Some("hook"), Ordering::Relaxed);
            }
            Event::Started { .. } => self.hook.store(false, Ordering::Relaxed),
            _ => {}
        }
        match event {
            Event::Started { phase, .. } => match phase {
                Phase::Indices => self.reach(1),
                Phase::Solve => self.debug("choosing packages"),
                Phase::Fetch => self.reach(2),
                Phase::Unpack => self.reach(3),
                Phase::Configure => self.reach(4),
                Phase::Finish => self.made(),
                Phase::Export => {}
            },
            Event::Note { text } => self.info(&text),
            Event::Output { line } if self.hook.load(Ordering::Relaxed) => self.line(&line),
            Event::Output { line } => self.plain(&line),
            Event::Verified { suite, signers, .. } => {
                self.debug(&format!("{suite} is signed by {}", signers.join(", ")));
            }
            Event::Progress { item, .. } if !item.is_empty() => self.debug(&item),
            Event::Progress { .. } | Event::Finished { .. } | Event::Made { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_is_said_once_and_in_order() {
        let said = |remaining: bool| {
            let place = tempfile::NamedTempFile::new().expect("a file");
            let log = place.reopen().expect("the file");
            let voice = Voice::new(Loudness::Normal, Some(log)).of_more(remaining);
            voice.reach(1);
            voice.reach(3);
            voice.reach(2);
            voice.made();
            std::fs::read_to_string(place.path()).expect("the log")
        };
        let all: Vec<String> = STAGES.iter().map(|stage| format!("I: {stage}\n")).collect();
        assert_eq!(said(true), all.concat());
        assert_eq!(said(false).lines().count(), STAGES.len() - 1);
    }
}
