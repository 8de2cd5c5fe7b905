//! Names that look like a mistyped one.

use super::universe::Universe;
use std::collections::BTreeSet;

/// Names longer than this are not compared: no Debian package has one.
const LONGEST_NAME: usize = 100;

/// Up to `most` names of real packages that are close to `name`: few edits away (a swap of two
/// neighbours is one edit), or beginning with it. Nearest first, then by name.
pub fn nearest_names(universe: &Universe<'_>, name: &str, most: usize) -> Vec<String> {
    if name.len() > LONGEST_NAME {
        return Vec::new();
    }
    let wanted = name.to_ascii_lowercase();
    // One edit for short names, two from six letters on, three from twelve.
    let allowed = 1 + wanted.len() / 6;
    let mut found: BTreeSet<(usize, usize, &str)> = BTreeSet::new();
    for candidate in universe.sources().iter().flat_map(|s| s.index.names()) {
        if candidate.len() > LONGEST_NAME {
            continue;
        }
        let rank = if candidate.len().abs_diff(wanted.len()) <= allowed {
            edits(wanted.as_bytes(), candidate.as_bytes(), allowed)
        } else {
            None
        };
        let rank = match rank {
            Some(rank) => rank,
            None if wanted.len() >= 3 && candidate.starts_with(wanted.as_str()) => allowed + 1,
            None => continue,
        };
        found.insert((rank, candidate.len().abs_diff(wanted.len()), candidate));
        if found.len() > most {
            found.pop_last();
        }
    }
    found.into_iter().map(|(_, _, n)| n.to_owned()).collect()
}

/// Edit distance with swaps of neighbours (optimal string alignment), `None` above `limit`.
fn edits(a: &[u8], b: &[u8], limit: usize) -> Option<usize> {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_a = None;
    for (i, &x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(last.len());
        row.push(i + 1);
        let mut previous_b = None;
        for (j, &y) in b.iter().enumerate() {
            let at = |row: &[usize], k: usize| row.get(k).copied().unwrap_or(usize::MAX / 2);
            let mut cost = (at(&last, j) + usize::from(x != y))
                .min(at(&last, j + 1) + 1)
                .min(at(&row, j) + 1);
            if previous_a == Some(y) && previous_b == Some(x) && j >= 1 {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            row.push(cost);
            previous_b = Some(y);
        }
        if row.iter().all(|&c| c > limit) {
            return None;
        }
        before = std::mem::replace(&mut last, row);
        previous_a = Some(x);
    }
    last.last().copied().filter(|&d| d <= limit)
}

#[cfg(test)]
mod tests {
    use super::edits;

    #[test]
    fn counts_edits() {
        assert_eq!(edits(b"nginx", b"nginx", 2), Some(0));
        assert_eq!(edits(b"ngnix", b"nginx", 2), Some(1));
        assert_eq!(edits(b"ngin", b"nginx", 2), Some(1));
        assert_eq!(edits(b"apache", b"nginx", 2), None);
        assert_eq!(edits(b"", b"ab", 2), Some(2));
    }
}
