//! The verbs of users.

use super::Engine;
use crate::accounts::{self, AccountsError, EntrySocket};
use crate::error::EngineError;
use crate::plan::Preview;
use jaula_plan::account::plan::{
    AccountPlan, AddSpec, Changes, plan_add, plan_close, plan_enable, plan_rm, plan_set,
};
use jaula_plan::account::{AccountError, USERADD_HOOK};
use jaula_plan::explain::ExplainLine;
use jaula_plan::names::UserName;
use serde_json::{Value, json};
use std::path::Path;

fn planned(plan: Result<AccountPlan, AccountError>) -> Result<AccountPlan, EngineError> {
    Ok(plan.map_err(AccountsError::from)?)
}

impl Engine {
    /// What letting a user into a jail takes. `with_sshd`: sshd is told of him.
    ///
    /// # Errors
    /// [`EngineError::Accounts`]; nothing was changed.
    pub fn plan_user_add(
        &self,
        spec: &AddSpec,
        program: &Path,
        with_sshd: bool,
    ) -> Result<AccountPlan, EngineError> {
        let facts = accounts::facts(&accounts::Looked {
            jail: &spec.jail,
            user: spec.user.as_str(),
            shell: spec.shell.as_deref(),
            home: spec.home.as_deref(),
            program,
        })?;
        planned(plan_add(spec, &facts, with_sshd))
    }

    /// What changing what a user may do takes.
    ///
    /// # Errors
    /// [`EngineError::Accounts`]; nothing was changed.
    pub fn plan_user_set(
        &self,
        user: &UserName,
        jail: &Path,
        changes: &Changes,
        program: &Path,
        with_sshd: bool,
    ) -> Result<AccountPlan, EngineError> {
        let facts = accounts::facts(&accounts::Looked {
            jail,
            user: user.as_str(),
            shell: changes.shell.as_deref(),
            home: None,
            program,
        })?;
        planned(plan_set(user, jail, changes, &facts, with_sshd))
    }

    /// What taking a user out takes.
    ///
    /// # Errors
    /// [`EngineError::Accounts`]; nothing was changed.
    pub fn plan_user_rm(
        &self,
        user: &UserName,
        jail: &Path,
        with_home: bool,
        program: &Path,
    ) -> Result<AccountPlan, EngineError> {
        let facts = accounts::facts(&accounts::Looked {
            jail,
            user: user.as_str(),
            shell: None,
            home: None,
            program,
        })?;
        planned(plan_rm(user, jail, with_home, &facts))
    }

    /// What making jaula a login shell takes, and having useradd(8) tell it of new users.
    ///
    /// # Errors
    /// [`EngineError::Accounts`]; nothing was changed.
    pub fn plan_user_enable(&self, program: &Path) -> Result<AccountPlan, EngineError> {
        let facts = accounts::facts(&accounts::Looked {
            jail: Path::new("/nonexistent"),
            user: "",
            shell: None,
            home: None,
            program,
        })?;
        let hook = accounts::leads(Path::new(USERADD_HOOK), program);
        planned(plan_enable(&facts, hook))
    }

    /// What keeping a user out of the host takes, until there is a jail for him.
    ///
    /// # Errors
    /// [`EngineError::Accounts`]; nothing was changed.
    pub fn plan_user_close(
        &self,
        user: &UserName,
        program: &Path,
    ) -> Result<AccountPlan, EngineError> {
        let facts = accounts::facts(&accounts::Looked {
            jail: Path::new("/nonexistent"),
            user: user.as_str(),
            shell: None,
            home: None,
            program,
        })?;
        planned(plan_close(user, &facts))
    }

    /// Makes such a plan while nobody else can change accounts, and does it, all of it or nothing. The plan is given back.
    ///
    /// # Errors
    /// [`EngineError::Accounts`], or why there is no plan.
    pub fn users(
        &self,
        plan: impl FnOnce(&Self) -> Result<AccountPlan, EngineError>,
    ) -> Result<AccountPlan, EngineError> {
        accounts::apply(&self.store, || plan(self))
    }

    /// Lets users in who get no user namespace of their own, until it is told to end; `ready` is called when it listens. The
    /// caller must have one thread.
    ///
    /// # Errors
    /// [`EngineError::Accounts`].
    pub fn serve_logins(
        &self,
        socket: EntrySocket,
        ready: &mut dyn FnMut(),
    ) -> Result<(), EngineError> {
        Ok(accounts::serve(&self.store, socket, ready).map_err(AccountsError::from)?)
    }
}

impl Preview for AccountPlan {
    fn to_json(&self) -> Value {
        json!({ "version": 1, "plan": self })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        AccountPlan::explain(self)
    }
}
