//! In which order APT meets names when it reads the indices: its last resort between providers that are equally good.

use super::universe::Universe;
use std::collections::HashMap;

/// All names of the universe, numbered in the order in which APT meets them. A pass over every
/// relation of every package: some ten milliseconds, paid only when two providers are equally good.
pub(super) fn names_as_met<'u>(universe: &Universe<'u>) -> HashMap<&'u str, u32> {
    let mut met: HashMap<&'u str, u32> = HashMap::new();
    let mut meet = |name: &'u str| {
        let next = u32::try_from(met.len()).unwrap_or(u32::MAX);
        met.entry(name).or_insert(next);
    };
    for source in universe.sources() {
        for package in source
            .index
            .iter()
            .filter(|p| universe.arch_of(p).is_some())
        {
            meet(package.name());
            for field in [
                package.pre_depends(),
                package.depends(),
                package.conflicts(),
                package.breaks(),
                package.recommends(),
                package.suggests(),
                package.replaces(),
                package.provides(),
            ] {
                for text in field.split([',', '|']) {
                    let text = text.trim_start();
                    let end = text
                        .find([' ', '(', ':', '[', '<', '\n', '\t'])
                        .unwrap_or(text.len());
                    if let Some(name) = text.get(..end).filter(|n| !n.is_empty()) {
                        meet(name);
                    }
                }
            }
        }
    }
    met
}
