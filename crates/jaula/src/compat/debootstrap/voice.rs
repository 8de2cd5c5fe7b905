//! What debootstrap says, in its order: the engine's events as its lines, and the same lines for `bootstrap.log`.

use crate::output::{clean, write_stderr, write_stdout};
use jaula_engine::{Event, ImagePlan, Observer, Phase};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Speaks for one run.
#[derive(Debug, Default)]
pub struct Voice {
    /// Standard output belongs to a list: lines go to standard error.
    pub aside: bool,
    /// Say what packages' scripts say, too.
    pub verbose: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    log: String,
    /// Versions of the plan's packages, by name.
    versions: BTreeMap<String, String>,
    required: BTreeSet<String>,
    base: BTreeSet<String>,
    fetched: BTreeSet<String>,
    /// Whether the base system's lines have begun.
    base_begun: bool,
}

impl Voice {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere is no reason to stop speaking.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, state: &mut State, line: &str) {
        let line = clean(line);
        state.log.push_str(&line);
        state.log.push('\n');
        let line = format!("{line}\n");
        if self.aside {
            write_stderr(&line);
        } else {
            // Who stops listening does not stop the work.
            drop(write_stdout(&line));
        }
    }

    /// `I: …`
    pub fn info(&self, text: &str) {
        self.line(&mut self.state(), &format!("I: {text}"));
    }

    /// `W: …`
    pub fn warning(&self, text: &str) {
        self.line(&mut self.state(), &format!("W: {text}"));
    }

    /// `E: …`
    pub fn error(&self, text: &str) {
        self.line(&mut self.state(), &format!("E: {text}"));
    }

    /// A line that belongs to the one before.
    pub fn more(&self, text: &str) {
        self.line(&mut self.state(), text);
    }

    /// The plan whose packages will be heard of.
    pub fn know(&self, plan: &ImagePlan) {
        let mut state = self.state();
        for package in &plan.lock().packages {
            state
                .versions
                .insert(package.name.clone(), package.version.clone());
            let part = match package.role.as_str() {
                "essential" => &mut state.required,
                _ => &mut state.base,
            };
            part.insert(package.name.clone());
        }
    }

    /// Packages that come first, and the others, sorted.
    pub fn parts(&self) -> (Vec<String>, Vec<String>) {
        let state = self.state();
        let list = |part: &BTreeSet<String>| part.iter().cloned().collect();
        (list(&state.required), list(&state.base))
    }

    /// Everything that was said and that scripts wrote.
    pub fn log(&self) -> String {
        self.state().log.clone()
    }

    /// The packages are configured.
    pub fn finish(&self) {
        self.begin_base(&mut self.state(), false);
    }

    /// The last line of a system that is there.
    pub fn done(&self) {
        self.info("Base system installed successfully.");
    }

    fn begin_base(&self, state: &mut State, configuring: bool) {
        if state.base_begun {
            return;
        }
        state.base_begun = true;
        self.line(state, "I: Unpacking the base system...");
        for name in state.base.clone() {
            self.line(state, &format!("I: Unpacking {name}..."));
        }
        if configuring {
            self.line(state, "I: Configuring the base system...");
        }
    }

    fn fetching(&self, state: &mut State, name: &str) {
        if !state.fetched.insert(name.to_owned()) {
            return;
        }
        let version = state.versions.get(name).cloned().unwrap_or_default();
        self.line(state, &format!("I: Retrieving {name} {version}"));
        self.line(state, &format!("I: Validating {name} {version}"));
    }

    fn script(&self, state: &mut State, line: &str) {
        state.log.push_str(&clean(line));
        state.log.push('\n');
        if self.verbose {
            self.line(state, line);
        }
        let Some(rest) = line.strip_prefix("Setting up ") else {
            return;
        };
        let Some(named) = rest.split(' ').next() else {
            return;
        };
        let bare = named.split(':').next().unwrap_or(named);
        if !state.required.contains(bare) {
            self.begin_base(state, true);
        }
        self.line(state, &format!("I: Configuring {named}..."));
    }
}

impl Observer for Voice {
    fn event(&self, event: Event) {
        let mut state = self.state();
        let state = &mut *state;
        match event {
            Event::Started { phase, .. } => match phase {
                // Real debootstrap ends these lines with a blank where a version would be.
                Phase::Indices => self.line(state, "I: Retrieving InRelease "),
                Phase::Solve => {
                    self.line(state, "I: Resolving dependencies of required packages...");
                }
                Phase::Unpack => {
                    self.line(state, "I: Chosen extractor for .deb packages: jaula");
                }
                Phase::Configure => {
                    self.line(state, "I: Installing core packages...");
                    self.line(state, "I: Unpacking required packages...");
                    for name in state.required.clone() {
                        self.line(state, &format!("I: Unpacking {name}..."));
                    }
                    self.line(state, "I: Configuring required packages...");
                }
                Phase::Fetch | Phase::Finish | Phase::Export => {}
            },
            Event::Finished { phase, .. } => match phase {
                Phase::Indices => {
                    self.line(state, "I: Retrieving Packages ");
                    self.line(state, "I: Validating Packages ");
                }
                Phase::Solve => {
                    self.line(state, "I: Resolving dependencies of base packages...");
                }
                _ => {}
            },
            Event::Verified { signers, .. } => {
                self.line(state, "I: Checking Release signature");
                if let Some(key) = signers.last() {
                    self.line(state, &format!("I: Valid Release signature (key id {key})"));
                }
            }
            Event::Progress { phase, item, .. } if !item.is_empty() => match phase {
                Phase::Fetch => self.fetching(state, &item),
                Phase::Unpack if state.required.contains(&item) => {
                    self.line(state, &format!("I: Extracting {item}..."));
                }
                _ => {}
            },
            Event::Output { line } => self.script(state, &line),
            Event::Note { text } => self.line(state, &format!("W: {text}")),
            Event::Progress { .. } | Event::Made { .. } => {}
        }
    }
}
