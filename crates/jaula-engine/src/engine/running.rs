//! The verbs of what runs: named jails that have sessions, and runs in the background.

use super::Engine;
use crate::cgroup::{Figures, figures};
use crate::detached::{self, Ended, Entry, Target};
use crate::error::EngineError;
use crate::event::{Event, Observer};
use crate::named::NamedError;
use crate::plan::StepPlan;
use crate::run::RunPlan;
use jaula_plan::jail::JailPlan;
use jaula_plan::names::JailName;
use jaula_plan::setup_op::{RootPlan, SetupOp};
use jaula_plan::step::Step;
use std::path::PathBuf;
use std::time::Duration;

impl Engine {
    /// Makes the image when it is missing, and runs the jail in the background; returns when its program runs.
    pub fn run_detached(
        &self,
        plan: &RunPlan,
        observer: &dyn Observer,
    ) -> Result<Entry, EngineError> {
        let Some(detach) = &plan.detach else {
            return Err(EngineError::Foreign {
                step: "run in the foreground".to_owned(),
            });
        };
        self.run_by(plan, observer, |jail| {
            crate::cgroup::tell_of_missing(jail, observer);
            let image = self.image_of(jail)?;
            let started = detached::start(
                &self.store,
                &detach.name,
                jail,
                image.as_ref(),
                detach.logged,
            );
            Ok(started?)
        })
    }

    /// The image of the store that a jail stands on.
    fn image_of(&self, plan: &JailPlan) -> Result<Option<crate::view::Image>, EngineError> {
        let root = plan.ops.iter().find_map(|op| match op {
            SetupOp::Root(RootPlan::Tree { dir, .. }) => Some(dir),
            _ => None,
        });
        let digest = root
            .and_then(|root| {
                root.strip_prefix(self.store.root().join("images"))
                    .ok()?
                    .iter()
                    .next()?
                    .to_str()
            })
            .and_then(|name| name.parse().ok());
        Ok(match digest {
            Some(digest) => self.store.image(&digest)?,
            None => None,
        })
    }

    /// Refuses a name for a run in the background that is taken; a name that is free when none was asked for.
    pub(crate) fn run_name(&self, asked: Option<&JailName>) -> Result<JailName, EngineError> {
        if let Some(name) = asked {
            detached::refuse_taken(&self.store, name)?;
            return Ok(name.clone());
        }
        let id = self.store.fresh_id()?;
        let short: String = id.chars().take(8).collect();
        format!("run-{short}")
            .parse()
            .map_err(|_| EngineError::Absent {
                what: "a name for the run",
            })
    }

    /// What removing a run in the background takes; one that goes on only when `force`.
    pub(crate) fn plan_rm_run(&self, entry: &Entry, force: bool) -> Result<StepPlan, EngineError> {
        let name = &entry.name;
        let mut steps = Vec::new();
        if entry.is_alive() {
            if !force {
                detached::refuse_running(&self.store, name)?;
            }
            steps.push(Step::StopJail {
                name: name.clone(),
                pid: entry.running.pid,
            });
        }
        steps.push(Step::RemoveRun {
            name: name.clone(),
            path: detached::log_path(&self.store, name),
        });
        Ok(StepPlan::new(format!("remove run {name}"), steps))
    }

    /// Everything that runs, by name. What cannot be read is left out and noted.
    pub fn running(&self, observer: &dyn Observer) -> Result<Vec<Target>, EngineError> {
        let (records, mut notes) = crate::named::records(&self.store)?;
        let (entries, more) = detached::entries(&self.store)?;
        notes.extend(more);
        for text in notes {
            observer.event(Event::Note { text });
        }
        let named = records.into_iter().filter_map(|record| {
            let running = crate::named::running(&self.store, &record.name)?;
            Some(Target::Named(record.name, running))
        });
        let runs = entries.into_iter().filter(Entry::is_alive);
        let mut all: Vec<Target> = named
            .chain(runs.map(|entry| Target::Detached(Box::new(entry))))
            .collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(all)
    }

    /// Every run in the background, ended ones too.
    pub fn runs(&self, observer: &dyn Observer) -> Result<Vec<Entry>, EngineError> {
        let (entries, notes) = detached::entries(&self.store)?;
        for text in notes {
            observer.event(Event::Note { text });
        }
        Ok(entries)
    }

    /// The run in the background of this name, ended or not; none when it is no such run.
    pub fn run_entry(&self, name: &JailName) -> Result<Option<Entry>, EngineError> {
        Ok(detached::entry(&self.store, name)?)
    }

    /// What runs under this name, or has this process in it.
    ///
    /// # Errors
    /// [`NamedError::NotRunning`], [`NamedError::NoSuchJail`], [`NamedError::NoJailOf`].
    pub fn target(&self, word: &str, observer: &dyn Observer) -> Result<Target, EngineError> {
        if let Ok(pid) = word.parse::<u32>() {
            return self.target_of(pid, observer);
        }
        let name: JailName = word.parse().map_err(|_| NamedError::NoJailOf {
            word: word.to_owned(),
        })?;
        if let Some(entry) = detached::entry(&self.store, &name)? {
            return match entry.is_alive() {
                true => Ok(Target::Detached(Box::new(entry))),
                false => Err(NamedError::NotRunning {
                    state: entry.state(),
                    name,
                }
                .into()),
            };
        }
        if let Err(missing) = crate::named::record(&self.store, &name) {
            return Err(missing.into());
        }
        match crate::named::running(&self.store, &name) {
            Some(running) => Ok(Target::Named(name, running)),
            None => Err(NamedError::NotRunning {
                name,
                state: "not running".to_owned(),
            }
            .into()),
        }
    }

    fn target_of(&self, pid: u32, observer: &dyn Observer) -> Result<Target, EngineError> {
        let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let wanted =
            namespace(pid).filter(|found| namespace(std::process::id()).as_ref() != Some(found));
        let is = |target: &Target| {
            let running = target.running();
            let keepers = running.keeper.as_ref().map(|keeper| keeper.pid);
            running.pid == pid
                || keepers == Some(pid)
                || wanted.is_some() && namespace(running.pid) == wanted
        };
        let found = self.running(observer)?.into_iter().find(is);
        Ok(found.ok_or_else(|| NamedError::NoJailOf {
            word: pid.to_string(),
        })?)
    }

    /// What stopping jails takes.
    pub fn plan_stop(&self, targets: &[Target], time: Duration) -> StepPlan {
        let steps = targets.iter().map(|target| Step::EndJail {
            name: target.name().clone(),
            pid: target.running().pid,
            kill_after: time,
        });
        StepPlan::new("stop".to_owned(), steps.collect())
    }

    /// Tells a jail to end, and kills it when it has not ended in time; whether it ended by itself.
    pub fn stop(&self, target: &Target, time: Duration) -> Result<bool, EngineError> {
        let ended = detached::stop(target, time)?;
        self.cleared(target);
        Ok(ended)
    }

    /// What sending a signal takes.
    pub fn plan_signal(&self, targets: &[Target], signal: i32) -> StepPlan {
        let steps = targets.iter().map(|target| Step::SignalJail {
            name: target.name().clone(),
            pid: target.running().pid,
            signal,
        });
        StepPlan::new("signal".to_owned(), steps.collect())
    }

    /// Sends a signal to the programs of a jail; waits for its end when it is SIGKILL.
    pub fn signal(&self, target: &Target, signal: i32) -> Result<(), EngineError> {
        detached::signal(target, signal)?;
        if signal == detached::SIGKILL {
            detached::wait(target, Some(Duration::from_secs(10)))?;
            self.cleared(target);
        }
        Ok(())
    }

    /// A named jail's keeper takes its entry away itself, unless it was killed.
    fn cleared(&self, target: &Target) {
        if let Target::Named(name, running) = target
            && !running.alive()
        {
            let path = crate::named::run_path(&self.store, name);
            if crate::named::is_entry_of(&path, running) {
                drop(std::fs::remove_file(path));
            }
        }
    }

    /// Waits for the end of what runs under a name; how it ended, where that is known.
    pub fn wait(
        &self,
        name: &JailName,
        observer: &dyn Observer,
    ) -> Result<Option<Ended>, EngineError> {
        match self.target(name.as_str(), observer) {
            Ok(target) => {
                detached::wait(&target, None)?;
            }
            // It has ended already.
            Err(EngineError::Named(NamedError::NotRunning { .. })) => {}
            Err(error) => return Err(error),
        }
        Ok(self.run_entry(name)?.and_then(|entry| entry.ended))
    }

    /// What a jail uses; none when it has ended.
    pub fn figures(&self, target: &Target) -> Option<Figures> {
        figures(&target.running().process())
    }

    /// The files that hold what a run wrote, the older first.
    pub fn log_of(&self, name: &JailName) -> Result<Vec<PathBuf>, EngineError> {
        let Some(entry) = self.run_entry(name)? else {
            crate::named::record(&self.store, name)?;
            return Err(NamedError::NoLog { name: name.clone() }.into());
        };
        if !entry.logged {
            return Err(NamedError::NoLog { name: name.clone() }.into());
        }
        let path = detached::log_path(&self.store, name);
        Ok(vec![path.with_extension("log.1"), path])
    }
}
