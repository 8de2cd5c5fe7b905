//! The known word that is nearest to one that was mistyped.

/// The nearest of `known` to `word`, when it is near enough to be what was meant: at most a third of its letters
/// differ (optimal string alignment distance), or it starts with the word.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.is_empty() || word.chars().count() > 64 {
        return None;
    }
    known
        .into_iter()
        .map(|candidate| {
            let starts = word.len() >= 2 && candidate.starts_with(word);
            (
                if starts { 0 } else { distance(word, candidate) },
                candidate,
            )
        })
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .filter(|(distance, candidate)| *distance < candidate.chars().count())
        .map(|(_, candidate)| candidate)
}

fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let replaced = at(&above, j) + usize::from(a != b);
            let mut best = replaced.min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            let swapped =
                i > 0 && j > 0 && left.get(i - 1) == Some(b) && right.get(j - 1) == Some(a);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    at(&above, right.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERBS: [&str; 6] = ["run", "rm", "recover", "doctor", "image", "build"];

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        for (typed, meant) in [
            ("rnu", Some("run")),
            ("doctr", Some("doctor")),
            ("images", Some("image")),
            ("reco", Some("recover")),
            ("bulid", Some("build")),
            ("x", None),
            ("", None),
            ("frobnicate", None),
        ] {
            assert_eq!(nearest(typed, VERBS), meant, "{typed}");
        }
    }
}
