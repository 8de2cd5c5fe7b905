//! The verbs of named jails.

use super::{Dry, Engine};
use crate::cgroup::Groups;
use crate::error::EngineError;
use crate::event::{Event, Observer};
use crate::minimal::MinimalPlan;
use crate::named::{NamedError, Record, chain};
use crate::outcome::{Io, Outcome};
use crate::plan::StepPlan;
use crate::run::{ExecPlan, NewPlan, Source};
use crate::spec::{ExecSpec, NewSpec};
use crate::view::{Image, Jail};
use jaula_plan::facts::host::CallerKind;
use jaula_plan::jail::{JailPlan, plan_jail};
use jaula_plan::names::JailName;
use jaula_plan::spec::limits::Limits;
use jaula_plan::spec::rootfs::Reference;
use jaula_plan::step::Step;
use jaula_sys::joining::Held;
use std::path::Path;

impl Engine {
    /// What making a named jail takes.
    pub fn plan_new(
        &self,
        spec: &NewSpec,
        observer: &dyn Observer,
        dry: Dry,
    ) -> Result<NewPlan, EngineError> {
        self.refuse_existing(&spec.name)?;
        let source = self.source(&spec.from, &spec.image, observer, dry)?;
        self.plan_new_on(spec, source)
    }

    /// What making a named jail on files of the host takes; `from` of the specification is not looked at.
    pub fn plan_new_minimal(
        &self,
        spec: &NewSpec,
        plan: MinimalPlan,
    ) -> Result<NewPlan, EngineError> {
        self.refuse_existing(&spec.name)?;
        let spec = NewSpec {
            from: Reference::Digest(*plan.digest()),
            ..spec.clone()
        };
        self.plan_new_on(&spec, Source::Minimal(plan))
    }

    fn refuse_existing(&self, name: &JailName) -> Result<(), EngineError> {
        let jail = crate::named::jail_dir(&self.store, name);
        if jail.symlink_metadata().is_ok() {
            return Err(NamedError::Exists { name: name.clone() }.into());
        }
        Ok(crate::detached::refuse_running(&self.store, name)?)
    }

    fn plan_new_on(&self, spec: &NewSpec, source: Source) -> Result<NewPlan, EngineError> {
        let directory = match &spec.from {
            Reference::Directory(path) => Some(crate::import::directory(path)?),
            _ => None,
        };
        let digest = match &source {
            Source::Ready(image) => Some(*image.digest()),
            Source::Import(archive, _) => Some(archive.digest),
            Source::Minimal(plan) => Some(*plan.digest()),
            Source::There | Source::Build(_) => None,
        };
        let record = Record::new(spec, digest, directory);
        let step = Step::CreateJail {
            name: spec.name.clone(),
            path: crate::named::jail_dir(&self.store, &spec.name),
        };
        let steps = StepPlan::new(format!("new jail {}", spec.name), vec![step]);
        Ok(NewPlan {
            source,
            record,
            steps,
        })
    }

    /// Makes a named jail.
    pub fn new_jail(&self, plan: &NewPlan, observer: &dyn Observer) -> Result<Jail, EngineError> {
        let image = self.realise(&plan.source, observer)?;
        let _held = image.as_ref().map(Image::hold).transpose()?;
        let mut record = plan.record.clone();
        record.image = image.map(|image| *image.digest()).or(record.image);
        crate::named::create(&self.store, &record)?;
        let jail = record.view(&self.store);
        observer.event(Event::Made {
            what: "jail",
            path: jail.path.clone(),
        });
        Ok(jail)
    }

    /// What removing a named jail takes; a running one only when `force`.
    pub fn plan_rm_jail(&self, name: &JailName, force: bool) -> Result<StepPlan, EngineError> {
        let path = crate::named::jail_dir(&self.store, name);
        if path.symlink_metadata().is_err() {
            if let Some(entry) = crate::detached::entry(&self.store, name)? {
                return self.plan_rm_run(&entry, force);
            }
            crate::named::record(&self.store, name)?;
        }
        let mut steps = Vec::new();
        if let Some(running) = crate::named::running(&self.store, name) {
            if !force {
                return Err(NamedError::Running {
                    name: name.clone(),
                    pid: running.pid,
                }
                .into());
            }
            steps.push(Step::StopJail {
                name: name.clone(),
                pid: running.pid,
            });
        }
        steps.push(Step::RemoveJail {
            name: name.clone(),
            path,
        });
        Ok(StepPlan::new(format!("remove jail {name}"), steps))
    }

    /// Removes a named jail.
    pub fn rm_jail(&self, plan: &StepPlan, _observer: &dyn Observer) -> Result<(), EngineError> {
        let mut stop = None;
        for step in plan.steps() {
            match step {
                Step::StopJail { pid, .. } => stop = Some(*pid),
                Step::RemoveJail { name, .. } => crate::named::remove(&self.store, name, stop)?,
                Step::RemoveRun { name, .. } => {
                    if let (Some(pid), Some(entry)) =
                        (stop, crate::detached::entry(&self.store, name)?)
                        && entry.running.pid == pid
                    {
                        let target = crate::detached::Target::Detached(Box::new(entry));
                        self.signal(&target, crate::detached::SIGKILL)?;
                    }
                    crate::detached::remove(&self.store, name)?;
                }
                _ => {
                    return Err(EngineError::Foreign {
                        step: step.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The named jails, by name. A jail whose settings cannot be read is left out and noted.
    pub fn jails(&self, observer: &dyn Observer) -> Result<Vec<Jail>, EngineError> {
        let (records, notes) = crate::named::records(&self.store)?;
        notes
            .into_iter()
            .for_each(|text| observer.event(Event::Note { text }));
        Ok(records
            .iter()
            .map(|record| record.view(&self.store))
            .collect())
    }

    /// One named jail.
    pub fn jail(&self, name: &JailName) -> Result<Jail, EngineError> {
        Ok(crate::named::record(&self.store, name)?.view(&self.store))
    }

    /// What running a program in a named jail takes.
    pub fn plan_exec(&self, name: &JailName, spec: &ExecSpec) -> Result<ExecPlan, EngineError> {
        let record = crate::named::record(&self.store, name)?;
        let joins = crate::named::running(&self.store, name).map(|running| running.pid);
        let jail = self.plan_session(&record, spec, joins)?;
        Ok(ExecPlan {
            record,
            exec: spec.clone(),
            jail,
            joins,
        })
    }

    /// The plan of a program in a jail; its own limits within those of the jail, when that one runs.
    fn plan_session(
        &self,
        record: &Record,
        spec: &ExecSpec,
        joins: Option<u32>,
    ) -> Result<JailPlan, EngineError> {
        // Those of the jail as a whole are enforced where it is started.
        let limits = record.settings.limits.of_processes().with(&spec.limits);
        let jail = self.session_spec(record, spec, limits)?;
        let mut facts = crate::probe::host(&jail);
        if joins.is_some() {
            facts.limits = crate::cgroup::facts_at(&jail, joins);
        }
        if facts.caller.kind == CallerKind::Single && self.config.prepare.is_some() {
            // Called outside of the session that the keeper has: the jail has that one's users.
            let ids = match self.store.records_owners() {
                true => 1,
                false => jaula_plan::jail::ID_COUNT,
            };
            facts.caller.kind = CallerKind::Session { ids };
        }
        Ok(plan_jail(&jail, &facts)?)
    }

    /// Runs a program in a named jail; joins it when it runs already.
    pub fn exec(
        &self,
        plan: &ExecPlan,
        io: Io<'_>,
        observer: &dyn Observer,
    ) -> Result<Outcome, EngineError> {
        self.exec_by(plan, |running, held, jail, groups| {
            super::tell(jail, observer);
            crate::cgroup::tell_of_missing(jail, observer);
            Ok(crate::jail::enter(running, held, jail, io, groups)?)
        })
    }

    /// Joins a named jail by `start`, starting it first when it does not run.
    pub(crate) fn exec_by<T>(
        &self,
        plan: &ExecPlan,
        start: impl FnOnce(
            &crate::jail::Running,
            Vec<Held>,
            &JailPlan,
            Groups,
        ) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let mut prepare = || self.config.prepare.map_or(Ok(()), |prepare| prepare());
        let mut keeper = || {
            let waits = ExecSpec {
                command: vec!["jaula".into()],
                ..ExecSpec::default()
            };
            let mut limits: Limits = plan.record.settings.limits.clone();
            limits.joined = true;
            let spec = self
                .session_spec(&plan.record, &waits, limits)
                .map_err(|error| chain(&error))?;
            plan_jail(&spec, &crate::probe::host(&spec)).map_err(|error| chain(&error))
        };
        let session = crate::named::join(&self.store, &plan.record, &mut prepare, &mut keeper)?;
        let running = crate::jail::Running {
            pid: session.running.pid,
            start_time: session.running.start_time,
        };
        let held = session
            .running
            .namespaces()
            .map_err(|error| NamedError::Start {
                name: plan.record.name.clone(),
                text: format!("cannot join it: {error}"),
            })?;
        // What is of a group is planned where the jail is now.
        let replanned = match plan.exec.limits.need_group() && plan.joins != Some(running.pid) {
            true => Some(self.plan_session(&plan.record, &plan.exec, Some(running.pid))?),
            false => None,
        };
        let jail = replanned.as_ref().unwrap_or(&plan.jail);
        let mut groups = Groups::make(jail, Some(&self.store))?;
        if plan.record.settings.limits.need_group() {
            groups = groups.joining(running.pid)?;
        }
        let outcome = start(&running, held, jail, groups)?;
        drop(session);
        Ok(outcome)
    }

    /// What copying from the host into a jail takes.
    pub fn plan_copy_in(
        &self,
        name: &JailName,
        from: &Path,
        to: &Path,
    ) -> Result<StepPlan, EngineError> {
        crate::named::record(&self.store, name)?;
        let step = Step::CopyIn {
            name: name.clone(),
            from: from.to_owned(),
            to: to.to_owned(),
        };
        Ok(StepPlan::new(format!("copy into jail {name}"), vec![step]))
    }

    /// Copies from the host into a jail.
    pub fn copy_in(&self, plan: &StepPlan, _observer: &dyn Observer) -> Result<(), EngineError> {
        for step in plan.steps() {
            let Step::CopyIn { name, from, to } = step else {
                return Err(EngineError::Foreign {
                    step: step.to_string(),
                });
            };
            let record = crate::named::record(&self.store, name)?;
            crate::named::copy_in(&self.store, &record, self.config.prepare, from, to)?;
        }
        Ok(())
    }

    /// What copying out of a jail takes.
    pub fn plan_copy_out(
        &self,
        name: &JailName,
        from: &Path,
        to: &Path,
    ) -> Result<StepPlan, EngineError> {
        crate::named::record(&self.store, name)?;
        let step = Step::CopyOut {
            name: name.clone(),
            from: from.to_owned(),
            to: to.to_owned(),
        };
        Ok(StepPlan::new(
            format!("copy out of jail {name}"),
            vec![step],
        ))
    }

    /// Copies out of a jail.
    pub fn copy_out(&self, plan: &StepPlan, _observer: &dyn Observer) -> Result<(), EngineError> {
        for step in plan.steps() {
            let Step::CopyOut { name, from, to } = step else {
                return Err(EngineError::Foreign {
                    step: step.to_string(),
                });
            };
            let record = crate::named::record(&self.store, name)?;
            crate::named::copy_out(&self.store, &record, self.config.prepare, from, to)?;
        }
        Ok(())
    }
}
