//! In which order packages are unpacked.

use super::pool::{CandIx, Kind, Pool};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// Positions in `new` (sorted by name) in the order of unpacking.
///
/// First a walk in depth over all dependencies, beginning with the essential packages, gives an order
/// in which a package comes behind what it needs, where no cycle forbids that. Then `Pre-Depends`
/// alone are enforced on it, because a cycle through `Depends` must not break one of them (a cycle of
/// `Pre-Depends`, which policy forbids, is cut at its earliest package).
pub(super) fn unpack_order(pool: &mut Pool<'_>, new: &[CandIx]) -> Vec<usize> {
    let position: BTreeMap<CandIx, usize> = new.iter().enumerate().map(|(i, c)| (*c, i)).collect();
    let mut before: Vec<Vec<(Kind, usize)>> = Vec::with_capacity(new.len());
    for cand in new {
        let mut edges = Vec::new();
        let deps = pool.deps(*cand);
        for (kind, group) in deps.wanted.iter().filter(|(k, _)| k.critical()) {
            for alt in pool.alts(*group).iter() {
                for other in pool.matches(*alt).iter() {
                    edges.extend(position.get(other).map(|at| (*kind, *at)));
                }
            }
        }
        edges.sort_unstable();
        edges.dedup();
        before.push(edges);
    }

    let mut starts: Vec<usize> = (0..new.len()).collect();
    let essential: Vec<bool> = new.iter().map(|c| pool.package(*c).essential()).collect();
    starts.sort_by_key(|i| (!essential.get(*i).copied().unwrap_or(false), *i));

    // Depth first with a stack of our own: chains may be long.
    let mut ranked = Vec::with_capacity(new.len());
    let mut seen = BTreeSet::new();
    for start in starts {
        let mut stack = vec![(start, 0_usize)];
        if !seen.insert(start) {
            continue;
        }
        while let Some((at, next)) = stack.last_mut() {
            match before.get(*at).and_then(|edges| edges.get(*next)) {
                Some((_, to)) => {
                    *next += 1;
                    if seen.insert(*to) {
                        stack.push((*to, 0));
                    }
                }
                None => {
                    ranked.push(*at);
                    stack.pop();
                }
            }
        }
    }
    enforce_pre_depends(&ranked, &before)
}

fn enforce_pre_depends(ranked: &[usize], before: &[Vec<(Kind, usize)>]) -> Vec<usize> {
    let mut rank = vec![0; ranked.len()];
    for (r, at) in ranked.iter().enumerate() {
        if let Some(slot) = rank.get_mut(*at) {
            *slot = r;
        }
    }
    let rank_of = |at: usize| rank.get(at).copied().unwrap_or(usize::MAX);
    let mut open: Vec<usize> = vec![0; ranked.len()];
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); ranked.len()];
    for (at, edges) in before.iter().enumerate() {
        for (_, to) in edges
            .iter()
            .filter(|(k, to)| *k == Kind::PreDepends && *to != at)
        {
            if let (Some(n), Some(d)) = (open.get_mut(at), dependents.get_mut(*to)) {
                *n += 1;
                d.push(at);
            }
        }
    }
    let mut ready: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new();
    for at in ranked {
        if open.get(*at) == Some(&0) {
            ready.push(Reverse((rank_of(*at), *at)));
        }
    }
    let mut order = Vec::with_capacity(ranked.len());
    let mut done = BTreeSet::new();
    let mut rest = ranked.iter();
    loop {
        let at = match ready.pop() {
            Some(Reverse((_, at))) => at,
            // Nothing is free: a cycle, or the end.
            None => match rest.find(|at| !done.contains(*at)) {
                Some(at) => *at,
                None => return order,
            },
        };
        if !done.insert(at) {
            continue;
        }
        order.push(at);
        for dependent in dependents.get(at).into_iter().flatten() {
            if let Some(n) = open.get_mut(*dependent) {
                *n = n.saturating_sub(1);
                if *n == 0 {
                    ready.push(Reverse((rank_of(*dependent), *dependent)));
                }
            }
        }
    }
}
