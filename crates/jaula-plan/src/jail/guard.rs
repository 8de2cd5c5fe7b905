//! The protections that can be chosen: capabilities, filter, Landlock, descriptors, devices; in which order they take
//! effect, and what has to be said aloud.

use super::JailPlanError;
use crate::facts::host::{CallerKind, HostFacts};
use crate::landlock;
use crate::seccomp::{self, Target};
use crate::setup_op::{CAPABILITIES, CapSet, FilterPlan, IdPlan, SetupOp};
use crate::spec::jail::{JailSpec, RootSpec, SeccompSpec};

/// What is put around the program, and when.
pub(super) struct Guards {
    /// Before the user changes.
    pub(super) before: Vec<SetupOp>,
    /// After user and capabilities are final.
    pub(super) after: Vec<SetupOp>,
    /// Last of all.
    pub(super) last: Vec<SetupOp>,
}

/// Plans filter, Landlock, and the promise that nothing gains privileges.
///
/// With that promise a filter can be loaded last, when nothing else is left to do. Without it the kernel wants a
/// capability (seccomp(2), landlock_restrict_self(2)), so filters come before capabilities go, and have to permit the
/// rest of the setting up.
pub(super) fn guards(
    spec: &JailSpec,
    facts: &HostFacts,
    caps: CapSet,
    notes: &mut Vec<String>,
) -> Result<Guards, JailPlanError> {
    let mut guards = Guards {
        before: Vec::new(),
        after: Vec::new(),
        last: Vec::new(),
    };
    let landlock = ruleset(spec, facts, notes)?;
    if spec.no_new_privs {
        let place = match landlock {
            Some(_) => &mut guards.before,
            None => &mut guards.after,
        };
        place.push(SetupOp::NoNewPrivs);
    } else {
        notes.push(
            "programs inside may gain privileges: set-user-id and file capabilities have effect"
                .into(),
        );
    }
    guards.before.extend(landlock);
    if let Some(record) = record(spec, facts, notes) {
        if spec.no_new_privs {
            guards.after.push(record);
        } else {
            guards.before.push(record);
        }
    }
    let filter = filter(spec, facts, caps, notes)?;
    if spec.no_new_privs {
        guards.last.extend(filter);
    } else {
        guards.before.extend(filter);
    }
    Ok(guards)
}

/// In a tree whose owners are on record they go on to be recorded. Packages' scripts are known by their filter, which
/// leaves syncing out: they give things to users, and become them, of whom there is none; a program that is run is told the
/// truth by the kernel, for it may rely on having given up its rights.
fn record(spec: &JailSpec, facts: &HostFacts, notes: &mut Vec<String>) -> Option<SetupOp> {
    let one = facts.caller.kind == CallerKind::Session { ids: 1 };
    if !one || !matches!(spec.root, RootSpec::Tree { .. }) {
        return None;
    }
    let users = spec.seccomp == SeccompSpec::DefaultNoSync;
    notes.push(
        "there is one identifier: owners of files are recorded and restored in outputs; a program that wants to be \
         another user than root cannot"
            .into(),
    );
    Some(SetupOp::RecordOwners { users })
}

fn ruleset(
    spec: &JailSpec,
    facts: &HostFacts,
    notes: &mut Vec<String>,
) -> Result<Option<SetupOp>, JailPlanError> {
    let have = facts.kernel.landlock;
    let (set, beyond) = landlock::ruleset(&spec.landlock, have);
    if let (Some(rule), false) = (beyond.first(), spec.best_effort) {
        return Err(JailPlanError::LandlockTooOld {
            rule: rule.to_string(),
            needs: rule.needs(),
            have,
        });
    }
    for rule in &beyond {
        notes.push(format!(
            "this kernel cannot hold the Landlock rule {rule}: it is left out"
        ));
    }
    Ok((!set.rules.is_empty()).then_some(SetupOp::Landlock(set)))
}

fn filter(
    spec: &JailSpec,
    facts: &HostFacts,
    caps: CapSet,
    notes: &mut Vec<String>,
) -> Result<Vec<SetupOp>, JailPlanError> {
    let mounts = CapSet::number("SYS_ADMIN").is_some_and(|number| caps.has(number));
    let default = |no_sync| SetupOp::Seccomp(FilterPlan { no_sync, mounts });
    Ok(match &spec.seccomp {
        SeccompSpec::Default => vec![default(false)],
        SeccompSpec::DefaultNoSync => vec![default(true)],
        SeccompSpec::Off => {
            notes.push("no system call is filtered".into());
            Vec::new()
        }
        SeccompSpec::Profile(profile) => {
            let target = Target {
                native: facts.kernel.native,
                caps,
                kernel: facts.kernel.version,
                best_effort: spec.best_effort,
            };
            let name = profile.name().to_owned();
            let rules =
                seccomp::compile(profile, &target).map_err(|source| JailPlanError::Profile {
                    name: name.clone(),
                    source,
                })?;
            let unknown = profile.unknown();
            if !unknown.is_empty() {
                let list = unknown.join(" ");
                notes.push(format!(
                    "the profile {name} names system calls that do not exist, left out: {list}"
                ));
            }
            let own = SetupOp::SeccompProfile { name, rules };
            let list = profile.is_beside_the_list().then(|| default(false));
            list.into_iter().chain([own]).collect()
        }
    })
}

/// The same with what changing the host name takes (uts_namespaces(7)): `SYS_ADMIN` over the jail's own user namespace.
/// Mounting stays with the filter, which was made without it.
pub(super) fn with_names(
    caps: CapSet,
    spec: &JailSpec,
    ids: &IdPlan,
    notes: &mut Vec<String>,
) -> CapSet {
    let Some(number) = CapSet::number("SYS_ADMIN") else {
        return caps;
    };
    // Who says himself what root keeps is not second-guessed.
    if *ids == IdPlan::Host || !spec.cap_drop.is_empty() || caps.has(number) {
        return caps;
    }
    notes.push(
        "root inside keeps SYS_ADMIN over the jail's own namespaces, so that its host name can be changed; \
         mounting stays filtered"
            .into(),
    );
    CapSet(caps.0 | 1 << number)
}

/// The capabilities that stay: the default set without what is dropped, and what is added.
pub(super) fn caps(add: &[String], drop: &[String]) -> Result<CapSet, JailPlanError> {
    let bits = |names: &[String]| {
        names.iter().try_fold(0u64, |set, name| {
            if name.eq_ignore_ascii_case("all") {
                return Ok((1u64 << CAPABILITIES.len()) - 1);
            }
            match CapSet::number(name) {
                Some(number) => Ok(set | 1u64 << number),
                None => Err(JailPlanError::UnknownCapability { name: name.clone() }),
            }
        })
    };
    // A capability that is named is added even when all are dropped: `--cap-drop all --cap-add chown`.
    let (added, dropped) = (bits(add)?, bits(drop)?);
    Ok(CapSet((CapSet::DEFAULT.0 & !dropped) | added))
}

/// What becomes of the caller's descriptors.
pub(super) fn descriptors(spec: &JailSpec) -> SetupOp {
    let mut keep: Vec<u32> = spec.keep_fds.iter().copied().filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    keep.dedup();
    if keep.is_empty() {
        SetupOp::CloseDescriptors
    } else {
        SetupOp::KeepDescriptors(keep)
    }
}

/// Whether the jail goes with its supervisor.
pub(super) fn lifetime(spec: &JailSpec, ids: &IdPlan) -> Result<SetupOp, JailPlanError> {
    if spec.die_with_parent {
        return Ok(SetupOp::DieWithParent);
    }
    // The supervisor holds the block: another jail would be given the same identifiers.
    if matches!(ids, IdPlan::PrivateBlock { .. }) {
        return Err(JailPlanError::OutlivesItsIds);
    }
    Ok(SetupOp::Outlive)
}

/// The devices, and a word on each.
pub(super) fn devices(spec: &JailSpec, notes: &mut Vec<String>, ops: &mut Vec<SetupOp>) {
    for device in &spec.devices {
        let path = device.path();
        notes.push(format!(
            "{} is the host's own device: what it can do, the jail can do, as far as the device's permissions let it",
            crate::explain::shown(path)
        ));
        ops.push(SetupOp::Device(path.to_owned()));
    }
}
