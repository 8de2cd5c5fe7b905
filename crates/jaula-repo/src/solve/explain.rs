//! Why there is no solution, in words.

use super::pool::{CandIx, GroupIx, NameIx, Pool};
use super::provider::{Meaning, Provider, cand};
use crate::deb::preferences::Policy;
use resolvo::SolvableId;
use resolvo::conflict::{ConflictCause, ConflictEdge, ConflictGraph, ConflictNode};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// More lines help nobody.
const MOST_LINES: usize = 200;
/// How many levels are shown.
const DEEPEST: usize = 30;

/// One reason and the reasons for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// A line without an end.
    pub text: String,
    /// What makes it so.
    pub because: Vec<Reason>,
}

/// Why a request cannot be fulfilled: a tree of reasons. [`fmt::Display`] draws it, without a
/// newline at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The statement that is explained.
    pub head: String,
    /// Why.
    pub reasons: Vec<Reason>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head)?;
        draw(f, &self.reasons, "")
    }
}

fn draw(f: &mut fmt::Formatter<'_>, reasons: &[Reason], indent: &str) -> fmt::Result {
    for (i, reason) in reasons.iter().enumerate() {
        let last = i + 1 == reasons.len();
        let (branch, below) = if last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        write!(f, "\n{indent}{branch}{}", reason.text)?;
        draw(f, &reason.because, &format!("{indent}{below}"))?;
    }
    Ok(())
}

/// What the solver's proof says about one package.
#[derive(Default)]
struct Facts {
    /// Dependencies that cannot be met.
    needs: BTreeSet<GroupIx>,
    /// Packages it refuses.
    refuses: BTreeSet<CandIx>,
    /// Packages that refuse it.
    refused_by: BTreeSet<CandIx>,
    /// Other versions of the package are part of the contradiction.
    rivals: bool,
}

struct Teller<'p, 'u> {
    pool: &'p mut Pool<'u>,
    facts: BTreeMap<CandIx, Facts>,
    told: BTreeSet<CandIx>,
    lines: usize,
}

/// Puts the solver's proof into words.
pub(super) fn explain(
    provider: &Provider<'_, '_>,
    graph: &ConflictGraph<SolvableId>,
    wants: &[GroupIx],
) -> Explanation {
    let mut facts: BTreeMap<CandIx, Facts> = BTreeMap::new();
    let mut root_groups: BTreeSet<GroupIx> = BTreeSet::new();
    let mut staying: BTreeSet<CandIx> = BTreeSet::new();
    let node = |at| graph.graph.node_weight(at).copied();
    for edge in graph.graph.raw_edges() {
        let (Some(from), Some(to)) = (node(edge.source()), node(edge.target())) else {
            continue;
        };
        match (from, edge.weight) {
            (ConflictNode::Root, ConflictEdge::Requires(requirement)) => {
                match provider.meaning(requirement) {
                    Some(Meaning::Group(group)) => _ = root_groups.insert(group),
                    Some(Meaning::Stays(cand)) => _ = staying.insert(cand),
                    None => {}
                }
            }
            (ConflictNode::Solvable(s), ConflictEdge::Requires(requirement)) => {
                if let Some(Meaning::Group(group)) = provider.meaning(requirement) {
                    facts.entry(cand(s)).or_default().needs.insert(group);
                }
            }
            (
                ConflictNode::Solvable(s),
                ConflictEdge::Conflict(ConflictCause::ForbidMultipleInstances),
            ) => {
                facts.entry(cand(s)).or_default().rivals = true;
                if let ConflictNode::Solvable(other) = to {
                    facts.entry(cand(other)).or_default().rivals = true;
                }
            }
            (ConflictNode::Solvable(s), ConflictEdge::Conflict(ConflictCause::Constrains(_))) => {
                if let ConflictNode::Solvable(other) = to {
                    facts
                        .entry(cand(s))
                        .or_default()
                        .refuses
                        .insert(cand(other));
                    facts
                        .entry(cand(other))
                        .or_default()
                        .refused_by
                        .insert(cand(s));
                }
            }
            _ => {}
        }
    }
    let pool = &mut **provider.pool.borrow_mut();
    let mut teller = Teller {
        pool,
        facts,
        told: BTreeSet::new(),
        lines: 0,
    };
    teller.tell(wants, &root_groups, &staying)
}

impl Teller<'_, '_> {
    fn tell(
        &mut self,
        wants: &[GroupIx],
        groups: &BTreeSet<GroupIx>,
        staying: &BTreeSet<CandIx>,
    ) -> Explanation {
        let mut names: Vec<String> = Vec::new();
        let mut reasons = Vec::new();
        for group in wants {
            let text = self.pool.group_text(*group).to_owned();
            if groups.contains(group) && !names.contains(&text) {
                names.push(text);
                let because = self.about_group(*group, 1);
                reasons.extend(because);
            }
        }
        for cand in staying {
            let name = self.pool.cand_shown(*cand);
            names.push(format!("{name} (installed)"));
            let target = self.pool.cand_name_ix(*cand);
            let list = self.pool.cands(target).to_vec();
            reasons.extend(self.about_cands(&list, 1));
        }
        let head = match names.as_slice() {
            [] => "the request cannot be fulfilled:".to_owned(),
            [one] => format!("{one} cannot be installed:"),
            [first @ .., last] => {
                format!(
                    "{} and {last} cannot be installed together:",
                    first.join(", ")
                )
            }
        };
        Explanation { head, reasons }
    }

    fn line(&mut self, text: String, because: Vec<Reason>) -> Reason {
        self.lines += 1;
        Reason { text, because }
    }

    /// Why nothing satisfies a group.
    fn about_group(&mut self, group: GroupIx, depth: usize) -> Vec<Reason> {
        if !self.pool.is_readable(group) {
            return vec![self.line("which cannot be read".to_owned(), Vec::new())];
        }
        let alts = self.pool.alts(group);
        let mut reasons = Vec::new();
        for alt in alts.iter() {
            if self.lines >= MOST_LINES {
                reasons.push(Reason {
                    text: "and so on".to_owned(),
                    because: Vec::new(),
                });
                break;
            }
            let matches = self.pool.matches(*alt).to_vec();
            if matches.is_empty() {
                let target = self.pool.alt_target(*alt);
                let what = match alts.len() {
                    1 => "which".to_owned(),
                    _ => self.pool.alt_text(*alt).to_owned(),
                };
                let text = format!("{what} {}", self.missing(target));
                reasons.push(self.line(text, Vec::new()));
            } else {
                reasons.extend(self.about_cands(&matches, depth));
            }
        }
        reasons
    }

    /// Why no source offers something of this name that would do.
    fn missing(&mut self, target: NameIx) -> String {
        let versions: Vec<&str> = self
            .pool
            .cands(target)
            .to_vec()
            .iter()
            .map(|c| self.pool.version(*c))
            .collect();
        let provided: BTreeSet<String> = self
            .pool
            .provs(target)
            .to_vec()
            .iter()
            .map(|(c, v)| match v {
                Some(version) => format!("{} as version {version}", self.pool.cand_shown(*c)),
                None => format!("{} without a version", self.pool.cand_shown(*c)),
            })
            .collect();
        let provided: Vec<String> = provided.into_iter().take(5).collect();
        match (versions.as_slice(), provided.as_slice()) {
            ([], []) => "no source offers, and no package provides".to_owned(),
            ([], some) => format!("no source offers (provided by {})", some.join(", ")),
            ([one], _) => format!("no source offers ({one} is there)"),
            (some, _) => format!("no source offers ({} are there)", some.join(", ")),
        }
    }

    /// Why each of the candidates is impossible. Versions of a package for which the same holds
    /// share a line.
    fn about_cands(&mut self, cands: &[CandIx], depth: usize) -> Vec<Reason> {
        let mut merged: Vec<(NameIx, Vec<String>, String, Vec<Reason>)> = Vec::new();
        for cand in cands {
            if self.lines >= MOST_LINES {
                break;
            }
            let name = self.pool.cand_name_ix(*cand);
            let version = self.pool.version(*cand).to_owned();
            for (text, because) in self.about_cand(*cand, depth) {
                let same = merged.iter_mut().find(|(n, v, t, b)| {
                    *n == name && *t == text && *b == because && !v.contains(&version)
                });
                match same {
                    Some((_, versions, ..)) => versions.push(version.clone()),
                    None => merged.push((name, vec![version.clone()], text, because)),
                }
            }
        }
        let mut reasons = Vec::new();
        for (name, versions, text, because) in merged {
            let line = format!(
                "{} {} {text}",
                self.pool.name_shown(name),
                versions.join(", ")
            );
            reasons.push(self.line(line, because));
        }
        reasons
    }

    /// The reasons against one candidate, without its name in front.
    fn about_cand(&mut self, cand: CandIx, depth: usize) -> Vec<(String, Vec<Reason>)> {
        if self.pool.is_excluded(self.pool.cand_name_ix(cand)) {
            return vec![("is excluded by the request".to_owned(), Vec::new())];
        }
        if self.pool.is_forbidden(cand) {
            let text = match self.pool.priority(cand) {
                Policy::NEVER => "comes from a source that is never to be used".to_owned(),
                priority => format!("is forbidden by a pin (priority {priority})"),
            };
            return vec![(text, Vec::new())];
        }
        let Some(facts) = self.facts.get(&cand) else {
            return Vec::new();
        };
        let needs: Vec<GroupIx> = facts.needs.iter().copied().collect();
        let refuses: Vec<CandIx> = facts.refuses.iter().copied().collect();
        let refused_by: Vec<CandIx> = facts.refused_by.iter().copied().collect();
        let rivals = facts.rivals;
        if !needs.is_empty() && (depth >= DEEPEST || self.lines >= MOST_LINES) {
            return vec![(
                "cannot be installed either (and so on)".to_owned(),
                Vec::new(),
            )];
        }
        if !needs.is_empty() && !self.told.insert(cand) {
            return vec![("cannot be installed, as said above".to_owned(), Vec::new())];
        }
        let mut found = Vec::new();
        for group in needs {
            let because = self.about_group(group, depth + 1);
            found.push((
                format!("depends on {}", self.pool.group_text(group)),
                because,
            ));
        }
        for other in refuses {
            found.push((
                format!("conflicts with {}", self.full_name(other)),
                Vec::new(),
            ));
        }
        for other in refused_by {
            found.push((
                format!("is refused by {}", self.full_name(other)),
                Vec::new(),
            ));
        }
        if found.is_empty() && rivals {
            found.push((
                "would have to be there beside another version".to_owned(),
                Vec::new(),
            ));
        }
        found
    }

    fn full_name(&self, cand: CandIx) -> String {
        format!("{} {}", self.pool.cand_shown(cand), self.pool.version(cand))
    }
}
