//! Long work, shown on standard error: bars on a terminal, plain lines in a pipe when asked for, one JSON object a
//! line with `--json`.
//!
//! No bar has a thread of its own (indicatif starts one only for steady ticks): the process must have one thread
//! when it clones. A bar goes when its phase ends, so none is left when a jail takes the terminal.

use crate::output::{JSON_VERSION, bytes, clean, write_stderr};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jaula_engine::{Event, Observer, Phase};
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Silent,
    Json,
    Bars,
    Lines,
}

/// The observer of the command line.
#[derive(Debug)]
pub struct Progress {
    manner: Manner,
    /// 1: phases and what was made; 2: every item and every line of a package's script.
    verbose: u8,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    multi: Option<MultiProgress>,
    bars: Vec<Bar>,
}

#[derive(Debug)]
struct Bar {
    phase: Phase,
    bar: ProgressBar,
    items: u64,
    bytes: u64,
}

impl Progress {
    /// As the options and the terminal say.
    pub fn new(json: bool, quiet: bool, verbose: u8, terminal: bool) -> Self {
        let manner = match (json, quiet, terminal) {
            (true, ..) => Manner::Json,
            (_, true, _) => Manner::Silent,
            (.., true) => Manner::Bars,
            _ => Manner::Lines,
        };
        Self {
            manner,
            verbose,
            state: Mutex::new(State::default()),
        }
    }

    /// Removes every bar: something else is about to write to the terminal.
    pub fn clear(&self) {
        let mut state = self.state();
        for bar in state.bars.drain(..) {
            bar.bar.finish_and_clear();
        }
        state.multi = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere is no reason to stop showing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: &str) {
        let text = clean(text);
        match &self.state().multi {
            Some(multi) => multi.suspend(|| write_stderr(&format!("{text}\n"))),
            None => write_stderr(&format!("{text}\n")),
        }
    }

    fn words(&self, event: &Event) {
        match event {
            Event::Note { text } => self.line(&format!("note: {text}")),
            Event::Made { what, path } if self.verbose > 0 => {
                self.line(&format!("made {what} {}", path.display()))
            }
            Event::Finished {
                phase,
                items,
                bytes: size,
                millis,
            } if self.verbose > 0 => {
                let amount = if *size > 0 {
                    format!(", {}", bytes(*size))
                } else {
                    String::new()
                };
                let seconds = *millis as f64 / 1000.0;
                self.line(&format!(
                    "{}: {items} items{amount} in {seconds:.2} s",
                    phase_name(*phase)
                ));
            }
            Event::Progress { phase, item, .. } if self.verbose > 1 && !item.is_empty() => {
                self.line(&format!("{}: {item}", phase_name(*phase)));
            }
            Event::Output { line } if self.verbose > 1 => self.line(&format!("  | {line}")),
            _ => {}
        }
    }

    fn draw(&self, event: &Event) {
        let mut state = self.state();
        match event {
            Event::Started {
                phase,
                items,
                bytes,
            } => {
                let multi = state.multi.get_or_insert_with(|| {
                    MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(15))
                });
                let mut bar = Bar {
                    phase: *phase,
                    // Not drawn before it has its style.
                    bar: ProgressBar::hidden(),
                    items: *items,
                    bytes: *bytes,
                };
                bar.restyle();
                bar.bar.set_prefix(phase_name(*phase));
                bar.bar = multi.add(bar.bar);
                // A phase whose totals become known starts again.
                if let Some(old) = state.take(*phase) {
                    old.bar.finish_and_clear();
                }
                state.bars.push(bar);
            }
            Event::Progress {
                phase,
                items,
                bytes,
                item,
            } => {
                let Some(bar) = state.bars.iter().find(|bar| bar.phase == *phase) else {
                    return;
                };
                bar.bar
                    .set_position(if bar.bytes > 0 { *bytes } else { *items });
                let count = if bar.bytes > 0 && bar.items > 0 {
                    format!("{items}/{} ", bar.items)
                } else {
                    String::new()
                };
                bar.bar.set_message(format!("{count}{}", clean(item)));
            }
            Event::Finished { phase, .. } => {
                if let Some(bar) = state.take(*phase) {
                    bar.bar.finish_and_clear();
                }
                if state.bars.is_empty() {
                    state.multi = None;
                }
            }
            _ => {}
        }
    }
}

impl State {
    fn take(&mut self, phase: Phase) -> Option<Bar> {
        let at = self.bars.iter().position(|bar| bar.phase == phase)?;
        Some(self.bars.remove(at))
    }
}

impl Bar {
    fn restyle(&mut self) {
        let (length, template) = match (self.bytes, self.items) {
            (0, 0) => (0, "{prefix:<10} {elapsed} {wide_msg}"),
            (0, items) => (
                items,
                "{prefix:<10} {bar:24} {pos}/{len} {per_sec} {wide_msg}",
            ),
            (bytes, _) => (
                bytes,
                "{prefix:<10} {bar:24} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {wide_msg}",
            ),
        };
        self.bar.set_length(length);
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: Event) {
        match self.manner {
            Manner::Silent => {}
            Manner::Json => {
                if let Ok(Value::Object(fields)) = serde_json::to_value(&event) {
                    let mut object = serde_json::Map::new();
                    object.insert("version".to_owned(), json!(JSON_VERSION));
                    object.extend(fields);
                    write_stderr(&format!("{}\n", Value::Object(object)));
                }
            }
            Manner::Bars => {
                self.draw(&event);
                self.words(&event);
            }
            Manner::Lines => self.words(&event),
        }
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Indices => "indices",
        Phase::Solve => "solve",
        Phase::Fetch => "fetch",
        Phase::Unpack => "unpack",
        Phase::Configure => "configure",
        Phase::Finish => "finish",
        Phase::Export => "export",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_leave_with_their_phase() {
        let progress = Progress::new(false, false, 0, true);
        for (items, bytes) in [(0, 0), (3, 0), (3, 900)] {
            progress.event(Event::Started {
                phase: Phase::Fetch,
                items,
                bytes,
            });
            let item = "dpkg\x1b[2J".to_owned();
            progress.event(Event::Progress {
                phase: Phase::Fetch,
                items: 1,
                bytes: 300,
                item,
            });
            assert_eq!(progress.state().bars.len(), 1);
        }
        progress.event(Event::Finished {
            phase: Phase::Fetch,
            items: 3,
            bytes: 900,
            millis: 5,
        });
        assert!(progress.state().bars.is_empty());
        assert!(progress.state().multi.is_none());
    }

    #[test]
    fn every_template_is_well_formed() {
        for (items, bytes) in [(0, 0), (3, 0), (3, 900)] {
            let mut bar = Bar {
                phase: Phase::Unpack,
                bar: ProgressBar::hidden(),
                items,
                bytes,
            };
            bar.restyle();
            assert_eq!(
                bar.bar.length(),
                Some(if bytes > 0 { bytes } else { items })
            );
        }
    }
}
