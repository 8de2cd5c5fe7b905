//! The way in of users who get no user namespace of their own.

use super::*;
use crate::account::entry::{self, UNITS, WANTED};

/// Where ordinary users get none: the units of the service that lets them in, and what is left to do by hand. A unit that
/// somebody else has written stays.
pub(super) fn steps(
    facts: &AccountFacts,
    policy: &Policy,
    steps: &mut Vec<AccountStep>,
    notes: &mut Vec<String>,
) -> Result<(), AccountError> {
    if facts.namespaces_refused.is_none() || policy.entry != Entry::Shell {
        return Ok(());
    }
    let program = &facts.program.0;
    if facts.entry.systemd {
        let texts = entry::units(program).map_err(|error| AccountError::Program {
            program: program.clone(),
            why: error.to_string(),
        })?;
        for ((path, text), there) in UNITS.iter().zip(texts).zip(&facts.entry.units) {
            if there.as_ref().is_none_or(|there| entry::is_ours(there)) {
                steps.extend(write_step(path.into(), there.as_ref(), Some(text)));
            }
        }
        if !facts.entry.wanted {
            steps.push(AccountStep::Link {
                path: WANTED.into(),
                target: entry::unit(),
            });
        }
    }
    notes.extend(entry::note(&facts.entry, program));
    Ok(())
}
