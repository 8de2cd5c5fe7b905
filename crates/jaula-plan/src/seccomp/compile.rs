//! From a profile to the rules of one machine.

use super::profile::{Entry, Scope};
use super::{Abi, Action, Call, Clause, Condition, Profile, ProfileError, Rules, Table, Test};
use super::{errno, syscalls};
use crate::setup_op::CapSet;
use std::collections::BTreeMap;

/// The machine and the jail that rules are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The machine's own entry.
    pub native: Abi,
    /// What the jail's bounding set keeps.
    pub caps: CapSet,
    /// Version of the running kernel: `includes.minKernel`.
    pub kernel: (u32, u32),
    /// Leave calls out that no kernel has, instead of refusing the profile.
    pub best_effort: bool,
}

/// The rules that a profile means on a machine.
///
/// # Errors
/// When it names calls that do not exist.
pub fn compile(profile: &Profile, target: &Target) -> Result<Rules, ProfileError> {
    let unknown = profile.unknown();
    if !unknown.is_empty() && !target.best_effort {
        let names = unknown.into_iter().map(str::to_owned).collect();
        return Err(ProfileError::UnknownCalls(names));
    }
    let abis = [Some(target.native), compat(profile, target.native)];
    let entries: Vec<&Entry> = profile
        .entries
        .iter()
        .filter(|entry| applies(entry, target))
        .collect();
    let tables = abis.into_iter().flatten();
    Ok(Rules {
        tables: tables.map(|abi| table(profile, &entries, abi)).collect(),
        flags: profile.flags,
    })
}

/// The names of an architecture: of the runtime specification, of Go and of uname(2).
fn arch_names(abi: Abi) -> [&'static str; 3] {
    match abi {
        Abi::X86_64 => ["SCMP_ARCH_X86_64", "amd64", "x86_64"],
        Abi::I386 => ["SCMP_ARCH_X86", "x86", "386"],
        Abi::Aarch64 => ["SCMP_ARCH_AARCH64", "arm64", "aarch64"],
    }
}

/// The 32-bit entry, when the profile lists it.
fn compat(profile: &Profile, native: Abi) -> Option<Abi> {
    let [own, ..] = arch_names(native);
    let [compat, ..] = arch_names(Abi::I386);
    let mapped = profile
        .arch_map
        .iter()
        .filter(|(arch, _)| arch == own)
        .flat_map(|(_, below)| below);
    let listed = profile
        .architectures
        .iter()
        .chain(mapped)
        .any(|arch| arch == compat);
    (native == Abi::X86_64 && listed).then_some(Abi::I386)
}

fn applies(entry: &Entry, target: &Target) -> bool {
    let of_machine = |scope: &Scope| {
        let names = arch_names(target.native);
        scope
            .arches
            .iter()
            .any(|arch| names.contains(&arch.as_str()))
    };
    let new_enough = |scope: &Scope| scope.kernel.map(|kernel| target.kernel >= kernel);
    let (includes, excludes) = (&entry.includes, &entry.excludes);
    let included = (includes.arches.is_empty() || of_machine(includes))
        && includes.caps.iter().all(|cap| target.caps.has(*cap))
        && new_enough(includes) != Some(false);
    let excluded = of_machine(excludes)
        || excludes.caps.iter().any(|cap| target.caps.has(*cap))
        || new_enough(excludes) == Some(true);
    included && !excluded
}

/// The registers of i386 have 32 bits, so what a profile says of all 64, as in -1, is meant of these.
fn narrowed(condition: &Condition) -> Condition {
    let low = |value: u64| value & u64::from(u32::MAX);
    let test = match condition.test {
        Test::Eq(value) => Test::Eq(low(value)),
        Test::Ne(value) => Test::Ne(low(value)),
        Test::Masked { mask, value } => Test::Masked {
            mask: low(mask),
            value: low(value),
        },
        other => other,
    };
    Condition {
        arg: condition.arg,
        test,
    }
}

fn table(profile: &Profile, entries: &[&Entry], abi: Abi) -> Table {
    let mut calls: BTreeMap<u32, Vec<Clause>> = BTreeMap::new();
    // Who names the multiplexer itself has said what is to become of calls whose arguments cannot be seen in it.
    let names = |name: &str| {
        entries
            .iter()
            .any(|entry| entry.names.iter().any(|n| n == name))
    };
    let said = [(102, names("socketcall")), (117, names("ipc"))];
    for entry in entries {
        for name in &entry.names {
            for conditions in &entry.alternatives {
                let conditions: Vec<Condition> = match abi {
                    Abi::I386 => conditions.iter().map(narrowed).collect(),
                    _ => conditions.clone(),
                };
                let bare = conditions.is_empty();
                if let Some(number) = syscalls::number(name, abi) {
                    calls.entry(number).or_default().push(Clause {
                        conditions,
                        action: entry.action,
                    });
                }
                let inner = match abi {
                    Abi::I386 => syscalls::multiplexed(name),
                    _ => None,
                };
                let Some((number, mask, value)) = inner else {
                    continue;
                };
                // In memory, where a filter cannot look: a permission under a condition is none, a refusal under a
                // condition is one always.
                let spoken_for = said.contains(&(number, true));
                if bare || !entry.action.permits() && !spoken_for {
                    let test = Test::Masked { mask, value };
                    calls.entry(number).or_default().push(Clause {
                        conditions: vec![Condition { arg: 0, test }],
                        action: entry.action,
                    });
                }
            }
        }
    }
    let calls = calls.into_iter().map(|(number, mut clauses)| {
        // Stable: of those equally restrictive the first stays the first.
        clauses.sort_by_key(|clause| clause.action.rank());
        let always = clauses
            .iter()
            .position(|clause| clause.conditions.is_empty());
        if let Some(always) = always {
            clauses.truncate(always + 1);
        }
        Call { number, clauses }
    });
    Table {
        abi,
        calls: calls.collect(),
        default: profile.default,
        newer: newer(profile, abi),
    }
}

/// The number after that of the newest call the profile names, whether or not the entry applies here.
fn newer(profile: &Profile, abi: Abi) -> Option<u32> {
    if profile.default.permits()
        || matches!(
            profile.default,
            Action::Trace(_) | Action::Errno(errno::ENOSYS)
        )
    {
        return None;
    }
    let names = profile.entries.iter().flat_map(|entry| &entry.names);
    let newest = names.filter_map(|name| syscalls::number(name, abi)).max()?;
    newest.checked_add(1)
}
