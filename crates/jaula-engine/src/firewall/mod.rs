//! A network's tables in the kernel: put there whole, looked at, healed after somebody flushed them, and taken away.

mod lower;
mod others;

pub use others::{Other, others};

use crate::error::Kind;
use jaula_plan::nft::{Family, FirewallError, Table, network};
use jaula_sys::nfnetlink::{Change, Element, Tables};
use jaula_sys::{Errno, SysError};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// A firewall that could not be made, read or taken away. What was there is there still.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The description.
    #[error(transparent)]
    Plan(#[from] FirewallError),
    /// The kernel refused.
    #[error("the firewall of {network} cannot be changed: {source}")]
    Change {
        /// The network.
        network: String,
        /// What it said.
        source: SysError,
    },
    /// The kernel did not tell.
    #[error("the firewall cannot be read: {source}")]
    Read {
        /// What it said.
        source: SysError,
    },
}

impl FilterError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            FilterError::Plan(_) => Kind::User,
            FilterError::Change { .. } | FilterError::Read { .. } => Kind::KernelRefused,
        }
    }

    /// What the user may do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            FilterError::Plan(_) => None,
            FilterError::Change { source, .. } | FilterError::Read { source } => {
                match source.errno {
                    Errno(1 | 13) => Some("run as root: only root may change the host's firewall"),
                    Errno(93 | 22 | 95 | 2) => {
                        Some("this kernel may lack nf_tables: see `jaula doctor`")
                    }
                    _ => None,
                }
            }
        }
    }
}

/// How what is in the kernel differs from what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// There is no such table.
    NoTable(Family),
    /// A chain is missing, or hangs elsewhere.
    Chain(String),
    /// A chain that is not wanted.
    ForeignChain(String),
    /// A chain has other rules.
    Rules(String),
    /// A set is missing, or made of something else.
    Set(String),
    /// A set has other elements.
    Elements(String),
}

fn read(source: SysError) -> FilterError {
    FilterError::Read { source }
}

/// Puts a network's tables in the place of what was there under their names, in one transaction. What sets with an end
/// had learnt stays.
///
/// # Errors
/// [`FilterError::Change`]; nothing is changed then.
pub fn put(tables: &[Table]) -> Result<(), FilterError> {
    let mut kernel = Tables::open().map_err(read)?;
    put_with(&mut kernel, tables)
}

fn put_with(kernel: &mut Tables, tables: &[Table]) -> Result<(), FilterError> {
    let there = kernel.tables().map_err(read)?;
    let mut changes = Vec::new();
    for table in tables {
        let family = lower::family(table.family);
        let is_there = there.contains(&(family, table.name.clone()));
        let mut learnt = Vec::new();
        if is_there {
            for set in table.sets.iter().filter(|set| set.timeout) {
                // A set that is new has learnt nothing.
                let elements = kernel.elements(family, &table.name, &set.name);
                let mut elements = elements.unwrap_or_default();
                // One whose time is over right now: put again without an end it would stay for ever.
                elements.retain(|element| element.timeout.is_some_and(|left| left > 0));
                if !elements.is_empty() {
                    learnt.push(Change::Elements(
                        family,
                        table.name.clone(),
                        set.name.clone(),
                        elements,
                    ));
                }
            }
            changes.push(Change::DropTable(family, table.name.clone()));
        }
        changes.extend(lower::table(table));
        changes.extend(learnt);
    }
    let network = tables.first().map(|table| table.name.clone());
    kernel
        .change(&changes)
        .map_err(|source| FilterError::Change {
            network: network.unwrap_or_default(),
            source,
        })
}

/// Takes a network's tables away, those that are there.
///
/// # Errors
/// [`FilterError::Change`].
pub fn remove(bridge: &str) -> Result<bool, FilterError> {
    let name = network::table_name(bridge);
    let mut kernel = Tables::open().map_err(read)?;
    let there = kernel.tables().map_err(read)?;
    let changes: Vec<Change> = there
        .into_iter()
        .filter(|(_, table)| *table == name)
        .map(|(family, table)| Change::DropTable(family, table))
        .collect();
    kernel
        .change(&changes)
        .map_err(|source| FilterError::Change {
            network: bridge.to_owned(),
            source,
        })?;
    Ok(!changes.is_empty())
}

/// What of the wanted tables is not in the kernel as it should be; nothing if all is.
///
/// # Errors
/// [`FilterError::Read`].
pub fn differences(tables: &[Table]) -> Result<Vec<Difference>, FilterError> {
    let mut kernel = Tables::open().map_err(read)?;
    let mut found = Vec::new();
    for table in tables {
        found.extend(compare(&mut kernel, table).map_err(read)?);
    }
    Ok(found)
}

fn compare(kernel: &mut Tables, wanted: &Table) -> Result<Vec<Difference>, SysError> {
    let family = lower::family(wanted.family);
    if !kernel.tables()?.contains(&(family, wanted.name.clone())) {
        return Ok(vec![Difference::NoTable(wanted.family)]);
    }
    let mut found = Vec::new();
    let mut chains: BTreeMap<String, _> = kernel
        .chains()?
        .into_iter()
        .filter(|(f, table, _)| *f == family && *table == wanted.name)
        .map(|(_, _, chain)| (chain.name.clone(), chain))
        .collect();
    let mut rules: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for rule in kernel.rules(family, &wanted.name)? {
        rules.entry(rule.chain).or_default().push(rule.expressions);
    }
    for chain in &wanted.chains {
        if chains.remove(&chain.name) != Some(lower::chain(chain)) {
            found.push(Difference::Chain(chain.name.clone()));
            continue;
        }
        let there = rules.remove(&chain.name).unwrap_or_default();
        let should = chain.rules.iter().map(|r| lower::rule(wanted.family, r));
        if !should.eq(there) {
            found.push(Difference::Rules(chain.name.clone()));
        }
    }
    found.extend(chains.into_keys().map(Difference::ForeignChain));
    let sets = kernel.sets(family, &wanted.name)?;
    for set in &wanted.sets {
        if !sets.contains(&lower::set(set)) {
            found.push(Difference::Set(set.name.clone()));
            continue;
        }
        if set.timeout {
            continue;
        }
        let there = kernel.elements(family, &wanted.name, &set.name)?;
        let there: BTreeSet<Vec<u8>> = there.into_iter().map(|element| element.key).collect();
        let should = lower::elements(set).into_iter().map(|element| element.key);
        if should.collect::<BTreeSet<_>>() != there {
            found.push(Difference::Elements(set.name.clone()));
        }
    }
    Ok(found)
}

/// Puts the tables back where they are not as they should be; says what was wrong.
///
/// # Errors
/// As [`put`] and [`differences`].
pub fn heal(tables: &[Table]) -> Result<Vec<Difference>, FilterError> {
    let found = differences(tables)?;
    if !found.is_empty() {
        put(tables)?;
    }
    Ok(found)
}

/// The longest that an address stays in a set of a name: kernels count in milliseconds, and names move.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Says that a name stands for addresses, for so long. Sets that are not there are passed over: nobody asks for them.
///
/// # Errors
/// [`FilterError::Change`].
pub fn feed(
    bridge: &str,
    name: (&str, bool),
    addresses: &[(IpAddr, Duration)],
) -> Result<(), FilterError> {
    let table = network::table_name(bridge);
    let family = lower::family(Family::Inet);
    let mut kernel = Tables::open().map_err(read)?;
    let [four, six] = network::name_sets(name.0, name.1);
    let mut changes = Vec::new();
    for (set, is_four) in [(four, true), (six, false)] {
        let mut wanted: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for (address, lifetime) in addresses.iter().filter(|(a, _)| a.is_ipv4() == is_four) {
            let key = match address {
                IpAddr::V4(a) => a.octets().to_vec(),
                IpAddr::V6(a) => a.octets().to_vec(),
            };
            let lifetime = (*lifetime).min(LONGEST).as_millis();
            let lifetime = u64::try_from(lifetime).unwrap_or(u64::MAX).max(1);
            let entry = wanted.entry(key).or_default();
            *entry = lifetime.max(*entry);
        }
        if wanted.is_empty() {
            continue;
        }
        let Ok(there) = kernel.elements(family, &table, &set) else {
            continue;
        };
        // One that is there would keep its old end.
        let old: Vec<Element> = there
            .into_iter()
            .filter_map(|element| {
                let lifetime = wanted.get_mut(&element.key)?;
                *lifetime = (*lifetime).max(element.timeout.unwrap_or(0));
                Some(element)
            })
            .collect();
        let new = wanted.into_iter().map(|(key, lifetime)| Element {
            key,
            timeout: Some(lifetime),
        });
        if !old.is_empty() {
            let (table, set) = (table.clone(), set.clone());
            changes.push(Change::DropElements(family, table, set, old));
        }
        changes.push(Change::Elements(family, table.clone(), set, new.collect()));
    }
    kernel
        .change(&changes)
        .map_err(|source| FilterError::Change {
            network: bridge.to_owned(),
            source,
        })
}
