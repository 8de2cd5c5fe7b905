//! The verbs of namespaces.

use super::Engine;
use crate::error::EngineError;
use crate::namespaces::{
    self, KeepError, KeepPlan, KeepSource, Kept, NsKind, Opened, Snapshot, Wanted,
};
use crate::plan::StepPlan;
use jaula_plan::names::JailName;

impl Engine {
    /// Every namespace that the caller can see.
    ///
    /// # Errors
    /// When there is no proc(5).
    pub fn namespaces(&self, wanted: &Wanted) -> Result<Snapshot, EngineError> {
        Ok(namespaces::scan(wanted)?)
    }

    /// The processes of these jails, each named with its first process and when that started, and of runs in the
    /// foreground.
    ///
    /// # Errors
    /// When there is no proc(5).
    pub fn processes(
        &self,
        jails: &[(JailName, u32, u64)],
    ) -> Result<Vec<crate::processes::JailProcess>, EngineError> {
        Ok(crate::processes::processes(jails)?)
    }

    /// What is kept by name, whether it is still there or not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn all_kept(&self) -> Result<Vec<Kept>, EngineError> {
        Ok(namespaces::all_kept(&self.store)?)
    }

    /// What is kept by a name.
    ///
    /// # Errors
    /// When nothing is.
    pub fn find_kept(&self, name: &JailName) -> Result<Kept, EngineError> {
        Ok(namespaces::find_kept(&self.store, name)?)
    }

    /// The namespaces kept by a name, open, in the order in which they are joined.
    ///
    /// # Errors
    /// When nothing is kept by that name, or it is gone.
    pub fn kept(&self, name: &JailName) -> Result<Vec<Opened>, EngineError> {
        Ok(namespaces::kept(&self.store, name)?)
    }

    /// A named jail or run that goes on, as a source of namespaces.
    ///
    /// # Errors
    /// When there is no such jail, or it does not run.
    pub fn running_jail(&self, name: &JailName) -> Result<KeepSource, EngineError> {
        let running = self.running(&crate::Silent)?;
        match running.iter().find(|target| target.name() == name) {
            Some(target) => Ok(KeepSource::Jail(name.clone(), target.running().clone())),
            None => {
                // A name that is none says so.
                crate::named::record(&self.store, name)?;
                Err(KeepError::NoProcess {
                    what: format!("jail {name} does not run"),
                }
                .into())
            }
        }
    }

    /// What keeping namespaces by a name takes; root mounts them, others have a process that holds them.
    ///
    /// # Errors
    /// When they cannot be had, or others are kept by that name.
    pub fn plan_keep(
        &self,
        name: &JailName,
        source: KeepSource,
        only: &[NsKind],
    ) -> Result<KeepPlan, EngineError> {
        let mounts = jaula_sys::process::effective_ids().0 == 0;
        Ok(namespaces::plan_keep(
            &self.store,
            name,
            source,
            only,
            mounts,
        )?)
    }

    /// Keeps them. The process must have one thread.
    ///
    /// # Errors
    /// When the process is gone or went elsewhere, or the kernel refuses: then nothing is kept.
    pub fn keep(&self, plan: &KeepPlan) -> Result<(), EngineError> {
        Ok(namespaces::keep(&self.store, plan)?)
    }

    /// What letting go of a name takes.
    ///
    /// # Errors
    /// When nothing is kept by it.
    pub fn plan_let_go(&self, name: &JailName) -> Result<StepPlan, EngineError> {
        Ok(namespaces::plan_let_go(&self.store, name)?)
    }

    /// Lets go of a name.
    ///
    /// # Errors
    /// When nothing is kept by it, or a mount cannot be taken away.
    pub fn let_go(&self, name: &JailName) -> Result<(), EngineError> {
        Ok(namespaces::let_go_of(&self.store, name)?)
    }
}
