//! Which identifiers a jail has.

use super::{ID_COUNT, JailPlanError};
use crate::facts::host::{CallerKind, HostFacts};
use crate::setup_op::IdPlan;
use crate::spec::jail::{IdRange, IdSpec};

/// The most lines that the kernel takes as a map (user_namespaces(7), since Linux 4.15).
pub const MAP_LINES: usize = 340;

pub(super) fn plan(ids: &IdSpec, facts: &HostFacts) -> Result<IdPlan, JailPlanError> {
    let caller = facts.caller;
    Ok(match (ids, caller.kind) {
        (IdSpec::Private, CallerKind::Root) => IdPlan::PrivateBlock { count: ID_COUNT },
        // A session of one is root of one: setgroups(2) was given up with it.
        (IdSpec::Private | IdSpec::CallerAsRoot, CallerKind::Session { ids: 1 }) => {
            IdPlan::Single {
                inside: (0, 0),
                outside: (0, 0),
            }
        }
        (IdSpec::Private, CallerKind::Session { ids }) => IdPlan::Nested {
            count: ids.min(ID_COUNT),
        },
        (IdSpec::Private, CallerKind::Single) | (IdSpec::CallerAsRoot, _) => IdPlan::Single {
            inside: (0, 0),
            outside: (caller.uid, caller.gid),
        },
        (IdSpec::CallerAsSelf, _) => {
            let own = (caller.uid, caller.gid);
            IdPlan::Single {
                inside: own,
                outside: own,
            }
        }
        (IdSpec::Host, CallerKind::Single) => return Err(JailPlanError::HostIdsNeedRoot),
        (IdSpec::Host, _) => IdPlan::Host,
        (IdSpec::Map { users, groups }, kind) => {
            let groups = if groups.is_empty() { users } else { groups };
            let map = |what, wanted: &[IdRange], own: &[IdRange]| {
                sound(what, wanted)?;
                match kind {
                    CallerKind::Root => Ok(wanted.to_vec()),
                    _ => own_only(what, wanted, own),
                }
            };
            IdPlan::Map {
                users: map("user", users, &facts.ids.users)?,
                groups: map("group", groups, &facts.ids.groups)?,
                deny: kind == CallerKind::Single,
            }
        }
    })
}

/// Every range is whole, none meets another, and root of the jail exists: it makes the jail's own files.
fn sound(what: &'static str, ranges: &[IdRange]) -> Result<(), JailPlanError> {
    let refuse = |range: &IdRange, why| JailPlanError::BadMap {
        what,
        range: *range,
        why,
    };
    if ranges.len() > MAP_LINES {
        return Err(JailPlanError::LongMap { what });
    }
    for (index, range) in ranges.iter().enumerate() {
        // The last number is no identifier: it means "none" to chown(2).
        let whole = |first: u32| first.checked_add(range.count).is_some();
        if range.count == 0 {
            return Err(refuse(range, "it has no identifier"));
        }
        if !whole(range.inside) || !whole(range.outside) {
            return Err(refuse(range, "it goes past the last identifier"));
        }
        let meets = |first: u32, other: u32, count: u32| {
            first < other.saturating_add(count) && other < first.saturating_add(range.count)
        };
        for other in ranges.iter().take(index) {
            if meets(range.inside, other.inside, other.count) {
                return Err(refuse(range, "it meets another range inside"));
            }
            if meets(range.outside, other.outside, other.count) {
                return Err(refuse(range, "it meets another range outside"));
            }
        }
    }
    if !ranges.iter().any(|range| range.inside == 0) {
        return Err(JailPlanError::NoRootInMap { what });
    }
    Ok(())
}

/// The same as the caller's own namespace numbers them, split where its ranges end, because the kernel takes no line
/// that is of two of them.
fn own_only(
    what: &'static str,
    wanted: &[IdRange],
    own: &[IdRange],
) -> Result<Vec<IdRange>, JailPlanError> {
    let mut split = Vec::new();
    for range in wanted {
        let mut done = 0;
        while done < range.count {
            let outside = range.outside.saturating_add(done);
            let found = own.iter().find_map(|own| {
                let offset = outside.checked_sub(own.outside)?;
                (offset < own.count).then_some((own, offset))
            });
            let Some((own, offset)) = found else {
                return Err(JailPlanError::NotOurs { what, id: outside });
            };
            let count = (range.count - done).min(own.count - offset);
            split.push(IdRange {
                inside: range.inside.saturating_add(done),
                outside: own.inside.saturating_add(offset),
                count,
            });
            done += count;
        }
    }
    if split.len() > MAP_LINES {
        return Err(JailPlanError::LongMap { what });
    }
    Ok(split)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(inside: u32, outside: u32, count: u32) -> IdRange {
        IdRange {
            inside,
            outside,
            count,
        }
    }

    #[test]
    fn maps_that_cannot_be() {
        for (ranges, why) in [
            (vec![range(0, 1, 0)], "no identifier"),
            (vec![range(0, u32::MAX, 1)], "past the last"),
            (vec![range(0, 5, u32::MAX)], "past the last"),
            (
                vec![range(0, 10, 5), range(4, 100, 5)],
                "another range inside",
            ),
            (
                vec![range(0, 10, 5), range(5, 14, 5)],
                "another range outside",
            ),
            (vec![range(1, 10, 5)], "identifier 0"),
            (Vec::new(), "identifier 0"),
        ] {
            let error = sound("user", &ranges).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(sound("user", &[range(5, 15, 5), range(0, 10, 5)]).is_ok());
    }

    #[test]
    fn a_users_map_is_of_what_he_has() {
        let own = [range(0, 1000, 1), range(1, 100_000, 65536)];
        let map = |wanted: &[IdRange]| own_only("user", wanted, &own);
        assert_eq!(
            map(&[range(0, 100_000, 10), range(1000, 1000, 1)]),
            Ok(vec![range(0, 1, 10), range(1000, 0, 1)])
        );
        // Over the end of a range into one that follows outside.
        let two = [range(0, 1000, 1), range(1, 1001, 5)];
        assert_eq!(
            own_only("user", &[range(0, 1000, 3)], &two),
            Ok(vec![range(0, 0, 1), range(1, 1, 2)])
        );
        for (wanted, id) in [
            (range(0, 0, 1), 0),
            (range(0, 1000, 2), 1001),
            (range(0, 165_530, 10), 165_536),
        ] {
            let refused = JailPlanError::NotOurs { what: "user", id };
            assert_eq!(map(&[wanted]), Err(refused));
        }
    }
}
